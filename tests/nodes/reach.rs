//! Where a node goes, and where it never does: strangers choose addresses, the operator says which count.

use quickbeam::config::template::Template;
use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply, With};

const SECRET: &[u8] = b"a secret of thirty-two bytes at least";
const OTHER_SECRET: &[u8] = b"another secret of thirty-two bytes or more";

#[test]
fn an_address_that_is_not_listed_is_never_connected_to() {
    let peer = Peer::start();
    let node = Node::start(Plan::events());
    node.unchanged(|| {
        // A key that would have to be fetched from there.
        let answer = peer.send(&node, &peer.activity("Follow", node.actor().into()));
        assert!([401, 503].contains(&answer.status), "{answer}");
        answer.refused(answer.status);
        assert!(answer.text().contains("[fetch] allow"), "{answer}");
        // The same over TLS, which needs no leave by itself.
        let secure = peer.base().replace("http://", "https://");
        let mut follow = peer.activity("Follow", node.actor().into());
        follow["actor"] = format!("{secure}/actor").into();
        follow["id"] = format!("{secure}/activities/1").into();
        let signed = peer.sign(&node, &follow).change(|it| it.key_id = format!("{secure}/actor#ed25519"));
        let answer = signed.send(&node);
        assert!([401, 503].contains(&answer.status) && answer.text().contains("[fetch] allow"), "{answer}");
    });
    // A delivery that would have to go there ends where people see it.
    node.post("/api/follow", &json!({ "peer": peer.actor() })).expect(202);
    let letter = eventually("the delivery is given up", || node.all("/admin/dead-letters").into_iter().next());
    assert!(letter["reason"].as_str().unwrap().contains("[fetch] allow"), "{letter}");
    assert_eq!(peer.connections(), 0);
}

#[test]
fn what_a_listed_peer_names_elsewhere_is_checked_as_well() {
    let (peer, hidden) = (Peer::start(), Peer::start());
    let node = Node::start(Plan::blog().allow(peer.authority()));
    let (inner, address) = (hidden.base(), hidden.authority());
    let mut document = peer.document();
    document["inbox"] = format!("{inner}/inbox").into();
    document["endpoints"]["sharedInbox"] = format!("{inner}/inbox").into();
    peer.documents(move |_| Reply::json(&document));
    let follow = peer.activity("Follow", node.actor().into());
    peer.sends(&node, &follow, "taken");
    let letters = || node.all("/admin/dead-letters");
    eventually("the Accept is given up", || (letters().len() == 1).then_some(()));
    node.publish("Gig");
    eventually("the article is given up", || (letters().len() == 2).then_some(()));
    assert!(letters().iter().all(|letter| letter["to"] == address.as_str()), "{:?}", letters());
    assert_eq!(hidden.connections(), 0);
}

#[test]
fn a_delivery_follows_no_redirect() {
    let (peer, elsewhere) = (Peer::start(), Peer::start());
    let node = Node::start(Plan::blog().allow(peer.authority()).allow(elsewhere.authority()));
    peer.follows(&node);
    let place = format!("{}/inbox", elsewhere.base());
    peer.answers(move |_| Reply::status(307).header("location", &place));
    node.publish("Gig");
    let letter = eventually("it is given up", || node.all("/admin/dead-letters").into_iter().next());
    assert!(letter["reason"].as_str().unwrap().contains("307"), "{letter}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_node_never_speaks_to_itself_under_whatever_name() {
    let plan = Plan::events();
    let (public, admin) = (plan.spot.authority(), plan.spot.admin.to_string());
    let node = Node::start(plan.allow(public.clone()).allow(admin.clone()));
    for peer in [admin.clone(), format!("http://{admin}/other")] {
        node.post("/api/follow", &json!({ "peer": peer })).expect(202);
    }
    let letters = || node.all("/admin/dead-letters");
    eventually("both are given up", || (letters().len() == 2).then_some(()));
    for letter in letters() {
        assert!(letter["reason"].as_str().unwrap().contains("where this node itself listens"), "{letter}");
    }
    node.settle();
    node.unchanged(|| {
        for itself in [node.actor(), public.clone()] {
            node.post("/api/follow", &json!({ "peer": itself })).refused_with(422, "itself");
        }
        node.post("/api/follow", &json!({ "peer": "" })).refused(400);
        node.post("/api/follow", &json!({ "peer": "not a peer" })).refused_with(400, "[peers]");
        node.post("/api/follow", &json!({ "peer": "ftp://b.example/actor" })).refused(400);
        let unfollow = Call::new("DELETE", "/api/follow?peer=b.example").token(&node.token);
        node.send(&unfollow).refused_with(404, "not followed");
    });
}

#[test]
fn a_pair_signs_with_its_secret_both_ways() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let (blog_spot, events_spot) = (blog.spot, events.spot);
    let blog = blog.pair("events", &events_spot.actor(), SECRET).allow(events_spot.authority());
    let events = events.pair("blog", &blog_spot.actor(), SECRET).follow(blog_spot.authority());
    let (blog, events) = (Node::start(blog), Node::start(events));
    events.activity("an Accept of its Follow", |it| it["verb"] == "Accept" && it["way"] == "received");
    blog.publish("Gig");
    eventually("the article is announced", || (events.notices().len() == 1).then_some(()));
}

#[test]
fn a_secret_belongs_to_one_pair() {
    let (peer, stranger) = (Peer::start(), Peer::start());
    let plan = Plan::new(Template::Events).pair("peer", &peer.actor(), SECRET).allow(peer.authority());
    let node = Node::start(plan.allow(stranger.authority()));
    let signed = |peer: &Peer, secret: &[u8]| {
        let secret = secret.to_vec();
        peer.sign(&node, &peer.activity("Follow", node.actor().into())).change(|it| {
            it.with = With::Secret(secret);
            it.key_id = it.key_id.replace("#ed25519", "#hmac");
        })
    };
    node.unchanged(|| {
        signed(&peer, OTHER_SECRET).send(&node).refused_with(403, "false");
        signed(&stranger, SECRET).send(&node).refused_with(401, "secret");
        // The algorithm comes from the key: a secret proves nothing under the name of a public key.
        let public = format!("{}#ed25519", peer.actor());
        signed(&peer, SECRET).change(|it| it.key_id = public).send(&node).refused_with(403, "false");
        // One peer's secret says nothing about another.
        let of_pair = format!("{}#hmac", peer.actor());
        signed(&stranger, SECRET).change(|it| it.key_id = of_pair).send(&node).refused_with(403, "authority");
    });
    let follow = signed(&peer, SECRET);
    follow.send(&node).expect(202);
    peer.awaits("Accept", None);
    let answer = peer.got().into_iter().find(|got| got.method == "POST").unwrap();
    assert!(answer.claims().contains(&format!("keyid=\"{}#hmac\"", node.actor())), "{}", answer.claims());
    assert!(answer.is_signed_with(SECRET) && !answer.is_signed_with(OTHER_SECRET));
    // To others it signs with its own key as before.
    stranger.follows(&node);
    stranger.all_signed_by(&node);
}
