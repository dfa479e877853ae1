//! Where the steps of an instance stand, and how it ended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fact::Skip;
use super::phase::Phase;
use crate::clock::Time;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StepState {
    Skipped {
        why: Skip,
    },
    /// An effect is under way.
    Running {
        attempt: u32,
        /// An activity that somebody has to answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
    },
    Retrying {
        attempt: u32,
        at: Time,
        reason: String,
    },
    /// The tries are used up.
    Paused {
        attempt: u32,
        reason: String,
    },
    Failed {
        reason: String,
    },
    Waiting {
        signal: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignee: Option<String>,
    },
    /// A `wait` that goes on then.
    Sleeping {
        until: Time,
    },
    /// A request was taken, and its callback has not come.
    Awaiting {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    TimedOut,
    Branched {
        /// The choice, as JSON, since it is also the step's result.
        taken: Arc<Value>,
    },
    /// Elements start in order: those beyond `states` have not begun.
    Each {
        items: Arc<Vec<Value>>,
        states: Vec<ItemState>,
    },
    Done {
        result: Arc<Value>,
    },
}

/// Where one element of an `each` stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ItemState {
    Running { attempt: u32 },
    Retrying { attempt: u32, at: Time, reason: String },
    Paused { attempt: u32, reason: String },
    Failed { reason: String },
    Done { result: Arc<Value> },
}

/// How the instance ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    Done {
        result: Value,
    },
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
    /// Nothing was taken back: `left` things that it did stay.
    Killed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        reason: String,
        left: u32,
    },
}

/// Who holds an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl StepState {
    /// What stands in lists.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Skipped { .. } => "skipped",
            Self::Running { .. } => "running",
            Self::Retrying { .. } => "retrying",
            Self::Paused { .. } => "paused",
            Self::Failed { .. } => "failed",
            Self::Waiting { .. } => "waiting",
            Self::Sleeping { .. } => "sleeping",
            Self::Awaiting { .. } => "awaiting",
            Self::TimedOut => "timed out",
            Self::Branched { .. } => "branched",
            Self::Each { .. } => "each",
            Self::Done { .. } => "done",
        }
    }

    /// Nothing more comes of it by itself or by an answer.
    pub fn settled(&self) -> bool {
        matches!(
            self,
            StepState::Skipped { .. }
                | StepState::Branched { .. }
                | StepState::Done { .. }
                | StepState::Failed { .. }
                | StepState::TimedOut
        )
    }

    /// What it makes of the whole instance, if it is not settled.
    pub(super) fn phase(&self) -> Option<Phase> {
        match self {
            StepState::Paused { .. } => Some(Phase::Paused),
            StepState::Running { .. } | StepState::Retrying { .. } => Some(Phase::Running),
            StepState::Waiting { .. } | StepState::Sleeping { .. } | StepState::Awaiting { .. } => {
                Some(Phase::Suspended)
            }
            StepState::Each { states, .. } => {
                let paused = states.iter().any(|state| matches!(state, ItemState::Paused { .. }));
                Some(if paused { Phase::Paused } else { Phase::Running })
            }
            _ => None,
        }
    }
}

/// The moment of a state or a fact, by the names under which they have some; as JSON it is milliseconds since 1970.
pub fn moment(name: &str, value: &Value) -> Option<Time> {
    value.as_u64().filter(|_| ["at", "until"].contains(&name)).map(Time)
}

/// What a value counts for the limit: the bytes of its JSON.
pub(crate) fn size(value: &Value) -> u64 {
    /// Counts instead of keeping.
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("JSON is written to a counter that takes everything");
    counter.0
}
