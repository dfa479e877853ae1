//! One instance of a flow: what its steps do is told to others, what they wait for is rows, and it outlives everything.
//!
//! ```text
//! queued (a limit of its flow) ──let in──▶ running
//! running ⇄ suspended (waits for a signal, a time, a callback) ──▶ done │ failed │ cancelled │ killed
//!    ├────▶ paused (tries used up, or held) ──retry, skip, continue──▶ running
//!    └────▶ undoing ⇄ stuck (an undo's tries used up) ──▶ failed │ cancelled ──restart──▶ running
//! ```
//! The stepping itself is pure and lives in `domains/flow/`; here its facts become messages, errands and timers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::away::{self, Away};
use super::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use super::errands::{Errand, Report};
use super::family;
pub use super::family::child_id;
use super::finding::Traits;
use super::gate::{self, Gate};
use super::hand::Order;
pub(super) use super::instance::list_row;
pub use super::instance::{Brief, HASH_SHOWN, Listed, Origin, Start, id, list_prefix};
use super::lent::{self, Lent};
use super::line::{self, Said};
use super::moves::Moves;
use super::orders::event_of;
pub use super::orders::{Command, Done, Failed, Place, UndoFor};
use super::petition::{self, Petition};
use super::reports;
use super::rows::{Reads, Rows};
use super::runners;
use super::words;
use super::world::World;
use crate::clock::Time;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::limits::Limit;
use crate::domains::flow::progress::{Phase, Progress};
use crate::domains::flow::step;
use crate::domains::trace::Context;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// What it began with; `None` before the start.
    #[serde(default)]
    pub start: Option<Arc<Start>>,
    #[serde(default)]
    pub at: Time,
    #[serde(default)]
    pub updated: Time,
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Who hears when it has been taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<UndoFor>>,
    /// The Undo of the peer that set it off, until it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub petition: Option<Box<Petition>>,
    /// It was taken back before it ever began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub barred: bool,
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
    /// Another node runs it, or shall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Box<Away>>,
    /// How often it was offered to others, while it is not away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holds: u32,
    /// It came home, and stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub here: bool,
    /// It is run here for another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<Box<Lent>>,
    /// What it began as a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Context>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started {
        id: String,
        start: Arc<Start>,
        at: Time,
        /// Its effect keys say when it began.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keyed: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Context>,
    },
    Happened {
        fact: Fact,
        at: Time,
    },
    /// Whoever called it wants it taken back.
    UndoAsked {
        undo: Box<UndoFor>,
    },
    /// The peer that set it off wants it taken back, and is told when it is.
    Petitioned {
        petition: Box<Petition>,
    },
    /// It was taken back before it ever began, so that it never will.
    Barred {
        at: Time,
    },
    /// What became of it with other nodes that run it, or shall.
    Away {
        what: away::Event,
    },
    /// What became of it with the node whose it is.
    Lent {
        what: lent::What,
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
    #[error("the definition {0} is not stored here any more, or came from a newer binary: install one that can run it")]
    NoDefinition(String),
    #[error("flow {0} is not with whoever says this: it was never given to it, or is not any more")]
    NotHeld(String),
    #[error("what is numbered from {from} is missing here: send it first")]
    Missing { from: u64 },
    #[error(transparent)]
    Step(#[from] step::Rejection),
}

/// Where an instance stands.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    #[serde(default)]
    pub phase: Option<Phase>,
    /// It had been started before by the same request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existed: bool,
}

impl Entity for Flow {
    const KIND: Kind = Kind::Flow;
    type Command = Command;
    type Event = Event;
    type Reply = Standing;
    type Rejection = Rejection;

    fn reads(_me: &ActorId, command: &Command) -> Reads {
        match command {
            Command::Heard { said: Said::Words { upto, .. }, .. } => line::reads(words::WORDS, *upto, line::PAGE),
            Command::Runner(Order::ComeHome) => line::reads(words::WORDS, 0, line::PAGE),
            // Which of the two it is that speaks is known to its state only.
            Command::Runner(Order::Speak { after: 0 }) => {
                let turns = line::reads(lent::TURNS, 0, line::PAGE);
                Reads([turns.0, line::reads(words::WORDS, 0, line::PAGE).0].concat())
            }
            Command::Runner(Order::Speak { after }) => line::reads(words::WORDS, *after, line::PAGE),
            Command::Heard { said: Said::Turns { .. }, .. } => line::reads(lent::TURNS, 0, 2 * line::PAGE),
            _ => Reads::none(),
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        if let Command::Start(start) = command {
            return match &self.progress {
                Some(progress) if family::goes_on(progress, &start) => self.go_on(turn, &start),
                Some(progress) => {
                    let standing = Standing { phase: Some(progress.phase()), existed: true };
                    // A flow that calls again has not heard what came of it.
                    Ok(family::tell_parent(Decision::reply(standing), turn, &start.origin, progress))
                }
                None if self.barred => Ok(family::refuse_start(turn, &start)),
                None if self.goes_away(turn, Some(&start)) => self.decide_away(turn, rows, Command::Start(start)),
                None => {
                    let born = Some(turn.now).filter(|_| start.origin.comes_again());
                    let progress = Progress { born, ..Progress::new(turn.me.key.as_ref()) };
                    Moves::of(turn, Arc::from(start), progress, None, turn.trace)?.decide(step::Event::Start)
                }
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
        match (&command, &self.progress) {
            (Command::Undo(undo), None) => return Ok(family::bar(turn, undo)),
            (Command::TakeBack { petition, .. }, None) => return Ok(petition::bar(turn, petition.as_deref())),
            _ => {}
        }
        if let Command::Lend(lend) = command {
            return self.lend(turn, *lend);
        }
        let unknown = || Rejection::Unknown(turn.me.key.to_string());
        match (&command, &self.lent) {
            (Command::Told(_), None) if self.away.is_none() => return Err(Rejection::NotHeld(turn.me.key.to_string())),
            (Command::Told(_), Some(_)) => return Err(Rejection::NotHeld(turn.me.key.to_string())),
            (_, Some(lent)) => return self.decide_lent(turn, rows, lent, command),
            (Command::Words { .. } | Command::Released { .. }, None) => return Err(unknown()),
            _ => {}
        }
        if let Command::Runner(Order::Release { at, instance, hold, tries }) = command {
            return Ok(runners::let_go(turn, Decision::default(), at, instance, hold, tries));
        }
        let command = match command {
            Command::Heard { said: said @ Said::Release { .. }, report } => {
                return Ok(runners::told_to_let_go(turn, said, report));
            }
            Command::Heard { said: Said::Offer { at, hold }, report } if self.away.is_none() => {
                return Ok(runners::too_late(turn, at, hold, report));
            }
            Command::Heard { .. } | Command::Runner(_) if self.away.is_none() => return Ok(Decision::default()),
            command => command,
        };
        if self.goes_away(turn, None) {
            return self.decide_away(turn, rows, command);
        }
        let (start, progress) = self.start.clone().zip(self.progress.clone()).ok_or_else(unknown)?;
        let (undo, petition) = match &command {
            Command::Undo(undo) => (Some(undo.clone()), None),
            Command::TakeBack { petition, .. } => (None, petition.clone()),
            _ => (None, None),
        };
        let event = event_of(turn.me, &progress, command)?;
        let moves = Moves::of(turn, start, progress, Some(self.at), self.trace.as_ref())?;
        let moves = moves.found_by(&self.traits).taken_back_for(self.undo.clone(), undo);
        moves.petitioned(self.petition.clone(), petition).decide(event)
    }

    fn is_long(&self, world: &World, command: &Command) -> bool {
        let (definition, input, kept) = match (command, &self.start) {
            (Command::Start(start), None) => (&start.definition, &start.input, 0),
            (Command::Lend(lend), _) => (&lend.definition, &lend.input, lend.progress.kept),
            (_, Some(start)) => {
                (&start.definition, &start.input, self.progress.as_ref().map_or(0, |progress| progress.kept))
            }
            (_, None) => return false,
        };
        let compiled = world.catalog.definition(definition);
        compiled.is_some_and(|it| it.effort.is_long(|| input.bytes() + kept + command.brings()))
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Started { id, start, at, keyed, trace } => {
                self.trace.clone_from(trace);
                let born = Some(*at).filter(|_| *keyed);
                self.progress = Some(Progress { born, ..Progress::new(id.as_str()) });
                self.start = Some(start.clone());
                (self.at, self.updated) = (*at, *at);
            }
            Event::Happened { fact, at } => {
                self.updated = *at;
                if let Some(progress) = &mut self.progress {
                    progress.apply(fact);
                    // It is answered in the turn of the end.
                    self.petition.take_if(|_| progress.end.is_some());
                }
            }
            Event::Petitioned { petition } => self.petition = Some(petition.clone()),
            Event::UndoAsked { undo } => self.undo = Some(undo.clone()),
            Event::Away { what } => {
                let mut away =
                    self.away.take().unwrap_or_else(|| Box::new(Away { hold: self.holds, ..Away::default() }));
                if away.apply(what) {
                    self.away = Some(away);
                } else {
                    self.holds = away.hold;
                    self.here |= matches!(what, away::Event::Home);
                }
            }
            Event::Lent { what } => match (what, &mut self.lent) {
                (lent::What::Begun { lent, progress }, _) => {
                    (self.lent, self.progress) = (Some(lent.clone()), Some(Progress::clone(progress)));
                }
                (what, Some(lent)) => lent.apply(what),
                (_, None) => {}
            },
            Event::Found { traits } => self.traits = Traits::clone(traits),
            Event::Barred { at } => {
                self.barred = true;
                (self.at, self.updated) = (*at, *at);
            }
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        reports::reported(errand, report)
    }

    fn undeliverable(to: &ActorId, body: &[u8], reason: &str) -> Option<Command> {
        reports::undeliverable(to, body, reason)
    }

    fn is_lacking(rejection: &Rejection) -> bool {
        matches!(rejection, Rejection::NoDefinition(_))
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
    /// The span of the instance of this id.
    pub fn span(&self, id: &str) -> Context {
        Context::of_flow(self.trace.as_ref(), id)
    }

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

    /// Was killed, and whoever called it calls again.
    fn go_on(&self, turn: &Turn<'_>, again: &Start) -> Result<Decision<Self>, Rejection> {
        let unknown = || Rejection::Unknown(turn.me.key.to_string());
        let (start, progress) = self.start.clone().zip(self.progress.clone()).ok_or_else(unknown)?;
        let moves = Moves::of(turn, start, progress, Some(self.at), self.trace.as_ref())?;
        let event = family::going_on(&moves, again);
        moves.found_by(&self.traits).decide(event)
    }

    fn forget(&self, ended_before: Time) -> Decision<Self> {
        let phase = self.progress.as_ref().map(Progress::phase);
        // Its home has to hear of the end first.
        let owes = self.lent.as_ref().is_some_and(|lent| !lent.gone && lent.line.made > lent.line.heard);
        match phase.filter(|phase| phase.is_end() && self.updated < ended_before && !owes) {
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
