//! Sagas against a slow and obvious world of receivers: whatever is lost, done twice, crashed or refused, each effect
//! takes place once at its receiver, what has to be is taken back in reverse order, and the end is the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quickbeam::clock::Time;
use quickbeam::domains::flow::Input;
use quickbeam::domains::flow::check::{Bounds, Compiled, compile};
use quickbeam::domains::flow::definition::{Call, Definition, Kind, Retry, Undo};
use quickbeam::domains::flow::fact::{AfterFailure, Fact};
use quickbeam::domains::flow::progress::{Phase, Progress};
use quickbeam::domains::flow::spot::{Role, Spot, done_of};
use quickbeam::domains::flow::step::{Cure, Event, decide};
use serde_json::{Value, json};

use super::flow::{Plan, Planned, definition, name, plans, reference};

/// What comes of one try at its receiver.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    /// The answer comes twice.
    Twice,
    /// Nothing reached the receiver.
    Lost,
    /// It was done, and the answer was lost.
    Unheard,
}

/// How the instance is made to end.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Well,
    /// The receiver refuses this step.
    Refused(usize),
    /// Somebody cancels it after so many events.
    Cancelled(usize),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => Just(Fate::Done), 1 => Just(Fate::Twice), 1 => Just(Fate::Lost), 1 => Just(Fate::Unheard)]
}

fn endings() -> impl Strategy<Value = Ends> {
    prop_oneof![Just(Ends::Well), (0_usize..9).prop_map(Ends::Refused), (1_usize..30).prop_map(Ends::Cancelled),]
}

fn with_undos(plans: &[Planned]) -> Definition {
    let mut definition = definition(plans);
    for step in definition.steps.values_mut() {
        if matches!(step.kind, Kind::Effect(_) | Kind::Each { .. }) {
            step.undo = Some(Undo::Effect(Call { effect: "un".into(), with: BTreeMap::new() }));
            step.retry = Some(Retry { attempts: 1_000, delay: 1, ..Retry::default() });
        }
    }
    definition
}

/// The receivers: each thing is done once for its key, and not at all once it has been taken back.
#[derive(Debug, Default)]
struct World {
    done: Vec<String>,
    undone: Vec<String>,
    /// The order in which things were first asked for.
    asked: Vec<String>,
}

impl World {
    fn perform(&mut self, key: &str) {
        if key.ends_with("/undo") {
            let of = done_of(key);
            if !self.undone.contains(&of) {
                self.undone.push(of);
            }
        } else if !self.done.iter().any(|done| done == key) && !self.undone.iter().any(|undone| undone == key) {
            self.done.push(key.to_owned());
        }
    }

    /// What is there in the end.
    fn standing(&self) -> BTreeSet<&str> {
        self.done.iter().filter(|key| !self.undone.contains(key)).map(String::as_str).collect()
    }
}

struct Story<'a> {
    plans: &'a [Planned],
    compiled: Compiled,
    progress: Progress,
    world: World,
    open: Vec<Event>,
    ends: Ends,
}

impl Story<'_> {
    fn take(&mut self, event: Event, fates: &mut dyn FnMut() -> Fate) {
        let input = Input { object: json!(1), ..Input::default() };
        let facts = decide(&self.compiled, &self.progress, &input, event, Time(0)).unwrap_or_default();
        for fact in facts {
            self.progress.apply(&fact);
            self.follow(&fact, fates);
        }
        // A crash after each commit: what goes on is what was stored.
        let stored = rmp_serde::to_vec_named(&self.progress).unwrap();
        let again: Progress = rmp_serde::from_slice(&stored).unwrap();
        assert_eq!(again, self.progress);
        self.progress = again;
    }

    fn follow(&mut self, fact: &Fact, fates: &mut dyn FnMut() -> Fate) {
        match fact {
            Fact::StepStarted { step, item, attempt, key, .. } => {
                if *attempt == 1 {
                    self.world.asked.push(key.clone());
                }
                let refused = matches!(self.ends, Ends::Refused(at) if name(at) == *step);
                let spot = Spot::new(step, *item, 1, Role::Do);
                self.tried(spot, *attempt, key, refused, fates());
            }
            Fact::UndoStarted { step, item, run, attempt, key, .. } => {
                self.tried(Spot::new(step, *item, *run, Role::Undo), *attempt, key, false, fates());
            }
            Fact::StepFailed { step, item, attempt, next: AfterFailure::RetryAt(_), .. } => {
                self.open.push(Event::RetryDue { spot: Spot::new(step, *item, 1, Role::Do), attempt: *attempt });
            }
            Fact::UndoFailed { step, item, run, attempt, next: AfterFailure::RetryAt(_), .. } => {
                self.open.push(Event::RetryDue { spot: Spot::new(step, *item, *run, Role::Undo), attempt: *attempt });
            }
            Fact::Suspended { step, signal, .. } => {
                let at: usize = step[1..].parse().unwrap();
                let resumed = matches!(self.plans[at].plan, Plan::Suspend { resumed: true, .. });
                self.open.push(match resumed {
                    true => Event::Resume { signal: signal.clone(), payload: Value::Null, by: None },
                    false => Event::TimedOut { step: step.clone() },
                });
            }
            _ => {}
        }
    }

    fn tried(&mut self, spot: Spot, attempt: u32, key: &str, refused: bool, fate: Fate) {
        let failed = |cure| Event::Failed { spot: spot.clone(), attempt, reason: "no".into(), cure, trouble: None };
        if refused {
            return self.open.push(failed(Cure::Nothing));
        }
        let done = || Event::Done { spot: spot.clone(), result: json!(key) };
        match fate {
            Fate::Lost => return self.open.push(failed(Cure::Time)),
            Fate::Unheard => self.open.push(failed(Cure::Time)),
            Fate::Twice => self.open.extend([done(), done()]),
            Fate::Done => self.open.push(done()),
        }
        self.world.perform(key);
    }
}

fn tell<'a>(plans: &'a [Planned], ends: Ends, order: &[usize], fates: &[Fate]) -> Story<'a> {
    let compiled = compile(with_undos(plans), Bounds::default()).unwrap();
    let (progress, world, open) = (Progress::new("f"), World::default(), vec![Event::Start]);
    let mut story = Story { plans, compiled, progress, world, open, ends };
    let (mut order, mut fates) = (order.iter().cycle(), fates.iter().cycle());
    let mut events = 0;
    while !story.open.is_empty() {
        let at = order.next().unwrap() % story.open.len();
        let event = story.open.swap_remove(at);
        story.take(event, &mut || *fates.next().unwrap());
        events += 1;
        if matches!(ends, Ends::Cancelled(after) if after == events) && story.progress.end.is_none() {
            story.take(Event::Cancel { by: None, reason: "enough".into() }, &mut || *fates.next().unwrap());
        }
        assert!(events < 10_000, "it comes to an end");
    }
    story
}

proptest! {
    #[test]
    fn what_ends_badly_leaves_nothing_and_what_ends_well_leaves_each_thing_once(
        plans in plans(),
        ends in endings(),
        order in prop::collection::vec(0_usize..100, 1..40),
        fates in prop::collection::vec(fates(), 1..40),
    ) {
        // A draw of fates in which nothing is ever done would never end.
        let fates: Vec<Fate> = fates.into_iter().chain([Fate::Done]).collect();
        let story = tell(&plans, ends, &order, &fates);
        let phase = story.progress.phase();
        prop_assert!(phase.is_end(), "{phase:?}: {:?}", story.progress);
        let standing = story.world.standing();
        if phase == Phase::Done {
            prop_assert!(story.world.undone.is_empty());
            let calm = tell(&plans, Ends::Well, &[0], &[Fate::Done]);
            if !matches!(ends, Ends::Refused(_)) {
                prop_assert_eq!(standing, calm.world.standing());
                prop_assert_eq!(story.progress.steps, calm.progress.steps);
            }
        } else {
            prop_assert!(standing.is_empty(), "left: {:?}", standing);
            // In reverse of the order in which they were first asked for.
            let place = |key: &String| story.world.asked.iter().position(|asked| asked == key).unwrap();
            let places: Vec<usize> = story.world.undone.iter().map(place).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", story.world);
        }
        // What was begun is what the interpreter of the words says, or less when it ended early.
        let reached: BTreeSet<String> = reference(&plans).into_iter().map(name).collect();
        let began: BTreeSet<String> = story.world.asked.iter().filter_map(|key| key.split('/').nth(2).map(str::to_owned)).collect();
        prop_assert!(began.is_subset(&reached), "{:?} of {:?}", began, reached);
    }
}
