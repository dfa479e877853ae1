//! One instance of a flow: what its steps do is told to others, what they wait for is rows, and it outlives everything.
//!
//! ```text
//! queued (a limit of its flow) ──let in──▶ running
//! running ⇄ suspended (waits for a signal, a time, a callback) ──▶ done │ failed │ cancelled │ killed
//!    ├────▶ paused (tries used up, or held) ──retry, skip, continue──▶ running
//!    └────▶ undoing ⇄ stuck (an undo's tries used up) ──▶ failed │ cancelled ──restart──▶ running
//! ```
//! The stepping itself is pure and lives in `domains/flow/`; here its facts become messages, errands and timers.

use serde::{Deserialize, Serialize};

use super::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use super::errands::{Errand, Report};
use super::family;
use super::finding::Traits;
use super::gate::{self, Gate};
use super::moves::Moves;
use super::orders::{self, event_of};
pub use super::orders::{Command, Done, Failed, Place, UndoFor};
use super::rows::{Index, RowKey, Rows, part};
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::limits::Limit;
use crate::domains::flow::progress::{Phase, Progress};
use crate::domains::flow::step;
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
    /// Who hears when it has been taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<UndoFor>>,
    /// It was taken back before it ever began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub barred: bool,
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
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
    /// A step of another flow, which gets what comes of it.
    Parent {
        flow: String,
        place: Place,
        /// How many flows stand above it.
        depth: u32,
    },
    /// A tick of a schedule, which hears when it has ended.
    Schedule { schedule: String, due: Time },
}

impl Origin {
    /// The step that it answers to.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Parent { place, .. } => Some(place),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started {
        id: String,
        start: Box<Start>,
        at: Time,
    },
    Happened {
        fact: Fact,
        at: Time,
    },
    /// Whoever called it wants it taken back.
    UndoAsked {
        undo: Box<UndoFor>,
    },
    /// It was taken back before it ever began, so that it never will.
    Barred {
        at: Time,
    },
    /// What it is found by from now on.
    Found {
        traits: Box<Traits>,
    },
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
    /// The beginning of the hash of what it runs on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
}

/// Letters of a definition's hash that lists show: enough to tell all definitions of a node apart.
pub const HASH_SHOWN: usize = 12;

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
                Some(progress) => {
                    let standing = Standing { phase: Some(progress.phase()), existed: true };
                    // A flow that calls again has not heard what came of it.
                    Ok(family::tell_parent(Decision::reply(standing), turn, &start.origin, progress))
                }
                None if self.barred => Ok(family::refuse_start(turn, &start)),
                None => Moves::of(turn, *start, Progress::new(turn.me.key.as_ref()), None)?.decide(step::Event::Start),
            };
        }
        if let Command::StillIn { limit, ticket } = command {
            return Ok(self.still_in(turn, limit, ticket));
        }
        if let Command::StillRuns { due } = command {
            return Ok(family::still_runs(turn, self.progress.as_ref(), self.barred, due));
        }
        if let Command::Forget { ended_before } = command {
            return Ok(self.forget(ended_before));
        }
        if let (Command::Undo(undo), None) = (&command, &self.progress) {
            return Ok(family::bar(turn, undo));
        }
        let unknown = || Rejection::Unknown(turn.me.key.to_string());
        let (start, progress) = self.start.clone().zip(self.progress.clone()).ok_or_else(unknown)?;
        let undo = match &command {
            Command::Undo(undo) => Some(undo.clone()),
            _ => None,
        };
        let event = event_of(turn.me, &progress, command)?;
        let moves = Moves::of(turn, start, progress, Some(self.at))?;
        moves.found_by(&self.traits).taken_back_for(self.undo.clone(), undo).decide(event)
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
            Event::UndoAsked { undo } => self.undo = Some(undo.clone()),
            Event::Found { traits } => self.traits = Traits::clone(traits),
            Event::Barred { at } => {
                self.barred = true;
                (self.at, self.updated) = (*at, *at);
            }
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        orders::reported(errand, report)
    }

    fn undeliverable(to: &ActorId, body: &[u8], reason: &str) -> Option<Command> {
        orders::undeliverable(to, body, reason)
    }

    fn label(&self) -> Label {
        match self.progress.as_ref().map(Progress::phase) {
            None | Some(Phase::Running | Phase::Undoing) => Label::Idle,
            Some(Phase::Suspended | Phase::Queued) => Label::Suspended,
            Some(Phase::Paused | Phase::Stuck) => Label::Stuck,
            Some(Phase::Done | Phase::Failed | Phase::Cancelled | Phase::Killed) => Label::Done,
        }
    }
}

impl Flow {
    /// Who has ended, or is another life than the one that was let in, leaves; of one that never was nothing stays.
    fn still_in(&self, turn: &Turn<'_>, limit: Limit, ticket: u32) -> Decision<Self> {
        let is_in = |progress: &Progress| progress.gates.contains_key(&limit) && progress.ends == ticket;
        if self.progress.as_ref().is_some_and(is_in) {
            return Decision::default();
        }
        let Some(gate) = turn.from.map(|gate| gate.key.clone()) else { return Decision::default() };
        let leave = gate::Command::Leave { flow: turn.me.key.to_string(), ticket };
        let decision = Decision::default().tell::<Gate>(gate, &leave);
        decision.when(self.progress.is_none() && !self.barred, Decision::end)
    }

    fn forget(&self, ended_before: Time) -> Decision<Self> {
        let phase = self.progress.as_ref().map(Progress::phase);
        match phase.filter(|phase| phase.is_end() && self.updated < ended_before) {
            Some(phase) => {
                let lists = [list_row(None, self.at), list_row(Some(phase), self.at)];
                lists.into_iter().chain(self.found_rows()).fold(Decision::default(), Decision::delete).end()
            }
            None => Decision::default(),
        }
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
