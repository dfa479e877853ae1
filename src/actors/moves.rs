//! One turn of a flow instance in the making: the facts that follow, and what each asks of timers, streams and peers.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::entity::{Decision, Turn};
use super::family;
use super::finding::Traits;
use super::flow::{Brief, Event, Flow, HASH_SHOWN, Listed, Rejection, Standing, Start, UndoFor, list_row};
use super::gate;
use super::noting::tried;
use super::petition::{self, Petition};
use crate::clock::Time;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::progress::{End, Phase, Progress};
use crate::domains::flow::step;
use crate::domains::flow::turn;
use crate::domains::trace::Context;

/// One turn of an instance in the making: the facts so far, and what follows from each.
pub(super) struct Moves<'a> {
    pub(super) turn: &'a Turn<'a>,
    pub(super) start: Arc<Start>,
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
    /// The Undo of the peer that set it off, and waits for its answer.
    petition: Option<Box<Petition>>,
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
        start: Arc<Start>,
        progress: Progress,
        began: Option<Time>,
        trace: Option<&Context>,
    ) -> Result<Self, Rejection> {
        let compiled = turn.world.catalog.definition(&start.definition);
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
            petition: None,
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

    /// The same for the peer that set it off. Only what ends later is kept; an instance that is over answers at once.
    pub(super) fn petitioned(mut self, before: Option<Box<Petition>>, new: Option<Box<Petition>>) -> Self {
        let undoes = matches!(self.progress.end, None | Some(End::Done { .. }));
        if let Some(petition) = new.clone().filter(|_| undoes) {
            self.record(Event::Petitioned { petition });
        }
        self.petition = new.or(before);
        self
    }

    pub(super) fn decide(mut self, event: step::Event) -> Result<Decision<Flow>, Rejection> {
        let new = self.begin();
        let changed = self.run(event)?;
        Ok(self.close(new || changed))
    }

    /// Notes that it began, if this is its first turn.
    pub(super) fn begin(&mut self) -> bool {
        let new = self.began.is_none();
        if new {
            let start = self.start.clone();
            let (id, at, keyed) = (self.turn.me.key.to_string(), self.turn.now, self.progress.born.is_some());
            let trace = self.began_in.clone();
            self.record(Event::Started { id, start, at, keyed, trace });
        }
        new
    }

    /// Everything that follows from an event; true when what it is found by may be something else now.
    pub(super) fn run(&mut self, event: step::Event) -> Result<bool, Rejection> {
        let (world, now, moment) = (self.turn.world, self.turn.now, self.moment());
        let compiled = self.compiled.clone();
        let start = self.start.clone();
        let mut changed = false;
        let mut happening = VecDeque::from([event]);
        while let Some(event) = happening.pop_front() {
            let progress = std::mem::replace(&mut self.progress, Progress::new(""));
            let tried = self.turn.noted.then(|| tried(&progress, &event)).flatten();
            let (taken, progress) = turn::advance(&compiled, &world.effects, progress, &start.input, event, moment)?;
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
        Ok(changed)
    }

    /// The decision with everything that follows from how it stands now.
    pub(super) fn close(mut self, changed: bool) -> Decision<Flow> {
        let found = changed && self.find();
        self.list(found).answer()
    }

    pub(super) fn moment(&self) -> step::Moment<'a> {
        step::Moment { now: self.turn.now, random: self.turn.random, base: self.turn.world.base.as_str() }
    }

    /// Whether the event can be now.
    pub(super) fn would(&self, event: &step::Event) -> bool {
        step::decide(&self.compiled, &self.progress, &self.start.input, event.clone(), self.moment()).is_ok()
    }

    /// Takes in a fact that was decided elsewhere. Its timers are those of whoever steps.
    pub(super) fn happened(&mut self, fact: Fact) {
        self.progress.apply(&fact);
        self.pass_gates(&fact);
        self.record(Event::Happened { fact, at: self.turn.now });
    }

    pub(super) fn is_killed(&self) -> bool {
        matches!(self.progress.end, Some(End::Killed { .. }))
    }

    pub(super) fn record(&mut self, event: Event) {
        self.decision.events.push(event);
    }

    pub(super) fn has_set_timers(&self) -> bool {
        !self.decision.timers.is_empty()
    }

    /// What is told and sent from here on belongs to this span.
    pub(super) fn go_within(&mut self, span: Context) {
        self.decision.within = Some(span);
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
        let brief = Brief { name: listed.name.clone(), definition: listed.definition.clone() };
        if let Some((before, _)) = self.before.clone().filter(|(before, _)| *before != phase) {
            self.change(|decision| decision.delete(list_row(Some(before), started)));
        }
        self.change(|decision| {
            decision.put(list_row(None, started), &listed).put(list_row(Some(phase), started), &brief)
        });
        self
    }

    /// Tells those who wait for its end, when it ends in this turn, and those who ask again once it has ended.
    fn answer(self) -> Decision<Flow> {
        let phase = self.progress.phase();
        let over = self.progress.end.is_some();
        let ended = over && self.progress.ends > self.ends;
        let (turn, origin, progress) = (self.turn, &self.start.origin, &self.progress);
        let mut decision = self.decision;
        decision.reply = Standing { phase: Some(phase), existed: false };
        if let (Some(undo), true) = (&self.undo, ended || (self.asked_again && over)) {
            return family::tell_undone(decision, undo, progress);
        }
        if ended {
            decision = family::tell_parent(decision, turn, origin, progress);
        }
        // One answer: what ends again after a restart was answered before.
        if ended && self.ends == 0 {
            decision = petition::answer(decision, turn, origin, Some(progress));
        }
        match &self.petition {
            Some(asked) if over => petition::undone(decision, turn, asked, progress),
            _ => decision,
        }
    }
}

/// The signals waited for, each once.
fn waits_for(progress: &Progress) -> Vec<String> {
    let mut signals: Vec<String> = progress.waiting().map(|(_, signal, _)| signal.to_owned()).collect();
    signals.sort();
    signals.dedup();
    signals
}
