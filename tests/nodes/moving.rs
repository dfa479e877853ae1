//! What moves and shows flows besides the verbs of one: the form for all of a list, releases from queues, exports, the
//! links between flows that call each other; and methods that an address does not take.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};

const FLOWS: &str = r#"
[flow.waiting]
steps.go = { suspend = "go" }
[flow.single]
concurrency = { key = "input.room", max = 1 }
steps.go = { suspend = "go" }
[flow.mother]
steps.child = { call = "child", with = { n = "input.n" } }
[flow.child]
steps.go = { suspend = "go" }
result = "input.n"
"#;

fn start(node: &Node, flow: &str, key: &str, input: &Value) -> String {
    let call = Call::post(&format!("/flow/start/{flow}")).token(&node.token).key(key);
    node.send(&call.json(input)).expect(202).json()["id"].as_str().unwrap().to_owned()
}

fn shown(node: &Node, id: &str) -> Value {
    node.get(&format!("/flow/{id}")).expect(200).json()
}

fn becomes(node: &Node, id: &str, phase: &str) {
    // What is called begins a little later than whoever calls it says so.
    let stands = || node.get(&format!("/flow/{id}"));
    eventually(phase, || Some(stands()).filter(|it| it.status == 200 && it.json()["phase"] == phase).map(drop));
}

fn page(node: &Node, target: &str) -> String {
    node.send(&Call::get(target).token(&node.token).accept("text/html")).expect(200).text()
}

fn filled_in(node: &Node, target: &str, fields: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    node.send(&Call::post(target).header("content-type", "application/x-www-form-urlencoded").body(body))
}

#[test]
fn a_person_moves_all_flows_of_a_list_by_one_form() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let ids: Vec<String> = (0..3).map(|n| start(&node, "waiting", &n.to_string(), &json!({}))).collect();
    let other = start(&node, "single", "x", &json!({ "room": 1 }));
    ids.iter().chain([&other]).for_each(|id| becomes(&node, id, "suspended"));
    assert!(page(&node, "/flows?name=waiting").contains("name=\"where.name\" value=\"waiting\""));
    assert!(!page(&node, "/flows").contains("where."), "a form without a filter would mean everything");
    let form = |dry: &'static str| {
        let fields = [("where.name", "waiting"), ("verb", "cancel"), ("reason", "enough"), ("dry_run", dry)];
        [&fields[..], &[("token", node.token.as_str())]].concat()
    };
    let would = filled_in(&node, "/flows", &form("true")).expect(200).text();
    assert!(would.contains("3 would be told to cancel") && ids.iter().all(|id| would.contains(id)), "{would}");
    assert!(!would.contains(&node.token), "the token goes nowhere else");
    node.settle();
    node.unchanged(|| {
        let strange = [("where.name", "waiting"), ("verb", "cancel"), ("dry_run", "false"), ("token", "qb_none")];
        filled_in(&node, "/flows", &strange).refused(401);
        let everything = [("verb", "cancel"), ("dry_run", "false"), ("token", node.token.as_str())];
        filled_in(&node, "/flows", &everything).refused(400);
        node.post("/flows", &json!({ "verb": "cancel" })).refused(415);
    });
    let told = filled_in(&node, "/flows", &form("false")).expect(200).text();
    assert!(told.contains("3 were told to cancel"), "{told}");
    ids.iter().for_each(|id| becomes(&node, id, "cancelled"));
    becomes(&node, &other, "suspended");
}

#[test]
fn whoever_holds_a_place_for_ever_is_released_and_the_next_begins() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let [first, second] = ["a", "b"].map(|key| {
        let id = start(&node, "single", key, &json!({ "room": 7 }));
        eventually("it has asked", || {
            let phase = shown(&node, &id)["phase"].clone();
            (phase != "running").then_some(())
        });
        id
    });
    becomes(&node, &first, "suspended");
    becomes(&node, &second, "queued");
    let gate = node.all("/flows/queues")[0]["gate"].as_str().unwrap().to_owned();
    let release = |flow: &str| node.post(&format!("/flows/queues/{gate}/release"), &json!({ "flow": flow }));
    node.settle();
    node.unchanged(|| {
        assert!(release(&second).refused(409).contains("is not in"), "it waits");
        release("nobody").refused(409);
        node.post(&format!("/flows/queues/{gate}/release"), &json!({})).refused(400);
        node.post("/flows/queues/none/release", &json!({ "flow": first })).refused(404);
        let reader = node.new_token("reader", &["flows:read"]);
        let call = Call::post(&format!("/flows/queues/{gate}/release")).token(&reader);
        node.send(&call.json(&json!({ "flow": first }))).refused(403);
        node.send_admin(&Call::new("DELETE", "/admin/tokens/reader").token(&node.admin_token)).expect(200);
    });
    let told = node.run(&["flows", "queues", &gate, "release", &first, "--json"]).done().json();
    assert_eq!((&told["released"], &told["waiting"]), (&json!(first), &json!(0)));
    becomes(&node, &second, "suspended");
    assert_eq!(shown(&node, &first)["phase"], "suspended", "it is not ended by that");
    let go =
        |id: &str| node.send(&Call::post(&format!("/flow/resume/{id}")).token(&node.token).key(id).json(&json!({})));
    go(&first).expect(202);
    becomes(&node, &first, "done");
    let inside = node.get(&format!("/flows/queues/{gate}")).expect(200).json()["holders"].clone();
    assert_eq!(inside[0]["flow"], second.as_str(), "the end of the first takes nobody's place");
}

#[test]
fn one_that_ended_before_any_step_began_is_restarted_from_its_page() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let first = start(&node, "single", "a", &json!({ "room": 7 }));
    becomes(&node, &first, "suspended");
    let second = start(&node, "single", "b", &json!({ "room": 7 }));
    becomes(&node, &second, "queued");
    let target = format!("/flows/{second}");
    let tell = |fields: &[(&str, &str)]| {
        filled_in(&node, &target, &[fields, &[("token", node.token.as_str())]].concat()).expect(303);
    };
    tell(&[("verb", "cancel")]);
    becomes(&node, &second, "cancelled");
    assert_eq!(shown(&node, &second)["steps"], json!({}));
    assert!(page(&node, &target).contains("<option>go</option>"), "the steps of its definition are there to be named");
    tell(&[("verb", "restart"), ("step", "go")]);
    becomes(&node, &second, "queued");
}

#[test]
fn an_undo_that_is_stuck_behind_a_restart_is_skipped_from_the_page() {
    let service = Peer::start();
    service.answers(|got| Reply::status(if got.target == "/undo" { 500 } else { 200 }));
    let flow = format!(
        r#"
[http]
allow = ["{0}"]
[flow.ordering]
steps.begin = {{ suspend = "go" }}
steps.order = {{ http = "POST", url = "'{1}/orders'", after = "begin", retry = {{ attempts = 1 }}, undo = {{ http = "POST", url = "'{1}/undo'" }} }}
steps.ask = {{ suspend = "go", after = "order" }}
"#,
        service.authority(),
        service.base()
    );
    let node = Node::start(Plan::blog().more(&flow));
    let id = start(&node, "ordering", "a", &json!({}));
    becomes(&node, &id, "suspended");
    let target = format!("/flows/{id}");
    let tell = |fields: &[(&str, &str)]| {
        filled_in(&node, &target, &[fields, &[("token", node.token.as_str())]].concat()).expect(303);
    };
    tell(&[("verb", "resume")]);
    eventually("it has ordered", || (shown(&node, &id)["steps"]["ask"]["state"] == "waiting").then_some(()));
    tell(&[("verb", "cancel")]);
    becomes(&node, &id, "stuck");
    tell(&[("verb", "kill")]);
    tell(&[("verb", "restart"), ("step", "begin")]);
    becomes(&node, &id, "stuck");
    assert_eq!(shown(&node, &id)["steps"].get("order"), None, "the restart has cleared it");
    assert!(page(&node, &target).contains("<option>order</option>"), "its undo is still there to be left");
    tell(&[("verb", "skip"), ("step", "order")]);
    becomes(&node, &id, "suspended");
}

#[test]
fn a_person_starts_a_flow_by_a_form_once_however_often_it_is_sent() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let read = page(&node, "/flows?name=single");
    assert!(read.contains("action=\"/flows/start\"") && read.contains("<option selected>single</option>"), "{read}");
    let key = |page: &str| page.split("name=\"once\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let first = key(&read);
    assert_ne!(first, key(&page(&node, "/flows")), "each form has a key of its own");
    let reader = node.new_token("reader", &["flows:read"]);
    let send = |name: &str, input: &str, token: &str| {
        let fields = [("name", name), ("input", input), ("once", first.as_str()), ("token", token)];
        filled_in(&node, "/flows/start", &fields)
    };
    node.settle();
    node.unchanged(|| {
        send("single", "{}", "qb_none").refused(401);
        send("single", "{}", &reader).refused(403);
        send("single", "{\"room\":", &node.token).refused_with(400, "the input cannot be read");
        assert!(send("nothing", "{}", &node.token).refused(404).contains("waiting"), "the flows there are get named");
        node.post("/flows/start", &json!({ "name": "single" })).refused(415);
    });
    let begun = send("single", "{\"room\":1}", &node.token).expect(303);
    let target = begun.header("location").unwrap().to_owned();
    assert_eq!(send("single", " {\"room\":1} ", &node.token).header("location"), Some(target.as_str()));
    let id = target.strip_prefix("/flows/").unwrap();
    becomes(&node, id, "suspended");
    let flow = shown(&node, id);
    assert_eq!(
        (&flow["input"]["input"], &flow["origin"]),
        (&json!({ "room": 1 }), &json!({ "api": { "by": "test" } }))
    );
    assert_ne!(send("single", "{\"room\":2}", &node.token).header("location"), Some(target.as_str()));
    assert_ne!(send("waiting", "", &node.token).expect(303).header("location"), Some(target.as_str()));
    eventually("all have begun", || (node.all("/flows").len() == 3).then_some(()));
}

#[test]
fn queues_versions_and_runners_are_pages_for_people_and_json_for_programs() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let first = start(&node, "single", "a", &json!({ "room": 7 }));
    becomes(&node, &first, "suspended");
    let second = start(&node, "single", "b", &json!({ "room": 7 }));
    becomes(&node, &second, "queued");
    let all = page(&node, "/flows");
    for target in ["/flows/queues", "/flows/versions", "/flows/runners"] {
        assert!(all.contains(&format!("href=\"{target}\"")), "nothing leads to {target}: {all}");
        let refused = node.send(&Call::get(target).accept("text/html")).expect(401);
        assert!(refused.header("www-authenticate").is_some_and(|it| it.starts_with("Basic")), "{refused}");
        node.get(target).expect(200).json();
    }
    let gate = node.all("/flows/queues")[0]["gate"].as_str().unwrap().to_owned();
    let target = format!("/flows/queues/{gate}");
    let read = page(&node, "/flows/queues");
    assert!(read.contains(&format!("href=\"{target}\"")) && read.contains("<td>7</td>"), "{read}");
    let read = page(&node, &target);
    let [inside, waits] = [&first, &second].map(|id| read.find(id.as_str()).unwrap());
    assert!(inside < waits && read.contains("at most 1; 1 in, 1 waiting"), "{read}");
    let tell = |flow: &str, token: &str| filled_in(&node, &target, &[("flow", flow), ("token", token)]);
    let reader = node.new_token("reader", &["flows:read"]);
    node.settle();
    node.unchanged(|| {
        tell(&first, "qb_none").refused(401);
        tell(&first, &reader).refused(403);
        assert!(tell(&second, &node.token).refused(409).contains("is not in"));
        node.post(&target, &json!({ "flow": first })).refused(415);
        let none = [("flow", first.as_str()), ("token", node.token.as_str())];
        filled_in(&node, "/flows/queues/none", &none).refused(404);
    });
    assert_eq!(tell(&first, &node.token).expect(303).header("location"), Some(target.as_str()));
    becomes(&node, &second, "suspended");
    let versions = page(&node, "/flows/versions");
    let definition = shown(&node, &first)["definition"].as_str().unwrap()[..12].to_owned();
    let link = format!("/flows?name=single&amp;definition={definition}&amp;state=suspended");
    assert!(versions.contains(&link) && versions.contains("2 suspended") && versions.contains("current"), "{versions}");
    let runners = page(&node, "/flows/runners");
    assert!(runners.contains("this node") && runners.contains("suspend"), "{runners}");
}

#[test]
fn flows_that_call_each_other_name_each_other() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let mother = start(&node, "mother", "a", &json!({ "n": 3 }));
    let child = eventually("it has called", || shown(&node, &mother)["children"][0]["id"].as_str().map(str::to_owned));
    becomes(&node, &child, "suspended");
    let of_mother = shown(&node, &mother)["children"].clone();
    assert_eq!(of_mother, json!([{ "id": child, "flow": "child", "step": "child", "run": 1 }]));
    let of_child = shown(&node, &child);
    assert_eq!(of_child["parent"], json!({ "id": mother, "step": "child" }));
    assert_eq!(of_child["trace"]["id"], shown(&node, &mother)["trace"]["id"], "one trace for both");
    let link = |id: &str| format!("href=\"/flows/{id}\"");
    assert!(page(&node, &format!("/flows/{mother}")).contains(&link(&child)));
    assert!(page(&node, &format!("/flows/{child}")).contains(&link(&mother)));
}

#[test]
fn an_export_has_everything_of_an_instance_and_no_secret_of_it() {
    let service = Peer::start();
    let flow = format!(
        "[http]\nallow = [\"{}\"]\n[flow.order]\nsteps.call = {{ http = \"POST\", url = \"'{}/x'\", \
         body = {{ back = \"callback_url\" }}, callback = true, undo = {{ http = \"POST\", url = \"'{}/undo'\" }} }}\n",
        service.authority(),
        service.base(),
        service.base()
    );
    let node = Node::start(Plan::blog().more(&flow));
    service.answers(|_| Reply::status(202));
    let long = "x".repeat(10_000);
    let id = start(&node, "order", "a", &json!({ "long": long }));
    becomes(&node, &id, "suspended");
    let got = eventually("the service is called", || service.got().first().cloned());
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    let token = body["back"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let answer = node.get(&format!("/flows/{id}/export")).expect(200);
    assert_eq!(answer.header("content-disposition"), Some(&*format!("attachment; filename=\"flow-{id}.json\"")));
    assert!(!answer.text().contains(&token), "whoever reads it must not be able to answer for the service");
    let export = answer.json();
    assert_eq!((&export["format"], &export["node"]["base"]), (&json!(1), &json!(node.base())));
    assert_eq!(export["instance"]["input"]["input"]["long"], long.as_str(), "nothing is cut");
    assert_eq!(export["definition"]["steps"]["call"]["kind"]["http"]["method"], "POST");
    assert_eq!(export["instance"]["undo"][0]["step"], "call");
    let facts: Vec<&Value> =
        export["events"].as_array().unwrap().iter().map(|it| &it["event"]["happened"]["fact"]["fact"]).collect();
    assert_eq!(
        facts.iter().filter(|fact| !fact.is_null()).copied().collect::<Vec<_>>(),
        ["step_started", "awaits_callback"]
    );
    let file = node.folder().join("export.json");
    let told = node.run(&["flows", "export", &id, "--output", file.to_str().unwrap(), "--json"]).done().json();
    assert!(told["events"].as_u64() >= Some(3), "{told}");
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&written["events"], &written["instance"]), (&export["events"], &export["instance"]));
    let printed = node.run(&["flows", "export", &id]).done().json();
    assert_eq!(printed["events"], export["events"]);
    node.get("/flows/none/export").refused(404);
    node.send(&Call::get(&format!("/flows/{id}/export"))).refused(401);
}

#[test]
fn a_method_that_an_address_does_not_take_is_answered_by_those_that_it_takes() {
    let node = Node::start(Plan::blog().more(FLOWS));
    let public = [
        ("GET", "/inbox", "POST"),
        ("DELETE", "/flows/abc", "GET, POST"),
        ("PUT", "/flow/start/waiting", "POST"),
        ("PATCH", "/store/kv/a/b", "DELETE, GET, HEAD, PUT"),
        ("POST", "/some-article", "GET"),
        ("GET", "/flow/resume/abc", "POST"),
    ];
    let refused = |answer: Answer, allow: &str| {
        answer.refused_with(405, allow);
        assert_eq!(answer.header("allow"), Some(allow));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    };
    for (method, target, allow) in public {
        refused(node.send(&Call::new(method, target).token(&node.token)), allow);
    }
    refused(node.admin("GET", "/admin/tick"), "POST");
    node.send(&Call::new("POST", "/flows/a/b/c/d")).refused(404);
    node.send(&Call::new("GET", "/tags")).refused(404);
    node.admin("GET", "/admin/nothing").refused(404);
}
