//! The table file: blocks of rows, how far the log is held in it, and a tally per area by which a lost row shows.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Buf;
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::aside::Aside;
use super::backend::{self, Gate, OpenFile, begin, guarded};
use super::block::Block;
use super::blocks::{self, Trouble};
use super::log::StoreId;
use super::pack;
use super::pages::among_rows;
use super::scan::Scan;
use super::stats::Counters;
use super::tally::{self, Tally};
use super::{OpenError, Options};
use crate::clock::{Clock, SystemClock};
use crate::store::admit::Fences;
use crate::store::disk::Disk;
use crate::store::overlay::{self, Entry, Mark};
use crate::store::{Epoch, Failure, Fence, Key, Position, Row, Shard, Span, Versioned};

pub(super) const NAME: &str = "table.redb";
pub(super) type Bytewise = ReadOnlyTable<&'static [u8], &'static [u8]>;
const BLOCKS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("blocks");
const TALLIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("tallies");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
const STATE_HELD: &str = "held";
/// Which log belongs to this table, and whether it was made.
const STATE_LOG: &str = "log";
/// What this version writes. A table that says more is refused, one that says less is brought up by `migrate`.
const FORMAT: u32 = 4;
const READING: &str = "reading the table";

/// The open table.
#[derive(Debug)]
pub(super) struct Table {
    file: OpenFile,
    block_bytes_max: usize,
}

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
    pub(super) fn open(disk: &dyn Disk, options: &Options, counters: &Counters) -> Result<Self, OpenError> {
        let fill = |transaction: &redb::WriteTransaction| {
            make_empty(transaction)?;
            let mut state = transaction.open_table(STATE)?;
            state.insert(STATE_HELD, encode_held(&Held::default()).as_slice())?;
            state.insert(STATE_LOG, encode_tie(&Tie::new()).as_slice())?;
            Ok(())
        };
        let file = backend::open(disk, NAME, FORMAT, options.cache_bytes, &counters.table, fill)?;
        let table = Self { file, block_bytes_max: options.block_bytes_max };
        if !table.is_old() {
            table.fold_tallies().map_err(|source| OpenError::Failed { file: NAME, source })?;
        }
        Ok(table)
    }

    /// Opens one that is there, without a write to its disk.
    pub(super) fn open_aside(disk: Arc<dyn Disk>, options: &Options, counters: &Counters) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Failed { file: NAME, source };
        match disk.exists(NAME) {
            Ok(true) => Self::open(&Aside::over(disk), options, counters),
            Ok(false) => Err(failed(Failure::damaged("it is missing"))),
            Err(error) => Err(failed(backend::io_failure("looking for the table", error))),
        }
    }

    /// Whether every page that is in use can be followed, also those that hold rows together and say which are free.
    /// Reads them all. For a table that nobody else has open, aside: what redb finds wrong it tries to mend.
    pub(super) fn is_whole(&mut self) -> Result<bool, Failure> {
        guarded("looking at the pages of the table", || Ok(self.file.database.check_integrity()?))
    }

    fn fold_tallies(&self) -> Result<(), Failure> {
        let Some(folded) = tally::folded(&self.view()?.tallies()?) else { return Ok(()) };
        self.migrate("adding up the tallies", |transaction| {
            transaction.delete_table(TALLIES)?;
            let mut table = transaction.open_table(TALLIES)?;
            for (area, tally) in folded {
                table.insert(area.as_slice(), tally.map(|tally| tally.encode(&area)).unwrap_or_default().as_slice())?;
            }
            Ok(())
        })
    }

    /// Which version wrote it.
    pub(super) fn format(&self) -> u32 {
        self.file.format
    }

    pub(super) fn is_old(&self) -> bool {
        self.file.format < FORMAT
    }

    /// Does something to a table of an earlier version.
    pub(super) fn migrate<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        guarded(doing, || {
            let transaction = begin(&self.file.database)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    pub(super) fn tie(&self) -> Result<Tie, Failure> {
        guarded("reading which log belongs to the table", || {
            let state = self.file.database.begin_read()?.open_table(STATE)?;
            let stored = state.get(STATE_LOG)?;
            let tie = stored.and_then(|bytes| decode_tie(bytes.value()));
            tie.ok_or_else(|| redb::Error::Corrupted("which log belongs to the table cannot be read".to_owned()))
        })
    }

    /// From now on a log that is not there is one that was lost.
    pub(super) fn log_was_made(&self, store: StoreId) -> Result<(), Failure> {
        guarded("tying the table to its log", || {
            let transaction = begin(&self.file.database)?;
            let tie = Tie { store, made: true };
            transaction.open_table(STATE)?.insert(STATE_LOG, encode_tie(&tie).as_slice())?;
            Ok(transaction.commit()?)
        })
    }

    pub(super) fn held(&self) -> Result<Held, Failure> {
        guarded("reading how far the table goes", || {
            let state = self.file.database.begin_read()?.open_table(STATE)?;
            let stored = state.get(STATE_HELD)?;
            let held = stored.and_then(|bytes| decode_held(bytes.value()));
            held.ok_or_else(|| redb::Error::Corrupted("how far the table goes cannot be read".to_owned()))
        })
    }

    /// Notes that nothing is known of a key.
    pub(super) fn lose(&self, key: &Key) -> Result<(), Failure> {
        self.migrate("noting a damaged row", |transaction| {
            let mut blocks = transaction.open_table(BLOCKS)?;
            among_rows(|| blocks::lose(&mut blocks, key.as_bytes(), self.block_bytes_max))
        })
    }

    /// The rows as they are now, whatever is written later.
    pub(super) fn view(&self) -> Result<View, Failure> {
        guarded(READING, || {
            let transaction = self.file.database.begin_read()?;
            // Opening a table reads the first of its pages.
            let open = |table| among_rows(|| transaction.open_table(table));
            let (blocks, tallies) = (open(BLOCKS)?, open(TALLIES)?);
            let only = if blocks.len()? == 1 { among_rows(|| blocks.first())? } else { None };
            let empty = only.is_some_and(|(separator, stored)| {
                let block = Block::read(separator.value(), stored.value());
                block.is_sound() && block.count() == 0
            });
            Ok(View { blocks, tallies, empty, count: OnceLock::new() })
        })
    }

    /// Writes sorted rows, and with the last of them how far the table now goes.
    pub(super) fn write(&self, rows: &[(&Key, &Entry)], held: Option<&Held>) -> Result<(), Failure> {
        self.apply(self.plan(&self.view()?, rows)?, held)
    }

    /// What sorted rows make of the blocks that a view shows. Good as long as nobody else writes to those.
    pub(super) fn plan<'a>(&self, view: &View, rows: &[(&'a Key, &'a Entry)]) -> Result<Plan<'a>, Failure> {
        let (edits, tallies) = look(READING, || blocks::edits(&view.blocks, rows, self.block_bytes_max))?;
        Ok(Plan { edits, tallies })
    }

    /// Does that, and with the last of it notes how far the table now goes.
    pub(super) fn apply(&self, plan: Plan<'_>, held: Option<&Held>) -> Result<(), Failure> {
        guarded("writing the table", || {
            let transaction = begin(&self.file.database)?;
            let (mut blocks, mut tallies) = (transaction.open_table(BLOCKS)?, transaction.open_table(TALLIES)?);
            among_rows(|| {
                blocks::apply(&mut blocks, plan.edits)?;
                tally::write(&mut tallies, plan.tallies)
            })?;
            drop((blocks, tallies));
            if let Some(held) = held {
                transaction.open_table(STATE)?.insert(STATE_HELD, encode_held(held).as_slice())?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Moves pages to the front and shortens the file; true when another round may win more. Only for a copy: it commits
    /// in another way than everybody else does.
    pub(super) fn compact(&mut self) -> Result<bool, Failure> {
        guarded("compacting the table", || Ok(self.file.database.compact()?))
    }

    /// Shuts off what still reads or writes through this handle.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.file.gate
    }
}

/// What is to be written to the table.
pub(super) struct Plan<'a> {
    edits: Vec<blocks::Edit>,
    tallies: tally::Tallies<'a>,
}

/// The rows of the table at one moment. Every block is checked when it is read.
pub(super) struct View {
    pub(super) blocks: Bytewise,
    tallies: Bytewise,
    empty: bool,
    count: OnceLock<u64>,
}

impl View {
    /// True only when the table certainly holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// How many rows there are, by the tallies.
    pub(super) fn count(&self) -> u64 {
        let tallied = || self.tallies().map_or(0, |tallies| tallies.values().flatten().map(|tally| tally.count).sum());
        *self.count.get_or_init(tallied)
    }

    /// Where the block ends that a key belongs to; empty at the end of all.
    pub(super) fn end(&self, key: &Key) -> Result<Vec<u8>, Failure> {
        look(READING, || blocks::end(&self.blocks, key.as_bytes()))
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Versioned>, Failure> {
        let entry = read(|| blocks::get(&self.blocks, key.as_bytes()))?;
        Ok(entry.and_then(|entry| entry.versioned()))
    }

    /// False when whoever asks for this key is not led to a row. A disk that fails says nothing of that.
    pub(super) fn finds(&self, key: &[u8]) -> bool {
        match read(|| blocks::get(&self.blocks, key)) {
            Ok(found) => found.is_some(),
            Err(failure) => !matches!(failure, Failure::Damaged { .. }),
        }
    }

    /// The rows of a span, seen through what the overlay knows of it.
    pub(super) fn range(&self, span: &Span, piece: Vec<(Key, Entry)>) -> Result<Vec<Row>, Failure> {
        read(|| overlay::merge(piece, Scan::new(&self.blocks, span), span, Trouble::only_row))
    }
}

fn read<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Failure> {
    look(READING, || match work() {
        Ok(done) => Ok(Ok(done)),
        Err(Trouble::Rows(failure)) => Ok(Err(failure)),
        Err(Trouble::File(error)) => Err(error),
    })?
}

/// Looks at rows, of which some may be damaged.
pub(super) fn look<T>(doing: &'static str, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Failure> {
    guarded(doing, || among_rows(work))
}

impl View {
    /// Bytes of keys and values in the file; the rest of it is free or holds it together. Reads every page.
    pub(super) fn live_bytes(&self) -> Result<u64, Failure> {
        look("measuring the table", || Ok(self.blocks.stats()?.stored_bytes()))
    }

    /// The tally of each area, `None` where it cannot be read.
    pub(super) fn tallies(&self) -> Result<tally::Stored, Failure> {
        look("reading the tallies", || {
            let mut tallies = BTreeMap::new();
            for row in self.tallies.iter()? {
                let (area, stored) = row?;
                tallies.insert(area.value().to_vec(), Tally::decode(area.value(), stored.value()));
            }
            Ok(tallies)
        })
    }
}

/// A table without rows: one block that covers all keys.
pub(super) fn make_empty(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.delete_table(BLOCKS)?;
    transaction.delete_table(TALLIES)?;
    transaction.open_table(BLOCKS)?.insert(&[][..], pack::empty(&[], &[]).as_slice())?;
    transaction.open_table(TALLIES)?;
    Ok(())
}

/// Makes it a table of this version, once it holds all that the earlier one did.
pub(super) fn adopt(transaction: &WriteTransaction, keeps_its_log: bool) -> Result<(), redb::Error> {
    if !keeps_its_log {
        transaction.open_table(STATE)?.insert(STATE_LOG, encode_tie(&Tie::new()).as_slice())?;
    }
    backend::mark_format(transaction, FORMAT)
}

pub(super) fn sealed(key: &[u8], rest: &[u8]) -> Vec<u8> {
    [&checksum(key, rest).to_le_bytes(), rest].concat()
}

pub(super) fn checked<'a>(stored: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::disk::Folder;
    use crate::store::redb::scrub;

    fn open(disk: &Folder) -> Table {
        Table::open(disk, &Options::default(), &Counters::default()).unwrap()
    }

    /// Puts these in the place of all tallies.
    fn tally(table: &Table, tallies: &[(&[u8], &[u8])]) {
        let put = |transaction: &WriteTransaction| {
            transaction.delete_table(TALLIES)?;
            let mut table = transaction.open_table(TALLIES)?;
            tallies.iter().try_for_each(|(area, stored)| Ok(table.insert(*area, *stored).map(drop)?))
        };
        table.migrate("a test", put).unwrap();
    }

    #[test]
    fn tallies_of_smaller_areas_are_added_up_and_one_that_cannot_be_read_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::new(folder.path()).unwrap();
        let keys = ["h\u{5}one\0", "h\u{5}two\0", "r\u{6}a\0b", "n\0base"].map(|key| Key::from_bytes(key.as_bytes()));
        let entry = Entry { version: Position(1), value: Some(Bytes::from_static(b"value")) };
        let mut tallies = Vec::new();
        for key in &keys {
            let table = open(&disk);
            table.write(&[(key, &entry)], None).unwrap();
            let all = table.view().unwrap().tallies().unwrap();
            let before =
                tallies.iter().filter(|(other, _): &&(&Key, Tally)| other.as_bytes()[..2] == key.as_bytes()[..2]);
            let mut own = all[&key.as_bytes()[..2]].unwrap();
            before.for_each(|(_, other)| {
                own = Tally { count: own.count - other.count, hash: own.hash.wrapping_sub(other.hash) }
            });
            tallies.push((key, own));
        }
        let sealed: Vec<_> =
            tallies.iter().map(|(key, tally)| (key.as_bytes(), tally.encode(key.as_bytes()))).collect();
        let mut sealed: Vec<(&[u8], &[u8])> = sealed.iter().map(|(area, tally)| (*area, tally.as_slice())).collect();
        tally(&open(&disk), &sealed);
        let table = open(&disk);
        assert_eq!(table.view().unwrap().tallies().unwrap().len(), 3);
        let found = scrub::run(&table.view().unwrap()).unwrap();
        assert_eq!((found.rows, found.damages), (4, 0), "{:?}", found.listed);
        sealed[1].1 = b"nothing";
        tally(&table, &sealed);
        drop(table);
        let found = scrub::run(&open(&disk).view().unwrap()).unwrap();
        assert_eq!(found.damages, 1, "{:?}", found.listed);
    }
}
