//! Activities that are truly signed and still not to be: of strangers, about what is not theirs, answers nobody asked for.

use quickbeam::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::Peer;

fn node_and_peer() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::events().allow(peer.authority()));
    (node, peer)
}

fn blog_and_peer() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    (node, peer)
}

fn calendar(node: &Node) -> String {
    format!("{}/calendars/main", node.base())
}

#[test]
fn what_strangers_make_is_ignored_and_what_they_allocate_forbidden() {
    let (node, peer) = node_and_peer();
    node.unchanged(|| {
        peer.sends(&node, &peer.create("unwanted"), "ignored");
        peer.send(&node, &peer.allocate("gig", &calendar(&node))).refused_with(403, "follows");
    });
    assert_eq!(node.notices(), [""; 0]);
}

#[test]
fn an_object_belongs_to_who_made_it() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let created = peer.create("mine");
    peer.sends(&node, &created, "taken");
    node.settle();
    node.unchanged(|| {
        let mut elsewhere = peer.create("elsewhere");
        elsewhere["object"]["id"] = "http://127.0.0.9:1/articles/1".into();
        peer.send(&node, &elsewhere).refused_with(403, "127.0.0.9:1");
        let mut of_somebody = peer.create("of somebody");
        of_somebody["object"]["attributedTo"] = format!("{}/somebody", peer.base()).into();
        peer.send(&node, &of_somebody).refused_with(403, "somebody");
        let ours = json!({ "id": calendar(&node), "type": "OrderedCollection", "title": "taken over" });
        peer.send(&node, &peer.activity("Update", ours.clone())).refused(403);
        peer.send(&node, &peer.activity("Delete", ours)).refused(403);
        // Deletes and updates of what this node does not hold.
        let unknown = json!({ "id": peer.new_id("articles"), "type": "Article" });
        peer.sends(&node, &peer.activity("Delete", unknown.clone()), "ignored");
        peer.sends(&node, &peer.activity("Update", unknown), "ignored");
    });
    let mut list = json!(created["object"]);
    list["attributedTo"] = json!([peer.actor(), "http://127.0.0.9:1/actor"]);
    list["id"] = peer.new_id("articles").into();
    let answer = peer.send(&node, &peer.activity("Create", list));
    assert!([202, 403].contains(&answer.status), "{answer}");
}

#[test]
fn verbs_that_nobody_knows_are_taken_politely_and_do_nothing() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    node.settle();
    node.unchanged(|| {
        for verb in ["Like", "Announce", "Dance", "EmojiReact"] {
            peer.sends(&node, &peer.activity(verb, "https://b.example/1".into()), "ignored");
        }
        // A Follow of somebody else is nobody's business here, an Add has no meaning.
        peer.sends(&node, &peer.activity("Follow", format!("{}/nobody", node.base()).into()), "ignored");
        peer.sends(&node, &peer.activity("Add", "https://b.example/1".into()), "ignored");
    });
    let status = node.admin("GET", "/admin/status").expect(200).json();
    assert!(status["counters"]["ignored"].as_u64().unwrap() >= 6, "{status}");
}

#[test]
fn an_unknown_target_is_answered_no() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let allocate = peer.allocate("gig", &format!("{}/calendars/none", node.base()));
    peer.sends(&node, &allocate, "taken");
    peer.awaits("Reject", allocate["id"].as_str());
    peer.all_signed_by(&node);
    let elsewhere = peer.allocate("gig", "http://127.0.0.9:1/calendars/main");
    node.settle();
    node.unchanged(|| peer.sends(&node, &elsewhere, "ignored"));
    let unmapped = |activity: &mut Value| activity["@context"] = "https://www.w3.org/ns/activitystreams".into();
    let mut allocate = peer.allocate("gig", &calendar(&node));
    unmapped(&mut allocate);
    node.unchanged(|| peer.send(&node, &allocate).refused_with(400, "@context"));
}

#[test]
fn an_allocate_of_one_who_is_followed_is_linked_once_and_answered_with_the_event() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let allocate = peer.allocate("Gig Night", &calendar(&node));
    for status in ["taken", "repeated", "repeated"] {
        peer.sends(&node, &allocate, status);
    }
    let accept = peer.awaits("Accept", allocate["id"].as_str());
    assert_eq!(accept["result"], format!("{}/gig-night", node.base()));
    eventually("the event is noticed", || (node.notices() == ["linked gig-night"]).then_some(()));
    node.settle();
    let answers = peer.activities().iter().filter(|it| it["object"] == allocate["id"]).count();
    assert_eq!(answers, 1, "an Allocate has exactly one answer");
    let items = node.get("/calendars/main").expect(200).json()["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(1), "{items}");
}

#[test]
fn only_who_was_asked_answers_and_only_with_something_of_its_own() {
    let (node, peer) = blog_and_peer();
    let asked = Peer::start();
    let plan = node.plan.clone().allow(asked.authority());
    drop(node);
    let node = Node::start(plan);
    node.publish("Gig Night");
    let target = format!("/gig-night/allocate?calendar=main&to={}", asked.authority());
    let sent = node.send(&Call::post(&target).token(&node.token)).expect(202).json();
    let allocate = asked.awaits("Allocate", None);
    assert_eq!(allocate["id"], sent["activity"]);
    asked.all_signed_by(&node);
    node.settle();
    let answer = |peer: &Peer, verb: &str, result: Option<String>| {
        let mut answer = peer.activity(verb, allocate["id"].clone());
        result.into_iter().for_each(|result| answer["result"] = result.into());
        peer.send(&node, &answer)
    };
    node.unchanged(|| {
        for verb in ["Accept", "Reject"] {
            answer(&peer, verb, None).refused_with(403, "somebody else");
        }
        let elsewhere = format!("{}/events/1", peer.base());
        answer(&asked, "Accept", Some(elsewhere)).refused_with(403, "authority");
        let unknown = format!("{}/activities/01ARZ3NDEKTSV4RRFFQ69G5FAV", node.base());
        asked.send(&node, &asked.activity("Accept", unknown.into())).refused(403);
        // What this node published to all was asked of nobody.
        let create = node.all("/activities").into_iter().find(|it| it["verb"] == "Create").unwrap();
        asked.send(&node, &asked.activity("Accept", create["id"].clone())).refused(403);
    });
    let allocation = || node.get("/gig-night").expect(200).json()["allocations"][0].clone();
    assert_eq!(allocation()["accepted"], Value::Null);
    let result = format!("{}/events/1", asked.base());
    answer(&asked, "Accept", Some(result.clone())).expect(202);
    eventually("the answer is kept", || (allocation()["accepted"] == true).then_some(()));
    // The first answer counts.
    answer(&asked, "Reject", None).expect(202);
    node.settle();
    assert_eq!((&allocation()["accepted"], &allocation()["result"]), (&json!(true), &json!(result)));
}

#[test]
fn only_who_did_something_takes_it_back() {
    let (node, peer) = node_and_peer();
    let other = Peer::start();
    let plan = node.plan.clone().allow(other.authority());
    drop(node);
    let node = Node::start(plan);
    let follow = peer.follows(&node);
    let followers = || node.get("/followers").expect(200).json()["first"]["orderedItems"].clone();
    node.settle();
    node.unchanged(|| {
        other.send(&node, &other.activity("Undo", follow["id"].clone())).refused_with(403, "not yours");
        let embedded = json!({ "id": follow["id"], "type": "Follow", "actor": peer.actor(), "object": node.actor() });
        other.send(&node, &other.activity("Undo", embedded)).refused(403);
    });
    assert_eq!(followers(), json!([peer.actor()]));
    peer.sends(&node, &peer.activity("Undo", follow["id"].clone()), "taken");
    eventually("the follower is gone", || (followers() == json!([])).then_some(()));
}

#[test]
fn an_undo_that_comes_first_keeps_the_later_from_having_effect() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let allocate = peer.allocate("Gig Night", &calendar(&node));
    peer.sends(&node, &peer.activity("Undo", allocate["id"].clone()), "taken");
    peer.sends(&node, &allocate, "taken");
    peer.awaits("Reject", allocate["id"].as_str());
    node.settle();
    assert!(node.all("/flows").is_empty());
    // Once more, it is a repeat like any other.
    node.unchanged(|| peer.sends(&node, &allocate, "repeated"));
}

#[test]
fn what_was_published_too_long_ago_is_refused() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let day = std::time::Duration::from_secs(86_400);
    let at = |days: u32| SystemClock::default().now().minus(day * days).to_string();
    let mut create = peer.create("old");
    create["published"] = at(91).into();
    node.settle();
    node.unchanged(|| peer.send(&node, &create).refused_with(410, "published"));
    // A refusal leaves no trace, so that the same id with a truer time is taken.
    create["published"] = at(89).into();
    peer.sends(&node, &create, "taken");
    create["published"] = "yesterday".into();
    create["id"] = peer.new_id("activities").into();
    peer.send(&node, &create).refused_with(400, "published");
}

#[test]
fn what_a_peer_names_after_a_page_of_ours_gets_another_address() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    for name in ["Inbox", "Actor", "Admin"] {
        let allocate = peer.allocate(name, &calendar(&node));
        peer.sends(&node, &allocate, "taken");
        let accept = peer.awaits("Accept", allocate["id"].as_str());
        let id = accept["result"].as_str().unwrap();
        let path = id.strip_prefix(&node.base()).unwrap();
        assert_ne!(path, format!("/{}", name.to_lowercase()));
        assert_eq!(node.get(path).expect(200).json()["title"], name);
    }
}
