//! Real nodes and a peer that lies: what is refused, what changes nothing by it, and what reaches whom.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "nodes/authorized.rs"]
mod authorized;
#[path = "nodes/backup.rs"]
mod backup;
#[path = "nodes/blocks.rs"]
mod blocks;
#[path = "nodes/callbacks.rs"]
mod callbacks;
#[path = "nodes/care.rs"]
mod care;
#[path = "nodes/damage.rs"]
mod damage;
#[path = "nodes/definitions.rs"]
mod definitions;
#[path = "nodes/deliveries.rs"]
mod deliveries;
#[path = "nodes/federation.rs"]
mod federation;
#[path = "nodes/fediverse.rs"]
mod fediverse;
#[path = "nodes/flows.rs"]
mod flows;
#[path = "nodes/harness.rs"]
mod harness;
#[path = "nodes/held.rs"]
mod held;
#[path = "nodes/hostile/mod.rs"]
mod hostile;
#[path = "nodes/http.rs"]
mod http;
#[path = "nodes/kernel.rs"]
mod kernel;
#[path = "nodes/moving.rs"]
mod moving;
#[path = "nodes/notified.rs"]
mod notified;
#[path = "nodes/pages.rs"]
mod pages;
#[path = "nodes/peer.rs"]
mod peer;
#[path = "nodes/proof.rs"]
mod proof;
#[path = "nodes/reach.rs"]
mod reach;
#[path = "nodes/readers.rs"]
mod readers;
#[path = "nodes/refusals.rs"]
mod refusals;
#[path = "nodes/rotation.rs"]
mod rotation;
#[path = "nodes/runners.rs"]
mod runners;
#[path = "nodes/sagas.rs"]
mod sagas;
#[path = "nodes/schedules.rs"]
mod schedules;
#[path = "nodes/schemes.rs"]
mod schemes;
#[path = "nodes/shown.rs"]
mod shown;
#[path = "nodes/signatures.rs"]
mod signatures;
#[path = "nodes/start.rs"]
mod start;
#[path = "nodes/stop.rs"]
mod stop;
#[path = "nodes/store.rs"]
mod store;
#[path = "nodes/store_document.rs"]
mod store_document;
#[path = "nodes/store_words.rs"]
mod store_words;
#[path = "nodes/strangers.rs"]
mod strangers;
#[path = "nodes/tokens.rs"]
mod tokens;
#[path = "nodes/traces.rs"]
mod traces;
#[path = "nodes/verbs.rs"]
mod verbs;
