//! One instance as people and programs see it: why it waits, what happened, its picture, and the form that moves it.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};

/// Goes one of two ways, calls a service that is slow to answer, asks somebody, and takes back what it did.
fn node(service: &Peer) -> Node {
    let flow = format!(
        r#"
[http]
allow = ["{0}"]
[flow.review]
steps.urgent = {{ branch = "input.urgent", then = "order", else = "later" }}
steps.later = {{ wait = "1h" }}
steps.order = {{ http = "POST", url = "'{1}/orders'", body = {{ back = "callback_url" }}, callback = "2h", undo = {{ http = "DELETE", url = "'{1}/orders'" }} }}
steps.remind = {{ suspend = "remind", after = "order" }}
steps.ask = {{ suspend = "go", after = "order", assignee = "'ann'" }}
steps.tell = {{ effect = "notify", after = ["ask", "later"], with = {{ text = "'went'" }} }}
"#,
        service.authority(),
        service.base()
    );
    Node::start(Plan::blog().more(&flow))
}

fn started(node: &Node) -> String {
    let call = Call::post("/flow/start/review").token(&node.token).key("a").header("prefer", "wait=30");
    node.send(&call.json(&json!({ "urgent": true }))).expect(200).json()["id"].as_str().unwrap().to_owned()
}

fn shown(node: &Node, id: &str) -> Value {
    node.get(&format!("/flow/{id}")).expect(200).json()
}

fn page(node: &Node, target: &str) -> Answer {
    node.send(&Call::get(target).token(&node.token).accept("text/html"))
}

fn said(flow: &Value, word: &str) -> bool {
    flow["why"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().contains(word))
}

/// What happened, by its words and whoever did it.
fn happened(flow: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    flow["timeline"].as_array().unwrap().iter().map(|one| (text(one, "fact"), text(one, "step"))).collect()
}

/// The path at which the service answers.
fn callback(service: &Peer, node: &Node) -> String {
    let got = eventually("the service is called", || service.got().into_iter().find(|got| got.method == "POST"));
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    body["back"].as_str().unwrap().strip_prefix(&node.base()).unwrap().to_owned()
}

#[test]
fn an_instance_says_why_it_waits_what_would_move_it_and_what_happened() {
    let service = Peer::start();
    service.answers(|_| Reply::status(202));
    let node = node(&service);
    let id = started(&node);
    let path = callback(&service, &node);
    let token = path.rsplit('/').next().unwrap().to_owned();
    let flow = shown(&node, &id);
    assert!(said(&flow, "`order` waits to be called back"), "{flow}");
    assert!(flow["possible"].as_array().unwrap().contains(&json!("skip")), "{flow}");
    assert_eq!(flow["undo"][0]["step"], "order");
    assert!(!flow.to_string().contains(&token), "whoever may read could answer in the place of the service: {flow}");
    node.send(&Call::post(&path).json(&json!({ "ok": true }))).expect(200);
    let resumed = Call::post(&format!("/flows/{id}/resume")).token(&node.token).key("r");
    let flow = shown(&node, &id);
    assert!(said(&flow, "`ask` waits for the signal `go` of ann") && said(&flow, "`remind`"), "{flow}");
    node.send(&resumed.json(&json!({ "signal": "go", "payload": { "by": "hand" } }))).expect(202);
    eventually("it is told", || (node.notices() == ["went"]).then_some(()));
    node.kill();
    node.restart();
    let flow = eventually("it waits for one thing", || {
        let flow = shown(&node, &id);
        (flow["phase"] == "suspended").then_some(flow)
    });
    let facts = happened(&flow);
    let order = [
        ("started", ""),
        ("branch_taken", "urgent"),
        ("step_started", "order"),
        ("called_back", "order"),
        ("resumed", "ask"),
        ("step_done", "tell"),
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|(fact, step)| {
            let at = facts.iter().position(|(f, s)| f == fact && s == step);
            at.unwrap_or_else(|| panic!("{fact} {step} is not in {facts:?}"))
        })
        .collect();
    assert!(places.is_sorted(), "{facts:?}");
    let one = |fact: &str| flow["timeline"].as_array().unwrap().iter().find(|one| one["fact"] == fact).unwrap().clone();
    assert_eq!((&one("resumed")["by"], &one("resumed")["payload"]), (&json!("test"), &json!({ "by": "hand" })));
    assert!(one("called_back")["took_ms"].is_u64() && one("step_started")["attempt"] == 1);
    let told = node.run(&["flows", "show", &id]).done().out;
    assert!(
        told.contains("`remind` waits for the signal") && told.contains("called_back") && told.contains("cancel"),
        "{told}"
    );
}

#[test]
fn the_picture_shows_where_each_step_stands() {
    let service = Peer::start();
    service.answers(|_| Reply::status(202));
    let node = node(&service);
    let id = started(&node);
    let svg = node.get(&format!("/flows/{id}.svg")).expect(200);
    assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
    assert!(svg.header("content-security-policy").is_some());
    for words in ["branch · then", "wait · not reached", "http · for a callback", "effect · not begun"] {
        assert!(svg.text().contains(words), "{words} is not in {}", svg.text());
    }
    node.post(&format!("/flows/{id}/cancel"), &json!({})).expect(200);
    eventually("it is undone", || node.get(&format!("/flows/{id}.svg")).text().contains("http · undone").then_some(()));
    let page = page(&node, &format!("/flows/{id}")).expect(200).text();
    assert!(page.contains("<svg") && page.contains("http · undone") && page.contains("What happened"));
    node.send(&Call::get(&format!("/flows/{id}.svg"))).refused(401);
    node.get("/flows/0123456789abcdef0123456789abcdef.svg").refused(404);
    let writer = node.new_token("writer", &["flows:write"]);
    node.send(&Call::get(&format!("/flows/{id}.svg")).token(&writer)).refused(403);
}

#[test]
fn the_form_of_a_page_moves_an_instance_with_a_token_in_it_and_not_without() {
    let service = Peer::start();
    service.answers(|_| Reply::status(202));
    let node = node(&service);
    let id = started(&node);
    assert!(page(&node, &format!("/flows/{id}")).text().contains("<form"));
    let form = |body: &str| {
        let call = Call::post(&format!("/flows/{id}")).header("content-type", "application/x-www-form-urlencoded");
        node.send(&call.body(body.to_owned()))
    };
    let reader = node.new_token("reader", &["flows:read"]);
    let token = node.token.clone();
    node.settle();
    node.unchanged(|| {
        form("verb=pause").refused(401);
        form("verb=pause&token=qb_no").refused(401);
        form(&format!("verb=pause&token={reader}")).refused(403);
        form(&format!("verb=juggle&token={token}")).refused(404);
        form(&format!("verb=skip&token={token}")).refused_with(400, "step");
        form(&format!("verb=skip&step=order&value=%7B&token={token}")).refused(400);
        form(&format!("verb=continue&token={token}")).refused_with(409, "pause");
        // A browser sends by itself only what is not enough.
        let basic = Call::post(&format!("/flows/{id}")).token(&token).json(&json!({ "verb": "pause" }));
        node.send(&basic).refused(415);
    });
    let moved = form(&format!("verb=skip&step=order&value=%7B%22x%22%3A1%7D&item=&reason=&token={token}")).expect(303);
    assert_eq!(moved.header("location"), Some(format!("/flows/{id}").as_str()));
    assert_eq!(shown(&node, &id)["steps"]["order"]["result"], json!({ "x": 1 }));
    let list = page(&node, "/flows?name=review&state=suspended&limit=1").expect(200).text();
    assert!(list.contains(&id) && list.contains("<select name=\"state\""));
}

#[test]
fn a_kill_says_how_much_it_left() {
    let service = Peer::start();
    service.answers(|_| Reply::status(202));
    let node = node(&service);
    let id = started(&node);
    assert_eq!(shown(&node, &id).get("left"), None);
    let told = node.post(&format!("/flows/{id}/kill"), &json!({ "reason": "enough" })).expect(200).json();
    assert_eq!((&told["phase"], &told["left"]), (&json!("killed"), &json!(1)), "the order has an undo: {told}");
    assert_eq!(shown(&node, &id)["left"], 1);
    let read = page(&node, &format!("/flows/{id}")).expect(200).text();
    assert!(read.contains("enough. One thing that it did was not taken back."), "{read}");
    let other =
        node.send(&Call::post("/flow/start/review").token(&node.token).key("b").json(&json!({ "urgent": true })));
    let other = other.expect(202).json()["id"].as_str().unwrap().to_owned();
    eventually("it has ordered", || (shown(&node, &other)["undo"][0]["step"] == "order").then_some(()));
    let told = node.run(&["flows", "kill", &other]).done().out;
    assert!(told.lines().any(|line| line.starts_with("not taken back") && line.ends_with(" 1")), "{told}");
    let third =
        node.send(&Call::post("/flow/start/review").token(&node.token).key("c").json(&json!({ "urgent": true })));
    let third = third.expect(202).json()["id"].as_str().unwrap().to_owned();
    eventually("it has ordered", || (shown(&node, &third)["undo"][0]["step"] == "order").then_some(()));
    let told = node.run(&["flows", "kill", "--where", "name=review", "--where", "state=suspended"]).done().out;
    assert!(told.starts_with("1 told to kill, 0 refused; things not taken back: 1"), "{told}");
}
