//! What an actor is: a small state, a pure decision about each message, and a total `apply`.
//!
//! Everything a kind does is in these three functions; the shell in `host.rs` does the rest for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::errands::{Errand, Report};
use super::record;
use super::rows::{Reads, RowKey, Rows};
use super::world::World;
use crate::clock::{Time, ulid};
use crate::domains::trace::Context;

/// The kinds of actor. The order is that of message rows of several senders to one receiver: a follower's Accept comes
/// before what a stream has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Inbox,
    Follower,
    Following,
    Outbox,
    Flow,
    Stream,
    Gate,
    Schedule,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Inbox,
        Self::Follower,
        Self::Following,
        Self::Outbox,
        Self::Flow,
        Self::Stream,
        Self::Gate,
        Self::Schedule,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Follower => "follower",
            Self::Following => "following",
            Self::Outbox => "outbox",
            Self::Flow => "flow",
            Self::Stream => "stream",
            Self::Gate => "gate",
            Self::Schedule => "schedule",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Names one actor: its kind, and the authority, address or id that it is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId {
    pub kind: Kind,
    pub key: Arc<str>,
}

impl ActorId {
    pub fn new(kind: Kind, key: impl Into<Arc<str>>) -> Self {
        Self { kind, key: key.into() }
    }

    pub fn of<E: Entity>(key: impl Into<Arc<str>>) -> Self {
        Self::new(E::KIND, key)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.kind.name(), self.key)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Whether an actor waits for something that may take weeks; shown to people, and a reason to leave memory at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    #[default]
    Idle,
    Suspended,
    Done,
    Stuck,
}

/// A kind of durable actor: the state itself, with the rules of its turns.
pub trait Entity: Default + Clone + Serialize + DeserializeOwned + Send + Unpin + 'static {
    const KIND: Kind;

    /// An order to it, from outside, from another actor, or from its own timer.
    type Command: Serialize + DeserializeOwned + fmt::Debug + Send + Unpin + 'static;
    /// A fact that a turn established; stored for ever, so variants and fields are only added.
    type Event: Serialize + DeserializeOwned + fmt::Debug + Send + Unpin + 'static;
    /// What the one who asked gets once the turn is on disk.
    type Reply: Serialize + DeserializeOwned + Default + Send + Unpin + 'static;
    /// Why a command is refused: a state of affairs, and the caller's mistake.
    type Rejection: std::error::Error + Send + Unpin + 'static;

    /// The rows that [`decide`](Self::decide) needs for this command. Pure.
    fn reads(_me: &ActorId, _command: &Self::Command) -> Reads {
        Reads::none()
    }

    /// Every rule of the kind. Pure: no IO, no clock, no randomness, no log.
    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Self::Command) -> Result<Decision<Self>, Self::Rejection>;

    /// Deciding about it may keep the thread for long, so that it is done on another.
    fn is_long(&self, _world: &World, _command: &Self::Command) -> bool {
        false
    }

    /// Takes over what an event says. Total: holds no rule and cannot fail.
    fn apply(&mut self, event: &Self::Event);

    /// The command that carries the result of an errand back. `None` for kinds that send nobody out.
    fn reported(_errand: Errand, _report: Report) -> Option<Self::Command> {
        None
    }

    /// The command that tells a kind that a message it sent, with this body, ended as a dead letter. `None` if it does
    /// not wait for any.
    fn undeliverable(_to: &ActorId, _body: &[u8], _reason: &str) -> Option<Self::Command> {
        None
    }

    /// Whether a rejection says nothing about the message, so that nobody may drop it: this node lacks something.
    fn is_lacking(_rejection: &Self::Rejection) -> bool {
        false
    }

    fn label(&self) -> Label {
        Label::Idle
    }

    /// The state as people and programs may see it.
    fn view(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What a decision may know besides state, rows and command: all that would otherwise make it impure.
pub struct Turn<'a> {
    pub me: &'a ActorId,
    /// The actor whose message this is; `None` for the outside and for its own timers and errands.
    pub from: Option<&'a ActorId>,
    pub now: Time,
    /// Fresh for each turn; ids are made from it.
    pub random: [u8; 16],
    pub world: &'a World,
    /// The trace of what it answers to. It names work for those who look, and decides nothing.
    pub trace: Option<&'a Context>,
    /// Somebody reads the lines of a turn, so that they are worth writing.
    pub noted: bool,
    /// It has timers: there may be one to cancel.
    pub timed: bool,
}

impl Turn<'_> {
    /// The `nth` new id of this turn, in the order of time and of turns. It contains the incarnation of the node, behind
    /// the time.
    pub fn ulid(&self, nth: u8) -> String {
        let mut random = self.random;
        let [.., high, low] = self.world.incarnation.to_be_bytes();
        (random[0], random[1]) = (high, low);
        random[9] = random[9].wrapping_add(nth);
        ulid(self.now, random)
    }
}

/// What a turn does, as data: nothing of it is true before the batch that holds all of it is on disk.
pub struct Decision<E: Entity> {
    pub(super) reply: E::Reply,
    pub(super) events: Vec<E::Event>,
    pub(super) rows: Vec<(RowKey, Option<Bytes>)>,
    pub(super) messages: Vec<Outgoing>,
    pub(super) timers: BTreeMap<String, Option<(Time, Bytes)>>,
    pub(super) errands: Vec<(Errand, Option<Context>)>,
    /// The trace of what leaves from now on, where it is not that of the turn.
    pub(super) within: Option<Context>,
    pub(super) notes: Vec<Note>,
    pub(super) ends: bool,
}

/// A line of the log about something that is true with the turn.
pub struct Note {
    pub(super) what: &'static str,
    pub(super) step: String,
    pub(super) item: Option<u32>,
    pub(super) span: Context,
}

/// A message to another actor, or to itself in a later turn.
pub struct Outgoing {
    pub(super) to: ActorId,
    pub(super) body: Bytes,
    pub(super) trace: Option<Context>,
}

impl<E: Entity> Default for Decision<E> {
    fn default() -> Self {
        Self::reply(E::Reply::default())
    }
}

impl<E: Entity> Decision<E> {
    /// A turn that changes nothing yet and answers this.
    pub fn reply(reply: E::Reply) -> Self {
        Self {
            reply,
            events: Vec::new(),
            rows: Vec::new(),
            messages: Vec::new(),
            timers: BTreeMap::new(),
            errands: Vec::new(),
            within: None,
            notes: Vec::new(),
            ends: false,
        }
    }

    pub fn event(mut self, event: E::Event) -> Self {
        self.events.push(event);
        self
    }

    pub fn events(mut self, events: impl IntoIterator<Item = E::Event>) -> Self {
        self.events.extend(events);
        self
    }

    pub fn put(mut self, key: RowKey, value: &impl Serialize) -> Self {
        self.rows.push((key, Some(record::encode(value))));
        self
    }

    pub fn delete(mut self, key: RowKey) -> Self {
        self.rows.push((key, None));
        self
    }

    pub fn tell<To: Entity>(mut self, key: impl Into<Arc<str>>, command: &To::Command) -> Self {
        let (to, body, trace) = (ActorId::of::<To>(key), record::encode(command), self.within.clone());
        self.messages.push(Outgoing { to, body, trace });
        self
    }

    /// Sets the timer of this name, in place of an earlier one of the same name.
    pub fn timer(mut self, name: &str, due: Time, command: &E::Command) -> Self {
        self.timers.insert(name.to_owned(), Some((due, record::encode(command))));
        self
    }

    pub fn cancel(mut self, name: &str) -> Self {
        self.timers.insert(name.to_owned(), None);
        self
    }

    pub fn errand(mut self, errand: Errand) -> Self {
        self.errands.push((errand, self.within.clone()));
        self
    }

    /// What is told and sent from here on belongs to this trace; without one to that of the turn.
    pub fn within(mut self, trace: Option<Context>) -> Self {
        self.within = trace;
        self
    }

    pub(super) fn note(mut self, note: Note) -> Self {
        self.notes.push(note);
        self
    }

    /// With this turn nothing is left of the actor: its state, events, timers and errands go. Rows of its own and its
    /// entries in lists go only if the decision deletes them; a later command finds an actor that never was.
    pub fn end(mut self) -> Self {
        self.ends = true;
        self
    }

    /// `change` if `condition` holds.
    pub fn when(self, condition: bool, change: impl FnOnce(Self) -> Self) -> Self {
        if condition { change(self) } else { self }
    }

    /// True when the turn leaves no trace, so that nothing needs to be written for it.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.rows.is_empty()
            && self.messages.is_empty()
            && self.timers.is_empty()
            && self.errands.is_empty()
            && !self.ends
    }
}
