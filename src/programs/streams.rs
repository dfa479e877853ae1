//! Streams of programs: append, read, follow, truncate, list.

use std::ops::RangeInclusive;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::once::{Answer, Once};
use super::queue::{self, Work};
use super::{JsonText, Name, OpError, Prefix, Programs};
use crate::store::streams::{Expected, Record, StreamError};
use crate::store::{Change, Direction};

/// Records fetched at once; a page is made of several such bites, so that large values are not all read first.
const BITE: usize = 32;
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
        let (mut from, mut to) = ((*ask.numbers.start()).max(ends.first), (*ask.numbers.end()).min(ends.last));
        let (mut records, mut bytes) = (Vec::<Record>::new(), 0);
        while from <= to && records.len() < ask.limit && bytes < PAGE_BYTES_MAX {
            let limit = BITE.min(ask.limit - records.len());
            let bite = self.0.streams().read(self.0.engine(), stream.as_str(), from..=to, limit, ask.direction).await;
            let bite = bite.map_err(|error| of_library(error, stream.as_str()))?;
            let Some(last) = bite.last().map(|record| record.sequence) else { break };
            match ask.direction {
                Direction::Forward => from = last + 1,
                // Numbers begin with 1, so that this ends at 0.
                Direction::Backward => to = last - 1,
            }
            for record in bite {
                if bytes < PAGE_BYTES_MAX {
                    bytes += record.value.len();
                    records.push(record);
                }
            }
        }
        let more = records.last().is_some_and(|last| match ask.direction {
            Direction::Forward => last.sequence < (*ask.numbers.end()).min(ends.last),
            Direction::Backward => last.sequence > (*ask.numbers.start()).max(ends.first),
        });
        Ok(Page { records, ends, more })
    }

    /// Hints that a stream was appended to, from now on. Whoever gets one reads.
    pub fn watch(&self, stream: &Name) -> mpsc::Receiver<Change> {
        self.0.engine.changes(&self.0.streams().counter_key(stream.as_str()))
    }

    /// At most `limit` streams under a prefix, those after `after`, in the order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_streams(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Ends)>, OpError> {
        let listed = self.0.streams().list(self.0.engine(), prefix.as_str(), after, limit).await;
        let listed = listed.map_err(|error| of_library(error, prefix.as_str()))?;
        let ends = |(name, standing): (String, crate::store::streams::Standing)| {
            (name, Ends { first: standing.first, last: standing.last })
        };
        Ok(listed.into_iter().map(ends).collect())
    }
}

pub(super) fn of_library(error: StreamError, stream: &str) -> OpError {
    match error {
        StreamError::Conflict(at) => OpError::Conflict(super::Current::Stream { first: at.first, last: at.last }),
        StreamError::Busy => OpError::Busy(format!("the stream {stream}")),
        StreamError::Fenced(_) => OpError::Fenced,
        StreamError::Failed(failure) => OpError::Unread(failure),
        StreamError::Unknown(failure) => OpError::Unknown(failure),
    }
}
