//! A block: neighbouring rows in one value of the table, sealed so that neither damage nor a wrong place goes unnoticed.
//!
//! A block stands under a separator, which no key in it is below, and says itself where the next block begins: together
//! they cover all keys there can be, so that one that is missing shows. Where the seal is broken each row is looked at by
//! itself, and what cannot be told is a stretch of keys of which nothing is known: never taken for rows that are not there.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Buf;

use crate::store::Position;

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Row(Row<'a>),
    /// Nothing is known of the keys from this one up to another; an empty one stands for the end of all.
    Lost {
        to: &'a [u8],
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) version: Position,
    pub(super) value: &'a [u8],
    pub(super) key_check: u32,
    /// Over key, version and value.
    pub(super) checksum: u32,
}

impl<'a> Row<'a> {
    pub(super) fn new(key: &[u8], version: Position, value: &'a [u8]) -> Self {
        let (key_check, checksum) = checksums(key, version, value);
        Self { version, value, key_check, checksum }
    }
}

/// The lines of a block in order: keys beside each other, and what stands under each.
#[derive(Debug, Default)]
pub(super) struct Lines<'a> {
    keys: Vec<u8>,
    lines: Vec<Line<'a>>,
}

#[derive(Debug)]
enum Line<'a> {
    Row(Range<usize>, Row<'a>),
    Lost(Range<usize>, Range<usize>),
}

impl<'a> Lines<'a> {
    pub(super) fn with_room(lines: usize, key_bytes: usize) -> Self {
        Self { keys: Vec::with_capacity(key_bytes), lines: Vec::with_capacity(lines) }
    }

    pub(super) fn push(&mut self, key: &[u8], row: Row<'a>) {
        let key = self.keep(key);
        self.lines.push(Line::Row(key, row));
    }

    /// Nothing if there is no key between the two.
    pub(super) fn push_lost(&mut self, from: &[u8], to: &[u8]) {
        if is_before(from, to) {
            let line = Line::Lost(self.keep(from), self.keep(to));
            self.lines.push(line);
        }
    }

    fn keep(&mut self, key: &[u8]) -> Range<usize> {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        start..self.keys.len()
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<(&[u8], Content<'_>)> {
        self.lines.get(index).map(|line| self.shown(line))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Content<'_>)> {
        self.lines.iter().map(|line| self.shown(line))
    }

    fn shown(&self, line: &Line<'a>) -> (&[u8], Content<'_>) {
        match line {
            Line::Row(key, row) => (&self.keys[key.clone()], Content::Row(*row)),
            Line::Lost(from, to) => (&self.keys[from.clone()], Content::Lost { to: &self.keys[to.clone()] }),
        }
    }
}

/// A block as it is stored: `crc32 · lines · separator of the next block · lines`, of which the first goes over the
/// separator and all that follows. A line is `bytes of the key shared with the one before · further bytes · twice the
/// length of the value, and 1 for a lost stretch · version · crc32 of the key · crc32 · key · value`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    separator: &'a [u8],
    /// Whether it is as it was written, for this separator.
    sound: bool,
    count: u64,
    next: (usize, &'a [u8]),
    lines: &'a [u8],
}

impl<'a> Block<'a> {
    pub(super) fn read(separator: &'a [u8], stored: &'a [u8]) -> Self {
        let sealed = stored.split_first_chunk();
        let sound = sealed.is_some_and(|(crc, rest)| u32::from_le_bytes(*crc) == seal(separator, rest));
        // As many lines as cannot be there, so that all of them count as lost.
        let broken = Self { separator, sound: false, count: u64::MAX, next: (0, &[]), lines: &[] };
        Self::parse(separator, stored).map_or(broken, |block| Self { sound, ..block })
    }

    fn parse(separator: &'a [u8], stored: &'a [u8]) -> Option<Self> {
        let mut rest = stored.get(4..)?;
        let count = get_number(&mut rest)?;
        let shared = get_length(&mut rest).filter(|&shared| shared <= separator.len())?;
        let own = get_length(&mut rest)?;
        let (own, lines) = rest.split_at_checked(own)?;
        Some(Self { separator, sound: false, count, next: (shared, own), lines })
    }

    pub(super) fn is_sound(&self) -> bool {
        self.sound
    }

    /// How many lines it says that it has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Where the next block begins, empty at the end of all; `None` when it is not sound and cannot say.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let (shared, own) = self.next;
        self.sound.then(|| [&self.separator[..shared], own].concat())
    }

    /// Its lines. `next` is where the next block really begins: of one that is not sound nothing is known up to there.
    pub(super) fn lines(&self, next: &[u8]) -> Lines<'a> {
        if self.sound { self.all() } else { self.salvaged(next) }
    }

    /// What a sound block says of a key: the line under it, or the stretch that it lies in.
    pub(super) fn find<T>(&self, key: &[u8], found: impl FnOnce(Content<'_>) -> T) -> Option<T> {
        let mut reader = Reader::of(self);
        while let Some(line) = reader.line() {
            let content = line.content();
            match (reader.key.as_slice().cmp(key), content) {
                (Ordering::Equal, _) => return Some(found(content)),
                (Ordering::Greater, _) => return None,
                (Ordering::Less, Content::Lost { to }) if is_before(key, to) => return Some(found(content)),
                (Ordering::Less, _) => {}
            }
        }
        None
    }

    fn all(&self) -> Lines<'a> {
        let mut lines = Lines::default();
        let mut reader = Reader::of(self);
        while let Some(line) = reader.line() {
            match line.content() {
                Content::Row(row) => lines.push(&reader.key, row),
                Content::Lost { to } => lines.push_lost(&reader.key, to),
            }
        }
        lines
    }

    /// The rows that certainly are what was written, and between them what is lost.
    fn salvaged(&self, next: &[u8]) -> Lines<'a> {
        let mut lines = Lines::default();
        let mut reader = Reader::of(self);
        // The first key of which nothing is known yet.
        let mut from = self.separator.to_vec();
        let (mut read, mut gap) = (0, false);
        while let Some(line) = reader.line() {
            read += 1;
            let key = reader.key.as_slice();
            let (key_check, mut checksum) = checksums(key, line.version, line.value);
            if line.lost {
                checksum = !checksum;
            }
            if line.key_check != key_check || key < from.as_slice() || !is_before(key, next) {
                gap = true;
                continue;
            }
            if gap {
                lines.push_lost(&from, key);
                gap = false;
            }
            from = [key, &[0]].concat();
            match line.content() {
                Content::Row(row) if line.checksum == checksum => lines.push(key, row),
                Content::Lost { to } if line.checksum == checksum => {
                    lines.push_lost(key, to);
                    to.clone_into(&mut from);
                }
                _ => lines.push_lost(key, &from),
            }
        }
        if gap || !reader.rest.is_empty() || read != self.count {
            lines.push_lost(&from, next);
        }
        lines
    }
}

/// Goes from line to line; stops where there is none that could be one.
struct Reader<'a> {
    key: Vec<u8>,
    rest: &'a [u8],
}

struct Raw<'a> {
    lost: bool,
    version: Position,
    key_check: u32,
    checksum: u32,
    value: &'a [u8],
}

impl<'a> Raw<'a> {
    fn content(&self) -> Content<'a> {
        let Self { version, value, key_check, checksum, .. } = *self;
        if self.lost { Content::Lost { to: value } } else { Content::Row(Row { version, value, key_check, checksum }) }
    }
}

impl<'a> Reader<'a> {
    fn of(block: &Block<'a>) -> Self {
        let mut key = Vec::with_capacity(64);
        key.extend_from_slice(block.separator);
        Self { key, rest: block.lines }
    }

    fn line(&mut self) -> Option<Raw<'a>> {
        let mut rest = self.rest;
        let shared = get_length(&mut rest).filter(|&shared| shared <= self.key.len())?;
        let own = get_length(&mut rest)?;
        let tag = get_number(&mut rest)?;
        let version = Position(get_number(&mut rest)?);
        let key_check = rest.try_get_u32_le().ok()?;
        let checksum = rest.try_get_u32_le().ok()?;
        let (own, rest) = rest.split_at_checked(own)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(tag >> 1).ok()?)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(own);
        self.rest = rest;
        Some(Raw { lost: tag & 1 == 1, version, key_check, checksum, value })
    }
}

/// Whether a key lies before an end, which is that of all keys when it is empty.
pub(super) fn is_before(key: &[u8], end: &[u8]) -> bool {
    end.is_empty() || key < end
}

pub(super) fn seal(separator: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // The length keeps a byte from moving between the two unnoticed.
    hasher.update(&(separator.len() as u64).to_le_bytes());
    hasher.update(separator);
    hasher.update(rest);
    hasher.finalize()
}

/// Over the key, and over all of a row. The first alone says which row is damaged when the second does not hold. Of a
/// stretch that is lost the second is inverted, so that a row is never taken for one.
pub(super) fn checksums(key: &[u8], version: Position, value: &[u8]) -> (u32, u32) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    let key_check = hasher.clone().finalize();
    hasher.update(&version.0.to_le_bytes());
    hasher.update(value);
    (key_check, hasher.finalize())
}

/// Numbers take seven bits to a byte, the lowest first; the highest bit says that more follow.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).expect("of seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("below 128"));
}

fn get_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn get_length(rest: &mut &[u8]) -> Option<usize> {
    get_number(rest).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::pack::{self, Fill, Packed, encode};
    use super::*;

    const BYTES_MAX: usize = 4_084;

    type Rows = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

    fn pack(separator: &[u8], next: &[u8], lines: &Lines<'_>, in_order: bool) -> Vec<Packed> {
        pack::pack(separator, next, lines, Fill { bytes_max: BYTES_MAX, in_order })
    }

    fn lines(rows: &Rows) -> Lines<'_> {
        let mut lines = Lines::default();
        for (key, (version, value)) in rows {
            lines.push(key, Row::new(key, Position(*version), value));
        }
        lines
    }

    fn rows() -> impl Strategy<Value = Rows> {
        let key = prop::collection::vec(prop_oneof![Just(0), Just(7), any::<u8>()], 1..40);
        let value = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..60), 1 => prop::collection::vec(any::<u8>(), 900..5_000)];
        prop::collection::btree_map(key, (any::<u64>(), value), 0..80)
    }

    type Stretches = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(lines: &Lines<'_>) -> (Rows, Stretches) {
        let (mut rows, mut lost) = (Rows::new(), Vec::new());
        for (key, content) in lines.iter() {
            match content {
                Content::Row(row) => drop(rows.insert(key.to_vec(), (row.version.0, row.value.to_vec()))),
                Content::Lost { to } => lost.push((key.to_vec(), to.to_vec())),
            }
        }
        (rows, lost)
    }

    proptest! {
        #[test]
        fn packed_rows_are_read_back_and_their_blocks_cover_all_keys(rows in rows(), in_order in any::<bool>()) {
            let packed = pack(&[], &[], &lines(&rows), in_order);
            let (mut seen, mut expected) = (Rows::new(), Vec::new());
            for (separator, stored) in &packed {
                prop_assert_eq!(separator, &expected);
                let block = Block::read(separator, stored);
                prop_assert!(block.is_sound());
                expected = block.next().unwrap();
                let (found, lost) = read(&block.lines(&expected));
                prop_assert!(lost.is_empty());
                prop_assert_eq!(found.len() as u64, block.count());
                prop_assert!(found.keys().all(|key| key >= separator && is_before(key, &expected)));
                prop_assert!(stored.len() + separator.len() <= BYTES_MAX || found.len() == 1, "{}", stored.len());
                seen.extend(found);
            }
            prop_assert!(expected.is_empty());
            prop_assert_eq!(seen, rows);
        }

        #[test]
        fn whatever_bit_is_flipped_every_row_is_right_or_known_to_be_lost(
            mut rows in rows(),
            flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
            end in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            rows.retain(|key, _| is_before(key, &end));
            let packed = pack(&[], &end, &lines(&rows), false);
            let (separator, mut stored) = packed[0].clone();
            let next = packed.get(1).map_or(end, |(next, _)| next.clone());
            let rows: Rows = rows.iter().map(|(key, row)| (key.clone(), row.clone())).filter(|(key, _)| is_before(key, &next)).collect();
            for flip in flips {
                let bit = flip.index(stored.len() * 8);
                stored[bit / 8] ^= 1 << (bit % 8);
            }
            let block = Block::read(&separator, &stored);
            let (found, lost) = read(&block.lines(&next));
            for (key, row) in &rows {
                let is_lost = lost.iter().any(|(from, to)| key >= from && is_before(key, to));
                prop_assert!(found.get(key).map_or(is_lost, |found| found == row), "{key:?}");
            }
            prop_assert!(found.keys().all(|key| rows.contains_key(key)));
        }
    }

    #[test]
    fn a_key_is_found_by_itself_and_within_a_stretch_that_is_lost() {
        let mut lines = Lines::default();
        lines.push(b"b", Row::new(b"b", Position(1), b"x"));
        lines.push_lost(b"d", b"f");
        lines.push(b"f", Row::new(b"f", Position(2), b"y"));
        lines.push_lost(b"g", b"");
        let (separator, stored) = pack(&[], &[], &lines, false).remove(0);
        let block = Block::read(&separator, &stored);
        let is_lost = |key: &[u8]| block.find(key, |content| matches!(content, Content::Lost { .. }));
        assert_eq!([b"a", b"b", b"c"].map(|key| is_lost(key)), [None, Some(false), None]);
        assert_eq!([b"d", b"e", b"f"].map(|key| is_lost(key)), [Some(true), Some(true), Some(false)]);
        assert_eq!(is_lost(b"zz"), Some(true));
    }

    #[test]
    fn a_value_that_is_damaged_loses_its_own_row_only() {
        let rows: Rows = (0..20_u8).map(|number| (vec![5, number], (1, vec![number; 20]))).collect();
        let (separator, mut stored) = pack(&[], &[], &lines(&rows), false).remove(0);
        let at = stored.windows(20).position(|window| window == [7; 20]).unwrap();
        stored[at + 3] ^= 1;
        let (found, lost) = read(&Block::read(&separator, &stored).lines(&[]));
        assert_eq!((found.len(), lost), (19, vec![(vec![5, 7], vec![5, 7, 0])]));
    }

    #[test]
    fn a_header_that_is_damaged_loses_what_cannot_be_told_and_never_says_that_there_was_nothing() {
        let rows: Rows = (0..20_u8).map(|number| (vec![5, number], (1, vec![number; 20]))).collect();
        let (separator, stored) = pack(&[], b"z", &lines(&rows), false).remove(0);
        for bit in 0..8 * 16 {
            let mut stored = stored.clone();
            stored[bit / 8] ^= 1 << (bit % 8);
            let (found, lost) = read(&Block::read(&separator, &stored).lines(b"z"));
            let is_lost = |key: &Vec<u8>| lost.iter().any(|(from, to)| key >= from && is_before(key, to));
            assert!(rows.iter().all(|(key, row)| found.get(key).map_or(is_lost(key), |found| found == row)), "{bit}");
        }
        let nothing = Block::read(b"a", &[]);
        assert_eq!(read(&nothing.lines(b"z")).1, [(b"a".to_vec(), b"z".to_vec())]);
    }

    #[test]
    fn a_block_that_stands_under_another_separator_is_not_sound() {
        let rows = Rows::from([(b"mm".to_vec(), (1, vec![1]))]);
        let stored = encode(b"m", b"n", &lines(&rows), 0..1);
        assert!(Block::read(b"m", &stored).is_sound());
        assert!(!Block::read(b"l", &stored).is_sound());
    }

    #[test]
    fn rows_that_grow_at_their_end_fill_their_blocks() {
        let rows: Rows = (0..1_000_u32).map(|number| (number.to_be_bytes().to_vec(), (1, vec![7; 100]))).collect();
        let full = pack(&[], &[], &lines(&rows), true);
        let bytes: usize = full.iter().map(|(_, stored)| stored.len()).sum();
        assert!(bytes * 100 / (full.len() * BYTES_MAX) >= 95, "{} bytes in {} blocks", bytes, full.len());
    }
}
