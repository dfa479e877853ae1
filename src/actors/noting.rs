//! What the log says of a turn of a flow: the steps that began and ended with it, each under the id of its span.

use super::entity::Note;
use super::moves::Moves;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::ledger::Side;
use crate::domains::flow::progress::{ItemState, Progress, StepState};
use crate::domains::flow::spot::{Role, Spot};
use crate::domains::flow::step;

/// What a fact is about, for a line: what happened, to which step or element, which try of which effect.
struct Line<'a> {
    what: &'static str,
    step: &'a str,
    item: Option<u32>,
    try_of: Option<(String, u32)>,
}

impl Moves<'_> {
    /// Lines are written when the turn is on disk, and made only for those who read them.
    pub(super) fn note(&mut self, fact: &Fact, tried: Option<u32>) {
        let line = if self.turn.noted { line(&self.progress, fact, tried) } else { None };
        let Some(Line { what, step, item, try_of }) = line else { return };
        let span = try_of.map_or_else(|| self.span.clone(), |(key, attempt)| self.span.of_try(&key, attempt));
        let note = Note { what, step: step.to_owned(), item, span };
        self.change(|decision| decision.note(note));
    }
}

/// Which try of what it is about is under way.
pub(super) fn tried(progress: &Progress, event: &step::Event) -> Option<u32> {
    let step::Event::Done { spot, .. } = event else { return None };
    let side = |side: &Side| match side {
        Side::Running { attempt } | Side::Retrying { attempt, .. } | Side::Stuck { attempt, .. } => Some(*attempt),
        Side::Pending | Side::Done | Side::Skipped { .. } => None,
    };
    match spot.role {
        Role::Undo => progress.ledger.iter().rev().find(|entry| entry.step == spot.step).and_then(|it| side(&it.undo)),
        Role::Notify => progress.notices.get(&spot.step).and_then(side),
        Role::Do => match progress.steps.get(&spot.step)? {
            StepState::Running { attempt, .. }
            | StepState::Retrying { attempt, .. }
            | StepState::Paused { attempt, .. } => Some(*attempt),
            StepState::Each { states, .. } => match states.get(spot.item? as usize)? {
                ItemState::Running { attempt }
                | ItemState::Retrying { attempt, .. }
                | ItemState::Paused { attempt, .. } => Some(*attempt),
                ItemState::Failed { .. } | ItemState::Done { .. } => None,
            },
            _ => None,
        },
    }
}

fn line<'a>(progress: &Progress, fact: &'a Fact, tried: Option<u32>) -> Option<Line<'a>> {
    let of = |what, step: &'a str, item| Some(Line { what, step, item, try_of: None });
    let began = |what, step: &'a str, item, key: &str, attempt| {
        Some(Line { what, step, item, try_of: Some((key.to_owned(), attempt)) })
    };
    let ended = |what, step: &'a str, item, run: Option<u32>, role, attempt: Option<u32>| {
        let run = run.unwrap_or_else(|| progress.run_of(step));
        let key = progress.key_of(&Spot::new(step, item, run, role));
        Some(Line { what, step, item, try_of: attempt.map(|attempt| (key, attempt)) })
    };
    match fact {
        Fact::StepStarted { step, item, attempt, key, .. } => began("a step began", step, *item, key, *attempt),
        Fact::UndoStarted { step, item, attempt, key, .. } => began("an undo began", step, *item, key, *attempt),
        Fact::NotifyStarted { step, attempt, key, .. } => began("a notice began", step, None, key, *attempt),
        Fact::StepDone { step, item, .. } => ended("a step is done", step, *item, None, Role::Do, tried),
        Fact::StepFailed { step, item, attempt, .. } => {
            ended("a step failed", step, *item, None, Role::Do, Some(*attempt))
        }
        Fact::UndoDone { step, item, run } => ended("an undo is done", step, *item, Some(*run), Role::Undo, tried),
        Fact::UndoFailed { step, item, run, attempt, .. } => {
            ended("an undo failed", step, *item, Some(*run), Role::Undo, Some(*attempt))
        }
        Fact::Notified { step } => ended("a notice is done", step, None, None, Role::Notify, tried),
        Fact::NotifyFailed { step, attempt, .. } => {
            ended("a notice failed", step, None, None, Role::Notify, Some(*attempt))
        }
        Fact::Suspended { step, .. } | Fact::Sleeping { step, .. } | Fact::AwaitsCallback { step, .. } => {
            of("a step waits", step, None)
        }
        Fact::Resumed { step, .. } | Fact::Woken { step } | Fact::CalledBack { step, .. } => {
            of("a step goes on", step, None)
        }
        Fact::TimedOut { step } => of("a step waited long enough", step, None),
        Fact::Undoing { .. } => of("a flow takes back what it did", "", None),
        Fact::FlowDone { .. } => of("a flow is done", "", None),
        Fact::FlowFailed { .. } => of("a flow failed", "", None),
        Fact::FlowCancelled { .. } => of("a flow was cancelled", "", None),
        Fact::FlowKilled { .. } => of("a flow was killed", "", None),
        _ => None,
    }
}
