//! One turn in the shell: decide, apply, commit, and tell when it has settled; and how a life ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{ActorContext, Context};
use tokio::sync::oneshot;
use tracing::field::display;
use tracing::{debug, error};

use super::ask::{AskError, Reply};
use super::entity::{ActorId, Decision, Entity, Note};
use super::host::Host;
use super::layout;
use super::life::{Life, Occasion, Source};
use super::once::Once;
use super::poison;
use super::prepare::{Prepared, Waiter, Work};
use super::record::{self, Answer};
use super::runtime::Counters;
use crate::clock::Time;
use crate::store::{Batch, Failure, Fence, Outcome, Refusal};

/// Turns that are decided and not yet on disk, in one batch, with all who are to hear of them.
pub(super) struct Flight<E: Entity> {
    /// The last of them.
    turn: u64,
    fence: Fence,
    told: Vec<Told<E>>,
    /// What the log says of it once it is true.
    notes: Vec<Note>,
}

/// What is to be told once a turn has settled.
enum Told<E: Entity> {
    Answer(Reply<E::Reply, E::Rejection>, Result<E::Reply, AskError<E::Rejection>>),
    Consumed(oneshot::Sender<bool>),
    Nobody,
}

impl<E: Entity> Told<E> {
    fn of(waiter: Waiter<E>, answer: Result<E::Reply, AskError<E::Rejection>>) -> Self {
        match waiter {
            Waiter::Caller(caller) => Self::Answer(caller, answer),
            Waiter::Service(done) => Self::Consumed(done),
            Waiter::Nobody => Self::Nobody,
        }
    }

    /// Whoever stopped waiting needs no word, so that a closed channel is no error here.
    pub(super) fn now(self) {
        match self {
            Self::Answer(caller, answer) => caller.send(answer),
            Self::Consumed(done) => drop(done.send(true)),
            Self::Nobody => {}
        }
    }

    fn failed(self, why: AskError<E::Rejection>) {
        match self {
            Self::Answer(caller, _) => caller.send(Err(why)),
            Self::Consumed(done) => drop(done.send(false)),
            Self::Nobody => {}
        }
    }
}

/// One line of the log, which the ids of its span join to those of the requests before and after it.
fn write(me: &ActorId, note: &Note) {
    let Note { what, step, item, span } = note;
    let (trace_id, span_id) = (span.trace, span.span);
    debug!(actor = %me, %trace_id, %span_id, step, item, "{what}");
}

fn rebuilding<Rejection>() -> AskError<Rejection> {
    AskError::Unavailable("the actor is being rebuilt".into())
}

impl<E: Entity> Host<E> {
    /// False when it goes on beside the arbiter.
    pub(super) fn turn(&mut self, prepared: Prepared<E>, ctx: &mut Context<Self>) -> bool {
        match prepared {
            Prepared::Ready(ready) => {
                if !self.decide(*ready, ctx) {
                    return false;
                }
            }
            Prepared::Gone(waiter) => Told::<E>::of(waiter, Ok(E::Reply::default())).now(),
            Prepared::Unreadable { source, waiter, reason } => {
                error!(actor = %self.seat.id, reason, "a stored message cannot be read");
                self.set_aside(&source, waiter, &reason);
            }
            Prepared::Panicked { source, waiter } => self.panicked(source, waiter),
            Prepared::Failed { error, waiter } => {
                Told::of(waiter, Ok(E::Reply::default())).failed(AskError::Store(error.clone()));
                self.fall(AskError::Store(error));
            }
        }
        self.turned(ctx);
        true
    }

    pub(super) fn turned(&mut self, ctx: &mut Context<Self>) {
        self.seat.processed(self.now());
        self.leave_when_settled(ctx);
    }

    /// Makes a dead letter of a message, which people can have taken again.
    pub(super) fn set_aside(&mut self, source: &Source, waiter: Waiter<E>, reason: &str) {
        let (fence, now) = (self.fence(), self.now());
        let batch = poison::give_up(self.runtime.registry().kinds(), &self.seat.id, source, reason, now, fence);
        // The row is gone with this, so that a service has nothing to offer again.
        self.commit_alone(batch, Told::of(waiter, Ok(E::Reply::default())));
    }

    pub(super) fn take(
        &mut self,
        mut decision: Decision<E>,
        mut occasion: Occasion,
        first: Option<Once>,
        waiter: Waiter<E>,
    ) {
        let reply = std::mem::take(&mut decision.reply);
        if decision.is_empty() && occasion.source.is_none() && first.is_none() {
            return self.tell(waiter, Ok(reply));
        }
        occasion.answer = first.map(|once| {
            let (fingerprint, reply) = (once.fingerprint.to_vec().into(), record::encode(&reply));
            let answer = Answer { at: occasion.at, fingerprint, reply, flow: once.flow };
            (layout::answer(&once.key), record::encode(&answer))
        });
        let notes = std::mem::take(&mut decision.notes);
        let (source, fence, kept) = (occasion.source.clone(), self.fence(), self.runtime.limits.events_kept);
        let Some(life) = &mut self.life else { return };
        self.ending = decision.ends;
        let taken = catch_unwind(AssertUnwindSafe(|| life.take(decision, occasion, fence, kept)));
        match taken {
            Ok(batch) => {
                Counters::add(&self.runtime.counters.turns);
                self.commit(batch, Told::of(waiter, Ok(reply)), notes);
            }
            Err(_) => self.panicked(source, waiter),
        }
    }

    /// Joins a turn to those before it that were not sent off yet.
    fn commit(&mut self, batch: Batch, told: Told<E>, notes: Vec<Note>) {
        if self.joint.is_empty() {
            self.flights.push_back(Flight { turn: 0, fence: batch.fence, told: Vec::new(), notes: Vec::new() });
            self.seat.flying.store(self.flights.len(), Ordering::Release);
        }
        if let Some(flight) = self.flights.back_mut() {
            flight.turn = self.life.as_ref().map_or(0, |life| life.turn);
            flight.told.push(told);
            flight.notes.extend(notes);
        }
        self.joint.add(batch);
        if self.joint.is_full() {
            self.send_off();
        }
    }

    /// What is no turn may be refused, and takes none with it.
    fn commit_alone(&mut self, batch: Batch, told: Told<E>) {
        self.send_off();
        self.commit(batch, told, Vec::new());
        self.send_off();
    }

    pub(super) fn send_off(&mut self) {
        if let Some(batch) = self.joint.take() {
            self.outcomes.push(self.runtime.engine.commit(batch));
        }
    }

    /// Outcomes come in the order of the commits.
    pub(super) fn settled(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        let Some(Flight { turn, fence, told, notes }) = self.flights.pop_front() else { return };
        self.seat.flying.store(self.flights.len(), Ordering::Release);
        let mut ended = false;
        match self.failed(fence, outcome) {
            None => {
                if let Some(life) = &mut self.life {
                    life.flying.settle(turn);
                }
                ended = self.ending && self.flights.is_empty();
                if ended {
                    self.ending = false;
                    self.life = Some(Life::blank(&self.seat.id));
                }
                told.into_iter().for_each(Told::now);
                notes.iter().for_each(|note| write(&self.seat.id, note));
                if let Some(life) = &self.life {
                    self.tell_watchers(life);
                }
            }
            Some(why) => {
                told.into_iter().for_each(|told| told.failed(why()));
                self.fall(why());
            }
        }
        self.pump(ctx);
        self.leave_when_settled(ctx);
        if ended {
            self.retire(ctx);
        }
    }

    pub(super) fn tell_watchers(&self, life: &Life<E>) {
        // Of a life that is falling the state may be spoilt.
        let sound = self.flights.is_empty() && self.falling.is_none();
        let seen = || sound.then(|| Box::new(life.state.clone()) as Box<dyn Any + Send>);
        self.runtime.registry().watchers.turn_settled(&self.seat.id, life.at_rest(), seen);
    }

    /// What to tell those who wait when the batch did not land.
    fn failed(&self, fence: Fence, outcome: Outcome) -> Option<Box<dyn Fn() -> AskError<E::Rejection>>> {
        match outcome {
            Outcome::Committed(_) => None,
            Outcome::Refused(refusal) => {
                if let Refusal::Fenced { current } = refusal {
                    self.runtime.fenced(current);
                }
                Some(Box::new(move || AskError::Unavailable(refusal.to_string())))
            }
            Outcome::Failed(failure) => Some(self.store_failed(fence, failure, AskError::Store)),
            Outcome::Unknown(failure) => Some(self.store_failed(fence, failure, AskError::Unknown)),
        }
    }

    fn store_failed(
        &self,
        fence: Fence,
        failure: Arc<Failure>,
        say: fn(Arc<Failure>) -> AskError<E::Rejection>,
    ) -> Box<dyn Fn() -> AskError<E::Rejection>> {
        self.runtime.store_failed(fence, &failure);
        Box::new(move || say(failure.clone()))
    }

    /// Tells at once, or with the last turn in flight, since what is told may rest on it.
    pub(super) fn tell(&mut self, waiter: Waiter<E>, answer: Result<E::Reply, AskError<E::Rejection>>) {
        let told = Told::of(waiter, answer);
        match self.flights.back_mut() {
            Some(flight) => flight.told.push(told),
            None => told.now(),
        }
    }

    /// A decision panicked: whoever asked hears it now, a row is tried again or given up, and this life ends.
    pub(super) fn panicked(&mut self, source: Option<Source>, waiter: Waiter<E>) {
        Counters::add(&self.runtime.counters.panics);
        let trace = source.as_ref().and_then(|source| source.waiting.trace.as_ref()).map(|trace| display(trace.trace));
        let row = source.as_ref().map(|source| &source.key);
        error!(actor = %self.seat.id, trace_id = trace, ?row, "a turn panicked");
        Told::of(waiter, Ok(E::Reply::default())).failed(AskError::Panicked);
        if let Some(source) = source {
            let (fence, now) = (self.fence(), self.now());
            let batch = poison::tried(self.runtime.registry().kinds(), &self.seat.id, &source, now, fence);
            self.commit_alone(batch, Told::Nobody);
        }
        self.fall(rebuilding());
    }

    /// Nothing was done, and it should be tried again.
    pub(super) fn turn_away(&self, waiter: Waiter<E>) {
        Told::of(waiter, Ok(E::Reply::default())).failed(rebuilding());
    }

    pub(super) fn fall(&mut self, why: AskError<E::Rejection>) {
        self.falling.get_or_insert(why);
    }

    pub(super) fn leave_when_settled(&mut self, ctx: &mut Context<Self>) {
        if self.falling.is_some() && self.flights.is_empty() && !self.reading && !self.left {
            self.runtime.registry().dropped(&self.seat);
            self.leave(ctx);
        }
    }

    /// Ends this life; what still waits here is told to try again, rows wait for the next life.
    pub(super) fn leave(&mut self, ctx: &mut Context<Self>) {
        self.left = true;
        for work in self.queue.drain(..) {
            if let Work::Ask { reply, .. } = work {
                let why = match &self.falling {
                    Some(AskError::Damaged(reason)) => AskError::Damaged(reason.clone()),
                    _ => rebuilding(),
                };
                reply.send(Err(why));
            }
        }
        ctx.stop();
    }

    /// Leaves memory if nothing at all is under way.
    pub(super) fn retire(&mut self, ctx: &mut Context<Self>) {
        let idle = self.queue.is_empty() && self.flights.is_empty() && !self.reading && self.falling.is_none();
        if idle && self.backlog_is_clear() && !self.left && self.runtime.registry().retire(&self.seat) {
            self.leave(ctx);
        }
    }

    pub(super) fn now(&self) -> Time {
        self.runtime.clock.now()
    }
}
