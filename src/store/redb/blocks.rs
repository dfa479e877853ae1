//! The rows of the table in their blocks: one looked up, sorted changes merged into them.

use std::borrow::Cow;
use std::ops::Bound;

use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, Table};

use super::block::{Block, Content, Lines, Row, is_before};
use super::pack::{Fill, Packed, pack};
use super::tally::{Tallies, area};
use crate::store::overlay::Entry;
use crate::store::{Failure, Key, Stretch};

pub(super) type Bytewise = &'static [u8];
/// Separators and blocks.
pub(super) type Found<'t> = (AccessGuard<'t, Bytewise>, AccessGuard<'t, Bytewise>);

/// Rows that fill this part of a block between two others are taken for some that come in order.
const RUN_PART: usize = 4;

/// What keeps a row from being read.
#[derive(Debug)]
pub(super) enum Trouble {
    File(redb::Error),
    Rows(Failure),
}

impl Trouble {
    /// The key of which nothing is known, when it is only one.
    pub(super) fn only_row(&self) -> Option<Key> {
        match self {
            Self::Rows(Failure::Damaged { rows: Some(rows), .. }) if rows.is_one() => Some(rows.from.clone()),
            Self::Rows(_) | Self::File(_) => None,
        }
    }
}

impl From<redb::StorageError> for Trouble {
    fn from(error: redb::StorageError) -> Self {
        Self::File(error.into())
    }
}

/// What is known of a key.
///
/// # Errors
/// When the file cannot be read, or nothing is known of the key.
pub(super) fn get(blocks: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Option<Entry>, Trouble> {
    let Some((separator, stored)) = floor(blocks, key)? else {
        return Err(Trouble::Rows(lost(&[], &next_separator(blocks, &[])?)));
    };
    let (separator, stored) = (separator.value(), stored.value());
    let block = Block::read(separator, stored);
    let said = |content: Content<'_>| match content {
        Content::Row(row) => Ok(entry(row)),
        Content::Lost { to } => Err(Trouble::Rows(lost(key, to))),
    };
    match block.next() {
        Some(next) if is_before(key, &next) => block.find(key, said).transpose(),
        Some(next) => Err(Trouble::Rows(lost(&next, &next_separator(blocks, separator)?))),
        None => {
            let lines = block.lines(&next_separator(blocks, separator)?);
            let line = lines.iter().find(|(at, content)| match content {
                Content::Row(_) => *at == key,
                Content::Lost { to } => *at <= key && is_before(key, to),
            });
            line.map(|(_, content)| said(content)).transpose()
        }
    }
}

/// What becomes of one block, or of a hole where one is missing.
pub(super) struct Edit {
    separator: Vec<u8>,
    next: Vec<u8>,
    fill: Fill,
    /// What stands there from now on; nothing when it held no row any more.
    packed: Vec<Packed>,
}

/// What sorted changes make of the blocks, and of the tallies. What they say of keys that were lost is known again.
///
/// # Errors
/// When the file cannot be read, or the pages above the blocks contradict each other.
pub(super) fn edits<'a>(
    blocks: &impl ReadableTable<Bytewise, Bytewise>,
    mut changes: &[(&'a Key, &'a Entry)],
    bytes_max: usize,
) -> Result<(Vec<Edit>, Tallies<'a>), redb::Error> {
    let (mut edits, mut tallies) = (Vec::new(), Tallies::new());
    while let Some((key, _)) = changes.first() {
        let place = Place::of(blocks, key.as_bytes())?;
        let inside = changes.partition_point(|(key, _)| is_before(key.as_bytes(), &place.next));
        if inside == 0 {
            let what = format!("the tree of the table leads {key:?} to a place where it cannot be");
            return Err(redb::Error::Corrupted(what));
        }
        let (here, behind) = changes.split_at(inside);
        let lines = place.lines();
        let in_order = are_in_order(&lines, here, bytes_max);
        let merged = merge(&lines, here, &mut tallies);
        edits.push(edit(&place, &merged, Fill { bytes_max, in_order }));
        changes = behind;
    }
    Ok((edits, tallies))
}

fn edit(place: &Place, lines: &Lines<'_>, fill: Fill) -> Edit {
    let Place { separator, next, .. } = place;
    let stays = lines.len() > 0 || separator.is_empty();
    let packed = if stays { pack(separator, next, lines, fill) } else { Vec::new() };
    Edit { separator: separator.clone(), next: next.clone(), fill, packed }
}

/// Where the block ends that a key belongs to; empty at the end of all.
pub(super) fn end(blocks: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Vec<u8>, redb::Error> {
    Ok(Place::of(blocks, key)?.next)
}

/// Notes that nothing is known of a key, of which nothing else is said.
pub(super) fn lose(
    blocks: &mut Table<'_, Bytewise, Bytewise>,
    key: &[u8],
    bytes_max: usize,
) -> Result<(), redb::Error> {
    let place = Place::of(blocks, key)?;
    let lines = place.lines();
    let mut merged = Merged { lines: Lines::with_room(lines.len() + 1, 4_096), lost: None };
    let (before, behind): (Vec<_>, Vec<_>) = lines.iter().partition(|(at, _)| *at < key);
    before.into_iter().for_each(|(at, content)| merged.take(at, content));
    merged.end_lost();
    merged.lines.push_lost(key, &[key, &[0]].concat());
    behind.into_iter().for_each(|(at, content)| merged.take(at, content));
    merged.end_lost();
    apply(blocks, [edit(&place, &merged.lines, Fill { bytes_max, in_order: false })])
}

/// Whether rows come in the order of their keys: behind all that stand here, or many at once between two that do. Those
/// that come next will stand behind them.
fn are_in_order(old: &Lines<'_>, changes: &[(&Key, &Entry)], bytes_max: usize) -> bool {
    let (Some((first, _)), Some((last, _))) = (changes.first(), changes.last()) else { return false };
    match old.iter().find(|(at, _)| *at >= first.as_bytes()) {
        None => true,
        Some((behind, _)) if behind <= last.as_bytes() => false,
        Some(_) => {
            let put =
                changes.iter().filter_map(|(key, entry)| Some(key.as_bytes().len() + entry.value.as_ref()?.len()));
            put.sum::<usize>() >= bytes_max / RUN_PART
        }
    }
}

/// The block that a key belongs to, or the hole where it is missing.
struct Place {
    separator: Vec<u8>,
    next: Vec<u8>,
    stored: Option<Vec<u8>>,
}

impl Place {
    fn of(blocks: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Self, redb::Error> {
        let Some((separator, stored)) = floor(blocks, key)? else {
            return Ok(Self { separator: Vec::new(), next: next_separator(blocks, &[])?, stored: None });
        };
        let separator = separator.value().to_vec();
        match Block::read(&separator, stored.value()).next() {
            Some(next) if is_before(key, &next) => Ok(Self { next, stored: Some(stored.value().to_vec()), separator }),
            Some(next) => Ok(Self { next: next_separator(blocks, &separator)?, separator: next, stored: None }),
            None => {
                let next = next_separator(blocks, &separator)?;
                Ok(Self { next, stored: Some(stored.value().to_vec()), separator })
            }
        }
    }

    fn lines(&self) -> Lines<'_> {
        if let Some(stored) = &self.stored {
            return Block::read(&self.separator, stored).lines(&self.next);
        }
        let mut lines = Lines::default();
        lines.push_lost(&self.separator, &self.next);
        lines
    }
}

/// Does what was found to be done, in the order of the keys. Meanwhile nothing else may have changed those blocks.
///
/// # Errors
/// When the file cannot be read or written.
pub(super) fn apply(
    blocks: &mut Table<'_, Bytewise, Bytewise>,
    edits: impl IntoIterator<Item = Edit>,
) -> Result<(), redb::Error> {
    for edit in edits {
        if edit.packed.is_empty() {
            remove(blocks, &edit)?;
        }
        insert(blocks, edit.packed)?;
    }
    Ok(())
}

fn insert(blocks: &mut Table<'_, Bytewise, Bytewise>, packed: Vec<Packed>) -> Result<(), redb::Error> {
    for (separator, stored) in packed {
        blocks.insert(separator.as_slice(), stored.as_slice())?;
    }
    Ok(())
}

/// Of a block without rows nothing stays, and the one before it takes over what it covered.
fn remove(blocks: &mut Table<'_, Bytewise, Bytewise>, edit: &Edit) -> Result<(), redb::Error> {
    let separator = edit.separator.as_slice();
    blocks.remove(separator)?;
    let before = match floor(blocks, separator)? {
        Some((before, stored)) => {
            let block = Block::read(before.value(), stored.value());
            let end = block.next().unwrap_or_else(|| separator.to_vec());
            Place { separator: before.value().to_vec(), next: end, stored: Some(stored.value().to_vec()) }
        }
        None => Place { separator: Vec::new(), next: separator.to_vec(), stored: None },
    };
    let mut lines = before.lines();
    // What was missing between the two stays unknown.
    lines.push_lost(&before.next, separator);
    insert(blocks, pack(&before.separator, &edit.next, &lines, edit.fill))
}

/// Old lines with changes laid over them.
fn merge<'lines, 'change: 'lines>(
    old: &'lines Lines<'_>,
    changes: &[(&'change Key, &'change Entry)],
    tallies: &mut Tallies<'change>,
) -> Lines<'lines> {
    let bytes = changes.iter().map(|(key, _)| key.as_bytes().len()).sum::<usize>();
    let mut merged = Merged { lines: Lines::with_room(old.len() + changes.len(), bytes + 4_096), lost: None };
    let mut old = old.iter().peekable();
    for (key, entry) in changes {
        let key = key.as_bytes();
        while let Some((at, content)) = old.next_if(|(at, _)| *at < key) {
            merged.take(at, content);
        }
        merged.lose_before(key);
        let tally = tallies.entry(area(key)).or_default();
        match old.next_if(|(at, _)| *at == key) {
            Some((_, Content::Row(row))) => tally.subtract(row),
            Some((_, Content::Lost { to })) => merged.lost = Some((Cow::Owned([key, &[0]].concat()), to)),
            None => {}
        }
        if let Some(value) = &entry.value {
            let row = Row::new(key, entry.version, value);
            tally.add(row);
            merged.lines.push(key, row);
        }
    }
    for (at, content) in old {
        merged.take(at, content);
    }
    merged.end_lost();
    merged.lines
}

struct Merged<'a> {
    lines: Lines<'a>,
    /// A stretch that is lost, as far as it has not been written down yet.
    lost: Option<(Cow<'a, [u8]>, &'a [u8])>,
}

impl<'a> Merged<'a> {
    fn take(&mut self, at: &'a [u8], content: Content<'a>) {
        self.end_lost();
        match content {
            Content::Row(row) => self.lines.push(at, row),
            Content::Lost { to } => self.lost = Some((Cow::Borrowed(at), to)),
        }
    }

    /// What is lost up to a key of which something is known now; behind it it goes on.
    fn lose_before(&mut self, key: &[u8]) {
        if let Some((from, to)) = self.lost.take_if(|(_, to)| is_before(key, to)) {
            self.lines.push_lost(&from, key);
            self.lost = Some((Cow::Owned([key, &[0]].concat()), to));
        }
        if self.lost.as_ref().is_some_and(|(_, to)| !is_before(key, to)) {
            self.end_lost();
        }
    }

    fn end_lost(&mut self) {
        if let Some((from, to)) = self.lost.take() {
            self.lines.push_lost(&from, to);
        }
    }
}

/// The block with the highest separator that is not above a key.
pub(super) fn floor<'t>(
    blocks: &'t impl ReadableTable<Bytewise, Bytewise>,
    key: &[u8],
) -> Result<Option<Found<'t>>, redb::StorageError> {
    blocks.range::<&[u8]>(..=key)?.next_back().transpose()
}

/// The lowest separator above this one, empty at the end of all.
pub(super) fn next_separator(
    blocks: &impl ReadableTable<Bytewise, Bytewise>,
    separator: &[u8],
) -> Result<Vec<u8>, redb::StorageError> {
    let above = (Bound::Excluded(separator), Bound::Unbounded);
    let next = blocks.range::<&[u8]>(above)?.next().transpose()?;
    Ok(next.map_or(Vec::new(), |(separator, _)| separator.value().to_vec()))
}

pub(super) fn entry(row: Row<'_>) -> Entry {
    Entry { version: row.version, value: Some(Bytes::copy_from_slice(row.value)) }
}

/// Says that nothing is known of the keys from one up to another, or to the end of all.
pub(super) fn lost(from: &[u8], to: &[u8]) -> Failure {
    let from = Key::from_bytes(from.to_vec());
    let to = if to.is_empty() { Key::default().after_prefix() } else { Key::from_bytes(to.to_vec()) };
    let rows = Stretch { from, to };
    let what = if rows.is_one() { "a row does not match its checksum" } else { "what some rows held cannot be told" };
    Failure::Damaged { what: what.to_owned(), rows: Some(rows) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::backends::InMemoryBackend;
    use redb::{Database, TableDefinition};

    use super::*;
    use crate::store::Position;

    const ROWS: TableDefinition<'_, Bytewise, Bytewise> = TableDefinition::new("rows");
    const BYTES_MAX: usize = 4_084;

    /// The part of each block that is filled after these keys were written, step by step.
    fn filled(steps: &[Vec<String>]) -> Vec<f64> {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let write = database.begin_write().unwrap();
        let mut blocks = write.open_table(ROWS).unwrap();
        blocks.insert(b"".as_slice(), super::super::pack::empty(&[], &[]).as_slice()).unwrap();
        for step in steps {
            let rows = step.iter().map(|key| {
                let entry = Entry { version: Position(1), value: Some(Bytes::from_static(&[7; 100])) };
                (Key::from_bytes(key.clone().into_bytes()), entry)
            });
            let rows: BTreeMap<Key, Entry> = rows.collect();
            let changes: Vec<_> = rows.iter().collect();
            let (edits, _) = edits(&blocks, &changes, BYTES_MAX).unwrap();
            apply(&mut blocks, edits).unwrap();
        }
        let sizes = blocks.iter().unwrap().map(|found| found.unwrap().1.value().len() as f64 / BYTES_MAX as f64);
        sizes.collect()
    }

    fn average(parts: &[f64]) -> f64 {
        parts.iter().sum::<f64>() / parts.len() as f64
    }

    #[test]
    fn rows_that_come_in_order_fill_their_blocks_whatever_stands_behind_them() {
        let runs = |number: usize| {
            let range = number * 200..(number + 1) * 200;
            range.flat_map(|row| ["a", "m"].map(|list| format!("{list}/{row:06}"))).collect()
        };
        let steps: Vec<Vec<String>> = [vec!["z".to_owned()]].into_iter().chain((0..20).map(runs)).collect();
        let parts = filled(&steps);
        assert!(average(&parts) > 0.93, "{parts:?}");
    }

    #[test]
    fn rows_that_come_here_and_there_find_room() {
        let key = |row: u64| format!("{:016x}", row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let steps: Vec<Vec<String>> = (0..60).map(|step| (step * 100..(step + 1) * 100).map(key).collect()).collect();
        let parts = filled(&steps);
        assert!(average(&parts) < 0.9, "full blocks would be split by the next row that comes: {parts:?}");
        assert!(average(&parts) > 0.6, "{parts:?}");
    }
}
