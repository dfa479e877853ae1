//! Looks at every row now and then, in small steps, and names what is damaged.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::keeper::Keeper;
use super::notes;
use crate::actors::layout;
use crate::actors::runtime::Runtime;
use crate::clock::Time;
use crate::store::Failure;
use crate::store::redb::{Scrub, Step, Walk};

/// Rows read in one go: a few milliseconds of one thread.
const STEP: Step = Step { rows_max: 2_000, bytes_max: 256 << 10 };
/// Damages shown in admin; the log has all that were listed.
const SHOWN_MAX: usize = 50;
/// A node that is often started anew is scrubbed too: the first time comes after this part of the interval.
const FIRST_PART: u32 = 24;

/// How often and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub every: Duration,
    /// Bytes read in a second, at most.
    pub bytes_per_second: u64,
}

/// Scrubs the store of a running node.
pub struct Scrubber {
    keeper: Arc<Keeper>,
    runtime: Arc<Runtime>,
    settings: Settings,
    state: Mutex<State>,
    wanted: Notify,
}

/// What is known of scrubs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct State {
    pub running: bool,
    /// Rows looked at by the one under way.
    pub rows: u64,
    pub last: Option<Last>,
}

/// How a scrub ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Last {
    pub at: String,
    pub seconds: u64,
    pub rows: u64,
    pub damages: u64,
    pub listed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Scrubber {
    pub fn new(keeper: Arc<Keeper>, runtime: Arc<Runtime>, settings: Settings) -> Arc<Self> {
        Arc::new(Self { keeper, runtime, settings, state: Mutex::default(), wanted: Notify::new() })
    }

    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Starts a scrub, unless one is under way; true if none was.
    pub fn start(&self) -> bool {
        let mut state = self.state.lock();
        let started = !state.running;
        if started {
            (state.running, state.rows) = (true, 0);
            self.wanted.notify_one();
        }
        started
    }

    /// Scrubs for the life of the node.
    pub async fn run(self: Arc<Self>) {
        let before = notes::recall(&self.runtime, notes::LAST_SCRUB).await;
        self.state.lock().last = before;
        let mut pause = self.settings.every / FIRST_PART;
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = self.keeper.clock.sleep(pause) => drop(self.start()),
            }
            pause = self.settings.every;
            let (at, began) = (self.keeper.clock.now(), self.keeper.clock.monotonic());
            let found = self.scrub().await;
            let seconds = self.keeper.clock.monotonic().saturating_sub(began).as_secs();
            if let Some(last) = self.ended(at, seconds, found) {
                notes::remember(&self.runtime, notes::LAST_SCRUB, &last).await;
            }
            if self.runtime.is_stopping() {
                return;
            }
        }
    }

    async fn scrub(&self) -> Result<Scrub, Failure> {
        let mut walk = self.keeper.engine.snapshot().await.walk().thorough();
        let pause = step_pause(self.settings.bytes_per_second);
        loop {
            let (back, more) = step(walk).await?;
            walk = back;
            self.state.lock().rows = walk.so_far().rows;
            if !more? {
                break;
            }
            if self.runtime.is_stopping() {
                return Err(Failure::Closed);
            }
            self.keeper.clock.sleep(pause).await;
        }
        let mut found = spawn_blocking(|| walk.finish()).await.unwrap_or(Err(Failure::Closed))?;
        // The walk begins with a checkpoint, which may need pages that no row is in.
        if let Err(illness) = self.keeper.engine.health()
            && matches!(*illness, Failure::Damaged { .. })
        {
            found.note(|| format!("the table takes nothing new: {illness}"));
        }
        Ok(found)
    }

    fn ended(&self, at: Time, seconds: u64, found: Result<Scrub, Failure>) -> Option<Last> {
        let last = |scrub: Scrub, failed| Last {
            at: at.to_string(),
            seconds,
            rows: scrub.rows,
            damages: scrub.damages,
            listed: scrub.listed.into_iter().take(SHOWN_MAX).collect(),
            failed,
        };
        let last = match found {
            Ok(scrub) => {
                self.tell(&scrub);
                last(scrub, None)
            }
            Err(Failure::Closed) => return None,
            Err(failure) => {
                match &failure {
                    Failure::Damaged { what, .. } => error!(damage = what, "the store is damaged"),
                    failure => warn!(%failure, "the store could not be scrubbed"),
                }
                let damages = u64::from(matches!(failure, Failure::Damaged { .. }));
                let listed = if damages > 0 { vec![failure.to_string()] } else { Vec::new() };
                last(Scrub { damages, listed, ..Scrub::default() }, Some(failure.to_string()))
            }
        };
        let mut state = self.state.lock();
        state.running = false;
        state.last = Some(last.clone());
        Some(last)
    }

    /// Names damage in the log, and marks whose it is: the others go on.
    fn tell(&self, scrub: &Scrub) {
        if scrub.damages == 0 {
            return info!(rows = scrub.rows, "the store was scrubbed and nothing is wrong");
        }
        for damage in &scrub.listed {
            error!(damage, "the store is damaged");
        }
        error!(
            damages = scrub.damages,
            rows = scrub.rows,
            "the store was scrubbed; restore a backup to get back what is damaged"
        );
        for key in &scrub.keys {
            if let Some(owner) = layout::owner(key) {
                self.runtime.registry().mark_failed(&owner, format!("the scrub found damage at {key:?}"));
            }
        }
    }
}

/// The pause between two steps that keeps to the rate.
fn step_pause(bytes_per_second: u64) -> Duration {
    Duration::from_micros(STEP.bytes_max as u64 * 1_000_000 / bytes_per_second.max(1))
}

async fn step(mut walk: Walk) -> Result<(Walk, Result<bool, Failure>), Failure> {
    let step = move || {
        let more = walk.step(STEP, |_| {});
        (walk, more)
    };
    spawn_blocking(step).await.map_err(|_| Failure::Closed)
}
