//! Asking an actor from outside: what can come back instead of an answer, and what makes a repeat harmless.

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::store::Failure;
use std::sync::Arc;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError<Rejection> {
    /// The actor says no; the caller is wrong.
    #[error(transparent)]
    Rejected(Rejection),
    /// The same idempotency key came with another request before.
    #[error("this idempotency key was used for another request; use a new key for a new request")]
    Conflict,
    #[error("the mailbox is full; try again in a moment")]
    Full,
    /// The node is starting, stopping, or the actor is being rebuilt.
    #[error("not accepting work right now: {0}; try again in a moment")]
    Unavailable(String),
    #[error("{}", super::held::HELD)]
    Held,
    /// The batch did not land.
    #[error("the store could not take the write: {0}")]
    Store(Arc<Failure>),
    /// The batch may have landed or not.
    #[error("the outcome is unknown, repeat with the same key: {0}")]
    Unknown(Arc<Failure>),
    /// The decision panicked: a bug of ours. Nothing was changed.
    #[error("the actor failed on this request; nothing was changed, and the log names the cause")]
    Panicked,
    /// The actor's stored state cannot be read.
    #[error("the actor's stored state is damaged: {0}; `quickbeam inspect` shows it")]
    Damaged(String),
}

/// The answer to come.
pub(super) type Reply<Answer, Rejection> = oneshot::Sender<Result<Answer, AskError<Rejection>>>;

/// Makes a request safe to repeat: the same key and request get the first answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    pub(super) key: String,
    pub(super) fingerprint: [u8; 32],
}

impl Once {
    /// `key` as the client gave it, within `scope` (whose key it is, and for what route); `request` is all that makes
    /// the request what it is.
    pub fn new(scope: &str, key: &str, request: &[u8]) -> Self {
        Self { key: format!("{scope}\u{1f}{key}"), fingerprint: Sha256::digest(request).into() }
    }
}
