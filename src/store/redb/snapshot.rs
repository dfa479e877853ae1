//! One moment of the store, walked row by row while the engine goes on; and a new store made of such rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::scrub::{Scrub, Tallied};
use super::state::Shared;
use super::table::{Held, Table, View};
use super::walk::Passed;
use super::{OpenError, Options, RedbEngine, table};
use crate::store::disk::{Disk, Folder, Guard};
use crate::store::overlay::{Entry, Mark};
use crate::store::{Direction, Failure, Key, Position, Row, Span};

/// What a loader gathers before it writes.
const LOAD_ROWS_MAX: usize = 4_000;
const LOAD_BYTES_MAX: usize = 4 << 20;

/// All rows as they were at one moment, whatever is written later.
pub struct Snapshot {
    view: Arc<View>,
    /// What the table did not hold yet: newer than it, deleted keys too, in order.
    overlay: Vec<(Key, Entry)>,
    position: Position,
}

/// What one step of a walk takes.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub rows_max: usize,
    pub bytes_max: usize,
}

/// A walk over a snapshot in steps. It checks every row of the table that it passes.
pub struct Walk {
    snapshot: Snapshot,
    /// Where the table goes on; `None` when it is through.
    from: Option<Vec<u8>>,
    overlay_at: usize,
    tallied: Tallied,
    thorough: bool,
}

impl RedbEngine {
    /// Everything committed before this call, and perhaps a little more, as one moment. The checkpoint before it keeps
    /// small what has to be held in memory; where it cannot be made the snapshot is right all the same.
    pub fn snapshot(&self) -> BoxFuture<'static, Snapshot> {
        let shared = self.shared.clone();
        self.checkpoint().map(move |_| Snapshot::of(&shared)).boxed()
    }

    /// The same without a checkpoint.
    pub fn snapshot_now(&self) -> Snapshot {
        Snapshot::of(&self.shared)
    }

    /// What of the table file is live. Blocks: every page is read.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn live_bytes(&self) -> Result<Live, Failure> {
        let view = self.shared.pair.read().view.clone();
        Ok(Live { rows: view.count(), bytes: view.live_bytes()? })
    }
}

/// What of the table file is rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    pub rows: u64,
    /// Keys and values, without what holds the file together and what is free.
    pub bytes: u64,
}

impl Snapshot {
    fn of(shared: &Shared) -> Self {
        let pair = shared.pair.read();
        let from = Key::default();
        let all = Span { to: from.after_prefix(), from, limit: usize::MAX, direction: Direction::Forward };
        let position = pair.overlay.active.through.position;
        Self { view: pair.view.clone(), overlay: pair.overlay.piece(&all), position }
    }

    /// The last batch that it holds.
    pub fn position(&self) -> Position {
        self.position
    }

    /// About how many rows it has: those of the overlay may be in the table too.
    pub fn rows_about(&self) -> u64 {
        self.view.count() + self.overlay.len() as u64
    }

    pub fn walk(self) -> Walk {
        Walk { snapshot: self, from: Some(Vec::new()), overlay_at: 0, tallied: Tallied::default(), thorough: false }
    }
}

impl Walk {
    /// Also asks for each row by its key, which takes longer.
    pub fn thorough(self) -> Self {
        Self { thorough: true, ..self }
    }

    /// Gives the next rows; `false` when there are no more. Blocks. A row that is damaged is left out and noted.
    ///
    /// # Errors
    /// When the table cannot be read any further.
    pub fn step(&mut self, step: Step, mut give: impl FnMut(Row)) -> Result<bool, Failure> {
        let Some(from) = self.from.take() else { return Ok(false) };
        let (mut rows, mut bytes, mut next) = (0, 0, None);
        let Self { snapshot, overlay_at, tallied, thorough, .. } = self;
        let overlay = &snapshot.overlay;
        snapshot.view.walk_from(&from, |passed| {
            if let Passed::Row(key, _) | Passed::Lost(key, _) = passed
                && (rows >= step.rows_max || bytes >= step.bytes_max)
            {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            tallied.see(&passed);
            let Passed::Row(key, row) = passed else { return ControlFlow::Continue(()) };
            rows += 1;
            bytes += key.len() + row.value.len();
            if *thorough {
                tallied.find(&snapshot.view, key);
            }
            if !give_before(overlay, overlay_at, Some(key), &mut give) {
                let (key, value) = (Key::from_bytes(key.to_vec()), Bytes::copy_from_slice(row.value));
                give(Row { key, version: row.version, value });
            }
            ControlFlow::Continue(())
        })?;
        if next.is_none() {
            give_before(overlay, overlay_at, None, &mut give);
        }
        self.from = next;
        Ok(true)
    }

    /// What is wrong with the table, once the walk is through.
    ///
    /// # Errors
    /// When the tallies cannot be read.
    pub fn finish(self) -> Result<Scrub, Failure> {
        self.tallied.compare(&self.snapshot.view)
    }

    /// What was wrong with the rows so far.
    pub fn so_far(&self) -> &Scrub {
        self.tallied.so_far()
    }
}

/// Gives what the overlay knows of keys before this one; true when it also knows of this one, and gave that.
fn give_before(overlay: &[(Key, Entry)], at: &mut usize, key: Option<&[u8]>, give: &mut impl FnMut(Row)) -> bool {
    while let Some((newer, entry)) = overlay.get(*at) {
        if key.is_some_and(|key| newer.as_bytes() > key) {
            return false;
        }
        *at += 1;
        give_entry(newer.clone(), entry.clone(), give);
        if key.is_some_and(|key| newer.as_bytes() == key) {
            return true;
        }
    }
    false
}

fn give_entry(key: Key, entry: Entry, give: &mut impl FnMut(Row)) {
    if let Some(value) = entry.value {
        give(Row { key, version: entry.version, value });
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Snapshot").field("position", &self.position).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Walk").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// Makes a new store of rows that were read elsewhere. They keep their versions.
pub struct Loader {
    table: Table,
    held: Held,
    /// In the order in which the table takes them, whatever that is in which they come.
    rows: BTreeMap<Key, Entry>,
    bytes: usize,
    _lock: Guard,
}

impl Loader {
    /// Makes the files of an empty store in a folder that has none. Blocks.
    pub fn create(folder: &Path) -> Result<Self, OpenError> {
        RedbEngine::open(folder, Options::default())?.close();
        let disk = Folder::new(folder).map_err(OpenError::Folder)?;
        let lock = disk.lock()?;
        let table = Table::open(&disk, &Options::default(), &super::Counters::default())?;
        let held = table.held().map_err(|source| OpenError::Failed { file: table::NAME, source })?;
        Ok(Self { table, held, rows: BTreeMap::new(), bytes: 0, _lock: lock })
    }

    pub fn put(&mut self, key: Key, version: Position, value: Bytes) -> Result<(), Failure> {
        self.bytes += key.as_bytes().len() + value.len();
        self.rows.insert(key, Entry { version, value: Some(value) });
        if self.rows.len() >= LOAD_ROWS_MAX || self.bytes >= LOAD_BYTES_MAX {
            self.write(None)?;
        }
        Ok(())
    }

    /// Writes what is left; everything is on disk when this returns. New batches get positions above `position`.
    pub fn finish(mut self, position: Position) -> Result<(), Failure> {
        let mark = Mark { position, row: self.held.mark.row };
        let held = Held { mark, fences: self.held.fences.clone() };
        self.write(Some(&held))
    }

    fn write(&mut self, held: Option<&Held>) -> Result<(), Failure> {
        let rows: Vec<(&Key, &Entry)> = self.rows.iter().collect();
        self.table.write(&rows, held)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Loader").finish_non_exhaustive()
    }
}
