//! Turns that one actor takes right after one another go to the store as one batch.

use crate::store::Batch;
use crate::store::key::KeySet;

/// More turns would have the first wait too long for the last to be decided.
const TURNS_MAX: usize = 32;
/// A group of the store has room for many batches of this size.
const BYTES_MAX: usize = 64 << 10;

/// What turns write that were decided a moment ago, in their order.
#[derive(Debug, Default)]
pub(super) struct Joint {
    turns: Vec<Batch>,
    bytes: usize,
}

impl Joint {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.turns.len() >= TURNS_MAX || self.bytes >= BYTES_MAX
    }

    /// Adds what a turn writes. All of them stand under one fence.
    pub(super) fn add(&mut self, batch: Batch) {
        self.bytes += batch.puts.iter().map(|(key, value)| key.as_bytes().len() + value.len()).sum::<usize>();
        self.turns.push(batch);
    }

    /// One batch that leaves behind what the turns would one after the other.
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.bytes = 0;
        let mut turns = std::mem::take(&mut self.turns);
        match turns.len() {
            0 | 1 => turns.pop(),
            _ => Some(join(turns)),
        }
    }
}

/// Of several writes to one row the last counts. Puts stay in their order, in which receivers of messages are woken.
fn join(turns: Vec<Batch>) -> Batch {
    let keys = |turn: &Batch| (turn.puts.len(), turn.deletes.len());
    let (puts, deletes) = turns.iter().map(keys).fold((0, 0), |all, turn| (all.0 + turn.0, all.1 + turn.1));
    let mut written = KeySet::with_capacity_and_hasher(puts + deletes, Default::default());
    // From the last write to the first, whether it is the last to its row.
    let mut counts = Vec::with_capacity(puts + deletes);
    for Batch { puts, deletes, .. } in turns.iter().rev() {
        counts.extend(puts.iter().rev().map(|(key, _)| key).chain(deletes).map(|key| written.insert(key)));
    }
    drop(written);
    let mut joined = Batch {
        fence: turns.last().map(|last| last.fence).unwrap_or_default(),
        conditions: Vec::with_capacity(turns.iter().map(|turn| turn.conditions.len()).sum()),
        puts: Vec::with_capacity(puts),
        deletes: Vec::with_capacity(deletes),
    };
    let mut counts = counts.into_iter();
    let mut counted = || counts.next().unwrap_or_default();
    for Batch { conditions, puts, deletes, .. } in turns.into_iter().rev() {
        joined.conditions.extend(conditions);
        joined.puts.extend(puts.into_iter().rev().filter(|_| counted()));
        joined.deletes.extend(deletes.into_iter().filter(|_| counted()));
    }
    joined.puts.reverse();
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Condition, Key, Position};

    fn key(name: &str) -> Key {
        Key::from_bytes(name.as_bytes().to_vec())
    }

    fn turn(puts: &[(&str, &'static str)], deletes: &[&str]) -> Batch {
        let puts = puts.iter().map(|(name, value)| (key(name), (*value).into())).collect();
        Batch { puts, deletes: deletes.iter().map(|name| key(name)).collect(), ..Batch::default() }
    }

    fn joined(turns: impl IntoIterator<Item = Batch>) -> Batch {
        let mut joint = Joint::default();
        turns.into_iter().for_each(|turn| joint.add(turn));
        joint.take().unwrap()
    }

    #[test]
    fn the_last_write_to_a_row_counts_whatever_came_before() {
        let turns = [
            turn(&[("put twice", "1"), ("put and deleted", "1"), ("put", "1")], &["deleted and put", "deleted"]),
            turn(&[("deleted and put", "2"), ("put twice", "2")], &["put and deleted", "deleted"]),
        ];
        let expected = turn(&[("put", "1"), ("deleted and put", "2"), ("put twice", "2")], &[]);
        let Batch { puts, mut deletes, .. } = joined(turns);
        deletes.sort();
        assert_eq!((puts, deletes), (expected.puts, vec![key("deleted"), key("put and deleted")]));
    }

    #[test]
    fn every_condition_has_to_hold() {
        let one = |name| Batch { conditions: vec![Condition::Version(key(name), Position(7))], ..turn(&[], &[name]) };
        let Batch { conditions, deletes, .. } = joined([one("a"), one("b"), one("c")]);
        assert_eq!((conditions.len(), deletes.len()), (3, 3));
    }

    #[test]
    fn what_one_turn_writes_is_left_as_it_is_and_nothing_is_no_batch() {
        assert_eq!(joined([turn(&[("b", "1"), ("a", "1")], &["c"])]).puts, turn(&[("b", "1"), ("a", "1")], &[]).puts);
        assert!(Joint::default().take().is_none());
    }

    #[test]
    fn many_turns_or_large_ones_fill_it() {
        let mut joint = Joint::default();
        (0..TURNS_MAX - 1).for_each(|_| joint.add(turn(&[("a", "1")], &[])));
        assert!(!joint.is_full());
        joint.add(turn(&[], &[]));
        assert!(joint.is_full());
        joint.take();
        assert!(joint.is_empty() && !joint.is_full());
        joint.add(Batch { puts: vec![(key("large"), vec![0; BYTES_MAX].into())], ..Batch::default() });
        assert!(joint.is_full());
    }
}
