//! The engine that forgets when dropped: the model that every other engine is held against.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::ops::Bound;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::admit::{self, Fences};
use super::changes::Watchers;
use super::{Batch, Change, Direction, Engine, Key, Outcome, Position, ReadError, Refusal, Row, Soon, Span, Versioned};

/// Rows in a map, no threads: every future is ready at once, and a commit has happened when the call returns.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
    watchers: Watchers,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Key, Versioned>,
    fences: Fences,
    last: Position,
}

impl Engine for MemoryEngine {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        Soon::Now(Ok(self.state.lock().rows.get(key).cloned()))
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        Soon::Now(Ok(self.state.lock().range(&span)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        let mut state = self.state.lock();
        if let Err(refusal) = state.admit(&batch) {
            return ready(Outcome::Refused(refusal)).boxed();
        }
        let put: Vec<Key> = batch.puts.iter().map(|(key, _)| key.clone()).collect();
        let position = state.apply(batch);
        // Told under the lock, so that hints keep the order of commits.
        self.watchers.tell(&put);
        ready(Outcome::Committed(position)).boxed()
    }

    fn changes(&self, prefix: &Key) -> mpsc::Receiver<Change> {
        self.watchers.watch(prefix)
    }
}

impl State {
    fn admit(&self, batch: &Batch) -> Result<(), Refusal> {
        self.fences.check(batch.fence)?;
        let version_of = |key: &Key| Ok::<_, Infallible>(self.rows.get(key).map(|row| row.version));
        match admit::conditions(&batch.conditions, version_of) {
            Ok(verdict) => verdict,
        }
    }

    fn apply(&mut self, batch: Batch) -> Position {
        self.last.0 += 1;
        self.fences.raise(batch.fence);
        for (key, value) in batch.puts {
            self.rows.insert(key, Versioned { version: self.last, value });
        }
        for key in &batch.deletes {
            self.rows.remove(key);
        }
        self.last
    }

    fn range(&self, span: &Span) -> Vec<Row> {
        if span.from >= span.to {
            return Vec::new();
        }
        let rows = self.rows.range((Bound::Included(&span.from), Bound::Excluded(&span.to)));
        match span.direction {
            Direction::Forward => rows.take(span.limit).map(row).collect(),
            Direction::Backward => rows.rev().take(span.limit).map(row).collect(),
        }
    }
}

fn row((key, versioned): (&Key, &Versioned)) -> Row {
    Row { key: key.clone(), version: versioned.version, value: versioned.value.clone() }
}
