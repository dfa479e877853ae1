//! Named blobs: large content under a name, kept once for each hash, and as long as any name stands for it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::damage::{self, Bounds};
use super::once::{Answer, Done, Once};
use super::{Current, Name, OpError, Prefix, Programs, Settled, TRIES_MAX, damaged, layout};
use crate::store::blob::{self, Blob, BlobHash, BlobWriter, Stored};
use crate::store::{Batch, Condition, Row, Span, Versioned};

/// Names fetched at once.
const BITE: usize = 256;

/// What a write of a name relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    Absent,
    Hash(BlobHash),
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub hash: BlobHash,
    pub bytes: u64,
    /// As the sender said it.
    pub media: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    hash: String,
    bytes: u64,
    media: String,
}

impl Programs {
    /// Starts to store content, which nothing names yet.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn begin_blob(&self) -> Result<Box<dyn BlobWriter>, OpError> {
        Ok(self.0.blobs.begin().await?)
    }

    /// Lets a name stand for content that was just stored. The answer is [`Done::Named`].
    ///
    /// # Errors
    /// [`OpError::Conflict`] when the name stands for something else than was expected.
    pub async fn name_blob(
        &self,
        name: &Name,
        expected: Expected,
        stored: Stored,
        media: &str,
        once: Option<&Once>,
    ) -> Result<Answer, OpError> {
        let entry = Entry { hash: stored.hash, bytes: stored.bytes, media: media.to_owned() };
        let done = Done::Named { hash: entry.hash.to_string(), bytes: entry.bytes };
        self.change(name, expected, Some(&entry), done, once).await
    }

    /// Takes a name away. Its content is collected once nothing else names it, a day later at the earliest.
    ///
    /// # Errors
    /// As [`Self::name_blob`].
    pub async fn unname_blob(&self, name: &Name, expected: Expected, once: Option<&Once>) -> Result<Answer, OpError> {
        self.change(name, expected, None, Done::Deleted, once).await
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn blob(&self, name: &Name) -> Result<Option<Entry>, OpError> {
        Ok(self.row(name).await?.map(|(entry, _)| entry))
    }

    /// The content of an entry, checked against its hash before its first byte.
    ///
    /// # Errors
    /// When it is damaged or lost.
    pub async fn content(&self, entry: &Entry) -> Result<Blob, OpError> {
        let found = self.0.blobs.get(entry.hash).await?;
        found.ok_or_else(|| damaged(format!("the content of the blob {} is gone", entry.hash)))
    }

    /// At most `limit` blobs under a prefix, those after `after`, in the order of their names, and whether there are
    /// more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_blobs(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Entry)>, bool), OpError> {
        let read = async |last: Option<&(String, Entry)>, limit| {
            let mut span = Span::prefix(&layout::blobs(prefix.as_str()), limit);
            if let Some(after) = last.map(|(name, _)| name.as_str()).or(after) {
                span.from = span.from.max(layout::blob(after).successor());
            }
            damage::bite(self.0.engine(), span, &layout::blobs(""), listed).await
        };
        damage::page(Bounds { limit, bite: BITE, bytes_max: usize::MAX }, |_| 0, read).await
    }

    /// Removes content that no name stands for and that was put more than a day ago. Gives how many.
    ///
    /// # Errors
    /// What the store or the disk says.
    pub async fn collect_blobs(&self) -> Result<u64, OpError> {
        let is_named = async |hash| {
            let names = self.0.engine.range(Span::prefix(&layout::names_of(hash), 1)).await;
            names.map(|rows| !rows.is_empty()).map_err(OpError::Unread)
        };
        blob::collect(self.0.blobs.as_ref(), self.0.clock.now(), is_named).await
    }

    async fn change(
        &self,
        name: &Name,
        expected: Expected,
        to: Option<&Entry>,
        done: Done,
        once: Option<&Once>,
    ) -> Result<Answer, OpError> {
        for _ in 0..TRIES_MAX {
            if let Some(answer) = self.0.earlier(once).await? {
                return Ok(answer);
            }
            let current = self.row(name).await?;
            let hash = current.as_ref().map(|(entry, _)| entry.hash);
            let as_expected = match expected {
                Expected::Any => true,
                Expected::Absent => hash.is_none(),
                Expected::Hash(wanted) => hash == Some(wanted),
            };
            if !as_expected {
                return Err(OpError::Conflict(Current::Blob(hash)));
            }
            let batch = self.changing(name, current.as_ref(), to);
            // Whoever was quicker has changed what the next look finds.
            if let Settled::Done(answer) = self.0.settle(once, batch, done.clone()).await? {
                return Ok(answer);
            }
        }
        Err(OpError::Busy(format!("the blob {name}")))
    }

    /// Moves the name and its row by hash together, if the name still stands as it was read.
    fn changing(&self, name: &Name, from: Option<&(Entry, Versioned)>, to: Option<&Entry>) -> Batch {
        let (key, name) = (layout::blob(name.as_str()), name.as_str());
        let mut batch = Batch { fence: self.0.owner.fence(), ..Batch::default() };
        batch.conditions.push(match from {
            Some((_, row)) => Condition::Version(key.clone(), row.version),
            None => Condition::Absent(key.clone()),
        });
        if let Some((old, _)) = from.filter(|(old, _)| to.is_none_or(|to| to.hash != old.hash)) {
            batch.deletes.push(layout::name_of(old.hash, name));
        }
        match to {
            Some(entry) => {
                let kept = Kept { hash: entry.hash.to_string(), bytes: entry.bytes, media: entry.media.clone() };
                let kept = rmp_serde::to_vec_named(&kept).expect("texts and numbers have a stored form");
                batch.puts.push((key, kept.into()));
                batch.puts.push((layout::name_of(entry.hash, name), Bytes::new()));
            }
            None => batch.deletes.push(key),
        }
        batch
    }

    async fn row(&self, name: &Name) -> Result<Option<(Entry, Versioned)>, OpError> {
        let row = self.0.engine.get(&layout::blob(name.as_str())).await.map_err(damage::unread)?;
        row.map(|row| Ok((read(name.as_str(), &row.value)?, row))).transpose()
    }
}

fn listed(row: Row) -> Result<(String, Entry), OpError> {
    let name = layout::blob_name(&row.key).ok_or_else(|| damaged("a name in the list of blobs".to_owned()))?;
    let entry = read(&name, &row.value)?;
    Ok((name, entry))
}

/// The entry in the row of a name.
///
/// # Errors
/// When it is damaged.
pub(crate) fn read(name: &str, value: &[u8]) -> Result<Entry, OpError> {
    let kept: Option<Kept> = rmp_serde::from_slice(value).ok();
    let entry =
        kept.and_then(|kept| Some(Entry { hash: kept.hash.parse().ok()?, bytes: kept.bytes, media: kept.media }));
    entry.ok_or_else(|| damaged(format!("the row of the blob {name}")))
}

/// Refuses content that is not what its sender said it was.
///
/// # Errors
/// [`OpError::OtherContent`]; what was stored is collected later.
pub fn check_hash(expected: Option<BlobHash>, stored: &Stored) -> Result<(), OpError> {
    match expected {
        Some(expected) if expected != stored.hash => Err(OpError::OtherContent { expected, found: stored.hash }),
        _ => Ok(()),
    }
}
