//! A disk that fails: nothing acknowledged is lost, nothing wrong is answered, and the engine comes back by itself.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use quickbeam::store::redb::Options;
use quickbeam::store::{Change, Engine, Failure, Key, Outcome, RedbEngine};

use crate::disk::{Faults, SOUND, SimulatedDisk};
use crate::subject::{Words, batch, block_on, committed, cramped, everything, key, value};

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
    assert!(matches!(&behind, Outcome::Failed(failure) if matches!(**failure, Failure::Io { .. })), "{behind:?}");
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
    disk.hold_back(Some("log"));
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
    disk.set(Faults { bytes_max: Some(disk.bytes_longest()), ..SOUND });
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
    disk.hold_back(Some("table"));
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

#[test]
fn a_dropped_engine_answers_whoever_still_waits() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, cramped());
    disk.hold_back(Some("log"));
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

#[test]
fn a_read_that_failed_once_leaves_reads_and_commits_as_they_were() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options::default());
    for number in 0..20 {
        committed(&engine, batch().put(&number.to_string(), &"1".repeat(9_000)));
    }
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    // None of the pages stays in memory.
    let engine = open(&disk, Options { cache_bytes: 0, ..Options::default() });
    let failing = Faults { fail_from: Some(0), ..SOUND };
    disk.set(failing);
    let failed = (0..20).filter(|number| block_on(engine.get(&key(&number.to_string()))).is_err()).count();
    assert!(failed > 0, "nothing was read from the disk");
    disk.set(SOUND);
    // Whether the engine had tried to open its files in vain is a matter of time; then it asks for the fence.
    committed(&engine, batch().epoch(1).put("new", "1"));
    assert_eq!(everything(&engine).len(), 21);
    engine.health().unwrap();
}

#[test]
fn reads_go_on_over_files_opened_anew_whatever_else_failed_on_them() {
    let mut failures = 0;
    for call in 0..40 {
        let disk = SimulatedDisk::default();
        // None of the pages stays in memory.
        let engine = open(&disk, Options { cache_bytes: 0, ..Options::default() });
        for number in 0..20 {
            committed(&engine, batch().put(&number.to_string(), &"1".repeat(9_000)));
        }
        block_on(engine.checkpoint()).unwrap();
        committed(&engine, batch().put("new", "1"));
        disk.set(Faults { fail_from: Some(disk.calls() + call), only_once: true, ..SOUND });
        failures += u32::from(block_on(engine.checkpoint()).is_err());
        for number in 0..20 {
            block_on(engine.get(&key(&number.to_string()))).unwrap().unwrap();
        }
    }
    assert!(failures > 3, "{failures} checkpoints failed");
}

#[test]
fn reads_go_on_where_nothing_can_be_synced() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options { cache_bytes: 0, overlay_bytes_max: 100_000, ..Options::default() });
    let put = |number: u64| batch().epoch(number).put(&number.to_string(), &"1".repeat(9_000));
    for number in 0..5 {
        committed(&engine, put(number));
    }
    block_on(engine.checkpoint()).unwrap();
    for number in 5..10 {
        committed(&engine, put(number));
    }
    // The next makes a checkpoint due, and nothing is synced after it.
    disk.set(Faults { syncs_left: Some(2), ..SOUND });
    committed(&engine, put(10));
    while engine.health().is_ok() {
        std::thread::yield_now();
    }
    for number in (0..=10).cycle().take(200) {
        block_on(engine.get(&key(&number.to_string()))).unwrap().unwrap();
    }
    assert!(engine.stats().reopened <= 1, "{} times", engine.stats().reopened);
    disk.set(SOUND);
    let before = engine.stats().checkpoints;
    let mut epoch = 11;
    while engine.stats().checkpoints == before {
        committed(&engine, put(epoch));
        epoch += 1;
    }
    assert_eq!(everything(&engine).len(), usize::try_from(epoch).unwrap());
}

#[test]
fn a_table_that_cannot_grow_is_read_and_takes_nothing_more_until_it_can() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options { cache_bytes: 0, overlay_bytes_max: 1 << 20, ..Options::default() });
    let mut numbers = 0..;
    let mut put = || batch().put(&numbers.next().unwrap().to_string(), &"1".repeat(9_000));
    for _ in 0..400 {
        committed(&engine, put());
    }
    // The log has room, for its files are short.
    disk.set(Faults { bytes_max: Some(disk.bytes_longest()), ..SOUND });
    while let Outcome::Committed(_) = block_on(engine.commit(put())) {}
    while engine.health().is_ok() {
        std::thread::yield_now();
    }
    for number in 0..300 {
        block_on(engine.get(&key(&number.to_string()))).unwrap().unwrap();
    }
    let held = engine.stats().overlay_bytes;
    for epoch in 1..10 {
        let outcome = block_on(engine.commit(put().epoch(epoch)));
        assert!(matches!(&outcome, Outcome::Failed(failure) if matches!(**failure, Failure::Full(_))), "{outcome:?}");
        assert!(matches!(*engine.health().unwrap_err(), Failure::Full(_)));
        block_on(engine.get(&key("7"))).unwrap().unwrap();
    }
    assert_eq!(engine.stats().overlay_bytes, held);
    disk.set(SOUND);
    committed(&engine, put().epoch(10));
    engine.health().unwrap();
    assert!(engine.stats().overlay_bytes < held / 2, "what was left is in the table");
}

#[test]
fn opening_to_read_writes_no_checkpoint_however_long_the_log_is() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk, Options { overlay_bytes_max: 1 << 20, ..Options::default() });
    for number in 0..40 {
        committed(&engine, batch().put(&number.to_string(), &"1".repeat(9_000)));
    }
    assert_eq!(engine.stats().checkpoints, 0);
    engine.close();
    let small = Options { overlay_bytes_max: 100_000, ..Options::default() };
    let disk = disk.after_kill();
    // As a tool does that looks at a store on a full disk.
    disk.set(Faults { bytes_max: Some(disk.bytes_longest()), ..SOUND });
    let engine = open(&disk, small);
    assert_eq!(everything(&engine).len(), 40);
    engine.health().unwrap();
    disk.set(SOUND);
    committed(&engine, batch().put("40", "1"));
    while engine.stats().checkpoints == 0 {
        std::thread::yield_now();
    }
    assert_eq!(everything(&engine).len(), 41);
}
