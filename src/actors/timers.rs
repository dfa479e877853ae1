//! Timers: rows ordered by due time, read by the page, each handed to its actor when its time has come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::layout;
use super::runtime::Runtime;
use crate::clock::Time;
use crate::store::{Change, Key, Span};

/// Due timers read in one go.
const PAGE: usize = 512;
/// Timers handed in and not yet consumed, at most.
const FIRING_MAX: usize = 1_024;
/// The longest sleep, so that a clock that was set forward is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How long a timer that its actor could not take waits before it is handed in again.
const FIRE_AGAIN: Duration = Duration::from_millis(500);

struct Timers {
    runtime: Arc<Runtime>,
    firing: Mutex<BTreeSet<Key>>,
    room: Arc<Semaphore>,
    sooner: Notify,
}

/// Fires timers for the life of the node.
pub(super) async fn run(runtime: Arc<Runtime>) {
    let room = Arc::new(Semaphore::new(FIRING_MAX));
    let timers = Arc::new(Timers { runtime, firing: Mutex::default(), room, sooner: Notify::new() });
    let mut changes = timers.runtime.engine.changes(&layout::timers());
    let mut next = timers.clone().fire_due().await;
    loop {
        let now = timers.runtime.clock.now();
        let sleep = next.map_or(SLEEP_MAX, |next| next.since(now).min(SLEEP_MAX));
        tokio::select! {
            biased;
            change = changes.recv() => match change {
                Some(Change::Put(keys)) => {
                    let soonest = keys.iter().filter_map(|key| Some(layout::timer_parts(key)?.0)).min();
                    next = [next, soonest].into_iter().flatten().min();
                    // Look only when something is due: a timer set for next week costs nothing now.
                    if next.is_none_or(|next| next > timers.runtime.clock.now()) {
                        continue;
                    }
                }
                Some(Change::Missed) => {}
                None => return,
            },
            () = timers.sooner.notified() => {}
            () = timers.runtime.clock.sleep(sleep) => {}
        }
        next = timers.clone().fire_due().await;
    }
}

impl Timers {
    /// Hands in all that is due, and says when the next one is.
    async fn fire_due(self: Arc<Self>) -> Option<Time> {
        let mut span = Span::prefix(&layout::timers(), PAGE);
        loop {
            let page = match self.runtime.engine.range(span.clone()).await {
                Ok(page) => page,
                Err(_) => return Some(self.runtime.clock.now().plus(FIRE_AGAIN)),
            };
            let last = page.last()?.key.clone();
            for row in page {
                let (due, _) = layout::timer_parts(&row.key)?;
                if due > self.runtime.clock.now() {
                    return Some(due);
                }
                self.clone().fire(row.key).await;
            }
            span = span.after(&last);
        }
    }

    async fn fire(self: Arc<Self>, key: Key) {
        if !self.firing.lock().insert(key.clone()) {
            return;
        }
        let Ok(place) = self.room.clone().acquire_owned().await else { return };
        actix_rt::spawn(async move {
            let Some((_, actor)) = layout::timer_parts(&key) else { return };
            let consumed = self.runtime.registry().fire(&actor, &key).await;
            if !consumed {
                self.runtime.clock.sleep(FIRE_AGAIN).await;
            }
            self.firing.lock().remove(&key);
            drop(place);
            if !consumed && !self.runtime.is_stopping() {
                self.sooner.notify_one();
            }
        });
    }
}
