//! What a flow instance is told: by people, by its own timers, by those who did what it asked for, by flows that call it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::ActorId;
use super::errands::Report;
use super::flow::{Rejection, Start};
use super::hand::{Order, Told};
use super::lent::Lend;
use super::line::Said;
use super::petition::Petition;
use crate::clock::Time;
use crate::domains::flow::limits::Limit;
use crate::domains::flow::progress::{Progress, size};
use crate::domains::flow::spot::Spot;
use crate::domains::flow::step::{self, Cure};
use crate::domains::identity::Iri;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Start(Box<Start>),
    /// A gate lets it in.
    Enter {
        limit: Limit,
        ticket: u32,
    },
    /// The schedule that began it asks whether it has ended.
    StillRuns {
        due: Time,
    },
    /// A gate asks whether it is still in.
    StillIn {
        limit: Limit,
        ticket: u32,
    },
    Done(Done),
    Failed(Failed),
    RetryDue {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        attempt: u32,
        /// Of what was tried; the step itself without it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
    },
    TimedOut {
        step: String,
    },
    /// A try was not answered in its time.
    TryTimedOut {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        attempt: u32,
    },
    /// Nobody confirmed in its time that something is taken back.
    UndoTimedOut {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        attempt: u32,
        key: String,
    },
    /// The time of a `wait` has come.
    WaitOver {
        step: String,
    },
    /// A service answers at the URL that it was given.
    Callback {
        token: String,
        payload: Value,
    },
    Resume {
        #[serde(default)]
        signal: Option<String>,
        payload: Value,
        #[serde(default)]
        by: Option<String>,
    },
    Retry {
        #[serde(default)]
        step: Option<String>,
        #[serde(default)]
        by: Option<String>,
    },
    Cancel {
        #[serde(default)]
        by: Option<String>,
        reason: String,
    },
    /// Ends it and takes nothing back.
    Kill {
        #[serde(default)]
        by: Option<String>,
        reason: String,
    },
    Pause {
        #[serde(default)]
        by: Option<String>,
    },
    Continue {
        #[serde(default)]
        by: Option<String>,
    },
    /// Begins again from a step, perhaps with another input.
    Restart {
        step: String,
        #[serde(default)]
        input: Option<Value>,
        #[serde(default)]
        by: Option<String>,
    },
    /// Changes what the next try of a step that stopped is given.
    Edit {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        input: Value,
        #[serde(default)]
        by: Option<String>,
    },
    /// Gives a step that stopped a result.
    Skip {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        #[serde(default)]
        result: Value,
        #[serde(default)]
        by: Option<String>,
    },
    /// What it did is taken back, also when it is done: whoever asked for it takes their word back.
    TakeBack {
        #[serde(default)]
        by: Option<String>,
        reason: String,
        /// The Undo that is to be answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        petition: Option<Box<Petition>>,
    },
    /// The same for a flow that called it: whoever called it ends, or waited long enough.
    Undo(Box<UndoFor>),
    /// Another node wants its instance run here.
    Lend(Box<Lend>),
    /// What the home of an instance tells it, the first of which has this number.
    Words {
        by: Iri,
        hold: u32,
        from: u64,
        words: Vec<Command>,
    },
    /// Its home does not want it run here any more.
    Released {
        by: Iri,
    },
    /// Whoever runs it says what it did.
    Told(Box<Told>),
    /// What came of a request to the node that runs it, or whose it is.
    Heard {
        said: Said,
        report: Report,
    },
    /// It is time to do something about whoever runs it.
    Runner(Order),
    /// Leaves nothing of an instance that ended before this, and does nothing to any other.
    Forget {
        ended_before: Time,
    },
}

/// Who wants a called flow taken back, and hears when it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoFor {
    pub flow: String,
    pub place: Place,
    pub reason: String,
}

/// An effect was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub step: String,
    #[serde(default)]
    pub item: Option<u32>,
    pub result: Value,
    /// Of the effect: which run, and whether it did or undid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// A try of an effect failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    pub step: String,
    #[serde(default)]
    pub item: Option<u32>,
    pub attempt: u32,
    pub reason: String,
    /// Trying again may help.
    pub again: bool,
    /// Nothing is wrong with the request itself, so that a person may want to try again.
    #[serde(default)]
    pub person: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `timeout`, `unreachable` or a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Nothing helps, and nobody knows whether it was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// Which try of which step an effect belongs to; travels with it and comes back with its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub step: String,
    #[serde(default)]
    pub item: Option<u32>,
    pub attempt: u32,
    /// The same for every try, so that a receiver can drop repeats.
    pub key: String,
}

impl Place {
    pub(super) fn spot(&self) -> Spot {
        Spot::from_key(&self.key, &self.step, self.item)
    }

    pub(super) fn done(self, result: Value) -> Command {
        Command::Done(Done { step: self.step, item: self.item, result, key: self.key })
    }

    pub(super) fn refused(self, reason: String) -> Command {
        self.failed(reason, false, None)
    }

    pub(super) fn failed(self, reason: String, again: bool, trouble: Option<String>) -> Command {
        let Self { step, item, attempt, key } = self;
        Command::Failed(Failed { step, item, attempt, reason, again, person: false, key, trouble, lost: false })
    }

    /// Only a person can decide what comes of it.
    pub(super) fn stopped(self, reason: String) -> Command {
        let Self { step, item, attempt, key } = self;
        let (again, person, trouble, lost) = (false, true, None, false);
        Command::Failed(Failed { step, item, attempt, reason, again, person, key, trouble, lost })
    }

    /// It failed for good, and nobody knows whether it was done.
    pub(super) fn lost(self, reason: String, trouble: Option<String>) -> Command {
        let Self { step, item, attempt, key } = self;
        let (again, person, lost) = (false, false, true);
        Command::Failed(Failed { step, item, attempt, reason, again, person, key, trouble, lost })
    }
}

impl Command {
    /// Bytes of what expressions get to see by it, as JSON.
    pub(super) fn brings(&self) -> u64 {
        match self {
            Self::Done(done) => size(&done.result),
            Self::Resume { payload: value, .. }
            | Self::Callback { payload: value, .. }
            | Self::Restart { input: Some(value), .. }
            | Self::Edit { input: value, .. }
            | Self::Skip { result: value, .. } => size(value),
            Self::Words { words, .. } => words.iter().map(Self::brings).sum(),
            _ => 0,
        }
    }
}

/// What happened to the instance, in the words of its stepping.
pub(super) fn event_of(me: &ActorId, progress: &Progress, command: Command) -> Result<step::Event, Rejection> {
    Ok(match command {
        Command::Start(_) => step::Event::Start,
        Command::Forget { .. }
        | Command::StillIn { .. }
        | Command::StillRuns { .. }
        | Command::Lend(_)
        | Command::Words { .. }
        | Command::Released { .. }
        | Command::Told(_)
        | Command::Heard { .. }
        | Command::Runner(_) => unreachable!("decided before"),
        Command::Enter { limit, ticket } => step::Event::Admitted { limit, ticket },
        Command::Done(Done { step, item, result, key }) => {
            step::Event::Done { spot: Spot::from_key(&key, &step, item), result }
        }
        Command::Failed(Failed { step, item, attempt, reason, again, person, key, trouble, lost }) => {
            let cure = match (again, person) {
                _ if lost => Cure::Lost,
                (true, _) => Cure::Time,
                (false, true) => Cure::Person,
                (false, false) => Cure::Nothing,
            };
            step::Event::Failed { spot: Spot::from_key(&key, &step, item), attempt, reason, cure, trouble }
        }
        Command::RetryDue { step, item, attempt, key } => {
            step::Event::RetryDue { spot: Spot::from_key(&key, &step, item), attempt }
        }
        Command::TimedOut { step } => step::Event::TimedOut { step },
        Command::TryTimedOut { step, item, attempt } => step::Event::TryTimedOut { step, item, attempt },
        Command::UndoTimedOut { step, item, attempt, key } => {
            step::Event::UndoTimedOut { spot: Spot::from_key(&key, &step, item), attempt }
        }
        Command::WaitOver { step } => step::Event::WaitOver { step },
        Command::Callback { token, payload } => step::Event::Callback { token, payload },
        Command::Resume { signal, payload, by } => {
            let signal = match signal {
                Some(signal) => signal,
                None => only_signal(me, progress)?,
            };
            step::Event::Resume { signal, payload, by }
        }
        Command::Retry { step, by } => step::Event::Retry { step, by },
        Command::Cancel { by, reason } => step::Event::Cancel { by, reason },
        Command::Kill { by, reason } => step::Event::Kill { by, reason },
        Command::Pause { by } => step::Event::Pause { by },
        Command::Continue { by } => step::Event::Continue { by },
        Command::Restart { step, input, by } => step::Event::Restart { step, input, by },
        Command::Edit { step, item, input, by } => step::Event::Edit { step, item, input, by },
        Command::Skip { step, item, result, by } => step::Event::Skip { step, item, result, by },
        Command::TakeBack { by, reason, .. } => step::Event::Undo { by, reason },
        Command::Undo(undo) => step::Event::Undo { by: Some(format!("flow {}", undo.flow)), reason: undo.reason },
    })
}

/// The signal meant by somebody who names none.
fn only_signal(me: &ActorId, progress: &Progress) -> Result<String, Rejection> {
    let mut signals: Vec<&str> = progress.waiting().map(|(_, signal, _)| signal).collect();
    signals.dedup();
    match signals[..] {
        [signal] => Ok(signal.to_owned()),
        [] if progress.end.is_some() => Err(step::Rejection::Finished(progress.phase()).into()),
        [] => Err(Rejection::NotWaiting { id: me.key.to_string(), phase: progress.phase().word().to_owned() }),
        _ => Err(Rejection::WhichSignal { id: me.key.to_string(), signals: signals.join(", ") }),
    }
}
