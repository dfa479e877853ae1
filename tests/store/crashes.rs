//! Crashes by chance: at any call of the disk, also while the store opens, checkpoints, or recovers from a failure.
//!
//! `QUICKBEAM_TESTS_LONG=1` makes 100,000 of them, `QUICKBEAM_TESTS_CRASHES` as many as it says; the seed that a failure
//! names repeats its history, though not always its threads.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use quickbeam::store::redb::Options;
use quickbeam::store::{Engine, Failure, Outcome, ReadError, RedbEngine};

use crate::dice::{Dice, count, seed};
use crate::disk::{Faults, SOUND, SimulatedDisk};
use crate::history::{History, Plan, all};
use crate::subject::{block_on, cramped};

const LIVES: u64 = 40;
const PROGRESS: u64 = 10_000;

/// So small that a few batches bring a checkpoint.
pub(crate) fn tiny() -> Options {
    Options { readers: 1, cache_bytes: 1 << 16, ..cramped() }
}

/// What the crashes met.
#[derive(Debug, Default)]
struct Met {
    crashes: AtomicU64,
    creating: AtomicU64,
    opening: AtomicU64,
    checkpointing: AtomicU64,
    ill: AtomicU64,
    idle: AtomicU64,
}

fn note(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

#[test]
fn whatever_a_crash_leaves_opens_and_holds_exactly_what_it_may() {
    let (wanted, seed) = (count("QUICKBEAM_TESTS_CRASHES", 600, 100_000), seed("crashes"));
    let met = Met::default();
    let histories = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while met.crashes.load(Ordering::Relaxed) < wanted {
                    let number = histories.fetch_add(1, Ordering::Relaxed);
                    Life::new(seed.wrapping_add(number), &met).live();
                }
            });
        }
    });
    println!("{met:?}: nothing lost, nothing that will not open");
}

/// A store through many crashes.
struct Life<'a> {
    dice: Dice,
    disk: SimulatedDisk,
    history: History,
    met: &'a Met,
    seed: u64,
}

impl<'a> Life<'a> {
    fn new(seed: u64, met: &'a Met) -> Self {
        let history = History::new(format!("QUICKBEAM_TESTS_SEED={seed}"));
        Self { dice: Dice::of(seed), disk: SimulatedDisk::seeded(seed), history, met, seed }
    }

    fn live(mut self) {
        for life in 0..LIVES {
            match self.dice.below(10) {
                0..=2 => self.disk.crash_at(1 + self.dice.below(60)),
                3..=7 => self.disk.crash_at(30 + self.dice.scale(1_024)),
                _ => {}
            }
            self.history.note(format!("-- life {life}"));
            match RedbEngine::open_on(self.disk.shared(), tiny()) {
                Ok(engine) => self.work(engine),
                Err(error) => {
                    self.history.check(self.disk.is_crashed(), &format!("will not open: {error:?}"));
                    note(if life == 0 { &self.met.creating } else { &self.met.opening });
                }
            }
            self.disk = self.disk.after_crash();
            let crashes = note(&self.met.crashes);
            if crashes.is_multiple_of(PROGRESS) {
                println!("{crashes} crashes, at seed {}", self.seed);
            }
        }
    }

    fn work(&mut self, engine: RedbEngine) {
        self.read(&engine, true);
        for _ in 0..self.dice.below(8) {
            if self.disk.is_crashed() {
                break;
            }
            let strikes = self.dice.one_in(8);
            if strikes {
                let faults = faults(&mut self.dice, &self.disk);
                self.history.note(format!("{faults:?}"));
                self.disk.set(faults);
            }
            self.step(&engine);
            if strikes && self.dice.percent(80) {
                self.disk.set(SOUND);
                self.recover(&engine);
            }
        }
        let idle = !self.disk.is_crashed();
        if idle && self.dice.one_in(4) {
            self.disk.set(SOUND);
            self.recover(&engine);
            self.scrub(&engine);
        }
        if idle {
            note(&self.met.idle);
        }
        if self.dice.one_in(4) {
            // What the last writes of an orderly end do may be cut short too.
            self.disk.crash_at(self.disk.calls() + 1 + self.dice.below(20));
            engine.close();
        } else {
            // The image is taken here, with the threads in the middle of whatever they do.
            drop(self.disk.after_crash());
        }
    }

    fn step(&mut self, engine: &RedbEngine) {
        let checkpoint = self.dice.one_in(3).then(|| engine.checkpoint());
        let plans: Vec<Plan> = (0..1 + self.dice.below(4)).map(|_| self.history.plan(&mut self.dice)).collect();
        self.history.queue();
        let commits: Vec<_> = plans.iter().map(|plan| engine.commit(plan.batch())).collect();
        for (plan, outcome) in plans.iter().zip(block_on(join_all(commits))) {
            if matches!(outcome, Outcome::Failed(_) | Outcome::Unknown(_)) {
                self.history.epoch = self.history.epoch.max(engine_epoch(plan) + 1);
                note(&self.met.ill);
            }
            self.history.answered(plan, &outcome);
        }
        if let Some(checkpoint) = checkpoint {
            if self.disk.is_crashed() {
                note(&self.met.checkpointing);
            }
            if self.dice.one_in(2) {
                drop(block_on(checkpoint));
            }
        }
        self.read(engine, false);
    }

    /// The engine has to come back by itself, now that the disk is sound; a crash may yet come between.
    fn recover(&mut self, engine: &RedbEngine) {
        self.history.epoch += 1;
        for shard in 0..2 {
            let plan = Plan::raising(shard, self.history.epoch);
            self.history.queue();
            let outcome = block_on(engine.commit(plan.batch()));
            self.history.answered(&plan, &outcome);
            let back = matches!(outcome, Outcome::Committed(_)) || self.disk.is_crashed();
            self.history.check(back, "does not come back by itself");
        }
        let healthy = engine.health().is_ok() || self.disk.is_crashed();
        self.history.check(healthy, "is ill on a sound disk");
        self.read(engine, !self.disk.is_crashed());
    }

    fn read(&mut self, engine: &RedbEngine, settled: bool) {
        let read = match self.dice.one_in(2) {
            true => block_on(engine.range(all())).map(|rows| self.history.observe(rows, settled)),
            false => (0..18).try_for_each(|number| self.history.observe_one(number, engine)),
        };
        if let Err(error) = read {
            self.excuse(&error);
        }
    }

    /// Reads may fail only while the disk does, and never by calling damage what is none.
    fn excuse(&self, error: &ReadError) {
        let excused = self.disk.is_crashed() || self.disk.is_faulty();
        let io = matches!(**error, Failure::Io { .. } | Failure::Full(_) | Failure::Closed);
        self.history.check(excused && io, &format!("a read failed: {error:?}"));
    }

    fn scrub(&mut self, engine: &RedbEngine) {
        match block_on(async {
            engine.checkpoint().await?;
            engine.scrub().await
        }) {
            Ok(scrub) => self.history.check(scrub.damages == 0, &format!("{:?}", scrub.listed)),
            Err(error) => self.history.check(self.disk.is_crashed(), &format!("the scrub failed: {error:?}")),
        }
    }
}

fn engine_epoch(plan: &Plan) -> u64 {
    plan.batch().fence.epoch.0
}

/// Something that goes wrong soon.
fn faults(dice: &mut Dice, disk: &SimulatedDisk) -> Faults {
    let soon = Some(disk.calls() + dice.scale(64));
    match dice.below(7) {
        0 => Faults { syncs_fail: true, ..SOUND },
        1 => Faults { syncs_left: Some(dice.below(4)), ..SOUND },
        2 | 3 => Faults { fail_from: soon, only_once: true, ..SOUND },
        4 => Faults { fail_from: soon, ..SOUND },
        5 => Faults { bytes_max: Some(disk.bytes_longest()), ..SOUND },
        _ => Faults { blocks_max: Some(disk.blocks() + dice.below(4)), ..SOUND },
    }
}
