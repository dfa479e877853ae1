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
use super::rows::{Reads, Rows, Wanted, page};
use crate::domains::trace::Context;
use crate::store::{Engine, Key, ReadError, Row, Soon, Span, Versioned};
use bytes::Bytes;
use tokio::sync::oneshot;

/// Something for an actor to do.
pub(super) enum Work<E: Entity> {
    Ask {
        command: E::Command,
        once: Option<Once>,
        reply: Reply<E::Reply, E::Rejection>,
        trace: Option<Context>,
    },
    /// A message row; what it says is read when its turn comes, unless it was read with others that wait.
    Message(Key, Option<Versioned>),
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
pub(super) struct Fetched(Vec<Read>);

/// What was read under one name.
enum Read {
    One { name: &'static str, key: Key, stored: Option<Bytes> },
    Page { name: &'static str, prefix: Key, span: Span, limit: usize, stored: Vec<Row> },
}

impl Fetched {
    pub(super) fn over(self, flying: &Flying) -> Rows {
        let mut rows = Rows::default();
        for read in self.0 {
            match read {
                Read::One { name, key, stored } => rows.add(name, flying.over_one(&key, stored)),
                Read::Page { name, prefix, span, limit, stored } => {
                    rows.add(name, flying.over_page(&prefix, &span, limit, stored));
                }
            }
        }
        rows
    }
}

/// What deciding a piece of work needs, at once where no disk has to be asked. `slack` is how many rows more are read
/// of a page than asked for, since turns in flight may delete that many.
pub(super) fn prepare<E: Entity>(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    work: Work<E>,
    slack: usize,
) -> Soon<Prepared<E>> {
    let (key, report, waiter) = match work {
        Work::Ask { command, once, reply, trace } => {
            return prepare_ask(engine, me, (command, trace), once, Waiter::Caller(reply), slack);
        }
        Work::Message(key, Some(row)) => return prepare_row(engine, me, (key, row), None, Waiter::Nobody, slack),
        Work::Message(key, None) => (key, None, Waiter::Nobody),
        Work::Timer(key, done) => (key, None, Waiter::Service(done)),
        Work::Errand(key, report, done) => (key, Some(report), Waiter::Service(done)),
    };
    let read = engine.get(&key);
    let (engine, me) = (engine.clone(), me.clone());
    read.then(move |row| match row {
        Ok(Some(row)) => prepare_row(&engine, &me, (key, row), report, waiter, slack),
        Ok(None) => Soon::Now(Prepared::Gone(waiter)),
        Err(error) => Soon::Now(Prepared::Failed { error, waiter }),
    })
}

fn prepare_row<E: Entity>(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    (key, row): (Key, Versioned),
    report: Option<Report>,
    waiter: Waiter<E>,
    slack: usize,
) -> Soon<Prepared<E>> {
    let waiting = match record::decode::<Waiting>(&row.value) {
        Ok(waiting) => waiting,
        Err(error) => {
            let source = Source { key, version: row.version, waiting: Waiting::new(row.value) };
            return Soon::Now(Prepared::Unreadable { source, waiter, reason: error.to_string() });
        }
    };
    let source = Source { key, version: row.version, waiting };
    let understood = catch_unwind(AssertUnwindSafe(|| {
        command_of::<E>(&source, report).map(|(command, cause)| (E::reads(me, &command), command, cause))
    }));
    let (reads, command, cause) = match understood {
        Ok(Ok(understood)) => understood,
        Ok(Err(reason)) => return Soon::Now(Prepared::Unreadable { source, waiter, reason }),
        Err(_) => return Soon::Now(Prepared::Panicked { source: Some(source), waiter }),
    };
    fetch(engine, me, reads, slack).then(move |fetched| {
        Soon::Now(match fetched {
            Ok(fetched) => {
                let (trace, source, once) = (source.waiting.trace.clone(), Some(source), None);
                Prepared::Ready(Box::new(Ready { command, cause, source, once, fetched, waiter, trace }))
            }
            Err(error) => Prepared::Failed { error, waiter },
        })
    })
}

fn prepare_ask<E: Entity>(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    (command, trace): (E::Command, Option<Context>),
    once: Option<Once>,
    waiter: Waiter<E>,
    slack: usize,
) -> Soon<Prepared<E>> {
    let before = match &once {
        None => Soon::Now(Ok(None)),
        Some(once) => engine.get(&layout::answer(&once.key)),
    };
    let (engine, me) = (engine.clone(), me.clone());
    before.then(move |row| {
        // An answer that cannot be read is treated as none: the actor's own rules still stop a repeat.
        let before = row.map(|row| row.and_then(|row| record::decode(&row.value).ok()));
        let once = match before {
            Ok(before) => once.map(|once| (once, before)),
            Err(error) => return Soon::Now(Prepared::Failed { error, waiter }),
        };
        let Ok(reads) = catch_unwind(AssertUnwindSafe(|| E::reads(&me, &command))) else {
            return Soon::Now(Prepared::Panicked { source: None, waiter });
        };
        fetch(&engine, &me, reads, slack).then(move |fetched| {
            let (cause, source) = (Cause::Asked, None);
            Soon::Now(match fetched {
                Ok(fetched) => {
                    Prepared::Ready(Box::new(Ready { command, cause, source, once, fetched, waiter, trace }))
                }
                Err(error) => Prepared::Failed { error, waiter },
            })
        })
    })
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

/// Reads what the command needs: all of it is asked for before any of it is waited for.
pub(super) fn fetch(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    reads: Reads,
    slack: usize,
) -> Soon<Result<Fetched, ReadError>> {
    let Reads(reads) = reads;
    let mut fetched = Vec::with_capacity(reads.len());
    let mut reads = reads.into_iter().map(|(name, wanted)| read(engine, me, name, wanted, slack));
    while let Some(read) = reads.next() {
        match read {
            Soon::Now(Ok(read)) => fetched.push(read),
            Soon::Now(Err(error)) => return Soon::Now(Err(error)),
            later => {
                let asked: Vec<_> = std::iter::once(later).chain(reads).collect();
                return Soon::later(async move {
                    for read in asked {
                        fetched.push(read.await?);
                    }
                    Ok(Fetched(fetched))
                });
            }
        }
    }
    Soon::Now(Ok(Fetched(fetched)))
}

fn read(
    engine: &Arc<dyn Engine>,
    me: &ActorId,
    name: &'static str,
    wanted: Wanted,
    slack: usize,
) -> Soon<Result<Read, ReadError>> {
    match wanted {
        Wanted::One(key) => {
            let key = layout::row(me, &key);
            engine.get(&key).then(move |row| {
                let stored = row.map(|row| row.map(|row| row.value));
                Soon::Now(stored.map(|stored| Read::One { name, key, stored }))
            })
        }
        Wanted::Page { under, after, limit } => {
            let (prefix, mut span) = page(me, &under, after.as_ref(), limit);
            span.limit += slack;
            let read = engine.range(span.clone());
            read.then(move |rows| Soon::Now(rows.map(|stored| Read::Page { name, prefix, span, limit, stored })))
        }
    }
}
