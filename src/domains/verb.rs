//! What an activity does, and when the word `Allocate` means ours.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::activity::{ActivityError, required, wrong};

/// What `Allocate` means; a `@context` maps the short name to it.
pub const ALLOCATE: &str = "urn:quickbeam:ns#Allocate";

/// What an activity does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Verb {
    Follow,
    Accept,
    Reject,
    Undo,
    Create,
    Update,
    Delete,
    Allocate,
    Like,
    Announce,
    Move,
    /// A type that this node knows nothing of: its name, or its IRI when it is somebody else's `Allocate`.
    Other(String),
}

impl Verb {
    /// The short name, as it stands in `type` of what we send.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Follow => "Follow",
            Self::Accept => "Accept",
            Self::Reject => "Reject",
            Self::Undo => "Undo",
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Allocate => "Allocate",
            Self::Like => "Like",
            Self::Announce => "Announce",
            Self::Move => "Move",
            Self::Other(name) => name,
        }
    }

    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// The one verb that this node knows among the types of an activity, else the first of them.
    pub(super) fn of(raw: &Value) -> Result<Self, ActivityError> {
        let names = match required(raw, "type")? {
            Value::Array(names) => names.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut verbs = names.iter().map(|name| meant(raw, name)).collect::<Result<Vec<_>, _>>()?;
        let known: Vec<usize> = (0..verbs.len()).filter(|&index| verbs[index].is_known()).collect();
        match known[..] {
            [] if verbs.is_empty() => Err(ActivityError::Missing { field: "type" }),
            [] => Ok(verbs.swap_remove(0)),
            [one] => Ok(verbs.swap_remove(one)),
            [first, second, ..] => {
                Err(ActivityError::AmbiguousType { first: verbs[first].clone(), second: verbs[second].clone() })
            }
        }
    }
}

/// `Allocate` is our own word, so it counts only where the sender's `@context` says that it means ours.
fn meant(raw: &Value, name: &Value) -> Result<Verb, ActivityError> {
    let name = name.as_str().ok_or_else(|| wrong("type", name, "a name like \"Create\""))?;
    if name != "Allocate" {
        return Ok(name.to_owned().into());
    }
    match allocate_meaning(raw.get("@context")) {
        Some(ALLOCATE) => Ok(Verb::Allocate),
        Some(foreign) => Ok(Verb::Other(foreign.to_owned())),
        None => Err(ActivityError::UnmappedAllocate),
    }
}

/// The last mapping counts, as in JSON-LD; a mapping is an IRI or an object with `@id`.
fn allocate_meaning(context: Option<&Value>) -> Option<&str> {
    match context? {
        Value::Array(parts) => parts.iter().rev().find_map(|part| term(part, "Allocate")),
        one => term(one, "Allocate"),
    }
}

fn term<'a>(context: &'a Value, name: &str) -> Option<&'a str> {
    let meaning = context.as_object()?.get(name)?;
    meaning.as_str().or_else(|| meaning.get("@id")?.as_str())
}

impl From<String> for Verb {
    fn from(name: String) -> Self {
        match name.as_str() {
            "Follow" => Self::Follow,
            "Accept" => Self::Accept,
            "Reject" => Self::Reject,
            "Undo" => Self::Undo,
            "Create" => Self::Create,
            "Update" => Self::Update,
            "Delete" => Self::Delete,
            "Allocate" | ALLOCATE => Self::Allocate,
            "Like" => Self::Like,
            "Announce" => Self::Announce,
            "Move" => Self::Move,
            _ => Self::Other(name),
        }
    }
}

impl From<Verb> for String {
    fn from(verb: Verb) -> Self {
        verb.as_str().to_owned()
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
