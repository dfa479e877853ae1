//! Flows: a DAG as data, and what to do next as a pure function of it.
//!
//! [`definition`] is what is stored, [`compile`] makes a [`Compiled`] of it, [`step`] decides facts, [`progress`] is the
//! state that the facts make. What a step asks of the outside is in its fact; the flow actor carries it out.
//!
//! ## Which step runs
//! A step has **ways** into it: from each step of its `after`, from a `branch` that names it as `then` or `else`, from a
//! `suspend` that names it as `otherwise`. An `after` of a step that also names this one as a target adds nothing: the
//! target decides. A step's turn comes when everything at the other end of its ways is settled. It runs if it has no
//! ways at all, or **at least one is open** (so it joins); it is skipped as *not reached* if all are shut. Open are:
//! - after a step that is done, a branch that chose, or a step passed over because its `if` was false: its `after`s;
//! - from a branch besides: the targets it chose; from a suspend that was resumed: its `after`s, not its `otherwise`;
//! - from a suspend whose time was over: its `otherwise`, not its `after`s; from a step not reached: nothing.
//!
//! The flow is done when every step is settled. A step that fails for good fails it; one whose tries are used up holds
//! it, paused, while its other paths go on.

pub mod alarm;
mod beside;
pub mod check;
mod compile;
pub mod definition;
pub mod effort;
pub mod expr;
pub mod fact;
pub mod graph;
mod grow;
pub mod handover;
mod input;
pub mod json;
pub mod kinds;
pub mod ledger;
pub mod limits;
pub mod mirror;
pub mod names;
mod outcome;
pub mod parse;
mod parse_kinds;
pub mod phase;
mod plan;
pub mod progress;
pub mod request;
pub mod retry;
mod saga;
pub mod samples;
mod scope;
mod seek;
pub mod spot;
mod start;
pub mod state;
pub mod step;
mod stepper;
pub mod told;
pub mod turn;
mod until;
pub mod verbs;
pub mod with;

pub use check::{Compiled, compile};
pub use definition::{Definition, DefinitionHash};
pub use expr::Input;
pub use fact::Fact;
pub use progress::Progress;
