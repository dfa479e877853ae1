//! How an instance of a flow begins, the id that it gets by that, and what lists say of it.

use serde::{Deserialize, Serialize};

use super::finding::Traits;
use super::orders::Place;
use super::rows::{Index, RowKey, part};
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::progress::Phase;
use crate::domains::identity::{Authority, Iri};
use crate::hex::hex;

/// How an instance begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub name: String,
    /// The hash of the definition that it runs to its end on.
    pub definition: String,
    pub input: Input,
    pub origin: Origin,
}

/// Who or what started an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A program or a person, by the name of the token.
    Api { by: String },
    /// Another node, which may see and resume it.
    Node { actor: Iri },
    /// Another node whose instance it is, under its name there; it is only run here.
    Home { actor: Iri, instance: String },
    /// A write through our own API.
    Local { activity: Iri, object: Iri },
    /// An activity of a peer; `answer` when its sender waits for an Accept or Reject.
    Remote {
        activity: Iri,
        actor: Iri,
        #[serde(default)]
        inbox: Option<Iri>,
        #[serde(default)]
        answer: bool,
    },
    /// A step of another flow, which gets what comes of it.
    Parent {
        flow: String,
        place: Place,
        /// How many flows stand above it.
        depth: u32,
    },
    /// A tick of a schedule, which hears when it has ended.
    Schedule { schedule: String, due: Time },
}

impl Origin {
    /// Whether others name what gives the instance its id, so that it may come again when the instance is forgotten. New
    /// ids and those of activities of ours come once, and those of a parent's effects as often as the parent.
    pub(super) fn comes_again(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// The step that it answers to.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Parent { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// A row of the list of all flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    pub phase: Phase,
    pub started: Time,
    pub updated: Time,
    /// Signals that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The beginning of the hash of what it runs on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
}

/// A row of the list of flows in one phase: what it counts by. The rest stands in the list of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
}

/// Letters of a definition's hash that lists show: enough to tell all definitions of a node apart.
pub const HASH_SHOWN: usize = 12;

/// The id of the instance that a behaviour starts on an activity: the same again for a repeat.
pub fn id(authority: &Authority, activity: &Iri, behaviour: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{authority}\n{activity}\n{behaviour}").as_bytes());
    hex(&digest[..16])
}

/// Entries of the list of flows in this phase, or of all.
pub fn list_prefix(phase: Option<Phase>) -> crate::store::Key {
    part().text(phase.map_or("all", Phase::word)).done()
}

pub(super) fn list_row(phase: Option<Phase>, started: Time) -> RowKey {
    RowKey::Index(Index::Flows, part().raw(list_prefix(phase).as_bytes()).number(started.0).done())
}
