//! The one thread that writes the log: everything queued becomes one group, judged in order, on disk with one commit.

mod illness;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::checkpoint::Order;
use super::files::Ready;
use super::group::{Group, Judged, Verdict, outcome};
use super::log::{AppendError, Log};
use super::queue::{CheckpointAnswer, Job, Sizes, Work};
use super::state::Shared;
use super::table::{Held, Table};
use super::{Options, syncer};
use crate::store::admit;
use crate::store::disk::Disk;
use crate::store::overlay::Mark;
use crate::store::{Batch, Epoch, Failure, Key, Outcome, Position, ReadError, Shard};

pub(super) struct Committer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: Options,
    sizes: Sizes,
    checkpoints: mpsc::Sender<Order>,
    /// `None` after a failure, until the files could be opened again.
    log: Option<Log>,
    table: Arc<Table>,
    /// Where the history ends, the group that is being judged included.
    last: Held,
    /// Where what readers see ends.
    shown: Held,
    /// What is being synced by another thread, which has the log meanwhile.
    flight: Option<Judged>,
    synced: syncer::Way,
    /// Up to this frame the log is in the table.
    held_row: u64,
    /// After a failure nothing of these epochs may land, whatever was queued behind it.
    poisoned: BTreeMap<Shard, Epoch>,
    writing: Option<Writing>,
    /// The last checkpoint failed.
    stalled: bool,
    wanted: Vec<CheckpointAnswer>,
}

/// The checkpoint under way: where it will have brought the table, and who waits for it.
struct Writing {
    row: u64,
    rows: usize,
    answers: Vec<CheckpointAnswer>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        options: Options,
        checkpoints: mpsc::Sender<Order>,
        synced: syncer::Way,
        ready: Ready,
    ) -> Self {
        let Ready { log, table, last, held_row } = ready;
        // An empty frame is never worth it.
        let sizes = Sizes { overlapped_min: options.overlapped_bytes_min.max(1), max: options.group_bytes_max };
        Self {
            shared,
            disk,
            options,
            sizes,
            checkpoints,
            log: Some(log),
            table,
            shown: last.clone(),
            last,
            flight: None,
            synced,
            held_row,
            poisoned: BTreeMap::new(),
            writing: None,
            stalled: false,
            wanted: Vec::new(),
        }
    }

    /// The life of the thread. Whoever only reads has nothing written: a checkpoint that is due waits for a commit.
    pub(super) fn run(mut self) {
        self.order(Order::Filter);
        loop {
            if self.flight.is_some() {
                self.landed();
                self.checkpoint_if_due();
                continue;
            }
            match self.shared.queue.next(self.has_room(), self.sizes) {
                Work::Group(jobs) => self.group(jobs),
                // Whoever commits next hears of a failure.
                Work::Checkpointed(result) => self.checkpointed(result).unwrap_or_default(),
                Work::Checkpoint(answer) => self.wanted.push(answer),
                Work::Reopen(_readers) => self.reopen_for_reads(),
                Work::Look => {}
                Work::Stop => return,
            }
            self.checkpoint_if_due();
        }
    }

    /// A large group is synced by a thread of its own. Whatever else there is to do waits for that.
    fn group(&mut self, jobs: Vec<Job>) {
        let judged = self.judge_all(jobs);
        if judged.frame.len() >= self.sizes.overlapped_min {
            return self.send(judged);
        }
        let written = if judged.frame.is_empty() { Ok(self.shown.mark.row) } else { self.append(&judged.frame) };
        self.finish(judged, written);
    }

    fn send(&mut self, judged: Judged) {
        let log = self.log.take().expect("a batch is admitted only while the log is open");
        let order = syncer::Order { log, frame: judged.frame.clone(), held: self.held_row };
        self.synced.orders.send(order).expect("the syncing thread lives until this sender is gone");
        self.flight = Some(judged);
    }

    /// A large group has been synced. If as much is queued again, that is sent off before this one is finished.
    fn landed(&mut self) {
        let (log, written) = self.synced.slot.wait().expect("the syncing thread does not panic");
        self.log = Some(log);
        let ahead_bytes = self.flight.as_ref().map_or(0, |flight| flight.frame.len());
        let jobs = match written {
            Ok(_) => self.shared.queue.next_behind(self.has_room(), self.sizes, ahead_bytes),
            Err(_) => None,
        };
        let next = jobs.map(|jobs| self.judge_all(jobs));
        let flight = self.flight.take().expect("only a group in flight is synced by that thread");
        match next {
            Some(next) if next.frame.len() >= self.sizes.overlapped_min => {
                self.send(next);
                self.finish(flight, written);
            }
            Some(next) => {
                self.finish(flight, written);
                let written = if next.frame.is_empty() { Ok(self.shown.mark.row) } else { self.append(&next.frame) };
                self.finish(next, written);
            }
            None => self.finish(flight, written),
        }
    }

    fn judge_all(&mut self, jobs: Vec<Job>) -> Judged {
        let mut group = Group::of(jobs);
        for index in 0..group.jobs.len() {
            let verdict = self.judge(index, &mut group);
            group.verdicts.push(verdict);
        }
        let frame = std::mem::take(&mut group.frame).done();
        Judged { group, frame, position: self.last.mark.position, fences: self.last.fences.clone() }
    }

    fn append(&mut self, frame: &Bytes) -> Result<u64, AppendError> {
        let log = self.log.as_mut().expect("a batch is admitted only while the log is open");
        log.append(frame, self.held_row)
    }

    /// Shows what a group has written, and says what became of its batches. Answered only now, and refusals too: a batch
    /// may have been refused because of one that has just failed.
    fn finish(&mut self, judged: Judged, written: Result<u64, AppendError>) {
        let Judged { group, frame, position, fences } = judged;
        let (batches, watched) = match written {
            Ok(_) if frame.is_empty() => (self.answer_all(group, &Ok(())), Vec::new()),
            Ok(row) => {
                self.shown = Held { mark: Mark { position, row }, fences };
                self.shared.counters.groups.add(1);
                self.show_and_answer(group, frame)
            }
            Err(error) => {
                let (AppendError::Failed(failure) | AppendError::Unknown(failure)) = &error;
                self.fall_ill(failure.clone());
                (self.answer_all(group, &Err(error)), Vec::new())
            }
        };
        // Also where there is nothing to tell: those who do not listen any more are forgotten by it.
        self.shared.watchers.tell(&watched);
        // Freed last: this takes longer than answering, and nobody waits for it.
        drop(batches);
    }

    /// Whoever is answered can read what was written. Where that is much, they are answered first and write on meanwhile:
    /// those who read wait until it is shown.
    fn show_and_answer(&self, group: Group, frame: Bytes) -> (Vec<Batch>, Vec<Key>) {
        let mut pair = self.shared.pair.write();
        // Under the lock: who begins to watch later reads only once this is shown.
        let (through, watched) = (self.shown.mark, self.shared.watchers.prefixes());
        if frame.len() >= self.sizes.overlapped_min {
            let batches = self.answer_all(group, &Ok(()));
            return (batches, pair.show(frame, through, &watched));
        }
        let watched = pair.show(frame, through, &watched);
        drop(pair);
        (self.answer_all(group, &Ok(())), watched)
    }

    fn answer_all(&self, group: Group, written: &Result<(), AppendError>) -> Vec<Batch> {
        let answered = group.jobs.into_iter().zip(group.verdicts).map(|(Job { batch, answer, .. }, verdict)| {
            self.answer(answer, outcome(verdict, written));
            batch
        });
        answered.collect()
    }

    /// Says what becomes of a batch if the group it is in reaches the disk.
    fn judge(&mut self, index: usize, group: &mut Group) -> Verdict {
        let fence = group.jobs[index].batch.fence;
        if self.poisoned.get(&fence.shard).is_some_and(|&poisoned| fence.epoch <= poisoned) {
            // What made the store ill says more than that it is.
            let illness = self.shared.illness.read().clone();
            return Verdict::Fail(illness.unwrap_or_else(|| Arc::new(Failure::Poisoned)));
        }
        if let Err(failure) = self.ensure_open() {
            return Verdict::Fail(failure);
        }
        if let Err(refusal) = self.last.fences.check(fence) {
            return Verdict::Refuse(refusal);
        }
        let conditions = std::mem::take(&mut group.jobs[index].batch.conditions);
        match admit::conditions(&conditions, |key| self.version_of(key, group)) {
            Ok(Err(refusal)) => Verdict::Refuse(refusal),
            Err(failure) => {
                self.poison(fence);
                Verdict::Fail(failure)
            }
            Ok(Ok(())) => Verdict::Land(self.admit(index, group)),
        }
    }

    fn admit(&mut self, index: usize, group: &mut Group) -> Position {
        let batch = &group.jobs[index].batch;
        self.last.mark.position.0 += 1;
        let position = self.last.mark.position;
        self.last.fences.raise(batch.fence);
        self.poisoned.remove(&batch.fence.shard);
        group.frame.push(position, batch);
        position
    }

    fn version_of(&mut self, key: &Key, group: &mut Group) -> Result<Option<Position>, ReadError> {
        if let Some(version) = group.version_of(key) {
            return Ok(version);
        }
        if let Some(version) = self.flight.as_mut().and_then(|flight| flight.group.version_of(key)) {
            return Ok(version);
        }
        let found = self.shared.get(key);
        if matches!(&found, Err(failure) if matches!(**failure, Failure::Io { .. })) {
            self.shared.queue.read_failed();
        }
        Ok(found?.map(|row| row.version))
    }

    fn answer(&self, answer: oneshot::Sender<Outcome>, outcome: Outcome) {
        let counters = &self.shared.counters;
        match outcome {
            Outcome::Committed(_) => counters.committed.add(1),
            Outcome::Refused(_) => counters.refused.add(1),
            Outcome::Failed(_) | Outcome::Unknown(_) => counters.failed.add(1),
        }
        // Whoever no longer waits for the outcome does not need it.
        let _ = answer.send(outcome);
    }

    /// While one half of the overlay is being written to the table, commits fill the other: the first half of that at
    /// once and the rest as fast as the writing goes on, so that they are slowed down and not stopped for long.
    fn has_room(&self) -> bool {
        let room = match &self.writing {
            Some(writing) if self.log.is_some() => {
                let written = self.shared.queue.rows_checkpointed() as f64 / writing.rows.max(1) as f64;
                let share = (1.0 + written.min(1.0)) / 2.0;
                self.weight() < (self.half() as f64 * share) as u64
            }
            _ => true,
        };
        if !room && self.shared.queue.len() > 0 {
            self.shared.counters.waits.add(1);
        }
        room
    }

    fn weight(&self) -> u64 {
        self.shared.pair.read().overlay.active.weight()
    }

    fn half(&self) -> u64 {
        self.options.overlay_bytes_max / 2
    }

    fn checkpoint_if_due(&mut self) {
        if self.log.is_none() && self.flight.is_none() {
            let illness = self.shared.illness.read().clone().unwrap_or_else(|| Arc::new(Failure::Closed));
            return tell_all(self.wanted.drain(..), &Err(illness));
        }
        if self.writing.is_some() || (self.wanted.is_empty() && self.weight() < self.half()) {
            return;
        }
        self.begin_checkpoint();
    }

    fn begin_checkpoint(&mut self) {
        let frozen = self.shared.pair.write().overlay.freeze();
        let held = Held { mark: frozen.through, fences: self.shown.fences.clone() };
        let (row, rows) = (held.mark.row, frozen.rows.len());
        self.shared.queue.checkpoint_begins();
        self.writing = Some(Writing { row, rows, answers: std::mem::take(&mut self.wanted) });
        self.order(Order::Write { frozen, held, table: self.table.clone() });
    }

    fn checkpointed(&mut self, result: Result<(), Failure>) -> Result<(), Arc<Failure>> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let result = result.map_err(Arc::new);
        self.stalled = result.is_err();
        match &result {
            Ok(()) => self.held_row = writing.row,
            Err(failure) => self.fall_ill(failure.clone()),
        }
        tell_all(writing.answers.into_iter(), &result);
        result
    }

    fn order(&self, order: Order) {
        self.checkpoints.send(order).expect("the checkpoint thread lives until this sender is gone");
    }
}

fn tell_all(answers: impl Iterator<Item = CheckpointAnswer>, result: &Result<(), Arc<Failure>>) {
    for answer in answers {
        // Whoever no longer waits for the outcome does not need it.
        let _ = answer.send(result.clone());
    }
}
