//! The rows that are on disk in the log but not yet in the table: an active generation that grows, and a frozen one
//! that is being written to the table.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::Op;
use super::{Direction, Key, Position, Row, Span, Versioned};

/// About what a row costs beside its bytes: the room of a key, a `Bytes`, a version, and its share of a tree node.
const ROW_BYTES: u64 = 120;

/// What is known of a key: its value, or that it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: Position,
    pub(crate) value: Option<Bytes>,
}

impl Entry {
    pub(crate) fn versioned(&self) -> Option<Versioned> {
        self.value.clone().map(|value| Versioned { version: self.version, value })
    }
}

/// A point in the history: the last batch, and the log row that it ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    pub(crate) row: u64,
}

/// What a stretch of the log comes to.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    pub(crate) rows: BTreeMap<Key, Entry>,
    /// Up to where; the stretch begins behind the generation before it.
    pub(crate) through: Mark,
    bytes: u64,
    log_bytes: u64,
}

impl Generation {
    pub(crate) fn starting_at(mark: Mark) -> Self {
        Self { through: mark, ..Self::default() }
    }

    /// What counts against the bound: memory, and what would have to be replayed. Values share the memory of their
    /// frames, so neither is ever more than this in all.
    pub(crate) fn weight(&self) -> u64 {
        self.bytes.max(self.log_bytes)
    }

    fn put(&mut self, key: Key, entry: Entry) {
        self.bytes += size(&key, &entry);
        let length = key.as_bytes().len() as u64;
        if let Some(old) = self.rows.insert(key, entry) {
            self.bytes -= ROW_BYTES + length + value_bytes(&old);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(old) = self.rows.remove(key) {
            self.bytes -= size(key, &old);
        }
    }

    fn range(&self, span: &Span) -> impl DoubleEndedIterator<Item = (&Key, &Entry)> {
        self.rows.range::<Key, _>((Bound::Included(&span.from), Bound::Excluded(&span.to)))
    }
}

/// Both generations.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Arc<Generation>>,
}

impl Overlay {
    pub(crate) fn starting_at(mark: Mark) -> Self {
        Self { active: Generation::starting_at(mark), frozen: None }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        self.active.rows.get(key).or_else(|| self.frozen.as_ref()?.rows.get(key))
    }

    /// Applies what the log just took, or what is read back from it. `below` says whether the table might hold a key:
    /// where it cannot, a deleted row leaves nothing behind, so that rows which come and go never reach the table.
    pub(crate) fn apply(&mut self, op: Op, current: &mut Position, below: impl Fn(&Key) -> bool) {
        match op {
            Op::Begin(position, _) => *current = position,
            Op::Put(key, value) => self.active.put(key, Entry { version: *current, value: Some(value) }),
            Op::Delete(key) => {
                let covered = self.frozen.as_ref().is_some_and(|frozen| frozen.rows.contains_key(&key));
                if covered || below(&key) {
                    self.active.put(key, Entry { version: *current, value: None });
                } else {
                    self.active.forget(&key);
                }
            }
        }
    }

    /// Notes how far the log has been applied, and what that took of it.
    pub(crate) fn reached(&mut self, mark: Mark, log_bytes: u64) {
        self.active.through = mark;
        self.active.log_bytes += log_bytes;
    }

    /// Sets the active generation aside; there must be no frozen one.
    pub(crate) fn freeze(&mut self) -> Arc<Generation> {
        let next = Generation::starting_at(self.active.through);
        let frozen = Arc::new(std::mem::replace(&mut self.active, next));
        self.frozen = Some(frozen.clone());
        frozen
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.active.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    pub(crate) fn rows(&self) -> u64 {
        (self.active.rows.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows.len())) as u64
    }

    /// What the overlay knows of a span: deleted keys too, and not more than decides the first `limit` rows.
    pub(crate) fn piece(&self, span: &Span) -> Vec<(Key, Entry)> {
        if span.from >= span.to {
            return Vec::new();
        }
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.range(span));
        match span.direction {
            Direction::Forward => gather(self.active.range(span), frozen, span),
            Direction::Backward => gather(self.active.range(span).rev(), frozen.rev(), span),
        }
    }
}

fn gather<'a>(
    active: impl Iterator<Item = (&'a Key, &'a Entry)>,
    frozen: impl Iterator<Item = (&'a Key, &'a Entry)>,
    span: &Span,
) -> Vec<(Key, Entry)> {
    let mut piece = Vec::new();
    let mut live = 0;
    let mut rows = Merge::new(active, frozen, span.direction);
    while live < span.limit
        && let Some((key, entry)) = rows.next()
    {
        live += usize::from(entry.value.is_some());
        piece.push((key.clone(), entry.clone()));
    }
    piece
}

/// The first `limit` live rows of a piece of the overlay laid over those of the table. `only` gives the key of which an
/// error of the table says that nothing is known, when it is about that key alone: whatever the overlay has counts.
pub(crate) fn merge<E>(
    piece: Vec<(Key, Entry)>,
    table: impl Iterator<Item = Result<(Key, Entry), E>>,
    span: &Span,
    only: impl Fn(&E) -> Option<Key>,
) -> Result<Vec<Row>, E> {
    let mut failed = None;
    let table = table.map_while(|row| match row {
        Ok((key, entry)) => Some((key, Ok(entry))),
        Err(error) => match only(&error) {
            Some(key) => Some((key, Err(error))),
            None => {
                failed = Some(error);
                None
            }
        },
    });
    let piece = piece.into_iter().map(|(key, entry)| (key, Ok(entry)));
    let live = Merge::new(piece, table, span.direction).filter_map(|(key, entry)| match entry {
        Ok(entry) => row(key, entry).map(Ok),
        Err(error) => Some(Err(error)),
    });
    let rows = live.take(span.limit).collect::<Result<Vec<Row>, E>>()?;
    failed.map_or(Ok(rows), Err)
}

pub(crate) fn row(key: Key, entry: Entry) -> Option<Row> {
    entry.value.map(|value| Row { key, version: entry.version, value })
}

/// Two sorted iterators as one; where both know a key, the upper one hides the lower.
struct Merge<U: Iterator, L: Iterator> {
    upper: Peekable<U>,
    lower: Peekable<L>,
    direction: Direction,
}

impl<K: Ord, V, U: Iterator<Item = (K, V)>, L: Iterator<Item = (K, V)>> Merge<U, L> {
    fn new(upper: U, lower: L, direction: Direction) -> Self {
        Self { upper: upper.peekable(), lower: lower.peekable(), direction }
    }
}

impl<K: Ord, V, U: Iterator<Item = (K, V)>, L: Iterator<Item = (K, V)>> Iterator for Merge<U, L> {
    type Item = (K, V);

    fn next(&mut self) -> Option<Self::Item> {
        let (Some((upper, _)), Some((lower, _))) = (self.upper.peek(), self.lower.peek()) else {
            return self.upper.next().or_else(|| self.lower.next());
        };
        let order = match self.direction {
            Direction::Forward => upper.cmp(lower),
            Direction::Backward => lower.cmp(upper),
        };
        if order.is_eq() {
            self.lower.next();
        }
        if order.is_gt() { self.lower.next() } else { self.upper.next() }
    }
}

fn size(key: &Key, entry: &Entry) -> u64 {
    ROW_BYTES + key.as_bytes().len() as u64 + value_bytes(entry)
}

fn value_bytes(entry: &Entry) -> u64 {
    entry.value.as_ref().map_or(0, |value| value.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key::build().number(number).done()
    }

    fn apply(overlay: &mut Overlay, version: u64, op: Op) {
        overlay.apply(op, &mut Position(version), |_| true);
    }

    fn put(overlay: &mut Overlay, version: u64, number: u64) {
        apply(overlay, version, Op::Put(key(number), vec![0; 10].into()));
    }

    fn span(limit: usize) -> Span {
        Span { from: key(0), to: key(100), limit, direction: Direction::Forward }
    }

    fn seen(rows: &[Row]) -> Vec<(u64, u64)> {
        rows.iter().map(|row| (row.key.parts().number().unwrap(), row.version.0)).collect()
    }

    fn table() -> impl Iterator<Item = Result<(Key, Entry), ()>> {
        (0..5).map(|number| Ok((key(number), Entry { version: Position(0), value: Some(Bytes::new()) })))
    }

    /// The table holds 0 to 4 at version 0; 1 was deleted in the frozen generation and 3 in the active one, 2 stands in
    /// both, 4 and 7 in one each.
    fn overlay() -> Overlay {
        let mut overlay = Overlay::default();
        apply(&mut overlay, 1, Op::Delete(key(1)));
        put(&mut overlay, 2, 2);
        put(&mut overlay, 3, 4);
        overlay.freeze();
        put(&mut overlay, 4, 2);
        apply(&mut overlay, 5, Op::Delete(key(3)));
        put(&mut overlay, 6, 7);
        overlay
    }

    #[test]
    fn a_newer_generation_hides_an_older_one_and_both_hide_the_table() {
        let rows = merge(overlay().piece(&span(9)), table(), &span(9), |()| None).unwrap();
        assert_eq!(seen(&rows), [(0, 0), (2, 4), (4, 3), (7, 6)]);
        let backward = span(3).backward();
        let table = table().collect::<Vec<_>>().into_iter().rev();
        let rows = merge(overlay().piece(&backward), table, &backward, |()| None).unwrap();
        assert_eq!(seen(&rows), [(7, 6), (4, 3), (2, 4)]);
    }

    #[test]
    fn a_piece_is_no_longer_than_the_limit_needs() {
        assert_eq!(overlay().piece(&span(1)).len(), 2, "the deleted 1 and the live 2");
        assert!(overlay().piece(&span(0)).is_empty());
    }

    #[test]
    fn a_failure_of_the_table_is_not_taken_for_its_end() {
        let table = table().take(2).chain([Err(())]);
        assert_eq!(merge(overlay().piece(&span(9)), table, &span(9), |()| None), Err(()));
    }

    #[test]
    fn a_row_that_is_lost_in_the_table_counts_for_as_long_as_nothing_newer_is_known_of_it() {
        let lost = |number: u64| table().take(5).map(move |row| row.map_err(|()| 0)).chain([Err(number)]);
        let only = |number: &u64| Some(key(*number));
        for backward in [false, true] {
            let span = if backward { span(9).backward() } else { span(9) };
            let rows = |number| {
                let mut table: Vec<_> = lost(number).collect();
                if backward {
                    table.reverse();
                }
                merge(overlay().piece(&span), table.into_iter(), &span, only)
            };
            assert_eq!(rows(7).unwrap().len(), 4, "it was written anew");
            assert_eq!(rows(8), Err(8));
        }
    }

    #[test]
    fn a_row_that_came_and_went_above_the_table_leaves_nothing() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 1, 1);
        overlay.apply(Op::Delete(key(1)), &mut Position(2), |_| false);
        assert!(overlay.get(&key(1)).is_none());
        assert_eq!(overlay.bytes(), 0);
    }

    #[test]
    fn a_deleted_row_of_the_frozen_generation_stays_hidden() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 1, 1);
        overlay.freeze();
        overlay.apply(Op::Delete(key(1)), &mut Position(2), |_| false);
        assert_eq!(overlay.get(&key(1)).unwrap().value, None);
    }

    #[test]
    fn overwriting_does_not_grow_the_overlay() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 1, 1);
        let before = overlay.bytes();
        put(&mut overlay, 2, 1);
        assert_eq!(overlay.bytes(), before);
        overlay.reached(Mark::default(), 10_000);
        assert_eq!(overlay.active.weight(), 10_000, "the log still has to be replayed");
    }
}
