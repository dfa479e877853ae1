//! The facts beside the steps, taken into a progress: undos and their ledger, notices, and what people did.

use std::sync::Arc;

use serde_json::Value;

use super::fact::Fact;
use super::ledger::{Entry, Side};
use super::limits::Gated;
use super::progress::{Held, Progress, StepState, size};
use super::spot::part;

impl Progress {
    pub(super) fn apply_beside(&mut self, fact: &Fact) {
        match fact {
            Fact::Undoing { why } => {
                self.ends = self.ends.max(u32::from(self.end.is_some()));
                self.undoing = Some(why.clone());
                (self.end, self.held) = (None, None);
            }
            Fact::UndoStarted { step, item, run, attempt, .. } => {
                self.started += 1;
                self.undo(step, *item, *run, Side::Running { attempt: *attempt });
            }
            Fact::UndoFailed { step, item, run, attempt, reason, next } => {
                self.undo(step, *item, *run, Side::failed(*attempt, reason, *next));
            }
            Fact::UndoDone { step, item, run } => self.undo(step, *item, *run, Side::Done),
            Fact::UndoSkipped { step, item, run, by } => {
                self.undo(step, *item, *run, Side::Skipped { by: by.clone() });
            }
            Fact::NotifyStarted { step, attempt, .. } => self.notice(step, Side::Running { attempt: *attempt }),
            Fact::NotifyFailed { step, attempt, reason, next } => {
                self.notice(step, Side::failed(*attempt, reason, *next));
            }
            Fact::Notified { step } => self.notice(step, Side::Done),
            Fact::Paused { by } => self.held = Some(Held { by: by.clone() }),
            Fact::Continued { .. } => self.held = None,
            Fact::Queued { limit, key } => {
                self.gates.insert(*limit, Gated { key: key.clone(), entered: false });
            }
            Fact::Admitted { limit } => {
                if let Some(gated) = self.gates.get_mut(limit) {
                    gated.entered = true;
                }
            }
            Fact::Edited { step, item, undo: None, input, .. } => {
                self.edited.insert(part(step, *item), Arc::new(input.clone()));
            }
            Fact::Edited { step, item, undo: Some(run), input, .. } => {
                if let Some(entry) = self.entry_mut(step, *item, *run) {
                    entry.edited = Some(Arc::new(input.clone()));
                }
            }
            Fact::Restarted { run, cleared, input, .. } => self.restart(*run, cleared, input.as_ref()),
            // The others are facts of steps, and taken in before.
            _ => {}
        }
    }

    fn restart(&mut self, run: u32, cleared: &[String], input: Option<&Value>) {
        for step in cleared {
            if let Some(StepState::Done { result }) = self.steps.remove(step) {
                self.kept = self.kept.saturating_sub(size(&result));
            }
            self.runs.remove(step);
            self.notices.remove(step);
            self.callbacks.remove(step);
            let elements = format!("{step}/");
            self.edited.retain(|part, _| part != step && !part.starts_with(&elements));
        }
        // Before endings were counted, one that had ended counted as none.
        self.ends = self.ends.max(u32::from(self.end.is_some()));
        self.run = run;
        (self.end, self.undoing, self.held) = (None, None, None);
        if let Some(input) = input {
            self.input = Some(Arc::new(input.clone()));
        }
    }

    /// Into the ledger, with the first try; a later one only changes what it was given.
    pub(super) fn enter(&mut self, step: &str, item: Option<u32>, input: &Value) {
        let run = self.run_of(step);
        match self.entry_mut(step, item, run) {
            Some(known) => known.input = Arc::new(input.clone()),
            None => self.ledger.push(Entry {
                step: step.to_owned(),
                item,
                run,
                input: Arc::new(input.clone()),
                result: None,
                doubt: false,
                edited: None,
                undo: Side::Pending,
            }),
        }
    }

    /// A try failed: out of the ledger, if every one was refused.
    pub(super) fn doubted(&mut self, step: &str, item: Option<u32>, refused: bool) {
        let run = self.run_of(step);
        match self.entry_mut(step, item, run) {
            Some(entry) if !refused => entry.doubt = true,
            Some(entry) if !entry.doubt && entry.undo == Side::Pending => {
                self.ledger.retain(|entry| !entry.is(step, item, run));
            }
            _ => {}
        }
    }

    pub(super) fn entry_mut(&mut self, step: &str, item: Option<u32>, run: u32) -> Option<&mut Entry> {
        self.ledger.iter_mut().rev().find(|entry| entry.is(step, item, run))
    }

    pub fn entry(&self, step: &str, item: Option<u32>, run: u32) -> Option<&Entry> {
        self.ledger.iter().rev().find(|entry| entry.is(step, item, run))
    }

    fn undo(&mut self, step: &str, item: Option<u32>, run: u32, side: Side) {
        let Some(entry) = self.entry_mut(step, item, run) else { return };
        if side.over() { entry.close(side) } else { entry.undo = side }
    }

    fn notice(&mut self, step: &str, side: Side) {
        match self.notices.get_mut(step) {
            Some(known) => *known = side,
            None => drop(self.notices.insert(step.to_owned(), side)),
        }
    }
}
