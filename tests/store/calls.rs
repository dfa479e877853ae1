//! An I/O error at any one call of the disk, for once or for a while: never a wrong answer, and the store comes back.
//!
//! The long form (`QUICKBEAM_TESTS_LONG=1`) takes every call of a scenario of 200 batches, CI some of them.

use quickbeam::store::RedbEngine;

use crate::dice::{count, seed};
use crate::disk::{Faults, SOUND};
use crate::life::{Life, tiny};
use crate::threads::on_two_threads;

const BATCHES: u64 = 200;
/// Steps that a disk stays broken.
const BROKEN_STEPS: u64 = 4;
const SAMPLES: u64 = 25;
const PROGRESS: u64 = 500;

/// Runs the scenario with these faults, heals the disk after some steps of illness, and gives the calls it took.
fn run(seed: u64, faults: Faults) -> u64 {
    let mut life = Life::new(seed);
    life.history.note(format!("{faults:?}"));
    life.disk.set(faults);
    let engine = RedbEngine::open_on(life.disk.shared(), tiny()).unwrap_or_else(|_| {
        // A creation that failed leaves nothing in the way of the next.
        life.disk.set(SOUND);
        RedbEngine::open_on(life.disk.shared(), tiny()).unwrap_or_else(|error| life.history.fail(&error.to_string()))
    });
    let mut broken = 0;
    while life.history.batches() < BATCHES {
        let met = life.step(&engine);
        broken += u64::from(met.ill > 0);
        if broken == BROKEN_STEPS && life.disk.is_faulty() {
            life.disk.set(SOUND);
            life.recover(&engine);
        }
    }
    life.disk.set(SOUND);
    life.recover(&engine);
    life.scrub(&engine);
    let calls = life.disk.calls();
    life.history.note("-- the power is cut");
    life.disk = life.disk.after_power_cut();
    drop(engine);
    let engine =
        RedbEngine::open_on(life.disk.shared(), tiny()).unwrap_or_else(|error| life.history.fail(&error.to_string()));
    life.read(&engine, true);
    calls
}

/// Tries the calls of the scenario, on two threads.
fn at_every_call(form: &str, only_once: bool) {
    let seed = seed(form);
    let calls = run(seed, SOUND);
    let step = (calls / count("QUICKBEAM_TESTS_CALLS", SAMPLES, calls)).max(1);
    on_two_threads(|number| {
        let from = 1 + number * step + seed % step;
        if number > 0 && number.is_multiple_of(PROGRESS) {
            println!("{form}: call {from} of {calls}");
        }
        if from <= calls {
            run(seed, Faults { fail_from: Some(from), only_once, ..SOUND });
        }
        from <= calls
    });
    println!("{form}: one in {step} of {calls} calls failed, no wrong answer");
}

#[test]
fn one_failing_call_anywhere_is_survived() {
    at_every_call("single errors", true);
}

#[test]
fn a_disk_that_fails_from_any_call_on_is_survived_once_it_works_again() {
    at_every_call("sticky errors", false);
}
