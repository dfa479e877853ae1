//! Streams of programs: append, read, follow, truncate, list.

use std::ops::RangeInclusive;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::damage::{self, Behind, Bite, Bounds};
use super::once::{Answer, Once};
use super::queue::{self, Work};
use super::{JsonText, Name, OpError, Prefix, Programs, damaged};
use crate::store::streams::{Expected, Record, Standing, StreamError, Streams};
use crate::store::{Change, Direction, Failure, Row, Stretch};

/// Records fetched at once, and names of streams.
const BITE: usize = 32;
const LIST_BITE: usize = 256;
/// Bytes after which a page ends, with at least one record on it.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The numbers of the first record kept and of the last ever appended. A stream that was never appended to has 1 and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub first: u64,
    pub last: u64,
}

/// Some records of a stream in the direction asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Record>,
    pub ends: Ends,
    /// There are more in this direction.
    pub more: bool,
}

/// Which records: those with numbers in `numbers`, at most `limit`, from the end that `direction` says.
#[derive(Debug, Clone)]
pub struct Ask {
    pub numbers: RangeInclusive<u64>,
    pub limit: usize,
    pub direction: Direction,
}

impl Programs {
    /// Appends all values or none. The answer is [`super::Done::Appended`].
    ///
    /// # Errors
    /// [`OpError::Conflict`] when the stream is not where it was expected.
    pub async fn append(
        &self,
        stream: &Name,
        expected: Expected,
        values: Vec<JsonText>,
        once: Option<Once>,
    ) -> Result<Answer, OpError> {
        let values: Vec<Bytes> = values.into_iter().map(JsonText::into_bytes).collect();
        queue::ask(&self.0, stream.as_str(), Work::Append { expected, values }, once).await
    }

    /// Forgets all records before `before`; the numbers go on. The answer is [`super::Done::Truncated`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn truncate(&self, stream: &Name, before: u64, once: Option<Once>) -> Result<Answer, OpError> {
        let answer = queue::ask(&self.0, stream.as_str(), Work::Truncate { before }, once).await?;
        // Nobody reads them any more. If this is cut short the next truncation goes on with it.
        let swept = self.0.streams().sweep(self.0.engine(), stream.as_str()).await;
        swept.map_err(|error| of_library(error, stream.as_str()))?;
        Ok(answer)
    }

    /// Where a stream begins and ends.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ends(&self, stream: &Name) -> Result<Ends, OpError> {
        let standing = self.0.streams().standing(self.0.engine(), stream.as_str()).await;
        let standing = standing.map_err(|error| of_library(error, stream.as_str()))?;
        Ok(Ends { first: standing.first, last: standing.last })
    }

    /// A page of records, bounded in number and in bytes.
    ///
    /// # Errors
    /// What the store says; a record that is missing is damage.
    pub async fn read(&self, stream: &Name, ask: &Ask) -> Result<Page, OpError> {
        let ends = self.ends(stream).await?;
        let (first, last) = ((*ask.numbers.start()).max(ends.first), (*ask.numbers.end()).min(ends.last));
        let left = |read: Option<&Record>| match (read, ask.direction) {
            (None, _) => first..=last,
            (Some(read), Direction::Forward) => read.sequence + 1..=last,
            // Numbers begin with 1, so that this ends at 0.
            (Some(read), Direction::Backward) => first..=read.sequence - 1,
        };
        let read =
            async |read: Option<&Record>, limit| self.bite(stream.as_str(), left(read), limit, ask.direction).await;
        let bounds = Bounds { limit: ask.limit, bite: BITE, bytes_max: PAGE_BYTES_MAX };
        let (records, _) = damage::page(bounds, |record| record.value.len(), read).await?;
        let more = records.last().is_some_and(|record| !left(Some(record)).is_empty());
        Ok(Page { records, ends, more })
    }

    /// Records of these numbers up to what is damaged.
    async fn bite(
        &self,
        stream: &str,
        numbers: RangeInclusive<u64>,
        limit: usize,
        direction: Direction,
    ) -> Result<Bite<Record>, OpError> {
        let (streams, mut sound, mut damage) = (self.0.streams(), numbers, None);
        while !sound.is_empty() {
            let failure = match streams.read(self.0.engine(), stream, sound.clone(), limit, direction).await {
                Ok(items) => return Ok(Bite { items, damage }),
                Err(StreamError::Failed(failure)) => failure,
                Err(other) => return Err(of_library(other, stream)),
            };
            let Failure::Damaged { rows: Some(rows), .. } = &*failure else { return Err(OpError::Unread(failure)) };
            let (error, before) = unread(&streams, stream, rows, &sound, direction);
            (sound, damage) = (before, Some(error));
        }
        Ok(Bite { items: Vec::new(), damage })
    }

    /// Hints that a stream was appended to, from now on. Whoever gets one reads.
    pub fn watch(&self, stream: &Name) -> mpsc::Receiver<Change> {
        self.0.engine.changes(&self.0.streams().counter_key(stream.as_str()))
    }

    /// At most `limit` streams under a prefix, those after `after`, in the order of their names, and whether there are
    /// more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_streams(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Ends)>, bool), OpError> {
        let streams = self.0.streams();
        let ends = |row: Row| match streams.named(&row) {
            Some((name, Standing { first, last, .. })) => Ok((name, Ends { first, last })),
            None => Err(damaged("a counter in the list of streams".to_owned())),
        };
        let read = async |last: Option<&(String, Ends)>, limit| {
            let span = streams.span(prefix.as_str(), last.map(|(name, _)| name.as_str()).or(after), limit);
            damage::bite(self.0.engine(), span, &streams.counters(), ends).await
        };
        damage::page(Bounds { limit, bite: LIST_BITE, bytes_max: usize::MAX }, |_| 0, read).await
    }
}

/// What the damage behind a failed read of these numbers is, and the numbers before it in this direction.
fn unread(
    streams: &Streams,
    stream: &str,
    rows: &Stretch,
    numbers: &RangeInclusive<u64>,
    direction: Direction,
) -> (OpError, RangeInclusive<u64>) {
    let (first, last) = (*numbers.start(), *numbers.end());
    let from = streams.number_at(stream, &rows.from).clamp(first, last);
    let to = streams.number_at(stream, &rows.to).saturating_sub(1).clamp(from, last);
    let what = match from == to {
        true => format!("record {from} of the stream {stream}"),
        false => format!("a part of the stream {stream}, records {from} to {to},"),
    };
    let (behind, before) = match direction {
        Direction::Forward => ((to < last).then_some(Behind::From(to + 1)), first..=from - 1),
        Direction::Backward => ((from > first).then_some(Behind::To(from - 1)), to + 1..=last),
    };
    (OpError::Damaged { what, behind: behind.unwrap_or(Behind::Nothing) }, before)
}

pub(super) fn of_library(error: StreamError, stream: &str) -> OpError {
    match error {
        StreamError::Conflict(at) => OpError::Conflict(super::Current::Stream { first: at.first, last: at.last }),
        StreamError::Busy => OpError::Busy(format!("the stream {stream}")),
        StreamError::Fenced(_) => OpError::Fenced,
        StreamError::Failed(failure) => damage::unread(failure),
        StreamError::Unknown(failure) => OpError::Unknown(failure),
    }
}
