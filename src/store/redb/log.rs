//! The log: numbered frames in a few files that are used in turn, appended to by every group of batches.
//!
//! ```text
//! log.000001   frames 90 to 131, all of them in the table: free
//! log.000002   frames 132 to 170
//! log.000003   frames 171 to 180, zeros   ◀ appended to: one write, one sync, no metadata of the file system changes
//! ```
//! A frame is begun only when the one before it is on disk. So a frame that cannot be read and has a successor is
//! damage, and only the very last one can be torn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::backend::io_failure;
use super::stats::FileCounters;
use super::{OpenError, Options};
use crate::store::Failure;
use crate::store::disk::{self, Disk, File};

pub mod inspect;
mod sector;
mod segment;

use segment::{HEADER_BYTES, Header, Segment, Walk};

pub(super) const NAME: &str = "log";
/// What this version writes. A segment that says more is refused.
const FORMAT: u32 = 2;
const READING: &str = "reading the log";
const APPENDING: &str = "appending to the log";
/// The overlay's bound is spread over this many segments, so that about so much of the log is free at any time.
const SEGMENTS_OF_AN_OVERLAY: u64 = 8;
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// A small store stays small: a segment begins like this and is doubled when it is full.
const FIRST_BYTES: u64 = 64 << 10;
/// Zeros written in one go; more would be felt as a stall.
const STEP_BYTES_MAX: u64 = 2 << 20;
/// What a large batch took is given back.
const SECTORS_KEPT_BYTES: usize = 4 << 20;

/// Ties a log to its table.
pub(super) type StoreId = [u8; 16];

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    counters: Arc<FileCounters>,
    segment_bytes: u64,
    segments_max: u32,
    /// Full segments, the oldest first.
    closed: VecDeque<Closed>,
    /// Segments whose frames are all in the table, with their sizes.
    free: BTreeMap<u32, u64>,
    active: Segment,
    salt: u32,
    /// Where the next frame goes, and its number.
    at: u64,
    next: u64,
    /// The sectors of one frame, kept for their memory.
    sectors: Vec<u8>,
}

#[derive(Debug)]
struct Closed {
    slot: u32,
    bytes: u64,
    last: u64,
}

/// Why an append did not succeed.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing of it is on disk.
    Failed(Arc<Failure>),
    /// All of it may be on disk.
    Unknown(Arc<Failure>),
}

/// What a frame takes on disk.
pub(super) fn size(frame_bytes: usize) -> u64 {
    sector::size(frame_bytes as u64)
}

/// The files of the log.
pub(super) fn names(disk: &dyn Disk) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in (1..).map(segment::name) {
        if !disk.exists(&name)? {
            break;
        }
        names.push(name);
    }
    Ok(names)
}

/// Whether there is a log.
pub(super) fn exists(disk: &dyn Disk) -> Result<bool, OpenError> {
    disk.exists(&segment::name(1)).map_err(|error| broken(io_failure(READING, error)))
}

/// Makes an empty log whose first frame will have this number, in the place of what an interrupted attempt has left.
pub(super) fn create(disk: &dyn Disk, store: StoreId, first: u64, counters: &FileCounters) -> Result<(), OpenError> {
    for left in segment::all(disk)? {
        belongs(&left, store)?;
    }
    let header = Header { store, turn: 1, first };
    add(disk, 1, header, SEGMENT_BYTES_MIN, counters).map_err(broken)?;
    Ok(())
}

impl Log {
    /// Opens the log of a store whose table goes as far as the frame `held`, and gives every frame behind it with the
    /// bytes it takes. What a failed sync may have left in the air is on disk when this returns.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        store: StoreId,
        held: u64,
        options: &Options,
        counters: &Arc<FileCounters>,
        mut each: impl FnMut(Bytes, u64),
    ) -> Result<Self, OpenError> {
        let mut segments = segment::all(&*disk)?;
        for segment in &segments {
            belongs(segment, store)?;
        }
        let lost = |what| broken(Failure::damaged(what));
        let first = segments.iter().rposition(|segment| segment.header.first <= held + 1);
        let Some(first) = first else {
            return Err(lost(format!("frame {} of the log is missing, where the table ends", held + 1)));
        };
        let free = segments.drain(..first).map(|segment| (segment.slot, segment.bytes)).collect();
        let (end, tail) = replay(&segments, held, &mut each).map_err(broken)?;
        if end.next <= held {
            return Err(lost(format!("the log ends before frame {held}, up to which the table goes")));
        }
        let active = segments.pop().expect("there is at least one");
        secure(&*disk, &active, &tail, counters).map_err(broken)?;
        let segment_bytes = segment_bytes(options);
        let mut log = Self {
            salt: active.header.salt(),
            disk,
            counters: counters.clone(),
            segment_bytes,
            segments_max: segments_max(options, segment_bytes),
            closed: VecDeque::new(),
            free,
            active,
            at: end.at,
            next: end.next,
            sectors: Vec::new(),
        };
        let ends: Vec<u64> = segments.iter().skip(1).map(|next| next.header.first - 1).collect();
        let ends = ends.into_iter().chain([log.active.header.first - 1]);
        let closed = segments.into_iter().zip(ends);
        log.closed.extend(closed.map(|(Segment { slot, bytes, .. }, last)| Closed { slot, bytes, last }));
        log.count();
        Ok(log)
    }

    /// The number of the last frame.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Writes one frame and returns its number when it is on disk. Frames up to `held` are in the table.
    pub(super) fn append(&mut self, frame: &[u8], held: u64) -> Result<u64, AppendError> {
        let number = self.next;
        sector::seal(frame, number, self.salt, &mut self.sectors);
        self.release(held);
        let bytes = self.sectors.len() as u64;
        self.make_room(bytes).map_err(|failure| AppendError::Failed(Arc::new(failure)))?;
        let written = write(&*self.active.file, self.at, &self.sectors, &self.counters)
            .and_then(|()| sync(&*self.active.file, &self.counters));
        written.map_err(|failure| AppendError::Unknown(Arc::new(failure)))?;
        self.at += bytes;
        self.next += 1;
        if self.sectors.capacity() > SECTORS_KEPT_BYTES {
            self.sectors = Vec::new();
        }
        Ok(number)
    }

    /// Gives the log up after a failure. Nothing of it is kept that could still be written.
    pub(super) fn abandon(self) {
        drop(self);
    }

    fn release(&mut self, held: u64) {
        while let Some(Closed { slot, bytes, .. }) = self.closed.pop_front_if(|closed| closed.last <= held) {
            self.free.insert(slot, bytes);
        }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), Failure> {
        let empty = self.at == HEADER_BYTES as u64;
        if self.at + bytes > self.segment_bytes && !empty {
            self.turn()?;
        }
        let end = self.at + bytes;
        if end <= self.active.bytes {
            return Ok(());
        }
        let most = self.segment_bytes.max(end);
        let step = self.active.bytes.clamp(SEGMENT_BYTES_MIN, STEP_BYTES_MAX);
        let grown = (self.active.bytes + step).max(end).min(most);
        fill(&*self.active.file, self.active.bytes, grown, &self.counters)?;
        self.active.bytes = grown;
        self.count();
        Ok(())
    }

    /// Goes on in a free segment, or in a new one.
    fn turn(&mut self) -> Result<(), Failure> {
        let header = Header { turn: self.active.header.turn + 1, first: self.next, ..self.active.header };
        let next = match self.free.pop_first() {
            Some((slot, _)) => reuse(&*self.disk, slot, header, self.segment_bytes, &self.counters)?,
            None => {
                let slots = self.closed.iter().map(|closed| closed.slot).chain([self.active.slot]);
                add(&*self.disk, slots.max().unwrap_or_default() + 1, header, self.segment_bytes, &self.counters)?
            }
        };
        let full = std::mem::replace(&mut self.active, next);
        self.closed.push_back(Closed { slot: full.slot, bytes: full.bytes, last: self.next - 1 });
        self.at = HEADER_BYTES as u64;
        self.shrink()?;
        self.count();
        Ok(())
    }

    /// Removes the last file when there are more than the overlay can fill: there once was a larger one.
    fn shrink(&mut self) -> Result<(), Failure> {
        let count = u32::try_from(self.closed.len() + self.free.len() + 1).unwrap_or(u32::MAX);
        if count > self.segments_max && self.free.remove(&count).is_some() {
            let failed = |error| io_failure(APPENDING, error);
            self.disk.remove(&segment::name(count)).map_err(failed)?;
            settle(&*self.disk, self.active.slot)?;
        }
        Ok(())
    }

    fn count(&self) {
        let closed: u64 = self.closed.iter().map(|closed| closed.bytes).sum();
        self.counters.resized(closed + self.free.values().sum::<u64>() + self.active.bytes);
    }
}

fn broken(source: Failure) -> OpenError {
    OpenError::Failed { file: NAME, source }
}

fn belongs(segment: &Segment, store: StoreId) -> Result<(), OpenError> {
    if segment.header.store == store {
        return Ok(());
    }
    let name = segment::name(segment.slot);
    let what = format!("{name} is the log of another store: put the files back together that belong together");
    Err(broken(Failure::damaged(what)))
}

fn segment_bytes(options: &Options) -> u64 {
    let wanted = options.overlay_bytes_max / SEGMENTS_OF_AN_OVERLAY;
    wanted.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).next_multiple_of(SEGMENT_BYTES_MIN)
}

/// Besides what the overlay fills: the one appended to, one that is only partly in the table, and one to go on with.
fn segments_max(options: &Options, segment_bytes: u64) -> u32 {
    u32::try_from(options.overlay_bytes_max / segment_bytes + 3).unwrap_or(u32::MAX)
}

struct End {
    at: u64,
    next: u64,
}

/// Walks through the segments, and gives the place behind the last frame and the sectors of that one, if it stands in
/// the last segment.
fn replay(segments: &[Segment], held: u64, each: &mut impl FnMut(Bytes, u64)) -> Result<(End, Tail), Failure> {
    let mut end = End { at: 0, next: 0 };
    let mut tail = None;
    for (index, segment) in segments.iter().enumerate() {
        let mut walk = segment.walk();
        if index > 0 && segment.header.first != end.next {
            let (name, first) = (segment::name(segments[index - 1].slot), segment.header.first);
            let what =
                format!("{name} at byte {}: frame {} is lost, frame {first} begins the next file", end.at, end.next);
            return Err(Failure::damaged(what));
        }
        tail = frames(&mut walk, held, each)?;
        walk.nothing_follows()?;
        end = End { at: walk.at, next: walk.number };
    }
    Ok((end, tail))
}

type Tail = Option<(u64, u64)>;

fn frames(walk: &mut Walk<'_>, held: u64, each: &mut impl FnMut(Bytes, u64)) -> Result<Tail, Failure> {
    let mut last = None;
    while let Some(found) = walk.next()? {
        last = Some((found.offset, found.bytes));
        if found.number > held {
            each(found.frame, found.bytes);
        }
    }
    Ok(last)
}

/// Writes once more what was written last: after a failed sync it may be in the page cache and nowhere else, and the
/// kernel may take it for clean. The end of the file is part of that, since frames rely on the room they have.
fn secure(disk: &dyn Disk, active: &Segment, tail: &Tail, counters: &FileCounters) -> Result<(), Failure> {
    let sector = HEADER_BYTES as u64;
    let again = tail.iter().copied().chain([(0, sector), (active.bytes.saturating_sub(sector), sector)]);
    for (offset, length) in again {
        let mut bytes = vec![0; usize::try_from(length).expect("what was read fits into memory")];
        active.file.read(offset, &mut bytes).map_err(|error| io_failure(READING, error))?;
        write(&*active.file, offset, &bytes, counters)?;
    }
    sync(&*active.file, counters)?;
    settle(disk, active.slot)
}

/// Makes sure of the name of a file: renaming it to itself brings the folder to disk and changes nothing.
fn settle(disk: &dyn Disk, slot: u32) -> Result<(), Failure> {
    let name = segment::name(slot);
    disk.rename(&name, &name).map_err(|error| io_failure(APPENDING, error))
}

/// Makes a new segment under another name first, so that there is never one without a header.
fn add(
    disk: &dyn Disk,
    slot: u32,
    header: Header,
    bytes_max: u64,
    counters: &FileCounters,
) -> Result<Segment, Failure> {
    let failed = |error| io_failure(APPENDING, error);
    let name = segment::name(slot);
    let fresh = disk::fresh(disk, &name).map_err(failed)?;
    let file = disk.open(&fresh).map_err(failed)?;
    let bytes = FIRST_BYTES.min(bytes_max);
    write(&*file, 0, &header.encode(), counters)?;
    fill(&*file, HEADER_BYTES as u64, bytes, counters)?;
    drop(file);
    disk.rename(&fresh, &name).map_err(failed)?;
    Ok(Segment { slot, header, file: disk.open(&name).map_err(failed)?, bytes })
}

/// Gives a free segment its next turn. A header is one sector, so that it is the old or the new one whatever happens.
fn reuse(
    disk: &dyn Disk,
    slot: u32,
    header: Header,
    bytes_max: u64,
    counters: &FileCounters,
) -> Result<Segment, Failure> {
    let failed = |error| io_failure(APPENDING, error);
    let file = disk.open(&segment::name(slot)).map_err(failed)?;
    let mut bytes = file.len().map_err(failed)?;
    if bytes > bytes_max {
        file.set_len(bytes_max).map_err(failed)?;
        bytes = bytes_max;
    }
    write(&*file, 0, &header.encode(), counters)?;
    sync(&*file, counters)?;
    Ok(Segment { slot, header, file, bytes })
}

/// Brings zeros to disk, so that later writes find their blocks there.
fn fill(file: &dyn File, from: u64, to: u64, counters: &FileCounters) -> Result<(), Failure> {
    const ZEROS: &[u8] = &[0; 64 << 10];
    file.set_len(to).map_err(|error| io_failure(APPENDING, error))?;
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        write(file, at, &ZEROS[..piece], counters)?;
        at += piece as u64;
    }
    sync(file, counters)
}

fn write(file: &dyn File, at: u64, bytes: &[u8], counters: &FileCounters) -> Result<(), Failure> {
    counters.wrote(bytes.len());
    file.write(at, bytes).map_err(|error| io_failure(APPENDING, error))
}

fn sync(file: &dyn File, counters: &FileCounters) -> Result<(), Failure> {
    counters.synced();
    file.sync().map_err(|error| io_failure(APPENDING, error))
}
