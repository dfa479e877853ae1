//! A disk that is only read: what is written to its files stays in memory, and goes with them.
//!
//! Opening a store repairs its table and goes on with its log, which takes a disk that can be written. Over this one it
//! is opened for those who read while that is not so, and for those who only look.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{Disk, File, Guard, LockError};

/// What is kept at once.
const PIECE_BYTES: u64 = 4_096;

type Piece = Box<[u8; PIECE_BYTES as usize]>;

/// A disk over another one, which stays as it is.
#[derive(Debug)]
pub(super) struct Aside {
    under: Arc<dyn Disk>,
    /// What was opened, made, renamed or removed here; `None` where nothing stands any more.
    names: Mutex<BTreeMap<String, Option<Arc<Kept>>>>,
}

impl Aside {
    pub(super) fn over(under: Arc<dyn Disk>) -> Self {
        Self { under, names: Mutex::default() }
    }
}

impl Disk for Aside {
    /// It is for whoever holds the lock of the disk under it.
    fn lock(&self) -> Result<Guard, LockError> {
        Err(LockError::Io(io::ErrorKind::ReadOnlyFilesystem.into()))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        match self.names.lock().get(name) {
            Some(here) => Ok(here.is_some()),
            None => self.under.exists(name),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut names = self.names.lock();
        let kept = match names.get(name) {
            Some(Some(kept)) => kept.clone(),
            None if self.under.exists(name)? => Arc::new(Kept::over(self.under.open(name)?)?),
            Some(None) | None => Arc::default(),
        };
        names.insert(name.to_owned(), Some(kept.clone()));
        Ok(Box::new(kept))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if !self.exists(from)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.open(from)?;
        let mut names = self.names.lock();
        let moved = names.insert(from.to_owned(), None).flatten();
        names.insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.exists(name)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.names.lock().insert(name.to_owned(), None);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// None for one that was made here.
    under: Option<Box<dyn File>>,
    written: Mutex<Written>,
}

impl Kept {
    fn over(under: Box<dyn File>) -> io::Result<Self> {
        let len = under.len()?;
        Ok(Self { under: Some(under), written: Mutex::new(Written { len, under_len: len, pieces: BTreeMap::new() }) })
    }
}

#[derive(Debug, Default)]
struct Written {
    len: u64,
    /// As much of the file under it still counts.
    under_len: u64,
    pieces: BTreeMap<u64, Piece>,
}

impl File for Arc<Kept> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset + out.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for_pieces(offset, out, |piece, from, part| {
            part.copy_from_slice(&written.piece(self.under.as_deref(), piece)?[from..][..part.len()]);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        let mut data = data.to_vec();
        for_pieces(offset, &mut data, |number, from, part| {
            let mut piece = written.piece(self.under.as_deref(), number)?;
            piece[from..][..part.len()].copy_from_slice(part);
            written.pieces.insert(number, piece);
            Ok(())
        })?;
        if !data.is_empty() {
            written.len = written.len.max(offset + data.len() as u64);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        let cut = len.min(written.len);
        written.under_len = cut.min(written.under_len);
        drop(written.pieces.split_off(&cut.div_ceil(PIECE_BYTES)));
        let within = (cut % PIECE_BYTES) as usize;
        if let Some(piece) = written.pieces.get_mut(&(cut / PIECE_BYTES)) {
            piece[within..].fill(0);
        }
        written.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// What stands there now, zero behind the end.
    fn piece(&self, under: Option<&dyn File>, number: u64) -> io::Result<Piece> {
        if let Some(piece) = self.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece: Piece = Box::new([0; PIECE_BYTES as usize]);
        let begins = number * PIECE_BYTES;
        let there = self.under_len.saturating_sub(begins).min(PIECE_BYTES);
        if let Some(under) = under {
            under.read(begins, &mut piece[..there as usize])?;
        }
        Ok(piece)
    }
}

/// Cuts bytes where pieces of the file end: each part with its piece and where in that it begins.
fn for_pieces(
    offset: u64,
    bytes: &mut [u8],
    mut each: impl FnMut(u64, usize, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let first = ((PIECE_BYTES - offset % PIECE_BYTES) as usize).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(first);
    let mut at = offset;
    for part in std::iter::once(head).chain(rest.chunks_mut(PIECE_BYTES as usize)) {
        each(at / PIECE_BYTES, (at % PIECE_BYTES) as usize, part)?;
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::store::disk::Folder;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_u64, vec(any::<u8>(), 0..9_000)).prop_map(|(offset, data)| Step::Write(offset, data)),
            (0..30_000_u64).prop_map(Step::SetLen),
        ]
    }

    fn contents(file: &dyn File) -> Vec<u8> {
        let mut found = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut found).unwrap();
        found
    }

    proptest! {
        #[test]
        fn it_reads_like_a_file_that_was_written_and_the_file_stays_as_it_was(
            before in vec(any::<u8>(), 0..20_000),
            steps in vec(step(), 0..12),
        ) {
            let (_folder, disk) = disk_with("file", &before);
            let file = Aside::over(disk.clone()).open("file").unwrap();
            let mut expected = before.clone();
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        file.write(offset, &data).unwrap();
                        let from = usize::try_from(offset).unwrap();
                        if !data.is_empty() {
                            expected.resize(expected.len().max(from + data.len()), 0);
                            expected[from..from + data.len()].copy_from_slice(&data);
                        }
                    }
                    Step::SetLen(len) => {
                        file.set_len(len).unwrap();
                        expected.resize(usize::try_from(len).unwrap(), 0);
                    }
                }
                file.sync().unwrap();
                prop_assert!(contents(&*file) == expected);
            }
            prop_assert!(contents(&*disk.open("file").unwrap()) == before);
        }
    }

    fn disk_with(name: &str, content: &[u8]) -> (tempfile::TempDir, Arc<dyn Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Folder::new(folder.path()).unwrap());
        disk.open(name).unwrap().write(0, content).unwrap();
        (folder, disk)
    }

    #[test]
    fn files_are_made_renamed_and_removed_for_those_who_look_only() {
        let (_folder, disk) = disk_with("file", b"four");
        let aside = Aside::over(disk.clone());
        aside.open("made").unwrap().write(0, b"made").unwrap();
        assert_eq!(contents(&*aside.open("made").unwrap()), b"made");
        aside.rename("file", "other").unwrap();
        assert_eq!(contents(&*aside.open("other").unwrap()), b"four");
        aside.rename("made", "file").unwrap();
        assert_eq!(contents(&*aside.open("file").unwrap()), b"made");
        aside.remove("file").unwrap();
        assert!(!aside.exists("file").unwrap() && !aside.exists("made").unwrap());
        assert_eq!(aside.remove("file").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(aside.rename("file", "other").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(contents(&*aside.open("file").unwrap()), b"");
        assert_eq!(contents(&*disk.open("file").unwrap()), b"four");
        assert!(!disk.exists("other").unwrap() && !disk.exists("made").unwrap());
    }

    #[test]
    fn nothing_is_read_behind_the_end_and_the_lock_is_not_for_it_to_give() {
        let (_folder, disk) = disk_with("file", b"four");
        let aside = Aside::over(disk);
        let file = aside.open("file").unwrap();
        assert_eq!(file.read(1, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(aside.lock().is_err());
    }
}
