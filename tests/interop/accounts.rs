//! Each finds the other by its account.

use serde_json::json;

use crate::fedify::{Knock, pair};
use crate::harness::eventually;

#[test]
fn a_node_follows_an_account_of_fedify_which_accepts() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    let account = format!("@gigs@{}", fedify.authority());
    node.run(&["follow", &account]).done();
    let accepts = |it: &serde_json::Value| it["verb"] == "Accept" && it["actor"] == fedify.actor("gigs");
    node.activity("an Accept of its Follow", accepts);
    eventually("the Follow counts as accepted", || {
        let again = node.run(&["follow", &account, "--json"]).done().json();
        (again["status"] == "accepted").then_some(())
    });
    fedify.is_followed_by(&[node.actor()]);
    node.run(&["follow", &format!("@nobody@{}", fedify.authority())]).refused(&["404", "no such account"]);
}

#[test]
fn fedify_finds_a_node_by_its_account_and_by_its_address() {
    let (fedify, node) = pair(Knock::Rfc9421, |plan| plan);
    let account = format!("blog@{}", node.authority());
    for named in [format!("@{account}"), format!("acct:{account}"), node.actor()] {
        let found = fedify.control("find", &json!({ "named": named }));
        assert_eq!((&found["id"], &found["name"]), (&json!(node.actor()), &json!("blog")), "{named}: {found}");
        assert_eq!(found["inbox"], format!("{}/inbox", node.base()));
    }
    for resource in [format!("acct:{account}"), node.actor(), node.base()] {
        let said = fedify.control("webfinger", &json!({ "resource": resource }));
        assert_eq!(said["subject"], format!("acct:{account}"), "{resource}: {said}");
        assert_eq!(said["links"][0]["href"], node.actor(), "{said}");
    }
}
