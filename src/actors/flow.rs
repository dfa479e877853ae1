//! One instance of a flow: what its steps do is told to others, what they wait for is rows, and it outlives everything.
//!
//! ```text
//! running ⇄ suspended (waits for a signal)      ──▶ done │ failed │ cancelled
//!    └────▶ paused (tries used up) ──retry──▶ running
//! ```
//! The stepping itself is pure and lives in `domains/flow/`; here its facts become messages, errands and timers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use super::errands::{Errand, Report};
use super::moves::Moves;
use super::rows::{Index, RowKey, Rows, part};
use super::stream::{self};
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::progress::{Phase, Progress};
use crate::domains::flow::step::{self, Cure};
use crate::domains::identity::{Authority, Iri};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// What it began with; `None` before the start.
    #[serde(default)]
    pub start: Option<Start>,
    #[serde(default)]
    pub at: Time,
    #[serde(default)]
    pub updated: Time,
    #[serde(default)]
    pub progress: Option<Progress>,
}

/// How an instance begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub name: String,
    /// The hash of the definition that it runs to its end on.
    pub definition: String,
    pub input: Input,
    pub origin: Origin,
}

/// Who or what started an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A program or a person, by the name of the token.
    Api { by: String },
    /// A write through our own API.
    Local { activity: Iri, object: Iri },
    /// An activity of a peer; `answer` when its sender waits for an Accept or Reject.
    Remote {
        activity: Iri,
        actor: Iri,
        #[serde(default)]
        inbox: Option<Iri>,
        #[serde(default)]
        answer: bool,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Start(Box<Start>),
    Done(Done),
    Failed(Failed),
    RetryDue {
        step: String,
        #[serde(default)]
        item: Option<u32>,
        attempt: u32,
    },
    TimedOut {
        step: String,
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
    /// Leaves nothing of an instance that ended before this, and does nothing to any other.
    Forget {
        ended_before: Time,
    },
}

/// An effect was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub step: String,
    #[serde(default)]
    pub item: Option<u32>,
    pub result: Value,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started { id: String, start: Box<Start>, at: Time },
    Happened { fact: Fact, at: Time },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no flow {0}; `quickbeam flows` lists them")]
    Unknown(String),
    #[error("flow {id} waits for several signals, {signals}: say which")]
    WhichSignal { id: String, signals: String },
    #[error("flow {id} waits for no signal; it is {phase}")]
    NotWaiting { id: String, phase: String },
    #[error("the definition {0} is not stored here any more")]
    NoDefinition(String),
    #[error(transparent)]
    Step(#[from] step::Rejection),
}

/// Where an instance stands.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    #[serde(default)]
    pub phase: Option<Phase>,
    /// It had been started before by the same request.
    #[serde(default)]
    pub existed: bool,
}

/// A row of the lists of flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    pub phase: Phase,
    pub started: Time,
    pub updated: Time,
    /// Signals that it waits for.
    #[serde(default)]
    pub waits_for: Vec<String>,
    #[serde(default)]
    pub object: Option<String>,
}

/// The id of the instance that a behaviour starts on an activity: the same again for a repeat.
pub fn id(authority: &Authority, activity: &Iri, behaviour: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{authority}\n{activity}\n{behaviour}").as_bytes());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Entries of the list of flows in this phase, or of all.
pub fn list_prefix(phase: Option<Phase>) -> crate::store::Key {
    part().text(phase.map_or("all", Phase::word)).done()
}

pub(super) fn list_row(phase: Option<Phase>, started: Time) -> RowKey {
    RowKey::Index(Index::Flows, part().raw(list_prefix(phase).as_bytes()).number(started.0).done())
}

impl Entity for Flow {
    const KIND: Kind = Kind::Flow;
    type Command = Command;
    type Event = Event;
    type Reply = Standing;
    type Rejection = Rejection;

    fn decide(&self, turn: &Turn<'_>, _rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        if let Command::Start(start) = command {
            return match &self.progress {
                Some(progress) => Ok(Decision::reply(Standing { phase: Some(progress.phase()), existed: true })),
                None => {
                    Moves::of(turn, *start, Progress::new(turn.me.key.as_ref()), None)?.decide(step::Event::Start, true)
                }
            };
        }
        if let Command::Forget { ended_before } = command {
            return Ok(self.forget(ended_before));
        }
        let unknown = || Rejection::Unknown(turn.me.key.to_string());
        let (start, progress) = self.start.clone().zip(self.progress.clone()).ok_or_else(unknown)?;
        let event = event_of(turn.me, &progress, command)?;
        Moves::of(turn, start, progress, Some(self.at))?.decide(event, false)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Started { id, start, at } => {
                self.progress = Some(Progress::new(id.as_str()));
                self.start = Some((**start).clone());
                (self.at, self.updated) = (*at, *at);
            }
            Event::Happened { fact, at } => {
                self.updated = *at;
                if let Some(progress) = &mut self.progress {
                    progress.apply(fact);
                }
            }
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        let Errand::Webhook { place, .. } = errand else { return None };
        Some(match report {
            Report::Answered { status: status @ 200..=299, detail, .. } => Command::Done(Done {
                step: place.step,
                item: place.item,
                result: serde_json::json!({ "status": status, "body": detail }),
            }),
            Report::Answered { status, detail, .. } => {
                let again = matches!(status, 408 | 421 | 425 | 429 | 500..=599);
                failed(place, format!("the webhook answered {status}: {detail}"), again)
            }
            Report::Unreachable { reason } => failed(place, reason, true),
            Report::Impossible { reason } => failed(place, reason, false),
        })
    }

    fn undeliverable(_to: &ActorId, body: &[u8], reason: &str) -> Option<Command> {
        let command: stream::Command = super::record::decode(body).ok()?;
        let stream::Command::Effect { place, .. } = command else { return None };
        let Place { step, item, attempt, .. } = place;
        Some(Command::Failed(Failed { step, item, attempt, reason: reason.to_owned(), again: false, person: true }))
    }

    fn label(&self) -> Label {
        match self.progress.as_ref().map(Progress::phase) {
            None | Some(Phase::Running) => Label::Idle,
            Some(Phase::Suspended) => Label::Suspended,
            Some(Phase::Paused) => Label::Stuck,
            Some(Phase::Done | Phase::Failed | Phase::Cancelled) => Label::Done,
        }
    }
}

impl Flow {
    fn forget(&self, ended_before: Time) -> Decision<Self> {
        let phase = self.progress.as_ref().map(Progress::phase);
        match phase.filter(|phase| phase.is_end() && self.updated < ended_before) {
            Some(phase) => {
                Decision::default().delete(list_row(None, self.at)).delete(list_row(Some(phase), self.at)).end()
            }
            None => Decision::default(),
        }
    }
}

fn failed(place: Place, reason: String, again: bool) -> Command {
    Command::Failed(Failed { step: place.step, item: place.item, attempt: place.attempt, reason, again, person: false })
}

fn event_of(me: &ActorId, progress: &Progress, command: Command) -> Result<step::Event, Rejection> {
    Ok(match command {
        Command::Start(_) | Command::Forget { .. } => unreachable!("decided before"),
        Command::Done(Done { step, item, result }) => step::Event::Done { step, item, result },
        Command::Failed(Failed { step, item, attempt, reason, again, person }) => {
            let cure = match (again, person) {
                (true, _) => Cure::Time,
                (false, true) => Cure::Person,
                (false, false) => Cure::Nothing,
            };
            step::Event::Failed { step, item, attempt, reason, cure }
        }
        Command::RetryDue { step, item, attempt } => step::Event::RetryDue { step, item, attempt },
        Command::TimedOut { step } => step::Event::TimedOut { step },
        Command::Resume { signal, payload, by } => {
            let signal = match signal {
                Some(signal) => signal,
                None => only_signal(me, progress)?,
            };
            step::Event::Resume { signal, payload, by }
        }
        Command::Retry { step, by } => step::Event::Retry { step, by },
        Command::Cancel { by, reason } => step::Event::Cancel { by, reason },
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

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
