//! One activity to many followers, each with an inbox of its own, signed and durable: `cargo bench --bench fanout`.
//!
//! Arguments after `--`: `--only` one of `rate` (so many inboxes in rounds, beside another program with `--peer-url`),
//! `memory` (100,000 followers) and `neighbours` (1,000 authorities, of which three have no manners);
//! `--inboxes` (1,000), `--authorities` they are on (250), `--rounds` (5), `--followers` (100,000), `--articles` (60);
//! `--sign-with` as in `[delivery]` (`ed25519` for these peers unless told).
//!
//! `--peer-url http://ADDRESS:PORT/PATH` is posted `{"inboxes": [...], "content": "..."}`, and sends each of them a Create.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::time::Duration;

use quickbeam::config::template::Template;
use serde_json::json;

mod rig;

use rig::counts::Counts;
use rig::crowd::{Crowd, Manners};
use rig::http::Client;
use rig::node::{Node, Recipe};
use rig::{argument, disk, median};

const SETTINGS: &str = "[limits]\npeer_rate = 1000000\n";
/// How many Follows are under way at once.
const CONNECTIONS: usize = 32;
const FOLLOW_MAX: Duration = Duration::from_secs(600);
/// As long as the articles of the other side: 256 bytes of text.
const CONTENT_BYTES: usize = 256;

fn main() {
    let only: String = argument("--only", String::new());
    disk::probe();
    for (name, part) in [("rate", rate as fn()), ("memory", memory), ("neighbours", neighbours)] {
        if only.is_empty() || only == name {
            println!("\n{name}");
            part();
        }
    }
    disk::probe();
}

/// A node, and those who follow it.
struct Stage {
    crowd: Crowd,
    node: Node,
    published: usize,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(authorities: usize, actors: usize) -> Self {
        let (folder, crowd) = (rig::folder(), Crowd::start(authorities, actors));
        let scheme: String = argument("--sign-with", "ed25519".to_owned());
        let settings = format!("{SETTINGS}[delivery]\nsign_with = \"{scheme}\"\n");
        let recipe = Recipe::write(folder.path(), Template::Blog, crowd.authorities(), &settings);
        let (node, before) = (recipe.start(), crowd.now());
        let outcome = crowd.follows(recipe.public).send(recipe.public, CONNECTIONS, FOLLOW_MAX);
        assert_eq!(outcome.answered, crowd.len(), "{:?}", outcome.refusal);
        crowd.wait_for(crowd.len());
        let took = (crowd.now() - before).as_secs_f64();
        println!("{} followers on {authorities} authorities, followed and accepted in {took:.1} s", crowd.len());
        node.wait_until_quiet();
        Self { crowd, node, published: 0, _folder: folder }
    }

    /// Publishes an article with a name of its own; returns the name.
    fn publish(&mut self) -> String {
        self.published += 1;
        let name = format!("gig-{}", self.published);
        let article = json!({ "title": name, "content": "x".repeat(CONTENT_BYTES) });
        self.node.public.must("POST", "/api/objects/article", &article);
        name
    }
}

fn rate() {
    let (inboxes, authorities) = (argument("--inboxes", 1_000), argument("--authorities", 250));
    let mut stage = Stage::set(authorities, inboxes / authorities);
    let peer: String = argument("--peer-url", String::new());
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..=argument("--rounds", 5) {
        let ours = our_round(&mut stage, round > 0);
        if round > 0 {
            rates.push(ours);
        }
        if !peer.is_empty() {
            let theirs = peer_round(&stage, &peer);
            println!("  peer  {theirs:>7.0}/s");
            if round > 0 {
                println!("  ratio {:.1}", ours / theirs);
                ratios.push(ours / theirs);
            }
        }
    }
    println!("  median {:.0}/s", median(rates));
    if !ratios.is_empty() {
        println!("  median ratio {:.1}", median(ratios));
    }
}

/// From the request to publish to the last inbox.
fn our_round(stage: &mut Stage, shown: bool) -> f64 {
    let (count, before) = (stage.crowd.len(), stage.crowd.posted());
    let (counts, cpu) = (Counts::read(&stage.node), stage.node.process.cpu_seconds());
    let written = stage.node.process.written();
    let start = stage.crowd.now();
    stage.publish();
    stage.crowd.wait_for(before + count);
    let took = (stage.crowd.now() - start).as_secs_f64();
    stage.node.wait_until_quiet();
    if shown {
        let each = |total: f64| total / count as f64;
        let cpu = each(stage.node.process.cpu_seconds() - cpu) * 1e6;
        let written = each((stage.node.process.written() - written) as f64);
        let rate = count as f64 / took;
        println!("  node  {rate:>7.0}/s  cpu {cpu:5.0} µs  written {written:6.0} B for each delivery");
        println!("        {}", Counts::read(&stage.node).since(&counts).shown(count as u64));
    }
    count as f64 / took
}

fn peer_round(stage: &Stage, url: &str) -> f64 {
    let (authority, path) = url.trim_start_matches("http://").split_once('/').expect("a URL with a path");
    let client = Client { address: authority.parse().expect("ADDRESS:PORT"), token: String::new() };
    let body = json!({ "inboxes": stage.crowd.inboxes(), "content": "x".repeat(CONTENT_BYTES) });
    let (count, before, start) = (stage.crowd.len(), stage.crowd.posted(), stage.crowd.now());
    client.must("POST", &format!("/{path}"), &body);
    stage.crowd.wait_for(before + count);
    count as f64 / (stage.crowd.now() - start).as_secs_f64()
}

fn memory() {
    let followers = argument("--followers", 100_000);
    let mut stage = Stage::set(1_000, followers / 1_000);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for round in 1..=3 {
        let (before, start) = (stage.crowd.posted(), stage.crowd.now());
        let (at_rest, cpu) = (stage.node.process.resident(), stage.node.process.cpu_seconds());
        let counts = Counts::read(&stage.node);
        stage.publish();
        let mut most = at_rest;
        while stage.crowd.posted() < before + followers {
            most = most.max(stage.node.process.resident());
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = (stage.crowd.now() - start).as_secs_f64();
        let cpu = (stage.node.process.cpu_seconds() - cpu) / followers as f64 * 1e6;
        println!(
            "  round {round}: {followers} deliveries in {took:.1} s, {:.0}/s; {:.1} MiB before, {:.1} at most; cpu {cpu:.0} µs each",
            followers as f64 / took,
            mib(at_rest),
            mib(most),
        );
        println!("        {}", Counts::read(&stage.node).since(&counts).shown(followers as u64));
        stage.node.wait_until_quiet();
    }
}

/// Time from publishing to arrival at those who have manners, with and without some who have none.
fn neighbours() {
    let mut stage = Stage::set(1_000, 1);
    stage.crowd.note();
    let bad = [(13, Manners::Slow), (57, Manners::Dead), (91, Manners::Hostile)];
    let without = bad.map(|(number, _)| stage.crowd.authority(number));
    let mut quantiles = Vec::new();
    for manners in [false, true, false, true] {
        for (number, how) in bad {
            stage.crowd.behave(number, if manners { how } else { Manners::Good });
        }
        let (p50, p99) = arrivals(&mut stage, &without);
        println!(
            "  {} {p50:6.1} ms, p99 {p99:6.1} ms",
            if manners { "with three of no manners: p50" } else { "all of good manners:      p50" }
        );
        quantiles.push(p99);
        let revive = |number| {
            let authority = stage.crowd.authority(number).replace(':', "%3A");
            stage.node.admin.must("POST", &format!("/admin/peers/{authority}/forget"), &json!({}));
        };
        bad.iter().for_each(|(number, _)| revive(*number));
    }
    println!("  p99 with against without: {:.2}, {:.2}", quantiles[1] / quantiles[0], quantiles[3] / quantiles[2]);
}

/// Publishes one article after the other, the next as soon as the last has come everywhere but at `without`.
fn arrivals(stage: &mut Stage, without: &[String]) -> (f64, f64) {
    let count = stage.crowd.len() - without.len();
    let mut times = Vec::new();
    for _ in 0..argument("--articles", 60) {
        let start = stage.crowd.now();
        let name = stage.publish();
        let mut came = 0;
        while came < count {
            std::thread::sleep(Duration::from_millis(2));
            for arrival in stage.crowd.noted() {
                if arrival.name == name && !without.contains(&arrival.authority) {
                    times.push((arrival.at.saturating_sub(start)).as_secs_f64() * 1e3);
                    came += 1;
                }
            }
        }
    }
    times.sort_unstable_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
