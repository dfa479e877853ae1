//! What became true of a flow instance: its stored events. They carry outcomes, so that applying them evaluates nothing.
//!
//! Stored facts are for ever: add variants and defaulted fields, never rename or remove. `tests/golden/` keeps each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::Limit;
use crate::clock::Time;

/// One fact. `item` counts the elements of an `each` from 0 and is absent elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The step's turn came, and its `if` said no or nothing led to it.
    StepSkipped {
        step: String,
        why: Skip,
    },
    /// An effect is to be done with this input. A retry keeps `key` and `input` and raises `attempt`, from 1.
    StepStarted {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: u32,
        key: String,
        effect: String,
        input: Value,
        /// It can be taken back, so that the ledger has to know of it.
        #[serde(default, skip_serializing_if = "is_false")]
        undo: bool,
        /// When the try, or the wait for an answer, is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
        /// What a callback has to name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        callback: Option<String>,
    },
    /// An effect was done, at least once, and gave this.
    StepDone {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        result: Value,
    },
    /// A try failed, or the step itself could not be computed (`attempt` 0).
    StepFailed {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        attempt: u32,
        reason: String,
        next: AfterFailure,
        /// Nothing was done by this try: it was refused, or never left.
        #[serde(default, skip_serializing_if = "is_false")]
        refused: bool,
    },
    /// A branch chose: `then` when true.
    BranchTaken {
        step: String,
        taken: bool,
    },
    /// An `each` knows its elements.
    EachStarted {
        step: String,
        items: Vec<Value>,
    },
    /// All elements of an `each` are settled; its result is the list of theirs.
    EachDone {
        step: String,
    },
    /// The instance waits for a signal, until then if ever.
    Suspended {
        step: String,
        signal: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
        /// Who is to send it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignee: Option<String>,
    },
    /// The signal came. The payload is the step's result.
    Resumed {
        step: String,
        signal: String,
        payload: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Nobody resumed it in time.
    TimedOut {
        step: String,
    },
    /// Somebody asked that what stopped the step be tried again, with all its tries.
    Retried {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A `wait` goes on then.
    Sleeping {
        step: String,
        until: Time,
    },
    /// The time of a `wait` has come, or had come before it began.
    Woken {
        step: String,
    },
    /// All steps that an `all` waits for are settled: their results by name.
    Joined {
        step: String,
        result: Value,
    },
    /// A request was taken; the answer comes by a callback, until then if ever.
    AwaitsCallback {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    /// The callback came. The payload is the step's result.
    CalledBack {
        step: String,
        payload: Value,
    },
    /// Somebody is told that a `suspend` waits.
    NotifyStarted {
        step: String,
        attempt: u32,
        key: String,
        effect: String,
        input: Value,
    },
    Notified {
        step: String,
    },
    /// The wait goes on whatever becomes of telling.
    NotifyFailed {
        step: String,
        attempt: u32,
        reason: String,
        next: AfterFailure,
    },
    /// The end has begun: nothing new starts, and what was done is taken back, the last first.
    Undoing {
        why: Why,
    },
    /// What a step did is to be taken back with this input. `run` is the one in which it was done.
    UndoStarted {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        run: u32,
        attempt: u32,
        key: String,
        effect: String,
        input: Value,
        /// When the try is over, for what others have to confirm.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    UndoDone {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        run: u32,
    },
    /// A try to take it back failed; tried again, or stuck until somebody comes.
    UndoFailed {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        run: u32,
        attempt: u32,
        reason: String,
        next: AfterFailure,
    },
    /// Somebody said that it need not be taken back, or has been already.
    UndoSkipped {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        run: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Somebody holds it: no step and no try begins.
    Paused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    Continued {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Somebody gave the step this result instead of its own.
    Passed {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        result: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Somebody changed what the next try is given. `undo` is the run whose undo it is, absent for the step itself.
    Edited {
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo: Option<u32>,
        input: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Somebody had it begin again from a step: these steps have not had their turn any more.
    Restarted {
        step: String,
        run: u32,
        cleared: Vec<String>,
        /// The instance's input from now on, where it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// It waits at the gate of this key before it begins.
    Queued {
        limit: Limit,
        key: Value,
    },
    /// The gate has let it in.
    Admitted {
        limit: Limit,
    },
    FlowDone {
        result: Value,
    },
    FlowFailed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        reason: String,
    },
    FlowCancelled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        reason: String,
    },
    /// Ended without taking anything back: so much of what it did stays.
    FlowKilled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        reason: String,
        left: u32,
    },
}

/// What ends an instance once all is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    Failed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        reason: String,
    },
    Cancelled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        reason: String,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Why a step did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Its `if` was false. What comes after it goes on.
    Condition,
    /// No path led here. What comes after it is skipped too, unless another path leads there.
    NotReached,
    /// A step before it failed, and an `all` that collects failures took that in.
    Failed,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// Tried again at that time.
    RetryAt(Time),
    /// The tries are used up: the step waits for somebody to retry it.
    Pause,
    /// Counted as the result of this element or path; the `each` or `all` goes on.
    Collect,
    /// Trying again cannot help: the flow fails.
    Fail,
}
