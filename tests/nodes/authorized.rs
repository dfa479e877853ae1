//! Authorised fetch: JSON for whoever says who they are, pages for everybody; and letters, shown to whom they are for.

use std::time::Duration;

use quickbeam::clock::{Clock as _, SystemClock};
use quickbeam::domains::identity::Iri;
use quickbeam::wire::sign::{Signer, SignerKey};
use quickbeam::wire::transport::{Limits, Request};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply, Signed, keys};

const JSON: &str = "application/activity+json";
const AUTHORIZED: &str = "[federation]\nauthorized_fetch = true";

fn signed(peer: &Peer, node: &Node, path: &str) -> Signed {
    peer.sign_call(node, Call::get(path).accept(JSON), "")
}

fn look(peer: &Peer, node: &Node, path: &str) -> Answer {
    signed(peer, node, path).send(node)
}

/// A GET with the peer's RSA key by the draft, as nodes like this one send it where they get 401.
fn look_by_draft(peer: &Peer, node: &Node, path: &str) -> Answer {
    let key_id = Iri::parse(&format!("{}#main-key", peer.actor())).unwrap();
    let signer = Signer { key_id, secret: SignerKey::Rsa(keys(&peer.key.lock()).rsa) };
    let url = Iri::parse(&format!("{}{path}", node.base())).unwrap();
    let limits = Limits { bytes_max: 1, deadline: Duration::from_secs(1) };
    let request = signer.sign_draft(Request::get(url, JSON, limits), SystemClock::default().now()).unwrap();
    let headers = request.headers.iter().filter(|(name, _)| name != "host");
    node.send(&headers.fold(Call::get(path), |call, (name, value)| call.header(name, value)))
}

/// Publishes an object, and gives the path of the activity about it.
fn published(node: &Node, title: &str, visibility: &str, to: &[String]) -> String {
    let body = json!({ "title": title, "visibility": visibility, "to": to });
    let made = node.post("/api/objects/article", &body).expect(201).json();
    made["activity"].as_str().unwrap().strip_prefix(&node.base()).unwrap().to_owned()
}

#[test]
fn json_is_shown_to_who_signs_and_to_tokens_and_pages_to_everybody() {
    let (follower, stranger) = (Peer::start(), Peer::start());
    let plan = Plan::blog().allow(follower.authority()).allow(stranger.authority()).more(AUTHORIZED);
    let node = Node::start(plan);
    follower.follows(&node);
    let (open, friends) = (published(&node, "open", "public", &[]), published(&node, "friends", "followers", &[]));
    let for_all = ["/outbox", "/followers", "/following", "/", "/activities", "/open", &open];
    for path in for_all {
        for kind in [JSON, "application/json", "application/ld+json"] {
            let refused = node.send(&Call::get(path).accept(kind));
            refused.refused_with(401, "sign");
            assert!(refused.header("accept-signature").is_some_and(|asked| asked.contains("@target-uri")), "{refused}");
        }
        for shown in [look(&stranger, &node, path), look_by_draft(&stranger, &node, path), node.get(path)] {
            assert_eq!(shown.expect(200).header("cache-control"), Some("private"), "{path}");
        }
        node.send(&Call::get(path).accept(JSON).token("qb_none")).refused(401);
    }
    for path in ["/friends", &friends] {
        look(&follower, &node, path).expect(200);
        look(&stranger, &node, path).refused(404);
        node.send(&Call::get(path).accept(JSON)).refused(401);
        node.get(path).expect(200);
    }
    // Nobody who does not sign learns what there is.
    for path in ["/nothing", "/activities/nothing"] {
        node.send(&Call::get(path).accept(JSON)).refused(401);
        look(&stranger, &node, path).refused(404);
    }
    for path in ["/", "/open", "/activities"] {
        node.send(&Call::get(path).accept("text/html")).expect(200);
        node.send(&Call::get(path)).expect(200);
    }
    node.send(&Call::get("/friends").accept("text/html")).expect(404);
    // What has no page for people is the same whatever is accepted.
    for path in ["/outbox", "/followers", "/following", &open] {
        node.send(&Call::get(path).accept("text/html")).expect(401);
    }
    let account = format!("/.well-known/webfinger?resource=acct:blog@{}", node.authority());
    for path in ["/actor", "/.well-known/nodeinfo", "/nodeinfo/2.1", &account, "/health", "/ready"] {
        node.send(&Call::get(path).accept(JSON)).expect(200);
    }
}

#[test]
fn a_signature_that_is_false_or_of_somebody_who_is_blocked_shows_nothing() {
    let (peer, other) = (Peer::start(), Peer::start());
    let node = Node::start(Plan::blog().allow(peer.authority()).allow(other.authority()).more(AUTHORIZED));
    published(&node, "open", "public", &[]);
    for path in ["/outbox", "/open", "/nothing"] {
        let get = || signed(&peer, &node, path);
        get().change(|it| it.forged = true).send(&node).refused_with(403, "false");
        get().without("@target-uri").send(&node).refused_with(401, "@target-uri");
        let now = get().created.unwrap();
        get().change(|it| it.created = Some(now - 400)).send(&node).refused_with(401, "ago");
        let key_id = format!("{}#none", peer.actor());
        let unknown = get().change(|it| it.key_id = key_id).send(&node);
        assert!(matches!(unknown.status, 401 | 503), "{unknown}");
    }
    look(&peer, &node, "/open").expect(200);
    node.run(&["blocks", "add", &peer.address.ip().to_string()]).done();
    let asked = peer.connections();
    for path in ["/outbox", "/open", "/nothing"] {
        look(&peer, &node, path).refused_with(403, "blocked");
    }
    assert_eq!(peer.connections(), asked, "nothing is asked of who is blocked");
    node.send(&Call::get("/open").accept("text/html")).expect(200);
}

#[test]
fn two_nodes_that_show_themselves_to_signers_only_hear_each_other() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let events = events.follow(blog.spot.authority()).more(AUTHORIZED);
    let blog = blog.allow(events.spot.authority()).more(AUTHORIZED);
    let (blog, events) = (Node::start(blog), Node::start(events));
    events.activity("an Accept of its Follow", |it| it["verb"] == "Accept" && it["way"] == "received");
    let made = blog.publish("Gig Night");
    let id = made["activity"].clone();
    events.activity("what was published", |it| it["id"] == id && it["way"] == "received");
}

/// A blog that writes a letter to a peer that does not follow it, and the path of what it sent.
fn letter(plan: Plan) -> (Node, Peer, Peer, String) {
    let (peer, follower) = (Peer::start(), Peer::start());
    let node = Node::start(plan.allow(peer.authority()).allow(follower.authority()));
    follower.follows(&node);
    let path = published(&node, "letter", "direct", &[peer.actor()]);
    peer.awaits("Create", None);
    (node, peer, follower, path)
}

#[test]
fn a_letter_is_shown_to_whom_it_is_for() {
    for plan in [Plan::blog(), Plan::blog().more(AUTHORIZED)] {
        let authorized = plan.more.contains(AUTHORIZED);
        let (node, peer, follower, path) = letter(plan);
        let shown = look(&peer, &node, &path).expect(200);
        assert_eq!(shown.header("cache-control"), Some("private"));
        assert_eq!(shown.json(), peer.awaits("Create", None));
        look_by_draft(&peer, &node, &path).expect(200);
        look(&follower, &node, &path).refused(404);
        node.send(&Call::get(&path).accept(JSON)).refused(if authorized { 401 } else { 404 });
        // So is what it is about.
        assert_eq!(look(&peer, &node, "/letter").expect(200).json()["id"], format!("{}/letter", node.base()));
        look(&follower, &node, "/letter").refused(404);
        // What came from others is theirs to show.
        let came = node.activity("the Follow", |it| it["verb"] == "Follow" && it["way"] == "received");
        look(&follower, &node, &format!("/activities/{}", came["ulid"].as_str().unwrap())).refused(404);
    }
}

#[test]
fn nobody_else_learns_that_there_is_a_letter() {
    let (node, peer, _follower, path) = letter(Plan::blog());
    let nothing = "/activities/01ARYZ6S410000000000000000";
    // A neighbour of whom it is for, with a key of its own.
    let neighbour = format!("{}/neighbour", peer.base());
    let (mut document, actor) = (peer.document(), peer.document());
    document["id"] = neighbour.as_str().into();
    document["assertionMethod"][0]["id"] = format!("{neighbour}#ed25519").into();
    document["assertionMethod"][0]["controller"] = neighbour.as_str().into();
    peer.documents(move |got| Reply::json(if got.target == "/neighbour" { &document } else { &actor }));
    let refusals = |path: &str| -> Vec<(u16, Value)> {
        let get = || signed(&peer, &node, path);
        let by_neighbour = get().change(|it| it.key_id = format!("{neighbour}#ed25519"));
        let answers = [get().change(|it| it.forged = true).send(&node), by_neighbour.send(&node)];
        let title = |answer: &Answer| (answer.status, answer.json()["title"].clone());
        answers.iter().map(title).collect()
    };
    let told = refusals(&path);
    assert_eq!(told, refusals(nothing), "the same as where there is nothing");
    assert!(told.iter().all(|(status, _)| *status == 404), "{told:?}");
    look(&peer, &node, &path).expect(200);
}

#[test]
fn a_letter_is_shown_to_nobody_who_is_blocked() {
    let (node, peer, _follower, path) = letter(Plan::blog());
    look(&peer, &node, &path).expect(200);
    node.run(&["blocks", "add", &peer.address.ip().to_string()]).done();
    eventually("it is shown no more", || (look(&peer, &node, &path).status == 404).then_some(()));
}
