//! Both files opened together: the log replayed over what the table holds.

use std::sync::Arc;

use super::log::Log;
use super::state::Pair;
use super::stats::Counters;
use super::table::{Held, Table};
use super::{OpenError, Options, log, table};
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

impl Ready {
    /// The files were opened, but the log cannot be used after all.
    pub(super) fn gave_up(&self, source: Failure) -> OpenError {
        self.table.gate().forbid_writes();
        OpenError::Failed { file: log::NAME, source }
    }
}

/// Opens both files, or creates them.
pub(super) fn open(disk: &dyn Disk, options: &Options, counters: &Counters) -> Result<Opened, OpenError> {
    // The table is made first, so that a table that holds something without a log beside it is always a loss.
    let table = Table::open(disk, options.cache_bytes, counters)?;
    let gate = table.gate().clone();
    let opened = over(table, disk, options, counters);
    if opened.is_err() {
        // Closing writes to the file, which is not for a handle that is given up: an older one may still be reading.
        gate.forbid_writes();
    }
    opened
}

fn over(table: Table, disk: &dyn Disk, options: &Options, counters: &Counters) -> Result<Opened, OpenError> {
    let in_table = |source| OpenError::Failed { file: table::NAME, source };
    let in_log = |source| OpenError::Failed { file: log::NAME, source };
    let held = table.held().map_err(in_table)?;
    let view = Arc::new(table.view().map_err(in_table)?);
    let filters = Arc::new(Filters::new(view.count() == 0, options.filter_bytes_max));
    let mut log = Log::open(disk, counters)?;
    let mut replay = Replay { last: held.clone(), overlay: Overlay::starting_at(held.mark), broken: None };
    log.replay(held.mark.row, |frame, bytes| replay.frame(frame, bytes, &filters)).map_err(in_log)?;
    if let Some(malformed) = replay.broken {
        return Err(in_log(Failure::Damaged { what: malformed.to_string() }));
    }
    let Replay { mut last, mut overlay, .. } = replay;
    last.mark.row = log.last_row();
    overlay.reached(last.mark, 0);
    let ready = Ready { log, table: Arc::new(table), last, held_row: held.mark.row };
    Ok(Opened { pair: Pair { overlay, view, filters }, ready })
}

struct Replay {
    last: Held,
    overlay: Overlay,
    broken: Option<Malformed>,
}

impl Replay {
    fn frame(&mut self, frame: bytes::Bytes, bytes: u64, filters: &Filters) {
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
