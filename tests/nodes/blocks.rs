//! Domains that a node has nothing to do with: nothing of them comes in, nothing goes there, and what there was ends.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::Peer;

/// A blog and a peer that follows it, and that it follows.
fn friends() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    peer.is_followed_by(&node);
    (node, peer)
}

fn host(peer: &Peer) -> String {
    peer.address.ip().to_string()
}

fn members(node: &Node, list: &str) -> Vec<Value> {
    node.get(list).expect(200).json()["first"]["orderedItems"].as_array().unwrap().clone()
}

fn blocked(node: &Node) -> Vec<String> {
    let listed = node.run(&["blocks", "--json"]).done().json();
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|item| item["domain"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_is_blocked_is_not_let_in_and_not_sent_to_and_what_there_was_ends() {
    let (node, peer) = friends();
    node.run(&["blocks", "add", &host(&peer), "--reason", "spam"]).done();
    eventually("it follows no more", || members(&node, "/followers").is_empty().then_some(()));
    eventually("it is followed no more", || members(&node, "/following").is_empty().then_some(()));
    node.settle();
    let (asked, got) = (peer.connections(), peer.activities().len());
    node.unchanged(|| {
        peer.send(&node, &peer.create("unwanted")).refused_with(403, "is blocked here");
        peer.send(&node, &peer.activity("Follow", node.actor().into())).refused_with(403, "is blocked here");
        node.run(&["follow", &peer.authority()]).refused(&["blocked", "quickbeam blocks"]);
        let to = json!({ "title": "for you", "content": "x", "to": [peer.actor()] });
        let call = Call::post("/api/objects/article").token(&node.token).key("k").json(&to);
        node.send(&call).refused_with(403, "blocked");
    });
    node.publish("Gig Night");
    node.settle();
    assert_eq!((peer.connections(), peer.activities().len()), (asked, got), "a blocked peer was called");
    // It is on disk.
    node.kill();
    node.restart();
    assert_eq!(blocked(&node), [host(&peer)]);
    peer.send(&node, &peer.create("still unwanted")).refused_with(403, "is blocked here");
    node.run(&["blocks", "remove", &host(&peer)]).done();
    peer.follows(&node);
    eventually("it follows again", || (members(&node, "/followers").len() == 1).then_some(()));
}

#[test]
fn a_node_that_allows_only_some_has_nothing_to_do_with_others() {
    let (friend, stranger) = (Peer::start(), Peer::start());
    let only = format!("[federation]\nallow_only = [\"{}\"]\n", host(&friend));
    let plan = Plan::blog().allow(friend.authority()).allow(stranger.authority()).more(&only);
    let node = Node::start(plan);
    friend.follows(&node);
    stranger.send(&node, &stranger.activity("Follow", node.actor().into())).refused_with(403, "not among those");
    assert_eq!(stranger.connections(), 0, "a stranger was called");
    let shown = node.run(&["blocks"]).done().out;
    assert!(shown.contains("[federation] allow_only") && shown.contains(&host(&friend)), "{shown}");
}

#[test]
fn a_list_of_mastodon_is_imported_and_what_is_wrong_is_refused() {
    let node = Node::start(Plan::blog());
    let file = node.folder().join("blocks.csv");
    let list = format!(
        "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n\
         bad.example,suspend,false,false,spam,false\nloud.example,silence,false,false,,false\n\
         {},suspend,false,false,,false\n",
        node.authority().split(':').next().unwrap()
    );
    std::fs::write(&file, list).unwrap();
    let file = file.to_str().unwrap();
    let tried = node.run(&["blocks", "import", file, "--dry-run"]).done().out;
    assert!(tried.contains("1 would be blocked") && tried.contains("2 left out"), "{tried}");
    assert!(tried.contains("silence") && tried.contains("this node itself"), "{tried}");
    assert_eq!(blocked(&node), [""; 0]);
    node.run(&["blocks", "import", file]).done();
    let again = node.run(&["blocks", "import", file, "--json"]).done().json();
    assert_eq!((again["added"].as_u64(), again["known"].as_u64()), (Some(0), Some(1)), "{again}");
    let exported = node.run(&["blocks", "export"]).done().out;
    assert!(exported.contains("bad.example,suspend,false,false,spam,false"), "{exported}");
    node.unchanged(|| {
        node.run(&["blocks", "add", "https://bad.example/"]).refused(&["write a host"]);
        node.run(&["blocks", "add", &node.authority()]).refused(&["write a host"]);
        let own = node.authority().split(':').next().unwrap().to_owned();
        node.run(&["blocks", "add", &own]).refused(&["this node itself"]);
        node.run(&["blocks", "remove", "other.example"]).refused(&["not blocked"]);
        node.run(&["blocks", "import", "/nowhere/list.csv"]).refused(&["cannot be read"]);
        node.run(&["blocks", "add", "b.example", "--reason", &"x".repeat(1_001)]).refused(&["1001 characters"]);
    });
    assert_eq!(blocked(&node), ["bad.example"]);
}
