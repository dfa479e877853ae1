//! A store on a simulated disk together with what is known of it: steps by chance, and what has to hold after each.

use futures_util::future::join_all;
use quickbeam::store::redb::Options;
use quickbeam::store::{Engine, Failure, Outcome, ReadError, RedbEngine};

use crate::dice::Dice;
use crate::disk::SimulatedDisk;
use crate::history::{History, Plan, all, keys};
use crate::subject::{block_on, cramped};

/// So small that a few batches bring a checkpoint.
pub(crate) fn tiny() -> Options {
    Options { readers: 1, cache_bytes: 1 << 16, ..cramped() }
}

pub(crate) struct Life {
    pub(crate) dice: Dice,
    pub(crate) disk: SimulatedDisk,
    pub(crate) history: History,
}

/// What a step met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) ill: u64,
    pub(crate) checkpointing: bool,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        let history = History::new(format!("QUICKBEAM_TESTS_SEED={seed}"));
        Self { dice: Dice::of(seed), disk: SimulatedDisk::seeded(seed), history }
    }

    /// Some batches at once, perhaps beside a checkpoint.
    pub(crate) fn step(&mut self, engine: &RedbEngine) -> Step {
        let mut met = Step::default();
        let checkpoint = self.dice.one_in(3).then(|| engine.checkpoint());
        let plans: Vec<Plan> = (0..1 + self.dice.below(4)).map(|_| self.history.plan(&mut self.dice)).collect();
        self.history.queue();
        let commits: Vec<_> = plans.iter().map(|plan| engine.commit(plan.batch())).collect();
        for (plan, outcome) in plans.iter().zip(block_on(join_all(commits))) {
            if matches!(outcome, Outcome::Failed(_) | Outcome::Unknown(_)) {
                self.history.epoch = self.history.epoch.max(plan.batch().fence.epoch.0 + 1);
                met.ill += 1;
            }
            self.history.answered(plan, &outcome);
        }
        if let Some(checkpoint) = checkpoint {
            met.checkpointing = true;
            if self.dice.one_in(2) {
                drop(block_on(checkpoint));
            }
        }
        self.read(engine, false);
        met
    }

    /// The engine has to come back by itself, now that the disk is sound; a crash may yet come between. A checkpoint that
    /// the disk failed before may end only now, so that it comes back once more.
    pub(crate) fn recover(&mut self, engine: &RedbEngine) {
        const TRIES_MAX: u32 = 100;
        for tries in 0.. {
            self.history.epoch += 1;
            let mut back = true;
            for shard in 0..2 {
                let plan = Plan::raising(shard, self.history.epoch);
                self.history.queue();
                let outcome = block_on(engine.commit(plan.batch()));
                self.history.answered(&plan, &outcome);
                back &= matches!(outcome, Outcome::Committed(_));
            }
            if (back && engine.health().is_ok()) || self.disk.is_crashed() {
                break;
            }
            self.history.check(tries < TRIES_MAX, "does not come back by itself, and stays ill on a sound disk");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.read(engine, !self.disk.is_crashed());
    }

    pub(crate) fn read(&mut self, engine: &RedbEngine, settled: bool) {
        let read = match self.dice.one_in(2) {
            true => block_on(engine.range(all())).map(|rows| self.history.observe(rows, settled)),
            false => (0..keys().count() as u64).try_for_each(|number| self.history.observe_one(number, engine)),
        };
        if let Err(error) = read {
            let (health, reopened) = (engine.health().err(), engine.stats().reopened);
            self.history.note(format!("reopened {reopened} times, ill with {health:?}"));
            self.excuse(&error);
        }
    }

    /// Reads may fail only while the disk does, and never by calling damage what is none.
    fn excuse(&self, error: &ReadError) {
        let excused = self.disk.is_crashed() || self.disk.is_faulty();
        let io = matches!(**error, Failure::Io { .. } | Failure::Full(_) | Failure::Closed);
        self.history.check(excused && io, &format!("a read failed: {error:?}"));
    }

    pub(crate) fn scrub(&mut self, engine: &RedbEngine) {
        match block_on(async {
            engine.checkpoint().await?;
            engine.scrub().await
        }) {
            Ok(scrub) => self.history.check(scrub.damages == 0, &format!("{:?}", scrub.listed)),
            Err(error) => self.history.check(self.disk.is_crashed(), &format!("the scrub failed: {error:?}")),
        }
    }
}
