//! Appends to one stream queue here and are committed together, in their order: nobody is outrun by the others.
//!
//! One task for each stream that is being written decides a round of whatever has come meanwhile on one standing and
//! commits it as one batch. Truncation goes the same way, so that nothing in this process competes for the counter.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::once::{Answer, Once};
use super::{OpError, Shared, round};
use crate::store::streams::Expected;

/// Requests decided in one round; more wait for the next, so that no batch grows with the crowd.
const ROUND_MAX: usize = 512;
const ROUND_BYTES_MAX: usize = 1 << 20;
/// Requests that wait for one stream, and their bytes; more are answered with "try again".
const WAITING_MAX: usize = 4_096;
const WAITING_BYTES_MAX: usize = 16 << 20;

/// What is asked of one stream.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Append { expected: Expected, values: Vec<Bytes> },
    Truncate { before: u64 },
}

pub(super) type Reply = oneshot::Sender<Result<Answer, OpError>>;

/// One request that waits.
pub(super) struct Pending {
    pub(super) work: Work,
    pub(super) once: Option<Once>,
    pub(super) reply: Reply,
}

/// What waits, by stream. A stream stands here as long as a task serves it.
#[derive(Default)]
pub(super) struct Queues(Mutex<BTreeMap<String, Queue>>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    bytes: usize,
}

impl Pending {
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Append { values, .. } => values.iter().map(Bytes::len).sum(),
            Work::Truncate { .. } => 0,
        }
    }
}

/// Queues the work behind all that was queued before it, and waits for its answer.
pub(super) async fn ask(shared: &Arc<Shared>, stream: &str, work: Work, once: Option<Once>) -> Result<Answer, OpError> {
    let (reply, answer) = oneshot::channel();
    if shared.queues.push(stream, Pending { work, once, reply })? {
        let (shared, stream) = (shared.clone(), stream.to_owned());
        // A task of its own: a client that leaves must not take the others' turns with it.
        tokio::spawn(async move { serve(&shared, &stream).await });
    }
    answer.await.unwrap_or(Err(OpError::Stopped))
}

impl Queues {
    /// True when nobody serves this stream yet.
    fn push(&self, stream: &str, pending: Pending) -> Result<bool, OpError> {
        let mut queues = self.0.lock();
        let bytes = pending.bytes();
        if let Some(queue) = queues.get_mut(stream) {
            let full = queue.waiting.len() >= WAITING_MAX || queue.bytes + bytes > WAITING_BYTES_MAX;
            if full && !queue.waiting.is_empty() {
                return Err(OpError::Busy(format!("the stream {stream}")));
            }
            queue.bytes += bytes;
            queue.waiting.push_back(pending);
            return Ok(false);
        }
        queues.insert(stream.to_owned(), Queue { waiting: VecDeque::from([pending]), bytes });
        Ok(true)
    }

    /// The next round of a stream; when there is none the stream is nobody's again.
    fn take(&self, stream: &str) -> Option<Vec<Pending>> {
        let mut queues = self.0.lock();
        let queue = queues.get_mut(stream)?;
        let (mut round, mut bytes, mut later) = (Vec::<Pending>::new(), 0, VecDeque::new());
        while let Some(next) = queue.waiting.pop_front() {
            let size = next.bytes();
            if !round.is_empty() && (round.len() == ROUND_MAX || bytes + size > ROUND_BYTES_MAX) {
                queue.waiting.push_front(next);
                break;
            }
            // The second with the same key has to find the answer of the first.
            if round.iter().any(|earlier| repeats(earlier, &next)) {
                later.push_back(next);
                continue;
            }
            bytes += size;
            queue.bytes = queue.bytes.saturating_sub(size);
            round.push(next);
        }
        later.into_iter().rev().for_each(|next| queue.waiting.push_front(next));
        if round.is_empty() {
            queues.remove(stream);
        }
        (!round.is_empty()).then_some(round)
    }
}

fn repeats(earlier: &Pending, next: &Pending) -> bool {
    matches!((&earlier.once, &next.once), (Some(earlier), Some(next)) if earlier.same_key(next))
}

/// Gives up a stream whose task ended in the middle, so that the next append begins anew.
struct Serving<'a> {
    shared: &'a Shared,
    stream: &'a str,
    finished: bool,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.queues.0.lock().remove(self.stream);
        }
    }
}

async fn serve(shared: &Shared, stream: &str) {
    let mut serving = Serving { shared, stream, finished: false };
    let mut standing = None;
    while let Some(round) = shared.queues.take(stream) {
        standing = round::run(shared, stream, round, standing).await;
    }
    serving.finished = true;
}
