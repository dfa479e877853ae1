//! What an instance is given at its start, and all of its expressions see.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::size;

/// What the instance was started with: the values of `input`, `activity`, `object` and `actor`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Input {
    #[serde(default)]
    pub input: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub activity: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub object: Value,
    /// The IRI of who caused it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub actor: Value,
}

impl Input {
    /// What it counts as JSON.
    pub fn bytes(&self) -> u64 {
        let Self { input, activity, object, actor } = self;
        [input, activity, object, actor].into_iter().map(size).sum()
    }
}
