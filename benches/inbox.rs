//! Signed activities accepted durably by a node, beside a bare handler with the same group commit: `cargo bench --bench inbox`.
//!
//! Both are processes of their own on loopback, with 256 signing authorities; rounds go from the one to the other.
//! Arguments after `--`: `--seconds` of a round (3), `--rounds` for each side (5), `--connections` (32 and 128),
//! `--schemes` of `ed25519,rsa,draft,proof` (ed25519). With `--peer-url http://ADDRESS:PORT` another server, which runs
//! already and takes activities at `/inbox`, stands in the place of the handler, which knows ed25519 only.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::config::template::Template;
use quickbeam::wire::key::PublicKey;
use serde_json::json;

mod rig;

use rig::counts::Counts;
use rig::load::Outcome;
use rig::node::{Node, Recipe, free_port};
use rig::peers::{AUTHORITIES, Peers, Scheme};
use rig::process::Process;
use rig::{argument, disk, floor, http, median};

/// How often one authority may send: the node would hold one peer to 100 activities a second.
const SETTINGS: &str = "[limits]\npeer_rate = 1000000\n";
/// Requests that are signed for a round, as a part of what the round before needed.
const PREPARED: f64 = 1.4;
const FIRST_RATE: f64 = 3_000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "floor") {
        return floor::run(&arguments[at + 1], Path::new(&arguments[at + 2]), Path::new(&arguments[at + 3]));
    }
    let (seconds, rounds) = (argument("--seconds", 3.0), argument("--rounds", 5));
    let connections = match argument("--connections", 0) {
        0 => vec![32, 128],
        one => vec![one],
    };
    disk::probe();
    let folder = rig::folder();
    let peers = Peers::start();
    let other = match peer() {
        Some(address) => (None, address),
        None => start_floor(folder.path(), &peers),
    };
    let node = start_node(folder.path(), &peers);
    println!("{AUTHORITIES} authorities, rounds of {seconds} s; the node with {}", SETTINGS.trim().replace('\n', " "));
    let mut bench = Bench { peers, other, node, span: Duration::from_secs_f64(seconds), prepared: 0 };
    let schemes: String = argument("--schemes", "ed25519".to_owned());
    for scheme in schemes.split(',').map(Scheme::of) {
        for connections in &connections {
            bench.compare(*connections, rounds, scheme);
        }
    }
    disk::probe();
}

/// What the node is held against: where it listens, and its process if that is a child of ours.
type Other = (Option<Process>, SocketAddr);

/// The server that the arguments name.
fn peer() -> Option<SocketAddr> {
    let url: String = argument("--peer-url", String::new());
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let address = || authority.parse().unwrap_or_else(|_| panic!("--peer-url is http://ADDRESS:PORT, not {url}"));
    (!url.is_empty()).then(address)
}

fn start_floor(folder: &Path, peers: &Peers) -> Other {
    let (address, keys) = (free_port(), folder.join("keys"));
    let lines = peers.signers.iter().map(|peer| {
        let PublicKey::Ed25519(key) = peer.key.public() else { unreachable!("the keys are made here") };
        format!("http://{}/actor#ed25519-pem {}\n", peer.authority, STANDARD.encode(key.as_bytes()))
    });
    std::fs::write(&keys, lines.collect::<String>()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("floor").arg(address.to_string()).arg(folder.join("floor.redb")).arg(keys);
    let process = Process::start(&mut command);
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (Some(process), address)
}

/// A node that follows every authority, so that their activities are kept.
fn start_node(folder: &Path, peers: &Peers) -> Node {
    let recipe = Recipe::write(folder, Template::Empty, peers.authorities(), SETTINGS);
    let node = recipe.start();
    for peer in &peers.signers {
        let asked = node.public.must("POST", "/api/follow", &json!({ "peer": peer.authority }));
        let follow = asked["activity"].as_str().unwrap();
        let accept = peers.accept(peer, recipe.public, follow);
        let accept = String::from_utf8(accept).unwrap().replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = http::send(recipe.public, accept.as_bytes()).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
    }
    node.wait_until_quiet();
    node
}

struct Bench {
    peers: Peers,
    other: Other,
    node: Node,
    span: Duration,
    /// Rounds prepared so far: the ids of each are its own.
    prepared: usize,
}

/// One round of one side.
struct Round {
    outcome: Outcome,
    cpu: f64,
    written: f64,
}

impl Bench {
    fn compare(&mut self, connections: usize, rounds: usize, scheme: Scheme) {
        println!("\n{scheme:?}, {connections} connections");
        let name = if self.other.0.is_some() { "floor" } else { "peer" };
        let (mut expected, mut ratios, mut slow) = ([FIRST_RATE; 2], Vec::new(), Vec::new());
        let (mut totals, mut accepted) = (Counts::default(), 0);
        for round in 0..=rounds {
            // The first one warms both up: keys are fetched, files grow, code gets into the caches.
            let other = self.other_round(connections, &mut expected[0], scheme);
            let before = Counts::read(&self.node);
            let node = self.node_round(connections, &mut expected[1], scheme);
            if round == 0 {
                continue;
            }
            totals.add(&Counts::read(&self.node).since(&before));
            accepted += node.outcome.answered as u64;
            show(name, &other);
            show("node", &node);
            let ratio = node.outcome.rate() / other.outcome.rate();
            println!("  ratio {ratio:.2}");
            ratios.push(ratio);
            slow.push(node.outcome.quantile(0.99));
        }
        println!("  of the node, for each of {accepted} accepted: {}", totals.shown(accepted));
        println!("  median ratio {:.2}, median p99 of the node {:.1} ms", median(ratios), median(slow));
    }

    fn other_round(&mut self, connections: usize, rate: &mut f64, scheme: Scheme) -> Round {
        let address = self.other.1;
        let load = self.prepare(address, rate, scheme);
        measure(self.other.0.as_ref(), || load.send(address, connections, self.span), rate)
    }

    fn node_round(&mut self, connections: usize, rate: &mut f64, scheme: Scheme) -> Round {
        let address = self.node.public.address;
        let load = self.prepare(address, rate, scheme);
        measure(Some(&self.node.process), || load.send(address, connections, self.span), rate)
    }

    fn prepare(&mut self, address: SocketAddr, rate: &mut f64, scheme: Scheme) -> rig::load::Load {
        self.prepared += 1;
        let count = *rate * self.span.as_secs_f64() * PREPARED;
        self.peers.creates(address, count as usize, self.prepared, scheme)
    }
}

/// What a process costs is known of our own children.
fn measure(process: Option<&Process>, send: impl FnOnce() -> Outcome, rate: &mut f64) -> Round {
    let costs = || process.map_or((0.0, 0), |process| (process.cpu_seconds(), process.written()));
    let (cpu, written) = costs();
    let outcome = send();
    let (cpu_after, written_after) = costs();
    if let Some(refusal) = &outcome.refusal {
        panic!("{} refused, {} taken: {refusal}", outcome.refused, outcome.answered);
    }
    *rate = outcome.rate();
    let each = |total: f64| total / outcome.answered as f64;
    let (cpu, written) = (each(cpu_after - cpu), each((written_after - written) as f64));
    Round { outcome, cpu, written }
}

fn show(name: &str, round: &Round) {
    let Round { outcome, cpu, written } = round;
    println!(
        "  {name:5} {:>7.0}/s  p50 {:6.2} ms  p99 {:6.2} ms  cpu {:5.1} µs  written {written:6.0} B each",
        outcome.rate(),
        outcome.quantile(0.5),
        outcome.quantile(0.99),
        cpu * 1e6,
    );
}
