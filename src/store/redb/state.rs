//! What the engine's threads and its callers share.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::hot::{self, Hot};
use super::log;
use super::queue::Queue;
use super::readers::ReadQueue;
use super::stats::Counters;
use super::table::View;
use crate::store::changes::Watchers;
use crate::store::filter::Filters;
use crate::store::frame::{self, Op};
use crate::store::overlay::{self, Entry, Mark, Overlay};
use crate::store::{Failure, Key, Position, ReadError, Row, Span, Versioned};

/// The overlay and the view of the table that it lies over. They change together, under one lock, so that a row on its
/// way from the one to the other is always seen in at least one.
pub(super) struct Pair {
    pub(super) overlay: Overlay,
    pub(super) view: Arc<View>,
    pub(super) filters: Arc<Filters>,
}

pub(super) struct Shared {
    pub(super) pair: RwLock<Pair>,
    pub(super) watchers: Watchers,
    pub(super) queue: Queue,
    pub(super) reads: ReadQueue,
    pub(super) hot: Hot,
    pub(super) counters: Counters,
    /// Why nothing can be committed at present.
    pub(super) illness: RwLock<Option<Arc<Failure>>>,
}

impl Pair {
    /// Lays a frame over what is there, the same way in which a replay does, so that memory and replay cannot differ. Gives
    /// the keys under prefixes that somebody watches: whoever begins to after this can see them.
    pub(super) fn show(&mut self, frame: Bytes, through: Mark, watched: &[Key]) -> Vec<Key> {
        let Self { overlay, filters, .. } = self;
        let (bytes, mut position, mut put) = (log::size(frame.len()), Position::default(), Vec::new());
        for op in frame::ops(frame) {
            let op = op.expect("the frame was written a moment ago");
            if let Op::Put(key, _) = &op
                && watched.iter().any(|prefix| key.starts_with(prefix))
            {
                put.push(key.clone());
            }
            overlay.apply(op, &mut position, |key| filters.may_hold(key));
        }
        overlay.reached(through, bytes);
        put
    }
}

impl Shared {
    pub(super) fn new(pair: Pair, counters: Counters) -> Self {
        Self {
            pair: RwLock::new(pair),
            watchers: Watchers::default(),
            queue: Queue::default(),
            reads: ReadQueue::default(),
            hot: Hot::default(),
            counters,
            illness: RwLock::new(None),
        }
    }

    /// What memory alone can say of a key: `None` when the table has to be asked.
    #[allow(clippy::option_option, reason = "the outer one is whether there is an answer, the inner one is the answer")]
    pub(super) fn get_near(&self, key: &Key) -> Option<Option<Versioned>> {
        let pair = self.pair.read();
        match pair.overlay.get(key) {
            Some(entry) => Some(entry.versioned()),
            None if pair.filters.may_hold(key) => None,
            None => Some(None),
        }
    }

    /// What memory alone can say of a span: `None` when the table has to be asked.
    pub(super) fn range_near(&self, span: &Span) -> Option<Vec<Row>> {
        if span.limit == 0 || span.from >= span.to {
            return Some(Vec::new());
        }
        let pair = self.pair.read();
        let stored = match !pair.view.is_empty() && pair.filters.may_hold_within(span) {
            true => self.hot.rows(&pair.view, span)?,
            false => Vec::new(),
        };
        let stored =
            stored.into_iter().map(|row| Ok((row.key, Entry { version: row.version, value: Some(row.value) })));
        let merged: Result<_, Infallible> = overlay::merge(pair.overlay.piece(span), stored, span, |_| None);
        merged.ok()
    }

    /// Reads a key, from the table if need be. Blocks.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Versioned>, ReadError> {
        self.asking(
            |pair| match pair.overlay.get(key) {
                Some(entry) => Ok(entry.versioned()),
                None => Err(()),
            },
            |view, ()| view.get(key),
        )
    }

    /// Reads a span, from the table if need be. Blocks.
    pub(super) fn range(&self, span: &Span) -> Result<Vec<Row>, ReadError> {
        self.asking(
            |pair| Err(pair.overlay.piece(span)),
            |view, piece| if piece.is_empty() { self.range_stored(view, span) } else { view.range(span, piece) },
        )
    }

    /// Reads a span that the overlay knows nothing of, and keeps it if it is small: some are read again and again.
    fn range_stored(&self, view: &Arc<View>, span: &Span) -> Result<Vec<Row>, Failure> {
        let wide = Span { limit: span.limit.max(hot::ROWS_MAX + 1), ..span.clone() };
        let mut rows = view.range(&wide, Vec::new())?;
        if Arc::ptr_eq(view, &self.pair.read().view) {
            self.hot.keep(view, &wide, &rows);
        }
        rows.truncate(span.limit);
        Ok(rows)
    }

    /// Tries the overlay, and asks the table with what that left open. Both are taken at one moment, but the table is
    /// read without the lock: a view whose file was given up meanwhile fails, and then the new one is asked.
    fn asking<T, Open>(
        &self,
        overlay: impl Fn(&Pair) -> Result<T, Open>,
        table: impl Fn(&Arc<View>, Open) -> Result<T, Failure>,
    ) -> Result<T, ReadError> {
        loop {
            let (view, open) = {
                let pair = self.pair.read();
                match overlay(&pair) {
                    Ok(answer) => return Ok(answer),
                    Err(open) => (pair.view.clone(), open),
                }
            };
            match table(&view, open) {
                Err(_) if !Arc::ptr_eq(&view, &self.pair.read().view) => {}
                answer => return Ok(answer?),
            }
        }
    }
}
