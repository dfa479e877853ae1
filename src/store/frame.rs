//! How a group of batches is written: one frame of resolved puts and deletes, cut into numbered rows of the log.
//!
//! ```text
//! row   = crc32(number, rest) · format 1 · index in the frame · rows of the frame · a piece of the frame
//! frame = for each batch: position · shard · epoch · puts · deletes · (key length, value length, key, value)* · (key length, key)*
//! ```
//! Numbers are little-endian. Rows are numbered without gaps over the life of the store, so one that is missing shows.

use bytes::{Buf, Bytes};

use super::{Batch, Epoch, Fence, Key, Position, Shard};

/// What fills a page of redb, whose sizes are powers of two from 4 KiB: a row takes a whole page of the next size, and
/// above 64 KiB twice that. Smaller pieces share a page.
const PIECE_BYTES: [usize; 5] = [65_000, 32_400, 16_000, 7_900, 3_900];
const HEADER_BYTES: usize = 13;
const FORMAT: u8 = 1;

/// What is wrong with a stored frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("row {0} of the log does not match its checksum")]
    Checksum(u64),
    #[error("row {expected} of the log is missing, row {found} follows")]
    Gap { expected: u64, found: u64 },
    #[error("row {0} of the log does not continue the frame before it")]
    Order(u64),
    #[error("row {0} of the log has format {1}, which this version does not know")]
    Format(u64, u8),
    #[error("a frame of the log ends too early")]
    Short,
}

/// One thing that a frame says; a `Begin` precedes the puts and deletes of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Begin(Position, Fence),
    Put(Key, Bytes),
    Delete(Key),
}

/// Gathers batches into a frame.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// For frames of about this many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn push(&mut self, position: Position, batch: &Batch) {
        let out = &mut self.0;
        out.extend_from_slice(&position.0.to_le_bytes());
        out.extend_from_slice(&batch.fence.shard.0.to_le_bytes());
        out.extend_from_slice(&batch.fence.epoch.0.to_le_bytes());
        put_len(out, batch.puts.len());
        put_len(out, batch.deletes.len());
        for (key, value) in &batch.puts {
            put_len(out, key.as_bytes().len());
            put_len(out, value.len());
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value);
        }
        for key in &batch.deletes {
            put_len(out, key.as_bytes().len());
            out.extend_from_slice(key.as_bytes());
        }
    }

    pub(crate) fn done(self) -> Bytes {
        self.0.into()
    }
}

/// How many bytes a batch takes in a frame.
pub(crate) fn weight(batch: &Batch) -> usize {
    let puts: usize = batch.puts.iter().map(|(key, value)| 8 + key.as_bytes().len() + value.len()).sum();
    let deletes: usize = batch.deletes.iter().map(|key| 4 + key.as_bytes().len()).sum();
    28 + puts + deletes
}

/// Reads a frame; keys and values share its memory.
pub(crate) fn ops(frame: Bytes) -> Ops {
    Ops { rest: frame, puts: 0, deletes: 0 }
}

/// The operations of a frame, in order. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Ops {
    rest: Bytes,
    puts: u32,
    deletes: u32,
}

impl Iterator for Ops {
    type Item = Result<Op, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.puts == 0 && self.deletes == 0 {
            return None;
        }
        let op = self.read().ok_or(Malformed::Short);
        if op.is_err() {
            *self = ops(Bytes::new());
        }
        Some(op)
    }
}

impl Ops {
    fn read(&mut self) -> Option<Op> {
        if self.puts > 0 {
            self.puts -= 1;
            let (key, value) = (self.length()?, self.length()?);
            return Some(Op::Put(Key::from_bytes(self.take(key)?), self.take(value)?));
        }
        if self.deletes > 0 {
            self.deletes -= 1;
            let key = self.length()?;
            return Some(Op::Delete(Key::from_bytes(self.take(key)?)));
        }
        let position = Position(self.rest.try_get_u64_le().ok()?);
        let shard = Shard(self.rest.try_get_u32_le().ok()?);
        let epoch = Epoch(self.rest.try_get_u64_le().ok()?);
        self.puts = self.rest.try_get_u32_le().ok()?;
        self.deletes = self.rest.try_get_u32_le().ok()?;
        Some(Op::Begin(position, Fence { shard, epoch }))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.rest.try_get_u32_le().ok()?).ok()
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.rest.len()).then(|| self.rest.split_to(length))
    }
}

/// Cuts a frame into the rows `first`, `first + 1` and so on.
pub(crate) fn rows(frame: &[u8], first: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let pieces = pieces(frame);
    let count = pieces.len();
    pieces.into_iter().zip(first..).enumerate().map(move |(index, (piece, number))| {
        let mut row = Vec::with_capacity(HEADER_BYTES + piece.len());
        row.extend_from_slice(&[0; 4]);
        row.push(FORMAT);
        put_len(&mut row, index);
        put_len(&mut row, count);
        row.extend_from_slice(piece);
        let crc = checksum(number, &row[4..]);
        row[..4].copy_from_slice(&crc.to_le_bytes());
        (number, row)
    })
}

/// Puts frames together again from consecutive rows.
#[derive(Debug)]
pub(crate) struct Assembler {
    next: u64,
    pieces: Vec<u8>,
    index: u32,
}

impl Assembler {
    /// Expects `next` to be the first row.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { next, pieces: Vec::new(), index: 0 }
    }

    /// Takes one row, and gives the frame that it completes.
    pub(crate) fn push(&mut self, number: u64, row: &[u8]) -> Result<Option<Bytes>, Malformed> {
        if number != self.next {
            return Err(Malformed::Gap { expected: self.next, found: number });
        }
        self.next += 1;
        let (mut header, piece) = row.split_at_checked(HEADER_BYTES).ok_or(Malformed::Checksum(number))?;
        if header.get_u32_le() != checksum(number, &row[4..]) {
            return Err(Malformed::Checksum(number));
        }
        match header.get_u8() {
            FORMAT => {}
            other => return Err(Malformed::Format(number, other)),
        }
        let (index, count) = (header.get_u32_le(), header.get_u32_le());
        if index != self.index {
            return Err(Malformed::Order(number));
        }
        self.pieces.extend_from_slice(piece);
        self.index += 1;
        if self.index < count {
            return Ok(None);
        }
        self.index = 0;
        Ok(Some(std::mem::take(&mut self.pieces).into()))
    }

    /// The number of the last row taken; fails when a frame is still open.
    pub(crate) fn last(&self) -> Result<u64, Malformed> {
        if self.index == 0 { Ok(self.next - 1) } else { Err(Malformed::Short) }
    }
}

/// Cuts so that pages are at least three quarters full, except for the last one of the smallest size.
fn pieces(mut frame: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while !frame.is_empty() {
        let [.., smallest] = PIECE_BYTES;
        let size = PIECE_BYTES.into_iter().find(|size| frame.len() >= size / 4 * 3).unwrap_or(smallest);
        let (piece, rest) = frame.split_at(size.min(frame.len()));
        pieces.push(piece);
        frame = rest;
    }
    pieces
}

fn checksum(number: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("batches are far smaller than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(size: usize) -> Batch {
        Batch {
            fence: Fence { shard: Shard(3), epoch: Epoch(4) },
            puts: vec![(Key::from_bytes("put"), vec![7; size].into()), (Key::default(), Bytes::new())],
            deletes: vec![Key::from_bytes("gone")],
            ..Batch::default()
        }
    }

    fn frame(size: usize) -> Bytes {
        let mut writer = Writer::default();
        writer.push(Position(5), &batch(size));
        writer.push(Position(6), &Batch::default());
        writer.done()
    }

    #[test]
    fn a_frame_reads_back_what_was_written() {
        let ops: Vec<Op> = ops(frame(2)).map(Result::unwrap).collect();
        let expected = vec![
            Op::Begin(Position(5), Fence { shard: Shard(3), epoch: Epoch(4) }),
            Op::Put(Key::from_bytes("put"), vec![7; 2].into()),
            Op::Put(Key::default(), Bytes::new()),
            Op::Delete(Key::from_bytes("gone")),
            Op::Begin(Position(6), Fence::default()),
        ];
        assert_eq!(ops, expected);
    }

    #[test]
    fn the_weight_of_a_batch_is_its_size_in_a_frame() {
        assert_eq!(weight(&batch(100)) + weight(&Batch::default()), frame(100).len());
    }

    #[test]
    fn a_frame_that_was_cut_short_says_so_and_ends() {
        let whole = frame(2);
        for length in 1..whole.len() {
            let read: Vec<_> = ops(whole.slice(..length)).collect();
            let batches_end = whole.len() - weight(&Batch::default());
            assert_eq!(read.last().unwrap().is_err(), length != batches_end, "{length}");
        }
    }

    #[test]
    fn rows_fill_their_pages() {
        let sizes = |size: usize| rows(&vec![0; size], 1).map(|(_, row)| row.len()).collect::<Vec<_>>();
        assert_eq!(sizes(300), [313]);
        assert_eq!(sizes(47_000), [32_413, 14_613]);
        assert_eq!(sizes(200_000), [65_013, 65_013, 65_013, 3_913, 1_113]);
    }

    #[test]
    fn a_missing_row_is_noticed() {
        let rows: Vec<_> = rows(&frame(200_000), 8).collect();
        let mut assembler = Assembler::starting_at(8);
        assert_eq!(assembler.push(rows[0].0, &rows[0].1), Ok(None));
        assert_eq!(assembler.last(), Err(Malformed::Short));
        assert_eq!(assembler.push(rows[2].0, &rows[2].1), Err(Malformed::Gap { expected: 9, found: 10 }));
    }

    proptest! {
        #[test]
        fn rows_give_the_frame_back(size in 0..300_000usize, first in 1..u64::from(u32::MAX)) {
            let frame = frame(size);
            let mut assembler = Assembler::starting_at(first);
            let mut got = Vec::new();
            for (number, row) in rows(&frame, first) {
                prop_assert!(row.len() < 65_400);
                got.extend(assembler.push(number, &row).unwrap());
            }
            prop_assert_eq!(got, vec![frame]);
        }

        #[test]
        fn any_flipped_bit_of_a_row_is_noticed(byte in 0..60usize, bit in 0..8u8) {
            let (number, mut row) = rows(&frame(2), 1).next().unwrap();
            let byte = byte % row.len();
            row[byte] ^= 1 << bit;
            prop_assert!(Assembler::starting_at(1).push(number, &row).is_err());
        }
    }
}
