//! The engines under test, and short words for what tests do with them.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use quickbeam::store::disk::{Disk, Folder};
use quickbeam::store::redb::{Options, Pages};
use quickbeam::store::{
    Batch, Condition, Engine, Epoch, Failure, Fence, Key, MemoryEngine, Outcome, Position, RedbEngine, Refusal, Row,
    Shard, Span,
};
use redb::Database;
use tempfile::TempDir;

/// An engine that can be made anew over the same files, where it has any.
pub(crate) enum Subject {
    Memory(Arc<MemoryEngine>),
    Redb { folder: TempDir, engine: Option<Arc<RedbEngine>>, options: Options, reopened: bool },
}

impl Subject {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(crate) fn redb(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Some(Arc::new(RedbEngine::open(folder.path(), options).unwrap()));
        Self::Redb { folder, engine, options, reopened: false }
    }

    /// One that is closed and opened again whenever it is asked for.
    pub(crate) fn reopened() -> Self {
        match Self::redb(Options::default()) {
            Self::Redb { folder, engine, options, .. } => Self::Redb { folder, engine, options, reopened: true },
            memory @ Self::Memory(_) => memory,
        }
    }

    /// One whose overlay is so small that every few batches bring a checkpoint.
    pub(crate) fn cramped() -> Self {
        Self::redb(cramped())
    }

    pub(crate) fn all() -> Vec<Self> {
        vec![Self::memory(), Self::redb(Options::default()), Self::cramped(), Self::reopened()]
    }

    pub(crate) fn engine(&mut self) -> Arc<dyn Engine> {
        if matches!(self, Self::Redb { reopened: true, .. }) {
            self.reopen();
        }
        match self {
            Self::Memory(engine) => engine.clone(),
            Self::Redb { .. } => self.on_disk(),
        }
    }

    pub(crate) fn on_disk(&self) -> Arc<RedbEngine> {
        match self {
            Self::Redb { engine: Some(engine), .. } => engine.clone(),
            _ => panic!("an engine on disk"),
        }
    }

    pub(crate) fn reopen(&mut self) {
        if let Self::Redb { folder, engine, options, .. } = self {
            engine.take().unwrap().close();
            *engine = Some(Arc::new(RedbEngine::open(folder.path(), *options).unwrap()));
        }
    }
}

pub(crate) fn cramped() -> Options {
    Options {
        overlay_bytes_max: 2_000,
        checkpoint_rows_max: 3,
        group_bytes_max: 500,
        overlapped_bytes_min: 1,
        block_bytes_max: 300,
        filter_bytes_max: 1 << 16,
        ..Options::default()
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The pages of the table that lies in a folder.
pub(crate) fn pages(folder: &Path) -> Pages {
    Pages::open(Folder::new(folder).unwrap().open("table.redb").unwrap()).unwrap()
}

/// That table as redb sees it.
pub(crate) fn table(folder: &Path) -> Database {
    Database::builder().create_with_backend(pages(folder)).unwrap()
}

pub(crate) fn key(name: &str) -> Key {
    Key::build().text("row").text(name).done()
}

pub(crate) fn batch() -> Batch {
    Batch::default()
}

/// Words for building batches in one line.
pub(crate) trait Words {
    fn epoch(self, epoch: u64) -> Self;
    fn shard(self, shard: u32) -> Self;
    fn absent(self, name: &str) -> Self;
    fn at(self, name: &str, version: Position) -> Self;
    fn put(self, name: &str, value: &str) -> Self;
    fn delete(self, name: &str) -> Self;
}

impl Words for Batch {
    fn epoch(mut self, epoch: u64) -> Self {
        self.fence = Fence { epoch: Epoch(epoch), ..self.fence };
        self
    }

    fn shard(mut self, shard: u32) -> Self {
        self.fence = Fence { shard: Shard(shard), ..self.fence };
        self
    }

    fn absent(mut self, name: &str) -> Self {
        self.conditions.push(Condition::Absent(key(name)));
        self
    }

    fn at(mut self, name: &str, version: Position) -> Self {
        self.conditions.push(Condition::Version(key(name), version));
        self
    }

    fn put(mut self, name: &str, value: &str) -> Self {
        self.puts.push((key(name), value.to_owned().into()));
        self
    }

    fn delete(mut self, name: &str) -> Self {
        self.deletes.push(key(name));
        self
    }
}

pub(crate) fn committed(engine: &dyn Engine, batch: Batch) -> Position {
    match block_on(engine.commit(batch)) {
        Outcome::Committed(position) => position,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The value of a row, as text.
pub(crate) fn value(engine: &dyn Engine, name: &str) -> Option<String> {
    let row = block_on(engine.get(&key(name))).unwrap()?;
    Some(String::from_utf8(row.value.to_vec()).unwrap())
}

/// All rows as `name=value`, in order.
pub(crate) fn everything(engine: &dyn Engine) -> Vec<String> {
    let prefix = Key::build().text("row").done();
    block_on(engine.range(Span::prefix(&prefix, usize::MAX))).unwrap().iter().map(shown).collect()
}

pub(crate) fn shown(row: &Row) -> String {
    let mut parts = row.key.parts();
    parts.text();
    format!("{}={}", parts.text().unwrap(), String::from_utf8_lossy(&row.value))
}

/// Whether a failure says that nothing is known of the row of this name alone.
pub(crate) fn is_lost(failure: &Failure, name: &str) -> bool {
    matches!(failure, Failure::Damaged { rows: Some(rows), .. } if rows.is_one() && rows.from == key(name))
}
