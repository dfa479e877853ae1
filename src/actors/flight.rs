//! An actor's own writes that are not on disk yet, so that its next turn sees them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::entity::ActorId;
use super::layout;
use super::rows::Found;
use crate::store::key::KeyMap;
use crate::store::{Direction, Key, Row, Span};

/// Rows put (`Some`) and deleted (`None`) by turns in flight.
///
/// While a read is under way nothing is forgotten, even if its turn has settled: the read may have begun before.
#[derive(Debug, Default)]
pub(super) struct Flying {
    /// Walked through only in the order of `by_turn`.
    rows: KeyMap<(u64, Option<Bytes>)>,
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
        if self.by_turn.back().is_none_or(|(turn, ..)| *turn <= self.settled) {
            self.rows.clear();
            self.by_turn.clear();
            self.deleting = 0;
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

    /// What the actor sees of a row of its own: what is stored, or its own write in flight.
    pub(super) fn over_one(&self, key: &Key, stored: Option<Bytes>) -> Option<Found> {
        let value = match self.rows.get(key) {
            Some((_, written)) => written.clone(),
            None => stored,
        };
        value.map(|value| Found { key: Key::default(), owner: None, value })
    }

    /// What the actor sees of a page: the stored rows of a span with its own writes in flight over them.
    pub(super) fn over_page(&self, prefix: &Key, span: &Span, limit: usize, stored: Vec<Row>) -> Vec<Found> {
        debug_assert_eq!(span.direction, Direction::Forward, "turns read forward");
        let written =
            self.by_turn.iter().flat_map(|(_, keys, _)| keys).filter(|key| span.from <= **key && **key < span.to);
        let mut written = written.filter_map(|key| Some((key, self.rows.get(key)?))).peekable();
        if written.peek().is_none() {
            return stored.into_iter().take(limit).map(|row| found(prefix, &row.key, row.value)).collect();
        }
        let full = stored.len() >= span.limit;
        let end = if full { stored.last().map(|row| row.key.clone()) } else { None };
        let mut seen: BTreeMap<Key, Bytes> = stored.into_iter().map(|row| (row.key, row.value)).collect();
        for (key, (_, put)) in written {
            match put {
                // Behind the last stored row of a full page there may be stored rows that were not read.
                Some(value) if end.as_ref().is_none_or(|end| key <= end) => {
                    drop(seen.insert(key.clone(), value.clone()))
                }
                Some(_) => {}
                None => drop(seen.remove(key)),
            }
        }
        seen.into_iter().take(limit).map(|(key, value)| found(prefix, &key, value)).collect()
    }
}

fn found(prefix: &Key, key: &Key, value: Bytes) -> Found {
    let owner: Option<ActorId> = layout::is_index(key).then(|| layout::index_owner(key)).flatten();
    Found { key: key.below(prefix), owner, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::entity::Kind;
    use crate::actors::rows::{RowKey, parts};
    use crate::store::Position;

    fn own(name: &str) -> Key {
        layout::row(&ActorId::new(Kind::Stream, "s"), &RowKey::Own(parts(["list", name])))
    }

    fn put(name: &str, value: &'static str) -> (Key, Bytes) {
        (own(name), value.into())
    }

    fn stored(rows: &[(&str, &'static str)]) -> Vec<Row> {
        let row =
            |(name, value): &(&str, &'static str)| Row { key: own(name), version: Position(1), value: (*value).into() };
        rows.iter().map(row).collect()
    }

    fn page(flying: &Flying, limit: usize, rows: &[(&str, &'static str)]) -> Vec<(String, Bytes)> {
        let prefix = layout::row(&ActorId::new(Kind::Stream, "s"), &RowKey::Own(parts(["list"])));
        let found = flying.over_page(&prefix, &Span::prefix(&prefix, limit), limit, stored(rows));
        found.into_iter().map(|found| (found.key.parts().text().unwrap(), found.value)).collect()
    }

    fn named(rows: &[(&str, &'static str)]) -> Vec<(String, Bytes)> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
    }

    #[test]
    fn the_next_turn_sees_what_those_in_flight_wrote_until_it_is_on_disk() {
        let mut flying = Flying::default();
        flying.add(1, &[put("b", "1"), put("c", "1")], &[own("a")]);
        flying.add(2, &[put("b", "2")], &[own("c")]);
        let seen = |flying: &Flying, name: &str| flying.over_one(&own(name), Some("0".into())).map(|it| it.value);
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| seen(&flying, name)),
            [None, Some("2".into()), None, Some("0".into())]
        );
        assert!(flying.deletes(&own("a")) && flying.deletes(&own("c")) && !flying.deletes(&own("b")));
        let rows = [("a", "0"), ("c", "0"), ("d", "0")];
        assert_eq!(page(&flying, 10, &rows), named(&[("b", "2"), ("d", "0")]));
        flying.settle(1);
        assert_eq!(["a", "b", "c"].map(|name| seen(&flying, name)), [Some("0".into()), Some("2".into()), None]);
        assert_eq!((flying.turns(), flying.deleting()), (1, 1));
        flying.settle(2);
        assert_eq!((flying.turns(), flying.deleting()), (0, 0));
        assert_eq!(page(&flying, 2, &rows), named(&rows[..2]));
    }

    #[test]
    fn what_a_read_may_have_missed_is_remembered_until_it_is_over() {
        let mut flying = Flying::default();
        flying.reading(true);
        flying.add(1, &[put("a", "1")], &[]);
        flying.settle(1);
        assert_eq!(page(&flying, 10, &[]), named(&[("a", "1")]));
        flying.reading(false);
        assert_eq!(page(&flying, 10, &[]), []);
    }

    #[test]
    fn behind_a_full_page_nothing_is_said() {
        let mut flying = Flying::default();
        flying.add(1, &[put("b", "1"), put("z", "1")], &[]);
        assert_eq!(page(&flying, 2, &[("a", "0"), ("c", "0")]), named(&[("a", "0"), ("b", "1")]));
        assert_eq!(page(&flying, 3, &[("a", "0"), ("c", "0"), ("d", "0")]).len(), 3);
        assert_eq!(page(&flying, 9, &[("a", "0")]), named(&[("a", "0"), ("b", "1"), ("z", "1")]));
    }
}
