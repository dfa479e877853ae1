//! What things are and what follows from what: pure, no IO, no clock.

pub mod activity;
pub mod draft;
pub mod identity;
pub mod json;
pub mod verb;
