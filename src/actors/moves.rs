//! One turn of a flow instance in the making: the facts that follow, and what each asks of timers, streams and peers.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::entity::{Decision, Turn};
use super::errands::{Errand, Recipient};
use super::flow::{Command, Event, Flow, Listed, Origin, Place, Rejection, Standing, Start, list_row};
use super::log::Letter;
use super::outbox::{self, Outbox};
use super::stream::{self, Stream};
use crate::clock::{Time, ulid};
use crate::domains::activity::{Reference, Verb};
use crate::domains::draft::Draft;
use crate::domains::effects::Plan;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::definition::DefinitionHash;
use crate::domains::flow::fact::{AfterFailure, Fact};
use crate::domains::flow::progress::{End, Phase, Progress};
use crate::domains::flow::step::{self, Cure};
use crate::domains::flow::turn::{self, PlannedCall};
use crate::domains::identity::Iri;

/// One turn of an instance in the making: the facts so far, and what follows from each.
pub(super) struct Moves<'a> {
    turn: &'a Turn<'a>,
    start: Start,
    /// When it began, if before this turn.
    began: Option<Time>,
    compiled: Arc<Compiled>,
    progress: Progress,
    /// Phase and signals waited for before this turn.
    before: Option<(Phase, Vec<String>)>,
    decision: Decision<Flow>,
}

impl<'a> Moves<'a> {
    pub(super) fn of(
        turn: &'a Turn<'a>,
        start: Start,
        progress: Progress,
        began: Option<Time>,
    ) -> Result<Self, Rejection> {
        let compiled = turn.world.catalog.definition(&DefinitionHash(start.definition.clone()));
        let compiled = compiled.ok_or_else(|| Rejection::NoDefinition(start.definition.clone()))?;
        let before = began.map(|_| (progress.phase(), waits_for(&progress)));
        Ok(Self { turn, start, began, compiled, progress, before, decision: Decision::default() })
    }

    pub(super) fn decide(mut self, event: step::Event, begins: bool) -> Result<Decision<Flow>, Rejection> {
        if begins {
            let start = Box::new(self.start.clone());
            self.record(Event::Started { id: self.turn.me.key.to_string(), start, at: self.turn.now });
        }
        let (world, now) = (self.turn.world, self.turn.now);
        let mut happening = VecDeque::from([event]);
        while let Some(event) = happening.pop_front() {
            let taken = turn::turn(&self.compiled, &world.effects, &self.progress, &self.start.input, event, now)?;
            for fact in taken.facts {
                self.progress.apply(&fact);
                self.set_timers(&fact);
                self.record(Event::Happened { fact, at: now });
            }
            for call in taken.calls {
                happening.extend(self.set_out(call));
            }
        }
        Ok(self.list().answer())
    }

    fn record(&mut self, event: Event) {
        self.change(|decision| decision.event(event));
    }

    fn change(&mut self, change: impl FnOnce(Decision<Flow>) -> Decision<Flow>) {
        self.decision = change(std::mem::take(&mut self.decision));
    }

    fn set_timers(&mut self, fact: &Fact) {
        match fact {
            Fact::StepFailed { step, item, attempt, next: AfterFailure::RetryAt(due), .. } => {
                let command = Command::RetryDue { step: step.clone(), item: *item, attempt: *attempt };
                let name = retry_timer(step, *item);
                self.change(|decision| decision.timer(&name, *due, &command));
            }
            Fact::Suspended { step, until: Some(until), .. } => {
                let command = Command::TimedOut { step: step.clone() };
                self.change(|decision| decision.timer(&timeout_timer(step), *until, &command));
            }
            Fact::Resumed { step, .. } => self.change(|decision| decision.cancel(&timeout_timer(step))),
            _ => {}
        }
    }

    /// Sets an effect going; one that needs nobody else is done at once, and gives what came of it.
    fn set_out(&mut self, call: PlannedCall) -> Option<step::Event> {
        let PlannedCall { step, item, attempt, key, plan } = call;
        let place = Place { step, item, attempt, key };
        match plan {
            Plan::Stream { stream, op } => {
                let to = self.turn.world.stream(&stream, &op, self.fresh(&place.key));
                let command = stream::Command::Effect { flow: self.turn.me.key.to_string(), place, op, tries: 0 };
                self.change(|decision| decision.tell::<Stream>(to, &command));
                None
            }
            Plan::Webhook { url, body } => {
                self.change(|decision| decision.errand(Errand::Webhook { url, body, place }));
                None
            }
            Plan::Validate { object_type, object } => Some(validated(self.turn, place, &object_type, &object)),
        }
    }

    /// A name for what has none, the same for every try of an effect.
    fn fresh(&self, key: &str) -> String {
        let digest = Sha256::digest(key.as_bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&digest[..16]);
        ulid(self.began.unwrap_or(self.turn.now), random)
    }

    /// Moves the instance in the lists when its phase changed, or what it waits for.
    fn list(mut self) -> Self {
        let now = (self.progress.phase(), waits_for(&self.progress));
        if self.before.as_ref() == Some(&now) {
            return self;
        }
        let (phase, waits_for) = now;
        let started = self.began.unwrap_or(self.turn.now);
        let object = self.start.input.object.get("id").and_then(Value::as_str).map(str::to_owned);
        let name = self.start.name.clone();
        let listed = Listed { name, phase, started, updated: self.turn.now, waits_for, object };
        if let Some((before, _)) = self.before.clone().filter(|(before, _)| *before != phase) {
            self.change(|decision| decision.delete(list_row(Some(before), started)));
        }
        self.change(|decision| {
            decision.put(list_row(None, started), &listed).put(list_row(Some(phase), started), &listed)
        });
        self
    }

    /// Sends the one answer that an Allocate gets, when the instance ends in this turn.
    fn answer(self) -> Decision<Flow> {
        let phase = self.progress.phase();
        let ended = self.progress.end.is_some() && !self.before.as_ref().is_some_and(|(before, _)| before.is_end());
        let mut decision = self.decision;
        decision.reply = Standing { phase: Some(phase), existed: false };
        let Origin::Remote { activity, actor, inbox, answer: true } = &self.start.origin else { return decision };
        if !ended {
            return decision;
        }
        let verb = if phase == Phase::Done { Verb::Accept } else { Verb::Reject };
        let result = match &self.progress.end {
            Some(End::Done { result }) => result_of(self.turn, result),
            _ => None,
        };
        let about = Reference::Id(activity.clone());
        let draft = |draft: Draft| match result {
            Some(result) => draft.result(result),
            None => draft,
        };
        let letter = Letter::to(self.turn, 0, actor, draft, verb, about);
        send(letter.log(decision), actor, inbox.as_ref(), &letter, activity)
    }
}

fn validated(turn: &Turn<'_>, place: Place, object_type: &str, object: &Value) -> step::Event {
    let Place { step, item, attempt, .. } = place;
    let checked = match turn.world.catalog.object_type(object_type) {
        Some(declared) => {
            declared.validate(object).map_err(|mistakes| stream::Rejection::Invalid(mistakes).to_string())
        }
        None => Err(stream::Rejection::UnknownType(object_type.to_owned()).to_string()),
    };
    match checked {
        Ok(object) => step::Event::Done { step, item, result: Value::Object(object) },
        Err(reason) => step::Event::Failed { step, item, attempt, reason, cure: Cure::Nothing },
    }
}

/// What goes into `result` of an Accept: the id of something of ours.
fn result_of(turn: &Turn<'_>, result: &Value) -> Option<Reference> {
    let id = result.as_str().or_else(|| result.get("id")?.as_str())?;
    let id = Iri::parse(id).ok()?;
    turn.world.local(&id).is_some().then_some(Reference::Id(id))
}

fn send(decision: Decision<Flow>, actor: &Iri, inbox: Option<&Iri>, letter: &Letter, about: &Iri) -> Decision<Flow> {
    let to = match inbox {
        Some(inbox) => Recipient::Inbox(inbox.as_str().to_owned()),
        None => Recipient::Actor(actor.as_str().to_owned()),
    };
    decision.tell::<Outbox>(
        inbox.unwrap_or(actor).authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to,
            object: about.as_str().to_owned(),
            first: false,
            tell: false,
        },
    )
}

/// The signals waited for, each once.
fn waits_for(progress: &Progress) -> Vec<String> {
    let mut signals: Vec<String> = progress.waiting().map(|(_, signal, _)| signal.to_owned()).collect();
    signals.sort();
    signals.dedup();
    signals
}

fn retry_timer(step: &str, item: Option<u32>) -> String {
    match item {
        Some(item) => format!("retry/{step}/{item}"),
        None => format!("retry/{step}"),
    }
}

fn timeout_timer(step: &str) -> String {
    format!("timeout/{step}")
}
