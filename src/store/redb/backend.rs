//! The bridge between redb and the disk port: creating and opening a file safely, shutting it off, naming its errors.

use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};

use super::OpenError;
use super::pages::{self, Pages};
use super::stats::FileCounters;
use crate::store::Failure;
use crate::store::disk::{self, Disk};

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";

/// A redb file with the means to shut it off.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) database: Handle,
    pub(super) gate: Arc<Gate>,
    /// What the file says of itself.
    pub(super) format: u32,
}

/// A database that may be damaged: redb panics over some of that when the handle is dropped, which must not end the
/// thread that happens to drop it.
#[derive(Debug)]
pub(super) struct Handle(Option<Database>);

impl Deref for Handle {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Handle {
    fn deref_mut(&mut self) -> &mut Database {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let database = self.0.take();
        let dropped = guarded("closing the file", || {
            drop(database);
            Ok(())
        });
        if let Err(failure) = dropped {
            tracing::warn!(%failure, "a file of the store did not close in order");
        }
    }
}

/// Whether an old handle may still touch its file. A handle that failed must not write once another one was opened on
/// the same file, not even while it is dropped; and must not read once the other one writes, for its pages are reused.
#[derive(Debug)]
pub(super) struct Gate {
    writes: AtomicBool,
    reads: RwLock<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { writes: AtomicBool::new(true), reads: RwLock::new(true) }
    }
}

impl Gate {
    pub(super) fn forbid_writes(&self) {
        self.writes.store(false, Ordering::Release);
    }

    /// Returns when the last read has ended.
    pub(super) fn forbid_all(&self) {
        self.forbid_writes();
        *self.reads.write() = false;
    }

    fn writing(&self) -> io::Result<()> {
        if self.writes.load(Ordering::Acquire) { Ok(()) } else { Err(shut()) }
    }
}

fn shut() -> io::Error {
    io::Error::other("this handle was given up after a failure")
}

#[derive(Debug)]
struct Backend {
    pages: Pages,
    gate: Arc<Gate>,
    counters: Arc<FileCounters>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.pages.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let reads = self.gate.reads.read();
        if *reads { self.pages.read(offset, out) } else { Err(shut()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.gate.writing()?;
        self.counters.resized(len);
        self.pages.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.writing()?;
        self.counters.synced();
        self.counters.wrote(self.pages.sync()?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gate.writing()?;
        self.counters.wrote(data.len());
        self.pages.write(offset, data)
    }
}

/// Opens `name`, whose format must not be above `known`, or creates it with what `fill` puts into it. A crash while redb creates a file leaves one that will
/// not open, so that happens under another name, which the next attempt throws away.
pub(super) fn open(
    disk: &dyn Disk,
    name: &'static str,
    known: u32,
    cache_bytes: usize,
    counters: &Arc<FileCounters>,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<OpenFile, OpenError> {
    let broken = |source| OpenError::Failed { file: name, source };
    if !disk.exists(name).map_err(|error| broken(io_failure("looking for the file", error)))? {
        create(disk, name, known, counters, fill).map_err(broken)?;
    }
    let file = guarded("opening the file", || {
        let (database, gate) = start(disk, name, cache_bytes, counters, true)?;
        let format = format(&database)?;
        Ok(OpenFile { database, gate, format })
    })
    .map_err(broken)?;
    if file.format > known {
        return Err(OpenError::Newer { file: name, found: file.format, known });
    }
    Ok(file)
}

/// Notes, with whatever else a transaction does, that the file has this format now.
pub(super) fn mark_format(transaction: &WriteTransaction, format: u32) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(META_FORMAT, format.to_le_bytes().as_slice())?;
    Ok(())
}

/// Begins a transaction as every one of these files needs them: opening after a crash takes no time, and one-phase and
/// two-phase commits are never mixed in a file.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Runs something that may find damage redb panics over.
pub(super) fn guarded<T>(doing: &'static str, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Failure> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| failure(doing, error)),
        Err(panic) => Err(Failure::damaged(format!("{doing}: {}", said(panic.as_ref())))),
    }
}

/// Says in the store's own words what went wrong.
pub(super) fn failure(doing: &'static str, error: redb::Error) -> Failure {
    match error {
        // A file that is not redb's, or shorter than it says.
        redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            Failure::damaged(format!("{doing}: {error}"))
        }
        redb::Error::Io(error) => io_failure(doing, error),
        redb::Error::DatabaseClosed => Failure::Closed,
        redb::Error::PreviousIo => io_failure(doing, io::Error::other("an earlier access to the file failed")),
        other => match other.to_string() {
            what if pages::tells_of_damage(&what) => {
                Failure::damaged(format!("{doing}: a page is not what was written (the log of the node says which)"))
            }
            what => Failure::damaged(format!("{doing}: {what}")),
        },
    }
}

pub(super) fn io_failure(doing: &'static str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full(error),
        _ => Failure::Io { doing, source: error },
    }
}

fn create(
    disk: &dyn Disk,
    name: &'static str,
    known: u32,
    counters: &Arc<FileCounters>,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), Failure> {
    let doing = "creating the file";
    guarded(doing, || {
        let fresh = disk::fresh(disk, name)?;
        let (database, _) = start(disk, &fresh, 1 << 20, counters, false)?;
        let transaction = begin(&database)?;
        mark_format(&transaction, known)?;
        fill(&transaction)?;
        transaction.commit()?;
        drop(database);
        disk.open(&fresh)?.sync()?;
        Ok(disk.rename(&fresh, name)?)
    })
}

fn start(
    disk: &dyn Disk,
    name: &str,
    cache_bytes: usize,
    counters: &Arc<FileCounters>,
    exists: bool,
) -> Result<(Handle, Arc<Gate>), redb::Error> {
    let pages = Pages::open(disk.open(name)?)?;
    let len = pages.len()?;
    // redb would make a new file of an empty one, and everything would seem to be in order.
    if exists && len == 0 {
        return Err(redb::Error::Corrupted("the file is empty".to_owned()));
    }
    counters.resized(len);
    let gate = Arc::new(Gate::default());
    let backend = Backend { pages, gate: gate.clone(), counters: counters.clone() };
    let database = Database::builder().set_cache_size(cache_bytes).create_with_backend(backend)?;
    Ok((Handle(Some(database)), gate))
}

fn format(database: &Database) -> Result<u32, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    let stored = meta.get(META_FORMAT)?;
    let format = stored.and_then(|bytes| Some(u32::from_le_bytes(bytes.value().try_into().ok()?)));
    format.ok_or_else(|| redb::Error::Corrupted("the file does not say its format".to_owned()))
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
}
