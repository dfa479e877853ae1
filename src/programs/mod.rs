//! What programs do with the store: streams, values and blobs under names, each request once for its key.
//!
//! Nothing here knows of HTTP or of actors. `layout.rs` says where it all lies.

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::store::blob::{BlobError, BlobHash, Blobs};
use crate::store::{Batch, Engine, Epoch, Failure, Fence, Outcome, Position, Refusal};

pub mod blobs;
pub mod damage;
pub mod json;
pub mod layout;
pub mod name;
pub mod once;
mod queue;
mod round;
pub mod streams;
mod upkeep;
pub mod values;

pub use json::JsonText;
pub use name::{Name, Prefix};
pub use once::{Answer, Done, Once};

/// How often something that expects nothing in particular is tried again after somebody else was quicker.
const TRIES_MAX: usize = 32;

/// Who owns the shard that programs write to: gives the fence of each batch, and hears what went wrong with one.
pub trait Owner: Send + Sync + 'static {
    fn fence(&self) -> Fence;

    /// A batch of this fence did not land, or may not have, for a reason that is the store's.
    fn store_failed(&self, fence: Fence, failure: &Arc<Failure>);

    /// A batch was refused because somebody else owns the shard now.
    fn fenced(&self, current: Epoch);
}

/// The owner of a store that nobody else writes to.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoleOwner;

impl Owner for SoleOwner {
    fn fence(&self) -> Fence {
        Fence::default()
    }

    fn store_failed(&self, _: Fence, _: &Arc<Failure>) {}

    fn fenced(&self, _: Epoch) {}
}

/// The store as programs see it. Cheap to clone; all clones share the queues of appends.
#[derive(Clone)]
pub struct Programs(Arc<Shared>);

struct Shared {
    engine: Arc<dyn Engine>,
    blobs: Arc<dyn Blobs>,
    owner: Arc<dyn Owner>,
    clock: SharedClock,
    queues: queue::Queues,
}

/// What stands there instead of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Current {
    /// The numbers of the first record kept and of the last ever appended.
    Stream {
        first: u64,
        last: u64,
    },
    Value(Option<Position>),
    Blob(Option<BlobHash>),
}

/// Why something was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpError {
    #[error("{0}; read it again and decide anew")]
    Conflict(Current),
    #[error("this idempotency key was used for another request; use a new key for a new request")]
    OtherRequest,
    #[error("too many writers of {0} at once; try again in a moment")]
    Busy(String),
    #[error("the content has the hash {found} and not {expected}; send it again")]
    OtherContent { expected: BlobHash, found: BlobHash },
    /// This node no longer owns the shard, or is about to take it over again.
    #[error("the store changed hands meanwhile, nothing was written; try again in a moment")]
    Fenced,
    #[error("nothing was written: {0}")]
    Failed(Arc<Failure>),
    #[error("this could not be read: {0}")]
    Unread(Arc<Failure>),
    #[error("{what} is damaged on disk, and never served")]
    Damaged { what: String, behind: damage::Behind },
    #[error("it is unknown whether this was written, repeat with the same key: {0}")]
    Unknown(Arc<Failure>),
    /// The work was cut short.
    #[error("the node stopped on it; it is unknown whether this was written, repeat with the same key")]
    Stopped,
    #[error("{0}")]
    Blob(Arc<BlobError>),
}

impl std::fmt::Display for Current {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream { last: 0, .. } => write!(out, "nothing was ever appended to the stream"),
            Self::Stream { last, .. } => write!(out, "the last record of the stream is {last}"),
            Self::Value(Some(Position(version))) => write!(out, "the value is at version {version}"),
            Self::Value(None) => write!(out, "there is no value of this name"),
            Self::Blob(Some(hash)) => write!(out, "the blob of this name has the hash {hash}"),
            Self::Blob(None) => write!(out, "there is no blob of this name"),
        }
    }
}

impl From<BlobError> for OpError {
    fn from(error: BlobError) -> Self {
        Self::Blob(Arc::new(error))
    }
}

/// What became of a batch that may say "only if".
enum Settled {
    Done(Answer),
    /// One of the batch's own conditions did not hold.
    Refused,
}

impl Programs {
    pub fn new(engine: Arc<dyn Engine>, blobs: Arc<dyn Blobs>, owner: Arc<dyn Owner>, clock: SharedClock) -> Self {
        Self(Arc::new(Shared { engine, blobs, owner, clock, queues: queue::Queues::default() }))
    }
}

impl Programs {
    /// Where the content of blobs is, for whoever copies all of it.
    pub fn contents(&self) -> &Arc<dyn Blobs> {
        &self.0.blobs
    }
}

impl Shared {
    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// The answer that was given under the key, if there is one.
    async fn earlier(&self, once: Option<&Once>) -> Result<Option<Answer>, OpError> {
        match once {
            Some(once) => once.earlier(self.engine()).await,
            None => Ok(None),
        }
    }

    /// Commits a batch once for its key. Whoever comes second with the same key, even at the same instant, gets the
    /// answer of the first.
    async fn settle(&self, once: Option<&Once>, mut batch: Batch, done: Done) -> Result<Settled, OpError> {
        if let Some(once) = once {
            once.record(&mut batch, self.clock.now(), &done);
        }
        match self.commit(batch).await? {
            Ok(version) => Ok(Settled::Done(Answer { done, version, repeated: false })),
            // The answer's own condition is the first: it tells a repeat from everything else.
            Err(0) if once.is_some() => match self.earlier(once).await? {
                Some(answer) => Ok(Settled::Done(answer)),
                None => Err(OpError::Busy("this idempotency key".to_owned())),
            },
            Err(_) => Ok(Settled::Refused),
        }
    }

    /// Commits, and tells which condition did not hold.
    async fn commit(&self, batch: Batch) -> Result<Result<Position, usize>, OpError> {
        let fence = batch.fence;
        match self.engine.commit(batch).await {
            Outcome::Committed(position) => Ok(Ok(position)),
            Outcome::Refused(Refusal::Condition(index)) => Ok(Err(index)),
            Outcome::Refused(Refusal::Fenced { current }) => {
                self.owner.fenced(current);
                Err(OpError::Fenced)
            }
            Outcome::Failed(failure) => {
                self.owner.store_failed(fence, &failure);
                Err(OpError::Failed(failure))
            }
            Outcome::Unknown(failure) => {
                self.owner.store_failed(fence, &failure);
                Err(OpError::Unknown(failure))
            }
        }
    }
}

/// A stored row that makes no sense.
fn damaged(what: String) -> OpError {
    OpError::Unread(Arc::new(Failure::damaged(what)))
}
