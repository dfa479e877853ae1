//! The rows of an outbox: what is queued, in order, and what was given up.

use serde::{Deserialize, Serialize};

use super::entity::ActorId;
use super::errands::Recipient;
use super::rows::{RowKey, Rows, part, parts};
use crate::clock::Time;
use crate::domains::trace::Context;
use crate::store::Key;

/// A queued activity: a row of the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The local ulid of the activity.
    pub activity: String,
    pub to: Recipient,
    /// Activities about the same object to the same recipient keep their order.
    pub object: String,
    /// Goes before everything that came after it: the Accept of a Follow.
    #[serde(default)]
    pub first: bool,
    pub since: Time,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub refusals: u32,
    /// Who wants to hear that it arrived.
    #[serde(default)]
    pub tell: Option<ActorId>,
    /// What it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Context>,
}

/// An entry that was given up, kept where a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undelivered {
    pub at: Time,
    pub reason: String,
    pub entry: Entry,
}

pub(super) fn queue_row(entry: u64) -> RowKey {
    RowKey::Own(part().text("queue").number(entry).done())
}

pub(super) fn undelivered_row(entry: u64) -> RowKey {
    RowKey::Own(undelivered_key(entry))
}

pub(super) fn undelivered_key(entry: u64) -> Key {
    part().text("undelivered").number(entry).done()
}

/// All queued entries of an outbox, for lists.
pub fn queue_rows() -> RowKey {
    RowKey::Own(parts(["queue"]))
}

/// The queue as a turn sees it: the page that was read, with the numbers of its entries.
pub(super) fn queue(rows: &Rows) -> impl Iterator<Item = (u64, Entry)> {
    rows.page("queue").iter().filter_map(|row| Some((row.key.parts().number()?, row.read()?)))
}
