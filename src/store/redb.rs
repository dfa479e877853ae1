//! The engine of a node: a log file on the hot path, an overlay in memory, a table file behind a checkpoint.
//!
//! ```text
//! commit ─▶ queue ─▶ committer ─▶ log file ─▶ overlay ─▶ outcomes ─▶ hints        one fsync for all that is queued
//!                                               └─▶ checkpoint ─▶ table file      in the background, then the log is trimmed
//! get, range ─▶ overlay, filter ─▶ answered at once, or ─▶ reader threads ─▶ overlay over table file
//! ```

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::disk::{Disk, Folder, Guard, LockError};
use super::{Batch, Change, Engine, Failure, Key, Outcome, ReadError, Row, Soon, Span, Versioned, frame};

mod aside;
mod backend;
mod block;
mod blocks;
mod checkpoint;
mod committer;
mod compact;
mod files;
mod group;
mod hot;
mod log;
mod look;
mod migrate;
mod pack;
mod pages;
mod queue;
mod readers;
mod scan;
mod scrub;
mod snapshot;
mod state;
mod stats;
mod syncer;
mod table;
mod tally;
mod walk;

pub use log::inspect;
pub use pages::Pages;
pub use scrub::Scrub;
pub use snapshot::{Live, Loader, Snapshot, Step, Walk};
pub use stats::{FileStats, Stats};

use committer::Committer;
use queue::{Job, Stop};
use readers::Read;
use state::Shared;
use stats::Counters;

/// Two files and the threads that serve them. Closes itself when dropped, but then what is still queued fails.
pub struct RedbEngine {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

/// Pages of redb have 4,096 bytes, and it notes 12 of its own where there is one value.
const BLOCK_BYTES: usize = 4_084;

/// The bounds of an engine. Memory stays within them whatever the size of the store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What may stand in the log but not yet in the table: memory, and what opening has to replay. Commits wait when
    /// it is full.
    pub overlay_bytes_max: u64,
    /// What one commit of the checkpoint writes; smaller steps hold up the log for less.
    pub checkpoint_rows_max: usize,
    pub checkpoint_bytes_max: usize,
    /// What one commit of the log writes, unless a single batch is larger.
    pub group_bytes_max: usize,
    /// From this size on a group is synced while the one before it is answered. A smaller one is on disk sooner than
    /// another thread would have heard of it.
    pub overlapped_bytes_min: usize,
    /// How large a block of rows in the table becomes. With its separator it should fit into a page of redb.
    pub block_bytes_max: usize,
    /// Pages of the table kept in memory.
    pub cache_bytes: usize,
    /// What knowing of absent keys may cost: about 3 bytes for each key, and for each prefix that no other key shares.
    pub filter_bytes_max: usize,
    /// Threads that read the table.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            overlay_bytes_max: 32 << 20,
            checkpoint_rows_max: 4_000,
            checkpoint_bytes_max: 4 << 20,
            group_bytes_max: 1 << 20,
            overlapped_bytes_min: 32 << 10,
            block_bytes_max: BLOCK_BYTES,
            cache_bytes: 8 << 20,
            filter_bytes_max: 16 << 20,
            readers: 2,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store is in use by process {holder}: stop that one first, or name another folder")]
    Held { holder: String },
    #[error(
        "{file} has format {found}, this version knows up to {known}: use the version that wrote it, or a later one"
    )]
    Newer { file: &'static str, found: u32, known: u32 },
    #[error(
        "{file} was written by an earlier version: start the node once, which copies it and brings it up to this one"
    )]
    Older { file: &'static str },
    #[error("{file} could not be opened")]
    Failed {
        file: &'static str,
        #[source]
        source: Failure,
    },
    #[error("the folder of the store could not be used")]
    Folder(#[source] std::io::Error),
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<LockError> for OpenError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { holder } => Self::Held { holder },
            LockError::Io(source) => Self::Folder(source),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Failed { source, .. } => source,
            OpenError::Folder(source) => Self::Io { doing: "opening the folder", source },
            OpenError::Thread(source) => Self::Io { doing: "starting a thread", source },
            OpenError::Held { .. } | OpenError::Newer { .. } | OpenError::Older { .. } => {
                Self::damaged(error.to_string())
            }
        }
    }
}

struct Threads {
    /// First to end; then nobody sends orders to the checkpoint any more, which ends by that.
    writers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Other processes may come when everything above has ended.
    lock: Guard,
}

impl RedbEngine {
    /// Opens the store in a folder, or creates it. Blocks: for a new store and for a replay, which `overlay_bytes_max`
    /// bounds.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = Folder::new(folder).map_err(OpenError::Folder)?;
        Self::open_on(Arc::new(folder), options)
    }

    /// The same on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let lock = disk.lock()?;
        Self::start(disk, options, lock)
    }

    fn start(disk: Arc<dyn Disk>, options: Options, lock: Guard) -> Result<Self, OpenError> {
        let counters = Counters::default();
        let opened = files::open(&disk, &options, &counters)?;
        let shared = Arc::new(Shared::new(opened.pair, counters));
        let (orders, ordered) = mpsc::channel();
        let (to_sync, syncs) = mpsc::channel();
        let slot = Arc::new(syncer::Slot::default());
        let synced = syncer::Way { orders: to_sync, slot: slot.clone() };
        let committer = Committer::new(shared.clone(), disk, options, orders, synced, opened.ready);
        let mut engine = Self { shared: shared.clone(), threads: Mutex::new(None) };
        let mut threads = Threads { writers: Vec::new(), readers: Vec::new(), lock };
        let syncing = move || syncer::run(&syncs, &slot);
        let started = start(&mut threads, &shared, committer, syncing, ordered, options);
        *engine.threads.get_mut() = Some(threads);
        started.map_err(OpenError::Thread)?;
        Ok(engine)
    }

    /// Commits what is queued, ends the threads and lets other processes in. Later calls fail with `Closed`. Blocks.
    pub fn close(&self) {
        self.end(Stop::Drained);
    }

    /// Why nothing can be committed at present; `Ok` when all is well.
    pub fn health(&self) -> Result<(), Arc<Failure>> {
        self.shared.illness.read().clone().map_or(Ok(()), Err)
    }

    pub fn stats(&self) -> Stats {
        let pair = self.shared.pair.read();
        let (overlay_rows, overlay_bytes) = (pair.overlay.rows(), pair.overlay.bytes());
        let queued = self.shared.queue.len() as u64;
        Stats { queued, overlay_rows, overlay_bytes, ..self.shared.counters.read() }
    }

    /// Brings everything committed before this call into the table.
    pub fn checkpoint(&self) -> BoxFuture<'static, Result<(), Arc<Failure>>> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.want_checkpoint(answer);
        answered.map(|answer| answer.unwrap_or_else(|_| Err(Arc::new(Failure::Closed)))).boxed()
    }

    /// Checks every row of the table as it is now, on a thread of its own.
    pub fn scrub(&self) -> BoxFuture<'static, Result<Scrub, Arc<Failure>>> {
        let view = self.shared.pair.read().view.clone();
        let (answer, answered) = oneshot::channel();
        let thread = std::thread::Builder::new().name("store-scrub".to_owned());
        let started = thread.spawn(move || drop(answer.send(scrub::run(&view).map_err(Arc::new))));
        if let Err(source) = started {
            let failure = Failure::Io { doing: "starting a thread", source };
            return std::future::ready(Err(Arc::new(failure))).boxed();
        }
        answered.map(|answer| answer.unwrap_or_else(|_| Err(Arc::new(Failure::Closed)))).boxed()
    }

    fn end(&self, stop: Stop) {
        self.shared.queue.stop(stop);
        let Some(Threads { writers, readers, lock }) = self.threads.lock().take() else { return };
        // A thread that panicked has said so already; the others still have to end.
        writers.into_iter().for_each(|thread| drop(thread.join()));
        self.shared.reads.stop();
        readers.into_iter().for_each(|thread| drop(thread.join()));
        drop(lock);
    }
}

impl Engine for RedbEngine {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        if let Some(near) = self.shared.get_near(key) {
            self.shared.counters.reads_near.add(1);
            return Soon::Now(Ok(near));
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Read::Get(key.clone(), answer));
        Soon::later(answered.map(|answer| answer.unwrap_or_else(|_| Err(Arc::new(Failure::Closed)))))
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        if let Some(near) = self.shared.range_near(&span) {
            self.shared.counters.reads_near.add(1);
            return Soon::Now(Ok(near));
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Read::Range(span, answer));
        Soon::later(answered.map(|answer| answer.unwrap_or_else(|_| Err(Arc::new(Failure::Closed)))))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        let (answer, answered) = oneshot::channel();
        let bytes = frame::weight(&batch);
        self.shared.queue.push(Job { batch, answer, bytes });
        answered.map(|answer| answer.unwrap_or_else(|_| Outcome::Unknown(Arc::new(Failure::Closed)))).boxed()
    }

    fn changes(&self, prefix: &Key) -> tokio::sync::mpsc::Receiver<Change> {
        self.shared.watchers.watch(prefix)
    }
}

impl RedbEngine {
    fn ask(&self, read: Read) {
        self.shared.counters.reads_far.add(1);
        self.shared.reads.push(read);
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        self.end(Stop::Now);
    }
}

impl std::fmt::Debug for RedbEngine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RedbEngine").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Whatever happens to the committer, nobody waits for it in vain.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.illness.write().get_or_insert_with(|| Arc::new(Failure::Closed));
        self.0.queue.end();
    }
}

fn start(
    threads: &mut Threads,
    shared: &Arc<Shared>,
    committer: Committer,
    syncing: impl FnOnce() + Send + 'static,
    ordered: mpsc::Receiver<checkpoint::Order>,
    options: Options,
) -> std::io::Result<()> {
    let spawn =
        |name: &str, life: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(life);
    let ending = Ending(shared.clone());
    let committing = move || {
        let _ending = ending;
        committer.run();
    };
    let to_checkpoint = shared.clone();
    let checkpointing = move || checkpoint::run(&to_checkpoint, &ordered, &options);
    threads.writers.push(spawn("store-commit", Box::new(committing))?);
    threads.writers.push(spawn("store-sync", Box::new(syncing))?);
    threads.writers.push(spawn("store-checkpoint", Box::new(checkpointing))?);
    for _ in 0..options.readers.max(1) {
        let reading = shared.clone();
        threads.readers.push(spawn("store-read", Box::new(move || readers::run(&reading)))?);
    }
    Ok(())
}
