//! A node and an application of Fedify, a library that much of the fediverse is built with, over real sockets.
//!
//! npm installs Fedify once, into the folder for the temporary files of tests. Where it cannot, these tests fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "interop/accounts.rs"]
mod accounts;
#[path = "interop/fedify.rs"]
mod fedify;
#[path = "interop/follows.rs"]
mod follows;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests of nodes, which use all of it")]
#[path = "nodes/http.rs"]
mod http;
#[path = "interop/objects.rs"]
mod objects;
#[path = "interop/schemes.rs"]
mod schemes;
