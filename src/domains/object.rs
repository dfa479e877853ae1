//! Objects of ours: what is kept of one, and the ActivityStreams JSON that others see.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::activity::{ACTIVITY_STREAMS, Address};
use super::identity::Iri;
use super::types::{Type, Visibility};
use crate::clock::Time;

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// The declared type.
    pub kind: String,
    /// The ActivityStreams type at the time of writing.
    pub activity_streams: String,
    /// The address below the base: `gig-night`, `calendars/main`.
    pub path: String,
    pub title: Option<String>,
    pub fields: Map<String, Value>,
    pub attributed_to: Iri,
    pub visibility: Visibility,
    pub published: Time,
    pub updated: Time,
    #[serde(default)]
    pub deleted: Option<Time>,
}

impl Object {
    /// A new object of a declared type, from checked fields.
    pub fn new(declared: &Type, path: String, fields: Map<String, Value>, attributed_to: Iri, now: Time) -> Self {
        Self {
            kind: declared.name.clone(),
            activity_streams: declared.activity_streams.clone(),
            title: declared.title_of(&fields).map(str::to_owned),
            path,
            fields,
            attributed_to,
            visibility: declared.visibility,
            published: now,
            updated: now,
            deleted: None,
        }
    }

    /// The same object with other fields.
    pub fn changed(&self, declared: &Type, fields: Map<String, Value>, now: Time) -> Self {
        let title = declared.title_of(&fields).map(str::to_owned);
        Self { title, fields, updated: now, ..self.clone() }
    }

    /// What others see: the words of ActivityStreams, and the declared fields under their own names. A field never
    /// hides an ActivityStreams word.
    pub fn json(&self, id: &Iri) -> Value {
        if let Some(deleted) = self.deleted {
            return json!({
                "@context": ACTIVITY_STREAMS, "id": id.as_str(), "type": "Tombstone",
                "formerType": self.activity_streams, "deleted": deleted.to_string(),
            });
        }
        let mut json = self.fields.clone();
        json.extend(self.title.iter().map(|title| ("name".to_owned(), title.as_str().into())));
        json.insert("@context".into(), ACTIVITY_STREAMS.into());
        json.insert("id".into(), id.as_str().into());
        json.insert("type".into(), self.activity_streams.as_str().into());
        json.insert("url".into(), id.as_str().into());
        json.insert("attributedTo".into(), self.attributed_to.as_str().into());
        json.insert("published".into(), self.published.to_string().into());
        if self.updated > self.published {
            json.insert("updated".into(), self.updated.to_string().into());
        }
        Value::Object(json)
    }

    /// To whom an activity about it is addressed: `to`, then `cc`.
    pub fn addressed(&self, followers: &Iri) -> (Vec<Address>, Vec<Address>) {
        let followers = Address::Iri(followers.clone());
        match self.visibility {
            Visibility::Public => (vec![Address::Public], vec![followers]),
            Visibility::Followers => (vec![followers], Vec::new()),
            Visibility::Direct => (Vec::new(), Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_object_shows_only_that_it_was() {
        let id = Iri::parse("https://blog.example/gig").unwrap();
        let object = Object {
            kind: "article".into(),
            activity_streams: "Article".into(),
            path: "gig".into(),
            title: Some("Gig".into()),
            fields: Map::from_iter([("content".to_owned(), json!("secret")), ("type".to_owned(), json!("Fake"))]),
            attributed_to: Iri::parse("https://blog.example/actor").unwrap(),
            visibility: Visibility::Public,
            published: Time(0),
            updated: Time(0),
            deleted: None,
        };
        assert_eq!(object.json(&id)["type"], "Article");
        assert_eq!(object.json(&id)["name"], "Gig");
        let gone = Object { deleted: Some(Time(1_000)), ..object }.json(&id);
        assert_eq!(gone["type"], "Tombstone");
        assert!(!gone.to_string().contains("secret"));
    }
}
