//! Actors in the real shell: turns, messages, timers, errands and failures, on engines and clocks that tests steer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod actors {
    mod backwards;
    mod clocks;
    mod dags;
    mod definitions;
    #[allow(dead_code, reason = "the tests of the store use the rest")]
    #[path = "../store/dice.rs"]
    mod dice;
    mod engine;
    mod errands;
    mod failures;
    #[allow(dead_code, reason = "the tests of rules use the rest")]
    #[path = "../rules/flow_random.rs"]
    mod flow_random;
    mod gates;
    mod lifecycle;
    mod long;
    mod messages;
    mod node;
    mod panics;
    mod probe;
    mod remote;
    mod retention;
    mod rows;
    mod sagas;
    mod schedules;
    mod timers;
    mod turns;
}
