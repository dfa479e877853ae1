//! One turn of a flow instance in the making: the facts that follow, and what each asks of timers, streams and peers.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::entity::{Decision, Turn};
use super::errands::Recipient;
use super::family;
use super::finding::Traits;
use super::flow::{Event, Flow, HASH_SHOWN, Listed, Origin, Rejection, Standing, Start, UndoFor, list_row};
use super::gate;
use super::log::Letter;
use super::noting::tried;
use super::outbox::{self, Outbox};
use crate::clock::Time;
use crate::domains::activity::{Reference, Verb};
use crate::domains::draft::Draft;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::definition::DefinitionHash;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::progress::{End, Phase, Progress};
use crate::domains::flow::step;
use crate::domains::flow::turn;
use crate::domains::identity::Iri;
use crate::domains::trace::Context;

/// One turn of an instance in the making: the facts so far, and what follows from each.
pub(super) struct Moves<'a> {
    pub(super) turn: &'a Turn<'a>,
    pub(super) start: Start,
    /// When it began, if before this turn.
    pub(super) began: Option<Time>,
    pub(super) compiled: Arc<Compiled>,
    pub(super) progress: Progress,
    /// Phase and signals waited for before this turn.
    before: Option<(Phase, Vec<String>)>,
    /// How often it had ended before this turn: the ticket that its life has at gates.
    pub(super) ends: u32,
    /// The gates that it asked, and has not left.
    pub(super) gates: Vec<String>,
    /// Who hears when it has been taken back.
    undo: Option<Box<UndoFor>>,
    /// What it was found by before this turn.
    traits: Traits,
    /// What it began as a part of, and its own span of that.
    began_in: Option<Context>,
    pub(super) span: Context,
    /// They ask in this very turn.
    asked_again: bool,
    decision: Decision<Flow>,
}

impl<'a> Moves<'a> {
    pub(super) fn of(
        turn: &'a Turn<'a>,
        start: Start,
        progress: Progress,
        began: Option<Time>,
        trace: Option<&Context>,
    ) -> Result<Self, Rejection> {
        let compiled = turn.world.catalog.definition(&DefinitionHash(start.definition.clone()));
        let compiled = compiled.ok_or_else(|| Rejection::NoDefinition(start.definition.clone()))?;
        let before = began.map(|_| (progress.phase(), waits_for(&progress)));
        let ends = progress.ends.max(u32::from(progress.end.is_some()));
        let gates = progress.gates.iter().map(|(limit, gated)| gate::id(&start.name, *limit, &gated.key)).collect();
        let (began_in, span) = (trace.cloned(), Context::of_flow(trace, &turn.me.key));
        Ok(Self {
            turn,
            start,
            began,
            compiled,
            progress,
            before,
            ends,
            gates,
            undo: None,
            traits: Traits::default(),
            decision: Decision::default().within(Some(span.clone())),
            began_in,
            span,
            asked_again: false,
        })
    }

    pub(super) fn found_by(mut self, traits: &Traits) -> Self {
        self.traits = traits.clone();
        self
    }

    /// Whoever wants it taken back hears when it is: the one before, or a new one.
    pub(super) fn taken_back_for(mut self, before: Option<Box<UndoFor>>, new: Option<Box<UndoFor>>) -> Self {
        if let Some(undo) = new.clone().filter(|new| before.as_ref() != Some(new)) {
            self.record(Event::UndoAsked { undo });
        }
        self.asked_again = new.is_some();
        self.undo = new.or(before);
        self
    }

    pub(super) fn decide(mut self, event: step::Event) -> Result<Decision<Flow>, Rejection> {
        if self.began.is_none() {
            let start = Box::new(self.start.clone());
            let (id, trace) = (self.turn.me.key.to_string(), self.began_in.clone());
            self.record(Event::Started { id, start, at: self.turn.now, trace });
        }
        let (world, now) = (self.turn.world, self.turn.now);
        let moment = step::Moment { now, random: self.turn.random, base: world.base.as_str() };
        let compiled = self.compiled.clone();
        let input = std::mem::take(&mut self.start.input);
        let mut changed = self.began.is_none();
        let mut happening = VecDeque::from([event]);
        while let Some(event) = happening.pop_front() {
            let progress = std::mem::replace(&mut self.progress, Progress::new(""));
            let tried = self.turn.noted.then(|| tried(&progress, &event)).flatten();
            let (taken, progress) = turn::advance(&compiled, &world.effects, progress, &input, event, moment)?;
            self.progress = progress;
            for fact in taken.facts {
                changed |= matches!(fact, Fact::Restarted { input: Some(_), .. });
                self.note(&fact, tried);
                self.set_timers(&fact);
                self.pass_gates(&fact);
                self.record(Event::Happened { fact, at: now });
            }
            for call in taken.calls {
                happening.extend(self.set_out(call));
            }
        }
        self.start.input = input;
        let found = changed && self.find();
        Ok(self.list(found).answer())
    }

    pub(super) fn record(&mut self, event: Event) {
        self.change(|decision| decision.event(event));
    }

    pub(super) fn change(&mut self, change: impl FnOnce(Decision<Flow>) -> Decision<Flow>) {
        self.decision = change(std::mem::take(&mut self.decision));
    }

    /// Writes what it is found by, if that is something else than before.
    fn find(&mut self) -> bool {
        let traits = Traits::of(&self.compiled, &self.start.input, &self.progress);
        let (name, new) = (self.start.name.clone(), self.began.is_none());
        if !new && traits == self.traits {
            return false;
        }
        let started = self.began.unwrap_or(self.turn.now);
        let old = if new { Vec::new() } else { self.traits.rows(&name, started) };
        // Of several writes to one row the last counts.
        self.change(|decision| old.into_iter().fold(decision, Decision::delete));
        self.change(|decision| traits.rows(&name, started).into_iter().fold(decision, |it, row| it.put(row, &())));
        if traits != self.traits {
            self.record(Event::Found { traits: Box::new(traits.clone()) });
        }
        self.traits = traits;
        true
    }

    /// Moves the instance in the lists when its phase changed, what it waits for, or what it is found by.
    fn list(mut self, found: bool) -> Self {
        let now = (self.progress.phase(), waits_for(&self.progress));
        if !found && self.before.as_ref() == Some(&now) {
            return self;
        }
        let (phase, waits_for) = now;
        let started = self.began.unwrap_or(self.turn.now);
        let object = self.start.input.object.get("id").and_then(Value::as_str).map(str::to_owned);
        let name = self.start.name.clone();
        let (definition, traits) = (self.start.definition.chars().take(HASH_SHOWN).collect(), self.traits.clone());
        let updated = self.turn.now;
        let listed = Listed { name, phase, started, updated, waits_for, object, definition, traits };
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
        let ended = self.progress.end.is_some() && self.progress.ends > self.ends;
        let mut decision = self.decision;
        decision.reply = Standing { phase: Some(phase), existed: false };
        if let (Some(undo), true) = (&self.undo, ended || (self.asked_again && self.progress.end.is_some())) {
            return family::tell_undone(decision, undo, &self.progress);
        }
        if ended {
            decision = family::tell_parent(decision, self.turn, &self.start.origin, &self.progress);
        }
        let Origin::Remote { activity, actor, inbox, answer: true } = &self.start.origin else { return decision };
        // One answer: what ends again after a restart was answered before.
        if !ended || self.ends > 0 {
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
