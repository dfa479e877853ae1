//! What a command would come to: decided on what is on disk, and nothing of it is kept.

use std::sync::Arc;

use super::ask::AskError;
use super::deciding::Moment;
use super::entity::{ActorId, Entity};
use super::life::Life;
use super::prepare::fetch;
use super::runtime::Runtime;

/// Has the actor decide about a command without waking it. What is under way may decide otherwise later.
///
/// # Errors
/// What [`ask`](super::registry::Registry::ask) would say.
pub async fn rehearse<E: Entity>(
    runtime: &Arc<Runtime>,
    key: &str,
    command: E::Command,
) -> Result<(), AskError<E::Rejection>> {
    let me = ActorId::of::<E>(key);
    let life = Life::<E>::rebuild(&runtime.engine, &me).await.map_err(|error| AskError::Damaged(error.to_string()))?;
    let reads = E::reads(&me, &command);
    let rows = fetch(&runtime.engine, &me, reads, 0).await.map_err(AskError::Store)?.over(&life.flying);
    let (now, random) = (runtime.clock.now(), runtime.draw());
    let moment = Moment { now, random, from: None, trace: None, noted: false, timed: true };
    let decided = match life.state.is_long(&runtime.world, &command) {
        true => moment.decide_aside(runtime.clone(), me, life.state, rows, command).await,
        false => moment.decide(&me, &runtime.world, &life.state, &rows, command),
    };
    decided.map_err(|_| AskError::Panicked)?.map(drop).map_err(AskError::Rejected)
}
