//! Flows over HTTP, beside another engine for durable workflows when one is named: `cargo bench --bench flows`.
//!
//! Arguments after `--`: `--only` with some of `steps,http,counter,suspended,timers,pages`; `--json`; `--seconds` of a
//! round (3), `--rounds` for each side (5), `--callers` (1,32,128); `--effect` of the steps (`notify`, or `object.validate`
//! which needs nobody else); `--instances` that are suspended or listed (50000), `--timers` due at once (10000).
//! The other side: `--peer-url` of its ingress, `--peer-steps`, `--peer-counter`, `--peer-keys`, `--peer-suspend`,
//! `--peer-resume` with the paths of its handlers, `--peer-body` (see docs/benchmarks.md).

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::time::Duration;

mod rig;

#[path = "flows/contest.rs"]
mod contest;
#[path = "flows/counter.rs"]
mod counter;
#[path = "flows/handler.rs"]
mod handler;
#[path = "flows/instances.rs"]
mod instances;
#[path = "flows/pages.rs"]
mod pages;
#[path = "flows/peer.rs"]
mod peer;
#[path = "flows/report.rs"]
mod report;
#[path = "flows/settings.rs"]
mod settings;
#[path = "flows/steps.rs"]
mod steps;
#[path = "flows/suspended.rs"]
mod suspended;
#[path = "flows/timers.rs"]
mod timers;

use contest::Bench;
use peer::Peer;
use report::Report;
use rig::{argument, caller, disk};

/// A part of the benchmark: its name, and what runs it.
type Part = (&'static str, fn(&mut Bench));

const PARTS: [Part; 6] = [
    ("steps", steps::local),
    ("http", steps::http),
    ("counter", counter::run),
    ("suspended", suspended::run),
    ("timers", timers::run),
    ("pages", pages::run),
];

fn main() {
    if caller::serve() || handler::serve() {
        return;
    }
    let only: String = argument("--only", String::new());
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|part| part == name);
    if let Some(unknown) = only.split(',').find(|part| !part.is_empty() && PARTS.iter().all(|(name, _)| name != part)) {
        panic!("there is no part {unknown}");
    }
    let callers: String = argument("--callers", "1,32,128".to_owned());
    let mut bench = Bench {
        report: Report::new(std::env::args().any(|argument| argument == "--json")),
        peer: Peer::named(),
        span: Duration::from_secs_f64(argument("--seconds", 3.0)),
        rounds: argument("--rounds", 5),
        callers: callers.split(',').map(|count| count.parse().unwrap()).collect(),
    };
    bench.report.disk("disk_before", disk::measure());
    for (name, run) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        bench.report.part(name);
        run(&mut bench);
    }
    bench.report.disk("disk_after", disk::measure());
    bench.report.end();
}
