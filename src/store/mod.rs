//! The journal as everything above sees it: ordered keys, atomic batches, and four calls.
//!
//! Data in, data out: no closures, no transactions held open, so that redb, memory, a simulated bad disk and a
//! server reached over a network can all stand behind [`Engine`]. What a key means is the business of the layers above.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub mod access;
mod admit;
pub mod around;
pub mod blob;
mod changes;
pub mod disk;
mod filter;
mod frame;
pub mod key;
pub mod kv;
pub mod memory;
mod overlay;
mod pages;
pub mod redb;
mod soon;
pub mod streams;

pub use key::Key;
pub use memory::MemoryEngine;
pub use pages::pages;
pub use redb::RedbEngine;
pub use soon::Soon;

/// The position of the batch that wrote a row, ordered within one shard; the row's version for conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

/// A part of the key space that one writer owns at a time. A node of today has one, number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u32);

/// Counts the owners of a shard. A batch of an older epoch than the store has seen is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Who writes: a batch lands only if no higher epoch of its shard was ever committed. A higher one raises the fence for
/// all that come after it, so an empty batch is how a new owner takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fence {
    pub shard: Shard,
    pub epoch: Epoch,
}

/// A stored value with the position of the batch that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub version: Position,
    pub value: Bytes,
}

/// One row of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub version: Position,
    pub value: Bytes,
}

/// Which end of a range comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    Forward,
    Backward,
}

/// The rows with `from <= key < to`, at most `limit`, from the end that `direction` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub from: Key,
    pub to: Key,
    pub limit: usize,
    pub direction: Direction,
}

impl Span {
    /// Everything that begins with `prefix`, in order.
    pub fn prefix(prefix: &Key, limit: usize) -> Self {
        Self { from: prefix.clone(), to: prefix.after_prefix(), limit, direction: Direction::Forward }
    }

    /// The same rows from the last to the first.
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// What comes strictly after `key` within this span.
    pub fn after(mut self, key: &Key) -> Self {
        self.from = key.successor();
        self
    }

    /// What comes strictly before `key` within this span.
    pub fn before(mut self, key: &Key) -> Self {
        self.to = key.clone();
        self
    }
}

/// What must be true when a batch lands; it sees every batch queued before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Absent(Key),
    Version(Key, Position),
}

/// Writes that land together or not at all. Puts come before deletes; a key stands in at most one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    pub fence: Fence,
    pub conditions: Vec<Condition>,
    pub puts: Vec<(Key, Bytes)>,
    pub deletes: Vec<Key>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// On disk, readable, and at this position.
    Committed(Position),
    /// Not written, and nothing is wrong with the store.
    Refused(Refusal),
    /// Not written, and never will be: the store is ill.
    Failed(Arc<Failure>),
    /// Perhaps written: the store broke in the middle. Only reading after the fence was raised can tell.
    Unknown(Arc<Failure>),
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The condition at this index of `Batch::conditions` did not hold.
    #[error("condition {0} did not hold")]
    Condition(usize),
    /// A higher epoch of the shard has been committed.
    #[error("the shard is at epoch {}, this batch came from an earlier one", .current.0)]
    Fenced { current: Epoch },
}

/// What is wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the disk is full: free some space; a running node goes on by itself")]
    Full(#[source] std::io::Error),
    #[error("the disk failed: {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// An earlier batch failed and its fence has not been raised yet, so nothing behind it may land.
    #[error("an earlier write failed and the store has not recovered yet")]
    Poisoned,
    #[error("stored data is damaged: {what}")]
    Damaged {
        /// For whoever asked, who knows of no keys.
        what: String,
        /// The keys of which nothing is known, where that can be said: others can be read.
        rows: Option<Stretch>,
    },
    #[error("the store is closed")]
    Closed,
}

/// Keys from one on and below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub from: Key,
    pub to: Key,
}

impl Stretch {
    /// Nothing but the key that it begins with.
    pub fn is_one(&self) -> bool {
        self.to == self.from.successor()
    }
}

impl Failure {
    /// Damage of which it is not known which rows it concerns.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), rows: None }
    }
}

/// A read that could not be answered.
pub type ReadError = Arc<Failure>;

/// A hint that keys under a watched prefix were put. Hints may be merged; none is needed for correctness, since
/// whoever watches can also read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These keys were put, in the order in which they were committed.
    Put(Vec<Key>),
    /// More than the watcher kept up with: read the range again.
    Missed,
}

/// A place that keeps rows. Every call is asynchronous, none blocks; threads, where there are any, are the engine's own.
pub trait Engine: Send + Sync + 'static {
    /// The committed value of one key.
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>>;

    /// The committed rows of a span.
    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>>;

    /// Queues the batch **when called** (not when first polled), behind all queued before it, and says what became of
    /// it. A committed batch is on disk and visible to every read that starts after the answer.
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome>;

    /// Hints about puts under `prefix` that commit after this call.
    fn changes(&self, prefix: &Key) -> tokio::sync::mpsc::Receiver<Change>;
}
