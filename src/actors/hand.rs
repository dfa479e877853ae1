//! One turn of an instance that another node runs, at its home: what it is told goes there, what it did comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::away::{self, Away, Stage};
use super::entity::{Decision, Turn};
use super::flow::{Command, Event, Flow, Rejection, Start, UndoFor};
use super::lent::Lasted;
use super::line::{self, Said};
use super::moves::Moves;
use super::orders::event_of;
use super::rows::Rows;
use super::words::{LOOK, WORDS};
use crate::domains::flow::check::Compiled;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::progress::Progress;
use crate::domains::flow::step;
use crate::domains::identity::Iri;

/// The timer of everything that is tried again.
pub(super) const TIMER: &str = "runner";

/// What an instance does by itself about whoever runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Asks whoever may run it.
    Offer,
    /// Says what waits behind this row.
    Speak { after: u64 },
    /// Looks after a runner that says nothing.
    Look,
    /// Reads what it was told, to go on here.
    ComeHome,
    /// Tells a runner that it is not wanted there any more.
    Release { at: String, instance: String, hold: u32, tries: u32 },
}

/// What a runner says that an instance did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub by: Iri,
    /// Its own name for the instance.
    pub instance: String,
    pub hold: u32,
    /// The number of the first turn.
    pub from: u64,
    pub turns: Vec<Lasted>,
}

/// A turn in the making.
pub(super) struct Hand<'a> {
    pub(super) moves: Moves<'a>,
    pub(super) away: Away,
    /// It was away before this turn, or begins to be.
    pub(super) is_away: bool,
    changed: bool,
    /// Words of this turn, with their numbers.
    pub(super) words: Vec<(u64, Command)>,
}

impl Flow {
    /// Whether somebody else runs it, or shall: decided when it begins, and then kept to.
    pub(super) fn goes_away(&self, turn: &Turn<'_>, begins: Option<&Start>) -> bool {
        if self.away.is_some() {
            return true;
        }
        let Some(start) = self.start.as_deref().or(begins) else { return false };
        let rests = self.progress.as_ref().is_none_or(|progress| progress.end.is_some());
        let definition = turn.world.catalog.definition(&start.definition);
        rests && !self.here && definition.is_some_and(|it| !turn.world.runners.is_for_here(&it.definition))
    }

    /// A turn of an instance that is away.
    pub(super) fn decide_away(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        command: Command,
    ) -> Result<Decision<Self>, Rejection> {
        let mut hand = match &command {
            Command::Start(start) => Hand::of(self, turn, Arc::new(Start::clone(start)), None)?,
            Command::Undo(undo) => Hand::of(self, turn, self.known(turn)?, Some(undo.clone()))?,
            _ => Hand::of(self, turn, self.known(turn)?, None)?,
        };
        match command {
            Command::Runner(order) => hand.ordered(order, rows)?,
            Command::Heard { said: Said::Offer { at, hold }, report } => hand.offered(&at, hold, report),
            Command::Heard { said: Said::Words { hold, upto }, report } => hand.said(hold, upto, report, rows),
            Command::Told(told) => {
                if !hand.told(*told) {
                    return Err(Rejection::NotHeld(turn.me.key.to_string()));
                }
            }
            Command::RetryDue { .. }
            | Command::TimedOut { .. }
            | Command::TryTimedOut { .. }
            | Command::WaitOver { .. }
            | Command::Heard { .. } => {}
            Command::Start(_) => {
                hand.moves.begin();
                hand.changed = true;
                hand.at_gates(step::Event::Start)?;
            }
            other => hand.tell(other)?,
        }
        Ok(hand.close())
    }

    fn known(&self, turn: &Turn<'_>) -> Result<Arc<Start>, Rejection> {
        self.start.clone().ok_or_else(|| Rejection::Unknown(turn.me.key.to_string()))
    }
}

impl<'a> Hand<'a> {
    fn of(flow: &Flow, turn: &'a Turn<'a>, start: Arc<Start>, undo: Option<Box<UndoFor>>) -> Result<Self, Rejection> {
        let born = Some(turn.now).filter(|_| start.origin.comes_again());
        let new = || Progress { born, ..Progress::new(turn.me.key.as_ref()) };
        let progress = flow.progress.clone().unwrap_or_else(new);
        let began = flow.progress.as_ref().map(|_| flow.at);
        let trace = if began.is_some() { flow.trace.as_ref() } else { turn.trace };
        let moves = Moves::of(turn, start, progress, began, trace)?;
        let moves = moves.found_by(&flow.traits).taken_back_for(flow.undo.clone(), undo);
        let away = flow.away.as_deref().cloned();
        let (is_away, away) = (away.is_some(), away.unwrap_or_else(|| Away { hold: flow.holds, ..Away::default() }));
        Ok(Self { moves, away, is_away, changed: false, words: Vec::new() })
    }

    pub(super) fn note(&mut self, event: away::Event) {
        self.is_away = self.away.apply(&event);
        self.moves.record(Event::Away { what: event });
    }

    pub(super) fn compiled(&self) -> std::sync::Arc<Compiled> {
        self.moves.compiled.clone()
    }

    fn facts(&self, event: step::Event) -> Result<Vec<Fact>, step::Rejection> {
        let moment = self.moves.moment();
        step::decide(&self.moves.compiled, &self.moves.progress, &self.moves.start.input, event, moment)
    }

    pub(super) fn happened(&mut self, fact: Fact) {
        self.changed |= matches!(fact, Fact::Restarted { input: Some(_), .. });
        self.moves.happened(fact);
    }

    /// What is decided at home before anybody runs it: its limits, and that it begins or is taken back at all. The
    /// steps are the runner's.
    fn at_gates(&mut self, event: step::Event) -> Result<(), Rejection> {
        let facts = self.facts(event)?;
        let moved = !facts.is_empty();
        let own = facts.into_iter().take_while(is_for_home);
        own.for_each(|fact| self.happened(fact));
        let progress = &self.moves.progress;
        let rests = progress.end.is_some() || progress.held.is_some() || progress.queued().is_some();
        match (rests, self.is_away) {
            _ if progress.end.is_some() => self.over(),
            (true, false) if moved => self.note(away::Event::Begun),
            (false, _) if moved => self.offer(),
            _ => {}
        }
        Ok(())
    }

    /// Somebody tells it something, or an effect of it was done here.
    fn tell(&mut self, command: Command) -> Result<(), Rejection> {
        let before = !self.is_away || self.away.stage == Stage::Gates;
        let untouched = self.moves.progress.steps.is_empty() && self.moves.progress.ledger.is_empty();
        let unheld = matches!(self.away.stage, Stage::Offered | Stage::Waiting { .. } | Stage::Nobody);
        let event = event_of(self.moves.turn.me, &self.moves.progress, command.clone())?;
        match &command {
            _ if before => return self.at_gates(event),
            Command::Kill { .. } => {
                let facts = self.facts(event)?;
                facts.into_iter().for_each(|fact| self.happened(fact));
                self.over();
                return Ok(());
            }
            Command::Cancel { .. } if unheld && untouched => return self.at_gates(event),
            Command::Continue { by } if self.away.stage == Stage::Nobody => {
                self.ask_again(by.clone());
                return Ok(());
            }
            Command::Retry { by, .. } if self.away.is_in_trouble() => {
                self.ask_again(by.clone());
                return Ok(());
            }
            Command::Done(_) | Command::Failed(_) => {}
            _ => drop(self.facts(event)?),
        }
        let cancels = matches!(command, Command::Cancel { .. });
        self.word(command);
        if cancels && self.away.is_in_trouble() && self.moves.turn.world.runners.can_here(&self.compiled().definition) {
            self.release();
            self.note(away::Event::Lost { why: "it was cancelled while its runner was away".into() });
            self.come_home();
        }
        Ok(())
    }

    /// All runners are asked anew, without waiting any longer.
    fn ask_again(&mut self, by: Option<String>) {
        self.release();
        if self.away.stage == Stage::Nobody && self.moves.progress.held.is_some() {
            self.moves.happened(Fact::Continued { by });
        }
        self.note(away::Event::Lost { why: "somebody has it offered again".into() });
        self.offer();
    }

    fn ordered(&mut self, order: Order, rows: &Rows) -> Result<(), Rejection> {
        match order {
            Order::Offer if matches!(self.away.stage, Stage::Waiting { .. }) => {
                self.note(away::Event::Lost { why: "everybody is asked again".into() });
                self.offer();
            }
            Order::Speak { .. } if self.away.instance().is_some() && !self.away.line.flying => {
                let pressed = self.away.line.failures > 0;
                let words: Vec<(u64, Command)> = line::found(rows, WORDS);
                if words.is_empty() && pressed { self.send(Vec::new()) } else { self.speak(rows) }
            }
            Order::Look if self.away.instance().is_some() && self.away.line.is_quiet() => {
                self.note(away::Event::Looked);
                self.send(Vec::new());
            }
            Order::ComeHome if self.away.stage == Stage::ComingHome => self.read_words(rows)?,
            _ => {}
        }
        Ok(())
    }

    /// It has ended: nobody else has a word in it any more.
    pub(super) fn over(&mut self) {
        if !self.is_away {
            return;
        }
        // Whoever ran it to its end knows.
        if !matches!(self.away.stage, Stage::Held { .. }) || self.moves.is_killed() {
            self.release();
        }
        self.forget_words(self.away.covered, self.away.line.made);
        self.words.clear();
        self.note(away::Event::Over);
        self.moves.change(|decision| decision.cancel(TIMER).cancel(LOOK));
    }

    fn close(mut self) -> Decision<Flow> {
        self.send_words();
        self.moves.close(self.changed)
    }
}

/// What is decided at home, whoever runs the steps.
fn is_for_home(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Queued { .. }
            | Fact::Admitted { .. }
            | Fact::Restarted { .. }
            | Fact::Paused { .. }
            | Fact::Continued { .. }
            | Fact::Undoing { .. }
            | Fact::FlowFailed { .. }
            | Fact::FlowCancelled { .. }
            | Fact::FlowKilled { .. }
    )
}

#[cfg(test)]
#[path = "hand_tests.rs"]
mod tests;
