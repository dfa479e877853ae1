//! Laws of flows: whatever the DAG, it ends as a small interpreter says, replay equals live, and stored forms stay.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quickbeam::clock::Time;
use quickbeam::domains::flow::check::{Bounds, Compiled, compile};
use quickbeam::domains::flow::definition::{
    Argument, Call, Definition, DefinitionHash, Failures, Kind, Otherwise, Retry, Step,
};
use quickbeam::domains::flow::fact::{AfterFailure, Fact, Skip};
use quickbeam::domains::flow::progress::{End, Phase, Progress, StepState};
use quickbeam::domains::flow::spot::{Role, Spot};
use quickbeam::domains::flow::step::{Cure, Event, decide};
use quickbeam::domains::flow::{Input, graph};
use serde_json::{Value, json};

use super::flow_random::{Answer, Plan, Planned, definition, limited, limits, name, place, plans, reference};

/// Answers everything that waits, in an order that `order` draws, until nothing does.
fn run(plans: &[Planned], compiled: &Compiled, order: &[usize]) -> (Progress, Vec<Fact>) {
    let input = Input { object: json!(1), ..Input::default() };
    let mut progress = Progress::new("flow-1");
    let mut facts = Vec::new();
    let mut open: Vec<Event> = vec![Event::Start];
    let mut order = order.iter().cycle();
    while !open.is_empty() {
        let event = open.swap_remove(order.next().unwrap() % open.len());
        let new = decide(compiled, &progress, &input, event, Time(0)).unwrap();
        for fact in &new {
            progress.apply(fact);
            match fact {
                Fact::StepStarted { step, .. }
                    if plans[place(step)].plan.answer().is_some_and(|it| it != Answer::Given) =>
                {
                    open.push(Event::TimedOut { step: step.clone() });
                }
                Fact::TimedOut { step } if plans[place(step)].plan.answer() == Some(Answer::Late) => {
                    open.push(Event::Done { spot: Spot::of(step.clone(), None), result: json!("late") });
                }
                Fact::StepStarted { step, item, attempt: 1, .. } if order.next().unwrap().is_multiple_of(3) => {
                    let (step, item, reason) = (step.clone(), *item, "lost".to_owned());
                    let spot = Spot::of(step, item);
                    open.push(Event::Failed { spot, attempt: 1, reason, cure: Cure::Time, trouble: None });
                }
                Fact::StepStarted { step, item, .. } => {
                    open.push(Event::Done { spot: Spot::of(step.clone(), *item), result: json!(step) });
                }
                Fact::StepFailed { step, item, attempt, next: AfterFailure::RetryAt(_), .. } => {
                    open.push(Event::RetryDue { spot: Spot::of(step.clone(), *item), attempt: *attempt });
                }
                Fact::UndoStarted { step, item, run, .. } => {
                    let spot = Spot::new(step, *item, *run, Role::Undo);
                    open.push(Event::Done { spot, result: Value::Null });
                }
                Fact::Queued { limit, .. } => open.push(Event::Admitted { limit: *limit, ticket: progress.ends }),
                Fact::Sleeping { step, .. } => open.push(Event::WaitOver { step: step.clone() }),
                Fact::AwaitsCallback { step, .. } => {
                    let token = progress.callbacks[step].clone();
                    open.push(match plans[place(step)].plan {
                        Plan::Callback { called: true, .. } => Event::Callback { token, payload: json!("called") },
                        _ => Event::TimedOut { step: step.clone() },
                    });
                }
                Fact::Suspended { step, signal, .. } => {
                    let resumed = matches!(plans[place(step)].plan, Plan::Suspend { resumed: true, .. });
                    open.push(match resumed {
                        true => Event::Resume { signal: signal.clone(), payload: Value::Null, by: None },
                        false => Event::TimedOut { step: step.clone() },
                    });
                }
                _ => {}
            }
        }
        facts.extend(new);
    }
    (progress, facts)
}

proptest! {
    #[test]
    fn a_random_flow_ends_as_the_reference_says(plans in plans(), limits in limits(), order in prop::collection::vec(0_usize..100, 1..40)) {
        let Ok(compiled) = compile(limited(definition(&plans), limits), Bounds::default()) else {
            panic!("a flow whose ways all go forward is right");
        };
        let (progress, facts) = run(&plans, &compiled, &order);
        prop_assert_eq!(progress.phase(), Phase::Done);
        let expected = reference(&plans);
        for (at, planned) in plans.iter().enumerate() {
            let state = &progress.steps[&name(at)];
            let wanted = match (expected.contains(&at), planned.passed_over) {
                (false, _) => matches!(state, StepState::Skipped { why: Skip::NotReached }),
                (true, true) => matches!(state, StepState::Skipped { why: Skip::Condition }),
                (true, false) => !matches!(state, StepState::Skipped { .. }),
            };
            prop_assert!(wanted, "{}: {:?}, reached: {:?}", name(at), state, expected);
        }
        let mut seen = BTreeSet::new();
        for fact in &facts {
            if let Fact::StepStarted { key, attempt, .. } = fact {
                prop_assert!(seen.insert((key.clone(), *attempt)), "{} started twice", key);
            }
        }
    }

    #[test]
    fn replay_equals_live_and_stored_forms_come_back(plans in plans(), order in prop::collection::vec(0_usize..100, 1..40)) {
        let definition = definition(&plans);
        let again = Definition::from_bytes(&definition.to_bytes()).unwrap();
        prop_assert_eq!(&again, &definition);
        prop_assert_eq!(again.hash(), DefinitionHash::of(&definition.to_bytes()));
        let compiled = compile(definition, Bounds::default()).unwrap();
        let (live, facts) = run(&plans, &compiled, &order);
        let mut replayed = Progress::new("flow-1");
        for (at, fact) in facts.iter().enumerate() {
            let stored: Fact = serde_json::from_str(&serde_json::to_string(fact).unwrap()).unwrap();
            let packed: Fact = rmp_serde::from_slice(&rmp_serde::to_vec_named(fact).unwrap()).unwrap();
            prop_assert_eq!(&packed, fact);
            prop_assert_eq!(&stored, fact);
            replayed.apply(&stored);
            if at % 3 == 0 {
                let packed = rmp_serde::to_vec_named(&replayed).unwrap();
                replayed = rmp_serde::from_slice(&packed).unwrap();
            }
        }
        prop_assert_eq!(replayed, live);
    }

    #[test]
    fn the_order_of_steps_respects_every_way(plans in plans()) {
        let ways = graph::ways(&definition(&plans));
        let order = graph::order(&ways).unwrap();
        let place = |step: &String| order.iter().position(|it| it == step).unwrap();
        for (to, ways) in &ways {
            for way in ways {
                prop_assert!(place(&way.from) < place(to));
            }
        }
    }

    #[test]
    fn facts_in_any_order_never_break_a_progress(plans in plans(), order in prop::collection::vec(0_usize..100, 1..40), drawn in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let compiled = compile(definition(&plans), Bounds::default()).unwrap();
        let (_, facts) = run(&plans, &compiled, &order);
        let mut progress = Progress::new("flow-1");
        for index in drawn {
            progress.apply(&facts[index.index(facts.len())]);
            progress.phase();
        }
    }
}

#[test]
fn ten_thousand_elements_are_the_most_and_are_done() {
    let call = Call { effect: "e".into(), with: BTreeMap::from([("x".into(), Argument::Cel("item".into()))]) };
    let kind = Kind::Each { list: "input".into(), call, parallel: 64, failures: Failures::Stop };
    let steps = BTreeMap::from([("l".into(), Step::of(kind))]);
    let definition = Definition { result: Some("size(results.l)".into()), ..Definition::of("f", steps) };
    let compiled = compile(definition, Bounds::default()).unwrap();
    let input = Input { input: (0..10_000).collect(), ..Input::default() };
    let mut progress = Progress::new("flow-1");
    let mut open = vec![Event::Start];
    while let Some(event) = open.pop() {
        for fact in decide(&compiled, &progress, &input, event, Time(0)).unwrap() {
            progress.apply(&fact);
            if let Fact::StepStarted { step, item, .. } = fact {
                open.push(Event::Done { spot: Spot::of(step, item), result: json!(item) });
            }
        }
    }
    assert_eq!(progress.end, Some(End::Done { result: json!(10_000) }));
}

/// The stored form of each fact, and of what holds a definition. These files are never changed, only added to.
#[test]
fn stored_facts_keep_their_form() {
    let step = || "a".to_owned();
    let reason = || "no answer".to_owned();
    let facts = [
        ("step_skipped", Fact::StepSkipped { step: step(), why: Skip::NotReached }),
        ("step_skipped_condition", Fact::StepSkipped { step: step(), why: Skip::Condition }),
        (
            "step_started",
            Fact::StepStarted {
                step: step(),
                item: Some(2),
                attempt: 1,
                key: "flow/1/a/2/do".into(),
                effect: "notify".into(),
                input: json!({ "text": "x" }),
                undo: false,
                until: None,
                callback: None,
            },
        ),
        ("step_done", Fact::StepDone { step: step(), item: None, result: json!({ "id": 1 }) }),
        ("step_failed_retry", failed(AfterFailure::RetryAt(Time(7)))),
        ("step_failed_pause", failed(AfterFailure::Pause)),
        ("step_failed_collect", failed(AfterFailure::Collect)),
        ("step_failed_fail", failed(AfterFailure::Fail)),
        ("branch_taken", Fact::BranchTaken { step: step(), taken: true }),
        ("each_started", Fact::EachStarted { step: step(), items: vec![json!(1), json!("b")] }),
        ("each_done", Fact::EachDone { step: step() }),
        ("suspended", Fact::Suspended { step: step(), signal: "approve".into(), until: Some(Time(9)), assignee: None }),
        (
            "resumed",
            Fact::Resumed { step: step(), signal: "approve".into(), payload: json!({}), by: Some("token:1".into()) },
        ),
        ("timed_out", Fact::TimedOut { step: step() }),
        ("retried", Fact::Retried { step: step(), by: None }),
        ("flow_done", Fact::FlowDone { result: json!(null) }),
        ("flow_failed", Fact::FlowFailed { step: Some(step()), reason: reason() }),
        ("flow_cancelled", Fact::FlowCancelled { by: None, reason: reason() }),
    ];
    for (name, fact) in facts {
        let golden = golden(&format!("flow_{name}.json"), &serde_json::to_value(&fact).unwrap());
        assert_eq!(serde_json::from_value::<Fact>(golden).unwrap(), fact);
    }
}

#[test]
fn a_stored_definition_keeps_its_form_and_its_hash() {
    let definition = whole_definition();
    let golden = golden("flow_definition.json", &serde_json::to_value(&definition).unwrap());
    assert_eq!(serde_json::from_value::<Definition>(golden).unwrap(), definition);
    assert_eq!(definition.hash().to_string(), "1c7f1f0d876232a96cb3de833fbada329ae74bcf2446dfba510d6ec180b0bbec");
}

fn failed(next: AfterFailure) -> Fact {
    Fact::StepFailed { step: "a".into(), item: None, attempt: 3, reason: "no answer".into(), next, refused: false }
}

/// One of everything.
fn whole_definition() -> Definition {
    let with = BTreeMap::from([
        ("text".to_owned(), Argument::Cel("item".into())),
        ("n".to_owned(), Argument::Value(json!(1.5))),
        ("deep".to_owned(), Argument::Table(BTreeMap::from([("l".into(), Argument::List(vec![]))]))),
    ]);
    let call = Call { effect: "notify".into(), with };
    let step = Step::of;
    let steps = [
        ("branch", step(Kind::Branch { on: "object.x".into(), then: vec!["each".into()], otherwise: vec![] })),
        (
            "each",
            Step {
                retry: Some(Retry::default()),
                condition: Some("true".into()),
                ..step(Kind::Each {
                    list: "object.l".into(),
                    call: call.clone(),
                    parallel: 4,
                    failures: Failures::Collect,
                })
            },
        ),
        ("effect", Step { after: vec!["each".into()], ..step(Kind::Effect(call)) }),
        (
            "suspend",
            step(Kind::Suspend {
                signal: "approve".into(),
                timeout: Some(1_000),
                otherwise: Otherwise::Steps(vec!["effect".into()]),
                shape: Some(BTreeMap::new()),
                assignee: None,
                notify: None,
            }),
        ),
        (
            "waits",
            step(Kind::Suspend {
                signal: "go".into(),
                timeout: None,
                otherwise: Otherwise::Fail,
                shape: None,
                assignee: None,
                notify: None,
            }),
        ),
    ];
    let steps = steps.into_iter().map(|(name, step)| (name.to_owned(), step)).collect();
    Definition { result: Some("1".into()), expose: true, ..Definition::of("whole", steps) }
}

/// The golden file's JSON. One that is not there yet is written, and fails the test once.
#[track_caller]
fn golden(file: &str, now: &Value) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let Ok(stored) = std::fs::read_to_string(&path) else {
        std::fs::write(&path, format!("{now:#}\n")).unwrap();
        panic!("{} was not there: it has been written, look at it and commit it", path.display());
    };
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(&stored, now, "{file}");
    stored
}
