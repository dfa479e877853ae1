//! Durable turns and messages of actors, beside a plain file with group commit in the same run: `cargo bench --bench turns`.
//!
//! Arguments after `--`: `--seconds` of a measurement (3), `--rounds` of each (3), `--in-flight` (128).

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::time::Duration;

use futures_util::future::join_all;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::runtime::Limits;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::config::template::Template;
use quickbeam::store::redb::Stats;

mod rig;

use rig::runtime::{Command, Counter, Rig};
use rig::{argument, disk, median, plain};

fn main() {
    let span = Duration::from_secs_f64(argument("--seconds", 3.0));
    let bench = Bench { clock: SystemClock::default(), span, in_flight: argument("--in-flight", 128) };
    disk::probe();
    println!("{} in flight, {span:?} each", bench.in_flight);
    let mut shares: [Vec<f64>; 3] = Default::default();
    for round in 1..=argument("--rounds", 3) {
        println!("\nround {round}");
        let found = [bench.asks("one hot actor", 1), bench.asks("1,000 actors", 1_000), bench.messages()];
        for (share, found) in shares.iter_mut().zip(found) {
            share.push(found.rate / plain::rate(found.bytes, bench.in_flight, span / 2));
        }
    }
    let [hot, many, messages] = shares.map(median);
    println!(
        "\nof the plain file with records of the same size, medians: hot {hot:.2}, many {many:.2}, messages {messages:.2}"
    );
    disk::probe();
}

struct Bench {
    clock: SystemClock,
    span: Duration,
    in_flight: usize,
}

/// What one measurement found.
struct Found {
    rate: f64,
    /// Of one turn.
    bytes: usize,
}

impl Bench {
    /// Turns that somebody waits for, of so many actors in turn.
    fn asks(&self, name: &str, actors: usize) -> Found {
        self.run(name, async |rig, writer, deadline| {
            let mut count = 0;
            while self.clock.monotonic() < deadline {
                let actor = (writer + count * self.in_flight) % actors;
                rig.ask(&format!("counter-{actor}"), Command::Count).await;
                count += 1;
            }
        })
    }

    /// Balls between two actors, as many as may be in flight; each pass is a message row, and a turn that consumes it.
    fn messages(&self) -> Found {
        self.run("two actors, messages", async |rig, _, deadline| {
            rig.ask("left", Command::Ball { to: "right".to_owned(), left: u64::MAX }).await;
            tokio::time::sleep(deadline.saturating_sub(self.clock.monotonic())).await;
        })
    }

    fn run(&self, name: &str, work: impl AsyncFn(&Rig, usize, Duration)) -> Found {
        let folder = rig::folder();
        actix_rt::System::new().block_on(async {
            let kinds = Kinds::default().with::<Counter>();
            let rig = Rig::start(folder.path(), Limits::default(), Template::Empty, kinds).await;
            let (before, turns, start) = (rig.engine.stats(), turns(&rig), self.clock.monotonic());
            join_all((0..self.in_flight).map(|writer| work(&rig, writer, start + self.span))).await;
            let took = (self.clock.monotonic() - start).as_secs_f64();
            let turns = self::turns(&rig) - turns;
            let found = Found { rate: turns as f64 / took, bytes: rig.batch_bytes() as usize };
            show(name, &found, turns, &before, &rig.engine.stats());
            rig.engine.close();
            found
        })
    }
}

fn turns(rig: &Rig) -> u64 {
    rig.runtime.counters.turns.load(std::sync::atomic::Ordering::Relaxed)
}

fn show(name: &str, found: &Found, turns: u64, before: &Stats, after: &Stats) {
    let each = |count: u64| count as f64 / turns as f64;
    println!(
        "  {name:20} {:>8.0} turns/s, {} B in a turn; for each turn {:.4} commits and {:.4} fsyncs",
        found.rate,
        found.bytes,
        each(after.groups - before.groups),
        each(after.log.syncs + after.table.syncs - before.log.syncs - before.table.syncs),
    );
}
