//! What to do next: from a definition, the progress so far and what happened, the facts that follow. Pure.
//!
//! [`decide`] goes on until nothing more can be done without the outside: effects are started, signals waited for, or
//! the flow has ended. Answers that come late, twice or for a try that is over give no facts; a verb that cannot be
//! done is a [`Rejection`] that says which can.

use serde_json::Value;

use super::check::Compiled;
use super::expr::Input;
use super::fact::Fact;
use super::limits::Limit;
use super::progress::{Phase, Progress};
use super::spot::Spot;
use super::stepper::Stepper;
pub use super::verbs::Verb;
use crate::clock::Time;
use crate::domains::types::FieldMistake;

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It begins. Harmless when it has begun already.
    Start,
    /// Somebody else ran it so far, or nobody did: it goes on here.
    Handed,
    /// A gate lets it in.
    Admitted {
        limit: Limit,
        /// The life that asked: how often it had ended then.
        ticket: u32,
    },
    /// An effect was done.
    Done {
        spot: Spot,
        result: Value,
    },
    /// A try of an effect failed.
    Failed {
        spot: Spot,
        attempt: u32,
        reason: String,
        cure: Cure,
        trouble: Option<String>,
    },
    /// The time of a [`super::fact::AfterFailure::RetryAt`] has come.
    RetryDue {
        spot: Spot,
        attempt: u32,
    },
    /// A try was not answered in its time.
    TryTimedOut {
        step: String,
        item: Option<u32>,
        attempt: u32,
    },
    /// Nobody confirmed in its time that something is taken back.
    UndoTimedOut {
        spot: Spot,
        attempt: u32,
    },
    /// The `until` of a wait for others has come.
    TimedOut {
        step: String,
    },
    /// The time of a [`Fact::Sleeping`] has come.
    WaitOver {
        step: String,
    },
    /// A service answers at the URL that it was given.
    Callback {
        token: String,
        payload: Value,
    },
    /// Somebody sends a signal.
    Resume {
        signal: String,
        payload: Value,
        by: Option<String>,
    },
    /// Somebody wants everything that is paused, stuck or waits for its next try to be tried now, or one step of it.
    Retry {
        step: Option<String>,
        by: Option<String>,
    },
    /// Somebody ends it; what it did is taken back.
    Cancel {
        by: Option<String>,
        reason: String,
    },
    /// What it did is to be taken back, also when it is done.
    Undo {
        by: Option<String>,
        reason: String,
    },
    /// Somebody ends it, and nothing is taken back.
    Kill {
        by: Option<String>,
        reason: String,
    },
    /// Somebody holds it.
    Pause {
        by: Option<String>,
    },
    Continue {
        by: Option<String>,
    },
    /// Somebody has it begin again from a step, perhaps with another input of the instance.
    Restart {
        step: String,
        input: Option<Value>,
        by: Option<String>,
    },
    /// Somebody changes what the next try of a step that stopped is given, or of its undo.
    Edit {
        step: String,
        item: Option<u32>,
        input: Value,
        by: Option<String>,
    },
    /// Somebody gives a step that stopped a result, or says that it need not be taken back.
    Skip {
        step: String,
        item: Option<u32>,
        result: Value,
        by: Option<String>,
    },
}

/// What can help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Trying again later.
    Time,
    /// A person: the step pauses at once.
    Person,
    /// What the binary or configuration lacks: the step pauses at once, and nothing has left.
    Missing,
    /// Nothing: it was refused.
    Nothing,
    /// Nothing, and nobody knows whether it was done.
    Lost,
}

/// The moment in which it is decided, and what else a decision takes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub now: Time,
    /// Fresh for each turn; callbacks are named by it.
    pub random: [u8; 16],
    /// What the URL of a callback begins with.
    pub base: &'a str,
}

impl From<Time> for Moment<'_> {
    fn from(now: Time) -> Self {
        Self { now, random: [0; 16], base: "" }
    }
}

/// Why a verb cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the flow is {}: it can only be restarted", .0.word())]
    Finished(Phase),
    #[error("nobody waits for the signal `{signal}`{}", waiting_for(.waiting))]
    NotWaiting { signal: String, waiting: Vec<String> },
    #[error("no step waits for this callback: it never was one, or the flow began again since it was handed out")]
    NoCallback,
    #[error("this callback is over: the step `{step}` is {state}")]
    CallbackOver { step: String, state: String },
    #[error("the payload of `{signal}` does not have the declared shape: {}", joined(.mistakes))]
    WrongShape { signal: String, mistakes: Vec<FieldMistake> },
    #[error("the payload of `{signal}` has {size} bytes, {left} are left of what the flow may keep: send less")]
    TooLarge { signal: String, size: u64, left: u64 },
    #[error("no step of the flow is paused or waits for its next try")]
    NothingToRetry,
    #[error("the flow is {}, it cannot be told to {verb}; it can be told to {}", .phase.word(), words(.possible))]
    NotNow { verb: Verb, phase: Phase, possible: Vec<Verb> },
    #[error("the flow has no step `{step}`; its steps are {}", .known.join(", "))]
    NoStep { step: String, known: Vec<String> },
    #[error("{} of the step `{step}`: it is {state}, and has to have stopped; the flow can be told to {}", .verb.of(), words(.possible))]
    NotStopped { verb: Verb, step: String, state: String, possible: Vec<Verb> },
    #[error("{} under way, whose answers would be lost: wait for them, or cancel the flow", .0.join(", "))]
    UnderWay(Vec<String>),
}

/// The facts that follow from an event.
pub fn decide<'a>(
    compiled: &'a Compiled,
    progress: &Progress,
    input: &'a Input,
    event: Event,
    at: impl Into<Moment<'a>>,
) -> Result<Vec<Fact>, Rejection> {
    let mut stepper = Stepper { compiled, input, at: at.into(), progress: progress.clone(), facts: Vec::new() };
    stepper.decide(event)?;
    Ok(stepper.facts)
}

impl Stepper<'_> {
    pub(super) fn decide(&mut self, event: Event) -> Result<(), Rejection> {
        self.take(event)?;
        let held = self.progress.held.is_some();
        if !held && !self.is_ending() && self.progress.queued().is_none() {
            self.advance();
        }
        if !held && self.progress.undoing.is_some() {
            self.take_back();
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), Rejection> {
        if self.progress.end.is_some() {
            return self.take_at_end(event);
        }
        match event {
            // Of one that has begun the gates are passed, or its binary knew of none.
            Event::Start if self.progress.steps.is_empty() && self.progress.gates.is_empty() => self.queue(),
            Event::Start => {}
            Event::Handed => self.handed(),
            Event::Admitted { limit, ticket } => self.admitted(limit, ticket),
            Event::Done { spot, result } => self.done(&spot, result),
            Event::Failed { spot, attempt, reason, cure, trouble } => {
                self.failed(&spot, attempt, &reason, cure, trouble.as_deref());
            }
            Event::RetryDue { spot, attempt } => self.retry_due(&spot, attempt),
            Event::TryTimedOut { step, item, attempt } => self.try_timed_out(step, item, attempt),
            Event::UndoTimedOut { spot, attempt } => self.undo_timed_out(&spot, attempt),
            Event::TimedOut { step } => self.timed_out(&step),
            Event::WaitOver { step } => self.wait_over(&step),
            Event::Callback { token, payload } => return self.called_back(&token, payload),
            Event::Resume { signal, payload, by } => return self.resume(signal, payload, by),
            Event::Retry { step, by } => return self.retry(step.as_deref(), by),
            Event::Cancel { by, reason } => return self.cancel(by, reason),
            Event::Undo { by, reason } => self.undo_all(by, reason),
            Event::Kill { by, reason } => self.kill(by, reason),
            Event::Pause { by } => return self.pause(by),
            Event::Continue { by } => return self.go_on(by),
            Event::Restart { step, input, by } => return self.restart(step, input, by),
            Event::Edit { step, item, input, by } => return self.edit(step, item, input, by),
            Event::Skip { step, item, result, by } => return self.skip(step, item, result, by),
        }
        Ok(())
    }

    /// Answers that come after the end change nothing any more; people hear what they still can do.
    fn take_at_end(&mut self, event: Event) -> Result<(), Rejection> {
        match event {
            Event::Restart { step, input, by } => {
                self.restart(step, input, by)?;
                self.queue();
                Ok(())
            }
            Event::Undo { by, reason } => {
                self.undo_all(by, reason);
                Ok(())
            }
            Event::Start
            | Event::Handed
            | Event::Admitted { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::RetryDue { .. }
            | Event::TryTimedOut { .. }
            | Event::UndoTimedOut { .. }
            | Event::TimedOut { .. }
            | Event::WaitOver { .. } => Ok(()),
            Event::Callback { token, .. } => Err(self.callback_over(&token)),
            _ => Err(Rejection::Finished(self.progress.phase())),
        }
    }

    /// It has ended, or will once everything is taken back.
    pub(super) fn is_ending(&self) -> bool {
        self.progress.end.is_some() || self.progress.undoing.is_some()
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

fn words(verbs: &[Verb]) -> String {
    let words: Vec<&str> = verbs.iter().map(|verb| verb.word()).collect();
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}
