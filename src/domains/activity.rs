//! ActivityStreams activities as this node reads them: plain JSON, no expansion, every field with one meaning.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::identity::{IdentityError, Iri};
pub use super::verb::{ALLOCATE, Verb};
use crate::clock::Time;

pub const ACTIVITY_STREAMS: &str = "https://www.w3.org/ns/activitystreams";
/// The collection that stands for everybody.
pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

/// Addresses in one of `to`, `cc`, `bto`, `bcc`: more is no letter but a flood.
pub const ADDRESSES_MAX: usize = 10_000;

/// What of the words of a stranger is kept, in letters.
const WORDS_MAX: usize = 300;

/// What an activity is about: always its id, and its JSON when the sender embedded it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub id: Iri,
    pub embedded: Option<Value>,
}

/// An id, or the thing itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    Id(Iri),
    Embedded(Value),
}

/// Somebody that an activity is addressed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Public,
    Iri(Iri),
}

/// One activity. `raw` is the whole of what was sent; the fields are what this node goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    pub id: Iri,
    pub verb: Verb,
    pub actor: Iri,
    pub object: Object,
    pub target: Option<Iri>,
    /// Addresses that are no http(s) ids cannot be delivered to and are never ours; they stand in `raw` only.
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bto: Vec<Address>,
    pub bcc: Vec<Address>,
    pub published: Option<Time>,
    pub result: Option<Reference>,
    pub raw: Value,
}

/// Why JSON is no activity. `field` is a path from the top.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActivityError {
    #[error("an activity is a JSON object, this is {found}: send one object")]
    NotAnObject { found: &'static str },
    #[error("{field} is missing: add it")]
    Missing { field: &'static str },
    #[error("{field} is {found}: write {wanted}")]
    WrongType { field: &'static str, found: &'static str, wanted: &'static str },
    #[error("{field} is no usable id: {source}")]
    BadId {
        field: &'static str,
        #[source]
        source: IdentityError,
    },
    #[error("{field} names {count} things: send one activity for each")]
    Several { field: &'static str, count: usize },
    #[error("{field} has {count} addresses, more than {ADDRESSES_MAX}: send it in parts")]
    TooMany { field: &'static str, count: usize },
    #[error("type names several activities that this node knows, {first} and {second}: send one activity for each")]
    AmbiguousType { first: Verb, second: Verb },
    #[error("type Allocate is not mapped: add {{\"Allocate\": \"{ALLOCATE}\"}} to @context")]
    UnmappedAllocate,
    #[error("published is {given:?}: write a time like 2026-11-21T08:30:00Z")]
    BadTime { given: String },
}

impl Reference {
    /// The id, also of an embedded thing that has a usable one.
    pub fn id(&self) -> Option<Iri> {
        match self {
            Self::Id(id) => Some(id.clone()),
            Self::Embedded(value) => value.get("id")?.as_str().and_then(|id| Iri::parse(id).ok()),
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Id(id) => id.as_str().into(),
            Self::Embedded(value) => value.clone(),
        }
    }
}

impl Object {
    /// `type` of the embedded object.
    pub fn kind(&self) -> Option<&str> {
        self.embedded.as_ref()?.get("type")?.as_str()
    }

    /// What the embedded object replies to.
    pub fn in_reply_to(&self) -> Option<Iri> {
        self.named("inReplyTo")
    }

    /// The one whom a field of the embedded object names, by id or with all there is of it.
    fn named(&self, field: &str) -> Option<Iri> {
        let one = self.embedded.as_ref()?.get(field)?;
        let id = one.as_str().or_else(|| one.get("id")?.as_str())?;
        Iri::parse(id).ok()
    }
}

impl Address {
    /// The collection of everybody under any of its three names, or an id.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        match text {
            PUBLIC | "as:Public" | "Public" => Ok(Self::Public),
            other => Iri::parse(other).map(Self::Iri),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Public => PUBLIC,
            Self::Iri(iri) => iri.as_str(),
        }
    }
}

impl Activity {
    /// Reads an activity. Verbs that this node knows are read strictly; of others only `id`, `type` and `actor` must
    /// be right, since nothing is done with the rest (an activity without an object is then about itself).
    pub fn parse(value: &Value) -> Result<Self, ActivityError> {
        Self::from_value(value.clone())
    }

    /// As [`Activity::parse`], without copying.
    pub fn from_value(raw: Value) -> Result<Self, ActivityError> {
        if !raw.is_object() {
            return Err(ActivityError::NotAnObject { found: kind(&raw) });
        }
        let verb = Verb::of(&raw)?;
        let id = plain_id(&raw)?;
        let actor = required(&raw, "actor").and_then(|actor| reference_id(actor, "actor", "actor.id"))?;
        let object = match object(&raw) {
            Err(_) if !verb.is_known() => Object { id: id.clone(), embedded: None },
            other => other?,
        };
        let target = match optional(&raw, "target").map(|target| reference_id(target, "target", "target.id")) {
            Some(Err(_)) if !verb.is_known() => None,
            other => other.transpose()?,
        };
        Ok(Self {
            to: addresses(&raw, "to")?,
            cc: addresses(&raw, "cc")?,
            bto: addresses(&raw, "bto")?,
            bcc: addresses(&raw, "bcc")?,
            published: optional(&raw, "published").map(time).transpose()?,
            result: optional(&raw, "result").map(result).transpose()?,
            id,
            verb,
            actor,
            object,
            target,
            raw,
        })
    }

    /// Everybody addressed, in any of the four fields.
    pub fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bto).chain(&self.bcc)
    }

    /// What its sender says about it to people: `summary` as one line of plain text, cut where it is too long.
    pub fn words(&self) -> Option<String> {
        let summary = self.raw.get("summary")?.as_str()?;
        let words: Vec<&str> = summary.split(|letter: char| letter.is_whitespace() || letter.is_control()).collect();
        let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(WORDS_MAX) {
            Some((at, _)) => Some(format!("{}…", &line[..at])),
            None => Some(line).filter(|line| !line.is_empty()),
        }
    }

    /// Whether its embedded object is a Follow of this actor by the one whose activity it is. Who followed may be left
    /// out; somebody else there is not believed.
    pub fn undoes_follow_of(&self, followed: &Iri) -> bool {
        let follow = &self.object;
        let field = |name: &str| follow.embedded.as_ref().and_then(|it| it.get(name)).filter(|it| !it.is_null());
        follow.kind() == Some(Verb::Follow.as_str())
            && follow.named("object").as_ref() == Some(followed)
            && (field("actor").is_none() || follow.named("actor").as_ref() == Some(&self.actor))
    }

    /// Whether `to` or `cc` name everybody.
    pub fn is_public(&self) -> bool {
        self.to.iter().chain(&self.cc).any(|address| *address == Address::Public)
    }
}

fn plain_id(raw: &Value) -> Result<Iri, ActivityError> {
    match required(raw, "id")? {
        Value::String(text) => Iri::parse(text).map_err(|source| ActivityError::BadId { field: "id", source }),
        other => Err(wrong("id", other, "one absolute URL")),
    }
}

fn object(raw: &Value) -> Result<Object, ActivityError> {
    let one = only(required(raw, "object")?, "object")?;
    let id = reference_id(one, "object", "object.id")?;
    Ok(Object { id, embedded: one.is_object().then(|| one.clone()) })
}

/// The id of a string, of an object with `id`, or of a list of one of these.
fn reference_id(value: &Value, field: &'static str, inner: &'static str) -> Result<Iri, ActivityError> {
    let (text, field) = match only(value, field)? {
        Value::String(text) => (text, field),
        Value::Object(map) => match map.get("id") {
            Some(Value::String(text)) => (text, inner),
            Some(other) => return Err(wrong(inner, other, "one absolute URL")),
            None => return Err(ActivityError::Missing { field: inner }),
        },
        other => return Err(wrong(field, other, "an absolute URL, or an object with an id")),
    };
    Iri::parse(text).map_err(|source| ActivityError::BadId { field, source })
}

fn only<'a>(value: &'a Value, field: &'static str) -> Result<&'a Value, ActivityError> {
    match value.as_array().map(Vec::as_slice) {
        None => Ok(value),
        Some([one]) => Ok(one),
        Some([]) => Err(ActivityError::Missing { field }),
        Some(several) => Err(ActivityError::Several { field, count: several.len() }),
    }
}

fn addresses(raw: &Value, field: &'static str) -> Result<Vec<Address>, ActivityError> {
    let list = match optional(raw, field) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if list.len() > ADDRESSES_MAX {
        return Err(ActivityError::TooMany { field, count: list.len() });
    }
    let mut found = Vec::with_capacity(list.len());
    for value in list {
        let text = value.as_str().or_else(|| value.get("id")?.as_str());
        let text = text.ok_or_else(|| wrong(field, value, "absolute URLs"))?;
        found.extend(Address::parse(text).ok());
    }
    Ok(found)
}

fn result(value: &Value) -> Result<Reference, ActivityError> {
    match only(value, "result")? {
        Value::String(text) => {
            Iri::parse(text).map(Reference::Id).map_err(|source| ActivityError::BadId { field: "result", source })
        }
        object @ Value::Object(_) => Ok(Reference::Embedded(object.clone())),
        other => Err(wrong("result", other, "an absolute URL, or an object")),
    }
}

fn time(value: &Value) -> Result<Time, ActivityError> {
    let text = value.as_str().ok_or_else(|| wrong("published", value, "a time like 2026-11-21T08:30:00Z"))?;
    // xsd:dateTime may leave the zone out; UTC is what such senders mean.
    let stamp = text.parse().or_else(|_| {
        let civil: jiff::civil::DateTime = text.parse()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    let stamp: jiff::Timestamp =
        stamp.map_err(|_| ActivityError::BadTime { given: text.chars().take(64).collect() })?;
    Ok(Time(u64::try_from(stamp.as_millisecond()).unwrap_or(0)))
}

pub(super) fn required<'a>(raw: &'a Value, field: &'static str) -> Result<&'a Value, ActivityError> {
    optional(raw, field).ok_or(ActivityError::Missing { field })
}

/// `null` is the same as absent in JSON-LD.
fn optional<'a>(raw: &'a Value, field: &str) -> Option<&'a Value> {
    raw.get(field).filter(|value| !value.is_null())
}

pub(super) fn wrong(field: &'static str, found: &Value, wanted: &'static str) -> ActivityError {
    ActivityError::WrongType { field, found: kind(found), wanted }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Activity {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(out)
    }
}

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "activity_tests.rs"]
mod tests;
