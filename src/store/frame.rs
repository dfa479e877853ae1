//! What a group of batches says in the log: resolved puts and deletes.
//!
//! ```text
//! frame = for each batch: position · shard · epoch · puts · deletes · (key length, value length, key, value)* · (key length, key)*
//! ```
//! Numbers are little-endian.

use bytes::{Buf, Bytes};

use super::{Batch, Epoch, Fence, Key, Position, Shard};

/// What is wrong with a stored frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
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
            return Some(Op::Put(self.key(key)?, self.take(value)?));
        }
        if self.deletes > 0 {
            self.deletes -= 1;
            let key = self.length()?;
            return Some(Op::Delete(self.key(key)?));
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

    fn key(&mut self, length: usize) -> Option<Key> {
        let Some(short) = Key::short(self.rest.get(..length)?) else {
            return self.take(length).map(Key::from_bytes);
        };
        self.rest.advance(length);
        Some(short)
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.rest.len()).then(|| self.rest.split_to(length))
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("batches are far smaller than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

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

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_a_frame_it_is_read_to_an_end_and_gives_no_more_than_it_has(
            size in 0_usize..40,
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0_u8..), 1..8),
        ) {
            let mut bytes = frame(size).to_vec();
            for (place, byte) in changes {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let length = bytes.len();
            let read: Vec<_> = ops(bytes.into()).collect();
            let held: usize = read.iter().flatten().map(|op| match op {
                Op::Begin(..) => 28,
                Op::Put(key, value) => 8 + key.as_bytes().len() + value.len(),
                Op::Delete(key) => 4 + key.as_bytes().len(),
            }).sum();
            proptest::prop_assert!(held <= length && read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
