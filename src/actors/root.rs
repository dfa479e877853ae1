//! The root: starts what runs under all actors, keeps it running, and stops it in order.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use tracing::{error, info, warn};

use super::dispatch;
use super::errands::{Runner, Ways};
use super::retention::{self, Keep};
use super::runtime::{Health, Limits, Runtime};
use super::tick;
use super::timers;
use super::timetable;

/// The one service that a held node needs: it raises the fence after a failure of the store.
const RECOVERY: &str = "recovery";
/// How often idle actors are looked for, as a part of the time that they may be idle.
const SWEEPS_PER_IDLE: u32 = 4;
/// And how long they may pass at most; also for how long an actor is idle before it leaves for want of room.
const SWEEP: Duration = Duration::from_secs(1);
/// How long work that is under way gets to finish when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// A service that ended is started again after this, and a bounded number of times.
const SERVICE_RESTART_DELAY: Duration = Duration::from_millis(200);
const SERVICE_RESTARTS_MAX: u32 = 5;

/// What the services do again and again, and how often.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// Between two looks at what waits for peers.
    pub tick: Duration,
    /// Between two passes of retention.
    pub retention: Duration,
    pub keep: Keep,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { tick: Duration::from_secs(15), retention: Duration::from_secs(3_600), keep: Keep::default() }
    }
}

/// Starts the services of the runtime on an arbiter. While the node is held those wait that would send or fire.
pub fn start(runtime: &Arc<Runtime>, ways: Ways, rounds: Rounds, arbiter: &ArbiterHandle) {
    supervise(runtime, arbiter, RECOVERY, Runtime::recover);
    supervise(runtime, arbiter, "messages", dispatch::run);
    supervise(runtime, arbiter, "timers", timers::run);
    supervise(runtime, arbiter, "schedules", timetable::run);
    supervise(runtime, arbiter, "errands", move |runtime| Runner::run(runtime, ways.clone()));
    supervise(runtime, arbiter, "passivation", sweep);
    let Rounds { tick, retention, keep } = rounds;
    supervise(runtime, arbiter, "tick", move |runtime| tick::run(runtime, tick));
    supervise(runtime, arbiter, "retention", move |runtime| retention::run(runtime, keep.clone(), retention));
}

/// Runs a service again when it panics; ends the process with a clear error when it cannot be kept up.
fn supervise<F>(
    runtime: &Arc<Runtime>,
    arbiter: &ArbiterHandle,
    name: &'static str,
    service: impl Fn(Arc<Runtime>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let runtime = runtime.clone();
    arbiter.spawn(async move {
        if name != RECOVERY {
            runtime.released().await;
        }
        for restart in 0..=SERVICE_RESTARTS_MAX {
            if restart > 0 {
                warn!(service = name, restart, "a service ended and is started again");
                runtime.clock.sleep(SERVICE_RESTART_DELAY * restart).await;
            }
            // A panic ends the task, not the arbiter.
            drop(actix_rt::spawn(service(runtime.clone())).await);
            if runtime.is_stopping() {
                return;
            }
        }
        error!(
            service = name,
            "a service of the node cannot be kept running; the node ends so that it can be started anew"
        );
        runtime.give_up(name);
    });
}

/// Lets actors go that have had nothing to do for a while, which is a short while where there are many.
async fn sweep(runtime: Arc<Runtime>) {
    let &Limits { idle, actors, .. } = &runtime.limits;
    loop {
        runtime.clock.sleep((idle / SWEEPS_PER_IDLE).min(SWEEP)).await;
        let now = runtime.clock.now();
        runtime.registry().tidy(now);
        for seat in runtime.registry().idle(now.minus(idle), now.minus(SWEEP), actors) {
            seat.ask_to_retire();
        }
    }
}

/// Takes no new work, and waits until what is under way is on disk. True if all of it was in time.
pub async fn drain(runtime: &Arc<Runtime>) -> bool {
    runtime.stop_accepting();
    let mut left = DRAIN_MAX;
    while !runtime.registry().is_quiet() {
        if left.is_zero() {
            warn!(
                waiting = runtime.registry().depth(),
                "stopping with work that did not finish; what was not acknowledged will be repeated"
            );
            return false;
        }
        runtime.clock.sleep(DRAIN_STEP).await;
        left = left.saturating_sub(DRAIN_STEP);
    }
    info!("everything under way is on disk");
    true
}

/// Resolves when the process must end: another owner took over, or a service could not be kept up.
pub async fn must_end(runtime: &Arc<Runtime>) -> String {
    let mut health = runtime.health();
    let ended = health.wait_for(|health| matches!(health, Health::Fenced(_) | Health::Lost(_))).await;
    match ended.as_deref() {
        Ok(Health::Fenced(epoch)) => format!("another process has taken over this node's data (epoch {})", epoch.0),
        Ok(Health::Lost(service)) => {
            format!("the service `{service}` could not be kept running; the log names the cause")
        }
        _ => "the runtime is gone".to_owned(),
    }
}
