//! What is for followers, read by followers who sign, by strangers, and by those who only say that they follow.

use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply, Signed};

const JSON: &str = "application/activity+json";

/// A node with an object of each visibility that a peer follows, and the path of the activity about the one for followers.
fn node_and_follower(others: &[&Peer]) -> (Node, Peer, String) {
    let follower = Peer::start();
    let plan =
        others.iter().fold(Plan::blog().allow(follower.authority()), |plan, other| plan.allow(other.authority()));
    let node = Node::start(plan);
    follower.follows(&node);
    for (title, visibility) in [("open", "public"), ("friends", "followers"), ("letter", "direct")] {
        node.post("/api/objects/article", &json!({ "title": title, "visibility": visibility })).expect(201);
    }
    node.settle();
    let about = |activity: &serde_json::Value| activity["object"].as_str().unwrap().ends_with("/friends");
    let activity = node.all("/activities").into_iter().find(about).unwrap();
    (node, follower, format!("/activities/{}", activity["ulid"].as_str().unwrap()))
}

fn signed(peer: &Peer, node: &Node, path: &str) -> Signed {
    peer.sign_call(node, Call::get(path).accept(JSON), "")
}

fn look(peer: &Peer, node: &Node, path: &str) -> Answer {
    signed(peer, node, path).send(node)
}

#[test]
fn what_is_for_followers_is_shown_to_those_who_sign() {
    let stranger = Peer::start();
    let (node, follower, activity) = node_and_follower(&[&stranger]);
    for path in ["/friends", &activity] {
        let shown = look(&follower, &node, path).expect(200);
        assert!(shown.text().contains("friends"), "{shown}");
        assert_eq!(shown.header("cache-control"), Some("private"));
        look(&stranger, &node, path).refused(404);
        node.send(&Call::get(path).accept(JSON)).refused(404);
    }
    assert_eq!(stranger.connections(), 0, "nothing is fetched of a stranger");
    look(&follower, &node, "/letter").refused(404);
    assert_eq!(look(&stranger, &node, "/open").expect(200).header("cache-control"), None);
}

#[test]
fn who_follows_no_more_or_lives_beside_a_follower_sees_nothing() {
    let (node, follower, activity) = node_and_follower(&[]);
    // Somebody else on the follower's server, with a key of their own.
    let neighbour = format!("{}/neighbour", follower.base());
    let (mut document, actor) = (follower.document(), follower.document());
    document["id"] = neighbour.as_str().into();
    document["assertionMethod"][0]["id"] = format!("{neighbour}#ed25519").into();
    document["assertionMethod"][0]["controller"] = neighbour.as_str().into();
    follower.documents(move |got| Reply::json(if got.target == "/neighbour" { &document } else { &actor }));
    for path in ["/friends", &activity] {
        let key_id = format!("{neighbour}#ed25519");
        signed(&follower, &node, path).change(|it| it.key_id = key_id).send(&node).refused(404);
        look(&follower, &node, path).expect(200);
    }
    let ours = node.get("/activities").json();
    let asked = ours["items"].as_array().unwrap().iter().find(|it| it["verb"] == "Follow").unwrap()["id"].clone();
    follower.sends(&node, &follower.activity("Undo", asked), "taken");
    eventually("the follower is shown nothing", || (look(&follower, &node, "/friends").status == 404).then_some(()));
    look(&follower, &node, &activity).refused(404);
}

#[test]
fn an_object_is_shown_at_its_own_address_to_whom_it_is_addressed() {
    let (named, stranger, liar) = (Peer::start(), Peer::start(), Peer::start());
    let (node, follower, _) = node_and_follower(&[&named, &stranger, &liar]);
    for (title, visibility) in [("to one", "direct"), ("to more", "followers")] {
        let body = json!({ "title": title, "visibility": visibility, "to": [named.actor()] });
        node.post("/api/objects/article", &body).expect(201);
    }
    named.awaits("Create", Some(&format!("{}/to-more", node.base())));
    for (path, for_followers) in [("/to-one", 404), ("/to-more", 200)] {
        let shown = look(&named, &node, path).expect(200);
        assert_eq!(shown.header("cache-control"), Some("private"));
        assert_eq!(shown.json()["to"].as_array().unwrap().last(), Some(&named.actor().into()), "{shown}");
        let missing = look(&stranger, &node, path).refused(404);
        assert_eq!(missing.replace(path, "/nothing"), look(&stranger, &node, "/nothing").refused(404));
        look(&follower, &node, path).expect(for_followers);
        node.send(&Call::get(path).accept(JSON)).refused(404);
        // What is refused to somebody there says no more than to anybody.
        signed(&named, &node, path).change(|it| it.forged = true).send(&node).refused(404);
        let neighbour = format!("{}/neighbour#ed25519", named.base());
        signed(&named, &node, path).change(|it| it.key_id = neighbour).send(&node).refused(404);
        let key_id = format!("{}#ed25519", named.actor());
        signed(&liar, &node, path).change(|it| it.key_id = key_id).send(&node).refused(404);
    }
    for peer in [&stranger, &liar] {
        assert_eq!(peer.connections(), 0, "nothing is fetched of a stranger");
    }
    let metrics = node.admin("GET", "/metrics").expect(200).text();
    assert!(metrics.contains("\nquickbeam_unproved_total 6\n"), "each of them counts: {metrics}");
    node.send(&Call::new("DELETE", "/api/objects/article/to-one").token(&node.token).key("d")).expect(200);
    assert_eq!(look(&named, &node, "/to-one").expect(410).json()["type"], "Tombstone");
    look(&stranger, &node, "/to-one").refused(404);
}

#[test]
fn who_has_asked_to_follow_and_is_not_accepted_yet_sees_nothing() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().edit("accept = \"all\"", "accept = \"ask\"").allow(peer.authority()));
    peer.sends(&node, &peer.activity("Follow", node.actor().into()), "taken");
    node.post("/api/objects/article", &json!({ "title": "friends", "visibility": "followers" })).expect(201);
    node.settle();
    look(&peer, &node, "/friends").refused(404);
    signed(&peer, &node, "/friends").change(|it| it.forged = true).send(&node).refused_with(403, "false");
}

#[test]
fn a_false_signature_is_refused_whether_there_is_something_to_see_or_not() {
    let (node, follower, activity) = node_and_follower(&[]);
    for path in ["/friends", "/letter", "/nothing", &activity, "/activities/nothing"] {
        let get = || signed(&follower, &node, path);
        let now = get().created.unwrap();
        get().change(|it| it.created = Some(now - 400)).send(&node).refused_with(401, "ago");
        get().without("@target-uri").send(&node).refused_with(401, "@target-uri");
        get().change(|it| it.forged = true).send(&node).refused_with(403, "false");
        let elsewhere = format!("{}/open", node.base());
        get().change(|it| it.target = elsewhere).send(&node).refused_with(403, "false");
        node.send(&Call::get(path).accept(JSON).header("signature", "x")).refused_with(401, "signature");
    }
    // What anybody may see is shown whatever stands beside the request.
    for path in ["/open", "/actor"] {
        signed(&follower, &node, path).change(|it| it.forged = true).send(&node).expect(200);
    }
}
