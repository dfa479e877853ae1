//! What a command would come to: decided on what is on disk, and nothing of it is kept.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ask::AskError;
use super::entity::{ActorId, Entity, Turn};
use super::life::Life;
use super::prepare::fetch;
use super::runtime::Runtime;

/// Has the actor decide about a command without waking it. What is under way may decide otherwise later.
///
/// # Errors
/// What [`ask`](super::registry::Registry::ask) would say.
pub async fn rehearse<E: Entity>(
    runtime: &Runtime,
    key: &str,
    command: E::Command,
) -> Result<(), AskError<E::Rejection>> {
    let me = ActorId::of::<E>(key);
    let life = Life::<E>::rebuild(&runtime.engine, &me).await.map_err(|error| AskError::Damaged(error.to_string()))?;
    let reads = E::reads(&me, &command);
    let rows = fetch(&runtime.engine, &me, reads, 0).await.map_err(AskError::Store)?.over(&life.flying);
    let (now, random, world) = (runtime.clock.now(), runtime.draw(), &*runtime.world);
    let turn = Turn { me: &me, from: None, now, random, world, trace: None, noted: false, timed: true };
    let decided = catch_unwind(AssertUnwindSafe(|| life.state.decide(&turn, &rows, command)));
    decided.map_err(|_| AskError::Panicked)?.map(drop).map_err(AskError::Rejected)
}
