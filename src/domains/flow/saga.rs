//! Taking back: when an instance ends before it is done, what it began is undone, the last first, one after the other.
//!
//! A step whose try is under way is waited for before it is taken back: only its answer says what there is to undo, and
//! an undo sent after it could overtake it. What waits on others without an end (`call`, `ask`) is taken back at once;
//! its receiver keeps both in order. So nothing earlier is undone while something later might still begin to act.

use std::time::Duration;

use super::check::CompiledUndo;
use super::definition::{Kind, UNDO_TIMEOUT, Undo};
use super::expr::{EvaluationError, Scope};
use super::fact::{AfterFailure, Fact, Why};
use super::ledger::{Entry, Side};
use super::outcome::running;
use super::progress::End;
use super::spot::{Role, Spot};
use super::stepper::Stepper;
use super::with;
use crate::clock::Time;
use serde_json::Value;

impl Stepper<'_> {
    /// The instance ends for this reason, at once if there is nothing to take back.
    pub(super) fn end_with(&mut self, why: Why) {
        if self.progress.ledger.iter().all(|entry| entry.undo.over()) {
            return self.ended(why);
        }
        self.record(Fact::Undoing { why });
    }

    fn ended(&mut self, why: Why) {
        self.record(match why {
            Why::Failed { step, reason } => Fact::FlowFailed { step, reason },
            Why::Cancelled { by, reason } => Fact::FlowCancelled { by, reason },
        });
    }

    /// Who took the instance for done takes it back. What has been taken back, or never began to count, stays so.
    pub(super) fn undo_all(&mut self, by: Option<String>, reason: String) {
        if matches!(self.progress.end, None | Some(End::Done { .. })) && self.progress.undoing.is_none() {
            self.end_with(Why::Cancelled { by, reason });
        }
    }

    /// Starts the next undo, unless one is under way or stuck.
    pub(super) fn take_back(&mut self) {
        let ledger = &self.progress.ledger;
        if ledger.iter().any(|entry| entry.undo.under_way()) {
            return;
        }
        let Some(entry) = ledger.iter().rev().find(|entry| entry.undo == Side::Pending) else {
            if let Some(why) = self.progress.undoing.clone() {
                self.ended(why);
            }
            return;
        };
        if self.in_flight(entry) {
            return;
        }
        let (step, item, run) = (entry.step.clone(), entry.item, entry.run);
        self.start_undo(&step, item, run, 1);
    }

    fn in_flight(&self, entry: &Entry) -> bool {
        let step = self.compiled.definition.steps.get(&entry.step);
        let answers = step.is_some_and(|step| !matches!(step.kind, Kind::Call { .. } | Kind::Ask { .. }));
        answers
            && entry.run == self.progress.run_of(&entry.step)
            && running(&self.progress, &entry.step, entry.item).is_some()
    }

    pub(super) fn start_undo(&mut self, step: &str, item: Option<u32>, run: u32, attempt: u32) {
        let Some(entry) = self.progress.entry(step, item, run) else { return };
        let planned = self.undo_of(entry);
        let step = step.to_owned();
        match planned {
            Ok((effect, input)) => {
                let key = self.progress.key_of(&Spot::new(&step, item, run, Role::Undo));
                let until = self.confirmed_until(&step);
                self.record(Fact::UndoStarted { step, item, run, attempt, key, effect, input, until });
            }
            Err(error) => {
                let (reason, next) = (error.to_string(), AfterFailure::Pause);
                self.record(Fact::UndoFailed { step, item, run, attempt, reason, next });
            }
        }
    }

    /// Whoever was asked has to say that it is taken back: that our word left says nothing.
    fn confirmed_until(&self, step: &str) -> Option<Time> {
        let Kind::Ask { undo_timeout, .. } = self.compiled.definition.steps.get(step)?.kind else { return None };
        Some(self.at.now.plus(Duration::from_millis(undo_timeout.unwrap_or(UNDO_TIMEOUT))))
    }

    /// What is done to take it back, and what is given to that.
    fn undo_of(&self, entry: &Entry) -> Result<(String, Value), EvaluationError> {
        let declared = self.compiled.definition.steps.get(&entry.step).and_then(|step| step.undo());
        let ready = self.compiled.steps.get(&entry.step).and_then(|ready| ready.undo.as_ref());
        let effect = match declared {
            Some(Undo::Effect(call)) => call.effect.clone(),
            Some(Undo::Http(_)) => "http".to_owned(),
            Some(Undo::Own) | None => "undo".to_owned(),
        };
        if let Some(edited) = &entry.edited {
            return Ok((effect, Value::clone(edited)));
        }
        let done = Some((&*entry.input, entry.result.as_deref()));
        let scope = Scope { done, ..Scope::of(self.input, &self.progress) };
        let input = match ready {
            Some(CompiledUndo::Effect(templates)) if !templates.is_empty() => with::fill(templates, &scope)?,
            Some(CompiledUndo::Http(request)) => with::fill(request, &scope)?,
            _ => Value::clone(&entry.input),
        };
        Ok((effect, input))
    }
}
