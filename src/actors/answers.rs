//! Answers kept for repeats: which instance a request began, and what many actors answered together.

use bytes::Bytes;

use super::ask::AskError;
use super::flow::{Command, Flow, Rejection, Standing};
use super::layout;
use super::once::{Claim, Once};
use super::record::{self, Answer};
use super::runtime::Runtime;
use crate::clock::ulid;
use crate::store::{Batch, Condition, Outcome, ReadError};

/// A request that begins an instance of a flow, alone under its key as long as this is held.
#[derive(Debug)]
pub struct Beginning {
    flow: String,
    once: Once,
    claim: Claim,
}

impl Beginning {
    /// The instance that the same request began before, or a new one. Ids are made in the order of time, so that the rows
    /// of instances that begin together lie together.
    ///
    /// # Errors
    /// [`AskError::Store`] when it cannot be read whether there was one.
    pub async fn of(runtime: &Runtime, once: Once) -> Result<Self, AskError<Rejection>> {
        let claim = runtime.registry().claim(&once).await;
        let stored = runtime.engine.get(&layout::answer(&once.key)).await.map_err(AskError::Store)?;
        let earlier = match stored.map(|row| record::decode::<Answer>(&row.value)) {
            Some(Ok(answer)) => answer.flow,
            Some(Err(error)) => return Err(AskError::Damaged(error.to_string())),
            None => None,
        };
        let flow = earlier.unwrap_or_else(|| ulid(runtime.clock.now(), runtime.clock.random()));
        let once = Once { flow: Some(flow.clone()), ..once };
        Ok(Self { flow, once, claim })
    }

    /// The id of the instance.
    pub fn flow(&self) -> &str {
        &self.flow
    }

    /// # Errors
    /// [`AskError`] says whether the caller, the moment or the node is to blame.
    pub async fn ask(self, runtime: &Runtime, start: Command) -> Result<Standing, AskError<Rejection>> {
        runtime.registry().ask_under::<Flow>(&self.flow, start, Some(self.once), Some(self.claim)).await
    }
}

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
    let answer = record::encode(&Answer { at: runtime.clock.now(), fingerprint, reply, flow: None });
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
