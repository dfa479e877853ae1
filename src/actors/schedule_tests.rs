//! The rules of a schedule, turn by turn.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::actors::flow::Start;
use crate::actors::stage::{Stage, Taken, world};

const FLOW: &str = "[flow.digest]\nsteps.a = { effect = \"notify\", with = { text = \"'x'\" } }\n";

fn declared(more: &str) -> String {
    format!("{FLOW}[schedule.often]\nflow = \"digest\"\nevery = \"15m\"\n{more}\n")
}

/// One that has found its place, at a time with a tick 5 minutes later.
fn schedule(more: &str) -> Stage<Schedule> {
    let mut stage = Stage::new("often", &declared(more));
    stage.now = Time(1_800_000_600_000);
    stage.take(Command::Ensure).unwrap();
    stage
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The instances that a turn begins.
fn begun(taken: &Taken<Schedule>) -> Vec<(String, Start)> {
    let start = |(id, command)| match command {
        flow::Command::Start(start) => Some((id, *start)),
        _ => None,
    };
    taken.told::<flow::Flow>().into_iter().filter_map(start).collect()
}

/// Takes the turn of the timer that is set, at its time and so much later.
fn tick(stage: &mut Stage<Schedule>, late: Duration) -> Taken<Schedule> {
    let at = stage.state.next.expect("a tick is planned");
    stage.now = at.plus(late).max(stage.now);
    let taken = stage.take(Command::Due { at }).unwrap();
    assert_eq!(taken.timers.get("due"), Some(&stage.state.next), "the next tick is a timer");
    taken
}

/// Tells it that an instance has ended, and gives what that begins.
fn end(stage: &mut Stage<Schedule>, flow: &str, due: Time) -> Vec<(String, Start)> {
    let phase = Some(Phase::Done);
    begun(&stage.take(Command::Ended { flow: flow.into(), due, phase }).unwrap())
}

fn due_of(start: &Start) -> Time {
    let Origin::Schedule { schedule, due } = &start.origin else { panic!("{:?}", start.origin) };
    assert_eq!(schedule, "often");
    *due
}

fn runs(stage: &Stage<Schedule>) -> Vec<Run> {
    stage.rows.values().filter_map(|row| record::decode(row).ok()).collect()
}

#[test]
fn a_tick_begins_an_instance_of_its_own_and_sets_the_next() {
    let mut stage = schedule("input = { city = \"Bern\", object = { id = \"x\" } }");
    assert_eq!(stage.state.next, Some(Time(1_800_000_900_000)));
    let taken = tick(&mut stage, Duration::ZERO);
    let [(id, start)] = &begun(&taken)[..] else { panic!("one begins") };
    assert_eq!(*id, instance("often", "1800000900000"), "it derives from schedule and tick");
    assert_eq!((start.name.as_str(), due_of(start)), ("digest", Time(1_800_000_900_000)));
    assert_eq!(start.definition, stage.world.catalog.current("digest").unwrap().hash.0);
    let given = json!({ "name": "often", "due": "2027-01-15T08:15:00.000Z", "missed": 0 });
    let input = json!({ "city": "Bern", "object": { "id": "x" }, "schedule": given });
    assert_eq!((&start.input.input, &start.input.object), (&input, &json!({ "id": "x" })));
    assert_eq!(stage.state.next, Some(Time(1_800_001_800_000)));
    assert_eq!((stage.state.begun, stage.state.running, stage.state.missed), (1, 1, 0));
    assert!(end(&mut stage, id, due_of(start)).is_empty());
    let [run] = &runs(&stage)[..] else { panic!("one run is kept") };
    assert_eq!(run.ended.as_ref().and_then(|ended| ended.phase), Some(Phase::Done));
    assert_eq!(stage.state.running, 0);
}

#[test]
fn ticks_that_nobody_answered_are_one_that_says_how_many() {
    let mut stage = schedule("");
    let taken = tick(&mut stage, minutes(7 * 24 * 60));
    let [(_, start)] = &begun(&taken)[..] else { panic!("one begins for all") };
    assert_eq!(start.input.input["schedule"]["missed"], 7 * 24 * 4);
    assert_eq!(due_of(start), Time(1_800_000_900_000), "it is the first of them");
    assert_eq!(stage.state.missed, 7 * 24 * 4);
    assert!(stage.state.next.unwrap() > stage.now);
}

#[test]
fn a_clock_that_jumps_a_year_and_back_fires_once_and_is_on_time_again() {
    let mut stage = schedule("overlap = \"allow\"");
    let before = stage.now;
    let taken = tick(&mut stage, minutes(365 * 24 * 60));
    assert_eq!(begun(&taken).len(), 1);
    // Back again: the next tick would be a year away.
    stage.now = before;
    let taken = stage.take(Command::Ensure).unwrap();
    assert_eq!(taken.timers.get("due"), Some(&Some(Time(1_800_000_900_000))));
    assert!(begun(&tick(&mut stage, Duration::ZERO)).is_empty(), "this one was begun before");
    assert_eq!(begun(&tick(&mut stage, Duration::ZERO)).len(), 1);
    assert_eq!(stage.state.begun, 2);
}

#[test]
fn a_timer_that_is_not_the_next_tick_does_nothing() {
    let mut stage = schedule("");
    let taken = stage.take(Command::Due { at: Time(1_800_000_000_000) }).unwrap();
    assert!(begun(&taken).is_empty() && taken.events.is_empty() && taken.timers.is_empty());
}

#[test]
fn skip_leaves_ticks_out_and_asks_whether_the_one_before_still_runs() {
    let mut stage = schedule("");
    let taken = tick(&mut stage, Duration::ZERO);
    let (first, start) = begun(&taken).remove(0);
    let taken = tick(&mut stage, minutes(31));
    assert!(begun(&taken).is_empty());
    let asked = taken.told::<flow::Flow>();
    assert!(matches!(&asked[..], [(id, flow::Command::StillRuns { .. })] if *id == first), "{asked:?}");
    assert_eq!((stage.state.skipped, stage.state.missed, stage.state.running), (1, 2, 1));
    assert!(end(&mut stage, &first, due_of(&start)).is_empty(), "what was left out is left out");
    assert_eq!(begun(&tick(&mut stage, Duration::ZERO)).len(), 1);
}

#[test]
fn allow_begins_one_beside_the_other() {
    let mut stage = schedule("overlap = \"allow\"");
    for number in 1..=3 {
        assert_eq!(begun(&tick(&mut stage, Duration::ZERO)).len(), 1);
        assert_eq!(stage.state.running, number);
    }
    assert_eq!(stage.state.skipped, 0);
}

#[test]
fn queue_keeps_one_tick_until_the_instance_before_it_has_ended() {
    let mut stage = schedule("overlap = \"queue\"");
    let (first, start) = begun(&tick(&mut stage, Duration::ZERO)).remove(0);
    let second_due = stage.state.next.unwrap();
    assert!(begun(&tick(&mut stage, Duration::ZERO)).is_empty());
    assert!(begun(&tick(&mut stage, Duration::ZERO)).is_empty());
    assert_eq!((stage.state.skipped, stage.state.begun), (1, 1), "one waits, the other is left out");
    let next = end(&mut stage, &first, due_of(&start));
    let [(id, start)] = &next[..] else { panic!("the one that waited begins") };
    assert_eq!((due_of(start), id), (second_due, &instance("often", &second_due.0.to_string())));
    assert_eq!((stage.state.running, stage.state.begun, &stage.state.waiting), (1, 2, &None));
    assert!(end(&mut stage, &first, due_of(start)).is_empty(), "an end counts once");
    assert_eq!(stage.state.running, 1);
}

#[test]
fn cancel_cancels_what_runs_and_begins_when_that_has_ended() {
    let mut stage = schedule("overlap = \"cancel\"");
    let (first, start) = begun(&tick(&mut stage, Duration::ZERO)).remove(0);
    let taken = tick(&mut stage, Duration::ZERO);
    assert!(begun(&taken).is_empty());
    let [(_, rest)] = &taken.told::<Schedule>()[..] else { panic!("it tells itself to cancel") };
    let cancelled = stage.take(rest.clone()).unwrap().told::<flow::Flow>();
    assert!(matches!(&cancelled[..], [(id, flow::Command::Cancel { .. })] if *id == first), "{cancelled:?}");
    assert_eq!(end(&mut stage, &first, due_of(&start)).len(), 1);
}

#[test]
fn all_of_many_are_cancelled_a_page_at_a_time() {
    let mut stage = schedule("overlap = \"allow\"");
    for _ in 0..PAGE + 3 {
        tick(&mut stage, Duration::ZERO);
    }
    let overlap = Some(Overlap::Cancel);
    let mut told = stage.take(Command::Fire { by: "ann".into(), overlap }).unwrap().told::<Schedule>();
    let mut cancelled = std::collections::BTreeSet::new();
    while let Some((_, command)) = told.pop() {
        let taken = stage.take(command).unwrap();
        cancelled.extend(taken.told::<flow::Flow>().into_iter().map(|(id, _)| id));
        told.extend(taken.told::<Schedule>());
    }
    assert_eq!(cancelled.len(), PAGE + 3);
}

#[test]
fn what_is_paused_fires_only_by_hand_and_makes_up_for_nothing() {
    let mut stage = schedule("overlap = \"queue\"");
    let pause = || Command::Pause { by: "ann".into(), reason: Some("holidays".into()) };
    let taken = stage.take(pause()).unwrap();
    assert_eq!(taken.timers.get("due"), Some(&None));
    assert!(stage.take(pause()).unwrap().events.is_empty(), "a second time changes nothing");
    stage.wait(minutes(600));
    assert!(stage.take(Command::Ensure).unwrap().timers.is_empty(), "a look does not set it going");
    let fired = stage.take(Command::Fire { by: "bea".into(), overlap: None }).unwrap();
    let (first, start) = begun(&fired).remove(0);
    assert_eq!(fired.reply.begun.as_ref(), Some(&first));
    let waits = stage.take(Command::Fire { by: "bea".into(), overlap: None }).unwrap().reply.waits;
    assert!(waits.is_some_and(|waits| waits != first));
    let third = stage.take(Command::Fire { by: "bea".into(), overlap: None }).err();
    assert_eq!(third, Some(Rejection::Waits("often".into())));
    assert_eq!(end(&mut stage, &first, due_of(&start)).len(), 1, "what was asked for by hand begins all the same");
    let taken = stage.take(Command::Continue { by: "ann".into() }).unwrap();
    assert_eq!(taken.timers.get("due"), Some(&Some(Time(1_800_000_900_000).plus(minutes(600)))));
    assert!(stage.take(Command::Continue { by: "ann".into() }).unwrap().events.is_empty());
    assert_eq!(stage.state.missed, 0);
}

#[test]
fn a_tick_that_waits_is_dropped_by_a_pause_and_counted() {
    let mut stage = schedule("overlap = \"queue\"");
    let (first, start) = begun(&tick(&mut stage, Duration::ZERO)).remove(0);
    tick(&mut stage, Duration::ZERO);
    stage.take(Command::Pause { by: "ann".into(), reason: None }).unwrap();
    assert_eq!((stage.state.skipped, &stage.state.waiting), (1, &None));
    assert!(end(&mut stage, &first, due_of(&start)).is_empty());
}

#[test]
fn firing_by_hand_is_refused_while_one_runs_unless_it_may_overlap() {
    let mut stage = schedule("");
    let (first, _) = begun(&tick(&mut stage, Duration::ZERO)).remove(0);
    let fire = |overlap| Command::Fire { by: "ann".into(), overlap };
    let refused = stage.take(fire(None)).err().unwrap();
    assert_eq!(refused, Rejection::StillRuns { name: "often".into(), flows: first });
    assert_eq!(stage.state.skipped, 0, "who asks hears it, and it is no tick of the schedule");
    let planned = stage.state.next;
    assert_eq!(begun(&stage.take(fire(Some(Overlap::Allow))).unwrap()).len(), 1);
    assert_eq!(stage.state.next, planned, "its own ticks come as before");
}

#[test]
fn other_times_in_the_configuration_replace_the_timer_and_fire_nothing() {
    let mut stage = schedule("");
    let old = stage.state.next.unwrap();
    stage.world = world(&declared("").replace("every = \"15m\"", "cron = \"30 9 * * *\"\nzone = \"Europe/Berlin\""));
    stage.now = old.plus(minutes(1));
    // Whichever comes first after the start, the old timer or the look.
    let taken = stage.take(Command::Due { at: old }).unwrap();
    assert!(begun(&taken).is_empty());
    assert_eq!(taken.timers.get("due").copied().flatten().unwrap().to_string(), "2027-01-15T08:30:00.000Z");
    assert!(stage.take(Command::Ensure).unwrap().events.is_empty());
}

#[test]
fn another_overlap_or_input_keeps_the_time() {
    let mut stage = schedule("overlap = \"queue\"");
    tick(&mut stage, Duration::ZERO);
    tick(&mut stage, Duration::ZERO);
    let next = stage.state.next;
    stage.world = world(&declared("overlap = \"skip\"\ninput = { city = \"Basel\" }"));
    stage.take(Command::Ensure).unwrap();
    assert_eq!(stage.state.next, next);
    assert_eq!((stage.state.skipped, &stage.state.waiting), (1, &None), "nothing waits any more");
}

#[test]
fn a_new_word_of_the_configuration_overrules_a_person_and_an_old_one_does_not() {
    let mut stage = schedule("");
    stage.take(Command::Pause { by: "ann".into(), reason: None }).unwrap();
    stage.world = world(&declared("overlap = \"allow\""));
    stage.take(Command::Ensure).unwrap();
    assert!(stage.state.paused.is_some(), "the configuration says nothing new about it");
    stage.take(Command::Continue { by: "ann".into() }).unwrap();
    stage.world = world(&declared("paused = true"));
    stage.take(Command::Ensure).unwrap();
    assert_eq!(stage.state.paused.as_ref().map(|paused| paused.by.clone()), Some(None));
    stage.take(Command::Continue { by: "ann".into() }).unwrap();
    stage.take(Command::Ensure).unwrap();
    assert_eq!(stage.state.paused, None);
    let overdue = stage.state.next.unwrap();
    stage.world = world(&declared(""));
    stage.now = overdue.plus(minutes(1));
    assert_eq!(begun(&stage.take(Command::Due { at: overdue }).unwrap()).len(), 1, "its tick is not lost over it");
}

#[test]
fn one_that_is_declared_no_more_leaves_nothing() {
    let mut stage = schedule("overlap = \"allow\"");
    for _ in 0..PAGE + 3 {
        tick(&mut stage, Duration::ZERO);
    }
    stage.world = world(FLOW);
    let mut told = stage.take(Command::Due { at: stage.state.next.unwrap() }).unwrap().told::<Schedule>();
    while let Some((_, command)) = told.pop() {
        let taken = stage.take(command).unwrap();
        assert!(begun(&taken).is_empty());
        told.extend(taken.told::<Schedule>());
    }
    assert!(stage.rows.is_empty(), "{} rows are left", stage.rows.len());
    assert_eq!(stage.state, Schedule::default());
    let refused = stage.take(Command::Fire { by: "ann".into(), overlap: None }).err();
    assert_eq!(refused, Some(Rejection::Unknown("often".into())));
}

#[test]
fn only_the_last_runs_are_kept() {
    let mut stage = schedule("overlap = \"allow\"");
    for _ in 0..RUNS_KEPT + 5 {
        let (id, start) = begun(&tick(&mut stage, Duration::ZERO)).remove(0);
        end(&mut stage, &id, due_of(&start));
    }
    let runs = runs(&stage);
    assert_eq!(runs.len() as u64, RUNS_KEPT);
    assert_eq!(runs.first().unwrap().tick.due, Time(1_800_000_900_000).plus(minutes(75)));
    assert_eq!((stage.state.begun, stage.state.running), (RUNS_KEPT + 5, 0));
}

#[test]
fn an_instance_that_never_began_does_not_run() {
    let mut stage = schedule("");
    let taken = tick(&mut stage, Duration::ZERO);
    let (id, command) = taken.told::<flow::Flow>().remove(0);
    let to = ActorId::of::<flow::Flow>(id);
    let told = Schedule::undeliverable(&to, &record::encode(&command), "it panicked").unwrap();
    stage.take(told).unwrap();
    assert_eq!(stage.state.running, 0);
    assert_eq!(runs(&stage)[0].ended.as_ref().map(|ended| ended.phase), Some(None));
}
