//! Large values by the hash of their content: the port, and the rule by which unused ones are collected.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};

use crate::clock::Time;

mod file;
mod memory;

pub use file::FileBlobs;
pub use memory::MemoryBlobs;

/// A blob that nothing names yet is kept this long, since whoever stored it may still be about to name it.
pub const UNREFERENCED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
const COLLECT_PAGE: usize = 256;

/// A place that keeps blobs.
pub trait Blobs: Send + Sync + 'static {
    /// Starts a new blob. Nothing of it stays unless it is finished.
    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, BlobError>>;

    /// Reads a blob, checked against its hash before the first byte is given.
    fn get(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<Blob>, BlobError>>;

    /// The size of a blob, if it is there.
    fn has(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<u64>, BlobError>>;

    /// At most `limit` blobs that were last put before this time, in the order of their hashes.
    fn put_before(
        &self,
        time: Time,
        after: Option<BlobHash>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<BlobHash>, BlobError>>;

    /// Removes a blob, unless it was put again since this time or something holds all blobs. Says whether it did.
    fn remove(&self, hash: BlobHash, put_before: Time) -> BoxFuture<'static, Result<bool, BlobError>>;

    /// Nothing is removed as long as the answer lives: for backups.
    fn hold(&self) -> Hold;
}

/// A blob being written. Dropping it instead of finishing leaves nothing.
pub trait BlobWriter: Send {
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;

    /// The blob is on disk, under its name, once this is ready. Putting a blob that is there already renews its age.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Stored, BlobError>>;
}

/// SHA-256 of the content; written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; 32]);

impl BlobHash {
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// These letters are not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob is named by 64 hexadecimal digits in lower case")]
pub struct NotAHash;

impl FromStr for BlobHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.bytes().map(|digit| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NotAHash),
        });
        let digits: Vec<u8> = digits.collect::<Result<_, _>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        if digits.len() == 64 { bytes.try_into().map(Self).map_err(|_| NotAHash) } else { Err(NotAHash) }
    }
}

/// A finished blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub hash: BlobHash,
    pub bytes: u64,
}

/// A blob being read: its size, then its content piece by piece.
pub struct Blob {
    pub bytes: u64,
    pub chunks: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl Blob {
    /// The whole content; only for blobs that are known to be small.
    pub async fn whole(mut self) -> Result<Bytes, BlobError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunks.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.into())
    }
}

/// Keeps every blob from being removed.
pub struct Hold(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hold")
    }
}

/// What can be wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the blob is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("the blob {0} is damaged: put it again")]
    Damaged(BlobHash),
    #[error("the disk is full: free some space")]
    Full(#[source] std::io::Error),
    #[error("the disk failed: {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the work on a blob was cut short: the node is stopping")]
    Stopped,
}

/// Removes every blob that nothing refers to and that was put more than a day ago. Whoever is about to refer to one puts
/// it first, which renews its age, and `remove` looks at that again. Gives the number of those removed.
pub async fn collect<Failed: From<BlobError>>(
    blobs: &dyn Blobs,
    now: Time,
    is_referenced: impl AsyncFn(BlobHash) -> Result<bool, Failed>,
) -> Result<u64, Failed> {
    let before = now.minus(UNREFERENCED_KEPT);
    let mut removed = 0;
    let mut after = None;
    loop {
        let page = blobs.put_before(before, after, COLLECT_PAGE).await?;
        for &hash in &page {
            if !is_referenced(hash).await? {
                removed += u64::from(blobs.remove(hash, before).await?);
            }
        }
        after = page.last().copied();
        if page.len() < COLLECT_PAGE {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_and_nothing_else_is_one() {
        let hash = BlobHash::of(b"abc");
        let text = hash.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(hash));
        for wrong in [&text[1..], &format!("{text}0"), &text.to_uppercase(), "../../../../etc/passwd", ""] {
            assert_eq!(wrong.parse::<BlobHash>(), Err(NotAHash), "{wrong}");
        }
    }
}
