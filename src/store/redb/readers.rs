//! The threads that read the table for callers who must not block.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::state::Shared;
use crate::store::{Failure, Key, ReadError, Row, Span, Versioned};

/// Reads that a thread takes in one go: enough that many cheap ones do not pay for a wake-up each, few enough that the
/// other thread gets some too.
const READS_AT_ONCE_MAX: usize = 32;

/// A queued read and who waits for it.
#[derive(Debug)]
pub(super) enum Read {
    Get(Key, oneshot::Sender<Result<Option<Versioned>, ReadError>>),
    Range(Span, oneshot::Sender<Result<Vec<Row>, ReadError>>),
}

#[derive(Debug, Default)]
pub(super) struct ReadQueue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    reads: VecDeque<Read>,
    stopped: bool,
}

impl ReadQueue {
    pub(super) fn push(&self, read: Read) {
        let mut waiting = self.waiting.lock();
        if waiting.stopped {
            drop(waiting);
            close(read);
            return;
        }
        waiting.reads.push_back(read);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Lets the threads end, and answers what they left.
    pub(super) fn stop(&self) {
        let mut waiting = self.waiting.lock();
        waiting.stopped = true;
        let left = std::mem::take(&mut waiting.reads);
        drop(waiting);
        self.wake.notify_all();
        left.into_iter().for_each(close);
    }

    fn next(&self) -> Option<Vec<Read>> {
        let mut waiting = self.waiting.lock();
        while waiting.reads.is_empty() {
            if waiting.stopped {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
        let count = waiting.reads.len().div_ceil(2).min(READS_AT_ONCE_MAX);
        Some(waiting.reads.drain(..count).collect())
    }
}

/// The life of a reader thread.
pub(super) fn run(shared: &Shared) {
    while let Some(reads) = shared.reads.next() {
        for read in reads {
            // Whoever no longer waits for an answer does not need it.
            match read {
                Read::Get(key, answer) if !answer.is_closed() => drop(answer.send(tried(shared, || shared.get(&key)))),
                Read::Range(span, answer) if !answer.is_closed() => {
                    drop(answer.send(tried(shared, || shared.range(&span))));
                }
                Read::Get(..) | Read::Range(..) => {}
            }
        }
    }
}

/// Reads once more when the disk has failed, over files opened anew: whatever else failed on them took this with it.
fn tried<T>(shared: &Shared, read: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
    match read() {
        Err(failure) if matches!(*failure, Failure::Io { .. }) => {
            shared.queue.reopened();
            read()
        }
        answer => answer,
    }
}

fn close(read: Read) {
    let closed = Arc::new(Failure::Closed);
    match read {
        Read::Get(_, answer) => drop(answer.send(Err(closed))),
        Read::Range(_, answer) => drop(answer.send(Err(closed))),
    }
}
