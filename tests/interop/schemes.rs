//! Which signatures are used, and that each of them is checked at the other side.

use serde_json::{Value, json};

use crate::fedify::{Fedify, Knock, logged, pair};
use crate::harness::Node;
use crate::http::Call;
use crate::objects::{follow, is_followed};

/// What a request was signed by, and how often it was sent until it was taken.
fn way(requests: &[Value]) -> (usize, &str) {
    (requests.len(), requests[0]["scheme"].as_str().unwrap())
}

#[test]
fn rsa_by_either_standard_is_taken_at_the_first_knock() {
    for knock in [Knock::Rfc9421, Knock::Draft] {
        let (fedify, node) = pair(knock, |plan| plan);
        follow(&node, &fedify);
        logged(&node, fedify.publish("Gig tonight")["activity"].as_str().unwrap());
        for verb in ["Accept", "Create"] {
            let went = fedify.requests("went", verb);
            assert_eq!(way(&went), (1, knock.as_str()), "{went:#?}");
            assert!(went[0]["signature"].as_str().unwrap().contains("/users/gigs#main-key\""), "{went:#?}");
        }
        fedify.is_content();
    }
}

#[test]
fn a_node_signs_for_fedify_with_rsa_by_rfc_9421_at_once() {
    let (fedify, node) = pair(Knock::Draft, |plan| plan);
    is_followed(&node, &fedify, "gigs");
    let made = node.publish("Gig Night");
    fedify.hears("Create", made["id"].as_str().unwrap());
    for verb in ["Accept", "Create"] {
        let came = fedify.requests("came", verb);
        assert_eq!(way(&came), (1, "rfc9421"), "{came:#?}");
        assert!(came[0]["signature"].as_str().unwrap().contains("/actor#main-key\""), "{came:#?}");
    }
    fedify.is_content();
}

#[test]
fn a_peer_that_knows_only_the_draft_is_found_out_and_spoken_to_in_it() {
    let (fedify, node) = pair(Knock::Draft, |plan| plan);
    fedify.control("refuse", &json!({ "scheme": "rfc9421" }));
    is_followed(&node, &fedify, "gigs");
    let came = fedify.requests("came", "Accept");
    let tried: Vec<(&Value, &Value)> = came.iter().map(|it| (&it["scheme"], &it["status"])).collect();
    assert_eq!(tried, [(&json!("rfc9421"), &json!(401)), (&json!("draft-cavage"), &json!(202))]);
    let made = node.publish("Gig Night");
    fedify.hears("Create", made["id"].as_str().unwrap());
    assert_eq!(way(&fedify.requests("came", "Create")), (1, "draft-cavage"));
}

#[test]
fn an_actor_that_only_proves_what_it_says_is_heard() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    is_followed(&node, &fedify, "prover");
    assert_eq!(node.get("/followers").json()["first"]["orderedItems"], json!([fedify.actor("prover")]));
    let went = fedify.requests("went", "Follow");
    assert_eq!((way(&went), &went[0]["proved"]), ((1, "none"), &json!(true)), "{went:#?}");
    fedify.is_content();
}

/// Sends what a node sent once more to somebody else, without its signature.
fn relay(fedify: &Fedify, body: &str) -> u16 {
    let call = Call::post("/inbox").header("content-type", "application/activity+json").body(body);
    fedify.send(&call).status
}

#[test]
fn a_proof_of_the_node_convinces_fedify_without_any_signature() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan.more("[delivery]\nproofs = true"));
    is_followed(&node, &fedify, "gigs");
    let made = node.publish("Gig Night");
    let object = made["id"].as_str().unwrap();
    fedify.hears("Create", object);
    let body = fedify.requests("came", "Create")[0]["body"].as_str().unwrap().to_owned();
    let stranger = Fedify::start(Knock::Rfc9421);
    assert_eq!(relay(&stranger, &body.replace("Gig Night", "Gig Fight")), 401);
    assert_eq!(relay(&stranger, &body), 202);
    assert_eq!(stranger.hears("Create", object)["name"], "Gig Night");
    assert_eq!(stranger.seen()["heard"].as_array().unwrap().len(), 1);
}

/// Publishes, and waits for it to arrive after one try.
#[track_caller]
fn heard_at_once(fedify: &Fedify, node: &Node, content: &str) {
    let before = fedify.requests("went", "Create").len();
    logged(node, fedify.publish(content)["activity"].as_str().unwrap());
    assert_eq!(fedify.requests("went", "Create").len(), before + 1);
}

#[test]
fn who_changes_its_keys_is_heard_at_the_first_try() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    follow(&node, &fedify);
    is_followed(&node, &fedify, "prover");
    heard_at_once(&fedify, &node, "with the old key");
    fedify.control("rotate", &json!({}));
    heard_at_once(&fedify, &node, "with the new key");
    fedify.control("rotate", &json!({ "as": "prover" }));
    let again = fedify.control("follow", &json!({ "as": "prover", "named": node.actor() }));
    fedify.hears("Accept", again["activity"].as_str().unwrap());
    fedify.is_content();
}

/// Publishes after a rotation, and gives how the Update and the Create came.
#[track_caller]
fn rotated(fedify: &Fedify, node: &Node, words: &[&str]) -> [Value; 2] {
    node.run(&[&["key", "rotate"], words].concat()).done();
    fedify.hears("Update", &node.actor());
    let made = node.publish(&format!("Gig Night {words:?}"));
    fedify.hears("Create", made["id"].as_str().unwrap());
    ["Update", "Create"].map(|verb| fedify.requests("came", verb).pop().unwrap())
}

#[test]
fn a_node_that_rotates_its_keys_is_heard_by_either_standard() {
    for draft in [false, true] {
        let (fedify, node) = pair(Knock::Draft, |plan| plan);
        if draft {
            fedify.control("refuse", &json!({ "scheme": "rfc9421" }));
        }
        is_followed(&node, &fedify, "gigs");
        let made = node.publish("Before");
        fedify.hears("Create", made["id"].as_str().unwrap());
        let scheme = if draft { "draft-cavage" } else { "rfc9421" };
        let is_by = |came: &Value, key: &str| {
            assert_eq!((&came["status"], &came["scheme"]), (&json!(202), &json!(scheme)), "{came:#}");
            assert!(came["signature"].as_str().unwrap().contains(&format!("/actor#{key}\"")), "{came:#}");
        };
        let [update, create] = rotated(&fedify, &node, &[]);
        is_by(&update, "main-key");
        is_by(&create, "main-key-2");
        // A stolen key: nothing is signed with it any more, and Fedify looks for the new one.
        let [update, create] = rotated(&fedify, &node, &["--now"]);
        is_by(&update, "main-key-3");
        is_by(&create, "main-key-3");
        assert_eq!(node.all("/admin/dead-letters").len(), 0);
        if !draft {
            fedify.is_content();
        }
    }
}

#[test]
fn proofs_of_before_and_after_a_rotation_convince_fedify_in_the_overlap() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan.more("[delivery]\nproofs = true"));
    is_followed(&node, &fedify, "gigs");
    let before = node.publish("Before");
    fedify.hears("Create", before["id"].as_str().unwrap());
    let [update, _] = rotated(&fedify, &node, &[]);
    let stranger = Fedify::start(Knock::Rfc9421);
    for create in fedify.requests("came", "Create").iter().chain([&update]) {
        assert_eq!(relay(&stranger, create["body"].as_str().unwrap()), 202);
    }
    stranger.hears("Update", &node.actor());
    let heard = |name: &str| stranger.has("heard", name, |it| it["verb"] == "Create" && it["name"] == name);
    heard("Before");
    heard("Gig Night []");
    stranger.is_content();
}
