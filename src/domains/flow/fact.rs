//! What became true of a flow instance: its stored events. They carry outcomes, so that applying them evaluates nothing.
//!
//! Stored facts are for ever: add variants and defaulted fields, never rename or remove. `tests/golden/` keeps each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
}

/// Why a step did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Its `if` was false. What comes after it goes on.
    Condition,
    /// No path led here. What comes after it is skipped too, unless another path leads there.
    NotReached,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// Tried again at that time.
    RetryAt(Time),
    /// The tries are used up: the step waits for somebody to retry it.
    Pause,
    /// Counted as this element's result; the `each` goes on.
    Collect,
    /// Trying again cannot help: the flow fails.
    Fail,
}
