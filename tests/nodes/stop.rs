//! A node that is told to stop: it takes nothing new, finishes what it has, and forgets nothing that it acknowledged.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};

#[test]
fn what_was_acknowledged_before_sigterm_is_there_after() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    // Deliveries under way do not keep a node from ending either.
    peer.answers(|_| Reply::silence());
    let made = Mutex::new(Vec::new());
    let (status, took) = std::thread::scope(|scope| {
        for writer in 0..4 {
            let (node, made) = (&node, &made);
            scope.spawn(move || {
                for n in 0.. {
                    let body = json!({ "title": format!("{writer} {n}"), "slug": format!("a-{writer}-{n}") });
                    let call = Call::post("/api/objects/article").token(&node.token).json(&body);
                    // Nobody answers any more: the node has ended.
                    let Some(answer) = node.try_send(&call) else { return };
                    if answer.status == 201 {
                        made.lock().push(answer.json()["id"].as_str().unwrap().to_owned());
                    }
                }
            });
        }
        eventually("there is work", || (made.lock().len() > 50).then_some(()));
        node.terminate()
    });
    assert_eq!(status.code(), Some(0), "{}", node.log());
    assert!(took < Duration::from_secs(15), "it took {took:?}");
    node.restart();
    let there: Vec<String> = node.all("/").iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let made = made.into_inner();
    let lost: Vec<&String> = made.iter().filter(|id| !there.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    node.settle_flows();
    let mut notices = node.notices();
    notices.sort();
    let all = notices.len();
    notices.dedup();
    assert_eq!((all, notices.len()), (there.len(), there.len()), "each behaviour fires once");
}

#[test]
fn a_child_ends_with_its_parent() {
    let node = Node::start(Plan::blog());
    node.publish("Gig");
    let status = node.close_stdin();
    assert_eq!(status.code(), Some(0), "{}", node.log());
    node.restart();
    node.get("/gig").expect(200);
}
