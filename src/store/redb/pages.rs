//! The pages of a redb file with a checksum for each, since redb follows what it reads wherever that leads.
//!
//! Of every 1,025 pages of 4 KiB the first holds the checksums of the others. They reach the disk with the sync that
//! brings the pages themselves, and redb never writes over a page that its last commit needs: what a crash tears are
//! pages that nobody will read. Only the very first is written in place; that one checks its own parts, and where its
//! checksum would stand are the letters by which such a file is known.

use std::cell::Cell;
use std::io;
use std::ops::Range;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::store::disk::{self, File};

const PAGE: u64 = 4_096;
const PAGE_BYTES: usize = 4_096;
const SUM_BYTES: usize = 4;
/// Pages whose checksums fill one page.
const GROUP: u64 = 1_024;
const MAGIC: u32 = u32::from_le_bytes(*b"qbp1");
/// What a file begins with that redb wrote by itself.
const REDB: [u8; 4] = *b"redb";
/// What redb writes first into a page of keys and values.
const LEAF: u8 = 1;
/// Behind that and the number of pairs: where each key ends, then where each value does.
const PAIRS_AT: usize = 4;
const END_BYTES: usize = 4;
/// What it writes into one that leads to others.
const BRANCH: u8 = 2;
/// How redb calls the page to which a damaged one leads.
const NOWHERE: &str = "r1048575.0/31";

thread_local! {
    static IS_AMONG_ROWS: Cell<bool> = const { Cell::new(false) };
}

/// A redb file in which every page is checked as it is read, for redb's `create_with_backend`.
#[derive(Debug)]
pub struct Pages {
    file: Box<dyn File>,
    /// One for each group of pages, once it was needed.
    sums: Mutex<Vec<Option<Sums>>>,
}

/// The checksums of one group, 0 where nothing was ever written.
#[derive(Debug)]
struct Sums {
    of: Box<[u32]>,
    has_changed: bool,
}

impl Sums {
    fn fit(&self, page: u64, content: &[u8]) -> bool {
        match self.of[index(page % GROUP)] {
            _ if page == 0 => true,
            0 => content.iter().all(|byte| *byte == 0),
            sum => sum == checksum(page, content),
        }
    }

    fn take(&mut self, page: u64, content: &[u8]) {
        if page > 0 {
            self.of[index(page % GROUP)] = checksum(page, content);
            self.has_changed = true;
        }
    }
}

impl Pages {
    /// Takes a file with checksums, or an empty one.
    ///
    /// # Errors
    /// When it has none or cannot be read.
    pub fn open(file: Box<dyn File>) -> io::Result<Self> {
        let pages = Self { file, sums: Mutex::default() };
        let len = StorageBackend::len(&pages)?;
        pages.sums.lock().resize_with(index(len.div_ceil(PAGE * GROUP)), || None);
        if len > 0 && pages.on_sums(0, |sums| sums.of[0] != MAGIC)? {
            return Err(damaged("the checksums of its pages are not where they should be"));
        }
        Ok(pages)
    }

    /// Brings all pages to disk and their checksums with them; gives how many bytes those took.
    pub(super) fn sync(&self) -> io::Result<usize> {
        let mut bytes = 0;
        for (group, sums) in (0..).zip(self.sums.lock().iter_mut()) {
            if let Some(sums) = sums
                && sums.has_changed
            {
                let stored: Vec<u8> = sums.of.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                self.file.write(place_of_sums(group), &stored)?;
                sums.has_changed = false;
                bytes += stored.len();
            }
        }
        self.file.sync()?;
        Ok(bytes)
    }

    /// Does something with the checksums of a group, which are read if they were not yet.
    fn on_sums<T>(&self, group: u64, work: impl FnOnce(&mut Sums) -> T) -> io::Result<T> {
        let mut all = self.sums.lock();
        let sums = all.get_mut(index(group)).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(work(match sums {
            Some(sums) => sums,
            None => sums.insert(self.load(group)?),
        }))
    }

    fn load(&self, group: u64) -> io::Result<Sums> {
        let mut stored = [0; PAGE_BYTES];
        self.file.read(place_of_sums(group), &mut stored)?;
        let of = stored.as_chunks::<SUM_BYTES>().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        Ok(Sums { of, has_changed: false })
    }

    /// Reads whole pages of one group, and finds the first that is not what was written.
    fn read_run(&self, first: u64, out: &mut [u8]) -> io::Result<Option<u64>> {
        self.file.read(place(first), out)?;
        self.on_sums(first / GROUP, |sums| {
            let mut pages = (first..).zip(out.chunks_exact(PAGE_BYTES));
            pages.find(|(page, content)| !sums.fit(*page, content)).map(|(page, _)| page)
        })
    }

    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let mut wrong = None;
        for (page, part) in runs(first, out.len()) {
            wrong = self.read_run(page, &mut out[part])?.or(wrong);
        }
        if let Some(page) = wrong {
            tracing::warn!(page, "a page of the table is not what was written");
            if !IS_AMONG_ROWS.get() || !are_pairs_in_order(out) {
                lead_nowhere(out);
            }
        }
        Ok(())
    }
}

/// Whether a page holds keys and values where it says, and its keys in order, so that everybody finds the same in it.
fn are_pairs_in_order(page: &[u8]) -> bool {
    let pairs = usize::from(u16::from_le_bytes([page[2], page[3]]));
    let first = PAIRS_AT + 2 * pairs * END_BYTES;
    let Some(ends) = page.get(PAIRS_AT..first) else { return false };
    let ends = ends.as_chunks::<END_BYTES>().0.iter().map(|end| u32::from_le_bytes(*end) as usize);
    let ends: Vec<usize> = std::iter::once(first).chain(ends).collect();
    if page[0] != LEAF || !ends.is_sorted() || ends[2 * pairs] > page.len() {
        return false;
    }
    let keys = ends[..=pairs].windows(2).map(|ends| &page[ends[0]..ends[1]]);
    keys.is_sorted_by(|one, next| one < next)
}

/// A page that redb takes for damaged whatever it looks for there: it leads to one page, whose number is none. An error
/// would be the end of the file for redb, also for all who read what is sound.
fn lead_nowhere(page: &mut [u8]) {
    const ONLY_CHILD: Range<usize> = 24..32;
    page.fill(0);
    page[0] = BRANCH;
    page[ONLY_CHILD].fill(0xff);
}

/// Whether redb was led nowhere when it says this.
pub(super) fn tells_of_damage(what: &str) -> bool {
    what.contains(NOWHERE)
}

/// In here a damaged page of keys and values is shown as it is, if its keys are in order: what is in it has seals of its
/// own, and rows that are sound can be kept. For tables whose keys and values are of any length.
pub(super) fn among_rows<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_AMONG_ROWS.set(self.0);
        }
    }
    let _before = Before(IS_AMONG_ROWS.replace(true));
    work()
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        let pages = self.file.len()? / PAGE;
        Ok((pages - pages.div_ceil(GROUP + 1)) * PAGE)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, before) = (offset / PAGE, index(offset % PAGE));
        if before == 0 && out.len().is_multiple_of(PAGE_BYTES) {
            return self.read_pages(first, out);
        }
        let mut around = vec![0; (before + out.len()).next_multiple_of(PAGE_BYTES)];
        self.read_pages(first, &mut around)?;
        out.copy_from_slice(&around[before..before + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let pages = len.div_ceil(PAGE);
        let groups = pages.div_ceil(GROUP);
        self.sums.lock().truncate(index(groups));
        if !pages.is_multiple_of(GROUP) && pages < StorageBackend::len(self)? / PAGE {
            self.on_sums(pages / GROUP, |sums| {
                sums.of[index(pages % GROUP)..].fill(0);
                sums.has_changed = true;
            })?;
        }
        self.file.set_len((pages + groups) * PAGE)?;
        self.sums.lock().resize_with(index(groups), || None);
        if pages > 0 {
            self.on_sums(0, |sums| sums.has_changed |= std::mem::replace(&mut sums.of[0], MAGIC) != MAGIC)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync().map(drop)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 <= PAGE {
            return self.file.write(place(0) + offset, data);
        }
        if !offset.is_multiple_of(PAGE) || !data.len().is_multiple_of(PAGE_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only whole pages are written"));
        }
        for (first, part) in runs(offset / PAGE, data.len()) {
            let content = &data[part];
            self.file.write(place(first), content)?;
            self.on_sums(first / GROUP, |sums| {
                (first..).zip(content.chunks_exact(PAGE_BYTES)).for_each(|(page, content)| sums.take(page, content));
            })?;
        }
        Ok(())
    }
}

/// Whether redb wrote this file by itself, so that no page of it has a checksum.
pub(super) fn is_bare(file: &dyn File) -> io::Result<bool> {
    let mut first = [0; REDB.len()];
    if file.len()? < first.len() as u64 {
        return Ok(false);
    }
    file.read(0, &mut first)?;
    Ok(first == REDB)
}

/// Copies such a file into an empty one, and gives each page its checksum.
pub(super) fn cover(bare: &dyn File, into: Box<dyn File>) -> io::Result<()> {
    let pages = Pages::open(into)?;
    pages.set_len(bare.len()?)?;
    disk::pieces(bare, |at, piece| {
        // A file that was cut short ends within a page.
        let mut whole = piece.to_vec();
        whole.resize(piece.len().next_multiple_of(PAGE_BYTES), 0);
        StorageBackend::write(&pages, at, &whole)
    })?;
    pages.sync().map(drop)
}

/// Pieces of several pages that lie in one group, with the part of the bytes that each takes.
fn runs(first: u64, bytes: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let end = first + (bytes / PAGE_BYTES) as u64;
    let mut next = first;
    std::iter::from_fn(move || {
        let page = next;
        next = end.min((page / GROUP + 1) * GROUP);
        (page < end).then(|| (page, index((page - first) * PAGE)..index((next - first) * PAGE)))
    })
}

fn place(page: u64) -> u64 {
    (page + page / GROUP + 1) * PAGE
}

fn place_of_sums(group: u64) -> u64 {
    group * (GROUP + 1) * PAGE
}

fn checksum(page: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // The number tells a page that was written to the place of another.
    hasher.update(&page.to_le_bytes());
    hasher.update(content);
    hasher.finalize().max(1)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a file of pages fits an address space")
}
