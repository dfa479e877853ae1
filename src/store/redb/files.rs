//! Both files opened together: the log replayed over what the table holds.

use std::sync::Arc;

use super::backend::io_failure;
use super::log::Log;
use super::state::Pair;
use super::stats::Counters;
use super::table::{Held, Table, Tie};
use super::{OpenError, Options, log, migrate, table};
use crate::store::Failure;
use crate::store::disk::Disk;
use crate::store::filter::Filters;
use crate::store::frame::{self, Malformed, Op};
use crate::store::overlay::Overlay;

/// What opening finds: what readers see, and what the committer goes on from.
pub(super) struct Opened {
    pub(super) pair: Pair,
    pub(super) ready: Ready,
}

pub(super) struct Ready {
    pub(super) log: Log,
    pub(super) table: Arc<Table>,
    /// Where the history ends, and the fences there.
    pub(super) last: Held,
    /// Up to which row the table holds the log.
    pub(super) held_row: u64,
}

/// Opens both files, or creates them.
pub(super) fn open(disk: &Arc<dyn Disk>, options: &Options, counters: &Counters) -> Result<Opened, OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    // The table is made first, so that either file without the other is always a loss.
    let there = disk.exists(table::NAME).map_err(|error| in_table(io_failure("looking for the table", error)))?;
    if !there && log::exists(&**disk)? {
        return Err(in_table(Failure::damaged("it is missing beside its log")));
    }
    let covered = migrate::cover(&**disk);
    covered.map_err(|error| in_table(io_failure("giving checksums to the pages of the earlier version", error)))?;
    let mut table = Table::open(&**disk, options, counters)?;
    if table.is_old() {
        table = migrate::run(table, &**disk, options)?;
    }
    let gate = table.gate().clone();
    let opened = over(table, disk, options, counters);
    if opened.is_err() {
        // Closing writes to the file, which is not for a handle that is given up: an older one may still be reading.
        gate.forbid_writes();
    }
    opened
}

fn over(table: Table, disk: &Arc<dyn Disk>, options: &Options, counters: &Counters) -> Result<Opened, OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    let held = table.held().map_err(in_table)?;
    let Tie { store, made } = table.tie().map_err(in_table)?;
    if !made {
        log::create(&**disk, store, held.mark.row + 1, &counters.log)?;
        table.log_was_made(store).map_err(in_table)?;
    }
    migrate::tidy(&**disk)?;
    let view = Arc::new(table.view().map_err(in_table)?);
    let filters = Arc::new(Filters::new(view.is_empty(), options.filter_bytes_max));
    let mut replay = Replay::over(&held);
    let each = |frame, bytes| replay.frame(frame, bytes, &filters);
    let log = Log::open(disk.clone(), store, held.mark.row, options, &counters.log, each)?;
    let replayed = replay.done();
    let broken = |broken: Malformed| Failure::damaged(broken.to_string());
    let (mut overlay, mut last) =
        replayed.map_err(|error| OpenError::Failed { file: log::NAME, source: broken(error) })?;
    last.mark.row = log.last();
    overlay.reached(last.mark, 0);
    let ready = Ready { log, table: Arc::new(table), last, held_row: held.mark.row };
    Ok(Opened { pair: Pair { overlay, view, filters }, ready })
}

/// What the log says beyond the table, gathered frame by frame.
pub(super) struct Replay {
    last: Held,
    overlay: Overlay,
    broken: Option<Malformed>,
}

impl Replay {
    pub(super) fn over(held: &Held) -> Self {
        Self { last: held.clone(), overlay: Overlay::starting_at(held.mark), broken: None }
    }

    pub(super) fn done(self) -> Result<(Overlay, Held), Malformed> {
        self.broken.map_or(Ok((self.overlay, self.last)), Err)
    }

    pub(super) fn frame(&mut self, frame: bytes::Bytes, bytes: u64, filters: &Filters) {
        for op in frame::ops(frame) {
            match op {
                Ok(op) => self.op(op, filters),
                Err(malformed) => self.broken = Some(malformed),
            }
        }
        self.overlay.reached(self.last.mark, bytes);
    }

    fn op(&mut self, op: Op, filters: &Filters) {
        if let Op::Begin(_, fence) = op {
            self.last.fences.raise(fence);
        }
        self.overlay.apply(op, &mut self.last.mark.position, |key| filters.may_hold(key));
    }
}
