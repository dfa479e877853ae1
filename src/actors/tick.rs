//! The tick: now and then, or at once when somebody says so, what waits for a peer is looked at again.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::entity::ActorId;
use super::following::{self, Following};
use super::outbox::{self, Outbox};
use super::rows::Index;
use super::runtime::Runtime;
use super::{layout, record};
use crate::store::{Key, ReadError, Row, Span, pages};

/// Peers told in one go.
const PAGE: usize = 256;

/// Ticks for the life of the node.
pub(super) async fn run(runtime: Arc<Runtime>, every: Duration) {
    loop {
        runtime.clock.sleep(every).await;
        if runtime.is_stopping() {
            return;
        }
        if let Err(failure) = now(&runtime, false).await {
            warn!(%failure, "the tick could not look for what waits");
        }
    }
}

/// Flushes the outboxes of peers that failed, and asks again those who have not answered a Follow. `force` does not wait
/// for the end of a back-off. Gives how many were told.
///
/// # Errors
/// What the store says.
pub async fn now(runtime: &Runtime, force: bool) -> Result<usize, ReadError> {
    let mut told = 0;
    for peer in owners(runtime, Index::Outboxes).await? {
        let command = if force { outbox::Command::Retry } else { outbox::Command::Flush };
        // One that is full or falling is looked at again at the next tick.
        told += usize::from(runtime.registry().ask::<Outbox>(&peer.key, command, None).await.is_ok());
    }
    for (peer, status) in followed(runtime).await? {
        if status == following::Status::Unanswered {
            let ask = runtime.registry().ask::<Following>(&peer, following::Command::Ensure, None).await;
            told += usize::from(ask.is_ok());
        }
    }
    Ok(told)
}

async fn owners(runtime: &Runtime, index: Index) -> Result<Vec<ActorId>, ReadError> {
    let all = Span::prefix(&layout::index_prefix(index, &Key::default()), PAGE);
    let mut found = Vec::new();
    let see = |page: &[Row]| found.extend(page.iter().filter_map(|row| layout::index_owner(&row.key)));
    pages(runtime.engine.as_ref(), all, see).await?;
    Ok(found)
}

async fn followed(runtime: &Runtime) -> Result<Vec<(String, following::Status)>, ReadError> {
    let all = Span::prefix(&layout::index_prefix(Index::Following, &Key::default()), PAGE);
    let mut found = Vec::new();
    let see = |page: &[Row]| {
        let listed = page.iter().filter_map(|row| record::decode::<following::Listed>(&row.value).ok());
        found.extend(listed.map(|listed| (listed.actor.as_str().to_owned(), listed.status)));
    };
    pages(runtime.engine.as_ref(), all, see).await?;
    Ok(found)
}
