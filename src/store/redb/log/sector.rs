//! How a frame lies in a segment: cut into sectors, each of which says what it is part of and proves it.
//!
//! ```text
//! sector = crc32(salt, rest) · number of the frame · index in the frame · 496 bytes of content
//! frame  = length · crc32 of the checksums of all sectors but the first · what was written · zeros
//! ```
//! Numbers are little-endian. A disk writes a sector whole or not at all, so that a write which was interrupted leaves
//! sectors that are new, older or zero; one that is none of these was changed behind our back. The checksum of
//! checksums keeps the pieces of two attempts at the same frame from passing for one.

use bytes::Buf;

/// What disks write whole.
pub(super) const BYTES: usize = 512;
const HEADER_BYTES: usize = 16;
const ROOM_BYTES: usize = BYTES - HEADER_BYTES;
const PREAMBLE_BYTES: usize = 12;

/// What one sector turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sector<'a> {
    /// Never written.
    Zero,
    Sealed {
        number: u64,
        index: u32,
        content: &'a [u8],
    },
    Broken,
}

/// How many bytes a frame takes on disk.
pub(super) fn size(frame_bytes: u64) -> u64 {
    (frame_bytes + PREAMBLE_BYTES as u64).div_ceil(ROOM_BYTES as u64) * BYTES as u64
}

/// Replaces `out` by the sectors of a frame.
pub(super) fn seal(frame: &[u8], number: u64, salt: u32, out: &mut Vec<u8>) {
    const HEADER: [u8; HEADER_BYTES] = [0; HEADER_BYTES];
    out.clear();
    let size = usize::try_from(size(frame.len() as u64)).expect("a frame fits into memory");
    out.reserve(size);
    let (first, rest) = frame.split_at(frame.len().min(ROOM_BYTES - PREAMBLE_BYTES));
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(first);
    for piece in rest.chunks(ROOM_BYTES) {
        out.extend_from_slice(&HEADER);
        out.extend_from_slice(piece);
    }
    out.resize(size, 0);
    let (head, others) = out.split_at_mut(BYTES);
    let mut binding = Binding::default();
    for (sector, index) in others.chunks_mut(BYTES).zip(1..) {
        stamp(sector, number, index, salt);
        binding.add(sector);
    }
    head[HEADER_BYTES + 8..HEADER_BYTES + PREAMBLE_BYTES].copy_from_slice(&binding.done().to_le_bytes());
    stamp(head, number, 0, salt);
}

/// Reads one sector of a log whose sectors carry this salt.
pub(super) fn read(sector: &[u8], salt: u32) -> Sector<'_> {
    if sector.iter().all(|&byte| byte == 0) {
        return Sector::Zero;
    }
    let (mut header, content) = sector.split_at(HEADER_BYTES);
    if header.get_u32_le() != checksum(sector, salt) {
        return Sector::Broken;
    }
    Sector::Sealed { number: header.get_u64_le(), index: header.get_u32_le(), content }
}

/// The frame a sector says it belongs to, unproven: enough to pass over what is older.
pub(super) fn claims(sector: &[u8]) -> u64 {
    (&sector[4..]).get_u64_le()
}

/// The first sector of a frame opened: how long the frame is, what binds the others to it, and where it begins.
pub(super) fn preamble(mut content: &[u8]) -> (u64, u32, &[u8]) {
    let length = content.get_u64_le();
    (length, content.get_u32_le(), content)
}

/// What proves that sectors were written together.
#[derive(Debug, Default)]
pub(super) struct Binding(Option<crc32fast::Hasher>);

impl Binding {
    pub(super) fn add(&mut self, sector: &[u8]) {
        self.0.get_or_insert_default().update(&sector[..4]);
    }

    pub(super) fn done(self) -> u32 {
        self.0.map_or(0, crc32fast::Hasher::finalize)
    }
}

fn stamp(sector: &mut [u8], number: u64, index: u32, salt: u32) {
    sector[4..12].copy_from_slice(&number.to_le_bytes());
    sector[12..16].copy_from_slice(&index.to_le_bytes());
    let crc = checksum(sector, salt);
    sector[..4].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(sector: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&sector[4..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&vec![7; length], 9, 1, &mut out);
        out
    }

    #[test]
    fn a_small_record_takes_one_sector() {
        assert_eq!(sealed(0).len(), BYTES);
        assert_eq!(sealed(484).len(), BYTES);
        assert_eq!(sealed(485).len(), 2 * BYTES);
        assert_eq!(size(485), 1024);
    }

    #[test]
    fn a_sector_of_another_log_is_not_taken() {
        assert!(matches!(read(&sealed(9), 1), Sector::Sealed { number: 9, index: 0, .. }));
        assert_eq!(read(&sealed(9), 2), Sector::Broken);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_sector_is_noticed(byte in 0..BYTES, bit in 0..8u8) {
            let mut sector = sealed(100);
            sector[byte] ^= 1 << bit;
            prop_assert_eq!(read(&sector, 1), Sector::Broken);
        }
    }
}
