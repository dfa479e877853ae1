//! Named values with versions under one prefix.

use bytes::Bytes;

use super::access::{self, AccessError, ConditionRefused};
use super::{Batch, Condition, Engine, Fence, Key, Position, Row, Span, Versioned};

/// The values under one prefix, as a pure description: where they stand, and which batch does what.
#[derive(Debug, Clone)]
pub struct Kv {
    prefix: Key,
    fence: Fence,
}

/// What a put or a delete relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    Absent,
    Version(Position),
}

/// What stands there instead of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current(pub Option<Position>);

impl std::fmt::Display for Current {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(Position(version)) => write!(out, "the value is at version {version}"),
            None => write!(out, "there is no value"),
        }
    }
}

/// One value of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub version: Position,
    pub value: Bytes,
}

pub type KvError = AccessError<Current>;

impl Kv {
    pub fn under(prefix: Key, fence: Fence) -> Self {
        Self { prefix, fence }
    }

    pub fn key(&self, name: &str) -> Key {
        Key::build().raw(self.prefix.as_bytes()).text(name).done()
    }

    pub fn put_batch(&self, name: &str, expected: Expected, value: Bytes) -> Batch {
        Batch { puts: vec![(self.key(name), value)], ..self.expecting(name, expected) }
    }

    pub fn delete_batch(&self, name: &str, expected: Expected) -> Batch {
        Batch { deletes: vec![self.key(name)], ..self.expecting(name, expected) }
    }

    pub async fn get(&self, engine: &dyn Engine, name: &str) -> Result<Option<Versioned>, KvError> {
        engine.get(&self.key(name)).await.map_err(KvError::Failed)
    }

    /// Sets a value and gives its version.
    pub async fn put(
        &self,
        engine: &dyn Engine,
        name: &str,
        expected: Expected,
        value: Bytes,
    ) -> Result<Position, KvError> {
        self.commit(engine, name, self.put_batch(name, expected, value)).await
    }

    /// Removes a value; that there was none is no error unless a version was expected.
    pub async fn delete(&self, engine: &dyn Engine, name: &str, expected: Expected) -> Result<(), KvError> {
        self.commit(engine, name, self.delete_batch(name, expected)).await.map(|Position(_)| ())
    }

    /// At most `limit` values whose names begin with `prefix`, those after `after`, ordered by the bytes of their names.
    pub async fn list(
        &self,
        engine: &dyn Engine,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Named>, KvError> {
        let rows = engine.range(self.span(prefix, after, limit)).await.map_err(KvError::Failed)?;
        let values: Option<Vec<Named>> = rows.into_iter().map(|row| self.named(row)).collect();
        values.ok_or_else(|| KvError::damaged("a name in the list of values".to_owned()))
    }

    /// The rows of such a list.
    pub fn span(&self, prefix: &str, after: Option<&str>, limit: usize) -> Span {
        let whole = self.key(prefix);
        // Without the byte that ends a text part the key is a prefix of all names that begin like this.
        let (_, open) = whole.as_bytes().split_last().expect("a text part ends with a byte of its own");
        let mut span = Span::prefix(&Key::from_bytes(open.to_vec()), limit);
        if let Some(after) = after {
            span.from = span.from.max(self.key(after).successor());
        }
        span
    }

    /// The value of a row of such a list; `None` for one that has no name.
    pub fn named(&self, row: Row) -> Option<Named> {
        let name = row.key.parts_after(&self.prefix).text()?;
        Some(Named { name, version: row.version, value: row.value })
    }

    fn expecting(&self, name: &str, expected: Expected) -> Batch {
        let conditions = match expected {
            Expected::Any => Vec::new(),
            Expected::Absent => vec![Condition::Absent(self.key(name))],
            Expected::Version(version) => vec![Condition::Version(self.key(name), version)],
        };
        Batch { fence: self.fence, conditions, ..Batch::default() }
    }

    async fn commit(&self, engine: &dyn Engine, name: &str, batch: Batch) -> Result<Position, KvError> {
        match access::commit(engine, batch).await? {
            Ok(position) => Ok(position),
            Err(ConditionRefused) => {
                let current = self.get(engine, name).await?;
                Err(KvError::Conflict(Current(current.map(|row| row.version))))
            }
        }
    }
}
