//! What is stored of an actor, to the byte: self-describing MessagePack with named fields, so that later versions can add.
//!
//! Fields and variants are added, never renamed or removed; golden files under `tests/golden/` hold each form.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::entity::{ActorId, Label};
use crate::clock::Time;
use crate::domains::trace::Context;

thread_local! {
    /// Room to write in, so that each value is copied once into bytes that are just as many.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// Room that is kept for the next value; what needs more is rare.
const ROOM_BYTES_MAX: usize = 64 << 10;
/// Levels of a stored value: twice those of any JSON in it, and few enough for the stack of any thread.
const DEPTH_MAX: usize = 256;

/// Writes a value as it is stored.
pub fn encode(value: &(impl Serialize + ?Sized)) -> Bytes {
    let mut room = ROOM.take();
    room.clear();
    rmp_serde::encode::write_named(&mut room, value).expect("our own records have string keys and known lengths");
    let encoded = Bytes::copy_from_slice(&room);
    if room.capacity() <= ROOM_BYTES_MAX {
        ROOM.set(room);
    }
    encoded
}

/// Reads a stored value. One that is nested deeper than any that we store is damaged.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut input = rmp_serde::Deserializer::from_read_ref(bytes);
    input.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut input)
}

/// The last snapshot of an actor, and what the shell keeps of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// The turn after which the snapshot was taken; 0 as long as the events say all there is to say.
    pub turn: u64,
    /// The turn that wrote this, when that is another one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written: u64,
    pub at: Time,
    #[serde(default)]
    pub label: Label,
    /// The state, encoded; empty where the events say all.
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    pub state: Bytes,
    #[serde(default, skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta,
}

/// Reads the state of a snapshot; an empty one is that of an actor to which nothing has happened.
pub fn state<E: Default + DeserializeOwned>(stored: &[u8]) -> Result<E, rmp_serde::decode::Error> {
    if stored.is_empty() { Ok(E::default()) } else { decode(stored) }
}

/// What an actor has going besides its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Name and due time of each timer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timers: BTreeMap<String, Time>,
    /// Turn, place and due time of each errand that is not done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errands: BTreeMap<(u64, u64), Time>,
    /// Event rows up to this turn have been trimmed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trimmed: u64,
    /// Tells the messages of this life from those of one that ended before it under the same name.
    #[serde(default, skip_serializing_if = "Birth::is_unknown")]
    pub birth: Birth,
}

/// When a life began, and a number drawn then. Unknown for one that began before this was noted, whose turns count from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    pub at: Time,
    pub mark: u32,
}

/// Turns that a life can take in a millisecond: more than any does, so that the turns of a later life come after it.
const TURNS_PER_MILLISECOND: u64 = 1 << 20;

impl Birth {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// The number of a turn, and of one of its messages, among those of all lives of the actor. Turn numbers begin again
    /// with each life; a message of an earlier one may still wait, and must not be written over.
    pub fn among_all_lives(self, turn: u64, nth: u64) -> (u64, u64) {
        let turn = self.at.0.saturating_mul(TURNS_PER_MILLISECOND).saturating_add(turn);
        (turn, u64::from(self.mark) << 32 | nth)
    }
}

impl Meta {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn apply(&mut self, change: &Changes) {
        for (name, due) in &change.timers {
            match due {
                Some(due) => drop(self.timers.insert(name.clone(), *due)),
                None => drop(self.timers.remove(name)),
            }
        }
        self.errands.extend(change.errands.iter().copied());
        for done in &change.errands_done {
            self.errands.remove(done);
        }
        self.trimmed = self.trimmed.max(change.trimmed);
    }
}

/// How one turn changed [`Meta`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<(String, Option<Time>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errands: Vec<((u64, u64), Time)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errands_done: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trimmed: u64,
}

impl Changes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What one turn established.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TurnRecord<Event> {
    pub at: Time,
    pub cause: Cause,
    pub events: Vec<Event>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// How many messages left with this turn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages: u64,
}

/// What a turn answered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Somebody outside asked.
    Asked,
    /// A message of this actor.
    Message(ActorId),
    /// Its own timer of this name.
    Timer(String),
    /// An errand of this turn and place came back.
    Errand(u64, u64),
}

/// A message, timer or errand that waits, with the tries that ended in a panic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    #[serde(default)]
    pub attempts: u32,
    /// The encoded command; for an errand the errand itself.
    pub body: Bytes,
    /// What it is a part of, for those who look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Context>,
}

impl Waiting {
    pub fn new(body: Bytes) -> Self {
        Self { attempts: 0, body, trace: None }
    }
}

/// The answer kept for a repeat of a request under the same idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub at: Time,
    /// SHA-256 of the request, so that another request under the same key is told apart.
    pub fingerprint: Bytes,
    pub reply: Bytes,
    /// The instance of a flow that the request began; the answer stays as long as that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
}

/// A message that was given up, with all that is needed to try it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    pub at: Time,
    pub to: ActorId,
    #[serde(default)]
    pub from: Option<ActorId>,
    pub reason: String,
    /// The row that it was, and what the row held.
    pub key: Bytes,
    pub waiting: Waiting,
}
