//! People who learn that a flow waits for them: the webhook of a `suspend`, what it is posted, and what its failure is not.

use quickbeam::clock::Time;
use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};
use crate::proof::Got;

fn asking(service: &Peer) -> Node {
    let flow = format!(
        r#"
[flow.asking]
steps.ask = {{ suspend = "approve", timeout = "7d", assignee = "input.who", notify = "{}/hook", retry = {{ attempts = 2, delay = "1s" }} }}
"#,
        service.base()
    );
    Node::start(Plan::blog().allow(service.authority()).more(&flow))
}

fn start(node: &Node, input: &Value) -> String {
    let call = Call::post("/flow/start/asking").token(&node.token).key("a").header("prefer", "wait=30");
    let answer = node.send(&call.json(input)).expect(200).json();
    assert_eq!(answer["phase"], "suspended", "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn shown(node: &Node, id: &str) -> Value {
    node.get(&format!("/flow/{id}")).expect(200).json()
}

fn notice(node: &Node, id: &str, state: &str) -> Value {
    eventually(&format!("the notice is {state}"), || {
        let flow = shown(node, id);
        (flow["notices"]["ask"]["state"] == state).then_some(flow)
    })
}

fn posted(got: &Got) -> (&str, &str, Value) {
    let header = |name: &str| {
        let mut named = got.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let (_, value) = named.next().unwrap_or_else(|| panic!("there is no {name}: {got:?}"));
        value.as_str()
    };
    assert_eq!((got.method.as_str(), got.target.as_str()), ("POST", "/hook"), "{got:?}");
    (header("content-type"), header("idempotency-key"), serde_json::from_slice(&got.body).unwrap())
}

#[test]
fn who_is_to_act_is_told_all_that_the_manual_says_and_again_under_the_same_key_when_that_failed() {
    let service = Peer::start();
    let tries = std::sync::atomic::AtomicU32::new(0);
    service.answers(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Reply::status(503),
        _ => Reply::status(200),
    });
    let node = asking(&service);
    let id = start(&node, &json!({ "who": "ada" }));
    let flow = notice(&node, &id, "done");
    let got = service.got();
    assert_eq!(got.len(), 2, "{got:?}");
    let [first, again] = [posted(&got[0]), posted(&got[1])];
    assert_eq!(first, again, "the second try is the same request");
    let expected = json!({
        "flow": id,
        "name": "asking",
        "step": "ask",
        "signal": "approve",
        "assignee": "ada",
        "until": Time(flow["steps"]["ask"]["until"].as_u64().unwrap()).to_string(),
        "url": format!("{}/flows/{id}", node.base()),
    });
    let (content_type, key, body) = first;
    assert!(content_type == "application/json" && key.ends_with("/ask/-/notify\""), "{content_type} {key}");
    assert_eq!(body, expected);
    // Whoever was told lets it go on by what they were told.
    let call = Call::post(&format!("/flow/resume/{id}")).token(&node.token).key("r").header("prefer", "wait=30");
    let signal = body["signal"].clone();
    assert_eq!(node.send(&call.json(&json!({ "signal": signal, "payload": {} }))).expect(200).json()["phase"], "done");
}

#[test]
fn a_flow_waits_on_when_nobody_can_be_told_and_retry_tells_them_also_after_kill_9() {
    let service = Peer::start();
    service.answers(|_| Reply::status(503));
    let node = asking(&service);
    let id = start(&node, &json!({ "who": null }));
    let flow = notice(&node, &id, "stuck");
    assert_eq!(flow["phase"], "suspended", "{flow}");
    assert!(flow["notices"]["ask"]["reason"].as_str().unwrap().contains("503"), "{flow}");
    assert_eq!(service.got().len(), 2);
    node.kill();
    service.answers(|_| Reply::status(200));
    node.restart();
    node.post(&format!("/flows/{id}/retry"), &json!({})).expect(200);
    notice(&node, &id, "done");
    let got = service.got();
    let [(_, key, body), (_, told, later)] = [posted(&got[0]), posted(got.last().unwrap())];
    assert_eq!((got.len(), key, &body), (3, told, &later));
    assert_eq!(body["assignee"], Value::Null, "{body}");
    node.settle();
    node.unchanged(|| node.post(&format!("/flows/{id}/retry"), &json!({})).refused(409));
}
