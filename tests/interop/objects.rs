//! Create, Update and Delete, both ways.

use serde_json::{Value, json};

use crate::fedify::{Fedify, Knock, logged, pair};
use crate::harness::{Node, eventually};
use crate::http::Call;

/// Has the node follow, and waits until both know.
#[track_caller]
pub(crate) fn follow(node: &Node, fedify: &Fedify) {
    node.run(&["follow", &fedify.actor("gigs")]).done();
    fedify.is_followed_by(&[node.actor()]);
    node.activity("an Accept", |it| it["verb"] == "Accept" && it["actor"] == fedify.actor("gigs"));
}

/// Has an actor of Fedify follow, and waits until it got its Accept.
#[track_caller]
pub(crate) fn is_followed(node: &Node, fedify: &Fedify, name: &str) {
    let follow = fedify.control("follow", &json!({ "as": name, "named": node.actor() }));
    fedify.hears("Accept", follow["activity"].as_str().unwrap());
}

#[test]
fn what_a_node_publishes_changes_and_deletes_is_understood_by_fedify() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    is_followed(&node, &fedify, "gigs");
    let body = json!({ "title": "Gig Night", "content": "At *eight*." });
    let made = node.post("/api/objects/article", &body).expect(201).json();
    let object = made["id"].as_str().unwrap();
    let create = fedify.hears("Create", object);
    assert_eq!((&create["actor"], &create["id"]), (&json!(node.actor()), &made["activity"]));
    assert_eq!((&create["kind"], &create["name"]), (&json!("Article"), &json!("Gig Night")), "{create}");
    assert!(create["content"].as_str().unwrap().contains("eight"), "{create}");
    let at = format!("/api/objects/article{}", object.strip_prefix(&node.base()).unwrap());
    let change = Call::new("PATCH", &at).token(&node.token).json(&json!({ "title": "Gig Morning" }));
    node.send(&change).expect(200);
    let update = fedify.hears("Update", object);
    assert_eq!((&update["kind"], &update["name"]), (&json!("Article"), &json!("Gig Morning")), "{update}");
    node.send(&Call::new("DELETE", &at).token(&node.token)).expect(200);
    assert_eq!(fedify.hears("Delete", object)["kind"], "Tombstone");
    node.settle();
    fedify.is_content();
}

#[test]
fn what_a_node_shows_is_read_by_fedify() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    is_followed(&node, &fedify, "gigs");
    let made = node.publish("Gig Night");
    let found = fedify.control("find", &json!({ "named": made["id"] }));
    assert_eq!((&found["kind"], &found["name"]), (&json!("Article"), &json!("Gig Night")), "{found}");
    let members = |list: &str| fedify.control("members", &json!({ "named": format!("{}/{list}", node.base()) }));
    assert_eq!(members("followers"), json!([{ "kind": "Person", "id": fedify.actor("gigs") }]));
    assert_eq!(members("following"), json!([]));
    let sent = json!({ "kind": "Create", "id": made["activity"] });
    assert!(members("outbox").as_array().unwrap().contains(&sent), "{}", members("outbox"));
    // It remembers for minutes what it read, so that this is one that it has not seen.
    let gone = node.publish("Cancelled");
    let at = format!("/api/objects/article{}", gone["id"].as_str().unwrap().strip_prefix(&node.base()).unwrap());
    node.send(&Call::new("DELETE", &at).token(&node.token)).expect(200);
    assert_eq!(fedify.control("find", &json!({ "named": gone["id"] })), json!({}));
}

#[test]
fn what_fedify_publishes_changes_and_deletes_is_logged_by_a_node() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    follow(&node, &fedify);
    let made = fedify.publish("Gig tonight");
    let object = made["object"].as_str().unwrap();
    let taken = |answer: &Value, verb: &str| {
        let entry = logged(&node, answer["activity"].as_str().unwrap());
        assert_eq!((&entry["verb"], &entry["object"]), (&json!(verb), &json!(object)), "{entry}");
        assert_eq!((&entry["way"], &entry["actor"]), (&json!("received"), &json!(fedify.actor("gigs"))), "{entry}");
        entry["activity"]["object"].clone()
    };
    assert_eq!(taken(&made, "Create")["content"], "Gig tonight");
    let changed = fedify.control("update", &json!({ "object": object, "content": "Gig tomorrow" }));
    assert_eq!(taken(&changed, "Update")["content"], "Gig tomorrow");
    let deleted = fedify.control("delete", &json!({ "object": object }));
    assert_eq!(taken(&deleted, "Delete")["type"], "Tombstone");
    fedify.is_content();
}

#[test]
fn what_fedify_likes_shares_and_answers_is_counted_by_a_node() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    let gig = node.publish("Gig Night")["id"].as_str().unwrap().to_owned();
    let counts = || {
        let shown = node.send(&Call::get("/gig-night").accept("application/activity+json")).expect(200).json();
        json!(["likes", "shares", "replies"].map(|word| shown[word]["totalItems"].clone()))
    };
    let react = |how: &str| fedify.control("react", &json!({ "how": how, "named": gig, "content": "I come." }));
    let (like, share, _) = (react("like"), react("share"), react("reply"));
    eventually("all are counted", || (counts() == json!([1, 1, 1])).then_some(()));
    for (how, made) in [("like", like), ("share", share)] {
        let (activity, object) = (&made["activity"], &made["object"]);
        let actor = node.actor();
        fedify.control("retract", &json!({ "how": how, "activity": activity, "object": object, "named": actor }));
    }
    eventually("two are taken back", || (counts() == json!([0, 0, 1])).then_some(()));
    node.settle();
    fedify.is_content();
}

#[test]
fn an_allocate_is_an_offer_to_fedify() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    let gig = node.publish("Gig Night")["id"].as_str().unwrap().to_owned();
    let calendar = fedify.actor("gigs");
    let target = format!("/gig-night/allocate?calendar={calendar}&to={calendar}");
    node.send(&Call::post(&target).token(&node.token).key("1")).expect(202);
    let offer = fedify.hears("Offer", &gig);
    assert_eq!((&offer["kind"], &offer["name"]), (&json!("Article"), &json!("Gig Night")), "{offer}");
    node.settle();
    fedify.is_content();
}
