//! Who is in memory: finds an actor or brings it in, counts its mailbox, and lets it go only when nothing is under way.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::ambient;
use super::ask::{AskError, Reply};
use super::entity::{ActorId, Entity};
use super::errands::Report;
use super::host::{Door, Tell};
use super::kinds::Kinds;
use super::once::{Claim, Once, UnderWay};
use super::runtime::Runtime;
use super::seat::Seat;
use super::watchers::{Seen, Until, Watchers};
use crate::clock::Time;
use crate::store::Key;

/// The pause before an actor that was dropped is brought back, doubled each time it is dropped again.
const RESTART_DELAY: Duration = Duration::from_millis(50);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);
/// How long an actor must last before its earlier restarts no longer count.
const RESTART_FORGOTTEN: Duration = Duration::from_secs(60);

/// How often an actor was dropped lately.
#[derive(Debug, Clone, Copy, Default)]
struct Restarts {
    count: u32,
    last: Time,
}

/// An actor that cannot be rebuilt.
#[derive(Debug, Clone)]
pub struct Failed {
    pub reason: String,
    pub at: Time,
}

/// An actor in memory, as admin shows it.
#[derive(Debug, Clone, Copy)]
pub struct Presence {
    pub depth: usize,
    pub restarts: u32,
}

#[derive(Default)]
struct Book {
    seats: HashMap<ActorId, Arc<Seat>>,
    restarts: BTreeMap<ActorId, Restarts>,
    failed: BTreeMap<ActorId, Failed>,
    lives: u64,
}

/// All actors in memory, by name.
pub struct Registry {
    runtime: Weak<Runtime>,
    arbiters: Vec<ArbiterHandle>,
    kinds: Kinds,
    book: Mutex<Book>,
    pub(super) watchers: Watchers,
    /// Held by the request and not by the one who asked, who may hang up.
    under_way: UnderWay,
}

impl Registry {
    pub(super) fn new(runtime: Weak<Runtime>, arbiters: Vec<ArbiterHandle>, kinds: Kinds) -> Self {
        Self {
            runtime,
            arbiters,
            kinds,
            book: Mutex::default(),
            watchers: Watchers::default(),
            under_way: UnderWay::default(),
        }
    }

    /// Asks an actor, and answers when the turns that the answer rests on are on disk.
    ///
    /// # Errors
    /// [`AskError`] says whether the caller, the moment or the node is to blame.
    pub async fn ask<E: Entity>(
        &self,
        key: &str,
        command: E::Command,
        once: Option<Once>,
    ) -> Result<E::Reply, AskError<E::Rejection>> {
        let claim = match &once {
            Some(once) => Some(self.claim(once).await),
            None => None,
        };
        self.ask_under::<E>(key, command, once, claim).await
    }

    /// Holds the key of a request as soon as no other has it.
    pub(super) async fn claim(&self, once: &Once) -> Claim {
        self.under_way.claim(&once.key).await
    }

    /// The same as [`ask`](Self::ask), by whoever holds the key of the request.
    pub(super) async fn ask_under<E: Entity>(
        &self,
        key: &str,
        command: E::Command,
        once: Option<Once>,
        claim: Option<Claim>,
    ) -> Result<E::Reply, AskError<E::Rejection>> {
        let runtime = self.runtime();
        if runtime.is_stopping() {
            return Err(AskError::Unavailable("the node is stopping".into()));
        }
        if runtime.is_held() {
            return Err(AskError::Held);
        }
        let id = ActorId::of::<E>(key);
        if let Some(failed) = self.failed(&id) {
            return Err(AskError::Damaged(failed.reason));
        }
        let (seat, room) = self.seat_with(&id, |seat| seat.count(runtime.limits.mailbox));
        if !room {
            return Err(AskError::Full);
        }
        let (answers, answer) = oneshot::channel();
        let reply = Reply::new(answers, claim);
        seat.tell::<E>(Tell::Ask { command, once, reply, trace: ambient::trace() });
        answer.await.unwrap_or_else(|_| match self.failed(&id) {
            Some(failed) => Err(AskError::Damaged(failed.reason)),
            None => Err(AskError::Unavailable("the actor is being rebuilt".into())),
        })
    }

    /// Says that these message rows wait for an actor.
    pub(super) fn wake(&self, id: &ActorId, keys: Vec<Key>) {
        let runtime = self.runtime();
        if runtime.is_stopping() || runtime.is_held() || self.failed(id).is_some() {
            return;
        }
        let seat = self.seat_with(id, |seat| {
            // Behind rows that wait already these wait too, or they would pass them.
            let room = !seat.has_more() && seat.depth.load(Ordering::Acquire) + keys.len() <= runtime.limits.mailbox;
            if room {
                seat.depth.fetch_add(keys.len(), Ordering::AcqRel);
            } else {
                seat.more.store(true, Ordering::Release);
            }
            room
        });
        match seat {
            (seat, true) => seat.door().wake(keys),
            // One that is busy sees the mark when it has room; this wakes one that has just run dry.
            (seat, false) => seat.door().wake(Vec::new()),
        }
    }

    /// Says that rows wait for an actor that it may not know of.
    pub(super) fn wake_for_backlog(&self, id: &ActorId) {
        let runtime = self.runtime();
        if runtime.is_stopping() || runtime.is_held() || self.failed(id).is_some() {
            return;
        }
        let (seat, ()) = self.seat_with(id, |seat| seat.more.store(true, Ordering::Release));
        seat.door().wake(Vec::new());
    }

    /// Hands in the row of a timer that is due; true once a turn has consumed it, or it is gone.
    pub(super) async fn fire(&self, id: &ActorId, key: &Key) -> bool {
        let (done, consumed) = oneshot::channel();
        self.row(id, |door| door.fire(key.clone(), done));
        consumed.await.unwrap_or(false)
    }

    /// Hands in what came of an errand; true once a turn has taken it, or the errand is gone.
    pub(super) async fn report(&self, id: &ActorId, key: &Key, report: Report) -> bool {
        let (done, consumed) = oneshot::channel();
        self.row(id, |door| door.report(key.clone(), report, done));
        consumed.await.unwrap_or(false)
    }

    fn row(&self, id: &ActorId, hand_in: impl FnOnce(&dyn Door)) {
        let runtime = self.runtime();
        if runtime.is_stopping() || runtime.is_held() || self.failed(id).is_some() {
            return;
        }
        let (seat, room) = self.seat_with(id, |seat| seat.count(runtime.limits.mailbox));
        if room {
            hand_in(seat.door());
        }
    }

    /// Resolves when that has come. Register first, then look, then wait.
    pub fn watch(&self, id: &ActorId, until: Until) -> oneshot::Receiver<Seen> {
        self.watchers.watch(id, until)
    }

    pub fn presence(&self, id: &ActorId) -> Option<Presence> {
        let book = self.book.lock();
        let restarts = book.restarts.get(id).map_or(0, |restarts| restarts.count);
        book.seats.get(id).map(|seat| Presence { depth: seat.depth.load(Ordering::Acquire), restarts })
    }

    pub fn failed(&self, id: &ActorId) -> Option<Failed> {
        let book = self.book.lock();
        if book.failed.is_empty() { None } else { book.failed.get(id).cloned() }
    }

    /// Every actor that cannot be rebuilt.
    pub fn all_failed(&self) -> Vec<ActorId> {
        self.book.lock().failed.keys().cloned().collect()
    }

    pub fn active(&self) -> usize {
        self.book.lock().seats.len()
    }

    /// Tries a failed actor again, with all that waits for it; true if it had failed.
    pub fn retry_failed(&self, id: &ActorId) -> bool {
        let had_failed = self.book.lock().failed.remove(id).is_some();
        if had_failed {
            self.wake_for_backlog(id);
        }
        had_failed
    }

    /// Forgets restarts that do not count any more, and watchers that left.
    pub(super) fn tidy(&self, now: Time) {
        self.book.lock().restarts.retain(|_, restarts| now.since(restarts.last) <= RESTART_FORGOTTEN);
        self.watchers.tidy();
    }

    /// The actors that should leave memory: those that have had nothing to do since `before`, and where more than `most`
    /// would stay, those of the others that were idle the longest, if that is since `lately`.
    pub(super) fn idle(&self, before: Time, lately: Time, most: usize) -> Vec<Arc<Seat>> {
        let book = self.book.lock();
        let since = |until: Time| move |seat: &&Arc<Seat>| seat.busy_at.load(Ordering::Relaxed) < until.0;
        if book.seats.len() <= most {
            return book.seats.values().filter(since(before)).cloned().collect();
        }
        let over = book.seats.len() - most;
        let mut idle: Vec<_> = book.seats.values().filter(since(lately.max(before))).cloned().collect();
        drop(book);
        idle.sort_by_cached_key(|seat| seat.busy_at.load(Ordering::Relaxed));
        let old = idle.partition_point(|seat| since(before)(&seat));
        idle.truncate(old.max(over));
        idle
    }

    /// Takes an actor off the book if nothing has been handed in that it has not seen.
    pub(super) fn retire(&self, seat: &Seat) -> bool {
        let mut book = self.book.lock();
        let idle = seat.depth.load(Ordering::Acquire) == 0 && !seat.more.load(Ordering::Acquire);
        if idle {
            remove(&mut book, seat);
        }
        idle
    }

    /// Takes an actor off the book after all its turns have settled, and brings it back later for the rows that wait.
    pub(super) fn dropped(&self, seat: &Seat) {
        let runtime = self.runtime();
        let now = runtime.clock.now();
        let mut book = self.book.lock();
        if !remove(&mut book, seat) {
            return;
        }
        let restarts = book.restarts.entry(seat.id.clone()).or_default();
        if now.since(restarts.last) > RESTART_FORGOTTEN {
            restarts.count = 0;
        }
        *restarts = Restarts { count: restarts.count + 1, last: now };
        drop(book);
        if !runtime.is_stopping() {
            self.wake_for_backlog(&seat.id);
        }
    }

    /// Takes an actor off the book for good: its stored state cannot be used.
    pub(super) fn fail(&self, seat: &Seat, reason: String) {
        let at = self.runtime().clock.now();
        let mut book = self.book.lock();
        remove(&mut book, seat);
        book.failed.insert(seat.id.clone(), Failed { reason, at });
    }

    /// Notes that something of an actor is damaged, so that it is not served until somebody has looked.
    pub fn mark_failed(&self, id: &ActorId, reason: String) {
        let at = self.runtime().clock.now();
        let mut book = self.book.lock();
        let seat = book.seats.get(id).cloned();
        book.failed.entry(id.clone()).or_insert(Failed { reason, at });
        drop(book);
        if let Some(seat) = seat {
            seat.ask_to_retire();
        }
    }

    /// How many messages have been handed in and not yet answered.
    pub(super) fn depth(&self) -> usize {
        self.book.lock().seats.values().map(|seat| seat.depth.load(Ordering::Acquire)).sum()
    }

    /// True when no actor has anything to do or on its way to disk.
    pub(super) fn is_quiet(&self) -> bool {
        let idle =
            |seat: &Arc<Seat>| seat.depth.load(Ordering::Acquire) == 0 && seat.flying.load(Ordering::Acquire) == 0;
        self.book.lock().seats.values().all(idle)
    }

    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    fn runtime(&self) -> Arc<Runtime> {
        self.runtime.upgrade().expect("the registry is a part of the runtime")
    }

    /// Finds or makes the seat and does `count` to it before anybody can retire it.
    fn seat_with<T>(&self, id: &ActorId, count: impl FnOnce(&Seat) -> T) -> (Arc<Seat>, T) {
        let mut book = self.book.lock();
        let seat = match book.seats.get(id) {
            Some(seat) => seat.clone(),
            None => self.bring_in(&mut book, id),
        };
        let counted = count(&seat);
        (seat, counted)
    }

    /// The threads on which actors live, again and again.
    fn arbiter(&self, number: usize) -> &ArbiterHandle {
        &self.arbiters[number % self.arbiters.len()]
    }

    fn bring_in(&self, book: &mut Book, id: &ActorId) -> Arc<Seat> {
        let runtime = self.runtime();
        book.lives += 1;
        let restarts = book.restarts.get(id).copied().unwrap_or_default();
        let arbiter = self.arbiter(book.lives as usize);
        let (life, now) = (book.lives, runtime.clock.now());
        let seat = Arc::new(Seat {
            id: id.clone(),
            life,
            depth: AtomicUsize::new(0),
            flying: AtomicUsize::new(0),
            more: AtomicBool::new(false),
            busy_at: now.0.into(),
            after_failure: restarts.count > 0,
            hold: hold(restarts, now),
            door: OnceLock::new(),
        });
        seat.door.get_or_init(|| self.kinds.open(runtime, arbiter, seat.clone()));
        book.seats.insert(id.clone(), seat.clone());
        seat
    }
}

/// What is left of the pause after `restarts`.
fn hold(restarts: Restarts, now: Time) -> Duration {
    if restarts.count == 0 {
        return Duration::ZERO;
    }
    let pause = RESTART_DELAY.saturating_mul(1 << (restarts.count - 1).min(16)).min(RESTART_DELAY_MAX);
    pause.saturating_sub(now.since(restarts.last))
}

fn remove(book: &mut Book, seat: &Seat) -> bool {
    let ours = book.seats.get(&seat.id).is_some_and(|held| held.life == seat.life);
    if ours {
        book.seats.remove(&seat.id);
    }
    ours
}
