//! Those who wait for what an actor does: they are told once it is on disk, with its state where that is at hand.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::entity::ActorId;

/// What somebody waits for who watches an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its next turn is on disk.
    Turn,
    /// A turn is on disk after which nothing moves it by itself.
    Rest,
}

/// The state as it is on disk, to be downcast to its kind; `None` where later turns are on their way, and it has to be
/// read.
pub type Seen = Option<Box<dyn Any + Send>>;

/// What is waited for, and who is told.
type Watcher = (Until, oneshot::Sender<Seen>);

/// All who wait, by what they watch.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    waiting: Mutex<BTreeMap<ActorId, Vec<Watcher>>>,
    /// How many there are, so that a turn that nobody waits for need not look.
    count: AtomicUsize,
}

impl Watchers {
    pub(super) fn watch(&self, id: &ActorId, until: Until) -> oneshot::Receiver<Seen> {
        let (seen, turn) = oneshot::channel();
        let mut all = self.waiting.lock();
        let waiting = all.entry(id.clone()).or_default();
        let before = waiting.len();
        waiting.retain(|(_, watcher)| !watcher.is_closed());
        waiting.push((until, seen));
        self.count.fetch_add(1, Ordering::AcqRel);
        self.count.fetch_sub(before + 1 - waiting.len(), Ordering::AcqRel);
        turn
    }

    /// A turn of this actor is on disk; `seen` gives its state for each who is told.
    pub(super) fn turn_settled(&self, id: &ActorId, rests: bool, seen: impl Fn() -> Seen) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut all = self.waiting.lock();
        let Some(waiting) = all.get_mut(id) else { return };
        let woken: Vec<_> = waiting.extract_if(.., |(until, _)| rests || *until == Until::Turn).collect();
        if waiting.is_empty() {
            all.remove(id);
        }
        drop(all);
        self.count.fetch_sub(woken.len(), Ordering::AcqRel);
        for (_, watcher) in woken {
            // Whoever stopped waiting needs no word.
            let _ = watcher.send(seen());
        }
    }

    /// Forgets those who left.
    pub(super) fn tidy(&self) {
        let mut all = self.waiting.lock();
        for waiting in all.values_mut() {
            let before = waiting.len();
            waiting.retain(|(_, watcher)| !watcher.is_closed());
            self.count.fetch_sub(before - waiting.len(), Ordering::AcqRel);
        }
        all.retain(|_, waiting| !waiting.is_empty());
    }
}
