//! Rehearsals: a flow of a configuration played against given answers on a clock that jumps, and what came of it held
//! against what was expected. Pure: no node, no store, nothing leaves.

pub mod expect;
pub mod play;
pub mod script;

pub use play::{Played, play};
pub use script::Script;
