//! Deciding a turn: at once on the arbiter, or beside it where all others there would have to wait for long.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{ActorFutureExt, Context, WrapFuture};
use tokio::task::spawn_blocking;
use tracing::field::display;
use tracing::{Level, debug, enabled, error};

use super::ask::AskError;
use super::entity::{ActorId, Decision, Entity, Turn};
use super::host::Host;
use super::life::{Occasion, Source};
use super::once::Once;
use super::prepare::{Ready, Waiter};
use super::record::{self, Answer, Cause};
use super::rows::Rows;
use super::runtime::{Counters, Runtime};
use super::world::World;
use crate::clock::Time;
use crate::domains::trace;

/// A decision, a refusal, or a panic.
pub(super) type Decided<E> = Result<Result<Decision<E>, <E as Entity>::Rejection>, Box<dyn Any + Send>>;

/// The moment of a turn.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) now: Time,
    pub(super) random: [u8; 16],
    pub(super) from: Option<ActorId>,
    pub(super) trace: Option<trace::Context>,
    pub(super) noted: bool,
    pub(super) timed: bool,
}

/// What is to be done once it is decided.
struct Then<E: Entity> {
    moment: Moment,
    cause: Cause,
    source: Option<Source>,
    first: Option<Once>,
    waiter: Waiter<E>,
}

/// Whether a request was made before under its idempotency key.
enum Repeated<E: Entity> {
    Before(Result<E::Reply, AskError<E::Rejection>>),
    First(Once),
}

/// Looks at the stored answer: only one request is under way under a key, so that none is in flight.
fn repeated<E: Entity>(once: Once, stored: Option<Answer>) -> Repeated<E> {
    let Some(answer) = stored else { return Repeated::First(once) };
    if answer.fingerprint != once.fingerprint[..] {
        return Repeated::Before(Err(AskError::Conflict));
    }
    let unreadable = |error: rmp_serde::decode::Error| AskError::Damaged(error.to_string());
    Repeated::Before(record::decode(&answer.reply).map_err(unreadable))
}

impl Moment {
    pub(super) fn decide<E: Entity>(
        &self,
        me: &ActorId,
        world: &World,
        state: &E,
        rows: &Rows,
        command: E::Command,
    ) -> Decided<E> {
        let Self { now, random, from, trace, noted, timed } = self;
        let (from, trace) = (from.as_ref(), trace.as_ref());
        let turn = Turn { me, from, now: *now, random: *random, world, trace, noted: *noted, timed: *timed };
        catch_unwind(AssertUnwindSafe(|| state.decide(&turn, rows, command)))
    }

    /// The same on another thread, once there is room beside the arbiters.
    pub(super) async fn decide_aside<E: Entity>(
        self,
        runtime: Arc<Runtime>,
        me: ActorId,
        state: E,
        rows: Rows,
        command: E::Command,
    ) -> Decided<E> {
        let _room = runtime.aside.acquire().await;
        let world = runtime.world.clone();
        let decided = spawn_blocking(move || self.decide(&me, &world, &state, &rows, command));
        decided.await.unwrap_or_else(|stopped| Err(Box::new(stopped)))
    }
}

impl<E: Entity> Host<E> {
    /// Decides, and takes the turn. False when that is under way beside the arbiter.
    pub(super) fn decide(&mut self, ready: Ready<E>, ctx: &mut Context<Self>) -> bool {
        let Ready { command, cause, source, once, fetched, waiter, trace } = ready;
        let (now, random) = (self.now(), self.runtime.draw());
        let Some(life) = &self.life else { return true };
        if source.as_ref().is_some_and(|source| life.flying.deletes(&source.key)) {
            self.tell(waiter, Ok(E::Reply::default()));
            return true;
        }
        // A timer that a turn in flight has set again for this very moment: what was read is not what will be there.
        if source.as_ref().is_some_and(|source| life.flying.put(&source.key).is_some()) {
            self.turn_away(waiter);
            return true;
        }
        let first = match once.map(|(once, stored)| repeated::<E>(once, stored)) {
            Some(Repeated::Before(answer)) => {
                // What was answered then may be long over: who repeats it must not wait for a turn that has been.
                self.tell_watchers(life);
                self.tell(waiter, answer);
                return true;
            }
            Some(Repeated::First(once)) => Some(once),
            None => None,
        };
        let rows = fetched.over(&life.flying);
        let from = match &cause {
            Cause::Message(from) => Some(from.clone()),
            Cause::Asked | Cause::Timer(_) | Cause::Errand(..) => None,
        };
        let (noted, timed) = (enabled!(Level::DEBUG), !life.meta.timers.is_empty());
        let moment = Moment { now, random, from, trace, noted, timed };
        let (me, world) = (&self.seat.id, &self.runtime.world);
        if !life.state.is_long(world, &command) {
            let decided = moment.decide(me, world, &life.state, &rows, command);
            self.decided(decided, Then { moment, cause, source, first, waiter });
            return true;
        }
        let (runtime, me, state) = (self.runtime.clone(), me.clone(), life.state.clone());
        let decided = moment.clone().decide_aside(runtime, me, state, rows, command);
        let then = Then { moment, cause, source, first, waiter };
        // The next turn waits for this one as for a read.
        self.read_first(
            decided.into_actor(self).map(move |decided, host: &mut Self, ctx| {
                match host.falling {
                    None => host.decided(decided, then),
                    // An earlier turn was lost in the meantime, and this one would rest on it.
                    Some(_) => host.turn_away(then.waiter),
                }
                host.turned(ctx);
                host.read_done(ctx);
            }),
            ctx,
        );
        false
    }

    fn decided(&mut self, decided: Decided<E>, then: Then<E>) {
        let Then { moment: Moment { now, random, trace, .. }, cause, source, first, waiter } = then;
        let [.., a, b, c, d] = random;
        let occasion = Occasion { at: now, mark: u32::from_be_bytes([a, b, c, d]), cause, source, answer: None, trace };
        match decided {
            Ok(Ok(decision)) => self.take(decision, occasion, first, waiter),
            Ok(Err(rejection)) if occasion.source.is_none() => self.tell(waiter, Err(AskError::Rejected(rejection))),
            Ok(Err(rejection)) if E::is_lacking(&rejection) => {
                let reason = rejection.to_string();
                error!(actor = %self.seat.id, reason, "a message waits for what this node lacks");
                if let Some(source) = occasion.source {
                    self.set_aside(&source, waiter, &reason);
                }
            }
            Ok(Err(rejection)) => {
                Counters::add(&self.runtime.counters.rejections);
                let trace = occasion.trace.as_ref().map(|trace| display(trace.trace));
                debug!(actor = %self.seat.id, trace_id = trace, %rejection, "a message was refused");
                self.take(Decision::default(), occasion, None, waiter);
            }
            Err(_) => self.panicked(occasion.source, waiter),
        }
    }
}
