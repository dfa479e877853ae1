//! Reading around damage: the rows of a span that can be read, and the keys of those that cannot.

use super::{Direction, Engine, Failure, Key, ReadError, Row, Span, Stretch};

/// Stretches stepped past in one read; where there are more the store is lost, and whoever asks hears that instead.
const DAMAGED_MAX: usize = 64;

/// A row that is there and cannot be read, or keys of which nothing is known.
#[derive(Debug, Clone)]
pub struct Unread {
    /// The first of them; of a single row its key.
    pub key: Key,
    /// The first behind them.
    pub to: Key,
    pub failure: ReadError,
}

/// What can be read of a span, in order.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub rows: Vec<Row>,
    pub unread: Vec<Unread>,
}

impl Around {
    /// The greatest key of a page that was read forward.
    pub fn last(&self) -> Option<Key> {
        let (row, unread) = (self.rows.last().map(|row| &row.key), self.unread.last().map(|unread| &unread.key));
        row.max(unread).cloned()
    }

    /// Takes away what is furthest in this direction.
    pub fn pop(&mut self, direction: Direction) {
        let unread_is_last = match (self.rows.last(), self.unread.last()) {
            (Some(row), Some(unread)) => (row.key < unread.key) == (direction == Direction::Forward),
            (row, _) => row.is_none(),
        };
        if unread_is_last {
            self.unread.pop();
        } else {
            self.rows.pop();
        }
    }

    /// The same span behind this page, in its direction, if the page had anything.
    pub fn behind(&self, span: &Span) -> Option<Span> {
        let (row, unread) = (self.rows.last(), self.unread.last());
        match span.direction {
            Direction::Forward => {
                let (row, unread) = (row.map(|row| row.key.successor()), unread.map(|unread| unread.to.clone()));
                row.max(unread).map(|from| Span { from, ..span.clone() })
            }
            Direction::Backward => {
                let ends = row.map(|row| &row.key).into_iter().chain(unread.map(|unread| &unread.key));
                ends.min().map(|to| span.clone().before(to))
            }
        }
    }
}

/// Reads a span from the end that its direction says, past rows that are damaged. They count for the limit as the others
/// do.
///
/// # Errors
/// What else is wrong with the store, damage of which it cannot be said where it ends, or too much.
pub async fn range(engine: &dyn Engine, mut span: Span) -> Result<Around, ReadError> {
    let mut around = Around::default();
    loop {
        let failure = match engine.range(span.clone()).await {
            Ok(rows) => {
                around.rows.extend(rows);
                return Ok(around);
            }
            Err(failure) => failure,
        };
        let Failure::Damaged { rows: Some(Stretch { from, to }), .. } = &*failure else { return Err(failure) };
        let (key, to) = (from.clone().max(span.from.clone()), to.clone().min(span.to.clone()));
        if around.unread.len() == DAMAGED_MAX || to <= key {
            return Err(failure);
        }
        let (sound, rest) = match span.direction {
            Direction::Forward => (span.clone().before(&key), Span { from: to.clone(), ..span.clone() }),
            Direction::Backward => (Span { from: to.clone(), ..span.clone() }, span.clone().before(&key)),
        };
        let before = engine.range(sound).await?;
        span = Span { limit: span.limit.saturating_sub(before.len() + 1), ..rest };
        around.rows.extend(before);
        around.unread.push(Unread { key, to, failure });
        if span.limit == 0 || span.from >= span.to {
            return Ok(around);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Batch, Change, MemoryEngine, Outcome, Soon, Versioned};

    /// An engine that cannot read some of its rows.
    struct Damaged {
        inner: MemoryEngine,
        keys: BTreeSet<Key>,
    }

    impl Engine for Damaged {
        fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
            self.inner.get(key)
        }

        fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
            let keys = self.keys.clone();
            let read = self.inner.range(span);
            read.then(move |rows| {
                let Ok(rows) = rows else { return Soon::Now(rows) };
                let Some(row) = rows.iter().find(|row| keys.contains(&row.key)) else { return Soon::Now(Ok(rows)) };
                let rows = Some(Stretch { from: row.key.clone(), to: row.key.successor() });
                Soon::Now(Err(Arc::new(Failure::Damaged { what: "a row".to_owned(), rows })))
            })
        }

        fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
            self.inner.commit(batch)
        }

        fn changes(&self, prefix: &Key) -> tokio::sync::mpsc::Receiver<Change> {
            self.inner.changes(prefix)
        }
    }

    fn engine(keys: &BTreeSet<Vec<u8>>, damaged: impl Fn(&[u8]) -> bool) -> Damaged {
        let inner = MemoryEngine::default();
        let puts = keys.iter().map(|key| (Key::from_bytes(key.clone()), Bytes::from_static(b"v"))).collect();
        let outcome = inner.commit(Batch { puts, ..Batch::default() }).now_or_never().unwrap();
        assert!(matches!(outcome, Outcome::Committed(_)));
        let keys = keys.iter().filter(|key| damaged(key)).map(|key| Key::from_bytes(key.clone())).collect();
        Damaged { inner, keys }
    }

    fn page(engine: &Damaged, span: Span) -> Around {
        range(engine, span).now_or_never().unwrap().unwrap()
    }

    proptest! {
        #[test]
        fn every_row_is_read_or_named_once_in_pages_of_any_size(
            keys in prop::collection::btree_set(prop::collection::vec(prop_oneof![Just(0), Just(7), Just(255)], 1..5), 0..20),
            seed in any::<u8>(),
            limit in 1_usize..6,
            direction in prop_oneof![Just(Direction::Forward), Just(Direction::Backward)],
        ) {
            let damaged = |key: &[u8]| (key.iter().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ byte)) % 3 == 0;
            let engine = engine(&keys, damaged);
            let whole = Span { direction, ..Span::prefix(&Key::from_bytes([7].to_vec()), limit) };
            let (mut span, mut read, mut unread) = (whole.clone(), Vec::new(), Vec::new());
            loop {
                let around = page(&engine, span);
                prop_assert!(around.rows.len() + around.unread.len() <= limit);
                let Some(behind) = around.behind(&whole) else { break };
                read.extend(around.rows.into_iter().map(|row| row.key));
                unread.extend(around.unread.into_iter().map(|unread| unread.key));
                span = behind;
            }
            let wanted = |bad: bool| -> Vec<Key> {
                let fits = |key: &&Vec<u8>| key[0] == 7 && damaged(key) == bad;
                let keys = keys.iter().filter(fits).map(|key| Key::from_bytes(key.clone()));
                if direction == Direction::Forward { keys.collect() } else { keys.rev().collect() }
            };
            prop_assert_eq!(read, wanted(false));
            prop_assert_eq!(unread, wanted(true));
        }
    }

    #[test]
    fn a_store_that_is_damaged_all_over_is_an_error() {
        let keys: BTreeSet<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
        let engine = engine(&keys, |_| true);
        let read = range(&engine, Span::prefix(&Key::default(), 200)).now_or_never().unwrap();
        assert!(matches!(*read.unwrap_err(), Failure::Damaged { .. }));
    }
}
