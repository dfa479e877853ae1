//! The tar file around a backup: headers in one form only, so that a reader can hold every byte against what it must be.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::hex::hex;

/// What tar counts in.
pub const BLOCK: usize = 512;
/// Zeros that end a tar file.
pub const END_BYTES: usize = 2 * BLOCK;
const NAME: usize = 100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// What eleven octal digits hold. A larger size is written in binary behind this mark, as GNU tar and libarchive read it.
const OCTAL_MAX: u64 = 0o777_7777_7777;
const BINARY: u8 = 0x80;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it ends too early, in {0}: the backup was cut off; use another copy of it")]
    Short(String),
    #[error("{what} is damaged: use another copy of the backup")]
    Damaged { what: String },
    #[error("it is no backup of quickbeam")]
    Foreign,
    #[error("it has format {found}, this version reads up to {known}: use the version that wrote it, or a later one")]
    Newer { found: u32, known: u32 },
    #[error("the backup was not finished: {0}")]
    Unfinished(String),
    #[error("it could not be read: {0}; use another copy of it")]
    Io(#[from] io::Error),
}

/// The header of a part.
///
/// # Panics
/// For a name that tar has no room for; ours are all shorter.
pub fn header(name: &str, bytes: u64) -> [u8; BLOCK] {
    assert!(name.len() <= NAME, "a part has a short name");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(136, "00000000000");
    put(CHECKSUM.start, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    if bytes <= OCTAL_MAX {
        header[SIZE.start..SIZE.end - 1].copy_from_slice(format!("{bytes:011o}").as_bytes());
    } else {
        header[SIZE.start] = BINARY;
        header[SIZE.end - 8..SIZE.end].copy_from_slice(&bytes.to_be_bytes());
    }
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Zeros between the end of a part and the next block.
pub fn padding(bytes: u64) -> usize {
    let over = usize::try_from(bytes % BLOCK as u64).expect("less than a block");
    if over == 0 { 0 } else { BLOCK - over }
}

/// Name and size of the part that a header begins; `None` for one that is none of ours.
pub fn part_of(block: &[u8; BLOCK]) -> Option<(String, u64)> {
    let end = block[..NAME].iter().position(|&byte| byte == 0).unwrap_or(NAME);
    let name = std::str::from_utf8(&block[..end]).ok()?;
    let size = if block[SIZE.start] == BINARY {
        u64::from_be_bytes(*block[..SIZE.end].last_chunk()?)
    } else {
        u64::from_str_radix(std::str::from_utf8(&block[SIZE.start..SIZE.end - 1]).ok()?, 8).ok()?
    };
    // Whatever else differs from what we would have written is damage.
    (*block == header(name, size)).then(|| (name.to_owned(), size))
}

/// Reads an archive part by part, in order.
#[derive(Debug)]
pub struct Parts<R> {
    input: R,
    hasher: Sha256,
    /// What is left of the current part, then the zeros behind it.
    left: u64,
    padding: usize,
    /// The hash of everything before the current part.
    before: String,
    name: String,
}

/// A part whose content comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub bytes: u64,
}

impl<R: Read> Parts<R> {
    pub fn new(input: R) -> Self {
        let name = "the beginning".to_owned();
        Self { input, hasher: Sha256::new(), left: 0, padding: 0, before: String::new(), name }
    }

    /// The next part; `None` at the end. What was not read of the one before is skipped.
    ///
    /// # Errors
    /// When the archive is damaged or ends.
    pub fn part(&mut self) -> Result<Option<Part>, ArchiveError> {
        let mut rest = [0; 64 << 10];
        while self.read(&mut rest)? > 0 {}
        let mut zeros = [0; BLOCK];
        let zeros = &mut zeros[..std::mem::take(&mut self.padding)];
        self.fill(zeros)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(self.damaged());
        }
        self.before = hex(&self.hasher.clone().finalize());
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return self.ended().map(|()| None);
        }
        let behind = std::mem::take(&mut self.name);
        let Some((name, bytes)) = part_of(&block) else {
            let what = format!("the header behind {behind}");
            return Err(if behind == "the beginning" { ArchiveError::Foreign } else { ArchiveError::Damaged { what } });
        };
        self.name.clone_from(&name);
        (self.left, self.padding) = (bytes, padding(bytes));
        Ok(Some(Part { name, bytes }))
    }

    /// The next bytes of the current part; 0 at its end.
    ///
    /// # Errors
    /// When the archive ends.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ArchiveError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        self.fill(&mut out[..wanted])?;
        self.left -= wanted as u64;
        Ok(wanted)
    }

    /// All of the current part.
    ///
    /// # Errors
    /// When it has more than `bytes_max`, or the archive ends.
    pub fn whole(&mut self, bytes_max: u64) -> Result<Vec<u8>, ArchiveError> {
        if self.left > bytes_max {
            return Err(self.damaged());
        }
        let mut whole = vec![0; usize::try_from(self.left).map_err(|_| self.damaged())?];
        self.read(&mut whole)?;
        Ok(whole)
    }

    /// The SHA-256 of everything before the current part.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// The error for a current part that is not what it must be.
    pub fn damaged(&self) -> ArchiveError {
        ArchiveError::Damaged { what: self.name.clone() }
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), ArchiveError> {
        self.input.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Short(self.name.clone()),
            _ => ArchiveError::Io(error),
        })?;
        self.hasher.update(out);
        Ok(())
    }

    fn ended(&mut self) -> Result<(), ArchiveError> {
        let what = || ArchiveError::Damaged { what: "the end".to_owned() };
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let more = self.input.read(&mut [0])?;
        if block == [0; BLOCK] && more == 0 { Ok(()) } else { Err(what()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_be_as_large_as_a_blob() {
        for bytes in [0, 1, OCTAL_MAX, OCTAL_MAX + 1, 1 << 40, u64::MAX] {
            assert_eq!(part_of(&header("blobs/ab", bytes)), Some(("blobs/ab".to_owned(), bytes)));
        }
        let large = header("blobs/ab", 1 << 40);
        assert_eq!(large[SIZE], [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn parts_read_back_and_a_header_has_one_form() {
        let mut archive = Vec::new();
        for (name, content) in [("a", &b"one"[..]), ("rows/2", &[7; 512])] {
            archive.extend_from_slice(&header(name, content.len() as u64));
            archive.extend_from_slice(content);
            archive.resize(archive.len() + padding(content.len() as u64), 0);
        }
        archive.resize(archive.len() + END_BYTES, 0);
        let mut parts = Parts::new(archive.as_slice());
        assert_eq!(parts.part().unwrap(), Some(Part { name: "a".into(), bytes: 3 }));
        assert_eq!(parts.whole(3).unwrap(), b"one");
        assert_eq!(parts.part().unwrap(), Some(Part { name: "rows/2".into(), bytes: 512 }));
        assert_eq!(parts.part().unwrap(), None);
        for bit in (0..BLOCK * 8).chain((BLOCK + 3) * 8..2 * BLOCK * 8) {
            let mut flipped = archive.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut parts = Parts::new(flipped.as_slice());
            let read = (0..3).try_for_each(|_| parts.part().map(drop));
            assert!(read.is_err(), "bit {bit}");
        }
    }
}
