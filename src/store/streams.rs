//! Streams of records, numbered from 1 without gaps, each with a counter of its own that survives truncation.
//!
//! ```text
//! prefix · 'c' · stream            first kept · last          the counter
//! prefix · 'r' · stream · number   the record
//! ```

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::access::{self, AccessError, ConditionRefused, RETRIES_MAX};
use super::{Batch, Condition, Direction, Engine, Failure, Fence, Key, Position, Row, Span, Stretch};

const COUNTER: u8 = b'c';
const RECORD: u8 = b'r';
/// Records deleted by one batch of a truncation, so that no batch grows with the stream.
const TRUNCATE_ROWS_MAX: usize = 1_000;

/// The streams under one prefix, as a pure description: where their rows stand, and which batch does what.
#[derive(Debug, Clone)]
pub struct Streams {
    prefix: Key,
    fence: Fence,
}

/// What an append relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// Nothing was ever appended.
    None,
    /// This is the number of the last record ever appended.
    Exactly(u64),
}

/// Where a stream stands: the numbers of the first record kept and of the last ever appended; an unused stream has 1
/// and 0. The version of the counter goes into the condition of the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub first: u64,
    pub last: u64,
    version: Option<Position>,
}

impl Standing {
    const UNUSED: Self = Self { first: 1, last: 0, version: None };

    /// The same standing once the batch that brought it about was committed here.
    pub fn at(self, version: Position) -> Self {
        Self { version: Some(version), ..self }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the stream stands at {}", self.last)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub version: Position,
    pub value: Bytes,
}

pub type StreamError = AccessError<Standing>;

impl Streams {
    pub fn under(prefix: Key, fence: Fence) -> Self {
        Self { prefix, fence }
    }

    /// Where the counter stands; watch it to follow the stream.
    pub fn counter_key(&self, stream: &str) -> Key {
        self.area(COUNTER).text(stream).done()
    }

    pub fn record_key(&self, stream: &str, sequence: u64) -> Key {
        self.area(RECORD).text(stream).number(sequence).done()
    }

    /// All counters stand below this, by the names of their streams.
    pub fn counters(&self) -> Key {
        self.area(COUNTER).done()
    }

    /// The number of the first record of a stream that does not stand before this key.
    pub fn number_at(&self, stream: &str, key: &Key) -> u64 {
        let records = self.area(RECORD).text(stream).done();
        let Some(rest) = key.as_bytes().strip_prefix(records.as_bytes()) else {
            return if *key < records { 0 } else { u64::MAX };
        };
        let mut number = [0; 8];
        let given = rest.len().min(number.len());
        number[..given].copy_from_slice(&rest[..given]);
        u64::from_be_bytes(number).saturating_add(u64::from(rest.len() > given))
    }

    /// The batch that appends to a stream which stands there, and only if it still does.
    pub fn append_batch(&self, stream: &str, standing: Standing, values: Vec<Bytes>) -> Batch {
        let last = standing.last + values.len() as u64;
        let mut batch = self.counter_batch(stream, standing, Standing { last, ..standing });
        let numbered = (standing.last + 1..).zip(values);
        batch.puts.extend(numbered.map(|(sequence, value)| (self.record_key(stream, sequence), value)));
        batch
    }

    /// Where a stream stands.
    pub async fn standing(&self, engine: &dyn Engine, stream: &str) -> Result<Standing, StreamError> {
        let Some(row) = engine.get(&self.counter_key(stream)).await.map_err(StreamError::Failed)? else {
            return Ok(Standing::UNUSED);
        };
        decode(&row.value, row.version).ok_or_else(|| StreamError::damaged(format!("the counter of stream {stream}")))
    }

    /// Appends all values or none, and gives the number of the last. `Any` is tried again when others were quicker.
    pub async fn append(
        &self,
        engine: &dyn Engine,
        stream: &str,
        expected: Expected,
        values: Vec<Bytes>,
    ) -> Result<u64, StreamError> {
        for _ in 0..RETRIES_MAX {
            let standing = self.standing(engine, stream).await?;
            let wanted = match expected {
                Expected::Any => standing.last,
                Expected::None => 0,
                Expected::Exactly(last) => last,
            };
            if wanted != standing.last {
                return Err(StreamError::Conflict(standing));
            }
            if values.is_empty() {
                return Ok(standing.last);
            }
            let last = standing.last + values.len() as u64;
            let batch = self.append_batch(stream, standing, values.clone());
            if let Ok(Position(_)) = access::commit(engine, batch).await? {
                return Ok(last);
            }
        }
        Err(StreamError::Busy)
    }

    /// At most `limit` records with numbers in `from..=to`, from the end that `direction` says. A number that is missing
    /// in between is damage, never skipped.
    pub async fn read(
        &self,
        engine: &dyn Engine,
        stream: &str,
        numbers: std::ops::RangeInclusive<u64>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Record>, StreamError> {
        loop {
            let standing = self.standing(engine, stream).await?;
            let from = (*numbers.start()).max(standing.first);
            let to = (*numbers.end()).min(standing.last);
            if from > to {
                return Ok(Vec::new());
            }
            let span = Span {
                from: self.record_key(stream, from),
                to: self.record_key(stream, to).successor(),
                limit,
                direction,
            };
            let rows = engine.range(span).await.map_err(StreamError::Failed)?;
            let Some(missing) = missing(&rows, from, to, limit, direction) else {
                return Ok(rows.into_iter().filter_map(record).collect());
            };
            // Unless the stream was truncated between the two reads.
            if self.standing(engine, stream).await?.first == standing.first {
                let key = self.record_key(stream, missing);
                let (what, to) = (format!("record {missing} of stream {stream} is missing"), key.successor());
                let rows = Some(Stretch { from: key, to });
                return Err(StreamError::Failed(Arc::new(Failure::Damaged { what, rows })));
            }
        }
    }

    /// Forgets all records before `first`, which is at most one past the last. The numbers go on.
    pub async fn truncate(&self, engine: &dyn Engine, stream: &str, first: u64) -> Result<Standing, StreamError> {
        self.raise_first(engine, stream, first).await?;
        // The counter says already that these are gone, so that an interrupted truncation only leaves work behind.
        self.sweep(engine, stream).await
    }

    /// Deletes the records that stand before the first one kept, step by step.
    pub async fn sweep(&self, engine: &dyn Engine, stream: &str) -> Result<Standing, StreamError> {
        let standing = self.standing(engine, stream).await?;
        let span = Span {
            from: self.record_key(stream, 0),
            to: self.record_key(stream, standing.first),
            limit: TRUNCATE_ROWS_MAX,
            direction: Direction::Forward,
        };
        loop {
            let rows = engine.range(span.clone()).await.map_err(StreamError::Failed)?;
            let more = rows.len() == TRUNCATE_ROWS_MAX;
            if !rows.is_empty() {
                let deletes = rows.into_iter().map(|row| row.key).collect();
                let batch = Batch { fence: self.fence, deletes, ..Batch::default() };
                if let Err(ConditionRefused) = access::commit(engine, batch).await? {
                    return Err(StreamError::Busy);
                }
            }
            if !more {
                return Ok(standing);
            }
        }
    }

    /// At most `limit` streams whose names begin with `beginning`, those after `after`, in order, with where they stand.
    pub async fn list(
        &self,
        engine: &dyn Engine,
        beginning: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Standing)>, StreamError> {
        let rows = engine.range(self.span(beginning, after, limit)).await.map_err(StreamError::Failed)?;
        let streams: Option<Vec<_>> = rows.into_iter().map(|row| self.named(&row)).collect();
        streams.ok_or_else(|| StreamError::damaged("a counter in the list of streams".to_owned()))
    }

    /// The rows of such a list.
    pub fn span(&self, beginning: &str, after: Option<&str>, limit: usize) -> Span {
        let whole = self.counter_key(beginning);
        // Without the byte that ends a text part the key is a prefix of all names that begin like this.
        let (_, open) = whole.as_bytes().split_last().expect("a text part ends with a byte of its own");
        let mut span = Span::prefix(&Key::from_bytes(open.to_vec()), limit);
        if let Some(after) = after {
            span.from = span.from.max(self.counter_key(after).successor());
        }
        span
    }

    /// The stream of a row of such a list; `None` for one that makes no sense.
    pub fn named(&self, row: &Row) -> Option<(String, Standing)> {
        let name = row.key.parts_after(&self.counters()).text()?;
        Some((name, decode(&row.value, row.version)?))
    }

    async fn raise_first(&self, engine: &dyn Engine, stream: &str, first: u64) -> Result<Standing, StreamError> {
        for _ in 0..RETRIES_MAX {
            let standing = self.standing(engine, stream).await?;
            let raised = Standing { first: first.min(standing.last + 1), ..standing };
            if raised.first <= standing.first {
                return Ok(standing);
            }
            if let Ok(version) = access::commit(engine, self.counter_batch(stream, standing, raised)).await? {
                return Ok(Standing { version: Some(version), ..raised });
            }
        }
        Err(StreamError::Busy)
    }

    /// The batch that moves the counter from one standing to another, if nobody has moved it meanwhile.
    pub fn counter_batch(&self, stream: &str, from: Standing, to: Standing) -> Batch {
        let counter = self.counter_key(stream);
        let condition = match from.version {
            Some(version) => Condition::Version(counter.clone(), version),
            None => Condition::Absent(counter.clone()),
        };
        let value = [to.first.to_le_bytes(), to.last.to_le_bytes()].concat();
        Batch {
            fence: self.fence,
            conditions: vec![condition],
            puts: vec![(counter, value.into())],
            deletes: Vec::new(),
        }
    }

    fn area(&self, tag: u8) -> super::key::Builder {
        Key::build().raw(self.prefix.as_bytes()).tag(tag)
    }
}

/// What a row below the prefix of streams is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Counter(String),
    Record(String, u64),
}

/// What this key below the prefix of streams stands for; `None` for one that is none of theirs.
pub fn place_of(prefix: &Key, key: &Key) -> Option<Place> {
    let mut parts = key.parts_after(prefix);
    let (tag, stream) = (parts.tag()?, parts.text()?);
    let place = match tag {
        COUNTER => Place::Counter(stream),
        RECORD => Place::Record(stream, parts.number()?),
        _ => return None,
    };
    parts.rest().is_empty().then_some(place)
}

/// Where a stream stands, as the row of its counter says it.
pub fn standing_of(row: &Row) -> Option<Standing> {
    decode(&row.value, row.version)
}

fn decode(mut value: &[u8], version: Position) -> Option<Standing> {
    let (first, last) = (value.try_get_u64_le().ok()?, value.try_get_u64_le().ok()?);
    Some(Standing { first, last, version: Some(version) })
}

/// The first number that should stand among the rows of these numbers and does not, in this direction.
fn missing(rows: &[Row], from: u64, to: u64, limit: usize, direction: Direction) -> Option<u64> {
    let place = |index: u64| match direction {
        Direction::Forward => from + index,
        Direction::Backward => to - index,
    };
    let expected = (to - from).saturating_add(1).min(limit as u64);
    let stands = |index: u64| {
        let row = usize::try_from(index).ok().and_then(|index| rows.get(index));
        row.and_then(number) == Some(place(index))
    };
    (0..expected).find(|index| !stands(*index)).map(place)
}

fn number(row: &Row) -> Option<u64> {
    row.key.as_bytes().last_chunk().map(|tail| u64::from_be_bytes(*tail))
}

fn record(row: Row) -> Option<Record> {
    Some(Record { sequence: number(&row)?, version: row.version, value: row.value })
}
