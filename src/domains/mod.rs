//! What a node's configuration declares and how it behaves: pure data and pure functions, no IO, no clock, no randomness.

pub mod blog;
pub mod effects;
pub mod events;
pub mod flow;
pub mod nearest;
pub mod types;
