//! One file of the log: a header, then frames one behind the other; and the walk through it that tells a tear from
//! damage.
//!
//! ```text
//! header = magic (8) · format (4) · crc32 of the rest (4) · store (16) · turn (8) · number of the first frame (8) · zeros
//! ```
//! Files are used again and again. The turn says in which order; the frames of earlier turns have lower numbers.

use bytes::{Buf, Bytes};

use super::sector::{self, Binding, Sector};
use super::{FORMAT, NAME, READING, StoreId};
use crate::store::Failure;
use crate::store::disk::{Disk, File};
use crate::store::redb::OpenError;
use crate::store::redb::backend::io_failure;

const MAGIC: &[u8; 8] = b"QBLOG\r\n\0";
/// Frames begin behind the sector of the header.
pub(super) const HEADER_BYTES: usize = sector::BYTES;
/// Read at once: little memory, few calls.
const WINDOW_BYTES: u64 = 256 << 10;

/// What stands at the head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: StoreId,
    pub(super) turn: u64,
    pub(super) first: u64,
}

/// One open file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) slot: u32,
    pub(super) header: Header,
    pub(super) file: Box<dyn File>,
    /// How far the file reaches; all of it has been written before.
    pub(super) bytes: u64,
}

/// A frame as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) offset: u64,
    /// What it takes on disk.
    pub(super) bytes: u64,
    pub(super) frame: Bytes,
}

pub(super) fn name(slot: u32) -> String {
    format!("{NAME}.{slot:06}")
}

/// All files of the log in the order in which they were last taken into use. They are numbered without a gap.
pub(super) fn all(disk: &dyn Disk) -> Result<Vec<Segment>, OpenError> {
    let broken = |source| OpenError::Failed { file: NAME, source };
    let exists = |slot| disk.exists(&name(slot)).map_err(|error| broken(io_failure(READING, error)));
    let mut segments = Vec::new();
    let mut slot = 1;
    while exists(slot)? {
        segments.push(Segment::open(disk, slot)?);
        slot += 1;
    }
    if exists(slot + 1)? {
        let what = format!("{} is missing between its neighbours", name(slot));
        return Err(broken(Failure::damaged(what)));
    }
    segments.sort_unstable_by_key(|segment| segment.header.turn);
    Ok(segments)
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.store);
        out[32..40].copy_from_slice(&self.turn.to_le_bytes());
        out[40..48].copy_from_slice(&self.first.to_le_bytes());
        let crc = header_checksum(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Magic, format and checksum stand at the same place in every format to come, so that a newer one is told from
    /// damage.
    fn decode(bytes: &[u8; HEADER_BYTES], name: &str) -> Result<Self, OpenError> {
        let damaged = |what: &str| {
            let what = format!("{name} at byte 0: {what}");
            OpenError::Failed { file: NAME, source: Failure::damaged(what) }
        };
        let (magic, mut rest) = bytes.split_at(8);
        if magic != MAGIC {
            return Err(damaged("this is no segment of a log"));
        }
        let format = rest.get_u32_le();
        if rest.get_u32_le() != header_checksum(bytes) {
            return Err(damaged("the header does not match its checksum"));
        }
        if format > FORMAT {
            return Err(OpenError::Newer { file: NAME, found: format, known: FORMAT });
        }
        let mut store = StoreId::default();
        rest.copy_to_slice(&mut store);
        let header = Self { store, turn: rest.get_u64_le(), first: rest.get_u64_le() };
        if format == FORMAT && header.first > 0 {
            Ok(header)
        } else {
            Err(damaged(&format!("its format is {format}, and its first frame {}", header.first)))
        }
    }

    pub(super) fn salt(&self) -> u32 {
        crc32fast::hash(&self.store)
    }
}

fn header_checksum(header: &[u8; HEADER_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..]);
    hasher.finalize()
}

impl Segment {
    pub(super) fn open(disk: &dyn Disk, slot: u32) -> Result<Self, OpenError> {
        let broken = |source| OpenError::Failed { file: NAME, source };
        let failed = |error| broken(io_failure(READING, error));
        let name = name(slot);
        let file = disk.open(&name).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        if bytes < HEADER_BYTES as u64 {
            return Err(broken(Failure::damaged(format!("{name} is too short for its header"))));
        }
        let mut header = [0; HEADER_BYTES];
        file.read(0, &mut header).map_err(failed)?;
        Ok(Self { slot, header: Header::decode(&header, &name)?, file, bytes })
    }

    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { segment: self, window: Window::default(), at: HEADER_BYTES as u64, number: self.header.first }
    }
}

/// Goes from frame to frame.
pub(super) struct Walk<'a> {
    segment: &'a Segment,
    window: Window,
    /// Where the next frame begins, and its number.
    pub(super) at: u64,
    pub(super) number: u64,
}

impl Walk<'_> {
    /// The next frame; `None` where the frames end or the last one was torn. An interrupted write leaves nothing but
    /// new, older and zero sectors: everything else is an error.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Failure> {
        let Some(content) = self.sector(0)? else { return Ok(None) };
        let (length, bound, content) = sector::preamble(content);
        let mut frame = content[..content.len().min(usize::try_from(length).unwrap_or(usize::MAX))].to_vec();
        let bytes = sector::size(length);
        let mut binding = Binding::default();
        if bytes > self.segment.bytes - self.at {
            // Its room was on disk before it was begun.
            let (name, at, number) = (name(self.segment.slot), self.at, self.number);
            return Err(Failure::damaged(format!("{name} at byte {at}: frame {number}: the file was cut short")));
        }
        let mut torn = false;
        for index in 1..bytes / sector::BYTES as u64 {
            match self.sector(index)? {
                Some(content) => {
                    let left = length - frame.len() as u64;
                    frame.extend_from_slice(&content[..content.len().min(usize::try_from(left).unwrap_or(usize::MAX))]);
                    binding.add(self.window.sector(self.segment, self.at + index * sector::BYTES as u64)?);
                }
                None => torn = true,
            }
        }
        if torn || binding.done() != bound {
            return Ok(None);
        }
        let found = Found { number: self.number, offset: self.at, bytes, frame: frame.into() };
        self.at += bytes;
        self.number += 1;
        Ok(Some(found))
    }

    /// What stands at this place of the frame, if it was written with it.
    fn sector(&mut self, index: u64) -> Result<Option<&[u8]>, Failure> {
        let (number, offset) = (self.number, self.at + index * sector::BYTES as u64);
        let slot = self.segment.slot;
        let damaged =
            |what: String| Failure::damaged(format!("{} at byte {offset}: frame {number}: {what}", name(slot)));
        if offset >= self.segment.bytes {
            return Ok(None);
        }
        match sector::read(self.window.sector(self.segment, offset)?, self.segment.header.salt()) {
            Sector::Zero => Ok(None),
            Sector::Broken => Err(damaged("a sector does not match its checksum".to_owned())),
            Sector::Sealed { number: found, .. } if found < number => Ok(None),
            Sector::Sealed { number: found, index: place, content } if found == number && u64::from(place) == index => {
                Ok(Some(content))
            }
            Sector::Sealed { number: found, index, .. } => {
                Err(damaged(format!("sector {index} of frame {found} stands there")))
            }
        }
    }

    /// Fails when a later frame stands anywhere behind the end: it was begun when this one was on disk, which is
    /// therefore not torn but lost.
    pub(super) fn nothing_follows(&mut self) -> Result<(), Failure> {
        let mut offset = self.at;
        while offset < self.segment.bytes {
            let bytes = self.window.sector(self.segment, offset)?;
            if sector::claims(bytes) > self.number
                && let Sector::Sealed { number: later, .. } = sector::read(bytes, self.segment.header.salt())
            {
                let (name, at, number) = (name(self.segment.slot), self.at, self.number);
                let what = format!("{name} at byte {at}: frame {number} is lost, frame {later} follows at {offset}");
                return Err(Failure::damaged(what));
            }
            offset += sector::BYTES as u64;
        }
        Ok(())
    }
}

/// The part of a file that is in memory.
#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn sector(&mut self, segment: &Segment, offset: u64) -> Result<&[u8], Failure> {
        let within = |window: &Self| offset >= window.from && offset < window.from + window.bytes.len() as u64;
        if !within(self) {
            let wanted = WINDOW_BYTES.min(segment.bytes - offset);
            self.bytes.resize(usize::try_from(wanted).expect("at most a window"), 0);
            self.from = offset;
            segment.file.read(offset, &mut self.bytes).map_err(|error| io_failure(READING, error))?;
            // A file that ends within a sector was cut; what is missing of it was never written.
            self.bytes.resize(self.bytes.len().next_multiple_of(sector::BYTES), 0);
        }
        let start = usize::try_from(offset - self.from).expect("within the window");
        Ok(&self.bytes[start..start + sector::BYTES])
    }
}
