//! The form of a backup: a tar file whose every byte is checked, with records that say themselves what they are.
//!
//! ```text
//! backup.json             which node, when, in which format: read first, so that a newer format is refused at once
//! rows/NUMBER-COUNT       records: length · crc32 · MessagePack {key, version, value}
//! config/… data/… peers/… the configuration, keys, tokens, secrets shared with peers
//! blobs/HASH              named by their content
//! manifest.json           counts, and the SHA-256 of every part but the blobs
//! seal                    SHA-256 of everything before it
//! ```
//! A backup that could not be finished ends with `failed.txt` instead of the last two.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::store::{Key, Position, Row};

/// What this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

pub const HEAD: &str = "backup.json";
pub const MANIFEST: &str = "manifest.json";
pub const SEAL: &str = "seal";
pub const FAILED: &str = "failed.txt";
pub const ROWS: &str = "rows/";
pub const BLOBS: &str = "blobs/";

/// Bytes of records gathered into one part.
pub const PART_BYTES: usize = 4 << 20;
/// The largest part that is read into memory: one of records with its last one, or a manifest.
pub const PART_BYTES_MAX: u64 = 256 << 20;

/// What is backed up, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// The version of the program that wrote it.
    pub program: String,
    pub name: String,
    pub base: String,
    pub incarnation: u64,
    /// The last batch that it holds.
    pub position: u64,
    /// Milliseconds since 1970, and the same for people.
    pub created: u64,
    pub created_at: String,
    /// About how many rows there will be.
    pub rows_about: u64,
}

/// What a whole backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub rows: u64,
    pub row_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    pub files: Vec<FileEntry>,
    pub parts: Vec<PartEntry>,
    /// What was damaged and is therefore missing; empty unless damage was allowed.
    #[serde(default)]
    pub damage: Vec<String>,
}

/// A file that is not rows or a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the archive.
    pub part: String,
    pub role: Role,
    /// Where it lies, as the configuration says it, or its name in the data folder.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The configuration.
    Config,
    /// A key or token of the data folder.
    Data,
    /// The secret shared with the peer of this name in `[peers]`.
    Secret { peer: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: Bytes,
    version: u64,
    value: Bytes,
}

/// Why a part of records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record {0} ends too early")]
    Short(u64),
    #[error("record {0} does not match its checksum")]
    Checksum(u64),
    #[error("record {0} cannot be read")]
    Unreadable(u64),
}

/// Adds a row to a part of records.
pub fn write_record(out: &mut Vec<u8>, row: &Row) {
    let key = Bytes::copy_from_slice(row.key.as_bytes());
    let record = Record { key, version: row.version.0, value: row.value.clone() };
    let record = rmp_serde::to_vec_named(&record).expect("bytes and numbers have a form in MessagePack");
    let length = u32::try_from(record.len()).expect("a row is far smaller than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
    out.extend_from_slice(&record);
}

/// The rows of a part of records.
pub fn read_records(mut part: Bytes) -> impl Iterator<Item = Result<Row, RecordError>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        if part.is_empty() {
            return None;
        }
        number += 1;
        let read = read_record(&mut part, number);
        if read.is_err() {
            part.clear();
        }
        Some(read)
    })
}

fn read_record(part: &mut Bytes, number: u64) -> Result<Row, RecordError> {
    let short = RecordError::Short(number);
    let length = part.try_get_u32_le().map_err(|_| short.clone())?;
    let crc = part.try_get_u32_le().map_err(|_| short.clone())?;
    let length = usize::try_from(length).map_err(|_| short.clone())?;
    if part.len() < length {
        return Err(short);
    }
    let record = part.split_to(length);
    if crc32fast::hash(&record) != crc {
        return Err(RecordError::Checksum(number));
    }
    let record: Record = rmp_serde::from_slice(&record).map_err(|_| RecordError::Unreadable(number))?;
    Ok(Row { key: Key::from_bytes(record.key), version: Position(record.version), value: record.value })
}

/// Hexadecimal digits of a SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &'static [u8], value: &'static [u8]) -> Row {
        Row { key: Key::from_bytes(key), version: Position(7), value: Bytes::from_static(value) }
    }

    #[test]
    fn records_read_back_and_every_flipped_bit_shows() {
        let rows = [row(b"a\0", b""), row(b"b", b"\xff value")];
        let mut part = Vec::new();
        rows.iter().for_each(|row| write_record(&mut part, row));
        let read: Vec<_> = read_records(part.clone().into()).map(Result::unwrap).collect();
        assert_eq!(read, rows);
        for bit in 0..part.len() * 8 {
            let mut flipped = part.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_records(flipped.into()).any(|read| read.is_err()), "bit {bit}");
        }
    }
}
