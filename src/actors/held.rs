//! A restored node is held: it serves reads, and sends and fires nothing until somebody lets it go.
//!
//! The mark is a row, removed by a commit: a restart in between stays held. What would go is what waits in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entity::Kind;
use super::flow::list_prefix;
use super::queue::{self, queue_rows};
use super::rows::{Index, RowKey};
use super::runtime::Runtime;
use super::{layout, record};
use crate::clock::Time;
use crate::domains::flow::progress::Phase;
use crate::store::{Batch, Condition, Engine, Failure, Key, Outcome, ReadError, Span, around};

/// What callers are told while a node is held.
pub const HELD: &str = "this node was restored from a backup and is held: it sends and fires nothing until \
    `quickbeam continue`; look at `quickbeam continue --dry-run` first, and make sure that the original no longer runs";

/// Rows counted in one go.
const PAGE: usize = 1_024;

/// Why and since when a node is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it was restored.
    pub since: Time,
    /// The file that it was restored from, and when that was made.
    pub backup: String,
    pub backup_made: Time,
}

/// The row of the mark.
pub fn key() -> Key {
    layout::node_fact("held")
}

/// What waits in a store and would leave it or run on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pending {
    pub outboxes: BTreeMap<String, Queued>,
    /// Timers whose time has come, and those that wait for theirs.
    pub timers_due: u64,
    pub timers_later: u64,
    pub errands: u64,
    pub messages: u64,
    /// Instances that are running, as opposed to waiting for somebody.
    pub flows: u64,
}

/// What waits for one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Queued {
    pub entries: u64,
    pub oldest: Option<String>,
}

impl Pending {
    /// Takes a row in, whatever it is.
    pub fn see(&mut self, key: &Key, value: &[u8], now: Time) {
        match key.as_bytes().first() {
            Some(b'm') => self.messages += 1,
            Some(b'x') => self.errands += 1,
            Some(b't') if layout::timer_parts(key).is_some_and(|(due, _)| due > now) => self.timers_later += 1,
            Some(b't') => self.timers_due += 1,
            Some(b'i') if key.starts_with(&running()) => self.flows += 1,
            Some(b'r') => self.see_queued(key, value),
            _ => {}
        }
    }

    fn see_queued(&mut self, key: &Key, value: &[u8]) {
        let RowKey::Own(queue) = queue_rows() else { return };
        let Some((owner, _)) =
            layout::own_row(key).filter(|(id, row)| id.kind == Kind::Outbox && row.starts_with(&queue))
        else {
            return;
        };
        let since = record::decode::<queue::Entry>(value).ok().map(|entry| entry.since.to_string());
        let queued = self.outboxes.entry(owner.key.to_string()).or_default();
        queued.entries += 1;
        queued.oldest = [queued.oldest.take(), since].into_iter().flatten().min();
    }
}

/// The entries of running flows.
fn running() -> Key {
    layout::index_prefix(Index::Flows, &list_prefix(Some(Phase::Running)))
}

/// The mark, if the node of this store is held.
///
/// # Errors
/// What the store says. A mark that cannot be read still holds the node.
pub async fn mark(engine: &Arc<dyn Engine>) -> Result<Option<Mark>, ReadError> {
    let unreadable = || Mark { since: Time::default(), backup: "unknown".to_owned(), backup_made: Time::default() };
    Ok(engine.get(&key()).await?.map(|row| record::decode(&row.value).unwrap_or_else(|_| unreadable())))
}

/// Counts all that waits; what is damaged is not told apart from the rest but for how long it waits.
///
/// # Errors
/// What the store says.
pub async fn pending(engine: &dyn Engine, now: Time) -> Result<Pending, ReadError> {
    let mut pending = Pending::default();
    let outbox = layout::own_rows(Kind::Outbox);
    for prefix in [layout::messages(), layout::timers(), layout::errands(), running(), outbox] {
        let all = Span::prefix(&prefix, PAGE);
        let mut span = all.clone();
        loop {
            let page = around::range(engine, span).await?;
            let Some(behind) = page.behind(&all) else { break };
            span = behind;
            page.rows.iter().for_each(|row| pending.see(&row.key, &row.value, now));
            page.unread.iter().for_each(|unread| pending.see(&unread.key, b"", now));
        }
    }
    Ok(pending)
}

/// What a list of waiting things is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    Messages,
    Timers,
    Errands,
    Flows,
}

impl Waits {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "messages" => Some(Self::Messages),
            "timers" => Some(Self::Timers),
            "errands" => Some(Self::Errands),
            "flows" => Some(Self::Flows),
            _ => None,
        }
    }

    /// Where they stand.
    pub fn prefix(self) -> Key {
        match self {
            Self::Messages => layout::messages(),
            Self::Timers => layout::timers(),
            Self::Errands => layout::errands(),
            Self::Flows => running(),
        }
    }
}

/// Why a node cannot be let go.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("this node is not held")]
    NotHeld,
    #[error("the store could not take the write, and the node stays held: {0}")]
    Store(Arc<Failure>),
    #[error("the outcome is unknown, ask again: {0}")]
    Unknown(Arc<Failure>),
}

/// Removes the mark, and then lets everything go that waited.
///
/// # Errors
/// When it is not held, or the store does not take the write.
pub async fn release(runtime: &Runtime) -> Result<(), ReleaseError> {
    let row = runtime.engine.get(&key()).await.map_err(ReleaseError::Store)?;
    let Some(row) = row else {
        // A commit whose outcome was unknown did land, or nobody ever held it.
        return if runtime.let_go() { Ok(()) } else { Err(ReleaseError::NotHeld) };
    };
    let conditions = vec![Condition::Version(key(), row.version)];
    let batch = Batch { fence: runtime.fence(), conditions, deletes: vec![key()], ..Batch::default() };
    let fence = batch.fence;
    match runtime.engine.commit(batch).await {
        Outcome::Committed(_) => drop(runtime.let_go()),
        // Somebody else did it a moment ago.
        Outcome::Refused(_) => return Err(ReleaseError::NotHeld),
        Outcome::Failed(failure) => {
            runtime.store_failed(fence, &failure);
            return Err(ReleaseError::Store(failure));
        }
        Outcome::Unknown(failure) => {
            runtime.store_failed(fence, &failure);
            return Err(ReleaseError::Unknown(failure));
        }
    }
    Ok(())
}
