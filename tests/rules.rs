//! The rules that need no node: configurations, flows, and values that nobody on this project wrote. One binary, since
//! linking is what tests cost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rules {
    mod config;
    #[allow(dead_code, reason = "the tests of the store use the rest")]
    #[path = "../store/dice.rs"]
    mod dice;
    mod flow;
    mod flow_random;
    mod flow_reference;
    mod flow_runs;
    mod flow_saga;
    mod flow_steps;
    mod flow_verbs;
    mod rehearsal;
    mod schedules;
    mod vectors;
}
