//! What a picture shows of each state, and that it can be read whatever somebody wrote.

use serde_json::{Value, json};

use super::*;
use crate::clock::Time;
use crate::domains::flow::check::{Bounds, compile};
use crate::domains::flow::definition::{Definition, Kind, Step, Until};
use crate::domains::flow::fact::Fact;

/// Asks, goes one way or the other, and joins.
fn diamond() -> Compiled {
    let wait = |after: &[&str]| Step {
        after: after.iter().map(|it| (*it).to_owned()).collect(),
        ..Step::of(Kind::Wait(Until::Span(1)))
    };
    let fork = Kind::Branch { on: "input.x".into(), then: vec!["left".into()], otherwise: vec!["right".into()] };
    let steps =
        [("fork", Step::of(fork)), ("left", wait(&[])), ("right", wait(&[])), ("join", wait(&["left", "right"]))];
    let steps = steps.into_iter().map(|(name, step)| (name.to_owned(), step)).collect();
    compile(Definition::of("diamond", steps), Bounds::default()).unwrap()
}

fn after(facts: &[Fact]) -> Progress {
    let mut progress = Progress::new("f");
    facts.iter().for_each(|fact| progress.apply(fact));
    progress
}

#[test]
fn the_way_that_was_taken_is_told_from_the_one_that_was_not() {
    let facts = [
        Fact::BranchTaken { step: "fork".into(), taken: true },
        Fact::StepSkipped { step: "right".into(), why: Skip::NotReached },
        Fact::Sleeping { step: "left".into(), until: Time(1) },
    ];
    let svg = draw(&diamond(), &after(&facts)).into_string();
    assert_eq!(svg.matches("way taken").count(), 1, "{svg}");
    assert_eq!(svg.matches("way shut").count(), 2, "else, and what leads on from the step that was not reached");
    assert_eq!(svg.matches("ahead-way").count() / 2, 1);
    for words in ["branch · then", "wait · not reached", "wait · sleeping", "wait · not begun", ">else<"] {
        assert!(svg.contains(words), "{words} is not in {svg}");
    }
}

#[test]
fn every_state_has_its_own_look() {
    let reason = || "no".to_owned();
    let at = Time(1);
    let states = [
        (StepState::Running { attempt: 2, asked: false }, "running", "running, try 2"),
        (StepState::Running { attempt: 1, asked: true }, "running", "for an answer"),
        (StepState::Retrying { attempt: 1, at, reason: reason() }, "retrying", "retrying after 1"),
        (StepState::Paused { attempt: 3, reason: reason() }, "paused", "paused after 3"),
        (StepState::Failed { reason: reason() }, "failed", "failed"),
        (StepState::Awaiting { until: None }, "waiting", "for a callback"),
        (StepState::TimedOut, "failed", "too late"),
        (StepState::Done { result: Value::Null.into() }, "done", "done"),
        (StepState::Skipped { why: Skip::Condition }, "skipped", "passed over"),
    ];
    for (state, class, words) in states {
        let mut progress = Progress::new("f");
        progress.steps.insert("left".into(), state);
        let seen = look("left", &progress);
        assert_eq!((seen.class, seen.words.as_str()), (class, words));
    }
}

#[test]
fn what_was_taken_back_or_cannot_be_shows_over_what_was_done() {
    let start = Fact::StepStarted {
        step: "left".into(),
        item: None,
        attempt: 1,
        key: "k".into(),
        effect: "e".into(),
        input: json!({}),
        undo: true,
        until: None,
        callback: None,
    };
    let mut progress = after(&[start, Fact::StepDone { step: "left".into(), item: None, result: json!(1) }]);
    assert_eq!(look("left", &progress).class, "done");
    progress.ledger[0].undo = Side::Running { attempt: 1 };
    assert_eq!(look("left", &progress).class, "undoing");
    progress.ledger[0].undo = Side::Stuck { attempt: 3, reason: "away".into() };
    assert_eq!(look("left", &progress), Look { class: "stuck", words: "undo stuck".into(), told: "away".into() });
    progress.ledger[0].undo = Side::Done;
    assert_eq!(look("left", &progress).class, "undone");
}

#[test]
fn what_somebody_wrote_is_no_markup_and_stays_in_its_box() {
    let mut progress = Progress::new("f");
    progress.steps.insert("left".into(), StepState::Failed { reason: "<script>\u{1b}\u{0}&".into() });
    let svg = draw(&diamond(), &progress).into_string();
    assert!(svg.contains("&lt;script&gt;  &amp;") && !svg.contains("<script>"), "{svg}");
    assert!(svg.chars().all(|letter| !letter.is_control() || letter == '\n'));
    assert_eq!(plain(&"x".repeat(99), NAME_MAX).chars().count(), NAME_MAX);
}
