//! Reading a backup through: every byte is held against what it must be, and what it holds is handed on.

use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::archive::{ArchiveError, Part, Parts};
use super::format::{
    BLOBS, FAILED, FORMAT, HEAD, Head, MANIFEST, Manifest, PART_BYTES_MAX, PartEntry, ROWS, SEAL, read_records, sha256,
};
use crate::store::Row;
use crate::store::blob::BlobHash;

const CHUNK: usize = 256 << 10;

/// What takes the content of a backup while it is read. Nothing of it may be used before the reading has ended well.
pub trait Taker {
    fn row(&mut self, _: Row) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn blob(&mut self, _: BlobHash, _: u64) -> io::Result<()> {
        Ok(())
    }

    /// More of the blob named last.
    fn blob_chunk(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Takes nothing: the backup is only checked.
#[derive(Debug, Default)]
pub struct Nothing;

impl Taker for Nothing {}

/// A backup that is whole.
#[derive(Debug, Clone)]
pub struct Proved {
    pub head: Head,
    pub manifest: Manifest,
}

/// Reads all of a backup.
///
/// # Errors
/// What is wrong with it, or what the taker says.
pub fn read(input: impl Read, taker: &mut dyn Taker) -> Result<Proved, ArchiveError> {
    let mut reading = Reading { parts: Parts::new(input), taker, found: Found::default() };
    let head = reading.head()?;
    loop {
        let Some(part) = reading.parts.part()? else { return Err(ArchiveError::Short("the manifest".to_owned())) };
        match part.name.as_str() {
            MANIFEST => break,
            FAILED => return Err(reading.failed()),
            name if name.starts_with(ROWS) => reading.rows(&part)?,
            name if name.starts_with(BLOBS) => reading.blob(&part)?,
            _ => reading.file(&part)?,
        }
    }
    let manifest = reading.manifest()?;
    reading.seal()?;
    Ok(Proved { head, manifest })
}

#[derive(Default)]
struct Found {
    parts: Vec<PartEntry>,
    rows: u64,
    blobs: u64,
    blob_bytes: u64,
}

struct Reading<'a, R> {
    parts: Parts<R>,
    taker: &'a mut dyn Taker,
    found: Found,
}

impl<R: Read> Reading<'_, R> {
    fn head(&mut self) -> Result<Head, ArchiveError> {
        let part = self.parts.part()?.filter(|part| part.name == HEAD).ok_or(ArchiveError::Foreign)?;
        let content = self.listed(&part)?;
        // The format alone first: the rest of a newer head may look otherwise.
        let format = serde_json::from_slice::<serde_json::Value>(&content).ok();
        let format = format.as_ref().and_then(|head| head.get("format")?.as_u64());
        match format.and_then(|format| u32::try_from(format).ok()) {
            None => return Err(self.parts.damaged()),
            Some(found) if found > FORMAT => return Err(ArchiveError::Newer { found, known: FORMAT }),
            Some(_) => {}
        }
        let head: Head = serde_json::from_slice(&content).map_err(|_| self.parts.damaged())?;
        Ok(head)
    }

    fn failed(&mut self) -> ArchiveError {
        match self.parts.whole(PART_BYTES_MAX) {
            Ok(reason) => ArchiveError::Unfinished(String::from_utf8_lossy(&reason).into_owned()),
            Err(error) => error,
        }
    }

    fn rows(&mut self, part: &Part) -> Result<(), ArchiveError> {
        let content = self.listed(part)?;
        for row in read_records(Bytes::from(content)) {
            let damaged = |error| ArchiveError::Damaged { what: format!("{}, {error}", part.name) };
            self.taker.row(row.map_err(damaged)?)?;
            self.found.rows += 1;
        }
        Ok(())
    }

    fn file(&mut self, part: &Part) -> Result<(), ArchiveError> {
        let content = self.listed(part)?;
        Ok(self.taker.file(&part.name, &content)?)
    }

    fn blob(&mut self, part: &Part) -> Result<(), ArchiveError> {
        let name = part.name.strip_prefix(BLOBS).unwrap_or_default();
        let hash: BlobHash = name.parse().map_err(|_| self.parts.damaged())?;
        self.taker.blob(hash, part.bytes)?;
        let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            let read = self.parts.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            self.taker.blob_chunk(&chunk[..read])?;
        }
        if hasher.finalize()[..] != hash.0 {
            return Err(self.parts.damaged());
        }
        self.found.blobs += 1;
        self.found.blob_bytes += part.bytes;
        Ok(())
    }

    fn listed(&mut self, part: &Part) -> Result<Vec<u8>, ArchiveError> {
        let content = self.parts.whole(PART_BYTES_MAX)?;
        self.found.parts.push(PartEntry { name: part.name.clone(), bytes: part.bytes, sha256: sha256(&content) });
        Ok(content)
    }

    /// What the manifest says is what was found, in the same order.
    fn manifest(&mut self) -> Result<Manifest, ArchiveError> {
        let content = self.parts.whole(PART_BYTES_MAX)?;
        let manifest: Manifest = serde_json::from_slice(&content).map_err(|_| self.parts.damaged())?;
        let listed: BTreeMap<&str, &PartEntry> = manifest.parts.iter().map(|part| (part.name.as_str(), part)).collect();
        for found in &self.found.parts {
            if listed.get(found.name.as_str()) != Some(&found) {
                return Err(ArchiveError::Damaged { what: found.name.clone() });
            }
        }
        let Found { parts, rows, blobs, blob_bytes } = &self.found;
        let counted = (parts.len(), *rows, *blobs, *blob_bytes);
        if counted != (manifest.parts.len(), manifest.rows, manifest.blobs, manifest.blob_bytes) {
            return Err(self.parts.damaged());
        }
        Ok(manifest)
    }

    fn seal(&mut self) -> Result<(), ArchiveError> {
        let part = self.parts.part()?;
        let sealed = self.parts.before().to_owned();
        let seal = if part.is_some_and(|part| part.name == SEAL) { self.parts.whole(64)? } else { Vec::new() };
        if seal != sealed.as_bytes() {
            return Err(ArchiveError::Damaged { what: "the seal, or something before it,".to_owned() });
        }
        match self.parts.part()? {
            None => Ok(()),
            Some(_) => Err(self.parts.damaged()),
        }
    }
}
