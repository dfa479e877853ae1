//! A node that is killed with -9 again and again under load: nothing acknowledged is lost, nothing fires twice.
//!
//! `QUICKBEAM_KILL_CYCLES=200` is the long form; `QUICKBEAM_KILL_SEED` repeats the moments of an earlier run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/http.rs"]
mod http;
#[path = "kill/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/peer.rs"]
mod peer;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/proof.rs"]
mod proof;

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::harness::{Node, Plan};
use crate::load::{Done, Load};
use crate::peer::Peer;

/// Enough for every change; the long form is for those who touch the store or the shell.
const CYCLES: u64 = 5;
/// How long a life of the node lasts at most.
const LIFE_MAX_MS: u64 = 300;
/// How long into its start a node is killed that does not even get ready.
const START_MAX_MS: u64 = 60;

/// What is heard from others is noticed, and so is each signal.
const FLOWS: &str = r#"
[flow.heard]
steps.notice = { effect = "notify", with = { text = "'heard: ' + object.id" } }

[flow.asking]
steps.ask = { suspend = "go", shape.note = { kind = "text", required = true } }
steps.tell = { effect = "notify", after = "ask", with = { text = "'went: ' + payload.note" } }
"#;

/// SplitMix64: small, and the same from the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_fires_twice_when_the_node_is_killed() {
    let cycles = number("QUICKBEAM_KILL_CYCLES").unwrap_or(CYCLES);
    let drawn = SystemClock::default().random();
    let seed = number("QUICKBEAM_KILL_SEED").unwrap_or(u64::from_le_bytes(drawn[..8].try_into().unwrap()));
    println!("{cycles} cycles with QUICKBEAM_KILL_SEED={seed}");
    let (follower, senders) = (Peer::start(), std::array::from_fn::<Peer, 4, _>(|_| Peer::start()));
    let remote = "on.update = \"digest\"\nremote.create = { run = \"heard\", from = \"anyone\" }";
    let plan = Plan::blog().edit("on.update = \"digest\"", remote).more(FLOWS).limit("peer_rate = 100_000");
    let plan = senders.iter().chain([&follower]).fold(plan, |plan, peer| plan.allow(peer.authority()));
    let node = Node::start(plan);
    follower.follows(&node);
    let load = Load::new(&node);
    let starts_killed = std::thread::scope(|scope| {
        let ending = load.ending();
        for worker in 0..4 {
            let load = &load;
            scope.spawn(move || load.publish(worker));
            scope.spawn(move || load.flows(worker));
        }
        for sender in &senders {
            scope.spawn(|| load.hear(sender));
        }
        let killed = kill_again_and_again(&node, cycles, &mut Dice(seed));
        drop(ending);
        killed
    });
    let done = load.done();
    println!("{starts_killed} of {cycles} starts were killed half way; {done}");
    verify(&node, &follower, &done);
    repeats_say_the_same(&node, &load, &done);
}

/// How many lives ended before the node was ready.
fn kill_again_and_again(node: &Node, cycles: u64, dice: &mut Dice) -> u64 {
    let mut starts_killed = 0;
    for _ in 0..cycles {
        sleep(Duration::from_millis(dice.below(LIFE_MAX_MS)));
        node.kill();
        if dice.below(4) == 0 {
            node.spawn();
            sleep(Duration::from_millis(dice.below(START_MAX_MS)));
            node.kill();
            starts_killed += 1;
        }
        node.restart();
    }
    starts_killed
}

/// Everything that was acknowledged is there, once.
fn verify(node: &Node, follower: &Peer, done: &Done) {
    node.settle();
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let objects: Vec<String> = node.all("/").iter().map(|it| text(it, "id")).collect();
    assert_once("objects", &objects, done.published.keys());
    let log = node.all("/activities");
    let of = |way: &str, verb: &str| -> Vec<Value> {
        log.iter().filter(|it| it["way"] == way && it["verb"] == verb).cloned().collect()
    };
    let received: Vec<String> = of("received", "Create").iter().map(|it| text(it, "object")).collect();
    assert_once("received activities", &received, done.heard.iter());
    let made: Vec<String> = of("made", "Create").iter().map(|it| text(it, "id")).collect();
    assert_once("published activities", &made, done.published.values());
    let flows = node.all("/flows");
    let unfinished: Vec<&Value> = flows.iter().filter(|it| it["phase"] != "done").collect();
    assert!(unfinished.is_empty(), "not finished: {unfinished:#?}");
    let asking = flows.iter().filter(|it| it["name"] == "asking").map(|it| text(it, "id"));
    assert_once("instances", &asking.collect::<Vec<_>>(), done.flows.keys());
    let heard = done.heard.iter().map(|id| format!("heard: {id}"));
    let went = done.flows.values().map(|note| format!("went: {note}"));
    let published = done.titles.iter().map(|title| format!("published: {title}"));
    let expected: Vec<String> = published.chain(heard).chain(went).collect();
    assert_once("notices", &node.notices(), expected.iter());
    let arrived: BTreeSet<String> = follower.activities().iter().map(|it| text(&it["object"], "id")).collect();
    let missing: Vec<&String> = done.published.keys().filter(|id| !arrived.contains(*id)).collect();
    assert!(missing.is_empty(), "the follower never got {missing:?}");
    assert_eq!(node.all("/admin/dead-letters"), Vec::<Value>::new());
    assert_eq!(node.all("/admin/actors?state=failed"), Vec::<Value>::new());
}

/// What there is, is what was acknowledged, each once.
#[track_caller]
fn assert_once<'a>(what: &str, there: &[String], acknowledged: impl Iterator<Item = &'a String>) {
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    there.iter().for_each(|one| counts.entry(one).or_default().0 += 1);
    acknowledged.for_each(|one| counts.entry(one).or_default().1 += 1);
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(_, counted)| **counted != (1, 1))
        .map(|(one, (there, acknowledged))| format!("{one}: there {there} times, acknowledged {acknowledged} times"))
        .collect();
    assert!(wrong.is_empty(), "{what} are wrong:\n{}", wrong.join("\n"));
}

/// A repeat after all that gets the answer that it got before, and changes nothing.
fn repeats_say_the_same(node: &Node, load: &Load<'_>, done: &Done) {
    let before = node.notices().len();
    for (call, answer) in &done.samples {
        assert_eq!(load.until_acknowledged(call).json(), *answer, "{}", call.target);
    }
    node.settle();
    assert_eq!((node.notices().len(), node.all("/").len()), (before, done.published.len()));
}
