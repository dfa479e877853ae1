//! Actors in the real shell: turns, messages, timers, errands and failures, on engines and clocks that tests steer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod actors {
    mod engine;
    mod errands;
    mod failures;
    mod gates;
    mod lifecycle;
    mod messages;
    mod node;
    mod panics;
    mod probe;
    mod retention;
    mod rows;
    mod sagas;
    mod schedules;
    mod timers;
    mod turns;
}
