//! What all actors of a node share: the store, the clock, the world they decide about, and the node's health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};

use super::kinds::Kinds;
use super::registry::Registry;
use super::retention;
use super::world::World;
use crate::clock::SharedClock;
use crate::store::{Batch, Engine, Epoch, Failure, Fence, Outcome, Refusal, Shard};

/// The first and the longest pause between two tries to raise the fence after the store failed.
const RECOVERY_DELAY: Duration = Duration::from_millis(100);
const RECOVERY_DELAY_MAX: Duration = Duration::from_secs(5);

/// How much is let in, and how long idle actors stay.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Messages that wait for one actor in memory; more wait as rows, or are refused.
    pub mailbox: usize,
    /// Turns of one actor that are decided and not yet on disk.
    pub turns_in_flight: usize,
    /// Errands under way at once in the whole node.
    pub errands_in_flight: usize,
    /// How long an actor with nothing to do stays in memory.
    pub idle: Duration,
    /// How many actors stay in memory; of more than that those that were idle the longest leave sooner.
    pub actors: usize,
    /// Event rows kept of each actor, at least.
    pub events_kept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox: 1_024,
            turns_in_flight: 256,
            errands_in_flight: 512,
            idle: Duration::from_secs(30),
            actors: 20_000,
            events_kept: 100,
        }
    }
}

/// Whether the store takes writes.
#[derive(Debug, Clone)]
pub enum Health {
    Well,
    Ill(Arc<Failure>),
    /// Another process has taken over the shard: this one must end.
    Fenced(Epoch),
    /// A service that the node needs could not be kept running.
    Lost(&'static str),
}

/// Shared by all actors and services of a node.
pub struct Runtime {
    pub engine: Arc<dyn Engine>,
    pub clock: SharedClock,
    pub world: Arc<World>,
    pub limits: Limits,
    registry: Registry,
    epoch: AtomicU64,
    health: watch::Sender<Health>,
    stopping: AtomicBool,
    /// Restored from a backup and not let go yet.
    held: watch::Sender<bool>,
    pub counters: Counters,
    pub retention: Mutex<retention::Report>,
    /// Turns that something was drawn for.
    drawn: AtomicU32,
    /// Turns decided beside the arbiters at the same time: as many as there are cores.
    pub(super) aside: Semaphore,
}

/// Counted since the start, for admin and benchmarks.
#[derive(Debug, Default)]
pub struct Counters {
    pub turns: AtomicU64,
    pub rejections: AtomicU64,
    pub panics: AtomicU64,
    pub activations: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Runtime {
    /// Takes over the shard: everything that an earlier owner still has under way is refused from here on.
    ///
    /// # Errors
    /// What the store says when it cannot take the first write.
    pub async fn start(
        engine: Arc<dyn Engine>,
        clock: SharedClock,
        world: Arc<World>,
        limits: Limits,
        arbiters: Vec<actix_rt::ArbiterHandle>,
        kinds: Kinds,
    ) -> Result<Arc<Self>, Arc<Failure>> {
        let before = current_epoch(&engine).await?;
        let epoch = raise_fence(&engine, before).await?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Arc::new_cyclic(|runtime| Self {
            engine,
            clock,
            world,
            limits,
            registry: Registry::new(runtime.clone(), arbiters, kinds),
            epoch: AtomicU64::new(epoch.0),
            health: watch::Sender::new(Health::Well),
            stopping: AtomicBool::new(false),
            held: watch::Sender::new(false),
            counters: Counters::default(),
            retention: Mutex::default(),
            drawn: AtomicU32::new(0),
            aside: Semaphore::new(cores),
        }))
    }

    /// Random bytes for a turn. The third to the sixth of them count, so that ids of one millisecond sort in the order in
    /// which they were made, whichever actors made them.
    pub(super) fn draw(&self) -> [u8; 16] {
        let mut random = self.clock.random();
        random[2..6].copy_from_slice(&self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        random
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who writes, as each batch says it.
    pub fn fence(&self) -> Fence {
        Fence { shard: Shard(0), epoch: Epoch(self.epoch.load(Ordering::Acquire)) }
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Sends and fires nothing from here on; for before anything is started.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Lets everything go that waited; true if the node was held.
    pub(super) fn let_go(&self) -> bool {
        self.held.send_replace(false)
    }

    /// Resolves when the node is not held.
    pub async fn released(&self) {
        let mut held = self.held.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        drop(held.wait_for(|held| !held).await);
    }

    pub(super) fn stop_accepting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// A batch did not land for a reason that is the store's. What is heard late of a batch of an earlier epoch says
    /// nothing about now.
    pub fn store_failed(&self, fence: Fence, failure: &Arc<Failure>) {
        if fence.epoch < self.fence().epoch {
            return;
        }
        self.health.send_if_modified(|health| {
            let first = matches!(health, Health::Well);
            if first {
                error!(%failure, "the store does not take writes; nothing is acknowledged until it does again");
                *health = Health::Ill(failure.clone());
            }
            first
        });
    }

    /// A batch was refused because a higher epoch exists that is not ours.
    pub fn fenced(&self, current: Epoch) {
        if current.0 > self.epoch.load(Ordering::Acquire) {
            self.health.send_if_modified(|health| {
                let first = matches!(health, Health::Well);
                if first {
                    *health = Health::Fenced(current);
                }
                first
            });
        }
    }

    pub(super) fn give_up(&self, service: &'static str) {
        self.health.send_replace(Health::Lost(service));
    }

    /// What is wrong with the store, while it takes no writes.
    pub(super) fn illness(&self) -> Option<Arc<Failure>> {
        match &*self.health.borrow() {
            Health::Ill(failure) => Some(failure.clone()),
            Health::Well | Health::Fenced(_) | Health::Lost(_) => None,
        }
    }

    /// Resolves when the store takes no writes, or the node is about to end.
    pub(super) async fn unwell(&self) {
        let mut health = self.health.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        drop(health.wait_for(|health| !matches!(health, Health::Well)).await);
    }

    /// Resolves when the store takes writes.
    pub(super) async fn well(&self) {
        let mut health = self.health.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        drop(health.wait_for(|health| matches!(health, Health::Well)).await);
    }

    /// Raises the fence whenever the store failed, until it takes writes again. Runs for the life of the node.
    pub(super) async fn recover(self: Arc<Self>) {
        let mut health = self.health.subscribe();
        loop {
            if health.wait_for(|health| matches!(health, Health::Ill(_))).await.is_err() {
                return;
            }
            let mut delay = RECOVERY_DELAY;
            loop {
                let held = Epoch(self.epoch.load(Ordering::Acquire));
                match raise_fence(&self.engine, held).await {
                    Ok(epoch) => {
                        self.epoch.store(epoch.0, Ordering::Release);
                        break;
                    }
                    Err(failure) => warn!(%failure, "the store still does not take writes"),
                }
                self.clock.sleep(delay).await;
                delay = (delay * 2).min(RECOVERY_DELAY_MAX);
            }
            info!("the store takes writes again");
            self.health.send_if_modified(|health| {
                let ill = matches!(health, Health::Ill(_));
                if ill {
                    *health = Health::Well;
                }
                ill
            });
        }
    }
}

/// The epoch that the store has seen: a batch of an earlier one is refused with it.
async fn current_epoch(engine: &Arc<dyn Engine>) -> Result<Epoch, Arc<Failure>> {
    let fence = Fence { shard: Shard(0), epoch: Epoch(0) };
    match engine.commit(Batch { fence, ..Batch::default() }).await {
        Outcome::Committed(_) => Ok(Epoch(0)),
        Outcome::Refused(Refusal::Fenced { current }) => Ok(current),
        Outcome::Refused(Refusal::Condition(_)) => unreachable!("an empty batch has no conditions"),
        Outcome::Failed(failure) | Outcome::Unknown(failure) => Err(failure),
    }
}

/// Commits an empty batch one epoch above all that the store has seen.
async fn raise_fence(engine: &Arc<dyn Engine>, held: Epoch) -> Result<Epoch, Arc<Failure>> {
    let mut epoch = Epoch(held.0 + 1);
    loop {
        let fence = Fence { shard: Shard(0), epoch };
        match engine.commit(Batch { fence, ..Batch::default() }).await {
            Outcome::Committed(_) => return Ok(epoch),
            Outcome::Refused(Refusal::Fenced { current }) => epoch = Epoch(current.0 + 1),
            Outcome::Refused(Refusal::Condition(_)) => unreachable!("an empty batch has no conditions"),
            Outcome::Failed(failure) | Outcome::Unknown(failure) => return Err(failure),
        }
    }
}
