//! What became of an activity at each inbox that it goes to: who has it, who waits for it, who refused it and why.

use serde::{Deserialize, Serialize};

use super::entity::Decision;
use super::errands::Recipient;
use super::outbox::Outbox;
use super::queue::Entry;
use super::rows::{Index, RowKey, parts};
use super::runtime::Runtime;
use super::{layout, record};
use crate::clock::Time;
use crate::store::{Key, ReadError, Span, around};

/// Rows counted in one go.
const PAGE: usize = 1_000;

/// One inbox, or one actor whose inbox is looked up when it is its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub to: Recipient,
    /// When it was queued.
    pub since: Time,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting {
        attempts: u32,
        /// Why the last attempt did not do.
        #[serde(default)]
        what: Option<String>,
    },
    Delivered {
        at: Time,
        attempts: u32,
    },
    /// A dead letter, or one that was discarded since.
    GivenUp {
        at: Time,
        attempts: u32,
        reason: String,
    },
}

/// How many there are of each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub delivered: u64,
    pub waiting: u64,
    pub given_up: u64,
}

impl State {
    pub const WORDS: [&'static str; 3] = ["delivered", "waiting", "given-up"];

    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Waiting { .. } => "waiting",
            Self::GivenUp { .. } => "given-up",
        }
    }

    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting { .. })
    }
}

/// Notes with a turn of an outbox how an entry of it stands.
pub(super) fn noted(decision: Decision<Outbox>, entry: &Entry, state: State) -> Decision<Outbox> {
    let (Recipient::Inbox(to) | Recipient::Actor(to)) = &entry.to;
    let row = RowKey::Index(Index::Deliveries, parts([&entry.activity, to]));
    decision.put(row, &Delivery { to: entry.to.clone(), since: entry.since, state })
}

/// All deliveries of the activity with this ulid.
pub fn prefix(ulid: &str) -> Key {
    layout::index_prefix(Index::Deliveries, &parts([ulid]))
}

/// How the deliveries of an activity stand. One that is damaged is in none of the counts.
///
/// # Errors
/// What the store says.
pub async fn counts(runtime: &Runtime, ulid: &str) -> Result<Counts, ReadError> {
    let (mut next, mut counts) = (Some(Span::prefix(&prefix(ulid), PAGE)), Counts::default());
    while let Some(span) = next {
        let page = around::range(runtime.engine.as_ref(), span.clone()).await?;
        for delivery in page.rows.iter().filter_map(|row| record::decode::<Delivery>(&row.value).ok()) {
            *match delivery.state {
                State::Delivered { .. } => &mut counts.delivered,
                State::Waiting { .. } => &mut counts.waiting,
                State::GivenUp { .. } => &mut counts.given_up,
            } += 1;
        }
        next = page.behind(&span);
    }
    Ok(counts)
}
