//! Whether rows are what the node can read: their form by area, and that turns follow one another without a gap.

use serde::de::DeserializeOwned;

use super::kept::Kept;
use crate::actors::entity::ActorId;
use crate::actors::errands::Errand;
use crate::actors::kinds::Kinds;
use crate::actors::layout;
use crate::actors::record::{self, Answer, DeadLetter, Head, Waiting};

use crate::store::{Key, Row};

/// A row that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: Key,
    pub what: String,
}

/// Looks at rows in the order of their keys.
#[derive(Default)]
pub struct Records {
    /// The turn seen last, and whose it was.
    turn: Option<(ActorId, u64)>,
    kinds: Kinds,
    /// What programs keep.
    pub kept: Kept,
}

impl Records {
    /// What is wrong with a row, if anything is.
    pub fn see(&mut self, row: &Row) -> Option<Wrong> {
        let wrong = |what: String| Wrong { key: row.key.clone(), what };
        let area = row.key.as_bytes().first()?;
        let read = match area {
            b'h' => self.head(row),
            b'e' => self.turn(row),
            b'm' | b't' => reads::<Waiting>(&row.value),
            b'x' => record::decode::<Waiting>(&row.value)
                .map_err(|error| error.to_string())
                .and_then(|waiting| reads::<Errand>(&waiting.body)),
            b'd' => reads::<DeadLetter>(&row.value),
            b'r' if row.key.as_bytes().get(1) == Some(&0) => reads::<Answer>(&row.value),
            b'p' => self.kept.see(row),
            _ => Ok(()),
        };
        let owned = match area {
            b'h' | b'e' | b'm' | b't' | b'x' | b'i' if layout::owner(&row.key).is_none() => {
                Err("its key names no actor".to_owned())
            }
            _ => Ok(()),
        };
        owned.and(read).err().map(wrong)
    }

    fn head(&self, row: &Row) -> Result<(), String> {
        let head: Head = record::decode(&row.value).map_err(unread)?;
        let actor = layout::head_actor(&row.key).ok_or("its key names no actor")?;
        self.kinds.reads_state(actor.kind, &head.state).map_err(unread)
    }

    fn turn(&mut self, row: &Row) -> Result<(), String> {
        let (actor, _) = layout::event_turn(&row.key).ok_or("its key names no turn")?;
        self.kinds.reads_turn(actor.kind, &row.value).map_err(unread).and(self.follows(&row.key))
    }

    /// Events are trimmed from the front only, so that those of an actor are numbered without a gap.
    fn follows(&mut self, key: &Key) -> Result<(), String> {
        let (actor, turn) = layout::event_turn(key).ok_or("its key names no turn")?;
        let before = self.turn.replace((actor.clone(), turn));
        match before {
            Some((same, before)) if same == actor && turn != before + 1 => {
                Err(format!("turn {turn} follows turn {before}: those between are missing"))
            }
            _ => Ok(()),
        }
    }
}

fn reads<T: DeserializeOwned>(value: &[u8]) -> Result<(), String> {
    record::decode::<T>(value).map(drop).map_err(unread)
}

fn unread(error: rmp_serde::decode::Error) -> String {
    format!("it cannot be read: {error}")
}
