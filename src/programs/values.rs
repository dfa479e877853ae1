//! Named values of programs: get, put, compare and set, delete, list.

use super::damage::{self, Bounds};
use super::once::{Answer, Done, Once};
use super::{Current, JsonText, Name, OpError, Prefix, Programs, Settled, damaged, layout};
use crate::store::kv::{Expected, Kv, KvError, Named};
use crate::store::{Position, Row, Versioned};

/// Values fetched at once, and the bytes after which a page of a list ends.
const BITE: usize = 16;
const PAGE_BYTES_MAX: usize = 1 << 20;

impl Programs {
    /// The value of a name, with its version.
    ///
    /// # Errors
    /// What the store says.
    pub async fn value(&self, name: &Name) -> Result<Option<Versioned>, OpError> {
        self.kv().get(self.0.engine(), name.as_str()).await.map_err(of_library)
    }

    /// Sets a value. The answer is [`Done::Put`], and its version that of the value.
    ///
    /// # Errors
    /// [`OpError::Conflict`] when another version stands there than was expected.
    pub async fn put(
        &self,
        name: &Name,
        expected: Expected,
        value: JsonText,
        once: Option<&Once>,
    ) -> Result<Answer, OpError> {
        let batch = self.kv().put_batch(name.as_str(), expected, value.into_bytes());
        self.write(name, batch, Done::Put, once).await
    }

    /// Removes a value; that there was none is no error unless a version was expected.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(&self, name: &Name, expected: Expected, once: Option<&Once>) -> Result<Answer, OpError> {
        let batch = self.kv().delete_batch(name.as_str(), expected);
        self.write(name, batch, Done::Deleted, once).await
    }

    /// At most `limit` values under a prefix, those after `after`, in the order of their names; fewer when they are large.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_values(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Named>, bool), OpError> {
        let kv = self.kv();
        let named = |row: Row| kv.named(row).ok_or_else(|| damaged("a name in the list of values".to_owned()));
        let read = async |last: Option<&Named>, limit| {
            let span = kv.span(prefix.as_str(), last.map(|named| named.name.as_str()).or(after), limit);
            damage::bite(self.0.engine(), span, &layout::values(), named).await
        };
        let bounds = Bounds { limit, bite: BITE, bytes_max: PAGE_BYTES_MAX };
        damage::page(bounds, |named| named.value.len(), read).await
    }

    async fn write(
        &self,
        name: &Name,
        batch: crate::store::Batch,
        done: Done,
        once: Option<&Once>,
    ) -> Result<Answer, OpError> {
        if let Some(answer) = self.0.earlier(once).await? {
            return Ok(answer);
        }
        match self.0.settle(once, batch, done).await? {
            Settled::Done(answer) => Ok(answer),
            Settled::Refused => {
                let current: Option<Position> = self.value(name).await?.map(|row| row.version);
                Err(OpError::Conflict(Current::Value(current)))
            }
        }
    }

    fn kv(&self) -> Kv {
        Kv::under(layout::values(), self.0.owner.fence())
    }
}

fn of_library(error: KvError) -> OpError {
    match error {
        KvError::Conflict(kv) => OpError::Conflict(Current::Value(kv.0)),
        KvError::Busy => OpError::Busy("this value".to_owned()),
        KvError::Fenced(_) => OpError::Fenced,
        KvError::Failed(failure) => damage::unread(failure),
        KvError::Unknown(failure) => OpError::Unknown(failure),
    }
}
