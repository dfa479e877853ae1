//! Wakes the receivers of message rows: those just committed, in their order, and at the start those left waiting.

use std::sync::Arc;

use super::entity::ActorId;
use super::layout;
use super::runtime::Runtime;
use crate::store::{Change, Key, Span};

/// Message rows read in one go when all that wait are looked for.
const PAGE: usize = 1_024;

/// Follows message rows for the life of the node.
pub(super) async fn run(runtime: Arc<Runtime>) {
    let mut changes = runtime.engine.changes(&layout::messages());
    wake_all(&runtime).await;
    while let Some(change) = changes.recv().await {
        match change {
            Change::Put(keys) => wake(&runtime, keys),
            Change::Missed => wake_all(&runtime).await,
        }
    }
}

/// One call per run of rows to the same receiver.
fn wake(runtime: &Runtime, keys: Vec<Key>) {
    let mut run: Option<(ActorId, Vec<Key>)> = None;
    for key in keys {
        let Some((to, _)) = layout::message_ends(&key) else { continue };
        match &mut run {
            Some((receiver, keys)) if *receiver == to => keys.push(key),
            _ => {
                if let Some((receiver, keys)) = run.replace((to, vec![key])) {
                    runtime.registry().wake(&receiver, keys);
                }
            }
        }
    }
    if let Some((receiver, keys)) = run {
        runtime.registry().wake(&receiver, keys);
    }
}

/// Wakes every receiver that has rows waiting; each reads its own.
async fn wake_all(runtime: &Runtime) {
    let all = Span::prefix(&layout::messages(), PAGE);
    let mut span = all.clone();
    loop {
        let page = match runtime.engine.range(span.clone()).await {
            Ok(page) => page,
            Err(_) => {
                // The rows stay where they are; the node says that it is ill, and looks again when it is well.
                runtime.well().await;
                runtime.clock.sleep(std::time::Duration::from_millis(500)).await;
                continue;
            }
        };
        let mut receivers: Vec<ActorId> =
            page.iter().filter_map(|row| Some(layout::message_ends(&row.key)?.0)).collect();
        receivers.dedup();
        let Some(last) = receivers.last() else { return };
        receivers.iter().for_each(|receiver| runtime.registry().wake_for_backlog(receiver));
        // Behind all rows of the last receiver, however many it has.
        span = all.clone();
        span.from = layout::messages_to(last).after_prefix();
    }
}
