//! Peers that sign in other ways than this node does, or take only one of its ways, over real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::clock::{Clock as _, SystemClock};
use quickbeam::domains::identity::Iri;
use quickbeam::wire::key::PublicKey;
use quickbeam::wire::keys::Key;
use quickbeam::wire::proof::prove;
use quickbeam::wire::sign::{Signer, SignerKey};
use quickbeam::wire::transport::{Limits, Request};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply, keys};

const LIMITS: Limits = Limits { bytes_max: 1, deadline: Duration::from_secs(1) };

/// Posts an activity with the peer's RSA key, by the draft or by RFC 9421.
fn send_with_rsa(peer: &Peer, node: &Node, activity: &Value, draft: bool) -> Answer {
    send_with_key(&format!("{}#main-key", peer.actor()), peer, node, activity, draft)
}

fn send_with_key(key_id: &str, peer: &Peer, node: &Node, activity: &Value, draft: bool) -> Answer {
    let key_id = Iri::parse(key_id).unwrap();
    let signer = Signer { key_id, secret: SignerKey::Rsa(keys(&peer.key.lock()).rsa) };
    let inbox = Iri::parse(&format!("{}/inbox", node.base())).unwrap();
    let request = Request::post(inbox, "application/activity+json", activity.to_string(), LIMITS);
    let now = SystemClock::default().now();
    let signed = if draft { signer.sign_draft(request, now) } else { signer.sign(request, now) }.unwrap();
    let headers = signed.headers.iter().filter(|(name, _)| name != "host");
    let call = headers.fold(Call::post("/inbox"), |call, (name, value)| call.header(name, value));
    node.send(&call.body(signed.body.to_vec()))
}

fn posts(peer: &Peer) -> usize {
    peer.got().iter().filter(|got| got.method == "POST").count()
}

fn creates(peer: &Peer) -> usize {
    peer.activities().iter().filter(|it| it["type"] == "Create").count()
}

#[test]
fn a_follow_signed_with_rsa_is_taken_whichever_standard_it_is_signed_by() {
    let (old, new) = (Peer::start(), Peer::start());
    let node = Node::start(Plan::blog().allow(old.authority()).allow(new.authority()));
    for (peer, draft) in [(&old, true), (&new, false)] {
        let follow = peer.activity("Follow", node.actor().into());
        send_with_rsa(peer, &node, &follow, draft).expect(202);
        peer.awaits("Accept", follow["id"].as_str());
        let mut other = peer.activity("Follow", node.actor().into());
        other["actor"] = format!("{}/other", peer.base()).into();
        send_with_rsa(peer, &node, &other, draft).expect(403);
    }
}

/// Shows its actor only to who signs, and at the address of its key no more than the key, as GoToSocial does.
fn with_a_page_for_its_key(peer: &Peer) -> String {
    let key_id = format!("{}/main-key", peer.actor());
    let mut actor = peer.document();
    actor["publicKey"]["id"] = key_id.as_str().into();
    let page = json!({ "id": peer.actor(), "type": "Person", "publicKey": actor["publicKey"] });
    peer.documents(move |got| match got.target.as_str() {
        "/actor/main-key" => Reply::json(&page),
        _ if got.header("signature").is_some() => Reply::json(&actor),
        _ => Reply::status(401),
    });
    key_id
}

#[test]
fn a_peer_whose_key_has_a_page_and_whose_actor_is_shown_to_who_signs_can_follow() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    let key_id = with_a_page_for_its_key(&peer);
    let follow = peer.activity("Follow", node.actor().into());
    send_with_key(&key_id, &peer, &node, &follow, true).expect(202);
    peer.awaits("Accept", follow["id"].as_str());
    let gets: Vec<_> = peer.got().into_iter().filter(|got| got.method == "GET").collect();
    let targets: Vec<&str> = gets.iter().map(|got| got.target.as_str()).collect();
    assert_eq!(targets, ["/actor/main-key", "/actor", "/actor"]);
    // What is signed is true for who reads our actor, which is shown to anybody.
    let ours = node.send(&Call::get("/actor").header("signature", "false")).expect(200).json();
    let key = PublicKey::from_pem(ours["publicKey"]["publicKeyPem"].as_str().unwrap()).unwrap();
    let date = gets[2].header("date").unwrap();
    let base = format!("(request-target): get /actor\nhost: {}\ndate: {date}", peer.authority());
    let said = gets[2].header("signature").unwrap();
    let named = format!(
        "keyId=\"{}\",algorithm=\"rsa-sha256\",headers=\"(request-target) host date\"",
        ours["publicKey"]["id"].as_str().unwrap()
    );
    assert!(said.starts_with(&named), "{said}");
    let (_, signature) = said.trim_end_matches('"').split_once("signature=\"").unwrap();
    assert!(Key::Public(key).verifies(base.as_bytes(), &STANDARD.decode(signature).unwrap()));
    assert_eq!(gets[0].header("signature").or(gets[1].header("signature")), None);
}

#[test]
fn a_follow_without_a_signature_is_taken_for_its_proof() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    let follow = peer.activity("Follow", node.actor().into());
    let key_id = Iri::parse(&format!("{}#ed25519", peer.actor())).unwrap();
    let proved = prove(&follow, &peer.key.lock(), &key_id, SystemClock::default().now()).unwrap();
    let post = |body: &Value| {
        node.send(&Call::post("/inbox").header("content-type", "application/activity+json").body(body.to_string()))
    };
    let refused = post(&follow).expect(401);
    assert!(refused.header("accept-signature").is_some_and(|it| it.contains("\"content-digest\"")), "{refused}");
    let mut altered = proved.clone();
    altered["object"] = format!("{}/other", node.base()).into();
    post(&altered).expect(403);
    post(&proved).expect(202);
    peer.awaits("Accept", follow["id"].as_str());
}

#[test]
fn a_peer_that_takes_only_the_draft_is_found_out_once_and_remembered_through_a_restart() {
    let peer = Peer::start();
    peer.answers(|got| Reply::status(if got.header("signature-input").is_some() { 401 } else { 202 }));
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    node.settle();
    // It publishes an ed25519 key as nodes like this one do, so that its own way is the last that is tried.
    assert_eq!(posts(&peer), 3, "the Accept, refused twice");
    node.publish("one");
    eventually("it arrives", || (creates(&peer) == 1).then_some(()));
    assert_eq!(posts(&peer), 4, "signed so at once");
    node.settle();
    node.kill();
    node.restart();
    node.publish("two");
    eventually("it arrives", || (creates(&peer) == 2).then_some(()));
    assert_eq!(posts(&peer), 5);
    let last = peer.got().pop().unwrap();
    let signature = last.header("signature").unwrap();
    assert!(signature.contains("algorithm=\"rsa-sha256\"") && signature.contains("#main-key\""), "{signature}");
    assert_eq!(last.header("host").unwrap(), peer.authority());
}

#[test]
fn public_activities_carry_a_proof_where_the_configuration_says_so() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().more("[delivery]\nproofs = true").allow(peer.authority()));
    peer.follows(&node);
    assert!(peer.awaits("Accept", None)["proof"].is_null(), "a letter to one needs none");
    node.publish("Gig");
    let create = peer.awaits("Create", None);
    assert_eq!(create["proof"]["cryptosuite"], "eddsa-jcs-2022");
    assert_eq!(create["proof"]["verificationMethod"], format!("{}#ed25519", node.actor()));
    peer.all_signed_by(&node);
}

#[test]
fn a_folder_of_an_older_version_gets_an_rsa_key_and_keeps_it() {
    let node = Node::start(Plan::blog());
    node.kill();
    let file = node.data().join("node-rsa.key");
    fs::remove_file(&file).unwrap();
    node.restart();
    let key = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let published = || node.send(&Call::get("/actor")).expect(200).json()["publicKey"].clone();
    let before = published();
    node.kill();
    node.restart();
    assert_eq!((fs::read(&file).unwrap(), published()), (key, before));
}

/// What the other one says of the activity that it was sent.
fn signed_by(node: &Node, verb: &str, sender: &Node) -> Value {
    let fits = |it: &Value| it["verb"] == verb && it["way"] == "received" && it["actor"] == sender.actor();
    let ulid = node.activity(verb, fits)["ulid"].as_str().unwrap().to_owned();
    let shown = node.admin("GET", &format!("/admin/activity?id={ulid}")).expect(200).json();
    json!([shown["signed"]["form"], shown["signed"]["algorithm"]])
}

#[test]
fn two_nodes_understand_each_other_by_each_scheme() {
    for (word, expected) in [
        (None, json!(["RFC 9421", "ed25519"])),
        (Some("ed25519"), json!(["RFC 9421", "ed25519"])),
        (Some("rsa"), json!(["RFC 9421", "rsa-v1_5-sha256"])),
        (Some("draft"), json!(["draft-cavage", "rsa-v1_5-sha256"])),
    ] {
        let with = |plan: Plan| match word {
            Some(word) => plan.more(&format!("[delivery]\nsign_with = \"{word}\"\n")),
            None => plan,
        };
        let (blog, events) = (with(Plan::blog()), with(Plan::events()));
        let events = events.follow(blog.spot.authority());
        let (blog, events) = (Node::start(blog.allow(events.spot.authority())), Node::start(events));
        assert_eq!(signed_by(&blog, "Follow", &events), expected, "{word:?}");
        assert_eq!(signed_by(&events, "Accept", &blog), expected, "{word:?}");
        let made = blog.publish("Gig Night");
        assert_eq!(signed_by(&events, "Create", &blog), expected, "{word:?}");
        assert_eq!(events.activity("the Create", |it| it["verb"] == "Create")["object"], made["id"]);
    }
}

#[test]
fn two_nodes_that_share_a_secret_sign_with_nothing_else() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let (blog_at, events_at) = (blog.spot.actor(), events.spot.actor());
    let secret = [7; 32];
    let events = events.follow(blog.spot.authority()).pair("blog", &blog_at, &secret);
    let blog = blog.allow(events.spot.authority()).pair("events", &events_at, &secret);
    let (blog, events) = (Node::start(blog), Node::start(events));
    let expected = json!(["RFC 9421", "hmac-sha256"]);
    assert_eq!(signed_by(&blog, "Follow", &events), expected);
    blog.publish("Gig Night");
    assert_eq!(signed_by(&events, "Create", &blog), expected);
}
