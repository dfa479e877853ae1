//! The log file: one table of numbered rows, appended to by every group of batches and trimmed by the way.

use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::OpenError;
use super::backend::{self, OpenFile, begin, guarded};
use super::stats::Counters;
use crate::store::Failure;
use crate::store::disk::Disk;
use crate::store::frame::{self, Assembler, Malformed};

pub(super) const NAME: &str = "log.redb";
const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");
/// Takes a few groups; nothing but replay ever reads here.
const CACHE_BYTES: usize = 16 << 20;
/// Rows trimmed in one commit: more than one adds, so that trimming catches up, and too few to be felt.
const TRIM_ROWS_MAX: u64 = 64;
const APPENDING: &str = "appending to the log";

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    file: OpenFile,
    first: u64,
    next: u64,
}

/// Why an append did not succeed.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing of it is on disk.
    Failed(Arc<Failure>),
    /// All of it may be on disk.
    Unknown(Arc<Failure>),
}

impl Log {
    pub(super) fn open(disk: &dyn Disk, counters: &Counters) -> Result<Self, OpenError> {
        let fill = |transaction: &redb::WriteTransaction| {
            transaction.open_table(ROWS)?;
            Ok(())
        };
        let file = backend::open(disk, NAME, CACHE_BYTES, &counters.log, fill)?;
        Ok(Self { file, first: 0, next: 0 })
    }

    /// Reads every frame behind the row `held`, which is where the table ends, and gives each with the bytes of its
    /// rows; then the log can be appended to. The row `held` itself is never trimmed: it ties the two files together.
    pub(super) fn replay(&mut self, held: u64, mut each: impl FnMut(bytes::Bytes, u64)) -> Result<(), Failure> {
        let damaged = |malformed: Malformed| redb::Error::Corrupted(malformed.to_string());
        (self.first, self.next) = guarded("reading the log", || {
            let rows = self.file.database.begin_read()?.open_table(ROWS)?;
            let first = rows.first()?.map_or(held + 1, |(number, _)| number.value());
            if held > 0 && rows.get(held)?.is_none() {
                return Err(redb::Error::Corrupted(format!("row {held} is missing, up to which the table goes")));
            }
            let mut assembler = Assembler::starting_at(held + 1);
            let mut bytes = 0;
            for row in rows.range(held + 1..)? {
                let (number, row) = row?;
                bytes += row.value().len() as u64;
                if let Some(frame) = assembler.push(number.value(), row.value()).map_err(damaged)? {
                    each(frame, std::mem::take(&mut bytes));
                }
            }
            Ok((first, assembler.last().map_err(damaged)? + 1))
        })?;
        Ok(())
    }

    /// The number of the last row, once replayed.
    pub(super) fn last_row(&self) -> u64 {
        self.next - 1
    }

    /// Writes one frame and returns when it is on disk, with the number of its last row. Removes some rows before
    /// `trim` on the way.
    pub(super) fn append(&mut self, frame: &[u8], trim: u64) -> Result<u64, AppendError> {
        let first = trim.min(self.first + TRIM_ROWS_MAX).max(self.first);
        let mut next = self.next;
        let mut committing = false;
        let done = guarded(APPENDING, || {
            let transaction = begin(&self.file.database)?;
            let mut rows = transaction.open_table(ROWS)?;
            for (number, row) in frame::rows(frame, next) {
                rows.insert(number, row.as_slice())?;
                next = number + 1;
            }
            for number in self.first..first {
                rows.remove(number)?;
            }
            drop(rows);
            committing = true;
            Ok(transaction.commit()?)
        });
        match done {
            Ok(()) => {
                (self.first, self.next) = (first, next);
                Ok(next - 1)
            }
            Err(failure) if committing => Err(AppendError::Unknown(Arc::new(failure))),
            Err(failure) => Err(AppendError::Failed(Arc::new(failure))),
        }
    }

    /// Proves that the file can be written, and brings to disk whatever an interrupted commit left in the air.
    pub(super) fn touch(&self) -> Result<(), Failure> {
        guarded(APPENDING, || {
            let transaction = begin(&self.file.database)?;
            let mut rows = transaction.open_table(ROWS)?;
            // Row 0 is never used, and a commit without any change might be skipped.
            rows.insert(0, [].as_slice())?;
            rows.remove(0)?;
            drop(rows);
            Ok(transaction.commit()?)
        })
    }

    /// Gives the file up after a failure: nothing reaches it any more, not even while the handle is dropped.
    pub(super) fn abandon(self) {
        self.file.gate.forbid_all();
        let dropped = guarded("closing the log", move || {
            drop(self.file);
            Ok(())
        });
        // Whatever dropping a broken handle complains about, it could not touch the file.
        drop(dropped);
    }
}
