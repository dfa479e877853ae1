//! What the rows of an area come to: how many there are, and the sum of their hashes. A block of an earlier time that took
//! the place of a newer one would be sound; by the tally it shows.

use bytes::Buf;

use super::block::Row;

/// How many rows an area holds, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) hash: u64,
}

impl Tally {
    pub(super) fn add(&mut self, row: Row<'_>) {
        self.count = self.count.wrapping_add(1);
        self.hash = self.hash.wrapping_add(hash(row));
    }

    pub(super) fn subtract(&mut self, row: Row<'_>) {
        self.count = self.count.wrapping_sub(1);
        self.hash = self.hash.wrapping_sub(hash(row));
    }

    /// Both together; a change may have taken more rows away than it brought.
    pub(super) fn plus(self, change: Self) -> Self {
        let count = self.count.wrapping_add(change.count);
        Self { count, hash: self.hash.wrapping_add(change.hash) }
    }

    pub(super) fn decode(area: &[u8], stored: &[u8]) -> Option<Self> {
        let mut rest = super::table::checked(stored, area)?;
        Some(Self { count: rest.try_get_u64_le().ok()?, hash: rest.try_get_u64_le().ok()? })
    }

    pub(super) fn encode(self, area: &[u8]) -> Vec<u8> {
        super::table::sealed(area, &[self.count.to_le_bytes(), self.hash.to_le_bytes()].concat())
    }
}

/// The part of a key that its tally stands under: the first part of the tuple.
pub(super) fn area(key: &[u8]) -> &[u8] {
    const AREA_BYTES_MAX: usize = 32;
    let end = key.iter().position(|&byte| byte == 0).map_or(key.len(), |end| end + 1);
    &key[..end.min(AREA_BYTES_MAX)]
}

fn hash(row: Row<'_>) -> u64 {
    (u64::from(row.checksum) | (row.value.len() as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
