//! A kernel that other nodes use: who may start what, who sees and resumes it, and everything that is refused.

use quickbeam::config::template::Template;
use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::Peer;

const FLOWS: &str = r#"
[flow.open]
expose = true
steps.asked = { suspend = "go" }
steps.tell = { effect = "notify", after = "asked", with = { text = "'gone: ' + payload" } }
[flow.closed]
steps.tell = { effect = "notify", with = { text = "'closed'" } }
"#;

/// A node with nothing of its own that runs flows for these.
fn kernel(allowed: &[&Peer], strangers: &[&Peer]) -> Node {
    let list: Vec<String> = allowed.iter().map(|peer| format!("{:?}", peer.authority())).collect();
    let plan = Plan::new(Template::Empty).more(&format!("[kernel]\nallow = [{}]\n{FLOWS}", list.join(", ")));
    let plan = allowed.iter().chain(strangers).fold(plan, |plan, peer| plan.allow(peer.authority()));
    Node::start(plan)
}

fn start(peer: &Peer, node: &Node, flow: &str, key: &str, body: &Value) -> Answer {
    let call = Call::post(&format!("/flow/start/{flow}")).key(key).header("prefer", "wait=20");
    peer.sign_call(node, call, &body.to_string()).send(node)
}

fn resume(peer: &Peer, node: &Node, id: &str, key: &str) -> Answer {
    let call = Call::post(&format!("/flow/resume/{id}")).key(key).header("prefer", "wait=20");
    peer.sign_call(node, call, &json!({ "signal": "go", "payload": "away" }).to_string()).send(node)
}

fn look(peer: &Peer, node: &Node, id: &str) -> Answer {
    peer.sign_call(node, Call::get(&format!("/flow/{id}")), "").send(node)
}

#[test]
fn whoever_asks_learns_which_kinds_of_step_a_node_does() {
    let node = kernel(&[], &[]);
    let told = node.send(&Call::get("/flow/runner")).expect(200).json();
    assert_eq!(told["protocol"], "quickbeam-runner/1");
    let kinds: Vec<&str> = told["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    assert_eq!(kinds, ["all", "ask", "branch", "call", "each", "effect", "http", "suspend", "wait"]);
}

#[test]
fn an_allowed_node_starts_what_is_exposed_and_sees_and_resumes_only_that() {
    let (one, other) = (Peer::start(), Peer::start());
    let node = kernel(&[&one, &other], &[]);
    let begun = start(&one, &node, "open", "a", &json!({ "n": 1 })).expect(200).json();
    let id = begun["id"].as_str().unwrap();
    assert_eq!((&begun["phase"], &begun["origin"]["node"]["actor"]), (&json!("suspended"), &json!(one.actor())));
    let own = Call::post("/flow/start/open").token(&node.token).key("a").json(&json!({}));
    let own = node.send(&own).expect(202).json();
    assert_ne!(own["id"], begun["id"], "a key is that of one user");
    assert_eq!(look(&one, &node, id).expect(200).json()["phase"], "suspended");
    node.settle();
    node.unchanged(|| {
        look(&other, &node, id).refused(404);
        look(&one, &node, own["id"].as_str().unwrap()).refused(404);
        look(&one, &node, "nothing").refused(404);
        resume(&other, &node, id, "r").refused(404);
        resume(&one, &node, own["id"].as_str().unwrap(), "r").refused(404);
    });
    assert_eq!(resume(&one, &node, id, "r").expect(200).json()["phase"], "done");
    assert_eq!(node.notices(), ["gone: away"]);
}

#[test]
fn a_repeat_starts_nothing_and_a_key_is_used_for_one_request() {
    let peer = Peer::start();
    let node = kernel(&[&peer], &[]);
    let begun = start(&peer, &node, "open", "a", &json!({ "n": 1 })).expect(200).json();
    node.settle();
    node.unchanged(|| {
        let again = start(&peer, &node, "open", "a", &json!({ "n": 1 })).expect(200).json();
        assert_eq!(again["id"], begun["id"]);
        start(&peer, &node, "open", "a", &json!({ "n": 2 })).refused_with(422, "key");
    });
}

#[test]
fn everybody_else_and_everything_else_is_refused() {
    let (peer, stranger) = (Peer::start(), Peer::start());
    let node = kernel(&[&peer], &[&stranger]);
    let call = || Call::post("/flow/start/open").key("k");
    node.settle();
    node.unchanged(|| {
        start(&stranger, &node, "open", "a", &json!({})).refused_with(403, "[kernel] allow");
        assert_eq!(stranger.connections(), 0, "nothing is fetched for a stranger");
        start(&peer, &node, "closed", "a", &json!({})).refused_with(404, "this node has open");
        start(&peer, &node, "absent", "a", &json!({})).refused(404);
        peer.sign_call(&node, Call::post("/flow/start/open"), "{}").send(&node).refused_with(400, "Idempotency-Key");
        peer.sign_call(&node, call(), "{}").without("idempotency-key").send(&node).refused_with(401, "idempotency-key");
        peer.sign_call(&node, call(), "{}").without("content-digest").send(&node).refused(401);
        peer.sign_call(&node, call(), "{}").change(|it| it.forged = true).send(&node).refused(403);
        let mut forged = peer.sign_call(&node, call(), "{}").call();
        forged.headers.iter_mut().filter(|(name, _)| name == "idempotency-key").for_each(|it| it.1 = "another".into());
        node.send(&forged).refused_with(403, "false");
        peer.sign_call(&node, call(), "{}").change(|it| it.created = Some(1)).send(&node).refused(401);
        node.send(&call().json(&json!({}))).refused(401);
    });
    eventually("it is taken as it should be", || {
        (start(&peer, &node, "open", "k", &json!({})).status == 200).then_some(())
    });
}
