//! Rows of an actor: what a turn asks to read, and what it was given.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::entity::ActorId;
use super::{layout, record};
use crate::store::key::Builder;
use crate::store::{Key, Span};

/// Names a row that an actor may write: one of its own, or its entry in a list that all actors of a node share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    Own(Key),
    /// The list, and where in it this actor's entry sorts. The actor's name is added, so that entries never collide.
    Index(Index, Key),
}

/// The shared lists. Each is a range of rows, ordered by what is named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// Every activity made or accepted here, by its local ulid: what `/activities` and `/outbox` show.
    Activities,
    /// Accepted followers, by authority, inbox and actor.
    Followers,
    /// Followers and those who asked, by actor.
    FollowersByActor,
    /// Whom this node follows, by actor.
    Following,
    /// Flow instances by state and start.
    Flows,
    /// Objects by their address below the base.
    Objects,
    /// Objects by type and creation.
    ObjectsByType,
    /// What is in collections of ours, by collection and time.
    Linked,
    /// Deliveries that were given up, by time.
    Undelivered,
    /// Gates that somebody is in or waits at, by flow and limit.
    Gates,
    /// Peers that failed and have something waiting, by authority.
    Outboxes,
    /// Flow instances by what they are found by, then by start.
    FlowsBy,
    /// Where our activities go and what became of that, by activity and recipient.
    Deliveries,
}

impl Index {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Activities => 1,
            Self::Followers => 2,
            Self::Following => 3,
            Self::Flows => 4,
            Self::Objects => 5,
            Self::ObjectsByType => 6,
            Self::Outboxes => 7,
            Self::FollowersByActor => 8,
            Self::Linked => 9,
            Self::Undelivered => 10,
            Self::Gates => 11,
            Self::FlowsBy => 12,
            Self::Deliveries => 13,
        }
    }
}

/// Builds one part of a row's key.
pub fn part() -> Builder {
    Key::build()
}

/// The key of text parts, the commonest kind.
pub fn parts<const N: usize>(parts: [&str; N]) -> Key {
    parts.into_iter().fold(Key::build(), Builder::text).done()
}

/// The rows a turn asks for, each under a name of its own.
#[derive(Debug, Clone, Default)]
pub struct Reads(pub(super) Vec<(&'static str, Wanted)>);

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    One(RowKey),
    /// Rows under a prefix, after a place in it.
    Page {
        under: RowKey,
        after: Option<Key>,
        limit: usize,
    },
}

impl Reads {
    pub fn none() -> Self {
        Self::default()
    }

    /// A row of the actor's own.
    pub fn own(mut self, name: &'static str, key: Key) -> Self {
        self.0.push((name, Wanted::One(RowKey::Own(key))));
        self
    }

    /// The actor's own rows under `prefix`, after `after`, at most `limit`.
    pub fn own_page(mut self, name: &'static str, prefix: Key, after: Option<Key>, limit: usize) -> Self {
        self.0.push((name, Wanted::Page { under: RowKey::Own(prefix), after, limit }));
        self
    }

    /// A page of a shared list under `prefix`, whoever wrote the entries.
    pub fn list(mut self, name: &'static str, index: Index, prefix: Key, after: Option<Key>, limit: usize) -> Self {
        self.0.push((name, Wanted::Page { under: RowKey::Index(index, prefix), after, limit }));
        self
    }

    /// The first entry of a shared list at exactly `key`, whoever wrote it.
    pub fn entry(self, name: &'static str, index: Index, key: Key) -> Self {
        self.list(name, index, key, None, 1)
    }
}

/// The prefix of a page, and the rows that it wants of the store.
pub(super) fn page(me: &ActorId, under: &RowKey, after: Option<&Key>, limit: usize) -> (Key, Span) {
    let prefix = layout::row_prefix(me, under);
    let span = Span::prefix(&prefix, limit);
    let span = match after {
        Some(after) => span.after(&Key::build().raw(prefix.as_bytes()).raw(after.as_bytes()).done()),
        None => span,
    };
    (prefix, span)
}

/// One row as a decision sees it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key below the prefix that was asked for; a place to go on after.
    pub key: Key,
    /// Who wrote it, for entries of shared lists.
    pub owner: Option<ActorId>,
    pub value: Bytes,
}

impl Found {
    /// The value, if it is of this form; rows are written by this program, so that another form is damage.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        record::decode(&self.value).ok()
    }
}

/// What was found for each name of a [`Reads`].
#[derive(Debug, Clone, Default)]
pub struct Rows(Vec<(&'static str, Vec<Found>)>);

impl Rows {
    /// All rows found under this name, in order.
    pub fn page(&self, name: &str) -> &[Found] {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, found)| found.as_slice()).unwrap_or_default()
    }

    pub(super) fn add(&mut self, name: &'static str, found: impl IntoIterator<Item = Found>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(found),
            None => self.0.push((name, found.into_iter().collect())),
        }
    }

    /// The first row found under this name.
    pub fn first(&self, name: &str) -> Option<&Found> {
        self.page(name).first()
    }

    /// The first row found under this name, read as `T`.
    pub fn one<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.first(name)?.read()
    }

    /// For tests of decisions: rows as they would have been found.
    pub fn with(mut self, name: &'static str, owner: Option<ActorId>, key: Key, value: &impl serde::Serialize) -> Self {
        self.add(name, [Found { key, owner, value: record::encode(value) }]);
        self
    }
}
