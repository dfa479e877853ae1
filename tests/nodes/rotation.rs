//! Keys rotated on a running node: what peers get, what they still believe, and what a crash leaves.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};
use crate::proof::{Got, false_by};

/// A blog, and a peer that follows it.
fn blog_and_follower() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    // What the peer took is remembered by then, also through a kill.
    node.settle();
    (node, peer)
}

fn document(node: &Node) -> Value {
    node.send(&Call::get("/actor").accept("application/activity+json")).expect(200).json()
}

fn rotate(node: &Node, words: &[&str]) -> Value {
    node.run(&[&["key", "rotate", "--json"], words].concat()).done().json()
}

/// Fragments of the ids of keys that a document shows, first the one for requests.
fn published(document: &Value) -> Vec<String> {
    let asserting = document["assertionMethod"].as_array().unwrap().iter();
    let all = std::iter::once(&document["publicKey"]).chain(asserting);
    all.map(|key| key["id"].as_str().unwrap().split_once('#').unwrap().1.to_owned()).collect()
}

/// Posts of one verb, as they arrived.
fn posts(peer: &Peer, verb: &str) -> Vec<Got> {
    let is_it = |got: &Got| serde_json::from_slice::<Value>(&got.body).is_ok_and(|activity| activity["type"] == verb);
    peer.got().into_iter().filter(|got| got.method == "POST" && is_it(got)).collect()
}

/// The fragment of the key that a request names, by either standard.
fn key_of(got: &Got) -> String {
    let claims = got.header("signature-input").or_else(|| got.header("signature")).unwrap();
    let (_, rest) = claims.split_once("/actor#").unwrap_or_else(|| panic!("no key of an actor in {claims}"));
    rest.split('"').next().unwrap().to_owned()
}

fn keys_of(posts: &[Got]) -> Vec<String> {
    posts.iter().map(key_of).collect()
}

/// Nothing goes on by itself any more.
fn at_rest(node: &Node) {
    node.settle_flows();
    node.settle();
}

/// Key files in the folder of a node.
fn key_files(node: &Node) -> BTreeSet<String> {
    let names = fs::read_dir(node.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".key") || name.starts_with("keys.json")).collect()
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn published_and_heard(node: &Node, peer: &Peer, title: &str) -> Got {
    let made = node.publish(title);
    peer.awaits("Create", made["id"].as_str());
    posts(peer, "Create").pop().unwrap()
}

const BOTH: [&str; 5] = ["keys.json", "node-2.key", "node-rsa-2.key", "node-rsa.key", "node.key"];
const NEW: [&str; 3] = ["keys.json", "node-2.key", "node-rsa-2.key"];

#[test]
fn everything_is_signed_anew_and_followers_hear_of_it_with_the_key_that_they_know() {
    let (node, peer) = blog_and_follower();
    let before = document(&node);
    assert_eq!(published(&before), ["main-key", "ed25519"]);
    assert_eq!(key_of(&published_and_heard(&node, &peer, "before")), "ed25519");
    let answer = rotate(&node, &[]);
    let update = peer.awaits("Update", Some(&node.actor()));
    let [sent] = &posts(&peer, "Update")[..] else { panic!("one Update") };
    assert_eq!((key_of(sent).as_str(), false_by(sent, &before)), ("ed25519", None));
    // It says what is published now: new keys first, and the old one that proofs were made with.
    let now = document(&node);
    assert_eq!(update["object"], now);
    assert_eq!(published(&now), ["main-key-2", "ed25519-2", "ed25519"]);
    assert_eq!(now["assertionMethod"][1], before["assertionMethod"][0]);
    assert_ne!(now["publicKey"]["publicKeyPem"], before["publicKey"]["publicKeyPem"]);
    assert_eq!((&update["actor"], &update["id"]), (&json!(node.actor()), &answer["rotation"]["update"]));
    let path = update["id"].as_str().unwrap().strip_prefix(&node.base()).unwrap();
    assert_eq!(node.send(&Call::get(path)).expect(200).json(), update);
    let after = published_and_heard(&node, &peer, "after");
    assert_eq!((key_of(&after).as_str(), false_by(&after, &now)), ("ed25519-2", None));
    // What was signed before is believed as well, by whoever looks now.
    peer.all_signed_by(&node);
    assert_eq!(key_files(&node), named(&BOTH));
    for name in BOTH {
        assert_eq!(fs::metadata(node.data().join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_is_asked_of_a_peer_is_signed_with_the_new_keys_too() {
    let (node, peer) = blog_and_follower();
    rotate(&node, &[]);
    peer.awaits("Update", None);
    // A second peer, which shows itself only to whoever signs.
    let shy = Peer::start();
    let document = shy.document();
    shy.documents(
        move |got| if got.header("signature").is_some() { Reply::json(&document) } else { Reply::status(401) },
    );
    node.kill();
    let plan = Plan { spot: node.plan.spot, ..Plan::blog().allow(peer.authority()).allow(shy.authority()) };
    plan.write(node.folder());
    node.restart();
    node.post("/api/follow", &json!({ "peer": shy.authority() })).expect(202);
    shy.awaits("Follow", None);
    let asked: Vec<Got> =
        shy.got().into_iter().filter(|got| got.method == "GET" && got.header("signature").is_some()).collect();
    assert_eq!(keys_of(&asked), ["main-key-2"]);
}

#[test]
fn the_keys_are_listed_and_the_words_of_a_rotation_are_checked() {
    let (node, _peer) = blog_and_follower();
    let listed = |node: &Node| -> Vec<(String, bool, bool)> {
        let items = node.run(&["key", "list", "--json"]).done().json()["items"].as_array().unwrap().clone();
        let id = |item: &Value| item["id"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
        items.iter().map(|item| (id(item), item["signs"] == true, item["published"] == true)).collect()
    };
    at_rest(&node);
    let row = |id: &str, signs, published| (id.to_owned(), signs, published);
    assert_eq!(listed(&node), [row("ed25519", true, true), row("main-key", true, true)]);
    let send = |body: &Value| node.send_admin(&Call::post("/admin/keys/rotate").token(&node.admin_token).json(body));
    let refused = |answer: Answer, status: u16, what: &str| answer.refused_with(status, what);
    node.unchanged(|| {
        refused(send(&json!({ "overlap": "soon" })), 422, "no span of time");
        refused(send(&json!({ "overlap": "0s" })), 422, "now");
        refused(send(&json!({ "overlap": "91d" })), 422, "90d");
        refused(send(&json!({ "overlap": "1d", "now": true })), 422, "one of the two");
        refused(send(&json!({ "over": "1d" })), 400, "overlap");
        refused(send(&json!({ "now": "yes" })), 400, "now");
        refused(node.send_admin(&Call::post("/admin/keys/rotate")), 401, "");
        refused(node.send_admin(&Call::post("/admin/keys/rotate").token(&node.token)), 403, "admin");
        refused(node.send_admin(&Call::get("/admin/keys").token(&node.token)), 403, "admin");
        let twice = node.run(&["key", "rotate", "--overlap", "1d", "--now"]);
        assert_eq!(twice.code, Some(2), "{twice:?}");
        node.run(&["key", "rotate", "--overlap", "soon"]).refused(&["no span of time"]);
    });
    assert_eq!(key_files(&node), named(&["node-rsa.key", "node.key"]));
    let told = node.run(&["key", "rotate", "--overlap", "2h"]).done().out;
    assert!(told.contains("ed25519-2") && told.contains("the old ones end in 11"), "{told}");
    let now = [
        row("ed25519-2", true, true),
        row("main-key-2", true, true),
        row("ed25519", false, true),
        row("main-key", false, false),
    ];
    assert_eq!(listed(&node), now);
    at_rest(&node);
    node.unchanged(|| node.run(&["key", "rotate"]).refused(&["rotated already", "--now"]));
    assert_eq!(listed(&node), now);
    node.kill();
    node.run(&["key", "list"]).refused(&["not running", "serve"]);
}

#[test]
fn a_repeat_under_the_same_key_rotates_nothing() {
    let (node, peer) = blog_and_follower();
    let send = |key: &str, body: &Value| {
        node.send_admin(&Call::post("/admin/keys/rotate").token(&node.admin_token).key(key).json(body))
    };
    let first = send("k", &json!({ "now": true })).expect(200);
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = send("k", &json!({ "now": true })).expect(200);
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first.json()));
    send("k", &json!({})).refused_with(422, "Idempotency-Key");
    peer.awaits("Update", None);
    node.kill();
    node.restart();
    let send = |key: &str| {
        let call = Call::post("/admin/keys/rotate").token(&node.admin_token).key(key);
        node.send_admin(&call.json(&json!({ "now": true }))).expect(200).json()
    };
    assert_eq!(send("k"), first.json(), "also after a crash");
    assert_eq!(published(&document(&node)), ["main-key-2", "ed25519-2"]);
    send("other");
    assert_eq!(published(&document(&node)), ["main-key-3", "ed25519-3"]);
}

#[test]
fn old_keys_end_with_the_overlap_and_their_files_go() {
    let (node, peer) = blog_and_follower();
    rotate(&node, &["--overlap", "3s"]);
    peer.awaits("Update", None);
    assert_eq!(published(&document(&node)).len(), 3);
    eventually("the old key is published no more", || {
        (published(&document(&node)) == ["main-key-2", "ed25519-2"]).then_some(())
    });
    eventually("its files are gone", || (key_files(&node) == named(&NEW)).then_some(()));
    assert_eq!(key_of(&published_and_heard(&node, &peer, "after")), "ed25519-2");
    rotate(&node, &[]);
    assert_eq!(published(&document(&node)), ["main-key-3", "ed25519-3", "ed25519-2"]);
}

#[test]
fn an_overlap_that_ends_while_the_node_is_down_has_ended_when_it_starts() {
    let (node, peer) = blog_and_follower();
    rotate(&node, &["--overlap", "2s"]);
    peer.awaits("Update", None);
    node.kill();
    std::thread::sleep(std::time::Duration::from_secs(2));
    node.restart();
    assert_eq!(published(&document(&node)), ["main-key-2", "ed25519-2"]);
    eventually("its files are gone", || (key_files(&node) == named(&NEW)).then_some(()));
}

#[test]
fn stolen_keys_are_out_at_once() {
    let (node, peer) = blog_and_follower();
    let before = document(&node);
    rotate(&node, &["--now"]);
    peer.awaits("Update", None);
    let now = document(&node);
    assert_eq!(published(&now), ["main-key-2", "ed25519-2"]);
    let [sent] = &posts(&peer, "Update")[..] else { panic!("one Update") };
    assert_eq!((key_of(sent).as_str(), false_by(sent, &now)), ("ed25519-2", None));
    assert!(false_by(sent, &before).is_some());
    assert_eq!(key_files(&node), named(&NEW));
    // Also those of an overlap that is under way.
    rotate(&node, &["--now"]);
    assert_eq!(key_files(&node), named(&["keys.json", "node-3.key", "node-rsa-3.key"]));
}

#[test]
fn who_has_forgotten_the_old_key_gets_the_news_signed_with_the_new_one() {
    let (node, peer) = blog_and_follower();
    peer.answers(|got| if key_of(got).ends_with("-2") { Reply::status(202) } else { Reply::status(401) });
    rotate(&node, &[]);
    eventually("the Update is taken", || {
        keys_of(&posts(&peer, "Update")).contains(&"ed25519-2".to_owned()).then_some(())
    });
    node.settle();
    let keys = keys_of(&posts(&peer, "Update"));
    assert_eq!((keys[0].as_str(), keys.last().unwrap().as_str()), ("ed25519", "ed25519-2"), "{keys:?}");
    assert_eq!(node.all("/admin/dead-letters").len(), 0);
}

#[test]
fn an_update_that_outlasts_the_overlap_is_signed_with_the_new_key() {
    let (node, peer) = blog_and_follower();
    peer.answers(|_| Reply::status(503));
    rotate(&node, &["--overlap", "2s"]);
    eventually("the old keys are gone", || (key_files(&node) == named(&NEW)).then_some(()));
    let tried = posts(&peer, "Update").len();
    peer.answers(|_| Reply::status(202));
    eventually("the Update comes once more", || (posts(&peer, "Update").len() > tried).then_some(()));
    let keys = keys_of(&posts(&peer, "Update"));
    assert_eq!((keys[0].as_str(), keys.last().unwrap().as_str()), ("ed25519", "ed25519-2"), "{keys:?}");
}

#[test]
fn peers_that_check_rsa_only_get_the_old_rsa_key_for_the_news_and_the_new_one_for_the_rest() {
    let peer = Peer::start();
    let mut plain = peer.document();
    plain.as_object_mut().unwrap().remove("assertionMethod");
    let key = peer.key.lock().public_pem();
    plain["publicKey"] = json!({ "id": format!("{}#key", peer.actor()), "owner": peer.actor(), "publicKeyPem": key });
    peer.documents(move |_| Reply::json(&plain));
    let node = Node::start(Plan::blog().allow(peer.authority()));
    let follow = peer.activity("Follow", node.actor().into());
    peer.sign(&node, &follow).change(|it| it.key_id = format!("{}#key", peer.actor())).send(&node).expect(202);
    peer.awaits("Accept", None);
    let before = document(&node);
    rotate(&node, &[]);
    peer.awaits("Update", None);
    let sent = posts(&peer, "Update").remove(0);
    assert_eq!((key_of(&sent).as_str(), false_by(&sent, &before)), ("main-key", None));
    let after = published_and_heard(&node, &peer, "after");
    assert_eq!((key_of(&after).as_str(), false_by(&after, &document(&node))), ("main-key-2", None));
}

#[test]
fn a_node_that_is_killed_right_after_its_answer_has_its_new_keys_and_tells_of_them() {
    let (node, peer) = blog_and_follower();
    let before = document(&node);
    peer.answers(|_| Reply::status(503));
    let answer = rotate(&node, &[]);
    node.kill();
    peer.answers(|_| Reply::status(202));
    let files: Vec<Vec<u8>> = BOTH[1..].iter().map(|name| fs::read(node.data().join(name)).unwrap()).collect();
    node.restart();
    assert_eq!(published(&document(&node)), ["main-key-2", "ed25519-2", "ed25519"]);
    let again: Vec<Vec<u8>> = BOTH[1..].iter().map(|name| fs::read(node.data().join(name)).unwrap()).collect();
    assert_eq!(again, files);
    eventually("the Update arrives", || {
        let sent = posts(&peer, "Update").pop()?;
        (key_of(&sent) == "ed25519" && false_by(&sent, &before).is_none()).then_some(())
    });
    let ids: BTreeSet<String> = posts(&peer, "Update")
        .iter()
        .map(|got| serde_json::from_slice::<Value>(&got.body).unwrap()["id"].to_string())
        .collect();
    assert_eq!(ids, BTreeSet::from([answer["rotation"]["update"].to_string()]), "one Update, however often it is sent");
}

#[test]
fn a_kill_at_any_moment_leaves_the_keys_before_or_those_after() {
    let (node, peer) = blog_and_follower();
    let mut known = published(&document(&node));
    for millis in [0, 5, 20, 50, 100, 150, 200, 300] {
        let asked = std::thread::scope(|scope| {
            let call = Call::post("/admin/keys/rotate").token(&node.admin_token).json(&json!({ "now": true }));
            let admin = node.plan.spot.admin;
            let asked = scope.spawn(move || call.send(admin, &admin.to_string()).is_ok_and(|it| it.status == 200));
            std::thread::sleep(std::time::Duration::from_millis(millis));
            node.kill();
            asked.join().unwrap()
        });
        node.restart();
        let now = published(&document(&node));
        assert!(!asked || now != known, "what was answered is done");
        if now != known {
            let number = |keys: &[String]| keys[0].rsplit('-').next().unwrap().parse::<u32>().unwrap_or(1);
            assert_eq!(number(&now), number(&known) + 1);
            eventually("followers are told", || keys_of(&posts(&peer, "Update")).contains(&now[1]).then_some(()));
        }
        assert_eq!(key_of(&published_and_heard(&node, &peer, &format!("after {millis}"))), now[1]);
        known = now;
    }
    assert_eq!(key_files(&node).iter().filter(|name| name.ends_with(".key")).count(), 2, "{:?}", key_files(&node));
}

#[test]
fn an_update_that_is_owed_is_told_at_the_next_start_once() {
    let (node, peer) = blog_and_follower();
    rotate(&node, &[]);
    peer.awaits("Update", None);
    node.settle();
    // As a crash between the folder and the log leaves it, with an id that is not in the log.
    node.kill();
    let path = node.data().join("keys.json");
    let mut book: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(book["rotation"]["logged"], true);
    book["rotation"]["logged"] = false.into();
    let known = book["rotation"]["activity"].as_str().unwrap().to_owned();
    let other = format!("{}0", &known[..known.len() - 1]);
    let other = if other == known { format!("{}1", &known[..known.len() - 1]) } else { other };
    book["rotation"]["activity"] = other.as_str().into();
    fs::write(&path, book.to_string()).unwrap();
    node.restart();
    let id = format!("{}/activities/{other}", node.base());
    let told = || peer.activities().iter().filter(|it| it["id"] == id.as_str()).count();
    eventually("it is told", || (told() > 0).then_some(()));
    // The same where it is in the log already: nothing is told twice.
    node.settle();
    node.kill();
    let mut book: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(book["rotation"]["logged"], true);
    book["rotation"]["logged"] = false.into();
    fs::write(&path, book.to_string()).unwrap();
    node.restart();
    eventually("the folder is up to date", || {
        let book: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (book["rotation"]["logged"] == true).then_some(())
    });
    node.settle();
    assert_eq!(told(), 1);
}

#[test]
fn a_crash_before_the_new_keys_count_leaves_the_old_ones() {
    let (node, peer) = blog_and_follower();
    node.kill();
    // New keys were on disk, and nothing named them yet.
    for name in ["node-2.key", "node-rsa-2.key.new"] {
        fs::write(node.data().join(name), "half of").unwrap();
        fs::set_permissions(node.data().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    node.restart();
    assert_eq!(published(&document(&node)), ["main-key", "ed25519"]);
    rotate(&node, &[]);
    assert_eq!(key_files(&node), named(&BOTH));
    assert_eq!(key_of(&published_and_heard(&node, &peer, "after")), "ed25519-2");
}

#[test]
fn keys_that_cannot_be_kept_change_nothing_and_what_cannot_be_taken_away_goes_later() {
    let (node, peer) = blog_and_follower();
    // A folder in the place of the file that is written first, or of the one that counts.
    for name in ["node-rsa-2.key.new", "keys.json.new"] {
        let draft = node.data().join(name);
        fs::create_dir(&draft).unwrap();
        at_rest(&node);
        node.unchanged(|| {
            node.run(&["key", "rotate"]).refused(&["the old ones sign on", name.trim_end_matches(".new")])
        });
        assert_eq!(published(&document(&node)), ["main-key", "ed25519"]);
        assert_eq!(key_of(&published_and_heard(&node, &peer, name)), "ed25519");
        fs::remove_dir(&draft).unwrap();
    }
    let stuck = node.data().join("node-0.key");
    fs::create_dir(&stuck).unwrap();
    rotate(&node, &["--now"]);
    assert_eq!(published(&document(&node)), ["main-key-2", "ed25519-2"]);
    let left = ["keys.json", "node-0.key", "node-2.key", "node-rsa-2.key"];
    assert_eq!(key_files(&node), named(&left), "the others are gone");
    fs::remove_dir(&stuck).unwrap();
    fs::write(&stuck, "old").unwrap();
    eventually("it is gone too", || (key_files(&node) == named(&NEW)).then_some(()));
}

#[test]
fn a_backup_has_all_keys_and_a_restored_node_makes_no_id_again() {
    let (node, peer) = blog_and_follower();
    rotate(&node, &[]);
    peer.awaits("Update", None);
    node.settle();
    let file = node.folder().join("node.qbk");
    node.run(&["backup", file.to_str().unwrap()]).done();
    let files: Vec<Vec<u8>> = BOTH.iter().map(|name| fs::read(node.data().join(name)).unwrap()).collect();
    let shown = document(&node);
    node.kill();
    let restored = Node::restored(&node, &file);
    let again: Vec<Vec<u8>> = BOTH.iter().map(|name| fs::read(restored.data().join(name)).unwrap()).collect();
    assert_eq!(again, files);
    assert_eq!(key_files(&restored), named(&BOTH));
    restored.start_held();
    assert_eq!(document(&restored), shown);
    let rotate = || Call::post("/admin/keys/rotate").token(&restored.admin_token).json(&json!({ "now": true }));
    restored.send_admin(&rotate()).refused_with(503, "held");
    restored.run(&["continue"]).done();
    restored.send_admin(&rotate()).expect(200);
    assert_eq!(published(&document(&restored)), ["main-key-3-2", "ed25519-3-2"]);
}

/// A blog, and events that follows it.
fn two_nodes() -> (Node, Node) {
    let (blog, events) = (Plan::blog(), Plan::events());
    let events = events.follow(blog.spot.authority());
    let (blog, events) = (Node::start(blog.allow(events.spot.authority())), Node::start(events));
    events.activity("an Accept of its Follow", |it| it["verb"] == "Accept" && it["way"] == "received");
    (blog, events)
}

fn hears(events: &Node, made: &Value) {
    let id = made["activity"].clone();
    events.activity("what was published", |it| it["id"] == id && it["way"] == "received");
}

#[test]
fn a_node_hears_another_before_in_and_after_the_overlap() {
    let (blog, events) = two_nodes();
    hears(&events, &blog.publish("before"));
    rotate(&blog, &["--overlap", "3s"]);
    hears(&events, &blog.publish("in between"));
    eventually("the old keys are gone", || (key_files(&blog) == named(&NEW)).then_some(()));
    hears(&events, &blog.publish("after"));
    blog.settle();
    assert_eq!(blog.all("/admin/dead-letters").len(), 0);
}

#[test]
fn a_node_that_missed_the_news_still_believes_what_comes_later() {
    let (blog, events) = two_nodes();
    hears(&events, &blog.publish("before"));
    let peer = |verb: &str| blog.admin("POST", &format!("/admin/peers/{}/{verb}", events.authority())).expect(200);
    peer("pause");
    rotate(&blog, &["--now"]);
    eventually("the Update waits", || (blog.peer(&events.authority())["queued"].as_u64() > Some(0)).then_some(()));
    peer("forget");
    peer("continue");
    hears(&events, &blog.publish("after"));
    assert!(!events.all("/activities").iter().any(|it| it["verb"] == "Update"));
}

#[test]
fn a_rotation_right_behind_another_is_believed_too() {
    let (blog, events) = two_nodes();
    rotate(&blog, &[]);
    hears(&events, &blog.publish("once"));
    rotate(&blog, &["--now"]);
    assert_eq!(published(&document(&blog)), ["main-key-3", "ed25519-3"]);
    // Events has asked for the keys of the blog just now, and says when it will again.
    blog.publish("twice");
    eventually("it is to be tried again", || {
        let said = blog.peer(&events.authority())["last_error"]["what"].as_str().unwrap_or_default().to_owned();
        said.contains("503").then_some(())
    });
    assert_eq!(blog.all("/admin/dead-letters").len(), 0);
}
