//! The undo ledger: everything that was started and may have to be taken back, in the order in which it began.
//!
//! An entry is made with the first try of a step that has an undo, and goes only when its receiver refused every try of
//! it. It outlives restarts: what an earlier run did is taken back after what later ones did.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fact::AfterFailure;
use crate::clock::Time;

/// One thing that may have to be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// The run in which it was done.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub run: u32,
    /// What was given to it.
    #[serde(default, skip_serializing_if = "is_null")]
    pub input: Arc<Value>,
    /// What it gave, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Arc<Value>>,
    /// A try ended so that nobody knows whether it was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubt: bool,
    /// What its undo is given, where somebody changed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Side::is_pending")]
    pub undo: Side,
}

/// Where something stands that is done beside the steps: an undo, or telling somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Side {
    #[default]
    Pending,
    Running {
        attempt: u32,
    },
    Retrying {
        attempt: u32,
        at: Time,
        reason: String,
    },
    /// The tries are used up.
    Stuck {
        attempt: u32,
        reason: String,
    },
    Done,
    Skipped {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_null(value: &Value) -> bool {
    value.is_null()
}

impl Side {
    fn is_pending(&self) -> bool {
        *self == Self::Pending
    }

    /// Begun, and neither done nor given up.
    pub fn under_way(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Retrying { .. } | Self::Stuck { .. })
    }

    pub fn over(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped { .. })
    }

    pub(super) fn failed(attempt: u32, reason: &str, next: AfterFailure) -> Self {
        let reason = reason.to_owned();
        match next {
            AfterFailure::RetryAt(at) => Self::Retrying { attempt, at, reason },
            AfterFailure::Pause | AfterFailure::Collect | AfterFailure::Fail => Self::Stuck { attempt, reason },
        }
    }
}

impl Entry {
    pub fn is(&self, step: &str, item: Option<u32>, run: u32) -> bool {
        self.step == step && self.item == item && self.run == run
    }

    /// Nothing is needed any more of what it was given and gave.
    pub(super) fn close(&mut self, undo: Side) {
        self.undo = undo;
        self.input = Arc::default();
        (self.result, self.edited) = (None, None);
    }
}
