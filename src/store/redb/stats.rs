//! What the engine counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts since the engine was opened, and sizes as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    pub committed: u64,
    pub refused: u64,
    pub failed: u64,
    /// Commits of the log file; each holds as many batches as were queued.
    pub groups: u64,
    pub checkpoints: u64,
    /// How often commits had to wait because the overlay was full.
    pub waits: u64,
    /// How often the files were opened again after a failure.
    pub reopened: u64,
    /// Reads answered from memory at once, and reads that went to the reader threads.
    pub reads_near: u64,
    pub reads_far: u64,
    /// Batches that wait for the committer.
    pub queued: u64,
    pub overlay_rows: u64,
    pub overlay_bytes: u64,
    pub log: FileStats,
    pub table: FileStats,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FileStats {
    pub bytes: u64,
    pub bytes_written: u64,
    pub syncs: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) committed: Counter,
    pub(super) refused: Counter,
    pub(super) failed: Counter,
    pub(super) groups: Counter,
    pub(super) checkpoints: Counter,
    pub(super) waits: Counter,
    pub(super) reopened: Counter,
    pub(super) reads_near: Counter,
    pub(super) reads_far: Counter,
    pub(super) log: Arc<FileCounters>,
    pub(super) table: Arc<FileCounters>,
}

impl Counters {
    pub(super) fn read(&self) -> Stats {
        Stats {
            committed: self.committed.get(),
            refused: self.refused.get(),
            failed: self.failed.get(),
            groups: self.groups.get(),
            checkpoints: self.checkpoints.get(),
            waits: self.waits.get(),
            reopened: self.reopened.get(),
            reads_near: self.reads_near.get(),
            reads_far: self.reads_far.get(),
            queued: 0,
            overlay_rows: 0,
            overlay_bytes: 0,
            log: self.log.read(),
            table: self.table.read(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct FileCounters {
    bytes: AtomicU64,
    written: Counter,
    syncs: Counter,
}

impl FileCounters {
    pub(super) fn resized(&self, len: u64) {
        self.bytes.store(len, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.written.add(bytes);
    }

    pub(super) fn synced(&self) {
        self.syncs.add(1);
    }

    fn read(&self) -> FileStats {
        let bytes = self.bytes.load(Ordering::Relaxed);
        FileStats { bytes, bytes_written: self.written.get(), syncs: self.syncs.get() }
    }
}
