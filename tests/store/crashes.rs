//! Crashes by chance: at any call of the disk, also while the store opens, checkpoints, or recovers from a failure.
//!
//! `QUICKBEAM_TESTS_LONG=1` makes 100,000 of them, `QUICKBEAM_TESTS_CRASHES` as many as it says; the seed that a failure
//! names repeats its history, though not always its threads.

use std::sync::atomic::{AtomicU64, Ordering};

use quickbeam::store::RedbEngine;

use crate::dice::{Dice, count, seed};
use crate::disk::{Faults, SOUND, SimulatedDisk};
use crate::life::{Life, tiny};
use crate::threads::on_two_threads;

const LIVES: u64 = 40;
const PROGRESS: u64 = 10_000;

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
    on_two_threads(|number| {
        live(seed.wrapping_add(number), &met);
        met.crashes.load(Ordering::Relaxed) < wanted
    });
    println!("{met:?}: nothing lost, nothing that will not open");
}

/// A store through many crashes.
fn live(seed: u64, met: &Met) {
    let mut life = Life::new(seed);
    for number in 0..LIVES {
        match life.dice.below(10) {
            0..=2 => life.disk.crash_at(1 + life.dice.below(60)),
            3..=7 => life.disk.crash_at(80 + life.dice.scale(1_024)),
            _ => {}
        }
        life.history.note(format!("-- life {number}"));
        match RedbEngine::open_on(life.disk.shared(), tiny()) {
            Ok(engine) => work(&mut life, &engine, met),
            Err(error) => {
                life.history.check(life.disk.is_crashed(), &format!("will not open: {error:?}"));
                note(if number == 0 { &met.creating } else { &met.opening });
            }
        }
        life.disk = life.disk.after_crash();
        let crashes = note(&met.crashes);
        if crashes.is_multiple_of(PROGRESS) {
            println!("{crashes} crashes, at seed {seed}");
        }
    }
}

fn work(life: &mut Life, engine: &RedbEngine, met: &Met) {
    life.read(engine, true);
    for _ in 0..life.dice.below(8) {
        if life.disk.is_crashed() {
            break;
        }
        let strikes = life.dice.one_in(8);
        if strikes {
            let faults = faults(&mut life.dice, &life.disk);
            life.history.note(format!("{faults:?}"));
            life.disk.set(faults);
        }
        let step = life.step(engine);
        met.ill.fetch_add(step.ill, Ordering::Relaxed);
        if step.checkpointing && life.disk.is_crashed() {
            note(&met.checkpointing);
        }
        if strikes && life.dice.percent(80) {
            life.disk.set(SOUND);
            life.recover(engine);
        }
    }
    if !life.disk.is_crashed() {
        note(&met.idle);
        if life.dice.one_in(4) {
            life.disk.set(SOUND);
            life.recover(engine);
            life.scrub(engine);
        }
    }
    if life.dice.one_in(4) {
        // What the last writes of an orderly end do may be cut short too.
        life.disk.crash_at(life.disk.calls() + 1 + life.dice.below(20));
        engine.close();
    } else {
        // The image is taken here, with the threads in the middle of whatever they do.
        drop(life.disk.after_crash());
    }
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
