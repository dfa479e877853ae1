//! Durable actors: what one is ([`entity`]), the shell that runs each (`host.rs`), who knows them all ([`registry`]), and
//! one file per kind.

pub mod ambient;
pub mod answers;
mod arrivals;
pub mod ask;
pub mod away;
pub mod blocking;
mod carry;
pub mod deliveries;
mod delivery;
mod dispatch;
pub mod entity;
pub mod errands;
mod family;
pub mod finding;
pub mod first;
mod flight;
pub mod flow;
pub mod follower;
pub mod following;
pub mod gate;
pub mod hand;
pub mod held;
mod host;
pub mod inbox;
pub mod inspect;
mod instance;
mod joint;
pub mod kinds;
pub mod layout;
pub mod lent;
pub mod letters;
mod life;
pub mod line;
pub mod log;
mod mirrored;
mod moves;
mod noting;
mod offers;
pub mod once;
pub mod orders;
pub mod outbox;
mod outcomes;
mod passage;
pub mod petition;
mod poison;
mod prepare;
mod publish;
pub mod queue;
pub mod reactions;
pub mod record;
pub mod registry;
pub mod retention;
pub mod root;
pub mod rows;
mod runners;
pub mod runtime;
pub mod schedule;
pub mod scheme;
mod seat;
#[cfg(test)]
#[path = "stage_for_tests.rs"]
mod stage;
mod steps;
pub mod stream;
mod takeback;
pub mod tick;
mod ticking;
mod timers;
pub mod timetable;
mod turns;
pub mod watchers;
mod words;
pub mod world;

#[cfg(test)]
mod golden_tests;
