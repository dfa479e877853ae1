//! An engine that tests steer: it can hold commits back, hold reads back, break once, and count what landed.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::store::{
    Batch, Change, Engine, Epoch, Failure, Key, MemoryEngine, Outcome, ReadError, Refusal, Row, Soon, Span, Versioned,
};
use tokio::sync::{mpsc, oneshot, watch};

/// How a write breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Not written.
    Failed,
    /// Written, and nobody can tell.
    UnknownWritten,
    /// Not written, and nobody can tell.
    UnknownLost,
}

/// Behaves as a real engine does: in order, and closed after a failure until the fence is raised.
pub(crate) struct SteeredEngine {
    memory: MemoryEngine,
    state: Mutex<State>,
    reads_held: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    holding: bool,
    /// Holds commits back from when so many have landed.
    holds_at: Option<usize>,
    queue: VecDeque<(Batch, oneshot::Sender<Outcome>)>,
    landed: Vec<Batch>,
    /// Batches from now on until one breaks, and how.
    breaks: Option<(usize, Break)>,
    /// The disk is full.
    full: bool,
    /// Nothing of this epoch or before it lands any more.
    poisoned: Option<Epoch>,
}

impl Default for SteeredEngine {
    fn default() -> Self {
        Self { memory: MemoryEngine::default(), state: Mutex::default(), reads_held: watch::Sender::new(false) }
    }
}

impl SteeredEngine {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// An engine that holds what these batches wrote.
    pub(crate) fn with(batches: &[Batch]) -> Arc<Self> {
        let engine = Self::default();
        for batch in batches {
            let outcome = engine.commit(batch.clone()).now_or_never().expect("memory is ready at once");
            assert!(matches!(outcome, Outcome::Committed(_)), "a batch that landed before lands again: {outcome:?}");
        }
        Arc::new(engine)
    }

    /// Keeps commits waiting until they are released.
    pub(crate) fn hold(&self) {
        self.state.lock().holding = true;
    }

    /// The same from when so many have landed, these included that had landed before.
    pub(crate) fn hold_at(&self, landed: usize) {
        let mut state = self.state.lock();
        state.holds_at = Some(landed);
        state.holding |= state.landed.len() >= landed;
    }

    /// How many commits wait.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Lets the first `count` of the commits that wait happen, and tells their outcomes last to first.
    pub(crate) fn release(&self, count: usize) {
        let mut outcomes = Vec::new();
        for _ in 0..count {
            let (batch, told) = self.state.lock().queue.pop_front().expect("so many commits wait");
            let outcome = self.land(batch);
            outcomes.push((told, outcome));
        }
        for (told, outcome) in outcomes.into_iter().rev() {
            drop(told.send(outcome));
        }
    }

    /// Lets everything happen that waits, and holds nothing any more.
    pub(crate) fn release_all(&self) {
        self.state.lock().holding = false;
        let count = self.held();
        self.release(count);
    }

    /// Breaks the write that comes after `after` more.
    pub(crate) fn break_after(&self, after: usize, how: Break) {
        self.state.lock().breaks = Some((after, how));
    }

    /// Takes no write for as long as this lasts.
    pub(crate) fn full(&self, full: bool) {
        self.state.lock().full = full;
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.lock().poisoned.is_some()
    }

    /// Answers reads only once they are let go again; what they see is what was there when they were asked.
    pub(crate) fn hold_reads(&self, held: bool) {
        self.reads_held.send_replace(held);
    }

    /// Every batch that landed, in order.
    pub(crate) fn landed(&self) -> Vec<Batch> {
        self.state.lock().landed.clone()
    }

    /// All rows whose key begins with this letter.
    pub(crate) fn area(&self, letter: u8) -> Vec<Row> {
        let span = Span::prefix(&Key::build().tag(letter).done(), usize::MAX);
        self.memory.range(span).now_or_never().expect("memory is ready at once").unwrap()
    }

    fn land(&self, batch: Batch) -> Outcome {
        let mut state = self.state.lock();
        if state.full {
            return Outcome::Failed(Arc::new(Failure::Full(std::io::ErrorKind::StorageFull.into())));
        }
        if let Some(epoch) = state.poisoned {
            if batch.fence.epoch <= epoch {
                return Outcome::Failed(Arc::new(Failure::Poisoned));
            }
            state.poisoned = None;
        }
        let broken = match &mut state.breaks {
            Some((0, how)) => Some(*how),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let Some(how) = broken else { return self.write(&mut state, batch) };
        state.breaks = None;
        state.poisoned = Some(batch.fence.epoch);
        if how == Break::UnknownWritten {
            drop(self.write(&mut state, batch));
        }
        let source = std::io::Error::other("the test broke the disk");
        let failure = Arc::new(Failure::Io { doing: "fsync", source });
        if how == Break::Failed { Outcome::Failed(failure) } else { Outcome::Unknown(failure) }
    }

    fn write(&self, state: &mut State, batch: Batch) -> Outcome {
        let mut keys: Vec<&Key> = batch.puts.iter().map(|(key, _)| key).chain(&batch.deletes).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "a key stands in a batch once");
        let outcome = self.memory.commit(batch.clone()).now_or_never().expect("memory is ready at once");
        if matches!(outcome, Outcome::Committed(_)) {
            state.landed.push(batch);
            state.holding |= state.holds_at == Some(state.landed.len());
        }
        if let Outcome::Refused(Refusal::Condition(index)) = outcome {
            panic!("condition {index} of a batch did not hold");
        }
        outcome
    }

    async fn reads_go_on(mut held: watch::Receiver<bool>) {
        held.wait_for(|held| !held).await.expect("the engine is there while it is read");
    }
}

impl Engine for SteeredEngine {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        let found = self.memory.get(key);
        if !*self.reads_held.borrow() {
            return found;
        }
        let held = self.reads_held.subscribe();
        Soon::later(async move {
            Self::reads_go_on(held).await;
            found.await
        })
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        let found = self.memory.range(span);
        if !*self.reads_held.borrow() {
            return found;
        }
        let held = self.reads_held.subscribe();
        Soon::later(async move {
            Self::reads_go_on(held).await;
            found.await
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        {
            let mut state = self.state.lock();
            if state.holding {
                let (told, outcome) = oneshot::channel();
                state.queue.push_back((batch, told));
                return outcome.map(|outcome| outcome.expect("held commits are answered")).boxed();
            }
        }
        std::future::ready(self.land(batch)).boxed()
    }

    fn changes(&self, prefix: &Key) -> mpsc::Receiver<Change> {
        self.memory.changes(prefix)
    }
}
