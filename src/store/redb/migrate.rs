//! Brings the store of an earlier version up to this one.
//!
//! In format 1 the log was a redb file of numbered rows; until format 2 each row of the table was a value of its own;
//! until format 3 its pages had no checksums. All files are copied first, and redb's pages are given theirs. Then the rows
//! are put into blocks, and of format 1 the table takes what the log holds beyond it. Only with that done it says that
//! it is of this version: whatever interrupts this is found and done again.

use std::ops::Bound;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use super::backend::{self, guarded, io_failure};
use super::files::Replay;
use super::stats::FileCounters;
use super::table::{self, Table};
use super::{OpenError, Options, checkpoint, log, pages};
use crate::store::disk::{self, Disk, File};
use crate::store::filter::Filters;
use crate::store::overlay::Entry;
use crate::store::{Failure, Key, Position};

/// The log as format 1 had it.
const OLD_LOG: &str = "log.redb";
const OLD_FORMAT: u32 = 1;
const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");
/// The rows of the table as both had them: `crc32 · version · value`.
const OLD_ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// Takes what replay reads at once.
const CACHE_BYTES: usize = 16 << 20;
/// Where the copies lie.
const FOLDER: &str = "before-format-4";
const MOVING: &str = "putting the rows of the earlier version into blocks";

/// Copies the files of a version whose pages had no checksums, and gives them theirs: the table at last, by which it is
/// seen that this is done.
pub(super) fn cover(disk: &dyn Disk) -> std::io::Result<()> {
    if !is_due(disk)? {
        return Ok(());
    }
    for name in log::names(disk)? {
        copy(&*disk.open(&name)?, disk, &format!("{FOLDER}/{name}"))?;
    }
    for name in [OLD_LOG, table::NAME] {
        if let Some(file) = bare(disk, name)? {
            copy(&*file, disk, &format!("{FOLDER}/{name}"))?;
            let fresh = disk::fresh(disk, name)?;
            pages::cover(&*file, disk.open(&fresh)?)?;
            disk.rename(&fresh, name)?;
        }
    }
    Ok(())
}

/// Whether the table is one of a version whose pages had no checksums.
pub(super) fn is_due(disk: &dyn Disk) -> std::io::Result<bool> {
    Ok(bare(disk, table::NAME)?.is_some())
}

fn bare(disk: &dyn Disk, name: &str) -> std::io::Result<Option<Box<dyn File>>> {
    let file = if disk.exists(name)? { Some(disk.open(name)?) } else { None };
    Ok(match file {
        Some(file) if pages::is_bare(&*file)? => Some(file),
        _ => None,
    })
}

/// Takes a table of an earlier version, which becomes one of this version with all that it held.
pub(super) fn run(table: Table, disk: &dyn Disk, options: &Options) -> Result<Table, OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    let has_old_log = table.format() == OLD_FORMAT;
    if has_old_log && log::exists(disk)? {
        let what = "it has format 1 and lies beside a log of a later one: put files together that belong together";
        table.gate().forbid_writes();
        return Err(in_table(Failure::damaged(what)));
    }
    let taken = move_rows(&table, options).map_err(in_table);
    let taken = taken.and_then(|()| if has_old_log { take(&table, disk, options) } else { Ok(()) });
    let adopt = |transaction: &WriteTransaction| table::adopt(transaction, !has_old_log);
    let taken = taken.and_then(|()| table.migrate(MOVING, adopt).map_err(in_table));
    if taken.is_err() {
        table.gate().forbid_writes();
    }
    taken.map(|()| table)
}

fn has_old_rows(transaction: &WriteTransaction) -> Result<bool, redb::Error> {
    Ok(transaction.list_tables()?.any(|table| table.name() == OLD_ROWS.name()))
}

/// Puts all rows into blocks, if that was not done yet. One that is damaged is known to be lost from then on.
fn move_rows(table: &Table, options: &Options) -> Result<(), Failure> {
    if !table.migrate(MOVING, has_old_rows)? {
        return Ok(());
    }
    table.migrate(MOVING, table::make_empty)?;
    let mut last: Option<Key> = None;
    loop {
        let read = |transaction: &WriteTransaction| old_rows(transaction, last.as_ref(), options.checkpoint_rows_max);
        let rows = table.migrate(MOVING, read)?;
        let Some((key, _)) = rows.last() else {
            return table.migrate(MOVING, |transaction| Ok(transaction.delete_table(OLD_ROWS).map(drop)?));
        };
        last = Some(key.clone());
        let sound: Vec<(&Key, &Entry)> = rows.iter().filter_map(|(key, entry)| Some((key, entry.as_ref()?))).collect();
        table.write(&sound, None)?;
        for (key, _) in rows.iter().filter(|(_, entry)| entry.is_none()) {
            tracing::warn!(?key, "a row was damaged before it was brought to this version, and is lost");
            table.lose(key)?;
        }
    }
}

/// The next rows, without what they hold where that is damaged.
fn old_rows(
    transaction: &WriteTransaction,
    last: Option<&Key>,
    most: usize,
) -> Result<Vec<(Key, Option<Entry>)>, redb::Error> {
    let rows = transaction.open_table(OLD_ROWS)?;
    let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.as_bytes()));
    let page = rows.range::<&[u8]>((from, Bound::Unbounded))?.take(most.max(1));
    page.map(|row| {
        let (key, stored) = row?;
        Ok((Key::from_bytes(key.value().to_vec()), old_row(key.value(), stored.value())))
    })
    .collect()
}

fn old_row(key: &[u8], stored: &[u8]) -> Option<Entry> {
    let mut rest = table::checked(stored, key)?;
    let version = Position(rest.try_get_u64_le().ok()?);
    Some(Entry { version, value: Some(Bytes::copy_from_slice(rest)) })
}

/// Removes what the table holds in full by now.
pub(super) fn tidy(disk: &dyn Disk) -> Result<(), OpenError> {
    for name in [OLD_LOG, "log.redb.new"] {
        let removed = disk.exists(name).and_then(|exists| if exists { disk.remove(name) } else { Ok(()) });
        let broken = |error| OpenError::Failed { file: OLD_LOG, source: io_failure("removing the old log", error) };
        removed.map_err(broken)?;
    }
    Ok(())
}

fn copy(source: &dyn File, disk: &dyn Disk, to: &str) -> std::io::Result<()> {
    let fresh = disk::fresh(disk, to)?;
    let copy = disk.open(&fresh)?;
    copy.set_len(source.len()?)?;
    disk::pieces(source, |at, piece| copy.write(at, piece))?;
    copy.sync()?;
    disk.rename(&fresh, to)
}

/// Writes what the old log holds beyond the table into it.
fn take(table: &Table, disk: &dyn Disk, options: &Options) -> Result<(), OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    let in_log = |source| OpenError::Failed { file: OLD_LOG, source };
    let held = table.held().map_err(in_table)?;
    let there = disk.exists(OLD_LOG).map_err(|error| in_log(io_failure("looking for the old log", error)))?;
    if !there && held.mark.row == 0 {
        return Ok(());
    }
    if !there {
        return Err(in_log(Failure::damaged("it is missing, and the table needs it")));
    }
    let mut replay = Replay::over(&held);
    let filters = Filters::new(false, options.filter_bytes_max);
    let last = read(disk, held.mark.row, |frame| replay.frame(frame, 0, &filters))?;
    let (mut overlay, mut held) = replay.done().map_err(|broken| in_log(Failure::damaged(broken.to_string())))?;
    held.mark.row = last;
    let frozen = overlay.freeze();
    let mut rows = frozen.rows.iter().peekable();
    loop {
        let chunk = checkpoint::chunk(&mut rows, &checkpoint::Step::large(options));
        let through = rows.peek().is_none();
        table.write(&chunk, through.then_some(&held)).map_err(in_table)?;
        if through {
            return Ok(());
        }
    }
}

/// Gives every frame behind the row `held`, and the number of the last row.
fn read(disk: &dyn Disk, held: u64, mut each: impl FnMut(Bytes)) -> Result<u64, OpenError> {
    let counters = Arc::new(FileCounters::default());
    let file = backend::open(disk, OLD_LOG, OLD_FORMAT, CACHE_BYTES, &counters, |_| Ok(()))?;
    let damaged = |row: u64| redb::Error::Corrupted(format!("row {row} is missing or damaged"));
    let last = guarded("reading the old log", || {
        let rows = file.database.begin_read()?.open_table(ROWS)?;
        if held > 0 && rows.get(held)?.is_none() {
            return Err(damaged(held));
        }
        let mut pieces = Pieces { next: held + 1, ..Pieces::default() };
        for row in rows.range(held + 1..)? {
            let (number, row) = row?;
            if let Some(frame) = pieces.push(number.value(), row.value()).ok_or_else(|| damaged(pieces.next))? {
                each(frame);
            }
        }
        if pieces.index == 0 { Ok(pieces.next - 1) } else { Err(damaged(pieces.next)) }
    });
    last.map_err(|source| OpenError::Failed { file: OLD_LOG, source })
}

/// Puts frames together from rows: `crc32(number, rest) · format 1 · index in the frame · rows of the frame · piece`.
#[derive(Default)]
struct Pieces {
    next: u64,
    index: u32,
    frame: Vec<u8>,
}

impl Pieces {
    /// Takes one row, and gives the frame that it completes; `None` when it is not the row that should follow.
    #[allow(clippy::option_option, reason = "the outer one is whether the row is sound")]
    fn push(&mut self, number: u64, row: &[u8]) -> Option<Option<Bytes>> {
        const HEADER_BYTES: usize = 13;
        let (mut header, piece) = row.split_at_checked(HEADER_BYTES)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&number.to_le_bytes());
        crc.update(&row[4..]);
        let sound = header.get_u32_le() == crc.finalize() && u32::from(header.get_u8()) == OLD_FORMAT;
        let (index, count) = (header.get_u32_le(), header.get_u32_le());
        if !sound || number != self.next || index != self.index {
            return None;
        }
        self.next += 1;
        self.index += 1;
        self.frame.extend_from_slice(piece);
        if self.index < count {
            return Some(None);
        }
        self.index = 0;
        Some(Some(std::mem::take(&mut self.frame).into()))
    }
}
