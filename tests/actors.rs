//! Actors in the real shell: turns, messages, timers, errands and failures, on engines and clocks that tests steer.

mod actors {
    mod engine;
    mod errands;
    mod failures;
    mod lifecycle;
    mod messages;
    mod node;
    mod panics;
    mod probe;
    mod rows;
    mod timers;
    mod turns;
}
