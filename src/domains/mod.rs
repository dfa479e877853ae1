//! What things are and what follows from what: pure data and pure functions, no IO, no clock, no randomness.

pub mod activity;
pub mod behaviours;
pub mod blocks;
pub mod blog;
pub mod catalog;
pub mod declare;
pub mod draft;
pub mod effects;
pub mod events;
pub mod flow;
pub mod identity;
pub mod json;
pub mod markup;
pub mod object;
pub mod rehearsal;
pub mod schedule;
pub mod shown;
pub mod slug;
pub mod trace;
pub mod types;
pub mod verb;

/// The effects of all domains of this binary: what a configuration may name.
pub fn all_effects() -> effects::Effects {
    events::register(blog::register(effects::Effects::generic()))
}
