//! Reading around damage: the rows of a span that can be read, and the keys of those that cannot.

use std::sync::Arc;

use super::{Engine, Failure, Key, ReadError, Row, Span};

/// Rows stepped past in one read; where more are damaged the store is lost, and whoever asks hears that instead.
const DAMAGED_MAX: usize = 64;
/// No key of ours is longer, so that a search which goes on behind this has found something else than a row.
const KEY_BYTES_MAX: usize = 4 << 10;

/// A row that is there and cannot be read.
#[derive(Debug, Clone)]
pub struct Unread {
    pub key: Key,
    pub failure: ReadError,
}

/// What can be read of a span, in order.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub rows: Vec<Row>,
    pub unread: Vec<Unread>,
}

impl Around {
    /// Where to go on behind this page, if it had anything.
    pub fn last(&self) -> Option<&Key> {
        self.rows.last().map(|row| &row.key).max(self.unread.last().map(|unread| &unread.key))
    }
}

/// Reads a span from its beginning, past rows that are damaged. They count for the limit as the others do.
///
/// # Errors
/// What else is wrong with the store, or too much damage.
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
        if !is_damage(&failure) || around.unread.len() == DAMAGED_MAX {
            return Err(failure);
        }
        let key = first_damaged(engine, &span).await?.ok_or_else(|| failure.clone())?;
        let before = engine.range(span.clone().before(&key)).await?;
        span.limit = span.limit.saturating_sub(before.len() + 1);
        around.rows.extend(before);
        span = span.after(&key);
        around.unread.push(Unread { key, failure });
        if span.limit == 0 {
            return Ok(around);
        }
    }
}

fn is_damage(failure: &Arc<Failure>) -> bool {
    matches!(**failure, Failure::Damaged { .. })
}

/// The key at which reading fails, found byte by byte: what ends at it or before can be read, what ends behind cannot.
/// So no engine has to know which row it stumbled over, only that it did.
async fn first_damaged(engine: &dyn Engine, span: &Span) -> Result<Option<Key>, ReadError> {
    let mut found: Vec<u8> = Vec::new();
    while found.len() < KEY_BYTES_MAX {
        let whole = Key::from_bytes(found.clone());
        if !reads_up_to(engine, span, &whole.successor()).await? {
            return Ok(Some(whole));
        }
        let (mut low, mut high) = (0_u16, 256_u16);
        while high - low > 1 {
            let middle = u8::try_from(low.midpoint(high)).expect("below 256");
            let end = Key::from_bytes([found.as_slice(), &[middle]].concat());
            if reads_up_to(engine, span, &end).await? {
                low = u16::from(middle);
            } else {
                high = u16::from(middle);
            }
        }
        found.push(u8::try_from(low).expect("between 0 and 255"));
    }
    Ok(None)
}

async fn reads_up_to(engine: &dyn Engine, span: &Span, end: &Key) -> Result<bool, ReadError> {
    if *end <= span.from {
        return Ok(true);
    }
    let part = Span { to: end.clone().min(span.to.clone()), ..span.clone() };
    match engine.range(part).await {
        Ok(_) => Ok(true),
        Err(failure) if is_damage(&failure) => Ok(false),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Batch, Change, MemoryEngine, Outcome, Versioned};

    /// An engine that cannot read some of its rows.
    struct Damaged {
        inner: MemoryEngine,
        keys: BTreeSet<Key>,
    }

    impl Engine for Damaged {
        fn get(&self, key: &Key) -> BoxFuture<'static, Result<Option<Versioned>, ReadError>> {
            self.inner.get(key)
        }

        fn range(&self, span: Span) -> BoxFuture<'static, Result<Vec<Row>, ReadError>> {
            let keys = self.keys.clone();
            let read = self.inner.range(span);
            let damaged = move |row: &Row| keys.contains(&row.key);
            read.map(move |rows| match rows? {
                rows if rows.iter().any(damaged) => Err(Arc::new(Failure::Damaged { what: "a row".into() })),
                rows => Ok(rows),
            })
            .boxed()
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
        ) {
            let damaged = |key: &[u8]| (key.iter().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ byte)) % 3 == 0;
            let engine = engine(&keys, damaged);
            let whole = Span::prefix(&Key::from_bytes([7].to_vec()), limit);
            let (mut span, mut read, mut unread) = (whole.clone(), Vec::new(), Vec::new());
            loop {
                let around = page(&engine, span);
                prop_assert!(around.rows.len() + around.unread.len() <= limit);
                let Some(last) = around.last().cloned() else { break };
                read.extend(around.rows.into_iter().map(|row| row.key));
                unread.extend(around.unread.into_iter().map(|unread| unread.key));
                span = whole.clone().after(&last);
            }
            let wanted = |bad: bool| -> Vec<Key> {
                let fits = |key: &&Vec<u8>| key[0] == 7 && damaged(key) == bad;
                keys.iter().filter(fits).map(|key| Key::from_bytes(key.clone())).collect()
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
        assert!(is_damage(&read.unwrap_err()));
    }
}
