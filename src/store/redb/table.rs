//! The table file: rows by key, how far the log is held in it, and a tally per area by which a vanished row shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::OpenError;
use super::backend::{self, Gate, OpenFile, begin, guarded};
use super::log::StoreId;
use super::stats::Counters;
use crate::clock::{Clock, SystemClock};
use crate::store::admit::Fences;
use crate::store::disk::Disk;
use crate::store::overlay::{self, Entry, Mark};
use crate::store::{Direction, Epoch, Failure, Fence, Key, Position, Row, Shard, Span, Versioned};

pub(super) const NAME: &str = "table.redb";
type Bytewise = ReadOnlyTable<&'static [u8], &'static [u8]>;
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
const TALLIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("tallies");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
const STATE_HELD: &str = "held";
/// Which log belongs to this table, and whether it was made.
const STATE_LOG: &str = "log";
/// What this version writes. A table that says more is refused, one that says less is brought up by `migrate`.
const FORMAT: u32 = 2;
const READING: &str = "reading the table";

/// The open table.
#[derive(Debug)]
pub(super) struct Table(OpenFile);

/// What of the log the table holds, and the fences as they stood there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) mark: Mark,
    pub(super) fences: Fences,
}

/// The log that belongs to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tie {
    pub(super) store: StoreId,
    pub(super) made: bool,
}

impl Tie {
    fn new() -> Self {
        Self { store: SystemClock::default().random(), made: false }
    }
}

impl Table {
    pub(super) fn open(disk: &dyn Disk, cache_bytes: usize, counters: &Counters) -> Result<Self, OpenError> {
        let fill = |transaction: &redb::WriteTransaction| {
            transaction.open_table(ROWS)?;
            transaction.open_table(TALLIES)?;
            let mut state = transaction.open_table(STATE)?;
            state.insert(STATE_HELD, encode_held(&Held::default()).as_slice())?;
            state.insert(STATE_LOG, encode_tie(&Tie::new()).as_slice())?;
            Ok(())
        };
        Ok(Self(backend::open(disk, NAME, FORMAT, cache_bytes, &counters.table, fill)?))
    }

    /// Whether an earlier version wrote it.
    pub(super) fn is_old(&self) -> bool {
        self.0.format < FORMAT
    }

    /// Makes it a table of this version, once it holds all that the log of the earlier one did.
    pub(super) fn adopt(&self) -> Result<(), Failure> {
        guarded("bringing the table to this version", || {
            let transaction = begin(&self.0.database)?;
            transaction.open_table(STATE)?.insert(STATE_LOG, encode_tie(&Tie::new()).as_slice())?;
            backend::mark_format(&transaction, FORMAT)?;
            Ok(transaction.commit()?)
        })
    }

    pub(super) fn tie(&self) -> Result<Tie, Failure> {
        guarded("reading which log belongs to the table", || {
            let state = self.0.database.begin_read()?.open_table(STATE)?;
            let stored = state.get(STATE_LOG)?;
            let tie = stored.and_then(|bytes| decode_tie(bytes.value()));
            tie.ok_or_else(|| redb::Error::Corrupted("which log belongs to the table cannot be read".to_owned()))
        })
    }

    /// From now on a log that is not there is one that was lost.
    pub(super) fn log_was_made(&self, store: StoreId) -> Result<(), Failure> {
        guarded("tying the table to its log", || {
            let transaction = begin(&self.0.database)?;
            let tie = Tie { store, made: true };
            transaction.open_table(STATE)?.insert(STATE_LOG, encode_tie(&tie).as_slice())?;
            Ok(transaction.commit()?)
        })
    }

    pub(super) fn held(&self) -> Result<Held, Failure> {
        guarded("reading how far the table goes", || {
            let state = self.0.database.begin_read()?.open_table(STATE)?;
            let stored = state.get(STATE_HELD)?;
            let held = stored.and_then(|bytes| decode_held(bytes.value()));
            held.ok_or_else(|| redb::Error::Corrupted("how far the table goes cannot be read".to_owned()))
        })
    }

    /// The rows as they are now, whatever is written later.
    pub(super) fn view(&self) -> Result<View, Failure> {
        guarded(READING, || {
            let transaction = self.0.database.begin_read()?;
            let rows = transaction.open_table(ROWS)?;
            Ok(View { count: rows.len()?, rows, tallies: transaction.open_table(TALLIES)? })
        })
    }

    /// Writes sorted rows, and with the last of them how far the table now goes.
    pub(super) fn write(&self, rows: &[(&Key, &Entry)], held: Option<&Held>) -> Result<(), Failure> {
        guarded("writing the table", || {
            let transaction = begin(&self.0.database)?;
            let tally = write_rows(&mut transaction.open_table(ROWS)?, rows)?;
            write_tallies(&mut transaction.open_table(TALLIES)?, tally)?;
            if let Some(held) = held {
                transaction.open_table(STATE)?.insert(STATE_HELD, encode_held(held).as_slice())?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Moves pages to the front and shortens the file; true when another round may win more. Only for a copy: it commits
    /// in another way than everybody else does.
    pub(super) fn compact(&mut self) -> Result<bool, Failure> {
        guarded("compacting the table", || Ok(self.0.database.compact()?))
    }

    /// Shuts off what still reads or writes through this handle.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }
}

/// The rows of the table at one moment. Every value is checked when it is read.
pub(super) struct View {
    rows: Bytewise,
    tallies: Bytewise,
    count: u64,
}

impl View {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Versioned>, Failure> {
        guarded(READING, || {
            let stored = self.rows.get(key.as_bytes())?;
            let entry = stored.map(|stored| decode(key.as_bytes(), stored.value())).transpose()?;
            Ok(entry.and_then(|entry| entry.versioned()))
        })
    }

    /// False when whoever asks for this key is not led to a row. A disk that fails says nothing of that.
    pub(super) fn finds(&self, key: &[u8]) -> bool {
        !matches!(self.rows.get(key), Ok(None) | Err(redb::StorageError::Corrupted(_)))
    }

    /// The rows of a span, seen through what the overlay knows of it.
    pub(super) fn range(&self, span: &Span, piece: Vec<(Key, Entry)>) -> Result<Vec<Row>, Failure> {
        guarded(READING, || {
            let rows = self.rows.range(span.from.as_bytes()..span.to.as_bytes())?.map(|row| {
                let (key, stored) = row?;
                let entry = decode(key.value(), stored.value())?;
                Ok((Key::from_bytes(Bytes::copy_from_slice(key.value())), entry))
            });
            match span.direction {
                Direction::Forward => overlay::merge(piece, rows, span),
                Direction::Backward => overlay::merge(piece, rows.rev(), span),
            }
        })
    }
}

/// What a walk over the table does next.
pub(super) type Step = std::ops::ControlFlow<()>;

impl View {
    /// Shows every row as it is stored, in order.
    pub(super) fn walk(&self, each: impl FnMut(&[u8], &[u8]) -> Step) -> Result<(), Failure> {
        self.walk_from(&[], each)
    }

    /// The same from a key on.
    pub(super) fn walk_from(&self, from: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Step) -> Result<(), Failure> {
        guarded("walking through the table", || {
            for row in self.rows.range(from..)? {
                let (key, stored) = row?;
                if each(key.value(), stored.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Bytes of keys and values in the file; the rest of it is free or holds it together. Reads every page.
    pub(super) fn live_bytes(&self) -> Result<u64, Failure> {
        guarded("measuring the table", || Ok(self.rows.stats()?.stored_bytes()))
    }

    /// The tally of each area, `None` where it cannot be read.
    pub(super) fn tallies(&self) -> Result<BTreeMap<Vec<u8>, Option<Tally>>, Failure> {
        guarded("reading the tallies", || {
            let mut tallies = BTreeMap::new();
            for row in self.tallies.iter()? {
                let (area, stored) = row?;
                tallies.insert(area.value().to_vec(), Tally::decode(area.value(), stored.value()));
            }
            Ok(tallies)
        })
    }
}

/// How many rows an area holds, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) hash: u64,
}

impl Tally {
    pub(super) fn add(&mut self, stored: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.hash = self.hash.wrapping_add(row_hash(stored));
    }

    fn subtract(&mut self, stored: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.hash = self.hash.wrapping_sub(row_hash(stored));
    }

    pub(super) fn decode(area: &[u8], stored: &[u8]) -> Option<Self> {
        let mut rest = checked(stored, area)?;
        Some(Self { count: rest.try_get_u64_le().ok()?, hash: rest.try_get_u64_le().ok()? })
    }

    fn encode(self, area: &[u8]) -> Vec<u8> {
        sealed(area, &[self.count.to_le_bytes(), self.hash.to_le_bytes()].concat())
    }
}

/// The part of a key that its tally stands under: the first part of the tuple.
pub(super) fn area(key: &[u8]) -> &[u8] {
    const AREA_BYTES_MAX: usize = 32;
    let end = key.iter().position(|&byte| byte == 0).map_or(key.len(), |end| end + 1);
    &key[..end.min(AREA_BYTES_MAX)]
}

/// Reads a stored row: `crc32(key, rest) · version · value`.
pub(super) fn decode(key: &[u8], stored: &[u8]) -> Result<Entry, redb::Error> {
    let damaged = || redb::Error::Corrupted(format!("the row {} does not match its checksum", key.escape_ascii()));
    let mut rest = checked(stored, key).ok_or_else(damaged)?;
    let version = Position(rest.try_get_u64_le().map_err(|_| damaged())?);
    Ok(Entry { version, value: Some(Bytes::copy_from_slice(rest)) })
}

type Tallies<'a> = BTreeMap<&'a [u8], Tally>;

fn write_rows<'a>(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    rows: &[(&'a Key, &Entry)],
) -> Result<Tallies<'a>, redb::Error> {
    let mut tallies = Tallies::new();
    for (key, entry) in rows {
        let key = key.as_bytes();
        let tally = tallies.entry(area(key)).or_default();
        let old = match &entry.value {
            Some(value) => {
                let stored = sealed(key, &[&entry.version.0.to_le_bytes(), value.as_ref()].concat());
                tally.add(&stored);
                table.insert(key, stored.as_slice())?
            }
            None => table.remove(key)?,
        };
        if let Some(old) = old {
            tally.subtract(old.value());
        }
    }
    Ok(tallies)
}

fn write_tallies(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    changes: Tallies<'_>,
) -> Result<(), redb::Error> {
    for (area, change) in changes {
        let stored = table.get(area)?.map(|stored| Tally::decode(area, stored.value()));
        // One that cannot be read stays as it is, for the scrub to find.
        let Some(old) = stored.unwrap_or(Some(Tally::default())) else { continue };
        let count = old.count.wrapping_add(change.count);
        let new = Tally { count, hash: old.hash.wrapping_add(change.hash) };
        table.insert(area, new.encode(area).as_slice())?;
    }
    Ok(())
}

fn row_hash(stored: &[u8]) -> u64 {
    let crc = stored.first_chunk::<4>().map_or(0, |crc| u64::from(u32::from_le_bytes(*crc)));
    (crc | (stored.len() as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn sealed(key: &[u8], rest: &[u8]) -> Vec<u8> {
    [&checksum(key, rest).to_le_bytes(), rest].concat()
}

fn checked<'a>(stored: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (crc, rest) = stored.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*crc) == checksum(key, rest)).then_some(rest)
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // The length keeps a byte from moving between key and value unnoticed.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize()
}

fn encode_held(held: &Held) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&held.mark.position.0.to_le_bytes());
    out.extend_from_slice(&held.mark.row.to_le_bytes());
    for fence in held.fences.iter() {
        out.extend_from_slice(&fence.shard.0.to_le_bytes());
        out.extend_from_slice(&fence.epoch.0.to_le_bytes());
    }
    sealed(STATE_HELD.as_bytes(), &out)
}

fn decode_held(stored: &[u8]) -> Option<Held> {
    let mut rest = checked(stored, STATE_HELD.as_bytes())?;
    let position = Position(rest.try_get_u64_le().ok()?);
    let mark = Mark { position, row: rest.try_get_u64_le().ok()? };
    let mut fences = Fences::default();
    while !rest.is_empty() {
        let shard = Shard(rest.try_get_u32_le().ok()?);
        fences.raise(Fence { shard, epoch: Epoch(rest.try_get_u64_le().ok()?) });
    }
    Some(Held { mark, fences })
}

fn encode_tie(tie: &Tie) -> Vec<u8> {
    sealed(STATE_LOG.as_bytes(), &[tie.store.as_slice(), &[u8::from(tie.made)]].concat())
}

fn decode_tie(stored: &[u8]) -> Option<Tie> {
    let (store, made) = checked(stored, STATE_LOG.as_bytes())?.split_first_chunk()?;
    Some(Tie { store: *store, made: *made.first()? == 1 })
}
