//! The rules that need no node: configurations, flows, and values that nobody on this project wrote. One binary, since
//! linking is what tests cost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rules {
    mod config;
    mod flow;
    mod flow_reference;
    mod flow_runs;
    mod flow_saga;
    mod flow_steps;
    mod rehearsal;
    mod schedules;
    mod vectors;
}
