//! Brings the store of an earlier version up to this one: its log was a redb file of numbered rows.
//!
//! Both files are copied first. Then the table takes what the log holds beyond it, and only with that done it says that
//! it is of this version: whatever interrupts this is found and done again. The old log is removed last.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use redb::{ReadableDatabase, TableDefinition};

use super::backend::{self, guarded, io_failure};
use super::files::Replay;
use super::stats::{Counters, FileCounters};
use super::table::{self, Table};
use super::{OpenError, Options, checkpoint, log};
use crate::store::Failure;
use crate::store::disk::Disk;
use crate::store::filter::Filters;

/// The log as format 1 had it.
const OLD_LOG: &str = "log.redb";
const OLD_FORMAT: u32 = 1;
const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");
/// Takes what replay reads at once.
const CACHE_BYTES: usize = 16 << 20;
/// Where the copies lie.
const FOLDER: &str = "before-format-2";
const COPYING: &str = "copying the files of the earlier version";

/// Takes a table of format 1, which becomes one of this version with all that its log holds.
pub(super) fn run(
    table: Table,
    disk: &Arc<dyn Disk>,
    options: &Options,
    counters: &Counters,
) -> Result<Table, OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    if log::exists(&**disk)? {
        let what = "it has format 1 and lies beside a log of format 2: put files together that belong together";
        table.gate().forbid_writes();
        return Err(in_table(Failure::Damaged { what: what.to_owned() }));
    }
    // Closed, so that the copy needs no repair.
    drop(table);
    back_up(&**disk).map_err(|error| in_table(io_failure(COPYING, error)))?;
    let table = Table::open(&**disk, options.cache_bytes, counters)?;
    let taken = take(&table, &**disk, options).and_then(|()| table.adopt().map_err(in_table));
    if taken.is_err() {
        table.gate().forbid_writes();
    }
    taken.map(|()| table)
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

fn back_up(disk: &dyn Disk) -> std::io::Result<()> {
    for name in [table::NAME, OLD_LOG] {
        if disk.exists(name)? {
            copy(disk, name, &format!("{FOLDER}/{name}"))?;
        }
    }
    Ok(())
}

fn copy(disk: &dyn Disk, from: &str, to: &str) -> std::io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let fresh = format!("{to}.new");
    if disk.exists(&fresh)? {
        disk.remove(&fresh)?;
    }
    let (source, copy) = (disk.open(from)?, disk.open(&fresh)?);
    let length = source.len()?;
    copy.set_len(length)?;
    let mut piece = Vec::new();
    let mut at = 0;
    while at < length {
        piece.resize(usize::try_from(PIECE_BYTES.min(length - at)).unwrap_or(usize::MAX), 0);
        source.read(at, &mut piece)?;
        copy.write(at, &piece)?;
        at += piece.len() as u64;
    }
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
        return Err(in_log(Failure::Damaged { what: "it is missing, and the table needs it".to_owned() }));
    }
    let mut replay = Replay::over(&held);
    let filters = Filters::new(false, options.filter_bytes_max);
    let last = read(disk, held.mark.row, |frame| replay.frame(frame, 0, &filters))?;
    let (mut overlay, mut held) =
        replay.done().map_err(|broken| in_log(Failure::Damaged { what: broken.to_string() }))?;
    held.mark.row = last;
    let frozen = overlay.freeze();
    let mut rows = frozen.rows.iter().peekable();
    loop {
        let chunk = checkpoint::chunk(&mut rows, options);
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
