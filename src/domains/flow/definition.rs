//! A flow as data: what the configuration says, stored once by hash, so that an instance ends on what it began with.
//!
//! Stored definitions are for ever: add kinds and defaulted fields that are left out when they say nothing, so that the
//! hash of an old definition stays what it was.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domains::types::Field;

/// A flow: its steps by name, and what it answers when it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    pub steps: BTreeMap<String, Step>,
    /// CEL over everything the steps gave; `null` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Other nodes that are allowed to may start it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expose: bool,
}

/// One node of the DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub kind: Kind,
    /// The steps that must be settled before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// CEL that gives a bool; `false` passes the step over.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One effect, by name.
    Effect(Call),
    /// Goes one way or the other. An empty way ends there.
    Branch {
        on: String,
        then: Vec<String>,
        #[serde(rename = "else")]
        otherwise: Vec<String>,
    },
    /// One effect for each element of a list.
    Each {
        list: String,
        #[serde(flatten)]
        call: Call,
        parallel: u32,
        failures: Failures,
    },
    /// Waits for a signal.
    Suspend {
        signal: String,
        /// Milliseconds; without it the step waits for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<u64>,
        #[serde(default)]
        otherwise: Otherwise,
        /// What the payload must look like; anything without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape: Option<BTreeMap<String, Field>>,
    },
}

/// An effect and what is given to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub effect: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Argument>,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Argument {
    Cel(String),
    Value(Value),
    List(Vec<Argument>),
    Table(BTreeMap<String, Argument>),
}

/// What an `each` does when an element's effect fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failures {
    /// Starts no more elements, and fails as an effect would.
    #[default]
    Stop,
    /// Goes on; the failed one's result is `{ failed: reason }`.
    Collect,
}

/// What a `suspend` does when its time is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    #[default]
    Fail,
    /// Goes to these steps and not to those after it; none of them: ends there.
    Steps(Vec<String>),
}

/// How often, and how late, a failed effect is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// All tries, the first one included.
    pub attempts: u32,
    /// Milliseconds before the second try.
    pub delay: u64,
    /// Each delay is the one before times this.
    pub factor: f64,
    /// Milliseconds that no delay exceeds.
    pub max: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, delay: 1_000, factor: 2.0, max: 3_600_000 }
    }
}

impl Retry {
    /// How many milliseconds to wait after this many tries; `None` when they are used up.
    pub fn delay_after(&self, attempt: u32) -> Option<u64> {
        if attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = self.delay as f64 * self.factor.powi(exponent);
        Some(if delay < self.max as f64 { delay as u64 } else { self.max })
    }
}

/// SHA-256 of a definition's canonical JSON, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DefinitionHash(pub String);

impl fmt::Display for DefinitionHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl DefinitionHash {
    /// The hash of stored bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Definition {
    /// What is stored: JSON with sorted keys and no spaces.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("a definition is text, numbers, lists and tables with text keys");
        let mut bytes = Vec::new();
        write_sorted(&value, &mut bytes);
        bytes
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn hash(&self) -> DefinitionHash {
        DefinitionHash::of(&self.to_bytes())
    }
}

impl Kind {
    /// The word that declares it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Effect(_) => "effect",
            Kind::Branch { .. } => "branch",
            Kind::Each { .. } => "each",
            Kind::Suspend { .. } => "suspend",
        }
    }

    /// The effect that it does.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Kind::Effect(call) | Kind::Each { call, .. } => Some(call),
            Kind::Branch { .. } | Kind::Suspend { .. } => None,
        }
    }
}

/// Sorts keys itself, because the order of a JSON map depends on a feature that any dependency may switch on.
fn write_sorted(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_sorted(value, out);
            }
            out.push(b'}');
        }
        Value::Array(list) => {
            out.push(b'[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_sorted(value, out);
            }
            out.push(b']');
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}
