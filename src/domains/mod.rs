//! What a node's configuration declares and how it behaves: pure data and pure functions, no IO, no clock, no randomness.

pub mod behaviours;
pub mod blog;
pub mod catalog;
pub mod declare;
pub mod effects;
pub mod events;
pub mod flow;
pub mod slug;
pub mod types;
