//! A restored node is held: it serves reads and sends and fires nothing until it is let go, then everything once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually, within};
use crate::http::Call;
use crate::peer::{Peer, Reply};

/// Long enough for several ticks, and for a timer that is due.
const QUIET: Duration = Duration::from_secs(3);

const FLOWS: &str = r#"
[flow.late]
steps.ask = { suspend = "go", timeout = "1s", otherwise = "tell" }
steps.tell = { effect = "notify", with = { text = "'too late'" } }
"#;

fn creates(peer: &Peer) -> Vec<String> {
    let created = peer.activities().into_iter().filter(|activity| activity["type"] == "Create");
    created.map(|activity| activity["object"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_leaves_a_restored_node_before_it_is_let_go_and_then_everything_once() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()).more(FLOWS));
    peer.follows(&node);
    peer.answers(|_| Reply::status(503));
    let made: BTreeSet<String> =
        (0..5).map(|n| node.publish(&format!("Gig {n}"))["id"].as_str().unwrap().to_owned()).collect();
    node.settle_flows();
    let start = Call::post("/flow/start/late").token(&node.token).key("late").json(&json!({}));
    let start = node.send(&start);
    assert!((200..300).contains(&start.status), "{start}");
    let file = node.folder().join("a.qbk");
    node.run(&["backup", file.to_str().unwrap()]).done();
    let after = node.publish("After the backup");
    node.kill();
    // Whatever the original tried is over; from here on the peer takes everything.
    let tried = peer.got().len();
    peer.answers(|_| Reply::status(202));
    let restored = Node::restored(&node, &file);
    restored.start_held();
    refuses_changes(&restored, &peer);
    let held = restored.admin("GET", "/admin/held").expect(200).json();
    assert_eq!(held["held"], true);
    assert_eq!(held["pending"]["outboxes"][peer.authority()]["entries"], 5, "{held}");
    let timers = restored.all("/admin/held?list=timers");
    assert!(!timers.is_empty(), "{held}");
    let told = restored.run(&["continue", "--dry-run"]).done();
    assert!(told.out.contains(&peer.authority()) && told.out.contains("original"), "{told:?}");
    assert!(restored.run(&["status"]).done().out.contains("held"));
    assert!(within(QUIET, || (peer.got().len() > tried).then_some(())).is_none(), "it sent {:?}", peer.got().last());
    assert!(!restored.notices().contains(&"too late".to_owned()), "a timer fired");
    // A restart in between changes nothing.
    restored.kill();
    restored.start_held();
    let again = restored.admin("GET", "/admin/held").expect(200).json();
    assert_eq!(again["pending"]["outboxes"], held["pending"]["outboxes"]);
    assert_eq!(peer.got().len(), tried);
    restored.run(&["continue"]).done();
    restored.wait_ready();
    eventually("everything arrives", || {
        (creates(&peer).iter().filter(|id| made.contains(*id)).count() >= 5).then_some(())
    });
    eventually("the timer fires", || restored.notices().contains(&"too late".to_owned()).then_some(()));
    restored.settle();
    let arrived = || -> Vec<Value> {
        let since = peer.got().len() - tried;
        peer.activities().into_iter().rev().take(since).filter(|activity| activity["type"] == "Create").collect()
    };
    assert_eq!(arrived().len(), 5, "each once: {:#?}", arrived());
    assert_eq!(restored.notices().iter().filter(|text| *text == "too late").count(), 1);
    restored.run(&["continue"]).refused(&["not held"]);
    let status = restored.admin("GET", "/admin/status").expect(200).json();
    assert_eq!((&status["held"], &status["incarnation"]), (&json!(false), &json!(2)));
    let made_anew = restored.publish("After the backup");
    assert_ne!(made_anew["activity"], after["activity"]);
    let lives = [&after, &made_anew].map(|made| {
        let id = made["activity"].as_str().unwrap();
        id[id.len() - 16..id.len() - 13].to_owned()
    });
    assert_eq!(lives, ["000", "001"], "ids contain the incarnation, but for its lowest bit");
    // The mark is gone for good.
    restored.kill();
    restored.restart();
}

fn refuses_changes(node: &Node, peer: &Peer) {
    let refused = |answer: crate::http::Answer| {
        answer.refused_with(503, "quickbeam continue");
        assert!(answer.header("retry-after").is_some());
    };
    refused(node.post("/api/objects/article", &json!({ "title": "no" })));
    refused(peer.send(node, &peer.create("no")));
    refused(node.send(&Call::post("/api/follow").token(&node.token).json(&json!({ "peer": peer.actor() }))));
    for route in ["/admin/tick", "/admin/peers/x/retry", "/admin/dead-letters/x/retry", "/admin/followers/accept"] {
        refused(node.admin("POST", route));
    }
    refused(node.send(&Call::get("/ready")));
    node.get("/gig-0").expect(200);
    node.send(&Call::get("/health")).expect(200);
    assert!(node.send(&Call::get("/").accept("text/html")).expect(200).text().contains("quickbeam continue"));
}
