//! Looking into a log from outside: its files, and frame by frame what they hold, down to where it ends or is damaged.

use std::ops::ControlFlow;

use serde::Serialize;

use super::segment::{self, Found};
use crate::store::disk::Disk;
use crate::store::frame::{self, Op};
use crate::store::redb::OpenError;
use crate::store::{Failure, Fence, Position};

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFile {
    pub name: String,
    pub bytes: u64,
    /// The files were taken into use in this order.
    pub turn: u64,
    pub first_frame: u64,
}

/// One frame: what was written with one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFrame {
    pub file: String,
    pub offset: u64,
    pub number: u64,
    /// What it takes on disk.
    pub bytes: u64,
    pub batches: Vec<LogBatch>,
}

/// One batch of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    pub position: Position,
    pub fence: Fence,
    pub puts: u64,
    pub deletes: u64,
    pub value_bytes: u64,
}

/// The files of a log, in the order of their turns. Older ones may hold nothing that the table does not.
pub fn files(disk: &dyn Disk) -> Result<Vec<LogFile>, OpenError> {
    let file = |segment: segment::Segment| LogFile {
        name: segment::name(segment.slot),
        bytes: segment.bytes,
        turn: segment.header.turn,
        first_frame: segment.header.first,
    };
    Ok(segment::all(disk)?.into_iter().map(file).collect())
}

/// Shows every frame that the log holds, the oldest first, and fails at the first damage. Over a log in use the last
/// file is followed as far as it goes at that moment; a file that is given its next turn meanwhile looks damaged, so
/// that what a running node shows is asked for again.
pub fn frames(disk: &dyn Disk, mut each: impl FnMut(LogFrame) -> ControlFlow<()>) -> Result<(), OpenError> {
    let failed = |source| OpenError::Failed { file: super::NAME, source };
    let mut expected = None;
    for segment in segment::all(disk)? {
        let name = segment::name(segment.slot);
        if let Some(expected) = expected
            && expected != segment.header.first
        {
            let what =
                format!("{name} begins with frame {}, the file before it ends before {expected}", segment.header.first);
            return Err(failed(Failure::damaged(what)));
        }
        let mut walk = segment.walk();
        while let Some(found) = walk.next().map_err(failed)? {
            if each(shown(&name, found).map_err(failed)?).is_break() {
                return Ok(());
            }
        }
        walk.nothing_follows().map_err(failed)?;
        expected = Some(walk.number);
    }
    Ok(())
}

fn shown(name: &str, found: Found) -> Result<LogFrame, Failure> {
    let Found { number, offset, bytes, frame } = found;
    let mut batches: Vec<LogBatch> = Vec::new();
    for op in frame::ops(frame) {
        let what = |broken| format!("{name} at byte {offset}: frame {number}: {broken}");
        let op = op.map_err(|broken| Failure::damaged(what(broken)))?;
        match (op, batches.last_mut()) {
            (Op::Begin(position, fence), _) => {
                batches.push(LogBatch { position, fence, puts: 0, deletes: 0, value_bytes: 0 });
            }
            (Op::Put(_, value), Some(batch)) => {
                batch.puts += 1;
                batch.value_bytes += value.len() as u64;
            }
            (Op::Delete(_), Some(batch)) => batch.deletes += 1,
            (Op::Put(..) | Op::Delete(_), None) => {
                let what = format!("{name} at byte {offset}: frame {number}: it begins in the middle of a batch");
                return Err(Failure::damaged(what));
            }
        }
    }
    Ok(LogFrame { file: name.to_owned(), offset, number, bytes, batches })
}
