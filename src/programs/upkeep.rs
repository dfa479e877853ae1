//! What becomes of things that programs need no more: content that nothing names, and answers that no repeat asks for.

use std::time::Duration;

use tracing::{info, warn};

use super::{OpError, Programs, layout};
use crate::clock::Time;
use crate::store::{Batch, Span};

/// How often it is looked at; what nothing names is kept for a day anyway.
const EVERY: Duration = Duration::from_secs(3_600);
/// Answers forgotten by one batch, so that nobody waits behind it for long.
const PAGE: usize = 256;

impl Programs {
    /// Forgets old answers and unused content, for the life of the node.
    pub async fn keep_up(self, answers_kept: Duration) {
        loop {
            self.0.clock.sleep(EVERY).await;
            match self.forget_answers(self.0.clock.now().minus(answers_kept)).await {
                Ok(0) => {}
                Ok(removed) => info!(removed, "answers to programs were kept long enough"),
                Err(error) => warn!(%error, "old answers to programs could not be removed"),
            }
            match self.collect_blobs().await {
                Ok(0) => {}
                Ok(removed) => info!(removed, "blobs that nothing names were removed"),
                Err(error) => warn!(%error, "unused blobs could not be removed"),
            }
        }
    }

    /// Forgets the answers that were given before this, a page at a time, and says how many.
    ///
    /// # Errors
    /// What the store says; what was forgotten until then stays so.
    pub async fn forget_answers(&self, before: Time) -> Result<u64, OpError> {
        let mut forgotten = 0;
        loop {
            let span = Span::prefix(&layout::answers_by_time(), PAGE);
            let page = self.0.engine.range(span).await.map_err(OpError::Unread)?;
            let old = page.iter().filter_map(|row| Some((row.key.clone(), layout::answer_of(&row.key)?)));
            let old = old.take_while(|(_, (at, _))| *at < before);
            let deletes: Vec<_> = old.flat_map(|(by_time, (_, answer))| [by_time, answer]).collect();
            if deletes.is_empty() {
                return Ok(forgotten);
            }
            let count = deletes.len() as u64 / 2;
            let batch = Batch { fence: self.0.owner.fence(), deletes, ..Batch::default() };
            if self.0.commit(batch).await?.is_err() {
                unreachable!("a batch without conditions");
            }
            forgotten += count;
        }
    }
}
