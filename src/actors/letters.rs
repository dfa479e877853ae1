//! Dead letters: deliveries that were given up, and messages that made their actor panic; listed, revived, discarded.

use std::fmt;

use serde::Serialize;

use super::layout;
use super::queue::Undelivered;
use super::record::{self, DeadLetter};
use super::rows::{Index, RowKey, part};
use super::runtime::Runtime;
use crate::clock::Time;
use crate::hex::{hex, unhex};
use crate::store::around::{self, Unread};
use crate::store::{Batch, Condition, Key, Outcome, ReadError, Span};

/// The name of a dead letter, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Delivery { authority: String, number: u64 },
    Message { ulid: String },
}

/// One dead letter of the list.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub id: String,
    pub at: String,
    pub kind: &'static str,
    pub to: String,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
}

/// Some of the list.
#[derive(Debug, Default)]
pub struct Page {
    pub items: Vec<Shown>,
    /// Those that are there and cannot be read.
    pub unread: Vec<Unread>,
    pub next: Option<String>,
}

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('@') {
            Some((number, authority)) => {
                Some(Self::Delivery { authority: authority.to_owned(), number: number.parse().ok()? })
            }
            None => Some(Self::Message { ulid: text.to_owned() }),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivery { authority, number } => write!(out, "{number}@{authority}"),
            Self::Message { ulid } => out.write_str(ulid),
        }
    }
}

/// Where a delivery that was given up stands in the list of all.
pub(super) fn undelivered_row(at: Time, entry: u64) -> RowKey {
    RowKey::Index(Index::Undelivered, part().number(at.0).number(entry).done())
}

/// A page of dead letters: messages first, then deliveries. `after` is what the page before gave to go on. One that is
/// damaged hides no other.
///
/// # Errors
/// What the store says.
pub async fn list(runtime: &Runtime, after: Option<&str>, limit: usize) -> Result<Page, ReadError> {
    let mut page = Page::default();
    let deliveries = after.and_then(|after| after.strip_prefix("d ")).map(str::to_owned);
    if deliveries.is_none() {
        let mut span = Span::prefix(&layout::dead_letters(), limit);
        if let Some(ulid) = after.and_then(|after| after.strip_prefix("m ")) {
            span = span.after(&layout::dead_letter(ulid));
        }
        let found = around::range(runtime.engine.as_ref(), span).await?;
        let (count, last) = (found.rows.len() + found.unread.len(), found.last());
        for row in &found.rows {
            let Some(ulid) = row.key.parts_after(&layout::dead_letters()).text() else { continue };
            page.items.extend(message(ulid, &row.value));
        }
        page.unread.extend(found.unread);
        if count == limit {
            let last = last.and_then(|key| key.parts_after(&layout::dead_letters()).text());
            return Ok(Page { next: last.map(|ulid| format!("m {ulid}")), ..page });
        }
    }
    let prefix = layout::index_prefix(Index::Undelivered, &Key::default());
    let mut span = Span::prefix(&prefix, limit - page.items.len() - page.unread.len());
    if let Some(place) = deliveries.as_deref().and_then(unhex) {
        span = span.after(&Key::build().raw(prefix.as_bytes()).raw(&place).done());
    }
    let found = around::range(runtime.engine.as_ref(), span.clone()).await?;
    let last = found.last().filter(|_| found.rows.len() + found.unread.len() == span.limit);
    page.next = last.map(|key| format!("d {}", hex(&key.as_bytes()[prefix.as_bytes().len()..])));
    page.items.extend(found.rows.iter().filter_map(|row| delivery(&prefix, &row.key, &row.value)));
    page.unread.extend(found.unread);
    Ok(page)
}

fn message(ulid: String, value: &[u8]) -> Option<Shown> {
    let letter: DeadLetter = record::decode(value).ok()?;
    let (at, to) = (letter.at.to_string(), letter.to.to_string());
    Some(Shown {
        id: Name::Message { ulid }.to_string(),
        at,
        kind: "message",
        to,
        reason: letter.reason,
        activity: None,
    })
}

fn delivery(prefix: &Key, key: &Key, value: &[u8]) -> Option<Shown> {
    let letter: Undelivered = record::decode(value).ok()?;
    let authority = layout::index_owner(key)?.key.to_string();
    let mut parts = key.parts_after(prefix);
    parts.number()?;
    let number = parts.number()?;
    Some(Shown {
        id: Name::Delivery { authority: authority.clone(), number }.to_string(),
        at: letter.at.to_string(),
        kind: "delivery",
        to: authority,
        reason: letter.reason,
        activity: Some(letter.entry.activity),
    })
}

/// Puts the message back where it was, so that its actor takes it again. False if there is no such letter.
///
/// # Errors
/// What the store says.
pub async fn retry(runtime: &Runtime, ulid: &str) -> Result<bool, ReadError> {
    let restore = |letter: DeadLetter| vec![(Key::from_bytes(letter.key), record::encode(&letter.waiting))];
    remove(runtime, ulid, restore).await
}

/// Removes the letter for good. False if there is no such letter.
///
/// # Errors
/// What the store says.
pub async fn discard(runtime: &Runtime, ulid: &str) -> Result<bool, ReadError> {
    remove(runtime, ulid, |_| Vec::new()).await
}

async fn remove(
    runtime: &Runtime,
    ulid: &str,
    puts: impl Fn(DeadLetter) -> Vec<(Key, bytes::Bytes)>,
) -> Result<bool, ReadError> {
    let key = layout::dead_letter(ulid);
    let Some(row) = runtime.engine.get(&key).await? else { return Ok(false) };
    let Ok(letter) = record::decode::<DeadLetter>(&row.value) else { return Ok(false) };
    let fence = runtime.fence();
    let batch = Batch {
        fence,
        conditions: vec![Condition::Version(key.clone(), row.version)],
        puts: puts(letter),
        deletes: vec![key],
    };
    match runtime.engine.commit(batch).await {
        Outcome::Committed(_) => Ok(true),
        // Somebody else took it in the meantime.
        Outcome::Refused(_) => Ok(false),
        Outcome::Failed(failure) | Outcome::Unknown(failure) => {
            runtime.store_failed(fence, &failure);
            Err(failure)
        }
    }
}
