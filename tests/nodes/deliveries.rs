//! Deliveries that do not work out: put off, paused, given up, shown, and moved by a person.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};

/// A blog that a peer follows.
fn followed() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    (node, peer)
}

fn creates(peer: &Peer) -> usize {
    peer.activities().iter().filter(|it| it["type"] == "Create").count()
}

fn letters(node: &Node) -> Vec<Value> {
    node.all("/admin/dead-letters")
}

#[track_caller]
fn told(node: &Node, target: &str) {
    node.admin("POST", target).expect(200);
}

#[test]
fn a_peer_that_is_paused_gets_nothing_until_it_goes_on() {
    let (node, peer) = followed();
    let at = |verb: &str| format!("/admin/peers/{}/{verb}", peer.authority());
    told(&node, &at("pause"));
    node.publish("one");
    node.publish("two");
    node.settle();
    told(&node, "/admin/tick");
    node.settle();
    let shown = node.peer(&peer.authority());
    assert_eq!((&shown["state"], &shown["queued"], creates(&peer)), (&json!("paused"), &json!(2), 0));
    // Also after a restart.
    node.kill();
    node.restart();
    told(&node, "/admin/tick");
    node.settle();
    assert_eq!((node.peer(&peer.authority())["state"].clone(), creates(&peer)), (json!("paused"), 0));
    told(&node, &at("continue"));
    eventually("both arrive", || (creates(&peer) == 2).then_some(()));
    eventually("nothing waits", || (node.peer(&peer.authority())["queued"] == 0).then_some(()));
    let shown = node.peer(&peer.authority());
    assert_eq!((&shown["state"], &shown["delivered"]), (&json!("open"), &json!(3)));
}

#[test]
fn what_waits_for_a_peer_can_be_forgotten() {
    let (node, peer) = followed();
    told(&node, &format!("/admin/peers/{}/pause", peer.authority()));
    node.publish("one");
    node.publish("two");
    node.settle();
    told(&node, &format!("/admin/peers/{}/forget", peer.authority()));
    eventually("nothing waits", || (node.peer(&peer.authority())["queued"] == 0).then_some(()));
    told(&node, &format!("/admin/peers/{}/continue", peer.authority()));
    let made = node.publish("three");
    peer.awaits("Create", made["id"].as_str());
    assert_eq!(creates(&peer), 1);
    node.settle();
    node.unchanged(|| {
        node.admin("POST", &format!("/admin/peers/{}/juggle", peer.authority())).refused_with(404, "pause");
        node.admin("POST", "/admin/peers/nobody.example/pause").refused_with(404, "nobody.example");
    });
}

#[test]
fn what_a_peer_does_not_take_is_shown_retried_and_discarded() {
    let (node, peer) = followed();
    peer.answers(|_| Reply { body: b"{\"detail\": \"we take no articles\"}".to_vec(), ..Reply::status(422) });
    let made = node.publish("one");
    node.publish("two");
    eventually("both are given up", || (letters(&node).len() == 2).then_some(()));
    let letter = letters(&node)
        .into_iter()
        .find(|it| made["activity"].as_str().unwrap().contains(it["activity"].as_str().unwrap()));
    let letter = letter.unwrap();
    assert_eq!((&letter["kind"], &letter["to"]), (&json!("delivery"), &json!(peer.authority())));
    assert!(letter["reason"].as_str().unwrap().contains("422: we take no articles"), "{letter}");
    assert_eq!(creates(&peer), 2, "what a peer says no to is not asked again");
    let at = |letter: &Value, verb: &str| format!("/admin/dead-letters/{}/{verb}", letter["id"].as_str().unwrap());
    // Again, and again no.
    told(&node, &at(&letter, "retry"));
    eventually("it is given up again", || (creates(&peer) == 3 && letters(&node).len() == 2).then_some(()));
    peer.answers(|_| Reply::status(202));
    let again = letters(&node).into_iter().find(|it| it["activity"] == letter["activity"]).unwrap();
    told(&node, &at(&again, "retry"));
    eventually("it arrives", || (creates(&peer) == 4).then_some(()));
    eventually("one is left", || (letters(&node).len() == 1).then_some(()));
    let other = letters(&node).remove(0);
    told(&node, &at(&other, "discard"));
    assert_eq!(letters(&node).len(), 0);
    node.settle();
    node.unchanged(|| {
        node.admin("POST", &at(&other, "discard")).refused(404);
        node.admin("POST", &at(&other, "retry")).refused(404);
        node.admin("POST", "/admin/dead-letters/nonsense/retry").refused(404);
        node.admin("POST", "/admin/dead-letters/1@nobody.example/retry").refused(404);
        node.admin("POST", &at(&other, "juggle")).refused_with(404, "discard");
    });
    assert_eq!(creates(&peer), 4);
}

#[test]
fn a_peer_that_refuses_us_is_asked_in_each_way_once_more_and_no_oftener() {
    let (node, peer) = followed();
    peer.answers(|_| Reply::status(401));
    node.publish("one");
    eventually("it is given up", || (letters(&node).len() == 1).then_some(()));
    // Two tries, each signed in two ways: what was right before, and the two others.
    let (first, again) = ("#ed25519\"", "#main-key\"");
    let ways = peer.got().into_iter().filter(|got| got.header("signature").is_some()).skip(1);
    let ways: Vec<bool> = ways.map(|got| got.claims().contains(first) && !got.claims().contains(again)).collect();
    assert_eq!((ways, creates(&peer)), (vec![true, false, false, true], 4));
    assert!(letters(&node)[0]["reason"].as_str().unwrap().contains("401"));
}

#[test]
fn a_peer_that_is_gone_does_not_follow_any_more() {
    let (node, peer) = followed();
    peer.answers(|_| Reply::status(410));
    peer.documents(|_| Reply::status(410));
    node.publish("one");
    eventually("the follower is gone", || {
        (node.get("/followers").json()["first"]["orderedItems"] == json!([])).then_some(())
    });
    let before = creates(&peer);
    node.publish("two");
    node.settle();
    assert_eq!(creates(&peer), before);
}

#[test]
fn a_peer_that_is_busy_is_left_alone_as_long_as_it_asks() {
    let peer = Peer::start();
    let plan = Plan::blog().allow(peer.authority()).limit("delivery_delay_max = \"1h\"");
    let node = Node::start(plan);
    peer.follows(&node);
    peer.answers(|_| Reply::status(503).header("retry-after", "600"));
    node.publish("one");
    eventually("it is put off", || (node.peer(&peer.authority())["state"] == "waiting").then_some(()));
    let shown = node.peer(&peer.authority());
    assert!(shown["last_error"]["what"].as_str().unwrap().contains("503"), "{shown}");
    node.publish("two");
    node.settle();
    assert_eq!(creates(&peer), 1, "the second one waits as well");
    peer.answers(|_| Reply::status(202));
    told(&node, &format!("/admin/peers/{}/retry", peer.authority()));
    eventually("both arrive", || (creates(&peer) == 3).then_some(()));
}

#[test]
fn a_peer_that_never_answers_holds_nobody_else_up() {
    let (silent, other) = (Peer::start(), Peer::start());
    let plan = Plan::blog().allow(silent.authority()).allow(other.authority()).limit("delivery_timeout = \"500ms\"");
    let node = Node::start(plan);
    silent.follows(&node);
    other.follows(&node);
    silent.answers(|_| Reply::silence());
    let titles: Vec<String> = (0..10).map(|n| format!("article {n}")).collect();
    titles.iter().for_each(|title| drop(node.publish(title)));
    eventually("the other has all", || (creates(&other) == 10).then_some(()));
    silent.answers(|_| Reply::status(202));
    eventually("the backlog arrives", || (node.peer(&silent.authority())["queued"] == 0).then_some(()));
    // Without a true answer nobody knows that it arrived, so that some came twice; none is missing.
    let mut about: Vec<String> = silent.activities().iter().map(|it| it["object"]["id"].to_string()).collect();
    about.sort();
    about.dedup();
    assert_eq!(about.iter().filter(|id| id.contains("article-")).count(), 10);
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (node, peer) = followed();
    peer.answers(|_| Reply { body: vec![b'x'; 4 << 20], ..Reply::status(200) });
    node.publish("one");
    let fits = |shown: &Value| shown["state"] != "open" || shown["delivered"].as_u64() > Some(1);
    eventually("the delivery ends one way or the other", || fits(&node.peer(&peer.authority())).then_some(()));
    peer.answers(|_| Reply::status(202));
    eventually("nothing waits", || (node.peer(&peer.authority())["queued"] == 0).then_some(()));
    node.send(&Call::get("/ready")).expect(200);
}

#[test]
fn who_has_an_activity_and_who_waits_for_it_is_shown_with_the_reason() {
    let peers = [Peer::start(), Peer::start(), Peer::start()];
    let plan = peers.iter().fold(Plan::blog(), |plan, peer| plan.allow(peer.authority()));
    let node = Node::start(plan);
    peers.iter().for_each(|peer| drop(peer.follows(&node)));
    let [peer, dead, slow] = peers;
    dead.answers(|_| Reply::status(410));
    slow.answers(|_| Reply::status(503));
    let made = node.publish("Gig Night");
    let activity = made["activity"].as_str().unwrap().to_owned();
    let of = |peer: &Peer, state: &str| {
        let shown = node.run(&["activities", "deliveries", &activity, "--state", state, "--json"]).done().json();
        let items = shown["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["to"].as_str().unwrap().contains(&peer.authority()))
    };
    eventually("one has it", || of(&peer, "delivered"));
    let given_up = eventually("one is gone", || of(&dead, "given-up"));
    assert!(given_up["why"].as_str().unwrap().contains("410") && given_up["at"].is_string(), "{given_up}");
    let waiting = eventually("one waits", || of(&slow, "waiting").filter(|item| item["why"].is_string()));
    assert!(waiting["why"].as_str().unwrap().contains("503") && waiting["at"].is_null(), "{waiting}");
    let shown = node.run(&["activities", "deliveries", &activity]).done().out;
    assert!(shown.contains("1 have it, 1 wait for it, 1 were given up"), "{shown}");
    let page = format!("/activities/{}/deliveries", activity.rsplit('/').next().unwrap());
    let call = || Call::get(&page).header("accept", "text/html");
    let html = node.send(&call().token(&node.admin_token)).expect(200).text();
    assert!(html.contains("503") && html.contains(&slow.authority()), "{html}");
    // What goes to whom is the operator's business.
    node.send(&call()).expect(401);
    node.send(&call().token(&node.token)).expect(403);
    node.send(&Call::get("/activities/nothing/deliveries").token(&node.admin_token)).refused_with(404, "has made no");
    node.send(&Call::get(&format!("{page}?state=lost")).token(&node.admin_token)).refused_with(400, "given-up");
}
