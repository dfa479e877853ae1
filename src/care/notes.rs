//! What the care of the data remembers over a restart: facts of the node, one row each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::actors::runtime::Runtime;
use crate::actors::{layout, record};
use crate::store::{Batch, Outcome};

/// How the last backup went.
pub const LAST_BACKUP: &str = "last-backup";
/// How the last scrub ended.
pub const LAST_SCRUB: &str = "last-scrub";

/// Writes a note. One that cannot be written is lost at the next restart, and nothing else is.
pub async fn remember<T: Serialize>(runtime: &Runtime, name: &'static str, note: &T) {
    let puts = vec![(layout::node_fact(name), record::encode(note))];
    let batch = Batch { fence: runtime.fence(), puts, ..Batch::default() };
    match runtime.engine.commit(batch).await {
        Outcome::Committed(_) => {}
        outcome => warn!(name, ?outcome, "a note about the care of the store could not be written"),
    }
}

/// The note of an earlier start, if there is one that can be read.
pub async fn recall<T: DeserializeOwned>(runtime: &Runtime, name: &'static str) -> Option<T> {
    match runtime.engine.get(&layout::node_fact(name)).await {
        Ok(row) => row.and_then(|row| record::decode(&row.value).ok()),
        Err(failure) => {
            warn!(name, %failure, "a note about the care of the store cannot be read");
            None
        }
    }
}
