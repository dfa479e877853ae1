//! Before a turn: finds the command that a piece of work stands for, and the rows that deciding it needs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::ask::Reply;
use super::entity::{ActorId, Entity};
use super::errands::{Errand, Report};
use super::flight::Flying;
use super::layout;
use super::life::Source;
use super::once::Once;
use super::record::{self, Answer, Cause, Waiting};
use super::rows::{Reads, Rows, Wanted};
use crate::domains::trace::Context;
use crate::store::{Engine, Key, ReadError, Row, Span};
use tokio::sync::oneshot;

/// Something for an actor to do.
pub(super) enum Work<E: Entity> {
    Ask {
        command: E::Command,
        once: Option<Once>,
        reply: Reply<E::Reply, E::Rejection>,
        trace: Option<Context>,
    },
    /// A message row; what it says is read when its turn comes.
    Message(Key),
    /// The row of a timer that is due.
    Timer(Key, oneshot::Sender<bool>),
    /// The row of an errand, and what came of it.
    Errand(Key, Report, oneshot::Sender<bool>),
}

/// Who waits for the outcome of a turn.
pub(super) enum Waiter<E: Entity> {
    Caller(Reply<E::Reply, E::Rejection>),
    /// A service that offers the row again until it is told that it is consumed.
    Service(oneshot::Sender<bool>),
    Nobody,
}

/// Work with all that deciding it needs.
pub(super) struct Ready<E: Entity> {
    pub(super) command: E::Command,
    pub(super) cause: Cause,
    pub(super) source: Option<Source>,
    pub(super) once: Option<(Once, Option<Answer>)>,
    pub(super) fetched: Fetched,
    pub(super) waiter: Waiter<E>,
    pub(super) trace: Option<Context>,
}

/// What became of the preparation.
pub(super) enum Prepared<E: Entity> {
    Ready(Box<Ready<E>>),
    /// The row is gone: somebody consumed it before.
    Gone(Waiter<E>),
    /// The row is there, and does not hold what it should.
    Unreadable {
        source: Source,
        waiter: Waiter<E>,
        reason: String,
    },
    /// Finding out what it asks for or needs panicked.
    Panicked {
        source: Option<Source>,
        waiter: Waiter<E>,
    },
    /// The store could not be read.
    Failed {
        error: ReadError,
        waiter: Waiter<E>,
    },
}

impl<E: Entity> Prepared<E> {
    fn within(mut self, trace: Option<Context>) -> Self {
        if let Self::Ready(ready) = &mut self {
            ready.trace = trace;
        }
        self
    }

    pub(super) fn waiter(self) -> Waiter<E> {
        match self {
            Self::Ready(ready) => ready.waiter,
            Self::Gone(waiter)
            | Self::Unreadable { waiter, .. }
            | Self::Panicked { waiter, .. }
            | Self::Failed { waiter, .. } => waiter,
        }
    }
}

/// Rows as the store has them, before the actor's own writes in flight are laid over.
pub(super) struct Fetched(pub(super) Vec<(&'static str, Wanted, Key, Span, Vec<Row>)>);

impl Fetched {
    pub(super) fn over(self, flying: &Flying) -> Rows {
        let mut rows = Rows::default();
        for (name, wanted, prefix, span, stored) in self.0 {
            rows.0.entry(name).or_default().extend(flying.over(&prefix, &wanted, &span, stored));
        }
        rows
    }
}

pub(super) async fn prepare<E: Entity>(
    engine: Arc<dyn Engine>,
    me: ActorId,
    work: Work<E>,
    slack: usize,
) -> Prepared<E> {
    let (key, report, waiter) = match work {
        Work::Ask { command, once, reply, trace } => {
            let prepared = prepare_ask(&engine, &me, command, once, reply, slack).await;
            return prepared.within(trace);
        }
        Work::Message(key) => (key, None, Waiter::Nobody),
        Work::Timer(key, done) => (key, None, Waiter::Service(done)),
        Work::Errand(key, report, done) => (key, Some(report), Waiter::Service(done)),
    };
    let row = match engine.get(&key).await {
        Ok(Some(row)) => row,
        Ok(None) => return Prepared::Gone(waiter),
        Err(error) => return Prepared::Failed { error, waiter },
    };
    let waiting = match record::decode::<Waiting>(&row.value) {
        Ok(waiting) => waiting,
        Err(error) => {
            let source = Source { key, version: row.version, waiting: Waiting::new(row.value) };
            return Prepared::Unreadable { source, waiter, reason: error.to_string() };
        }
    };
    let source = Source { key, version: row.version, waiting };
    let understood = catch_unwind(AssertUnwindSafe(|| {
        command_of::<E>(&source, report).map(|(command, cause)| (E::reads(&me, &command), command, cause))
    }));
    match understood {
        Ok(Ok((reads, command, cause))) => match fetch(&engine, &me, reads, slack).await {
            Ok(fetched) => {
                let (trace, source, once) = (source.waiting.trace.clone(), Some(source), None);
                Prepared::Ready(Box::new(Ready { command, cause, source, once, fetched, waiter, trace }))
            }
            Err(error) => Prepared::Failed { error, waiter },
        },
        Ok(Err(reason)) => Prepared::Unreadable { source, waiter, reason },
        Err(_) => Prepared::Panicked { source: Some(source), waiter },
    }
}

async fn prepare_ask<E: Entity>(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    command: E::Command,
    once: Option<Once>,
    reply: Reply<E::Reply, E::Rejection>,
    slack: usize,
) -> Prepared<E> {
    let waiter = Waiter::Caller(reply);
    let once = match once {
        None => None,
        Some(once) => match engine.get(&layout::answer(&once.key)).await {
            // An answer that cannot be read is treated as none: the actor's own rules still stop a repeat.
            Ok(row) => Some((once, row.and_then(|row| record::decode(&row.value).ok()))),
            Err(error) => return Prepared::Failed { error, waiter },
        },
    };
    let Ok(reads) = catch_unwind(AssertUnwindSafe(|| E::reads(me, &command))) else {
        return Prepared::Panicked { source: None, waiter };
    };
    match fetch(engine, me, reads, slack).await {
        Ok(fetched) => {
            let (cause, source, trace) = (Cause::Asked, None, None);
            Prepared::Ready(Box::new(Ready { command, cause, source, once, fetched, waiter, trace }))
        }
        Err(error) => Prepared::Failed { error, waiter },
    }
}

fn command_of<E: Entity>(source: &Source, report: Option<Report>) -> Result<(E::Command, Cause), String> {
    if let Some(report) = report {
        let errand: Errand = record::decode(&source.waiting.body).map_err(|error| error.to_string())?;
        let (turn, nth) = layout::errand_place(&source.key).ok_or("the key is not that of an errand")?;
        let command = E::reported(errand, report).ok_or("this kind of actor sends nobody out")?;
        return Ok((command, Cause::Errand(turn, nth)));
    }
    let command = record::decode(&source.waiting.body).map_err(|error| error.to_string())?;
    let cause = match layout::message_ends(&source.key) {
        Some((_, from)) => Cause::Message(from),
        None => Cause::Timer(layout::timer_name(&source.key).ok_or("the key is that of no message and no timer")?),
    };
    Ok((command, cause))
}

/// Reads what the command needs, `slack` rows more than asked for, since turns in flight may delete that many.
async fn fetch(engine: &Arc<dyn Engine>, me: &ActorId, reads: Reads, slack: usize) -> Result<Fetched, ReadError> {
    let mut fetched = Vec::new();
    for (name, wanted) in reads.0 {
        let (prefix, mut span) = wanted.span(me);
        let rows = match &wanted {
            Wanted::One(_) => {
                let row = engine.get(&prefix).await?;
                row.map(|row| Row { key: prefix.clone(), version: row.version, value: row.value }).into_iter().collect()
            }
            Wanted::Page { .. } => {
                span.limit += slack;
                engine.range(span.clone()).await?
            }
        };
        fetched.push((name, wanted, prefix, span, rows));
    }
    Ok(Fetched(fetched))
}
