//! Every verb that moves an instance, by the API and the command line, one and in bulk; what is found; and what is refused.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};

/// Waits for a signal, then tells; found by a city. Another fails until its service works.
fn node(service: &Peer) -> Node {
    let flow = format!(
        r#"
[http]
allow = ["{}"]
[flow.asking]
search.city = "input.city"
steps.ask = {{ suspend = "go" }}
steps.tell = {{ effect = "notify", after = "ask", with = {{ text = "'went: ' + input.city" }} }}
[flow.calling]
search.town = "input.town"
concurrency = {{ key = "input.town", max = 100 }}
steps.call = {{ http = "POST", url = "'{}/x'", body = {{ n = "1" }}, retry = {{ attempts = 1 }} }}
steps.tell = {{ effect = "notify", after = "call", with = {{ text = "'called'" }} }}
"#,
        service.authority(),
        service.base()
    );
    Node::start(Plan::blog().more(&flow))
}

fn start(node: &Node, flow: &str, key: &str, input: &Value) -> String {
    let call = Call::post(&format!("/flow/start/{flow}")).token(&node.token).key(key).header("prefer", "wait=30");
    node.send(&call.json(input)).expect(200).json()["id"].as_str().unwrap().to_owned()
}

fn asking(node: &Node, city: &str) -> String {
    start(node, "asking", city, &json!({ "city": city }))
}

fn tell(node: &Node, id: &str, verb: &str, body: &Value) -> Answer {
    node.post(&format!("/flows/{id}/{verb}"), body)
}

fn phase(node: &Node, id: &str) -> String {
    node.get(&format!("/flow/{id}")).expect(200).json()["phase"].as_str().unwrap().to_owned()
}

fn becomes(node: &Node, id: &str, wanted: &str) {
    eventually(wanted, || (phase(node, id) == wanted).then_some(()));
}

fn ids(node: &Node, query: &str) -> Vec<String> {
    node.all(&format!("/flows?{query}")).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn bulk(node: &Node, body: &Value) -> Answer {
    node.post("/flows/bulk", body)
}

#[test]
fn every_state_leaves_by_a_verb() {
    let service = Peer::start();
    let node = node(&service);
    let id = asking(&node, "Bern");
    assert_eq!(tell(&node, &id, "pause", &json!({})).expect(200).json()["phase"], "paused");
    let refused = tell(&node, &id, "pause", &json!({}));
    refused.refused_with(409, "continue");
    assert_eq!(refused.json()["current"]["phase"], "paused");
    assert!(refused.json()["current"]["possible"].as_array().unwrap().contains(&json!("continue")));
    assert_eq!(tell(&node, &id, "continue", &json!({})).expect(200).json()["phase"], "suspended");
    tell(&node, &id, "continue", &json!({})).refused_with(409, "pause");
    tell(&node, &id, "retry", &json!({})).refused_with(409, "skip");
    tell(&node, &id, "edit", &json!({ "step": "ask", "input": 1 })).refused(409);
    tell(&node, &id, "skip", &json!({ "step": "tell" })).refused_with(409, "skip");
    tell(&node, &id, "skip", &json!({ "step": "nothing" })).refused_with(422, "ask, tell");
    tell(&node, &id, "skip", &json!({ "step": "ask", "result": { "x": 1 } })).expect(200);
    becomes(&node, &id, "done");
    for verb in ["pause", "continue", "cancel", "kill", "retry"] {
        tell(&node, &id, verb, &json!({})).refused_with(409, "restart");
    }
    tell(&node, &id, "restart", &json!({ "step": "nothing" })).refused(422);
    tell(&node, &id, "restart", &json!({ "step": "ask", "input": { "city": "Chur" } })).expect(200);
    becomes(&node, &id, "suspended");
    let killed = tell(&node, &id, "kill", &json!({ "reason": "enough" })).expect(200).json();
    assert_eq!((&killed["phase"], &killed["reason"]), (&json!("killed"), &json!("enough")));
    assert_eq!(node.notices(), ["went: Bern"]);
}

#[test]
fn what_used_up_its_tries_is_retried_edited_or_skipped() {
    let service = Peer::start();
    let node = node(&service);
    service.answers(|_| Reply::status(500));
    let [a, b, c] = ["a", "b", "c"].map(|key| start(&node, "calling", key, &json!({ "town": key })));
    for id in [&a, &b, &c] {
        becomes(&node, id, "paused");
    }
    tell(&node, &b, "skip", &json!({ "step": "call", "result": 7 })).expect(200);
    becomes(&node, &b, "done");
    service.answers(|_| Reply::status(200));
    let edited = json!({ "step": "call", "input": { "method": "POST", "url": format!("{}/y", service.base()), "headers": {}, "body": { "n": 2 } } });
    tell(&node, &c, "edit", &edited).expect(200);
    tell(&node, &a, "retry", &json!({ "step": "call" })).expect(200);
    tell(&node, &c, "retry", &json!({})).expect(200);
    becomes(&node, &a, "done");
    becomes(&node, &c, "done");
    let last = service.got().into_iter().rfind(|got| got.target == "/y").unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&last.body).unwrap(), json!({ "n": 2 }));
}

#[test]
fn words_that_a_verb_does_not_take_are_refused() {
    let service = Peer::start();
    let node = node(&service);
    let id = asking(&node, "Bern");
    let reader = node.new_token("reader", &["flows:read"]);
    node.unchanged(|| {
        tell(&node, &id, "pause", &json!({ "reason": "x" })).refused_with(400, "reason");
        tell(&node, &id, "restart", &json!({})).refused_with(400, "step");
        tell(&node, &id, "edit", &json!({ "step": "ask" })).refused_with(400, "input");
        tell(&node, &id, "skip", &json!({ "step": "ask", "item": "one" })).refused(400);
        tell(&node, &id, "kill", &json!([])).refused(400);
        tell(&node, &id, "juggle", &json!({})).refused_with(404, "restart");
        tell(&node, &"0".repeat(32), "kill", &json!({})).refused(404);
        for target in [format!("/flows/{id}/kill"), "/flows/bulk".to_owned()] {
            node.send(&Call::post(&target).json(&json!({}))).refused(401);
            node.send(&Call::post(&target).token(&reader).json(&json!({}))).refused(403);
        }
    });
}

#[test]
fn a_verb_in_bulk_reaches_all_that_a_filter_means_and_no_others() {
    let service = Peer::start();
    let node = node(&service);
    let all: Vec<String> = ["Bern", "Chur", "Genf", "Biel"].map(|city| asking(&node, city)).to_vec();
    let before = node.everything();
    let dry =
        bulk(&node, &json!({ "verb": "pause", "filter": { "name": "asking" }, "dry_run": true })).expect(200).json();
    assert_eq!(
        (&dry["moved"], &dry["dry_run"], dry["items"].as_array().map(Vec::len)),
        (&json!(4), &json!(true), Some(4))
    );
    assert_eq!(node.everything(), before, "a dry run changes nothing");
    let done = bulk(&node, &json!({ "verb": "pause", "filter": { "city": "Chur" } })).expect(200).json();
    assert_eq!((&done["moved"], &done["refused"]), (&json!(1), &json!(0)), "{done}");
    assert_eq!(phase(&node, &all[1]), "paused");
    // One is paused already: told, and refused, by itself.
    let mut next = Value::Null;
    let (mut moved, mut refused) = (0, 0);
    loop {
        let body = json!({ "verb": "pause", "filter": { "name": "asking", "until": "0s" }, "limit": 3, "after": next });
        let answer = bulk(&node, &body).expect(200).json();
        moved += answer["moved"].as_u64().unwrap();
        refused += answer["refused"].as_u64().unwrap();
        next = answer["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!((moved, refused), (3, 1));
    let call = Call::post("/flows/bulk").token(&node.token).key("once");
    let call = call.json(&json!({ "verb": "kill", "filter": { "state": "paused" }, "with": { "reason": "enough" } }));
    let first = node.send(&call).expect(200);
    assert_eq!(first.json()["moved"], 4);
    node.kill();
    node.restart();
    assert_eq!(node.send(&call).expect(200).json(), first.json(), "a repeat is the same answer");
    node.send(&call.clone().body(json!({ "verb": "kill", "filter": { "name": "x" } }).to_string())).refused(422);
    assert_eq!(ids(&node, "state=killed").len(), 4);
}

#[test]
fn a_dry_run_says_of_each_what_telling_it_would_come_to() {
    let service = Peer::start();
    let node = node(&service);
    service.answers(|_| Reply::status(500));
    let waits = asking(&node, "Bern");
    let stopped = start(&node, "calling", "t", &json!({ "town": "Thun" }));
    becomes(&node, &stopped, "paused");
    let told = |verb: &str, with: &Value, dry: bool| {
        let filter = json!({ "until": "0s" });
        bulk(&node, &json!({ "verb": verb, "with": with, "filter": filter, "dry_run": dry })).expect(200).json()
    };
    for (verb, with) in [
        ("resume", json!({ "signal": "stop" })),
        ("skip", json!({ "step": "tell" })),
        ("edit", json!({ "step": "nowhere", "input": {} })),
        ("restart", json!({ "step": "nowhere" })),
    ] {
        let before = node.everything();
        let dry = told(verb, &with, true);
        assert_eq!((&dry["moved"], &dry["refused"]), (&json!(0), &json!(2)), "{dry}");
        assert_eq!(node.everything(), before, "a dry run changes nothing");
        assert_eq!(told(verb, &with, false)["refusals"], dry["refusals"], "the same words");
    }
    for (verb, with, moved) in [
        ("resume", json!({ "signal": "go" }), &waits),
        ("skip", json!({ "step": "call" }), &stopped),
        ("restart", json!({ "step": "call" }), &stopped),
        ("retry", json!({}), &stopped),
    ] {
        let dry = told(verb, &with, true);
        assert_eq!((&dry["moved"], &dry["items"][0]["id"]), (&json!(1), &json!(moved)), "{dry}");
    }
}

#[test]
fn a_bulk_without_a_filter_or_with_a_wrong_one_is_refused() {
    let service = Peer::start();
    let node = node(&service);
    asking(&node, "Bern");
    node.unchanged(|| {
        for empty in [json!({}), json!({ "state": "all" })] {
            bulk(&node, &json!({ "verb": "kill", "filter": empty })).refused_with(400, "every instance");
        }
        for nothing in [json!(""), Value::Null, json!([]), json!({})] {
            let filter = json!({ "state": "suspended", "key": nothing });
            bulk(&node, &json!({ "verb": "kill", "filter": filter })).refused_with(400, "`key`");
        }
        bulk(&node, &json!({ "verb": "kill" })).refused_with(400, "filter");
        bulk(&node, &json!({ "verb": "juggle", "filter": { "name": "asking" } })).refused_with(404, "restart");
        bulk(&node, &json!({ "verb": "skip", "filter": { "name": "asking" } })).refused_with(400, "step");
        bulk(&node, &json!({ "verb": "kill", "filter": { "state": "tired" } })).refused_with(400, "paused");
        bulk(&node, &json!({ "verb": "kill", "filter": { "citi": "Bern" } })).refused_with(400, "city");
        bulk(&node, &json!({ "verb": "kill", "filter": { "older_than": "long" } })).refused_with(400, "7d");
        bulk(&node, &json!({ "verb": "kill", "filter": { "name": "asking" }, "after": "%" }))
            .refused_with(400, "after");
        bulk(&node, &json!({ "verb": "kill", "filter": { "name": "asking" }, "all": true })).refused_with(400, "all");
    });
}

#[test]
fn instances_are_found_by_flow_state_type_key_time_and_field() {
    let service = Peer::start();
    let node = node(&service);
    service.answers(|_| Reply::status(500));
    let (bern, chur) = (asking(&node, "Bern"), asking(&node, "Chur"));
    let town = start(
        &node,
        "calling",
        "t",
        &json!({ "town": "Thun", "object": { "id": "https://a.example/1", "type": "Place" } }),
    );
    becomes(&node, &town, "paused");
    assert_eq!(ids(&node, "name=asking"), [chur.clone(), bern.clone()]);
    assert_eq!(ids(&node, "city=Bern"), std::slice::from_ref(&bern));
    assert_eq!(ids(&node, "field.city=Bern&state=suspended"), std::slice::from_ref(&bern));
    assert_eq!(ids(&node, "city=Bern&state=done"), [""; 0]);
    assert_eq!(ids(&node, "state=paused"), std::slice::from_ref(&town));
    assert_eq!(ids(&node, "key=Thun"), std::slice::from_ref(&town));
    assert_eq!(ids(&node, "type=Place"), std::slice::from_ref(&town));
    assert_eq!(ids(&node, "object=https://a.example/1"), std::slice::from_ref(&town));
    assert_eq!(ids(&node, "since=1h").len(), 3);
    assert_eq!(ids(&node, "until=1h"), [""; 0]);
    assert_eq!(ids(&node, "name=asking&since=2026-01-01T00:00:00Z&until=2100-01-01T00:00:00Z").len(), 2);
    let pages = node.get("/flows?name=asking&limit=1").expect(200).json();
    let next = pages["next"].as_str().unwrap().to_owned();
    assert_eq!(node.get(&format!("/flows?name=asking&limit=1&after={next}")).json()["items"][0]["id"], bern);
    let shown = node.get("/flows?city=Bern").json()["items"][0].clone();
    assert_eq!((&shown["fields"], &shown["name"]), (&json!({ "city": "Bern" }), &json!("asking")));
    for wrong in ["citi=Bern", "state=tired", "since=tomorrow", "limit=many", "after=%25"] {
        node.get(&format!("/flows?{wrong}")).refused(400);
    }
    // What it is found by follows its input, and goes with it.
    tell(&node, &bern, "skip", &json!({ "step": "ask" })).expect(200);
    becomes(&node, &bern, "done");
    tell(&node, &bern, "restart", &json!({ "step": "ask", "input": { "city": "Brig" } })).expect(200);
    becomes(&node, &bern, "suspended");
    assert_eq!((ids(&node, "city=Bern"), ids(&node, "city=Brig")), (vec![], vec![bern.clone()]));
    node.kill();
    node.restart();
    assert_eq!(ids(&node, "city=Brig"), [bern]);
}

#[test]
fn the_form_of_the_list_has_all_that_flows_are_found_by() {
    let service = Peer::start();
    let node = node(&service);
    let (bern, chur) = (asking(&node, "Bern"), asking(&node, "Chur"));
    let page = |query: &str| {
        let call = Call::get(&format!("/flows?{query}")).token(&node.token).accept("text/html");
        node.send(&call).expect(200).text()
    };
    let all = page("");
    let words = ["name", "state", "type", "key", "object", "definition", "since", "until", "field.city", "field.town"];
    for word in words {
        assert!(all.contains(&format!(" name=\"{word}\"")), "the form has no {word}: {all}");
    }
    let of_one = page("name=asking&state=&until=&field.city=Bern");
    assert!(of_one.contains(&bern) && !of_one.contains(&chur), "{of_one}");
    assert!(of_one.contains("name=\"field.city\" value=\"Bern\"") && !of_one.contains("field.town"), "{of_one}");
    let plain = page("city=Chur&older_than=0s");
    assert!(plain.contains("name=\"field.city\" value=\"Chur\"") && plain.contains("name=\"until\" value=\"0s\""));
    assert!(plain.contains(&chur) && !plain.contains(&bern), "{plain}");
}

#[test]
fn versions_show_what_runs_on_which_definition() {
    let service = Peer::start();
    let mut node = node(&service);
    asking(&node, "Bern");
    let versions = |node: &Node| {
        let all = node.get("/flows/versions").expect(200).json();
        assert_eq!(all["complete"], true);
        let of_asking = all["items"].as_array().unwrap().iter().filter(|item| item["name"] == "asking");
        of_asking.map(|item| (item["current"].clone(), item["instances"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(versions(&node), [(json!(true), json!(1))]);
    node.kill();
    node.plan.more = node.plan.more.replace("'went: '", "'gone: '");
    node.plan.write(node.folder());
    node.restart();
    asking(&node, "Chur");
    asking(&node, "Genf");
    let mut found = versions(&node);
    found.sort_by_key(|(current, _)| current.as_bool());
    assert_eq!(found, [(json!(false), json!(1)), (json!(true), json!(2))]);
    assert!(node.run(&["flows", "versions"]).done().out.contains("old"));
}

#[test]
fn the_command_line_moves_one_and_many() {
    let service = Peer::start();
    let node = node(&service);
    let (bern, chur) = (asking(&node, "Bern"), asking(&node, "Chur"));
    let paused = node.run(&["flows", "pause", &bern]).done().out;
    assert!(paused.contains("paused") && paused.contains("WHAT") && !paused.contains("nothing is kept"), "{paused}");
    node.run(&["flows", "pause", &bern]).refused(&["can be told to", "continue"]);
    node.run(&["flows", "continue", &bern]).done();
    node.run(&["flows", "edit", &bern, "--step", "ask", "--input", "1"]).refused(&["ask"]);
    let dry = node.run(&["flows", "cancel", "--where", "name=asking", "--dry-run"]).done();
    assert!(dry.out.contains("2 would be told to cancel") && dry.out.contains(&chur), "{}", dry.out);
    assert_eq!(ids(&node, "state=suspended").len(), 2);
    let told = node.run(&["--json", "flows", "skip", "--where", "city=Chur", "--step", "ask", "--result", "1"]).done();
    assert_eq!(told.json()["moved"], 1);
    becomes(&node, &chur, "done");
    let done = node.run(&["flows", "restart", &chur, "--step", "ask", "--input", "{\"city\":\"Thun\"}"]).done();
    assert!(done.out.contains("suspended"), "{}", done.out);
    assert!(node.run(&["flows", "--where", "city=Thun"]).done().out.contains(&chur));
    let killed =
        node.run(&["flows", "kill", "--where", "name=asking", "--where", "state=suspended", "--reason", "enough"]);
    assert!(killed.done().out.starts_with("2 told to kill, 0 refused"));
    node.run(&["flows", "retry", "--where", "citi=x"]).refused(&["city"]);
    node.run(&["flows", "retry", "--where", "name=a", "--where", "name=b"]).refused(&["twice"]);
    for wrong in
        [&["flows", "kill"][..], &["flows", "kill", "x", "--where", "name=a"], &["flows", "kill", "x", "--dry-run"]]
    {
        assert_eq!(node.run(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn the_command_line_resumes_one_and_all_that_a_filter_means() {
    let service = Peer::start();
    let node = node(&service);
    let [bern, chur, genf] = ["Bern", "Chur", "Genf"].map(|city| asking(&node, city));
    let dry = node.run(&["flows", "resume", "--where", "name=asking", "--dry-run"]).done().out;
    assert!(dry.starts_with("3 would be told to resume") && dry.contains(&bern), "{dry}");
    assert_eq!(ids(&node, "state=suspended").len(), 3);
    let words = ["flows", "resume", "--where", "city=Chur", "--signal", "go", "--payload", "{\"by\":1}", "--json"];
    assert_eq!(node.run(&words).done().json()["moved"], 1);
    becomes(&node, &chur, "done");
    let resumed = node.get(&format!("/flow/{chur}")).expect(200).json();
    assert_eq!(resumed["steps"]["ask"]["result"], json!({ "by": 1 }));
    let none = node.run(&["flows", "resume", "--where", "state=suspended", "--signal", "other"]).done().out;
    assert!(none.starts_with("0 told to resume, 2 refused") && none.contains("go"), "{none}");
    let done = node.run(&["flows", "resume", &bern, "go"]).done().out;
    assert!(
        done.contains("done") && done.contains("flow_done"),
        "what happened is shown of what has ended as well: {done}"
    );
    assert!(node.run(&["flows", "resume", &genf, "--signal", "go"]).done().out.contains("done"));
    let filtered = ["flows", "resume", "--where", "name=asking"];
    for wrong in [
        &["flows", "resume"][..],
        &["flows", "resume", "x", "go", "--signal", "go"],
        &["flows", "resume", "x", "--where", "name=asking"],
    ] {
        assert_eq!(node.run(wrong).code, Some(2), "{wrong:?}");
    }
    assert_eq!(node.run(&[&filtered[..], &["--wait", "1"]].concat()).code, Some(2));
}
