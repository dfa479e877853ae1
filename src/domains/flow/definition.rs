//! A flow as data: what the configuration says, stored once by hash, so that an instance ends on what it began with.
//!
//! Stored definitions are for ever: add kinds and defaulted fields that are left out when they say nothing, so that the
//! hash of an old definition stays what it was.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use super::request::{Header, Http};
pub use super::retry::Retry;
use crate::domains::types::Field;
use crate::hex::hex;

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
    /// CEL by name: what instances are found by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub search: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// How many instances with the same key run at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concurrency {
    /// CEL that gives the key; all instances share one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub max: u32,
}

/// How many instances with the same key begin in a span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub max: u32,
    /// Milliseconds.
    pub per: u64,
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
    /// Milliseconds for one try to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// What takes back what it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// What takes back what a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// What the receiver knows to do about it by itself.
    Own,
    /// Another effect. Its parameters see `with` and `result` of the step; without any it gets the step's own.
    Effect(Call),
    Http(Box<Http>),
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
        /// CEL: who is to send it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignee: Option<String>,
        /// What lets them know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notify: Option<Notify>,
    },
    /// Goes on when a time has come.
    Wait(Until),
    /// Waits for steps of several paths; its result is theirs by name.
    All {
        of: Vec<String>,
        #[serde(default, skip_serializing_if = "Failures::is_stop")]
        failures: Failures,
    },
    /// Another flow, whose result is the step's.
    Call {
        flow: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        with: BTreeMap<String, Argument>,
        #[serde(default, skip_serializing_if = "Deadline::is_none")]
        deadline: Deadline,
    },
    /// A request to any service.
    Http(Box<Http>),
    /// A directed activity, and the wait for its Accept or Reject.
    Ask {
        verb: String,
        /// CEL: the object of ours that it is about.
        object: String,
        /// CEL: what of theirs it is for.
        target: String,
        /// CEL: whom it goes to.
        to: String,
        #[serde(default, skip_serializing_if = "Deadline::is_none")]
        deadline: Deadline,
        /// Milliseconds for each try to have it taken back to be answered; [`UNDO_TIMEOUT`] without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo_timeout: Option<u64>,
    },
}

/// Until when a `wait` waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Milliseconds.
    Span(u64),
    /// CEL that gives a time, with or without an offset, or a duration.
    At {
        cel: String,
        /// Where a time without an offset is meant; UTC without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
}

/// Milliseconds that whoever was asked has to say that it is taken back, before it is told again: what they did may
/// take its time to be undone, and a word that comes later still counts.
pub const UNDO_TIMEOUT: u64 = 3_600_000;

/// How long an answer may take, and what follows when there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deadline {
    /// Milliseconds; without it the step waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// How a person learns that a flow waits for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notify {
    /// A URL that is posted what waits.
    Webhook(String),
    Effect(Call),
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

/// SHA-256 of a definition's canonical JSON, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DefinitionHash(pub String);

impl fmt::Display for DefinitionHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Borrow<str> for DefinitionHash {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl DefinitionHash {
    /// The hash of stored bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)))
    }
}

impl Step {
    /// A step that says nothing but what it does.
    pub fn of(kind: Kind) -> Self {
        Self { kind, after: Vec::new(), condition: None, retry: None, timeout: None, undo: None }
    }

    /// How what it did is taken back: others do so by themselves, effects and requests only when it is said how.
    pub fn undo(&self) -> Option<&Undo> {
        match self.kind {
            Kind::Call { .. } | Kind::Ask { .. } => Some(&Undo::Own),
            _ => self.undo.as_ref(),
        }
    }
}

impl Failures {
    fn is_stop(&self) -> bool {
        *self == Self::Stop
    }
}

impl Deadline {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Definition {
    /// A flow that says nothing but its steps.
    pub fn of(name: impl Into<String>, steps: BTreeMap<String, Step>) -> Self {
        Self {
            name: name.into(),
            steps,
            result: None,
            expose: false,
            search: BTreeMap::new(),
            concurrency: None,
            rate: None,
        }
    }

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
            Kind::Wait(_) => "wait",
            Kind::All { .. } => "all",
            Kind::Call { .. } => "call",
            Kind::Http(_) => "http",
            Kind::Ask { .. } => "ask",
        }
    }

    /// The effect that it does.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Kind::Effect(call) | Kind::Each { call, .. } => Some(call),
            _ => None,
        }
    }

    /// What follows when the time is over that it waits.
    pub fn otherwise(&self) -> Option<&Otherwise> {
        match self {
            Kind::Suspend { otherwise, .. } => Some(otherwise),
            Kind::Call { deadline, .. } | Kind::Ask { deadline, .. } => Some(&deadline.otherwise),
            Kind::Http(http) => http.callback.as_ref().map(|deadline| &deadline.otherwise),
            _ => None,
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
