//! A group: batches that are written together, what is to become of each, and what they leave behind.

use std::sync::Arc;

use bytes::Bytes;

use super::log::AppendError;
use super::queue::Job;
use crate::store::admit::Fences;
use crate::store::frame;
use crate::store::key::KeyMap;
use crate::store::{Failure, Key, Outcome, Position, Refusal};

/// What is to become of a batch if the group it is in reaches the disk.
pub(super) enum Verdict {
    Land(Position),
    Refuse(Refusal),
    Fail(Arc<Failure>),
}

pub(super) struct Group {
    pub(super) jobs: Vec<Job>,
    /// Of the first batches; those behind them have not been judged yet.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) frame: frame::Writer,
    left: Left,
}

/// A group whose batches are all judged.
pub(super) struct Judged {
    pub(super) group: Group,
    /// What is written of it; empty when nothing lands.
    pub(super) frame: Bytes,
    /// Where the history ends with it.
    pub(super) position: Position,
    pub(super) fences: Fences,
}

/// What the batches that land leave behind, which nobody else can see yet. Gathered only once a condition asks.
#[derive(Default)]
struct Left {
    versions: KeyMap<Option<Position>>,
    /// So many of the batches are in.
    batches: usize,
}

impl Group {
    pub(super) fn of(jobs: Vec<Job>) -> Self {
        let bytes = jobs.iter().map(|job| job.bytes).sum();
        let verdicts = Vec::with_capacity(jobs.len());
        Self { jobs, verdicts, frame: frame::Writer::with_room(bytes), left: Left::default() }
    }

    #[allow(clippy::option_option, reason = "the outer one is whether the group says anything of the key")]
    pub(super) fn version_of(&mut self, key: &Key) -> Option<Option<Position>> {
        let Self { jobs, verdicts, left, .. } = self;
        for (job, verdict) in jobs.iter().zip(verdicts.iter()).skip(left.batches) {
            if let Verdict::Land(position) = verdict {
                left.versions.extend(job.batch.puts.iter().map(|(key, _)| (key.clone(), Some(*position))));
                left.versions.extend(job.batch.deletes.iter().map(|key| (key.clone(), None)));
            }
        }
        left.batches = verdicts.len();
        left.versions.get(key).copied()
    }
}

/// What whoever queued a batch is told.
pub(super) fn outcome(verdict: Verdict, written: &Result<(), AppendError>) -> Outcome {
    match (verdict, written) {
        (Verdict::Land(position), Ok(())) => Outcome::Committed(position),
        (Verdict::Land(_), Err(AppendError::Failed(failure))) => Outcome::Failed(failure.clone()),
        (Verdict::Land(_), Err(AppendError::Unknown(failure))) => Outcome::Unknown(failure.clone()),
        (Verdict::Refuse(refusal), Ok(())) => Outcome::Refused(refusal),
        (Verdict::Refuse(_), Err(_)) => Outcome::Failed(Arc::new(Failure::Poisoned)),
        (Verdict::Fail(failure), _) => Outcome::Failed(failure),
    }
}
