//! What the rows of an area come to: how many there are, and the sum of their hashes. A block of an earlier time that took
//! the place of a newer one would be sound; by the tally it shows.

use std::collections::BTreeMap;

use bytes::Buf;
use redb::ReadableTable;

use super::block::Row;

/// The tally of each area, `None` where it cannot be read.
pub(super) type Stored = BTreeMap<Vec<u8>, Option<Tally>>;
/// What sorted changes did to the tallies, by area.
pub(super) type Tallies<'a> = BTreeMap<&'a [u8], Tally>;

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

/// The part of a key that its tally stands under: the first part of the tuple, and so little of it that there are few
/// tallies however many rows there are.
pub(super) fn area(key: &[u8]) -> &[u8] {
    const AREA_BYTES_MAX: usize = 2;
    let end = key.iter().position(|&byte| byte == 0).map_or(key.len(), |end| end + 1);
    &key[..end.min(AREA_BYTES_MAX)]
}

/// Notes what changes did to the areas.
pub(super) fn write(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    changes: Tallies<'_>,
) -> Result<(), redb::Error> {
    for (area, change) in changes {
        let stored = table.get(area)?.map(|stored| Tally::decode(area, stored.value()));
        // One that cannot be read stays as it is, for the scrub to find.
        let Some(old) = stored.unwrap_or(Some(Tally::default())) else { continue };
        table.insert(area, old.plus(change).encode(area).as_slice())?;
    }
    Ok(())
}

/// The tallies of areas that were smaller once, added up; `None` when they are as they should be. One that cannot be read
/// leaves its area without, for the scrub to find.
pub(super) fn folded(tallies: &Stored) -> Option<Stored> {
    if tallies.keys().all(|old| area(old) == old.as_slice()) {
        return None;
    }
    let mut folded = Stored::new();
    for (old, tally) in tallies {
        let sum = folded.entry(area(old).to_vec()).or_insert(Some(Tally::default()));
        *sum = sum.zip(*tally).map(|(sum, tally)| sum.plus(tally));
    }
    Some(folded)
}

fn hash(row: Row<'_>) -> u64 {
    (u64::from(row.checksum) | (row.value.len() as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
