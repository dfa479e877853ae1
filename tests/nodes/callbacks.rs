//! Services that are called by a step and answer later: at the address that they were given, once, and after kill -9.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};

/// Orders something from a service, and waits for its word.
fn ordering(service: &Peer, limit: &str) -> Node {
    let flow = format!(
        r#"
[http]
allow = ["{}"]
[flow.ordering]
steps.order = {{ http = "POST", url = "'{}/orders'", body = {{ answer_to = "callback_url" }}, callback = true }}
steps.tell = {{ effect = "notify", after = "order", with = {{ text = "'came: ' + results.order.what" }} }}
"#,
        service.authority(),
        service.base()
    );
    Node::start(Plan::blog().more(&flow).limit(limit))
}

/// Starts one that waits, and gives its id and the path at which the service answers.
fn ordered(node: &Node, service: &Peer, key: &str) -> (String, String) {
    service.answers(|_| Reply::status(202));
    let before = service.got().len();
    let call = Call::post("/flow/start/ordering").token(&node.token).key(key).header("prefer", "wait=30");
    let id = node.send(&call.json(&json!({}))).expect(200).json()["id"].as_str().unwrap().to_owned();
    let got = eventually("the service is called", || service.got().get(before).cloned());
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    let url = body["answer_to"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{}/flow/callback/{id}/", node.base())), "{url}");
    (id, url.strip_prefix(&node.base()).unwrap().to_owned())
}

/// As a service answers that has nothing but the address.
fn answer(node: &Node, path: &str, body: &Value) -> Answer {
    node.send(&Call::post(path).json(body))
}

fn ends(node: &Node, id: &str) -> Value {
    eventually("the flow ends", || {
        let flow = node.get(&format!("/flow/{id}")).expect(200).json();
        (flow["phase"] == "done").then_some(flow)
    })
}

const LIMIT: &str = "peer_rate = 100";

#[test]
fn a_service_answers_once_at_the_address_that_it_was_given() {
    let service = Peer::start();
    let node = ordering(&service, LIMIT);
    let (id, path) = ordered(&node, &service, "a");
    let taken = answer(&node, &path, &json!({ "what": "bread" })).expect(200);
    assert_eq!(taken.json(), json!({ "status": "taken" }));
    assert_eq!(ends(&node, &id)["steps"]["order"]["result"], json!({ "what": "bread" }));
    node.settle();
    node.unchanged(|| {
        let again = answer(&node, &path, &json!({ "what": "bread" })).expect(200);
        assert_eq!(again.json(), taken.json(), "a repeat is the same answer");
        answer(&node, &path, &json!({ "what": "stones" })).refused_with(409, "used");
    });
    assert_eq!(node.notices(), ["came: bread"]);
}

#[test]
fn an_address_that_was_never_handed_out_or_is_over_is_refused() {
    let service = Peer::start();
    let node = ordering(&service, LIMIT);
    let (id, path) = ordered(&node, &service, "a");
    let (_, other) = ordered(&node, &service, "b");
    let token = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    node.settle();
    node.unchanged(|| {
        let body = json!({ "what": "x" });
        for wrong in [
            format!("/flow/callback/{id}/{}", token(&other)),
            format!("/flow/callback/{id}/{}", "0".repeat(32)),
            format!("/flow/callback/{}/{}", "0".repeat(32), token(&path)),
            format!("/flow/callback/{id}/{}", token(&path).to_uppercase()),
            format!("/flow/callback/{id}/..%2f"),
        ] {
            answer(&node, &wrong, &body).refused(404);
        }
        answer(&node, &format!("/flow/callback/{id}"), &body).refused(404);
        node.send(&Call::get(&path)).refused(405);
        node.send(&Call::post(&path).body("{\"what\":")).refused(400);
        node.send(&Call::post(&path).body("{\"a\":1,\"a\":2}")).refused(400);
        node.send(&Call::post(&path).body(vec![b' '; 2 << 20])).refused(413);
    });
    node.post(&format!("/flows/{id}/cancel"), &json!({})).expect(200);
    node.settle();
    node.unchanged(|| answer(&node, &path, &json!({ "what": "late" })).refused_with(410, "over"));
}

#[test]
fn who_calls_back_too_often_is_told_to_wait() {
    let service = Peer::start();
    let node = ordering(&service, "peer_rate = 1");
    let (id, path) = ordered(&node, &service, "a");
    let wrong = format!("/flow/callback/{id}/{}", "0".repeat(32));
    let slow = eventually("it is too often", || {
        let answer = answer(&node, &wrong, &json!({}));
        (answer.status == 429).then_some(answer)
    });
    slow.refused_with(429, "slow down");
    assert!(slow.header("retry-after").is_some());
    // Whoever waits is heard.
    eventually("it is taken", || (answer(&node, &path, &json!({ "what": "bread" })).status == 200).then_some(()));
    ends(&node, &id);
}

#[test]
fn a_callback_counts_after_kill_and_is_taken_once() {
    let service = Peer::start();
    let node = ordering(&service, LIMIT);
    let (id, path) = ordered(&node, &service, "a");
    node.kill();
    node.restart();
    answer(&node, &path, &json!({ "what": "bread" })).expect(200);
    node.kill();
    node.restart();
    answer(&node, &path, &json!({ "what": "bread" })).expect(200);
    answer(&node, &path, &json!({ "what": "stones" })).refused(409);
    ends(&node, &id);
    node.settle();
    assert_eq!(node.notices(), ["came: bread"]);
}
