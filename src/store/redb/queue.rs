//! What waits for the committer: batches in order, and word from the checkpoint.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::store::{Batch, Failure, Outcome};

/// A queued batch and who waits for its outcome.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Outcome>,
    /// What it takes in a frame.
    pub(super) bytes: usize,
}

/// Who asked for a checkpoint.
pub(super) type CheckpointAnswer = oneshot::Sender<Result<(), Arc<Failure>>>;

/// Who waits for the files to be opened anew.
pub(super) type Waiter = mpsc::Sender<()>;

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Stop {
    #[default]
    No,
    /// Once everything queued is done.
    Drained,
    /// What is queued is answered as failed.
    Now,
}

/// The next thing to do.
#[derive(Debug)]
pub(super) enum Work {
    Group(Vec<Job>),
    Checkpointed(Result<(), Failure>),
    Checkpoint(CheckpointAnswer),
    /// The table could not be read. Whoever waits for it to be opened anew sees that these are dropped.
    Reopen(Vec<Waiter>),
    /// The checkpoint has gone on, so that there may be room.
    Look,
    Stop,
}

/// How large groups are, in bytes of their frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// From here on they are worth being synced by another thread.
    pub(super) overlapped_min: usize,
    /// Unless one batch alone is larger.
    pub(super) max: usize,
}

/// Grows as far as callers let it: each has a bounded mailbox, and every batch of a turn is counted there.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// What they take in frames.
    jobs_bytes: usize,
    checkpointed: Option<Result<(), Failure>>,
    read_failed: bool,
    /// Who waits for what follows from that.
    readers: Vec<Waiter>,
    /// Rows written by the checkpoint under way, and whether there are more since somebody looked.
    rows_checkpointed: usize,
    goes_on: bool,
    wanted: Vec<CheckpointAnswer>,
    stop: Stop,
}

impl Queue {
    /// Puts a batch behind all others.
    pub(super) fn push(&self, job: Job) {
        let mut waiting = self.waiting.lock();
        if waiting.stop != Stop::No {
            drop(waiting);
            close(job);
            return;
        }
        waiting.jobs_bytes += job.bytes;
        waiting.jobs.push_back(job);
        drop(waiting);
        self.wake.notify_one();
    }

    pub(super) fn want_checkpoint(&self, answer: CheckpointAnswer) {
        let mut waiting = self.waiting.lock();
        if waiting.stop == Stop::No {
            waiting.wanted.push(answer);
            drop(waiting);
            self.wake.notify_one();
        }
    }

    pub(super) fn checkpoint_begins(&self) {
        self.waiting.lock().rows_checkpointed = 0;
    }

    /// The checkpoint under way has written some more rows.
    pub(super) fn checkpoint_goes_on(&self, rows: usize) {
        let mut waiting = self.waiting.lock();
        waiting.rows_checkpointed += rows;
        waiting.goes_on = true;
        drop(waiting);
        self.wake.notify_one();
    }

    pub(super) fn rows_checkpointed(&self) -> usize {
        self.waiting.lock().rows_checkpointed
    }

    /// The checkpoint that was under way has ended.
    pub(super) fn checkpointed(&self, result: Result<(), Failure>) {
        self.waiting.lock().checkpointed = Some(result);
        self.wake.notify_one();
    }

    /// The disk failed under a read. What reads the table refuses everything from then on, so it has to be opened anew.
    pub(super) fn read_failed(&self) {
        self.waiting.lock().read_failed = true;
        self.wake.notify_one();
    }

    /// The same, and waits until that was tried. Not for the thread that does it.
    pub(super) fn reopened(&self) {
        let (waiter, tried) = mpsc::channel();
        let mut waiting = self.waiting.lock();
        if waiting.stop == Stop::No {
            waiting.read_failed = true;
            waiting.readers.push(waiter);
            drop(waiting);
            self.wake.notify_one();
            tried.recv().unwrap_or_default();
        }
    }

    pub(super) fn stop(&self, stop: Stop) {
        let mut waiting = self.waiting.lock();
        waiting.stop = waiting.stop.max(stop);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Waits for the next thing to do. Without room in the overlay batches wait.
    pub(super) fn next(&self, room: bool, sizes: Sizes) -> Work {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(work) = waiting.next(room, sizes) {
                return work;
            }
            self.wake.wait(&mut waiting);
        }
    }

    /// A group to write behind one of this size, if enough is queued and there is nothing else to do. Does not wait.
    pub(super) fn next_behind(&self, room: bool, sizes: Sizes, ahead_bytes: usize) -> Option<Vec<Job>> {
        let mut waiting = self.waiting.lock();
        let enough = waiting.jobs_bytes >= sizes.overlapped_min;
        (room && enough && waiting.only_jobs()).then(|| waiting.group(sizes, ahead_bytes))
    }

    /// Waits until the checkpoint that is under way has ended.
    pub(super) fn wait_checkpointed(&self) -> Result<(), Failure> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(result) = waiting.checkpointed.take() {
                return result;
            }
            self.wake.wait(&mut waiting);
        }
    }

    /// Answers everything still queued, now that nobody will take it.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.stop = Stop::Now;
        waiting.wanted.clear();
        waiting.readers.clear();
        let jobs = std::mem::take(&mut waiting.jobs);
        waiting.jobs_bytes = 0;
        drop(waiting);
        jobs.into_iter().for_each(close);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().jobs.len()
    }
}

impl Waiting {
    fn only_jobs(&self) -> bool {
        self.stop == Stop::No && self.checkpointed.is_none() && !self.read_failed && self.wanted.is_empty()
    }

    fn next(&mut self, room: bool, sizes: Sizes) -> Option<Work> {
        if let Some(result) = self.checkpointed.take() {
            return Some(Work::Checkpointed(result));
        }
        if self.stop == Stop::Now {
            return Some(Work::Stop);
        }
        if std::mem::take(&mut self.read_failed) {
            return Some(Work::Reopen(std::mem::take(&mut self.readers)));
        }
        if let Some(answer) = self.wanted.pop() {
            return Some(Work::Checkpoint(answer));
        }
        if room && !self.jobs.is_empty() {
            return Some(Work::Group(self.group(sizes, 0)));
        }
        if !room && std::mem::take(&mut self.goes_on) {
            return Some(Work::Look);
        }
        (self.stop == Stop::Drained && self.jobs.is_empty()).then_some(Work::Stop)
    }

    /// Not everything where there is much: of two groups of one size one is synced while the other is answered, and
    /// whoever was answered fills the next.
    fn group(&mut self, sizes: Sizes, ahead_bytes: usize) -> Vec<Job> {
        let half = (ahead_bytes + self.jobs_bytes) / 2;
        let bytes_max = if half < sizes.overlapped_min { sizes.max } else { half.min(sizes.max) };
        let mut bytes = 0;
        let fits = |job: &Job| {
            let first = bytes == 0;
            bytes += job.bytes;
            first || bytes <= bytes_max
        };
        let count = self.jobs.iter().map(fits).take_while(|&fits| fits).count();
        let group: Vec<Job> = self.jobs.drain(..count).collect();
        self.jobs_bytes -= group.iter().map(|job| job.bytes).sum::<usize>();
        group
    }
}

fn close(job: Job) {
    // Whoever no longer waits for the outcome does not need it.
    let _ = job.answer.send(Outcome::Failed(Arc::new(Failure::Closed)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { overlapped_min: 100, max: 1_000 };

    /// Ten bytes each.
    fn queued(count: usize) -> Queue {
        let queue = Queue::default();
        for _ in 0..count {
            queue.push(Job { batch: Batch::default(), answer: oneshot::channel().0, bytes: 10 });
        }
        queue
    }

    fn next(queue: &Queue) -> usize {
        let Work::Group(jobs) = queue.next(true, SIZES) else { panic!("batches are queued") };
        jobs.len()
    }

    #[test]
    fn much_becomes_two_groups_of_one_size_and_little_stays_one() {
        assert_eq!(next(&queued(19)), 19, "two groups of less would not be worth another thread");
        assert_eq!(next(&queued(40)), 20);
        let behind = |queued: &Queue, ahead_bytes| queued.next_behind(true, SIZES, ahead_bytes).map(|jobs| jobs.len());
        assert_eq!(behind(&queued(20), 200), Some(20), "the other half goes at once");
        assert_eq!(behind(&queued(36), 40), Some(20), "until both are of one size");
        assert_eq!(behind(&queued(9), 400), None);
    }

    #[test]
    fn no_group_is_larger_than_it_may_be_unless_one_batch_is() {
        assert_eq!(next(&queued(400)), 100);
        let queue = Queue::default();
        queue.push(Job { batch: Batch::default(), answer: oneshot::channel().0, bytes: 5_000 });
        queue.push(Job { batch: Batch::default(), answer: oneshot::channel().0, bytes: 10 });
        assert_eq!(next(&queue), 1);
    }
}
