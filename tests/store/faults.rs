//! A disk that fails: nothing acknowledged is lost, nothing wrong is answered, and the engine comes back by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use quickbeam::store::redb::Options;
use quickbeam::store::{Batch, Change, Engine, Failure, Key, Outcome, RedbEngine};

use crate::disk::{Faults, SimulatedDisk};
use crate::subject::{Words, batch, block_on, committed, cramped, everything, key, value};

const SOUND: Faults =
    Faults { fail_from: None, only_once: false, syncs_fail: false, syncs_left: None, bytes_max: None };

fn open(disk: &SimulatedDisk, options: Options) -> RedbEngine {
    RedbEngine::open_on(disk.shared(), options).unwrap()
}

#[test]
fn a_failed_sync_poisons_until_the_fence_is_raised_on_a_disk_that_works_again() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    committed(&engine, batch().epoch(1).put("a", "1"));
    disk.set(Faults { syncs_fail: true, ..SOUND });
    assert!(matches!(block_on(engine.commit(batch().epoch(1).put("b", "1"))), Outcome::Unknown(_)));
    assert!(engine.health().is_err());
    let behind = block_on(engine.commit(batch().epoch(1).put("c", "1")));
    assert!(matches!(&behind, Outcome::Failed(failure) if matches!(**failure, Failure::Poisoned)), "{behind:?}");
    assert_eq!(value(&engine, "a").as_deref(), Some("1"), "reads go on");
    let raised = block_on(engine.commit(batch().epoch(2)));
    assert!(matches!(&raised, Outcome::Failed(failure) if matches!(**failure, Failure::Io { .. })), "{raised:?}");
    disk.set(SOUND);
    let late = block_on(engine.commit(batch().epoch(1).put("d", "1")));
    assert!(matches!(late, Outcome::Failed(_)), "healing alone is not enough: {late:?}");
    committed(&engine, batch().epoch(2).put("e", "2"));
    engine.health().unwrap();
    let late = block_on(engine.commit(batch().epoch(1).put("d", "1")));
    assert!(matches!(late, Outcome::Refused(_)), "{late:?}");
    let rows = everything(&engine);
    assert!(rows == ["a=1", "e=2"] || rows == ["a=1", "b=1", "e=2"], "only b is unknown: {rows:?}");
    assert_eq!(engine.stats().reopened, 1);
}

#[test]
fn a_refusal_that_rests_on_a_batch_which_failed_is_not_given() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    committed(&engine, batch());
    disk.hold_back(Some("log.000001"));
    let first = engine.commit(batch());
    while engine.stats().queued > 0 {
        std::thread::yield_now();
    }
    // Both wait while the first is being written, so that they make a group, whose syncs fail.
    let together = [batch().put("a", "1"), batch().absent("a").put("b", "1")].map(|batch| engine.commit(batch));
    disk.set(Faults { syncs_left: Some(1), ..SOUND });
    disk.hold_back(None);
    assert!(matches!(block_on(first), Outcome::Committed(_)));
    let outcomes = block_on(join_all(together));
    assert!(matches!(&outcomes[..], [Outcome::Unknown(_), Outcome::Failed(_)]), "{outcomes:?}");
}

#[test]
fn watchers_are_told_to_read_again_after_the_files_were_reopened() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    let mut hints = engine.changes(&Key::default());
    disk.set(Faults { syncs_fail: true, ..SOUND });
    block_on(engine.commit(batch().put("a", "1")));
    disk.set(SOUND);
    committed(&engine, batch().epoch(1));
    assert_eq!(block_on(hints.recv()), Some(Change::Missed));
}

#[test]
fn a_full_disk_is_told_apart_and_goes_on_once_there_is_room() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    committed(&engine, batch().put("a", "1"));
    disk.set(Faults { bytes_max: Some(disk.bytes()), ..SOUND });
    let large = "x".repeat(20 << 20);
    let full = block_on(engine.commit(batch().put("b", &large)));
    assert!(matches!(&full, Outcome::Failed(failure) if matches!(**failure, Failure::Full(_))), "{full:?}");
    assert!(matches!(*engine.health().unwrap_err(), Failure::Full(_)));
    disk.set(SOUND);
    committed(&engine, batch().epoch(1).put("b", "2"));
    assert_eq!(everything(&engine), ["a=1", "b=2"]);
}

#[test]
fn a_checkpoint_that_fails_stops_commits_and_loses_nothing() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    committed(&engine, batch().put("a", "1"));
    disk.set(Faults { syncs_fail: true, ..SOUND });
    block_on(engine.checkpoint()).unwrap_err();
    assert!(matches!(block_on(engine.commit(batch().put("b", "1"))), Outcome::Failed(_)));
    disk.set(SOUND);
    committed(&engine, batch().epoch(1).put("c", "1"));
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(everything(&engine), ["a=1", "c=1"]);
}

#[test]
fn commits_go_on_beside_a_checkpoint_until_the_overlay_is_full_and_then_wait() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, cramped());
    committed(&engine, batch().put("a", "1"));
    disk.hold_back(Some("table.redb"));
    let checkpoint = engine.checkpoint();
    // Whether the checkpoint takes the first of these with it is its affair; sooner or later one has to wait.
    let mut written = 1;
    let waiting = 'full: loop {
        written += 1;
        let mut commit = engine.commit(batch().put(&format!("b{written}"), &"x".repeat(1_500)));
        // One that is not answered while the thread had every chance to is waiting; a slow one only ends this early.
        for _ in 0..20_000 {
            if let Some(outcome) = (&mut commit).now_or_never() {
                assert!(matches!(outcome, Outcome::Committed(_)));
                continue 'full;
            }
            std::thread::yield_now();
        }
        break commit;
    };
    disk.hold_back(None);
    assert!(matches!(block_on(waiting), Outcome::Committed(_)));
    block_on(checkpoint).unwrap();
    assert_eq!(everything(&engine).len(), written);
}

/// A history with overwrites, deletes and checkpoints. Gives what was acknowledged, and the values that may stand in
/// place of that because their outcome is unknown.
#[derive(Default)]
struct Scenario {
    acknowledged: BTreeMap<String, Option<String>>,
    unknown: BTreeMap<String, Vec<Option<String>>>,
    epoch: u64,
}

impl Scenario {
    fn batches() -> impl Iterator<Item = (Batch, String, Option<String>)> {
        (0..60_u32).map(|number| {
            let name = format!("{}", number * 7 % 11);
            match number % 5 {
                4 => (batch().delete(&name), name, None),
                _ => (batch().put(&name, &number.to_string()), name, Some(number.to_string())),
            }
        })
    }

    /// Runs on an engine that may fail at any time; raises the epoch after each failure, as a node does.
    fn run(&mut self, engine: &RedbEngine) {
        for (batch, name, value) in Self::batches() {
            match block_on(engine.commit(batch.epoch(self.epoch))) {
                Outcome::Committed(_) => {
                    self.unknown.remove(&name);
                    self.acknowledged.insert(name, value);
                }
                Outcome::Refused(refusal) => panic!("{refusal}"),
                Outcome::Failed(_) => self.epoch += 1,
                Outcome::Unknown(_) => {
                    self.unknown.entry(name).or_default().push(value);
                    self.epoch += 1;
                }
            }
        }
    }

    fn check(&self, engine: &RedbEngine) {
        for number in 0..11 {
            let name = number.to_string();
            let row = block_on(engine.get(&key(&name))).unwrap();
            let found = row.map(|row| String::from_utf8(row.value.to_vec()).unwrap());
            let acknowledged = self.acknowledged.get(&name).cloned().flatten();
            let unknown = self.unknown.get(&name).is_some_and(|values| values.contains(&found));
            assert!(unknown || found == acknowledged, "{name}: {found:?} instead of {acknowledged:?}");
        }
    }
}

/// How many calls change the disk until the scenario is through.
fn calls_of_the_scenario() -> u64 {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, cramped());
    let mut scenario = Scenario::default();
    scenario.run(&engine);
    block_on(engine.checkpoint()).unwrap();
    scenario.check(&engine);
    engine.close();
    disk.calls()
}

/// Every call in the long form, else about fifty of them, spread so that all kinds are met.
fn some(calls: u64) -> impl Iterator<Item = u64> {
    let step = if std::env::var_os("QUICKBEAM_TESTS_LONG").is_some() { 1 } else { (calls / 50) | 1 };
    (1..calls).step_by(usize::try_from(step).unwrap())
}

#[test]
fn a_power_cut_after_any_call_loses_nothing_acknowledged() {
    for fail_from in some(calls_of_the_scenario()) {
        let disk = SimulatedDisk::default();
        disk.set(Faults { fail_from: Some(fail_from), ..SOUND });
        let mut scenario = Scenario::default();
        if let Ok(engine) = RedbEngine::open_on(disk.shared(), cramped()) {
            scenario.run(&engine);
        }
        let engine = open(&disk.after_power_cut(), cramped());
        scenario.check(&engine);
        committed(&engine, batch().epoch(scenario.epoch + 1).put("new", "1"));
    }
}

#[test]
fn one_failing_call_anywhere_is_survived_by_the_running_engine() {
    for fail_from in some(calls_of_the_scenario()) {
        let disk = SimulatedDisk::default();
        disk.set(Faults { fail_from: Some(fail_from), only_once: true, ..SOUND });
        let Ok(engine) = RedbEngine::open_on(disk.shared(), cramped()) else {
            // A creation that failed leaves nothing in the way of the next.
            committed(&open(&disk, cramped()), batch());
            continue;
        };
        let mut scenario = Scenario::default();
        scenario.run(&engine);
        // The call may not have come yet: checkpoints run beside, so that no two runs count alike.
        disk.set(SOUND);
        scenario.check(&engine);
        committed(&engine, batch().epoch(scenario.epoch + 1).put("new", "1"));
        drop(engine);
        scenario.check(&open(&disk.after_power_cut(), cramped()));
    }
}

#[test]
fn a_dropped_engine_answers_whoever_still_waits() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, cramped());
    disk.hold_back(Some("log.000001"));
    let outcomes = [(); 8].map(|()| engine.commit(batch()));
    let releasing = Arc::new(disk);
    let released = releasing.clone();
    let thread = std::thread::spawn(move || drop(engine));
    released.hold_back(None);
    thread.join().unwrap();
    for outcome in outcomes {
        let outcome = block_on(outcome);
        assert!(matches!(outcome, Outcome::Committed(_) | Outcome::Failed(_)), "{outcome:?}");
    }
}
