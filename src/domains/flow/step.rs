//! What to do next: from a definition, the progress so far and what happened, the facts that follow. Pure.
//!
//! [`decide`] goes on until nothing more can be done without the outside: effects are started, signals waited for, or
//! the flow has ended. Answers that come late, twice or for a try that is over give no facts; a verb that cannot be
//! done is a [`Rejection`].

use serde_json::Value;

use super::check::Compiled;
use super::definition::{Failures, Kind, Otherwise, Step};
use super::expr::Input;
use super::fact::{AfterFailure, Fact};
use super::progress::{ItemState, Phase, Progress, StepState, size};
use super::stepper::Stepper;
use crate::clock::Time;
use crate::domains::types::{FieldMistake, check_fields};

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It begins. Harmless when it has begun already.
    Start,
    /// An effect was done.
    Done { step: String, item: Option<u32>, result: Value },
    /// A try of an effect failed.
    Failed { step: String, item: Option<u32>, attempt: u32, reason: String, cure: Cure },
    /// The time of a [`AfterFailure::RetryAt`] has come.
    RetryDue { step: String, item: Option<u32>, attempt: u32 },
    /// The `until` of a [`Fact::Suspended`] has come.
    TimedOut { step: String },
    /// Somebody sends a signal.
    Resume { signal: String, payload: Value, by: Option<String> },
    /// Somebody wants everything that is paused or waits for its next try to be tried now, or one step of it.
    Retry { step: Option<String>, by: Option<String> },
    /// Somebody ends it.
    Cancel { by: Option<String>, reason: String },
}

/// What can help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Trying again later.
    Time,
    /// A person: the step pauses at once.
    Person,
    /// Nothing: it was refused.
    Nothing,
}

/// Why a verb cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the flow is {}, nothing can be done to it any more", phase_word(.0))]
    Finished(Phase),
    #[error("nobody waits for the signal `{signal}`{}", waiting_for(.waiting))]
    NotWaiting { signal: String, waiting: Vec<String> },
    #[error("the payload of `{signal}` does not have the declared shape: {}", joined(.mistakes))]
    WrongShape { signal: String, mistakes: Vec<FieldMistake> },
    #[error("the payload of `{signal}` has {size} bytes, {left} are left of what the flow may keep: send less")]
    TooLarge { signal: String, size: u64, left: u64 },
    #[error("no step of the flow is paused or waits for its next try")]
    NothingToRetry,
}

/// The facts that follow from an event.
pub fn decide(
    compiled: &Compiled,
    progress: &Progress,
    input: &Input,
    event: Event,
    now: Time,
) -> Result<Vec<Fact>, Rejection> {
    let mut stepper = Stepper { compiled, input, now, progress: progress.clone(), facts: Vec::new() };
    stepper.take(event)?;
    if stepper.progress.end.is_none() {
        stepper.advance();
    }
    Ok(stepper.facts)
}

/// A try that is under way or over.
struct Try<'a> {
    step: &'a str,
    item: Option<u32>,
    attempt: u32,
}

impl Stepper<'_> {
    fn take(&mut self, event: Event) -> Result<(), Rejection> {
        let ended = self.progress.end.is_some();
        match event {
            Event::Start => {}
            Event::Done { step, item, result } if !ended => self.done(step, item, result),
            Event::Failed { step, item, attempt, reason, cure } if !ended => {
                self.failed(&Try { step: &step, item, attempt }, reason, cure);
            }
            Event::RetryDue { step, item, attempt } if !ended => self.retry_due(&Try { step: &step, item, attempt }),
            Event::TimedOut { step } if !ended => self.timed_out(&step),
            Event::Done { .. } | Event::Failed { .. } | Event::RetryDue { .. } | Event::TimedOut { .. } => {}
            Event::Resume { .. } | Event::Retry { .. } | Event::Cancel { .. } if ended => {
                return Err(Rejection::Finished(self.progress.phase()));
            }
            Event::Resume { signal, payload, by } => return self.resume(signal, payload, by),
            Event::Retry { step, by } => return self.retry(step.as_deref(), by),
            Event::Cancel { by, reason } => self.record(Fact::FlowCancelled { by, reason }),
        }
        Ok(())
    }

    // What happened

    fn done(&mut self, step: String, item: Option<u32>, result: Value) {
        // A retry may be waiting or paused when the answer of an earlier try comes after all: it is done.
        if running(&self.progress, &step, item).is_none() && stopped(&self.progress, &step, item).is_none() {
            return;
        }
        if let Err(reason) = self.room_for(size(&result)) {
            return self.fail(&step, item, reason);
        }
        self.record(Fact::StepDone { step, item, result });
    }

    fn failed(&mut self, at: &Try<'_>, reason: String, cure: Cure) {
        if running(&self.progress, at.step, at.item) != Some(at.attempt) {
            return;
        }
        let Some(step) = self.compiled.definition.steps.get(at.step) else { return };
        let collects = matches!(step.kind, Kind::Each { failures: Failures::Collect, .. });
        let delay = step.retry.unwrap_or_default().delay_after(at.attempt);
        let next = match (cure, delay) {
            (Cure::Time, Some(delay)) => AfterFailure::RetryAt(self.now.plus(std::time::Duration::from_millis(delay))),
            (Cure::Time | Cure::Nothing, _) if collects => AfterFailure::Collect,
            (Cure::Time, None) | (Cure::Person, _) => AfterFailure::Pause,
            (Cure::Nothing, _) => AfterFailure::Fail,
        };
        let (step, item, attempt) = (at.step.to_owned(), at.item, at.attempt);
        self.record(Fact::StepFailed { step: step.clone(), item, attempt, reason: reason.clone(), next });
        if next == AfterFailure::Fail {
            self.record(Fact::FlowFailed { reason: format!("step `{step}` was refused: {reason}"), step: Some(step) });
        }
    }

    /// The timer decides that the time has come, not a second look at the clock: it fires once.
    fn retry_due(&mut self, at: &Try<'_>) {
        if stopped(&self.progress, at.step, at.item) == Some((at.attempt, true)) {
            self.start(at.step, at.item, at.attempt + 1);
        }
    }

    fn timed_out(&mut self, step: &str) {
        let Some(StepState::Waiting { signal, until: Some(until) }) = self.progress.steps.get(step) else { return };
        let reason = format!("nobody sent the signal `{signal}` until {until}");
        self.record(Fact::TimedOut { step: step.to_owned() });
        if let Some(Step { kind: Kind::Suspend { otherwise: Otherwise::Fail, .. }, .. }) =
            self.compiled.definition.steps.get(step)
        {
            self.record(Fact::FlowFailed { step: Some(step.to_owned()), reason });
        }
    }

    // Verbs

    /// Goes to the first step by name that waits for the signal: one resume moves one step.
    fn resume(&mut self, signal: String, payload: Value, by: Option<String>) -> Result<(), Rejection> {
        let waits = self.progress.waiting().find(|(_, waited, _)| *waited == signal).map(|(step, ..)| step.to_owned());
        let Some(step) = waits else {
            let mut waiting: Vec<_> = self.progress.waiting().map(|(_, signal, _)| signal.to_owned()).collect();
            waiting.dedup();
            return Err(Rejection::NotWaiting { signal, waiting });
        };
        let payload = self.shaped(&step, &signal, payload)?;
        let (size, left) = (size(&payload), self.compiled.bounds.results.saturating_sub(self.progress.kept));
        if size > left {
            return Err(Rejection::TooLarge { signal, size, left });
        }
        self.record(Fact::Resumed { step, signal, payload, by });
        Ok(())
    }

    fn shaped(&self, step: &str, signal: &str, payload: Value) -> Result<Value, Rejection> {
        match self.compiled.definition.steps.get(step) {
            Some(Step { kind: Kind::Suspend { shape: Some(shape), .. }, .. }) => {
                // Whoever sends a signal and nothing else sends an empty payload.
                let payload = if payload.is_null() { Value::Object(serde_json::Map::new()) } else { payload };
                let checked = check_fields(shape, &payload);
                let wrong = |mistakes| Rejection::WrongShape { signal: signal.to_owned(), mistakes };
                checked.map(Value::Object).map_err(wrong)
            }
            _ => Ok(payload),
        }
    }

    fn retry(&mut self, only: Option<&str>, by: Option<String>) -> Result<(), Rejection> {
        let stopped: Vec<(String, Option<u32>)> = self
            .progress
            .steps
            .iter()
            .filter(|(step, _)| only.is_none_or(|only| only == step.as_str()))
            .flat_map(|(step, state)| stopped_parts(state).into_iter().map(|item| (step.clone(), item)))
            .collect();
        if stopped.is_empty() {
            return Err(Rejection::NothingToRetry);
        }
        let mut last = None;
        for (step, item) in stopped {
            if last.as_deref() != Some(step.as_str()) {
                self.record(Fact::Retried { step: step.clone(), by: by.clone() });
                last = Some(step.clone());
            }
            self.start(&step, item, 1);
        }
        Ok(())
    }
}

/// The try of a step or element that is under way.
fn running(progress: &Progress, step: &str, item: Option<u32>) -> Option<u32> {
    match (progress.steps.get(step)?, item) {
        (StepState::Running { attempt }, None) => Some(*attempt),
        (StepState::Each { states, .. }, Some(item)) => match states.get(item as usize)? {
            ItemState::Running { attempt } => Some(*attempt),
            _ => None,
        },
        _ => None,
    }
}

/// The last try of a step or element that stopped, and whether it goes on by itself.
fn stopped(progress: &Progress, step: &str, item: Option<u32>) -> Option<(u32, bool)> {
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

/// What of a step has stopped: itself, or elements.
fn stopped_parts(state: &StepState) -> Vec<Option<u32>> {
    let is_stopped = |state: &ItemState| matches!(state, ItemState::Retrying { .. } | ItemState::Paused { .. });
    match state {
        StepState::Retrying { .. } | StepState::Paused { .. } => vec![None],
        StepState::Each { states, .. } => {
            (0..).zip(states).filter(|(_, state)| is_stopped(state)).map(|(item, _)| Some(item)).collect()
        }
        _ => Vec::new(),
    }
}

fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Done => "done",
        Phase::Failed => "failed",
        Phase::Cancelled => "cancelled",
        Phase::Running => "running",
        Phase::Suspended => "suspended",
        Phase::Paused => "paused",
    }
}

fn waiting_for(waiting: &[String]) -> String {
    match waiting {
        [] => ": the flow waits for none".into(),
        signals => format!(": the flow waits for {}", signals.join(", ")),
    }
}

fn joined(mistakes: &[FieldMistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
