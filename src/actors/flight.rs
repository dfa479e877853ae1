//! An actor's own writes that are not on disk yet, so that its next turn sees them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::entity::ActorId;
use super::layout;
use super::rows::{Found, Wanted};
use crate::store::{Direction, Key, Row, Span};

/// Rows put (`Some`) and deleted (`None`) by turns in flight.
///
/// While a read is under way nothing is forgotten, even if its turn has settled: the read may have begun before.
#[derive(Debug, Default)]
pub(super) struct Flying {
    rows: BTreeMap<Key, (u64, Option<Bytes>)>,
    by_turn: VecDeque<(u64, Vec<Key>, usize)>,
    /// Deletes in `by_turn`.
    deleting: usize,
    settled: u64,
    reading: bool,
}

impl Flying {
    pub(super) fn add(&mut self, turn: u64, puts: &[(Key, Bytes)], deletes: &[Key]) {
        let mut keys = Vec::with_capacity(puts.len() + deletes.len());
        for (key, value) in puts.iter().filter(|(key, _)| layout::is_readable(key) || layout::is_timer(key)) {
            self.rows.insert(key.clone(), (turn, Some(value.clone())));
            keys.push(key.clone());
        }
        for key in deletes {
            self.rows.insert(key.clone(), (turn, None));
            keys.push(key.clone());
        }
        self.deleting += deletes.len();
        self.by_turn.push_back((turn, keys, deletes.len()));
    }

    /// Everything up to this turn is on disk.
    pub(super) fn settle(&mut self, turn: u64) {
        self.settled = turn;
        self.forget();
    }

    pub(super) fn reading(&mut self, reading: bool) {
        self.reading = reading;
        self.forget();
    }

    fn forget(&mut self) {
        if self.reading {
            return;
        }
        while self.by_turn.front().is_some_and(|(turn, ..)| *turn <= self.settled) {
            let Some((turn, keys, deletes)) = self.by_turn.pop_front() else { return };
            self.deleting -= deletes;
            for key in keys {
                if self.rows.get(&key).is_some_and(|(written, _)| *written == turn) {
                    self.rows.remove(&key);
                }
            }
        }
    }

    /// Turns in flight, and those whose rows a read that is under way may miss.
    pub(super) fn turns(&self) -> usize {
        self.by_turn.len()
    }

    /// True when a turn in flight deletes this row.
    pub(super) fn deletes(&self, key: &Key) -> bool {
        matches!(self.rows.get(key), Some((_, None)))
    }

    /// The value that a turn in flight gives this row, if one does.
    pub(super) fn put(&self, key: &Key) -> Option<&Bytes> {
        self.rows.get(key).and_then(|(_, value)| value.as_ref())
    }

    /// How many rows turns in flight delete at most: a page that is read needs as many more.
    pub(super) fn deleting(&self) -> usize {
        self.deleting
    }

    /// What the actor sees: the stored rows of a span with its own writes in flight over them.
    pub(super) fn over(&self, prefix: &Key, wanted: &Wanted, span: &Span, stored: Vec<Row>) -> Vec<Found> {
        debug_assert_eq!(span.direction, Direction::Forward, "turns read forward");
        let full = stored.len() >= span.limit;
        let end = if full { stored.last().map(|row| row.key.clone()) } else { None };
        let mut seen: BTreeMap<Key, Bytes> = stored.into_iter().map(|row| (row.key, row.value)).collect();
        for (key, (_, put)) in self.rows.range(span.from.clone()..span.to.clone()) {
            match put {
                // Behind the last stored row of a full page there may be stored rows that were not read.
                Some(value) if end.as_ref().is_none_or(|end| key <= end) => {
                    drop(seen.insert(key.clone(), value.clone()))
                }
                Some(_) => {}
                None => drop(seen.remove(key)),
            }
        }
        let limit = match wanted {
            Wanted::One(_) => 1,
            Wanted::Page { limit, .. } => *limit,
        };
        seen.into_iter().take(limit).map(|(key, value)| found(prefix, key, value)).collect()
    }
}

fn found(prefix: &Key, key: Key, value: Bytes) -> Found {
    let owner: Option<ActorId> = layout::is_index(&key).then(|| layout::index_owner(&key)).flatten();
    let below = Key::from_bytes(key.as_bytes()[prefix.as_bytes().len()..].to_vec());
    Found { key: below, owner, value }
}
