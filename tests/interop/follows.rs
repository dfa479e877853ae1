//! Follow, Accept and Undo, both ways.

use serde_json::{Value, json};

use crate::fedify::{Knock, logged, pair};
use crate::harness::eventually;

#[test]
fn a_follow_of_the_node_is_accepted_and_can_be_undone() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    node.run(&["follow", &fedify.actor("gigs")]).done();
    fedify.is_followed_by(&[node.actor()]);
    node.activity("an Accept", |it| it["verb"] == "Accept" && it["actor"] == fedify.actor("gigs"));
    let follows = || node.get("/following").expect(200).json()["first"]["orderedItems"].clone();
    eventually("it follows the actor", || (follows() == json!([fedify.actor("gigs")])).then_some(()));
    node.run(&["unfollow", &format!("@gigs@{}", fedify.authority())]).done();
    fedify.is_followed_by(&[]);
    eventually("it follows nobody", || (follows() == json!([])).then_some(()));
    fedify.is_content();
}

#[test]
fn a_follow_of_fedify_is_accepted_and_can_be_undone() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    let follow = fedify.control("follow", &json!({ "named": node.actor() }));
    let follow = follow["activity"].as_str().unwrap();
    fedify.hears("Accept", follow);
    let followers = || node.get("/followers").expect(200).json()["first"]["orderedItems"].clone();
    assert_eq!(followers(), json!([fedify.actor("gigs")]));
    let undo: Value = fedify.control("undo", &json!({ "activity": follow }));
    let undone = logged(&node, undo["activity"].as_str().unwrap());
    assert_eq!((&undone["verb"], &undone["object"]), (&json!("Undo"), &json!(follow)));
    eventually("nobody follows it", || (followers() == json!([])).then_some(()));
    fedify.is_content();
}
