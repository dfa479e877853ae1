//! The same load for a node and for its peer, in rounds that go from the one to the other.

use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::report::Report;
use crate::rig::caller::{Call, Found};
use crate::rig::counts::Counts;
use crate::rig::median;
use crate::rig::node::Node;

/// Numbers for the requests of one millisecond: more than anybody can send in it.
const NUMBERS: u64 = 100;

/// What all parts share.
pub(crate) struct Bench {
    pub(crate) report: Report,
    pub(crate) peer: Option<Peer>,
    /// Of a round.
    pub(crate) span: Duration,
    /// For each side, after one that warms it up.
    pub(crate) rounds: usize,
    pub(crate) callers: Vec<usize>,
}

/// One thing that both sides are asked to do.
pub(crate) struct Contest<'a> {
    pub(crate) title: &'a str,
    pub(crate) node: &'a Node,
    pub(crate) ours: Call,
    pub(crate) theirs: Option<Call>,
}

/// The rounds of one side.
#[derive(Default)]
struct Side(Vec<Found>);

impl Side {
    fn middle(&self, of: impl Fn(&Found) -> f64) -> f64 {
        median(self.0.iter().map(of).collect())
    }

    fn show(&self, name: &str) -> (String, Value) {
        let (rate, p50, p99) = (self.middle(Found::rate), self.middle(|it| it.p50), self.middle(|it| it.p99));
        let longest = self.0.iter().map(|it| it.longest).fold(0.0, f64::max);
        let text = format!("  {name:5} {rate:>8.0}/s  p50 {p50:7.2} ms  p99 {p99:7.2} ms  longest {longest:7.1} ms");
        (text, json!({ "rate": rate, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest, "rounds": self.0 }))
    }
}

impl Bench {
    /// With each number of callers that was asked for. Gives how many the node answered in all.
    pub(crate) fn compare(&mut self, contest: &Contest<'_>) -> u64 {
        self.callers.clone().into_iter().map(|callers| self.compare_with(contest, callers)).sum()
    }

    fn compare_with(&mut self, contest: &Contest<'_>, callers: usize) -> u64 {
        let (mut ours, mut theirs, mut counts, mut cpu) = (Side::default(), Side::default(), Counts::default(), 0.0);
        let mut answered = 0;
        for round in 0..=self.rounds {
            let before = (Counts::read(contest.node), contest.node.process.cpu_seconds());
            let found = self.round(&contest.ours, callers);
            answered += found.answered;
            let peer = contest.theirs.as_ref().map(|call| self.round(call, callers));
            // The first one warms both up: files grow, code gets into the caches.
            if round == 0 {
                continue;
            }
            counts.add(&Counts::read(contest.node).since(&before.0));
            cpu += contest.node.process.cpu_seconds() - before.1;
            ours.0.push(found);
            theirs.0.extend(peer);
        }
        self.tell(contest, callers, &ours, &theirs, (counts, cpu));
        answered
    }

    fn round(&self, call: &Call, callers: usize) -> Found {
        let first = SystemClock::default().now().0 * NUMBERS;
        Call { connections: callers, seconds: self.span.as_secs_f64(), first, ..call.clone() }.send()
    }

    fn tell(&mut self, contest: &Contest<'_>, callers: usize, ours: &Side, theirs: &Side, cost: (Counts, f64)) {
        let done = ours.0.iter().map(|found| found.answered).sum();
        let (text, mut found) = ours.show("node");
        let cpu = cost.1 / done as f64 * 1e6;
        self.report.say(&format!("{}, {callers} callers\n{text}", contest.title));
        self.report.say(&format!("        for each: {cpu:.0} µs of processor, {}", cost.0.shown(done)));
        let each: serde_json::Map<_, _> =
            cost.0.each(done).into_iter().map(|(name, each)| (name.to_owned(), json!(each))).collect();
        found["each"] = json!({ "cpu_us": cpu, "counts": each });
        let mut note = json!({ "what": contest.title, "callers": callers, "node": found });
        if !theirs.0.is_empty() {
            let (text, found) = theirs.show("peer");
            let rates = ours.0.iter().zip(&theirs.0).map(|(ours, theirs)| ours.rate() / theirs.rate());
            let slow = ours.0.iter().zip(&theirs.0).map(|(ours, theirs)| ours.p99 / theirs.p99);
            let (rate, p99) = (median(rates.collect()), median(slow.collect()));
            self.report.say(&format!("{text}\n  ratio of the rates {rate:.2}, of the p99 {p99:.2}"));
            (note["peer"], note["ratio"]) = (found, json!({ "rate": rate, "p99": p99 }));
        }
        self.report.note(note);
    }
}
