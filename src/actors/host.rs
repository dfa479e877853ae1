//! The shell that runs one actor of any kind on actix: work in, decide, apply, commit, and only then tell.
//!
//! ```text
//! loading ──rebuilt──▶ serving ──panic, or a batch that did not land──▶ falling ──all turns settled──▶ gone
//!    └─ damaged ─▶ failed    └──────────── idle, nothing in flight ────────────▶ gone
//! ```
//! A panic is caught here and never unwinds through actix, which would close the mailbox for ever; state that a panic
//! or a lost batch may have spoilt is thrown away, and the next life is rebuilt from the journal.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::ask::{AskError, Reply};
use super::backlog::Backlog;
use super::entity::Entity;
use super::errands::Report;
use super::joint::Joint;
use super::life::{Life, RebuildError};
use super::once::Once;
use super::outcomes::{Outcomes, Settling};
use super::prepare::{Prepared, Work, prepare};
use super::runtime::{Counters, Runtime};
use super::seat::Seat;
use super::turns::Flight;
use crate::domains::trace;
use crate::store::{Batch, Failure, Fence, Key, Outcome, Soon};

/// How long to wait before an actor is rebuilt again after the store could not be read.
const REBUILD_AGAIN: Duration = Duration::from_millis(500);

/// What can be handed to a shell.
pub(super) enum Tell<E: Entity> {
    Ask { command: E::Command, once: Option<Once>, reply: Reply<E::Reply, E::Rejection>, trace: Option<trace::Context> },
    Wake(Vec<Key>),
    Timer(Key, oneshot::Sender<bool>),
    Errand(Key, Report, oneshot::Sender<bool>),
    Retire,
}

impl<E: Entity> Message for Tell<E> {
    type Result = ();
}

/// The way to a shell for those who do not know its kind.
pub(super) trait Door: Send + Sync {
    fn wake(&self, keys: Vec<Key>);
    fn fire(&self, key: Key, done: oneshot::Sender<bool>);
    fn report(&self, key: Key, report: Report, done: oneshot::Sender<bool>);
    fn retire(&self);
    fn as_any(&self) -> &dyn Any;
}

impl<E: Entity> Door for Addr<Host<E>> {
    fn wake(&self, keys: Vec<Key>) {
        self.do_send(Tell::Wake(keys));
    }

    fn fire(&self, key: Key, done: oneshot::Sender<bool>) {
        self.do_send(Tell::Timer(key, done));
    }

    fn report(&self, key: Key, report: Report, done: oneshot::Sender<bool>) {
        self.do_send(Tell::Errand(key, report, done));
    }

    fn retire(&self) {
        self.do_send(Tell::Retire);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) struct Host<E: Entity> {
    pub(super) runtime: Arc<Runtime>,
    pub(super) seat: Arc<Seat>,
    pub(super) life: Option<Life<E>>,
    pub(super) queue: VecDeque<Work<E>>,
    /// Message rows in the queue.
    pub(super) rows_queued: usize,
    pub(super) flights: VecDeque<Flight<E>>,
    pub(super) outcomes: Outcomes,
    /// Turns of the last flight that were not sent off yet.
    pub(super) joint: Joint,
    /// Of the turns in flight.
    fence: Fence,
    pub(super) backlog: Backlog,
    /// A read for the next turn is under way.
    pub(super) reading: bool,
    /// The last turn taken leaves nothing of the actor; the next waits for it to be on disk.
    pub(super) ending: bool,
    /// Why this life ends, once it does.
    pub(super) falling: Option<AskError<E::Rejection>>,
    pub(super) left: bool,
}

impl<E: Entity> Host<E> {
    /// Starts the shell on an arbiter and gives the way to it.
    pub(super) fn open(runtime: Arc<Runtime>, arbiter: &ArbiterHandle, seat: Arc<Seat>) -> Box<dyn Door> {
        Box::new(Self::start_in_arbiter(arbiter, move |_| Self {
            fence: runtime.fence(),
            runtime,
            seat,
            life: None,
            queue: VecDeque::new(),
            rows_queued: 0,
            flights: VecDeque::new(),
            outcomes: Outcomes::default(),
            joint: Joint::default(),
            backlog: Backlog::Held,
            reading: false,
            ending: false,
            falling: None,
            left: false,
        }))
    }
}

impl<E: Entity> Actor for Host<E> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        Counters::add(&self.runtime.counters.activations);
        ctx.spawn(Settling);
        self.load(ctx);
    }
}

impl<E: Entity> Handler<Tell<E>> for Host<E> {
    type Result = ();

    fn handle(&mut self, tell: Tell<E>, ctx: &mut Self::Context) {
        match tell {
            Tell::Ask { command, once, reply, trace } => {
                self.queue.push_back(Work::Ask { command, once, reply, trace });
                self.turn_away_while_ill();
            }
            Tell::Timer(key, done) => self.queue.push_back(Work::Timer(key, done)),
            Tell::Errand(key, report, done) => self.queue.push_back(Work::Errand(key, report, done)),
            Tell::Wake(keys) if matches!(self.backlog, Backlog::Clear) => {
                self.queue_rows(keys.into_iter().map(|key| (key, None)));
            }
            // They come with the backlog, in their order.
            Tell::Wake(keys) => self.seat.put_back(keys.len()),
            Tell::Retire => return self.retire(ctx),
        }
        self.pump(ctx);
    }
}

/// A shell that ends in any other way than its own (a bug in it, an arbiter that went down) must not keep its seat.
impl<E: Entity> Drop for Host<E> {
    fn drop(&mut self) {
        if !self.left {
            self.runtime.registry().dropped(&self.seat);
        }
    }
}

impl<E: Entity> Host<E> {
    fn load(&mut self, ctx: &mut Context<Self>) {
        let (runtime, seat) = (self.runtime.clone(), self.seat.clone());
        let rebuilt = async move {
            runtime.well().await;
            if seat.after_failure {
                settle_earlier(&runtime).await;
            }
            Life::<E>::rebuild(&runtime.engine, &seat.id).await
        };
        ctx.spawn(rebuilt.into_actor(self).map(|rebuilt, host, ctx| host.rebuilt(rebuilt, ctx)));
        if self.seat.after_failure {
            let runtime = self.runtime.clone();
            let unwell = async move { runtime.unwell().await };
            ctx.spawn(unwell.into_actor(self).map(|(), host, _| host.turn_away_while_ill()));
        }
    }

    /// Whoever asks an actor that cannot be brought in because of the store hears that now, and not once it is well: a
    /// disk may stay full for days.
    fn turn_away_while_ill(&mut self) {
        if let (None, Some(failure)) = (&self.life, self.runtime.illness()) {
            self.turn_away_asks(&failure);
        }
    }

    fn turn_away_asks(&mut self, failure: &Arc<Failure>) {
        let now = self.runtime.clock.now();
        for work in std::mem::take(&mut self.queue) {
            match work {
                Work::Ask { reply, .. } => {
                    reply.send(Err(AskError::Store(failure.clone())));
                    self.seat.processed(now);
                }
                row => self.queue.push_back(row),
            }
        }
    }

    fn rebuilt(&mut self, rebuilt: Result<Life<E>, RebuildError>, ctx: &mut Context<Self>) {
        match rebuilt {
            Ok(life) => {
                self.life = Some(life);
                self.pump(ctx);
                if self.seat.hold.is_zero() {
                    return self.look_for_rows(ctx);
                }
                let held = self.runtime.clock.sleep(self.seat.hold).into_actor(self);
                ctx.spawn(held.map(|(), host, ctx| host.look_for_rows(ctx)));
            }
            Err(RebuildError::Store(error)) => {
                warn!(actor = %self.seat.id, %error, "the actor could not be read, trying again");
                self.turn_away_asks(&error);
                let again = self.runtime.clock.sleep(REBUILD_AGAIN).into_actor(self);
                ctx.spawn(again.map(|(), host, ctx| host.load(ctx)));
            }
            Err(damage) => {
                error!(actor = %self.seat.id, %damage, "the actor cannot be rebuilt and is left as it is");
                self.runtime.registry().fail(&self.seat, damage.to_string());
                self.falling = Some(AskError::Damaged(damage.to_string()));
                self.leave(ctx);
            }
        }
    }

    /// Goes on with what there is to do, and sends off what that writes.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        self.take_turns(ctx);
        self.send_off();
    }

    /// Takes turns until there is nothing to do, a read is needed, or enough turns are in flight.
    fn take_turns(&mut self, ctx: &mut Context<Self>) {
        loop {
            let Some(life) = &self.life else { return };
            let flying = life.flying.turns().max(self.flights.len());
            let busy = self.reading || self.ending || flying >= self.runtime.limits.turns_in_flight;
            if self.falling.is_some() || busy {
                return;
            }
            // Rows that wait are looked for whenever none is in the queue: callers who never let up must not keep
            // them waiting for ever.
            let work = if self.rows_queued == 0 && self.rows_wait() { None } else { self.queue.pop_front() };
            let Some(work) = work else {
                if self.read_backlog(ctx) {
                    continue;
                }
                return;
            };
            self.rows_queued -= usize::from(matches!(work, Work::Message(..)));
            let slack = life.flying.deleting();
            match prepare(&self.runtime.engine, &life.id, work, slack) {
                Soon::Now(prepared) => drop(self.turn(prepared, ctx)),
                later => return self.read_first(later.into_actor(self).map(Self::read), ctx),
            }
        }
    }

    /// The fence of the next batch: the one in force, unless it rests on turns in flight under an earlier one.
    pub(super) fn fence(&mut self) -> Fence {
        if self.flights.is_empty() {
            self.fence = self.runtime.fence();
        }
        self.fence
    }

    pub(super) fn read_first(
        &mut self,
        read: impl actix::ActorFuture<Self, Output = ()> + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.reading = true;
        if let Some(life) = &mut self.life {
            life.flying.reading(true);
        }
        ctx.spawn(read);
    }

    fn read(prepared: Prepared<E>, host: &mut Self, ctx: &mut Context<Self>) {
        let over = match host.falling {
            None => host.turn(prepared, ctx),
            // An earlier turn was lost in the meantime, and this one would rest on it.
            Some(_) => {
                host.turn_away(prepared.waiter());
                true
            }
        };
        if over {
            host.read_done(ctx);
        }
    }

    pub(super) fn read_done(&mut self, ctx: &mut Context<Self>) {
        self.reading = false;
        if let Some(life) = &mut self.life {
            life.flying.reading(false);
        }
        self.pump(ctx);
        self.leave_when_settled(ctx);
    }
}

/// Waits until every batch that an earlier life queued has settled: outcomes come in the order of the queue.
async fn settle_earlier(runtime: &Runtime) {
    loop {
        let fence = runtime.fence();
        match runtime.engine.commit(Batch { fence, ..Batch::default() }).await {
            Outcome::Committed(_) | Outcome::Refused(_) => return,
            Outcome::Failed(failure) | Outcome::Unknown(failure) => runtime.store_failed(fence, &failure),
        }
        runtime.well().await;
    }
}
