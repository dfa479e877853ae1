//! The activity log: every activity made or accepted here, by a local ulid, with the exact bytes that were signed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{Decision, Entity, Turn};
use super::rows::{Index, RowKey, parts};
use crate::clock::Time;
use crate::domains::activity::{Activity, Address, Verb};
use crate::domains::draft::Draft;
use crate::domains::identity::Iri;

/// Which way an activity went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Made,
    Received,
}

/// One activity of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub way: Way,
    pub at: Time,
    pub id: Iri,
    pub verb: Verb,
    pub actor: Iri,
    pub object: Iri,
    #[serde(default)]
    pub target: Option<Iri>,
    /// The one actor that may answer it.
    #[serde(default)]
    pub asked: Option<Iri>,
    #[serde(default)]
    pub public: bool,
    /// What shows that it is of its actor, for one that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// The JSON, byte for byte as it is sent or was received.
    pub body: Bytes,
}

/// With which key something was signed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    pub key_id: Iri,
    /// `RFC 9421`, `draft-cavage` or `FEP-8b32`.
    pub form: String,
    pub algorithm: String,
}

impl Entry {
    pub fn made(activity: &Activity, at: Time, asked: Option<Iri>) -> Self {
        let body = serde_json::to_vec(&activity.raw).expect("JSON values can be written").into();
        Self { asked, ..Self::of(activity, Way::Made, at, body) }
    }

    pub fn received(activity: &Activity, at: Time, body: Bytes, signed: Option<Signed>) -> Self {
        Self { signed, ..Self::of(activity, Way::Received, at, body) }
    }

    fn of(activity: &Activity, way: Way, at: Time, body: Bytes) -> Self {
        Self {
            way,
            at,
            id: activity.id.clone(),
            verb: activity.verb.clone(),
            actor: activity.actor.clone(),
            object: activity.object.id.clone(),
            target: activity.target.clone(),
            asked: None,
            public: activity.is_public(),
            signed: None,
            body,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Those it is addressed to: actors, and collections of them.
    pub fn addressees(&self) -> Vec<Iri> {
        let json = self.json();
        let lists = ["to", "cc"].into_iter().map(|field| match &json[field] {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        });
        lists.flatten().filter_map(|address| Iri::parse(address.as_str()?).ok()).collect()
    }

    pub fn row(ulid: &str) -> RowKey {
        RowKey::Index(Index::Activities, parts([ulid]))
    }
}

/// An activity of ours that goes to one actor, logged by whoever decides it.
pub struct Letter {
    pub ulid: String,
    pub activity: Activity,
    pub entry: Entry,
}

impl Letter {
    /// Drafts an activity of this node to one actor. `nth` tells the letters of one turn apart.
    pub fn to(
        turn: &Turn<'_>,
        nth: u8,
        to: &Iri,
        draft: impl FnOnce(Draft) -> Draft,
        verb: Verb,
        object: crate::domains::activity::Reference,
    ) -> Self {
        let ulid = turn.ulid(nth);
        let id = turn.world.activity(&ulid);
        let blank = Draft::new(id, verb, turn.world.actor.clone(), object, turn.now).to(Address::Iri(to.clone()));
        let activity = draft(blank).build().expect("a draft of ours has all that an activity needs");
        let entry = Entry::made(&activity, turn.now, Some(to.clone()));
        Self { ulid, activity, entry }
    }

    /// Logs it with the turn.
    pub fn log<E: Entity>(&self, decision: Decision<E>) -> Decision<E> {
        decision.put(Entry::row(&self.ulid), &self.entry)
    }
}
