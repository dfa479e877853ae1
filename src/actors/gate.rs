//! The gate before a flow that has a limit: of those with the same key so many are in, the others wait in the order in
//! which they came.
//!
//! ```text
//! instance: asks ──room──▶ in ──it ends──▶ gone            a rate lets in and forgets: only the times stay
//!             └─none─▶ waits ──room──▶ in
//!                        └──it ends──▶ gone
//! ```
//! Who is in, who waits and when somebody began are rows; the state only counts. Who is in is asked now and then whether
//! that is still so, so that an instance that was lost holds nobody up for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use super::flow::{self, Flow};
use super::passage::Round;
use super::rows::{Index, Reads, RowKey, Rows, part, parts};
use super::runtime::Runtime;
use super::{layout, record};
use crate::clock::Time;
use crate::domains::flow::limits::Limit;
use crate::hex::hex;
use crate::store::{Key, ReadError};

/// Rows looked at in one turn; what is beyond them gets a turn of its own.
pub(super) const PAGE: usize = 64;
/// How often those who are in are asked whether they still are.
pub(super) const AUDIT: Duration = Duration::from_secs(3_600);
/// How long a gate that nobody uses is kept: long enough that everything it ever said has been heard.
const IDLE: Duration = Duration::from_secs(86_400);

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    #[serde(default)]
    pub about: Option<About>,
    /// Instances that are in.
    pub inside: u64,
    pub waiting: u64,
    /// The number of the next that waits.
    pub next: u64,
    /// Beginnings that are kept for a rate, and the number of the next.
    pub kept: u64,
    pub begun: u64,
}

/// What it stands before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub flow: String,
    pub limit: Limit,
    pub key: Value,
    pub max: u32,
    /// Milliseconds, of a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// An instance wants in. The ticket tells apart its lives: a restart asks anew.
    Ask { flow: String, ticket: u32, about: About },
    /// It has ended, whether it was in or waited.
    Leave { flow: String, ticket: u32 },
    /// Somebody has an instance that is in count no more, whatever becomes of it.
    Release {
        flow: String,
        #[serde(default)]
        by: Option<String>,
    },
    /// There may be room.
    Advance,
    /// Asks those who are in whether they still are, a page at a time.
    Audit {
        #[serde(default)]
        after: Option<String>,
    },
    /// Nobody has used it for long.
    Forget,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What it stands before, as the newest definition has it.
    Bound(About),
    Waited {
        flow: String,
    },
    Entered {
        flow: String,
        /// It had to wait.
        waited: bool,
    },
    Left {
        flow: String,
    },
    /// Somebody had it leave.
    Released {
        flow: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// It ended while it waited.
    Withdrawn {
        flow: String,
    },
    /// So many beginnings count no more.
    Expired {
        beginnings: u64,
    },
}

/// A row of one that waits or is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub flow: String,
    pub ticket: u32,
    pub since: Time,
}

/// Where one stands that waits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Stand {
    pub(super) number: u64,
    pub(super) ticket: u32,
}

/// A row of the list of gates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub about: About,
    pub inside: u64,
    pub waiting: u64,
}

/// Instances are refused nothing: whoever asks too often or leaves twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the flow {0} is not in; GET /flows/queues/GATE says who is")]
    NotIn(String),
}

/// The gate of a key: the same for everybody who has the same.
pub fn id(flow: &str, limit: Limit, key: &Value) -> String {
    let digest = Sha256::digest(key.to_string().as_bytes());
    let hash = hex(&digest[..8]);
    format!("{flow}.{}.{hash}", limit.word())
}

/// Those that wait, in order.
pub fn waiting_rows() -> RowKey {
    RowKey::Own(parts(["wait"]))
}

/// Those that are in.
pub fn inside_rows() -> RowKey {
    RowKey::Own(parts(["in"]))
}

/// Where an instance stands that waits: its row among those that do.
///
/// # Errors
/// What the store says.
pub async fn stands(runtime: &Runtime, gate: &str, flow: &str) -> Result<Option<Key>, ReadError> {
    let gate = ActorId::of::<Gate>(gate);
    let place = runtime.engine.get(&layout::row(&gate, &place_row(flow))).await?;
    let stand = place.and_then(|row| record::decode::<Stand>(&row.value).ok());
    Ok(stand.map(|stand| layout::row(&gate, &wait_row(stand.number))))
}

pub(super) fn wait_row(number: u64) -> RowKey {
    RowKey::Own(part().text("wait").number(number).done())
}

pub(super) fn place_row(flow: &str) -> RowKey {
    RowKey::Own(parts(["place", flow]))
}

pub(super) fn inside_row(flow: &str) -> RowKey {
    RowKey::Own(parts(["in", flow]))
}

pub(super) fn begun_row(number: u64) -> RowKey {
    RowKey::Own(part().text("begun").number(number).done())
}

pub(super) fn list_row(about: &About) -> RowKey {
    RowKey::Index(Index::Gates, parts([&about.flow, about.limit.word()]))
}

impl Entity for Gate {
    const KIND: Kind = Kind::Gate;
    type Command = Command;
    type Event = Event;
    type Reply = ();
    type Rejection = Rejection;

    fn reads(_me: &ActorId, command: &Command) -> Reads {
        let queue = |reads: Reads| {
            let reads = reads.own_page("wait", parts(["wait"]), None, PAGE);
            reads.own_page("begun", parts(["begun"]), None, PAGE)
        };
        match command {
            Command::Ask { flow, .. } | Command::Leave { flow, .. } | Command::Release { flow, .. } => {
                queue(Reads::none().own("in", parts(["in", flow])).own("place", parts(["place", flow])))
            }
            Command::Advance => queue(Reads::none()),
            Command::Audit { after } => {
                let after = after.as_ref().map(|flow| parts([flow.as_str()]));
                Reads::none().own_page("in", parts(["in"]), after, PAGE)
            }
            Command::Forget => Reads::none().own_page("begun", parts(["begun"]), None, PAGE),
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        Ok(match command {
            Command::Ask { flow, ticket, about } => {
                self.asked(turn, rows, Place { flow, ticket, since: turn.now }, about)
            }
            Command::Leave { flow, ticket } => self.left(turn, rows, &flow, ticket),
            Command::Release { flow, by } => self.release(turn, rows, flow, by)?,
            Command::Advance => match &self.about {
                Some(about) => Round::of(self, turn, rows, about.clone()).finish(),
                None => Decision::default(),
            },
            Command::Audit { .. } => self.audit(turn, rows),
            Command::Forget => self.forget(turn, rows),
        })
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Bound(about) => self.about = Some(about.clone()),
            Event::Waited { .. } => {
                self.waiting += 1;
                self.next += 1;
            }
            Event::Entered { waited, .. } => {
                self.waiting = self.waiting.saturating_sub(u64::from(*waited));
                match self.about.as_ref().map(|about| about.limit) {
                    Some(Limit::Rate) => {
                        self.kept += 1;
                        self.begun += 1;
                    }
                    _ => self.inside += 1,
                }
            }
            Event::Left { .. } | Event::Released { .. } => self.inside = self.inside.saturating_sub(1),
            Event::Withdrawn { .. } => self.waiting = self.waiting.saturating_sub(1),
            Event::Expired { beginnings } => self.kept = self.kept.saturating_sub(*beginnings),
        }
    }

    /// An instance that cannot be told anything is not in.
    fn undeliverable(to: &ActorId, body: &[u8], _reason: &str) -> Option<Command> {
        match record::decode::<flow::Command>(body).ok()? {
            flow::Command::Enter { ticket, .. } | flow::Command::StillIn { ticket, .. } if to.kind == Kind::Flow => {
                Some(Command::Leave { flow: to.key.to_string(), ticket })
            }
            _ => None,
        }
    }

    fn label(&self) -> Label {
        if self.is_idle() { Label::Done } else { Label::Suspended }
    }
}

impl Gate {
    fn is_idle(&self) -> bool {
        self.inside == 0 && self.waiting == 0
    }

    fn asked(&self, turn: &Turn<'_>, rows: &Rows, who: Place, about: About) -> Decision<Self> {
        if let Some(inside) = rows.one::<Place>("in") {
            // The word that it is in goes to the life that asks now; of another life nothing is left.
            let enter = flow::Command::Enter { limit: about.limit, ticket: who.ticket };
            let decision = Decision::default().tell::<Flow>(who.flow.clone(), &enter);
            return decision.when(inside.ticket != who.ticket, |decision| decision.put(inside_row(&who.flow), &who));
        }
        if rows.first("place").is_some() {
            return Decision::default();
        }
        let mut round = Round::of(self, turn, rows, about);
        round.came(who);
        round.finish()
    }

    fn left(&self, turn: &Turn<'_>, rows: &Rows, flow: &str, ticket: u32) -> Decision<Self> {
        let Some(about) = self.about.clone() else { return Decision::default() };
        let mut round = Round::of(self, turn, rows, about);
        if rows.one::<Place>("in").is_some_and(|place| place.ticket == ticket) {
            round.left(flow);
        } else if let Some(stand) = rows.one::<Stand>("place").filter(|stand| stand.ticket == ticket) {
            round.withdrew(flow, stand.number);
        } else {
            return Decision::default();
        }
        round.finish()
    }

    /// It may still run: then more are under way than the limit says, until it ends.
    fn release(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        flow: String,
        by: Option<String>,
    ) -> Result<Decision<Self>, Rejection> {
        let inside = rows.first("in").is_some();
        let about = self.about.clone().filter(|_| inside).ok_or_else(|| Rejection::NotIn(flow.clone()))?;
        let mut round = Round::of(self, turn, rows, about);
        round.released(flow, by);
        Ok(round.finish())
    }

    fn audit(&self, turn: &Turn<'_>, rows: &Rows) -> Decision<Self> {
        let Some(about) = &self.about else { return Decision::default() };
        let inside: Vec<Place> = rows.page("in").iter().filter_map(super::rows::Found::read).collect();
        let decision = inside.iter().fold(Decision::default(), |decision, place| {
            let still = flow::Command::StillIn { limit: about.limit, ticket: place.ticket };
            decision.tell::<Flow>(place.flow.clone(), &still)
        });
        match inside.last().filter(|_| inside.len() == PAGE) {
            Some(last) => {
                decision.tell::<Self>(turn.me.key.clone(), &Command::Audit { after: Some(last.flow.clone()) })
            }
            None if self.is_idle() => decision,
            // A limit that was raised in the meantime lets others in.
            None => decision.tell::<Self>(turn.me.key.clone(), &Command::Advance).timer(
                "audit",
                turn.now.plus(AUDIT),
                &Command::Audit { after: None },
            ),
        }
    }

    fn forget(&self, turn: &Turn<'_>, rows: &Rows) -> Decision<Self> {
        if !self.is_idle() {
            return Decision::default();
        }
        let begun = rows.page("begun");
        let numbers = begun.iter().filter_map(|row| row.key.parts().number());
        let decision = numbers.fold(Decision::default(), |decision, number| decision.delete(begun_row(number)));
        if begun.len() == PAGE {
            let expired = Event::Expired { beginnings: begun.len() as u64 };
            return decision.event(expired).tell::<Self>(turn.me.key.clone(), &Command::Forget);
        }
        decision.end()
    }
}

/// When an unused gate is forgotten: not before what it counts has run out.
pub(super) fn idle_for(about: &About) -> Duration {
    IDLE.max(about.per.map_or(Duration::ZERO, Duration::from_millis))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
