//! Answers kept for repeats of requests that many actors answer together, beside those that each keeps for itself.

use bytes::Bytes;

use super::layout;
use super::once::Once;
use super::record::{self, Answer};
use super::runtime::Runtime;
use crate::store::{Batch, Condition, Outcome, ReadError};

/// What is kept under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    /// The answer to the same request.
    Answer(Bytes),
    /// The key was used for another request.
    Other,
}

/// What was answered before under this key.
///
/// # Errors
/// What the store says.
pub async fn kept(runtime: &Runtime, once: &Once) -> Result<Kept, ReadError> {
    let found = runtime.engine.get(&layout::answer(&once.key)).await?;
    let answer = found.and_then(|found| record::decode::<Answer>(&found.value).ok());
    Ok(match answer {
        None => Kept::Nothing,
        Some(answer) if answer.fingerprint[..] == once.fingerprint[..] => Kept::Answer(answer.reply),
        Some(_) => Kept::Other,
    })
}

/// Keeps an answer, unless one is kept already.
///
/// # Errors
/// What the store says.
pub async fn keep(runtime: &Runtime, once: &Once, reply: Bytes) -> Result<(), ReadError> {
    let key = layout::answer(&once.key);
    let fingerprint = Bytes::copy_from_slice(&once.fingerprint);
    let answer = record::encode(&Answer { at: runtime.clock.now(), fingerprint, reply });
    let fence = runtime.fence();
    let conditions = vec![Condition::Absent(key.clone())];
    match runtime.engine.commit(Batch { fence, conditions, puts: vec![(key, answer)], ..Batch::default() }).await {
        // The same request came twice at once: the first answer stays.
        Outcome::Committed(_) | Outcome::Refused(_) => Ok(()),
        Outcome::Failed(failure) | Outcome::Unknown(failure) => {
            runtime.store_failed(fence, &failure);
            Err(failure)
        }
    }
}
