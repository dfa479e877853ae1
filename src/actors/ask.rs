//! Asking an actor from outside: what can come back instead of an answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::once::Claim;
use crate::store::Failure;

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

/// The answer to come, and the hold on the idempotency key that ends with it.
pub(super) struct Reply<Answer, Rejection> {
    answer: oneshot::Sender<Result<Answer, AskError<Rejection>>>,
    claim: Option<Claim>,
}

impl<Answer, Rejection> Reply<Answer, Rejection> {
    pub(super) fn new(answer: oneshot::Sender<Result<Answer, AskError<Rejection>>>, claim: Option<Claim>) -> Self {
        Self { answer, claim }
    }

    /// Whoever stopped waiting needs no word, so that a closed channel is no error here.
    pub(super) fn send(self, answer: Result<Answer, AskError<Rejection>>) {
        // Free before the answer is heard, so that a repeat of the one who hears it need not wait.
        drop(self.claim);
        drop(self.answer.send(answer));
    }
}
