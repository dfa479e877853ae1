//! What things are and what follows from what: pure data and pure functions, no IO, no clock, no randomness.

pub mod activity;
pub mod draft;
pub mod flow;
pub mod identity;
pub mod json;
pub mod nearest;
pub mod types;
pub mod verb;
