//! Flows that cannot be started, resumed or moved as somebody wants, and those that can only once.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};

/// Waits for a signal with a payload of a shape, and counts what came of it.
const ASKING: &str = r#"
[flow.asking]
steps.ask = { suspend = "go", shape.note = { kind = "text", max = 5, required = true } }
steps.tell = { effect = "notify", after = "ask", with = { text = "'went: ' + payload.note" } }
result = "results.ask.note"
"#;

fn asking() -> Node {
    Node::start(Plan::blog().more(ASKING))
}

fn start(node: &Node, key: &str) -> String {
    let call = Call::post("/flow/start/asking").token(&node.token).key(key).header("prefer", "wait=30");
    let answer = node.send(&call.json(&json!({}))).expect(200);
    assert_eq!(answer.json()["phase"], "suspended", "{answer}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn resume(node: &Node, id: &str, key: &str, body: &Value) -> Answer {
    let call = Call::post(&format!("/flow/resume/{id}")).token(&node.token).key(key).header("prefer", "wait=30");
    node.send(&call.json(body))
}

fn go(note: &str) -> Value {
    json!({ "signal": "go", "payload": { "note": note } })
}

#[test]
fn what_is_not_there_cannot_be_started_or_resumed() {
    let node = asking();
    node.unchanged(|| {
        let unknown = Call::post("/flow/start/nothing").token(&node.token).key("a").json(&json!({}));
        node.send(&unknown).refused_with(404, "asking");
        resume(&node, "0123456789abcdef0123456789abcdef", "b", &go("x")).refused_with(404, "no flow");
        node.get("/flow/0123456789abcdef0123456789abcdef").refused(404);
        node.post("/flows/0123456789abcdef0123456789abcdef/cancel", &json!({})).refused(404);
    });
}

#[test]
fn people_see_what_is_kept_and_what_would_go_and_nothing_young_goes() {
    let node = Node::start(Plan::blog().more(ASKING).more("[retention]\nflows = \"never\""));
    start(&node, "a");
    let shown = node.admin("GET", "/admin/retention").expect(200).json();
    assert_eq!(
        shown["keeps"],
        json!({ "flows": "never", "received": "90d", "deliveries": "30d", "answers": "2d", "ids": "90d" }),
        "{shown}"
    );
    let none = json!({ "flows": 0, "received": 0, "deliveries": 0, "answers": 0, "ids": 0, "effects": 0 });
    for (target, dry) in [("/admin/retention?dry_run=true", true), ("/admin/retention", false)] {
        let passed = node.admin("POST", target).expect(200).json();
        assert_eq!(passed, json!({ "dry_run": dry, "removed": none }));
    }
    assert_eq!(node.admin("GET", "/admin/retention").json()["passes"], 1, "a dry run is none");
    node.admin("POST", "/admin/retention?dry=1").refused(400);
}

#[test]
fn a_start_and_a_resume_need_a_key() {
    let node = asking();
    let id = start(&node, "a");
    node.unchanged(|| {
        node.post("/flow/start/asking", &json!({})).refused_with(400, "Idempotency-Key");
        node.post(&format!("/flow/resume/{id}"), &go("x")).refused_with(400, "Idempotency-Key");
        node.post(&format!("/flows/{id}/resume"), &go("x")).refused_with(400, "Idempotency-Key");
    });
}

#[test]
fn a_signal_or_payload_that_is_not_waited_for_is_refused() {
    let node = asking();
    let id = start(&node, "a");
    node.unchanged(|| {
        resume(&node, &id, "1", &json!({ "signal": "stop", "payload": {} })).refused_with(409, "stop");
        let answer = resume(&node, &id, "2", &json!({ "signal": "go", "payload": {} }));
        answer.refused(422);
        assert_eq!(answer.json()["errors"][0]["field"], "note", "{answer}");
        let answer = resume(&node, &id, "3", &json!({ "signal": "go", "payload": { "note": "too long", "x": 1 } }));
        answer.refused(422);
        assert_eq!(answer.json()["errors"].as_array().map(Vec::len), Some(2), "{answer}");
        resume(&node, &id, "4", &json!({ "signals": "go" })).refused_with(400, "signals");
        resume(&node, &id, "5", &json!([])).refused(400);
        node.post(&format!("/flows/{id}/juggle"), &json!({})).refused(404);
        node.post(&format!("/flows/{id}/retry"), &json!({})).refused(409);
        node.post(&format!("/flows/{id}/cancel"), &json!({ "raeson": "x" })).refused_with(400, "raeson");
    });
    let done = resume(&node, &id, "6", &go("ok")).expect(200).json();
    assert_eq!((&done["phase"], &done["result"]), (&json!("done"), &json!("ok")));
    assert_eq!(node.notices(), ["went: ok"]);
    node.settle();
    node.unchanged(|| {
        resume(&node, &id, "7", &go("ok")).refused_with(409, "done");
        node.post(&format!("/flows/{id}/cancel"), &json!({})).refused(409);
        node.post(&format!("/flows/{id}/retry"), &json!({})).refused(409);
        // The same request as before is the same request.
        assert_eq!(resume(&node, &id, "6", &go("ok")).expect(200).json()["phase"], "done");
        resume(&node, &id, "6", &go("no")).refused_with(422, "key");
    });
}

#[test]
fn of_two_who_resume_at_once_exactly_one_wins() {
    let node = asking();
    for round in 0..5 {
        let id = start(&node, &format!("r{round}"));
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let (node, id) = (&node, &id);
            let one = |n: usize| scope.spawn(move || resume(node, id, &format!("{round}/{n}"), &go(&n.to_string())));
            let sent: Vec<_> = (0..4).map(one).collect();
            sent.into_iter().map(|sent| sent.join().unwrap()).collect()
        });
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        answers.iter().filter(|answer| answer.status != 200).for_each(|lost| drop(lost.refused(409)));
        let result = node.get(&format!("/flow/{id}")).expect(200).json()["result"].clone();
        assert_eq!(result, won[0].json()["result"]);
    }
    assert_eq!(node.notices().len(), 5);
}

#[test]
fn a_cancelled_flow_stays_so() {
    let node = asking();
    let id = start(&node, "a");
    let cancelled = node.post(&format!("/flows/{id}/cancel"), &json!({ "reason": "not now" })).expect(200).json();
    assert_eq!((&cancelled["phase"], &cancelled["reason"]), (&json!("cancelled"), &json!("not now")));
    node.settle();
    node.unchanged(|| resume(&node, &id, "1", &go("x")).refused_with(409, "cancelled"));
    assert_eq!(node.notices(), [""; 0]);
}

#[test]
fn who_prefers_to_wait_gets_the_end_and_who_does_not_the_place() {
    let node = asking();
    let call = Call::post("/flow/start/asking").token(&node.token).key("w").json(&json!({}));
    let answer = node.send(&call).expect(202);
    let place = answer.header("location").unwrap().to_owned();
    assert_eq!(place, format!("{}/flow/{}", node.base(), answer.json()["id"].as_str().unwrap()));
    let path = place.strip_prefix(&node.base()).unwrap().to_owned();
    eventually("it waits", || (node.get(&path).json()["phase"] == "suspended").then_some(()));
    let none = node.send(&call.clone().header("prefer", "wait=x")).expect(202);
    assert_eq!(none.header("preference-applied"), None);
}

#[test]
fn a_suspended_flow_outlives_kill_and_is_done_once() {
    let node = asking();
    let id = start(&node, "a");
    node.kill();
    node.restart();
    assert_eq!(node.get(&format!("/flow/{id}")).expect(200).json()["phase"], "suspended");
    assert_eq!(resume(&node, &id, "r", &go("ok")).expect(200).json()["phase"], "done");
    node.kill();
    node.restart();
    assert_eq!(resume(&node, &id, "r", &go("ok")).expect(200).json()["phase"], "done");
    assert_eq!(node.notices(), ["went: ok"]);
}

#[test]
fn who_waits_for_a_limit_is_seen_in_order_and_let_in_when_there_is_room() {
    let flow = "[flow.one]\nconcurrency = { key = \"input.k\", max = 1 }\nsteps.ask = { suspend = \"go\" }\n";
    let node = Node::start(Plan::blog().more(flow));
    let begin = |key: &str| {
        let call = Call::post("/flow/start/one").token(&node.token).key(key);
        let answer = node.send(&call.json(&json!({ "k": "x" }))).expect(202);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let phase = |id: &str| node.get(&format!("/flow/{id}")).expect(200).json()["phase"].clone();
    let first = begin("a");
    eventually("the first is in", || (phase(&first) == "suspended").then_some(()));
    // In the order in which they come to the gate, which is that of their starts only for one after the other.
    let second = begin("b");
    let waits = |id: &str| node.get(&format!("/flows/{id}/queue")).expect(200).json()["place"] == 1;
    eventually("the second waits", || waits(&second).then_some(()));
    let others = [second, begin("c")];
    let queues = eventually("two wait", || {
        let queues = node.get("/flows/queues").expect(200).json();
        (queues["items"][0]["waiting"] == 2).then_some(queues)
    });
    assert_eq!(
        (&queues["items"][0]["flow"], &queues["items"][0]["key"], &queues["items"][0]["inside"]),
        (&json!("one"), &json!("x"), &json!(1))
    );
    let gate = queues["items"][0]["gate"].as_str().unwrap();
    let shown = node.get(&format!("/flows/queues/{gate}")).expect(200).json();
    assert_eq!(shown["holders"][0]["flow"], first.as_str());
    let waits = shown["items"].as_array().unwrap().iter().map(|it| (it["flow"].clone(), it["place"].clone()));
    let in_order = [(json!(others[0]), json!(1)), (json!(others[1]), json!(2))];
    assert_eq!(waits.collect::<Vec<_>>(), in_order, "{shown}");
    let page = node.get(&format!("/flows/queues/{gate}?limit=1")).expect(200).json();
    let next = page["next"].as_str().unwrap();
    let page = node.get(&format!("/flows/queues/{gate}?limit=1&after={next}")).expect(200).json();
    assert_eq!((&page["items"][0]["flow"], &page["items"][0]["place"]), (&json!(others[1]), &json!(2)));
    let place = node.get(&format!("/flows/{}/queue", others[1])).expect(200).json();
    assert_eq!((&place["queued"], &place["limit"], &place["place"]), (&json!(true), &json!("concurrency"), &json!(2)));
    let waiting = node.get(&format!("/flow/{}", others[1])).expect(200).json();
    assert_eq!((&waiting["queued"]["key"], &waiting["queued"]["place"]), (&json!("x"), &json!(2)), "{waiting}");
    assert_eq!(waiting["queued"]["gate"], gate);
    let why = waiting["why"].to_string();
    for words in ["the limit `concurrency`", r#"the key \"x\""#, "it is number 2", gate] {
        assert!(why.contains(words), "{words} is not in {why}");
    }
    let page = node.send(&Call::get(&format!("/flows/{}", others[1])).token(&node.token).accept("text/html"));
    assert!(page.text().contains(&format!("href=\"/flows/queues/{gate}\"")) && page.text().contains("it is number 2"));
    let told = node.run(&["flows", "show", &others[1]]).done().out;
    assert!(told.contains("limit `concurrency`") && told.contains("it is number 2"), "{told}");
    let told = node.run(&["flows", "queues", gate]).done();
    assert!(told.out.contains(&others[1]) && told.out.contains("concurrency"), "{}", told.out);
    assert!(node.run(&["flows", "queues"]).done().out.contains(gate));
    node.get("/flows/queues/none.concurrency.0").refused(404);
    let cancelled = node.post(&format!("/flows/{}/cancel", others[0]), &json!({}));
    assert_eq!(cancelled.expect(200).json()["phase"], "cancelled");
    let go = Call::post(&format!("/flow/resume/{first}")).token(&node.token).key("go").json(&json!({}));
    node.send(&go);
    eventually("the last is let in", || (phase(&others[1]) == "suspended").then_some(()));
}
