//! Real nodes and a peer that lies: what is refused, what changes nothing by it, and what reaches whom.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "nodes/flows.rs"]
mod flows;
#[path = "nodes/harness.rs"]
mod harness;
#[path = "nodes/http.rs"]
mod http;
#[path = "nodes/peer.rs"]
mod peer;
#[path = "nodes/proof.rs"]
mod proof;
#[path = "nodes/refusals.rs"]
mod refusals;
#[path = "nodes/signatures.rs"]
mod signatures;
#[path = "nodes/strangers.rs"]
mod strangers;
