//! Sagas against a slow and obvious world of receivers: whatever is lost, done twice, crashed or refused, each effect
//! takes place once at its receiver, what has to be is taken back in reverse order, and the end is the same.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quickbeam::clock::Time;
use quickbeam::domains::flow::Input;
use quickbeam::domains::flow::check::{Bounds, Compiled, compile};
use quickbeam::domains::flow::definition::{Call, Definition, Kind, Otherwise, Retry, Undo};
use quickbeam::domains::flow::fact::{AfterFailure, Fact};
use quickbeam::domains::flow::progress::{Phase, Progress, StepState};
use quickbeam::domains::flow::spot::{Role, Spot, done_of};
use quickbeam::domains::flow::step::{Cure, Event, decide};
use serde_json::{Value, json};

use super::flow_random::{
    Answer, Plan, Planned, definition, limited, limits, name, place, plans, reference, request, runner,
};

/// What comes of one try on its way to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// It is done twice, and answered twice.
    Twice,
    /// Nothing reached the receiver.
    Lost,
    /// It was done, and the answer was lost.
    Unheard,
    /// It was done, and the node crashed before it knew: it is done again.
    CrashedAfter,
}

const TROUBLES: [Fate; 4] = [Fate::Twice, Fate::Lost, Fate::Unheard, Fate::CrashedAfter];

/// How the instance is made to end.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Well,
    /// The receiver refuses this step.
    Refused(usize),
    /// Nobody answers this step, and it has no other way.
    Unanswered(usize),
    /// Somebody cancels it after so many events.
    Cancelled(usize),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Done), 1 => Just(Fate::Twice), 1 => Just(Fate::Lost), 1 => Just(Fate::Unheard),
        1 => Just(Fate::CrashedAfter),
    ]
}

fn endings() -> impl Strategy<Value = Ends> {
    prop_oneof![
        2 => Just(Ends::Well),
        2 => (0_usize..10).prop_map(Ends::Refused),
        1 => (0_usize..10).prop_map(Ends::Unanswered),
        2 => (1_usize..40).prop_map(Ends::Cancelled),
    ]
}

fn with_undos(plans: &[Planned], ends: Ends) -> Definition {
    let mut definition = definition(plans);
    for (at, step) in definition.steps.values_mut().enumerate() {
        match &mut step.kind {
            Kind::Effect(_) | Kind::Each { .. } => {
                step.undo = Some(Undo::Effect(Call { effect: "un".into(), with: std::collections::BTreeMap::new() }));
            }
            Kind::Http(_) => step.undo = Some(Undo::Http(Box::new(request(None)))),
            Kind::Call { deadline, .. } | Kind::Ask { deadline, .. } => {
                if matches!(ends, Ends::Unanswered(unanswered) if unanswered == at) {
                    deadline.otherwise = Otherwise::Fail;
                }
                continue;
            }
            _ => continue,
        }
        step.retry = Some(Retry { attempts: 1_000, delay: 1, ..Retry::default() });
    }
    definition
}

/// One that fails when nobody answers has no other way.
fn without_another_way(plans: &mut [Planned], ends: Ends) {
    let Ends::Unanswered(at) = ends else { return };
    if let Some(Plan::Call { answer, otherwise } | Plan::Ask { answer, otherwise }) =
        plans.get_mut(at).map(|planned| &mut planned.plan)
    {
        *answer = Answer::Given;
        otherwise.clear();
    }
}

/// The receivers: each thing is done once for its key, and not at all once it has been taken back. Services know nothing
/// of that: what reaches one of them after its undo stays.
#[derive(Debug, Default)]
struct World {
    done: Vec<String>,
    undone: Vec<String>,
    /// The order in which things were first asked for.
    asked: Vec<String>,
    /// Taken back while the flow went on.
    early: BTreeSet<String>,
    /// Done by a service after it was taken back.
    stray: BTreeSet<String>,
}

impl World {
    /// False when it is refused, since it was taken back before.
    fn perform(&mut self, key: &str, service: bool) -> bool {
        if key.ends_with("/undo") {
            let of = done_of(key);
            if !self.undone.contains(&of) {
                self.undone.push(of);
            }
            return true;
        }
        if self.undone.iter().any(|undone| undone == key) {
            if service && !self.done.iter().any(|done| done == key) {
                self.stray.insert(key.to_owned());
            }
            return service;
        }
        if !self.done.iter().any(|done| done == key) {
            self.done.push(key.to_owned());
        }
        true
    }

    /// What is there in the end.
    fn standing(&self) -> BTreeSet<&str> {
        let kept = self.done.iter().filter(|key| !self.undone.contains(key));
        kept.chain(&self.stray).map(String::as_str).collect()
    }

    /// What the end took back, in its order.
    fn unwound(&self) -> Vec<&String> {
        self.undone.iter().filter(|key| !self.early.contains(*key)).collect()
    }
}

/// What waits to happen, in any order.
enum Open {
    Tell(Event),
    /// A try comes to its receiver, and this is heard of it.
    Arrive {
        key: String,
        answer: Option<Event>,
    },
}

struct Story<'a> {
    plans: &'a [Planned],
    compiled: Compiled,
    progress: Progress,
    world: World,
    open: Vec<Open>,
    ends: Ends,
    /// Tries that left.
    errands: usize,
}

impl Story<'_> {
    fn happen(&mut self, open: Open, fates: &mut dyn FnMut() -> Fate) {
        match open {
            Open::Tell(event) => self.take(event, fates),
            Open::Arrive { key, answer } => {
                let taken = self.arrives(&key);
                let refused = |event| match event {
                    Event::Done { spot, .. } => {
                        let (reason, cure) = ("taken back before".to_owned(), Cure::Nothing);
                        Event::Failed { spot, attempt: 1, reason, cure, trouble: None }
                    }
                    other => other,
                };
                self.open.extend(answer.map(|event| if taken { event } else { refused(event) }).map(Open::Tell));
            }
        }
    }

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

    fn arrives(&mut self, key: &str) -> bool {
        let at = place(key.split('/').nth(2).unwrap());
        let service = matches!(self.plans[at].plan, Plan::Http | Plan::Callback { .. });
        self.world.perform(key, service)
    }

    fn tell(&mut self, event: Event) {
        self.open.push(Open::Tell(event));
    }

    fn follow(&mut self, fact: &Fact, fates: &mut dyn FnMut() -> Fate) {
        match fact {
            Fact::StepStarted { step, item, attempt, key, .. } => {
                if *attempt == 1 {
                    self.world.asked.push(key.clone());
                }
                let spot = Spot::new(step, *item, 1, Role::Do);
                if matches!(self.ends, Ends::Refused(at) if name(at) == *step) {
                    return self.tell(failed(&spot, *attempt, Cure::Nothing));
                }
                match self.answer(step) {
                    Some(answer) => self.asked(&spot, key, answer, fates()),
                    None => self.tried(&spot, *attempt, key, fates()),
                }
            }
            Fact::UndoStarted { step, item, run, attempt, key, .. } => {
                if self.progress.undoing.is_none() {
                    self.world.early.insert(done_of(key));
                }
                let spot = Spot::new(step, *item, *run, Role::Undo);
                let fate = fates();
                // A message between actors waits for its receiver: it is never lost.
                let fate = if self.answer(step).is_some() && fate != Fate::Twice { Fate::Done } else { fate };
                self.tried(&spot, *attempt, key, fate);
            }
            Fact::StepFailed { step, item, attempt, next: AfterFailure::RetryAt(_), .. } => {
                self.tell(Event::RetryDue { spot: Spot::new(step, *item, 1, Role::Do), attempt: *attempt });
            }
            Fact::UndoFailed { step, item, run, attempt, next: AfterFailure::RetryAt(_), .. } => {
                self.tell(Event::RetryDue { spot: Spot::new(step, *item, *run, Role::Undo), attempt: *attempt });
            }
            Fact::Queued { limit, .. } => {
                let ticket = self.progress.ends;
                self.tell(Event::Admitted { limit: *limit, ticket: ticket + 7 });
                self.tell(Event::Admitted { limit: *limit, ticket });
                self.tell(Event::Admitted { limit: *limit, ticket });
            }
            Fact::Sleeping { step, .. } => self.tell(Event::WaitOver { step: step.clone() }),
            Fact::AwaitsCallback { step, .. } => self.calls_back(step),
            Fact::TimedOut { step } | Fact::StepFailed { step, attempt: 0, .. } => self.too_late(step),
            Fact::Suspended { step, signal, .. } => {
                let resumed = matches!(self.plans[place(step)].plan, Plan::Suspend { resumed: true, .. });
                self.tell(match resumed {
                    true => Event::Resume { signal: signal.clone(), payload: Value::Null, by: None },
                    false => Event::TimedOut { step: step.clone() },
                });
            }
            _ => {}
        }
    }

    fn answer(&self, step: &str) -> Option<Answer> {
        let answer = self.plans[place(step)].plan.answer()?;
        Some(if matches!(self.ends, Ends::Unanswered(at) if name(at) == step) { Answer::Silent } else { answer })
    }

    /// A try of what is answered at once or tried again.
    fn tried(&mut self, spot: &Spot, attempt: u32, key: &str, fate: Fate) {
        self.errands += 1;
        let done = || Some(Event::Done { spot: spot.clone(), result: json!(key) });
        let missed = || failed(spot, attempt, Cure::Time);
        let arrive = |answer| Open::Arrive { key: key.to_owned(), answer };
        match fate {
            Fate::Done => self.open.push(arrive(done())),
            Fate::Twice => self.open.extend([arrive(done()), arrive(done())]),
            Fate::Lost => self.tell(missed()),
            Fate::Unheard => self.open.push(arrive(Some(missed()))),
            Fate::CrashedAfter => {
                self.arrives(key);
                self.open.push(arrive(done()));
            }
        }
    }

    /// What is asked of somebody who may take their time, or never answer.
    fn asked(&mut self, spot: &Spot, key: &str, answer: Answer, fate: Fate) {
        self.errands += 1;
        let done = || Some(Event::Done { spot: spot.clone(), result: json!(key) });
        let arrive = |answer| Open::Arrive { key: key.to_owned(), answer };
        match (answer, fate) {
            (Answer::Given, Fate::Twice | Fate::CrashedAfter) => self.open.extend([arrive(done()), arrive(done())]),
            (Answer::Given, _) => self.open.push(arrive(done())),
            (Answer::Late | Answer::Silent, _) => {
                if fate != Fate::Lost {
                    self.open.push(arrive(None));
                }
                self.tell(Event::TimedOut { step: spot.step.clone() });
            }
        }
    }

    fn too_late(&mut self, step: &str) {
        if self.answer(step) == Some(Answer::Late) {
            let spot = Spot::new(step, None, 1, Role::Do);
            let key = spot.key("f");
            let answer = Some(Event::Done { spot, result: json!(key.clone()) });
            self.open.push(Open::Arrive { key, answer });
        }
    }

    fn calls_back(&mut self, step: &str) {
        let token = self.progress.callbacks[step].clone();
        match self.plans[place(step)].plan {
            Plan::Callback { called: true, .. } => {
                let call = || Event::Callback { token: token.clone(), payload: json!("called") };
                self.tell(call());
                self.tell(call());
            }
            _ => self.tell(Event::TimedOut { step: step.to_owned() }),
        }
    }
}

fn failed(spot: &Spot, attempt: u32, cure: Cure) -> Event {
    Event::Failed { spot: spot.clone(), attempt, reason: "no".into(), cure, trouble: None }
}

/// A flow, and how it is made to end.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    plans: &'a [Planned],
    limits: (bool, bool),
    ends: Ends,
}

fn tell<'a>(case: Case<'a>, order: &[usize], mut fates: impl FnMut() -> Fate) -> Story<'a> {
    let Case { plans, limits, ends } = case;
    let compiled = compile(limited(with_undos(plans, ends), limits), Bounds::default()).unwrap();
    let (progress, world, open) = (Progress::new("f"), World::default(), vec![Open::Tell(Event::Start)]);
    let mut story = Story { plans, compiled, progress, world, open, ends, errands: 0 };
    let mut order = order.iter().cycle();
    let mut events = 0;
    while !story.open.is_empty() {
        let at = order.next().unwrap() % story.open.len();
        let open = story.open.swap_remove(at);
        story.happen(open, &mut fates);
        events += 1;
        if matches!(ends, Ends::Cancelled(after) if after == events) && story.progress.end.is_none() {
            story.take(Event::Cancel { by: None, reason: "enough".into() }, &mut fates);
        }
        assert!(events < 10_000, "it comes to an end");
    }
    story
}

fn calm(case: Case<'_>) -> Story<'_> {
    tell(Case { ends: Ends::Well, ..case }, &[0], || Fate::Done)
}

/// What has to be true of every end.
fn ends_right(story: &Story<'_>) -> Result<(), TestCaseError> {
    let (phase, world) = (story.progress.phase(), &story.world);
    prop_assert!(phase.is_end(), "{phase:?}: {:?}", story.progress);
    let standing = world.standing();
    if phase == Phase::Done {
        prop_assert!(world.unwound().is_empty(), "{:?}", world);
        let done = |step: &StepState| matches!(step, StepState::Done { .. });
        for key in &standing {
            let step = key.split('/').nth(2).unwrap();
            let http = matches!(story.plans[place(step)].plan, Plan::Callback { .. });
            prop_assert!(http || done(&story.progress.steps[step]), "{} stands: {:?}", key, story.progress.steps[step]);
        }
    } else {
        prop_assert!(standing.is_empty(), "left: {:?}", standing);
        // In reverse of the order in which they were first asked for.
        let place = |key: &String| world.asked.iter().position(|asked| asked == key).unwrap();
        let places: Vec<usize> = world.unwound().into_iter().map(place).collect();
        prop_assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", world);
    }
    // What was begun is what the interpreter of the words says, or less when it ended early.
    let reached: BTreeSet<String> = reference(story.plans).into_iter().map(name).collect();
    let began: BTreeSet<String> =
        world.asked.iter().filter_map(|key| key.split('/').nth(2).map(str::to_owned)).collect();
    prop_assert!(began.is_subset(&reached), "{:?} of {:?}", began, reached);
    Ok(())
}

fn ends_as(story: &Story<'_>, calm: &Story<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(story.progress.phase(), calm.progress.phase());
    prop_assert_eq!(story.world.standing(), calm.world.standing());
    prop_assert_eq!(&story.progress.steps, &calm.progress.steps);
    Ok(())
}

#[test]
fn what_ends_badly_leaves_nothing_and_what_ends_well_leaves_each_thing_once() {
    let orders = prop::collection::vec(0_usize..100, 1..60);
    let fates = prop::collection::vec(fates(), 1..40);
    let all = (plans(), limits(), endings(), orders, fates);
    let told = runner("random sagas", 400, 40_000).run(&all, |(mut plans, limits, ends, order, fates)| {
        without_another_way(&mut plans, ends);
        let case = Case { plans: &plans, limits, ends };
        // A draw of fates in which nothing is ever done would never end.
        let fates: Vec<Fate> = fates.into_iter().chain([Fate::Done]).collect();
        let mut drawn = fates.iter().cycle();
        let story = tell(case, &order, || *drawn.next().unwrap());
        ends_right(&story)?;
        let changed = matches!(ends, Ends::Refused(_) | Ends::Unanswered(_));
        if story.progress.phase() == Phase::Done && !changed { ends_as(&story, &calm(case)) } else { Ok(()) }
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}

/// One errand after the other has one trouble after the other, and nothing else has any.
#[test]
fn whatever_one_errand_meets_the_end_is_the_same() {
    let all = (plans(), limits(), prop::collection::vec(0_usize..100, 1..60));
    let told = runner("one errand of a saga", 60, 4_000).run(&all, |(plans, limits, order)| {
        let case = Case { plans: &plans, limits, ends: Ends::Well };
        let calm = calm(case);
        ends_right(&calm)?;
        for (nth, trouble) in (0..calm.errands).flat_map(|nth| TROUBLES.map(|trouble| (nth, trouble))) {
            let mut count = 0;
            let story = tell(case, &order, || {
                count += 1;
                if count == nth + 1 { trouble } else { Fate::Done }
            });
            ends_right(&story)?;
            ends_as(&story, &calm)?;
        }
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}
