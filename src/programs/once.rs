//! Idempotency keys: the answer is written in the batch of the request itself, so that a repeat finds both or neither.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{OpError, damage, layout};
use crate::clock::Time;
use crate::store::key::Builder;
use crate::store::{Batch, Condition, Engine, Failure, Position};

/// Makes a request safe to repeat: whose it is, for what, its key, and what it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    token: String,
    route: String,
    key: String,
    fingerprint: [u8; 32],
}

/// What a request did, as repeats are told again. Stored for ever: add variants and fields, never change them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    Appended { first: u64, last: u64 },
    Truncated { first: u64, last: u64 },
    Put,
    Deleted,
    Named { hash: String, bytes: u64 },
}

/// What a request did, with the position at which it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub done: Done,
    pub version: Position,
    /// It was done for an earlier request with the same key.
    pub repeated: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(rename = "fp")]
    fingerprint: [u8; 32],
    at: Time,
    done: Done,
}

impl Once {
    /// `token` keeps programs from one another's answers. `request` is all that makes the request what it is.
    pub fn new(token: &str, route: &str, key: &str, request: &[u8]) -> Self {
        let fingerprint = Sha256::digest(request).into();
        Self { token: token.to_owned(), route: route.to_owned(), key: key.to_owned(), fingerprint }
    }

    pub(super) fn placed(&self, key: Builder) -> Builder {
        key.text(&self.token).text(&self.route).text(&self.key)
    }

    /// The answer that was given under this key.
    ///
    /// # Errors
    /// When it was given to another request.
    pub(super) async fn earlier(&self, engine: &dyn Engine) -> Result<Option<Answer>, OpError> {
        let Some(row) = engine.get(&layout::answer(self)).await.map_err(damage::unread)? else { return Ok(None) };
        let stored: Row = rmp_serde::from_slice(&row.value)
            .map_err(|_| OpError::Unread(Failure::damaged("the answer under an idempotency key").into()))?;
        if stored.fingerprint != self.fingerprint {
            return Err(OpError::OtherRequest);
        }
        Ok(Some(Answer { done: stored.done, version: row.version, repeated: true }))
    }

    /// Lets a batch land only if no answer was given yet, and writes this one with it.
    pub(super) fn record(&self, batch: &mut Batch, at: Time, done: &Done) {
        let row = Row { fingerprint: self.fingerprint, at, done: done.clone() };
        let row = rmp_serde::to_vec_named(&row).expect("texts and numbers have a stored form");
        batch.conditions.insert(0, Condition::Absent(layout::answer(self)));
        batch.puts.push((layout::answer(self), row.into()));
        batch.puts.push((layout::answer_at(at, self), bytes::Bytes::new()));
    }

    /// Tells apart the keys of requests that are decided together.
    pub(super) fn same_key(&self, other: &Self) -> bool {
        (&self.token, &self.route, &self.key) == (&other.token, &other.route, &other.key)
    }
}
