//! What people can tell an instance, in every state that a walk over answers, failures and verbs meets.

use std::collections::{BTreeSet, VecDeque};

use quickbeam::domains::flow::Progress;
use quickbeam::domains::flow::ledger::Side;
use quickbeam::domains::flow::limits::Limit;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::flow::spot::{Role, Spot};
use quickbeam::domains::flow::step::{Cure, Event, Verb};
use quickbeam::domains::flow::verbs::possible;
use serde_json::{Value, json};

use super::flow_saga::cancel;
use super::flow_steps::{Run, done, given, resume};

/// States that the walk looks at, the nearest first: enough to meet every phase, and little enough for a debug build.
const STATES_MAX: usize = 600;
/// Something of every kind that a verb can be about, behind a limit.
const FLOW: &str = "concurrency = { max = 1 }\nsteps.a = { E, undo = \"un\", retry = { attempts = 2 } }\n\
                    steps.w = { suspend = \"go\", notify = \"https://a.example/\", retry = { attempts = 1 }, after = \"a\" }\n\
                    steps.s = { wait = \"1h\", after = \"a\" }\n\
                    steps.q = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\", after = \"w\" }\n\
                    steps.l = { each = \"[1, 2]\", E, after = \"w\", retry = { attempts = 1 }, undo = \"un\" }";
const STEPS: [&str; 5] = ["a", "w", "s", "q", "l"];
/// Steps and elements that answer, or fail to.
const PARTS: [(&str, Option<u32>); 4] = [("a", None), ("q", None), ("l", Some(0)), ("l", Some(1))];

/// Each state of a walk from two ends by answers, failures and verbs.
fn walk(mut look: impl FnMut(&mut Run, &Progress)) {
    let mut run = given(FLOW);
    let fresh = run.progress.clone();
    run.when(Event::Start).when(admitted(&fresh)).when(done("a")).when(resume("go", Value::Null)).when(done("q"));
    run.when(Event::WaitOver { step: "s".into() });
    for item in [0, 1] {
        run.when(Event::Done { spot: Spot::of("l", Some(item)), result: json!(item) });
    }
    let (mut seen, mut open) = (BTreeSet::new(), VecDeque::from([run.progress.clone(), fresh]));
    while let Some(progress) = open.pop_front() {
        let mut shape = progress.clone();
        (shape.started, shape.kept, shape.ends) = (0, 0, shape.ends.min(2));
        let far = progress.run > 2 || progress.ends > 2 || seen.len() > STATES_MAX;
        if far || !seen.insert(serde_json::to_string(&shape).unwrap()) {
            continue;
        }
        for (_, event) in happenings(&progress) {
            run.progress = progress.clone();
            if run.try_when(event).is_ok() {
                open.push_back(run.progress.clone());
            }
        }
        // One that has not begun cannot be told anything.
        if !progress.steps.is_empty() || !progress.gates.is_empty() {
            look(&mut run, &progress);
        }
    }
}

fn admitted(progress: &Progress) -> Event {
    Event::Admitted { limit: Limit::Concurrency, ticket: progress.ends }
}

/// Everything that can happen, with the verb that somebody says by it.
fn happenings(progress: &Progress) -> Vec<(Option<Verb>, Event)> {
    let by = || None;
    let mut all = vec![
        (Some(Verb::Cancel), cancel()),
        (Some(Verb::Kill), Event::Kill { by: by(), reason: "now".into() }),
        (Some(Verb::Pause), Event::Pause { by: by() }),
        (Some(Verb::Continue), Event::Continue { by: by() }),
        (Some(Verb::Retry), Event::Retry { step: None, by: by() }),
        (Some(Verb::Resume), resume("go", Value::Null)),
    ];
    for step in STEPS {
        all.push((Some(Verb::Restart), Event::Restart { step: step.into(), input: None, by: by() }));
        for item in [None, Some(0), Some(1)] {
            let name = || step.to_owned();
            all.push((Some(Verb::Skip), Event::Skip { step: name(), item, result: Value::Null, by: by() }));
            all.push((Some(Verb::Edit), Event::Edit { step: name(), item, input: json!({}), by: by() }));
        }
    }
    all.extend(answers(progress).into_iter().map(|event| (None, event)));
    all
}

/// What comes from outside, and by itself.
fn answers(progress: &Progress) -> Vec<Event> {
    let mut all = vec![Event::Start, admitted(progress), Event::WaitOver { step: "s".into() }];
    let undos = progress.ledger.iter().map(|entry| Spot::new(&entry.step, entry.item, entry.run, Role::Undo));
    let steps = PARTS.iter().map(|(step, item)| Spot::new(step, *item, progress.run_of(step), Role::Do));
    let notice = Spot::new("w", None, progress.run_of("w"), Role::Notify);
    for spot in undos.chain(steps).chain([notice]) {
        all.push(Event::Done { spot: spot.clone(), result: Value::Null });
        for attempt in [1, 2] {
            for cure in [Cure::Time, Cure::Nothing] {
                let reason = "no".to_owned();
                all.push(Event::Failed { spot: spot.clone(), attempt, reason, cure, trouble: None });
            }
            all.push(Event::RetryDue { spot: spot.clone(), attempt });
        }
    }
    all
}

/// The verbs that can be said now, each about something.
fn said(run: &mut Run, progress: &Progress) -> BTreeSet<Verb> {
    let mut said = BTreeSet::new();
    for (verb, event) in happenings(progress) {
        let Some(verb) = verb else { continue };
        run.progress = progress.clone();
        match run.try_when(event) {
            Ok(_) => drop(said.insert(verb)),
            Err(refused) => assert!(!refused.to_string().is_empty(), "{verb}"),
        }
    }
    said
}

/// What the manual says moves each state ("When it goes wrong").
fn promised(progress: &Progress) -> Vec<Verb> {
    use Verb::{Cancel, Continue, Edit, Kill, Pause, Restart, Resume, Retry, Skip};
    let stuck = progress.ledger.iter().any(|entry| matches!(entry.undo, Side::Stuck { .. }));
    match progress.phase() {
        Phase::Queued | Phase::Running => vec![Pause, Cancel, Kill],
        Phase::Suspended if progress.waiting().next().is_some() => vec![Pause, Cancel, Kill, Resume, Skip],
        Phase::Suspended => vec![Pause, Cancel, Kill, Skip],
        Phase::Paused if progress.held.is_some() && progress.undoing.is_some() => vec![Continue, Kill],
        Phase::Paused if progress.held.is_some() => vec![Continue, Cancel, Kill],
        Phase::Paused => vec![Pause, Cancel, Kill, Retry, Edit, Skip],
        Phase::Undoing | Phase::Stuck if stuck => vec![Retry, Edit, Skip, Pause, Kill],
        Phase::Undoing | Phase::Stuck => vec![Pause, Kill],
        Phase::Done | Phase::Failed | Phase::Cancelled | Phase::Killed => vec![Restart],
    }
}

#[test]
fn in_every_state_exactly_the_verbs_that_are_said_to_be_possible_can_be_said_and_those_of_the_manual_are_among_them() {
    let mut phases = BTreeSet::new();
    walk(|run, progress| {
        phases.insert(progress.phase());
        let said = said(run, progress);
        let listed: BTreeSet<Verb> = possible(progress).into_iter().collect();
        assert_eq!(said, listed, "can be said, and is listed, in {:?}: {progress:?}", progress.phase());
        let missing: Vec<Verb> = promised(progress).into_iter().filter(|verb| !said.contains(verb)).collect();
        assert!(missing.is_empty(), "{missing:?} of the manual in {:?}: {progress:?}", progress.phase());
    });
    assert_eq!(phases, Phase::ALL.into_iter().collect(), "every phase was met");
}

/// What a patient person says, and what they wait for where nothing can be said: never `kill`.
fn next(progress: &Progress) -> impl Iterator<Item = Event> {
    let said = happenings(progress).into_iter();
    let said = said.filter(|(verb, _)| matches!(verb, Some(Verb::Continue | Verb::Cancel | Verb::Skip)));
    // Of what is stuck nobody says any more that it was done.
    let stuck = progress.ledger.iter().any(|entry| matches!(entry.undo, Side::Stuck { .. }));
    let answered = answers(progress).into_iter().filter(move |event| !stuck && matches!(event, Event::Done { .. }));
    said.map(|(_, event)| event).chain(answered)
}

#[test]
fn every_state_comes_to_an_end_that_takes_back_without_a_kill() {
    walk(|run, progress| {
        run.progress = progress.clone();
        while run.progress.end.is_none() {
            let before = run.progress.clone();
            let moved = next(&before).any(|event| run.try_when(event).is_ok() && run.progress != before);
            assert!(moved, "nothing but a kill leads out of {:?}: {before:?}", before.phase());
        }
        let was_open = progress.end.is_none();
        assert!(!was_open || run.progress.phase() != Phase::Killed, "{progress:?}");
        let left = run.progress.ledger.iter().filter(|entry| !entry.undo.over()).count();
        assert!(!was_open || run.progress.phase() == Phase::Done || left == 0, "{left} left: {:?}", run.progress);
    });
}
