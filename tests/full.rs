//! A disk that is really full: a small tmpfs under the store alone, and under a whole node.
//!
//! Each test runs itself once more in a mount namespace of its own, where it may mount: as root, or as anybody on a system
//! that lets users have namespaces. Where neither is possible it fails and says what it needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "full/engine.rs"]
mod engine;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/http.rs"]
mod http;
#[path = "full/node.rs"]
mod node;
#[path = "full/tmpfs.rs"]
mod tmpfs;
