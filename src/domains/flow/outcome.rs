//! What came of what was started: answers, failures and times, for steps, undos and notices alike.

use std::time::Duration;

use serde_json::Value;

use super::definition::{Failures, Kind, Otherwise, Retry, Step, UNDO_TIMEOUT};
use super::fact::{AfterFailure, Fact, Why};
use super::ledger::Side;
use super::progress::{ItemState, Progress, StepState, size};
use super::spot::{Role, Spot};
use super::step::{Cure, Rejection};
use super::stepper::Stepper;

impl Stepper<'_> {
    pub(super) fn done(&mut self, spot: &Spot, result: Value) {
        match spot.role {
            Role::Do => self.step_done(spot, result),
            Role::Undo => {
                let run = spot.run.unwrap_or(self.progress.run);
                let known = self.progress.entry(&spot.step, spot.item, run);
                if known.is_some_and(|entry| entry.undo.under_way()) {
                    self.record(Fact::UndoDone { step: spot.step.clone(), item: spot.item, run });
                }
            }
            Role::Notify => {
                if self.progress.notices.get(&spot.step).is_some_and(Side::under_way) {
                    self.record(Fact::Notified { step: spot.step.clone() });
                }
            }
        }
    }

    fn step_done(&mut self, spot: &Spot, result: Value) {
        let (name, item) = (spot.step.as_str(), spot.item);
        // A retry may be waiting or paused when the answer of an earlier try comes after all: it is done.
        let open = running(&self.progress, name, item).is_some() || stopped(&self.progress, name, item).is_some();
        if !open || !self.is_current(spot) || self.is_undone(spot) {
            return;
        }
        let step = name.to_owned();
        if let Some(Step { kind: Kind::Http(http), .. }) = self.compiled.definition.steps.get(name)
            && let Some(deadline) = &http.callback
        {
            let until = deadline.timeout.map(|millis| self.at.now.plus(Duration::from_millis(millis)));
            return self.record(Fact::AwaitsCallback { step, until });
        }
        if let Err(reason) = self.room_for(size(&result)) {
            return self.fail(name, item, reason);
        }
        self.record(Fact::StepDone { step, item, result });
    }

    pub(super) fn failed(&mut self, spot: &Spot, attempt: u32, reason: &str, cure: Cure, trouble: Option<&str>) {
        match spot.role {
            Role::Do => self.step_failed(spot, attempt, reason, cure, trouble),
            Role::Undo => self.undo_failed(spot, attempt, reason, cure, trouble),
            Role::Notify => self.notify_failed(spot, attempt, reason, cure, trouble),
        }
    }

    fn step_failed(&mut self, spot: &Spot, attempt: u32, reason: &str, cure: Cure, trouble: Option<&str>) {
        let (name, item) = (spot.step.as_str(), spot.item);
        if running(&self.progress, name, item) != Some(attempt) || !self.is_current(spot) || self.is_undone(spot) {
            return;
        }
        let refused = matches!(cure, Cure::Nothing | Cure::Missing);
        let retry = self.retry_of(name);
        let again = cure_by_time(&retry, cure, trouble);
        let delay = if again { self.delay(&retry, attempt, &self.progress.key(name, item)) } else { None };
        let next = match (cure, delay) {
            // No try begins while things are taken back.
            _ if self.progress.undoing.is_some() && refused => AfterFailure::Fail,
            _ if self.progress.undoing.is_some() => AfterFailure::Pause,
            (_, Some(at)) => at,
            (Cure::Time | Cure::Nothing | Cure::Lost, None) if self.collects(name, item) => AfterFailure::Collect,
            (Cure::Nothing | Cure::Lost, None) if !again => AfterFailure::Fail,
            _ => AfterFailure::Pause,
        };
        let (step, reason) = (name.to_owned(), reason.to_owned());
        self.record(Fact::StepFailed { step: step.clone(), item, attempt, reason: reason.clone(), next, refused });
        if cure == Cure::Lost && !again {
            // What others may have made of it is taken back whatever the flow does next, as after a time-out.
            self.start_undo(name, item, self.progress.run_of(name), 1);
        }
        if next == AfterFailure::Fail && !self.is_ending() {
            let how = if refused { "was refused" } else { "failed" };
            self.end_with(Why::Failed { reason: format!("step `{step}` {how}: {reason}"), step: Some(step) });
        }
    }

    fn undo_failed(&mut self, spot: &Spot, attempt: u32, reason: &str, cure: Cure, trouble: Option<&str>) {
        let run = spot.run.unwrap_or(self.progress.run);
        let known = self.progress.entry(&spot.step, spot.item, run);
        if !known.is_some_and(|entry| entry.undo == Side::Running { attempt }) {
            return;
        }
        let retry = self.retry_of(&spot.step);
        let again = cure_by_time(&retry, cure, trouble);
        let delay = if again { self.delay(&retry, attempt, &self.progress.key_of(spot)) } else { None };
        let next = delay.unwrap_or(AfterFailure::Pause);
        let (step, item, reason) = (spot.step.clone(), spot.item, reason.to_owned());
        self.record(Fact::UndoFailed { step, item, run, attempt, reason, next });
    }

    fn notify_failed(&mut self, spot: &Spot, attempt: u32, reason: &str, cure: Cure, trouble: Option<&str>) {
        if self.progress.notices.get(&spot.step) != Some(&Side::Running { attempt }) {
            return;
        }
        let retry = self.retry_of(&spot.step);
        let again = cure_by_time(&retry, cure, trouble);
        let delay = if again { self.delay(&retry, attempt, &self.progress.key_of(spot)) } else { None };
        let next = delay.unwrap_or(AfterFailure::Pause);
        self.record(Fact::NotifyFailed { step: spot.step.clone(), attempt, reason: reason.to_owned(), next });
    }

    /// The timer decides that the time has come, not a second look at the clock: it fires once. Who holds the instance
    /// has what is due begin when it goes on.
    pub(super) fn retry_due(&mut self, spot: &Spot, attempt: u32) {
        if self.progress.held.is_some() {
            return;
        }
        match spot.role {
            Role::Do if self.progress.undoing.is_none() => {
                if stopped(&self.progress, &spot.step, spot.item) == Some((attempt, true)) && self.is_current(spot) {
                    self.start(&spot.step, spot.item, attempt + 1);
                }
            }
            Role::Do => {}
            Role::Undo => {
                let run = spot.run.unwrap_or(self.progress.run);
                let entry = self.progress.entry(&spot.step, spot.item, run);
                if entry.is_some_and(|entry| is_retrying(&entry.undo, attempt)) {
                    self.start_undo(&spot.step, spot.item, run, attempt + 1);
                }
            }
            Role::Notify => {
                if self.progress.notices.get(&spot.step).is_some_and(|notice| is_retrying(notice, attempt)) {
                    self.tell(&spot.step, attempt + 1);
                }
            }
        }
    }

    pub(super) fn try_timed_out(&mut self, step: String, item: Option<u32>, attempt: u32) {
        let millis = self.compiled.definition.steps.get(&step).and_then(|step| step.timeout).unwrap_or_default();
        let reason = format!("no answer within {}", crate::config::reader::show_span(Duration::from_millis(millis)));
        self.failed(&Spot::of(step, item), attempt, &reason, Cure::Time, Some("timeout"));
    }

    /// They are told again, as often as the step says; what they confirm later still counts.
    pub(super) fn undo_timed_out(&mut self, spot: &Spot, attempt: u32) {
        let millis = match self.compiled.definition.steps.get(&spot.step).map(|step| &step.kind) {
            Some(Kind::Ask { undo_timeout, .. }) => undo_timeout.unwrap_or(UNDO_TIMEOUT),
            _ => return,
        };
        let within = crate::config::reader::show_span(Duration::from_millis(millis));
        self.failed(spot, attempt, &format!("nobody confirmed it within {within}"), Cure::Time, Some("timeout"));
    }

    /// A wait for others took too long. What was asked of them is taken back at once, whatever the flow does next.
    pub(super) fn timed_out(&mut self, name: &str) {
        let Some(step) = self.compiled.definition.steps.get(name) else { return };
        let reason = match self.progress.steps.get(name) {
            Some(StepState::Waiting { signal, until: Some(until), .. }) => {
                format!("nobody sent the signal `{signal}` until {until}")
            }
            Some(StepState::Awaiting { until: Some(until) }) => format!("nobody called back until {until}"),
            Some(StepState::Running { .. } | StepState::Retrying { .. } | StepState::Paused { .. })
                if matches!(step.kind, Kind::Call { .. } | Kind::Ask { .. }) && !self.is_ending() =>
            {
                format!("no answer until {}", self.at.now)
            }
            _ => return,
        };
        let fails = step.kind.otherwise().is_none_or(|otherwise| *otherwise == Otherwise::Fail);
        if fails && self.collects(name, None) {
            let (step, reason, next) = (name.to_owned(), reason.clone(), AfterFailure::Collect);
            self.record(Fact::StepFailed { step, item: None, attempt: 0, reason, next, refused: false });
        } else {
            self.record(Fact::TimedOut { step: name.to_owned() });
        }
        if matches!(step.kind, Kind::Call { .. } | Kind::Ask { .. }) {
            self.start_undo(name, None, self.progress.run_of(name), 1);
        }
        if fails && !self.collects(name, None) && !self.is_ending() {
            self.end_with(Why::Failed { step: Some(name.to_owned()), reason });
        }
    }

    pub(super) fn wait_over(&mut self, step: &str) {
        if matches!(self.progress.steps.get(step), Some(StepState::Sleeping { .. })) {
            self.record(Fact::Woken { step: step.to_owned() });
        }
    }

    /// It counts also when it comes before the answer to the request, or after a try that seemed to fail.
    pub(super) fn called_back(&mut self, token: &str, payload: Value) -> Result<(), Rejection> {
        let named = self.progress.callbacks.iter().find(|(_, known)| known.as_str() == token);
        let step = named.map(|(step, _)| step.clone()).ok_or(Rejection::NoCallback)?;
        match self.progress.steps.get(&step) {
            Some(
                StepState::Running { .. }
                | StepState::Retrying { .. }
                | StepState::Paused { .. }
                | StepState::Awaiting { .. },
            ) => {}
            _ => return Err(self.callback_over(token)),
        }
        let (size, left) = (size(&payload), self.compiled.bounds.results.saturating_sub(self.progress.kept));
        if size > left {
            return Err(Rejection::TooLarge { signal: "callback".into(), size, left });
        }
        self.record(Fact::CalledBack { step, payload });
        Ok(())
    }

    /// Why a callback comes too late, or was none at all.
    pub(super) fn callback_over(&self, token: &str) -> Rejection {
        let named = self.progress.callbacks.iter().find(|(_, known)| known.as_str() == token);
        let Some((step, _)) = named else { return Rejection::NoCallback };
        let state = self.progress.steps.get(step).map_or("not begun", StepState::word).to_owned();
        let state = if self.progress.end.is_some() { format!("{state}, and the flow has ended") } else { state };
        Rejection::CallbackOver { step: step.clone(), state }
    }

    // What is known

    /// The answer is one to this run of the step.
    fn is_current(&self, spot: &Spot) -> bool {
        spot.run.is_none_or(|run| run == self.progress.run_of(&spot.step))
    }

    /// It is being taken back, so that what came of it does not count any more.
    fn is_undone(&self, spot: &Spot) -> bool {
        let run = self.progress.run_of(&spot.step);
        self.progress.entry(&spot.step, spot.item, run).is_some_and(|entry| entry.undo != Side::Pending)
    }

    fn retry_of(&self, step: &str) -> Retry {
        self.compiled.definition.steps.get(step).and_then(|step| step.retry.clone()).unwrap_or_default()
    }

    fn delay(&self, retry: &Retry, attempt: u32, key: &str) -> Option<AfterFailure> {
        let delay = retry.delay_after(attempt, key)?;
        Some(AfterFailure::RetryAt(self.at.now.plus(Duration::from_millis(delay))))
    }

    /// Whether a failure of the step, or of its elements, is taken in by what gathers results.
    pub(super) fn collects(&self, name: &str, item: Option<u32>) -> bool {
        let step = self.compiled.definition.steps.get(name);
        let each = matches!(step, Some(Step { kind: Kind::Each { failures: Failures::Collect, .. }, .. }));
        let contained = self.compiled.steps.get(name).is_some_and(|ready| ready.contained);
        (each && item.is_some()) || (contained && item.is_none())
    }
}

fn cure_by_time(retry: &Retry, cure: Cure, trouble: Option<&str>) -> bool {
    match cure {
        Cure::Time => retry.is_for(trouble, true),
        Cure::Nothing | Cure::Lost => retry.is_for(trouble, false),
        Cure::Person | Cure::Missing => false,
    }
}

fn is_retrying(side: &Side, tried: u32) -> bool {
    matches!(side, Side::Retrying { attempt, .. } if *attempt == tried)
}

/// The try of a step or element that is under way.
pub(super) fn running(progress: &Progress, step: &str, item: Option<u32>) -> Option<u32> {
    match (progress.steps.get(step)?, item) {
        (StepState::Running { attempt, .. }, None) => Some(*attempt),
        (StepState::Each { states, .. }, Some(item)) => match states.get(item as usize)? {
            ItemState::Running { attempt } => Some(*attempt),
            _ => None,
        },
        _ => None,
    }
}

/// The last try of a step or element that stopped, and whether it goes on by itself.
pub(super) fn stopped(progress: &Progress, step: &str, item: Option<u32>) -> Option<(u32, bool)> {
    match (progress.steps.get(step)?, item) {
        (StepState::Retrying { attempt, .. }, None) => Some((*attempt, true)),
        (StepState::Paused { attempt, .. }, None) => Some((*attempt, false)),
        (StepState::Each { states, .. }, Some(item)) => match states.get(item as usize)? {
            ItemState::Retrying { attempt, .. } => Some((*attempt, true)),
            ItemState::Paused { attempt, .. } => Some((*attempt, false)),
            _ => None,
        },
        _ => None,
    }
}
