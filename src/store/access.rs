//! What reading and writing through an engine can come to, for the readers and writers of streams and of keys.

use std::sync::Arc;

use super::{Batch, Engine, Epoch, Failure, Outcome, Position, Refusal};

/// How often a write that expects nothing in particular is tried again after somebody else was quicker. Each time one
/// of the others got through, so more than this means an overload, which is answered.
pub(crate) const RETRIES_MAX: usize = 32;

/// Why a read or a write did not happen. `Conflict` is the caller's affair and says what stands there instead.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccessError<Current: std::fmt::Debug + std::fmt::Display> {
    #[error("expected something else: {0}")]
    Conflict(Current),
    #[error("too many writers at once: try again")]
    Busy,
    #[error("this writer was succeeded by another, at epoch {}", .0.0)]
    Fenced(Epoch),
    #[error("nothing was written")]
    Failed(#[source] Arc<Failure>),
    #[error("it is not known whether this was written: repeat it with the same key")]
    Unknown(#[source] Arc<Failure>),
}

/// Commits, and tells a refused condition from everything else.
pub(crate) async fn commit<Current: std::fmt::Debug + std::fmt::Display>(
    engine: &dyn Engine,
    batch: Batch,
) -> Result<Result<Position, ConditionRefused>, AccessError<Current>> {
    match engine.commit(batch).await {
        Outcome::Committed(position) => Ok(Ok(position)),
        Outcome::Refused(Refusal::Condition(_)) => Ok(Err(ConditionRefused)),
        Outcome::Refused(Refusal::Fenced { current }) => Err(AccessError::Fenced(current)),
        Outcome::Failed(failure) => Err(AccessError::Failed(failure)),
        Outcome::Unknown(failure) => Err(AccessError::Unknown(failure)),
    }
}

/// Somebody else was quicker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConditionRefused;

impl<Current: std::fmt::Debug + std::fmt::Display> AccessError<Current> {
    /// A stored row that makes no sense.
    pub(crate) fn damaged(what: String) -> Self {
        Self::Failed(Arc::new(Failure::damaged(what)))
    }
}
