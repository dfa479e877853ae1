//! Sees to it that every schedule goes by the configuration: at the start, and now and then, since a clock may be set back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::entity::{ActorId, Kind};
use super::layout;
use super::runtime::Runtime;
use super::schedule::{Command, Schedule};
use crate::store::{ReadError, Row, Span, pages};

/// Between two looks; what a clock that was set back holds up at most.
const LOOK: Duration = Duration::from_secs(60);
/// Schedules read in one go.
const PAGE: usize = 256;

/// Looks for the life of the node.
pub(super) async fn run(runtime: Arc<Runtime>) {
    while !runtime.is_stopping() {
        if let Err(failure) = look(&runtime).await {
            warn!(%failure, "the schedules could not be looked at, and will be again");
        }
        runtime.clock.sleep(LOOK).await;
    }
}

/// Tells every schedule that is declared, or was, to be as the configuration says.
///
/// # Errors
/// What the store says.
pub async fn look(runtime: &Runtime) -> Result<(), ReadError> {
    let mut names: BTreeSet<String> = stored(runtime).await?;
    names.extend(runtime.world.catalog.schedules().map(|schedule| schedule.name.clone()));
    for name in names {
        if let Err(error) = runtime.registry().ask::<Schedule>(&name, Command::Ensure, None).await {
            warn!(schedule = name, %error, "a schedule could not be looked at, and will be again");
        }
    }
    Ok(())
}

async fn stored(runtime: &Runtime) -> Result<BTreeSet<String>, ReadError> {
    let all = Span::prefix(&layout::heads(Some(Kind::Schedule)), PAGE);
    let mut found = BTreeSet::new();
    let see = |page: &[Row]| {
        let actors = page.iter().filter_map(|row| layout::head_actor(&row.key));
        found.extend(actors.map(|ActorId { key, .. }| key.to_string()));
    };
    pages(runtime.engine.as_ref(), all, see).await?;
    Ok(found)
}
