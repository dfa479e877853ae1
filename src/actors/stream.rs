//! A stream: an object with its history, or a local list of records that effects append to.
//!
//! ```text
//! object:  none ──create──▶ live ──update──▶ live ──delete──▶ gone (for ever: the address is never used again)
//! ```
//! Whatever changes an object is published in the same turn: logged, and put into the outbox of each peer, by the page.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::announce::{self, News};
use super::entity::{ActorId, Decision, Entity, Kind, Turn};
use super::flow::Place;
use super::offers::{self, Answer};
pub use super::offers::{Allocation, allocation_rows};
use super::publish::{self, FanOut, Published, Writer};
use super::reactions::{self, Given, Reaction};
use super::rows::{Index, Reads, RowKey, Rows, part, parts};
use super::steps::Wanted;
use super::takeback;
pub use super::takeback::Undo;
use super::world::World;
use crate::clock::Time;
use crate::domains::activity::Verb;
use crate::domains::effects::StreamOp;
use crate::domains::identity::Iri;
use crate::domains::object::Object;
use crate::domains::types::{FieldMistake, Type, Visibility};
use crate::store::Key;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// The declared type, for an object.
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub deleted: bool,
    /// Changes of the object so far.
    #[serde(default)]
    pub version: u64,
    /// The number of the last record.
    #[serde(default)]
    pub last: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Create(Create),
    Update {
        changes: Value,
    },
    Delete,
    /// Offers the object to a collection of another node.
    Allocate {
        target: Iri,
        to: Iri,
    },
    /// The word of the one that was asked.
    Answered {
        activity: String,
        accepted: bool,
        #[serde(default)]
        result: Option<Iri>,
        /// What it says about that to people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        words: Option<String>,
    },
    /// An activity of ours did not reach whom it was for, and nobody tries any more.
    Undelivered {
        activity: String,
        reason: String,
        /// Every try was answered no, so that nothing came of it.
        #[serde(default)]
        refused: bool,
    },
    /// One page of the walk over the followers.
    FanOut(FanOut),
    /// Tells followers that this node's own actor has changed.
    Announce(News),
    /// A step of a flow.
    Effect {
        flow: String,
        place: Place,
        op: StreamOp,
        #[serde(default)]
        tries: u32,
        /// It may be taken back, so that what was there before is kept.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// A step of a flow is taken back.
    Undo(Box<Undo>),
    /// A step of a flow offers the object, and waits for the answer.
    Ask {
        flow: String,
        place: Place,
        target: Iri,
        to: Iri,
    },
    /// The offer of a step is taken back, whatever its answer was or will be.
    Unask {
        flow: String,
        place: Place,
    },
    /// Somebody likes, shares or replies to the object.
    React {
        reaction: Reaction,
        given: Given,
    },
    /// Somebody does so no more.
    Unreact {
        reaction: Reaction,
        given: Given,
    },
}

/// A new object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Create {
    pub kind: String,
    pub fields: Value,
    /// More recipients than the followers.
    #[serde(default)]
    pub to: Vec<Iri>,
    #[serde(default)]
    pub visibility: Option<Visibility>,
    #[serde(default)]
    pub attributed_to: Option<Iri>,
    /// The address of a collection of ours that it goes into.
    #[serde(default)]
    pub into: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Created {
        kind: String,
        activity: String,
    },
    Updated {
        activity: String,
    },
    Deleted {
        activity: String,
    },
    Allocated {
        activity: String,
        target: Iri,
        to: Iri,
    },
    Answered {
        activity: String,
        accepted: bool,
        #[serde(default)]
        result: Option<Iri>,
    },
    Appended {
        seq: u64,
    },
    Linked {
        what: String,
    },
    /// A record was taken back.
    Removed {
        seq: u64,
    },
    Unlinked {
        what: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the address {0} is taken; choose another slug")]
    Taken(String),
    #[error("{0} was deleted, and its address is not used again")]
    Gone(String),
    #[error("there is nothing at {0}")]
    NotFound(String),
    #[error("there is no type {0}; [type.{0}] in the configuration would declare one")]
    UnknownType(String),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldMistake>),
}

/// What a write came to.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    #[serde(default)]
    pub id: Option<Iri>,
    /// The activity that tells others.
    #[serde(default)]
    pub activity: Option<Iri>,
}

/// A record of a local list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    pub at: Time,
    pub value: Value,
}

/// Something that is in a collection of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linked {
    pub what: String,
    #[serde(default)]
    pub title: Option<String>,
    pub at: Time,
}

/// The name of the stream of the object at this address.
pub fn object_stream(path: &str) -> String {
    format!("object/{path}")
}

/// The name of a local list.
pub fn local_stream(name: &str) -> String {
    format!("local/{name}")
}

pub fn object_row(path: &str) -> RowKey {
    RowKey::Index(Index::Objects, parts([path]))
}

pub fn record_rows() -> Key {
    parts(["record"])
}

/// Where the entries of a collection of ours stand.
pub fn linked_rows(path: &str) -> Key {
    parts([path])
}

pub(super) fn done_key(effect_key: &str) -> Key {
    parts(["done", effect_key])
}

/// What is kept of effects that were done, so that each is done once.
pub(super) fn done_keys() -> Key {
    parts(["done"])
}

pub(super) fn path_of(me: &ActorId) -> &str {
    me.key.split_once('/').map_or(&*me.key, |(_, path)| path)
}

impl Entity for Stream {
    const KIND: Kind = Kind::Stream;
    type Command = Command;
    type Event = Event;
    type Reply = Written;
    type Rejection = Rejection;

    fn reads(me: &ActorId, command: &Command) -> Reads {
        let object = |reads: Reads| reads.entry("object", Index::Objects, parts([path_of(me)]));
        match command {
            Command::Create(_) => Reads::none(),
            Command::Update { .. } | Command::Delete | Command::Allocate { .. } => object(Reads::none()),
            Command::Answered { activity, .. } | Command::Undelivered { activity, .. } => offers::reads_sent(activity),
            Command::FanOut(walk) => publish::reads(walk),
            Command::Announce(news) => announce::reads(news),
            Command::Effect { place, op, .. } => {
                let marks = Reads::none().own("done", done_key(&place.key));
                let marks = marks.own("undone", takeback::undone_key(&place.key));
                match op {
                    StreamOp::Append { .. } | StreamOp::CreateObject { .. } => marks,
                    StreamOp::UpdateObject { .. } | StreamOp::Link { .. } => object(marks),
                }
            }
            Command::Undo(undo) => object(takeback::reads(Reads::none(), undo)),
            Command::Ask { place, .. } => object(offers::reads_of(Reads::none(), place)),
            Command::Unask { place, .. } => offers::reads_of(Reads::none(), place),
            Command::React { reaction, given } | Command::Unreact { reaction, given } => {
                object(reactions::reads(Reads::none(), *reaction, given))
            }
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Create(create) => self.create(turn, Writer::Api, create).map(|(decision, _)| decision),
            Command::Update { changes } => self.update(turn, Writer::Api, rows, &changes).map(|(decision, _)| decision),
            Command::Delete => self.delete(turn, rows, Writer::Api),
            Command::Allocate { target, to } => self.allocate(turn, rows, target, to),
            Command::Answered { activity, accepted, result, words } => {
                Ok(offers::answered(turn, rows, Answer { activity, accepted, result, words }))
            }
            Command::Undelivered { activity, reason, refused } => {
                Ok(offers::undelivered(rows, &activity, &reason, refused))
            }
            Command::FanOut(walk) => Ok(publish::fan_out(turn, rows, walk)),
            Command::Announce(news) => Ok(announce::tell(turn, rows, news)),
            Command::Effect { flow, place, op, tries, undo } => {
                Ok(self.effect(turn, rows, Wanted { flow, place, op, tries, undo }))
            }
            Command::Undo(undo) => Ok(self.undo(turn, rows, *undo)),
            Command::Ask { flow, place, target, to } => Ok(self.ask(turn, rows, flow, place, target, to)),
            Command::Unask { flow, place } => Ok(self.unask(turn, rows, flow, place)),
            Command::React { reaction, given } => Ok(reactions::given(rows, reaction, &given)),
            Command::Unreact { reaction, given } => Ok(reactions::taken_back(rows, reaction, &given)),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Created { kind, .. } => {
                self.kind = Some(kind.clone());
                self.version = 1;
            }
            Event::Updated { .. } => self.version += 1,
            Event::Deleted { .. } => self.deleted = true,
            Event::Appended { seq } => self.last = *seq,
            Event::Allocated { .. }
            | Event::Answered { .. }
            | Event::Linked { .. }
            | Event::Removed { .. }
            | Event::Unlinked { .. } => {}
        }
    }
}

impl Stream {
    pub(super) fn create(
        &self,
        turn: &Turn<'_>,
        writer: Writer,
        create: Create,
    ) -> Result<(Decision<Self>, Value), Rejection> {
        let path = path_of(turn.me);
        match (&self.kind, self.deleted) {
            (_, true) => return Err(Rejection::Gone(path.to_owned())),
            (Some(_), false) => return Err(Rejection::Taken(path.to_owned())),
            (None, false) => {}
        }
        let declared = declared(turn.world, &create.kind)?;
        let fields = declared.check(&create.fields).map_err(Rejection::Invalid)?;
        let by = create.attributed_to.unwrap_or_else(|| turn.world.actor.clone());
        let mut object = Object::new(declared, path.to_owned(), fields, by, turn.now);
        object.visibility = create.visibility.unwrap_or(object.visibility);
        object.to = create.to;
        let Published { mut decision, id, ulid } = publish::object(turn, writer, Verb::Create, &object);
        if let Some(into) = create.into {
            let linked = Linked { what: id.as_str().to_owned(), title: object.title.clone(), at: turn.now };
            decision = decision.put(linked_row(&into, turn.now), &linked);
        }
        let by_type = RowKey::Index(Index::ObjectsByType, part().text(&object.kind).number(turn.now.0).done());
        let decision = decision.put(by_type, &path).event(Event::Created { kind: object.kind.clone(), activity: ulid });
        Ok((decision, written(&id, &object)))
    }

    pub(super) fn update(
        &self,
        turn: &Turn<'_>,
        writer: Writer,
        rows: &Rows,
        changes: &Value,
    ) -> Result<(Decision<Self>, Value), Rejection> {
        let object = self.object(turn, rows)?;
        let declared = declared(turn.world, &object.kind)?;
        let fields = declared.change(&object.fields, changes).map_err(Rejection::Invalid)?;
        let object = object.changed(declared, fields, turn.now);
        let published = publish::object(turn, writer, Verb::Update, &object);
        let result = written(&published.id, &object);
        Ok((published.decision.event(Event::Updated { activity: published.ulid }), result))
    }

    pub(super) fn delete(&self, turn: &Turn<'_>, rows: &Rows, writer: Writer) -> Result<Decision<Self>, Rejection> {
        let object = self.object(turn, rows)?;
        let published = publish::object(turn, writer, Verb::Delete, &object.gone(turn.now));
        Ok(published.decision.event(Event::Deleted { activity: published.ulid }))
    }

    /// The object of this stream, if it is live.
    pub(super) fn object(&self, turn: &Turn<'_>, rows: &Rows) -> Result<Object, Rejection> {
        let path = path_of(turn.me);
        match rows.one::<Object>("object") {
            Some(object) if object.deleted.is_none() => Ok(object),
            Some(_) => Err(Rejection::Gone(path.to_owned())),
            None => Err(Rejection::NotFound(path.to_owned())),
        }
    }
}

/// What a flow gets as the result of a write.
fn written(id: &Iri, object: &Object) -> Value {
    serde_json::json!({ "id": id.as_str(), "slug": object.path, "type": object.kind })
}

pub(super) fn declared<'a>(world: &'a World, kind: &str) -> Result<&'a Type, Rejection> {
    world.catalog.object_type(kind).ok_or_else(|| Rejection::UnknownType(kind.to_owned()))
}

pub(super) fn linked_row(into: &str, at: Time) -> RowKey {
    RowKey::Index(Index::Linked, part().raw(linked_rows(into).as_bytes()).number(at.0).done())
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
