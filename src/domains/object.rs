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
    /// Who is addressed besides those who may see it anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Iri>,
    /// What others read of it in words of theirs, made of its fields when it was written.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub shown: Map<String, Value>,
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
            shown: declared.shows.words(&fields),
            fields,
            attributed_to,
            visibility: declared.visibility,
            to: Vec::new(),
            published: now,
            updated: now,
            deleted: None,
        }
    }

    /// The same object with other fields.
    pub fn changed(&self, declared: &Type, fields: Map<String, Value>, now: Time) -> Self {
        let title = declared.title_of(&fields).map(str::to_owned);
        Self { title, shown: declared.shows.words(&fields), fields, updated: now, ..self.clone() }
    }

    /// What is left of it when it was deleted.
    pub fn gone(&self, now: Time) -> Self {
        Self { deleted: Some(now), fields: Map::new(), shown: Map::new(), title: None, ..self.clone() }
    }

    /// What others see: the words of ActivityStreams, and the declared fields under their own names. A field never
    /// hides an ActivityStreams word. `followers` is the collection of ours.
    pub fn json(&self, id: &Iri, followers: &Iri) -> Value {
        if let Some(deleted) = self.deleted {
            return json!({
                "@context": ACTIVITY_STREAMS, "id": id.as_str(), "type": "Tombstone",
                "formerType": self.activity_streams, "deleted": deleted.to_string(),
            });
        }
        let mut json = self.fields.clone();
        json.extend(self.shown.clone());
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
        let (to, cc) = self.addressed(followers);
        for (field, list) in [("to", to), ("cc", cc)].into_iter().filter(|(_, list)| !list.is_empty()) {
            json.insert(field.into(), list.iter().map(Address::as_str).collect::<Vec<_>>().into());
        }
        Value::Object(json)
    }

    /// The same as flows of this node see it: what a field says stands as it was written.
    pub fn json_here(&self, id: &Iri, followers: &Iri) -> Value {
        let mut json = self.json(id, followers);
        for (name, value) in self.fields.iter().filter(|(name, _)| self.shown.contains_key(*name)) {
            json[name] = value.clone();
        }
        json
    }

    /// To whom it and what is said about it are addressed: `to`, then `cc`.
    pub fn addressed(&self, followers: &Iri) -> (Vec<Address>, Vec<Address>) {
        let followers = Address::Iri(followers.clone());
        let (mut to, cc) = match self.visibility {
            Visibility::Public => (vec![Address::Public], vec![followers]),
            Visibility::Followers => (vec![followers], Vec::new()),
            Visibility::Direct => (Vec::new(), Vec::new()),
        };
        to.extend(self.to.iter().cloned().map(Address::Iri));
        (to, cc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::activity::PUBLIC;

    fn iri(text: &str) -> Iri {
        Iri::parse(text).unwrap()
    }

    fn object() -> Object {
        Object {
            kind: "article".into(),
            activity_streams: "Article".into(),
            path: "gig".into(),
            title: Some("Gig".into()),
            fields: Map::from_iter([("content".to_owned(), json!("*secret*")), ("type".to_owned(), json!("Fake"))]),
            attributed_to: iri("https://blog.example/actor"),
            visibility: Visibility::Public,
            to: Vec::new(),
            shown: Map::from_iter([("content".to_owned(), json!("<p>secret</p>"))]),
            published: Time(0),
            updated: Time(0),
            deleted: None,
        }
    }

    fn seen(object: &Object) -> Value {
        object.json(&iri("https://blog.example/gig"), &iri("https://blog.example/followers"))
    }

    #[test]
    fn a_deleted_object_shows_only_that_it_was() {
        let object = object();
        assert_eq!(seen(&object)["type"], "Article");
        assert_eq!(seen(&object)["name"], "Gig");
        let gone = seen(&object.gone(Time(1_000)));
        assert_eq!(gone["type"], "Tombstone");
        assert!(!gone.to_string().contains("secret"));
    }

    #[test]
    fn others_see_what_was_made_of_a_field_and_flows_here_the_field() {
        let (id, followers) = (iri("https://blog.example/gig"), iri("https://blog.example/followers"));
        assert_eq!(object().json(&id, &followers)["content"], "<p>secret</p>");
        let here = object().json_here(&id, &followers);
        assert_eq!((&here["content"], &here["type"]), (&json!("*secret*"), &json!("Article")));
    }

    #[test]
    fn an_object_says_to_whom_it_is_addressed_since_others_go_by_that() {
        let followers = "https://blog.example/followers";
        let named = || vec![iri("https://a.example/actor")];
        for (visibility, to, expected) in [
            (Visibility::Public, vec![], json!([[PUBLIC], [followers]])),
            (Visibility::Public, named(), json!([[PUBLIC, "https://a.example/actor"], [followers]])),
            (Visibility::Followers, vec![], json!([[followers], null])),
            (Visibility::Direct, named(), json!([["https://a.example/actor"], null])),
            (Visibility::Direct, vec![], json!([null, null])),
        ] {
            let seen = seen(&Object { visibility, to, ..object() });
            assert_eq!(json!([seen["to"], seen["cc"]]), expected);
        }
    }
}
