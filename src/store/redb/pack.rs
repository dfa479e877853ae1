//! Puts lines into blocks: how many go into one, and what that looks like on disk.

use std::ops::Range;

use super::block::{Content, Lines, Row, put_number, seal};
use crate::store::Position;

/// Checksum, count, and the lengths that say where the next block begins: less than this.
const HEADER_BYTES: usize = 16;
/// How full the blocks become of which there are more than one, in percent: the next row should find room.
const FILL_PERCENT: usize = 90;
/// What most blocks take.
const ROOM_BYTES: usize = 4 << 10;

/// A block to be stored, and its separator.
pub(super) type Packed = (Vec<u8>, Vec<u8>);

/// How blocks are filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill {
    /// Of a block and its separator. A line that is longer has a block for itself.
    pub(super) bytes_max: usize,
    /// The lines come in order, so that all blocks but the last can be full.
    pub(super) in_order: bool,
}

/// Puts lines into blocks, between a separator and the next.
pub(super) fn pack(separator: &[u8], next: &[u8], lines: &Lines<'_>, fill: Fill) -> Vec<Packed> {
    let sizes: Vec<usize> = sizes(lines).collect();
    let target = target(sizes.iter().sum(), separator, next, fill);
    let mut packed = Vec::new();
    let mut separator = separator.to_vec();
    let mut first = 0;
    loop {
        let room = fill.bytes_max.saturating_sub(HEADER_BYTES + separator.len());
        let end = first + fitting(room, target, next, lines, &sizes[first..], first);
        let behind = match (lines.get(end.wrapping_sub(1)), lines.get(end)) {
            (Some((before, _)), Some((key, _))) if end > 0 => between(before, key).to_vec(),
            _ => next.to_vec(),
        };
        packed.push((separator.clone(), encode(&separator, &behind, lines, first..end)));
        if end == lines.len() {
            return packed;
        }
        (first, separator) = (end, behind);
    }
}

/// An empty block.
pub(super) fn empty(separator: &[u8], next: &[u8]) -> Vec<u8> {
    encode(separator, next, &Lines::default(), 0..0)
}

/// Up to which size a block is filled: more only if all fits into one.
fn target(total: usize, separator: &[u8], next: &[u8], fill: Fill) -> usize {
    let most = fill.bytes_max * FILL_PERCENT / 100;
    let fits = HEADER_BYTES + separator.len() + total + next.len() <= fill.bytes_max;
    if fill.in_order || fits || most == 0 { usize::MAX } else { total.div_ceil(total.div_ceil(most)) }
}

/// How many of the lines that begin with the first go into one block: at least one, if there is one, and not more than
/// reach the target, so that none but a few are left for the last block.
fn fitting(room: usize, target: usize, next: &[u8], lines: &Lines<'_>, sizes: &[usize], first: usize) -> usize {
    let mut bytes = 0;
    for (index, size) in sizes.iter().enumerate() {
        // Where the next block begins is said too, at most with the whole key of the line behind.
        let behind = lines.get(first + index + 1).map_or(next, |(key, _)| key);
        if index > 0 && (bytes >= target || bytes + size + behind.len() > room) {
            return index;
        }
        bytes += size;
    }
    sizes.len()
}

/// What each line takes, at most.
fn sizes(lines: &Lines<'_>) -> impl Iterator<Item = usize> {
    const FIXED_BYTES: usize = 8;
    let mut before: &[u8] = &[];
    lines.iter().map(move |(key, content)| {
        let shared = shared(before, key);
        let (value, version) = match content {
            Content::Row(row) => (row.value, row.version),
            Content::Lost { to } => (to, Position(0)),
        };
        let numbers = [shared as u64, (key.len() - shared) as u64, 2 * value.len() as u64 + 1, version.0];
        before = key;
        FIXED_BYTES + key.len() - shared + value.len() + numbers.into_iter().map(number_bytes).sum::<usize>()
    })
}

pub(super) fn encode(separator: &[u8], next: &[u8], lines: &Lines<'_>, range: Range<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROOM_BYTES);
    out.extend_from_slice(&[0; 4]);
    put_number(&mut out, range.len() as u64);
    let common = shared(separator, next);
    put_number(&mut out, common as u64);
    put_number(&mut out, (next.len() - common) as u64);
    out.extend_from_slice(&next[common..]);
    let mut before = separator;
    for (key, content) in range.filter_map(|index| lines.get(index)) {
        let (lost, row) = match content {
            Content::Row(row) => (0, row),
            Content::Lost { to } => {
                let row = Row::new(key, Position(0), to);
                (1, Row { checksum: !row.checksum, ..row })
            }
        };
        let common = shared(before, key);
        put_number(&mut out, common as u64);
        put_number(&mut out, (key.len() - common) as u64);
        put_number(&mut out, (row.value.len() as u64) << 1 | lost);
        put_number(&mut out, row.version.0);
        out.extend_from_slice(&row.key_check.to_le_bytes());
        out.extend_from_slice(&row.checksum.to_le_bytes());
        out.extend_from_slice(&key[common..]);
        out.extend_from_slice(row.value);
        before = key;
    }
    let crc = seal(separator, &out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The shortest key above the one and not above the other.
fn between<'a>(before: &[u8], key: &'a [u8]) -> &'a [u8] {
    &key[..key.len().min(shared(before, key) + 1)]
}

fn shared(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn number_bytes(number: u64) -> usize {
    usize::try_from((64 - number.leading_zeros()).max(1).div_ceil(7)).expect("at most ten")
}
