//! Activities of our own: what is to be said, and the JSON that says it.

use serde_json::{Map, Value, json};

use super::activity::{ACTIVITY_STREAMS, ALLOCATE, Activity, ActivityError, Address, Reference, Verb};
use super::identity::Iri;
use crate::clock::Time;

/// An activity in the making. Ids and times are the caller's, so that the same draft always gives the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub id: Iri,
    pub verb: Verb,
    pub actor: Iri,
    pub object: Reference,
    pub target: Option<Iri>,
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bto: Vec<Address>,
    pub bcc: Vec<Address>,
    pub published: Time,
    pub result: Option<Reference>,
    /// Why, in words for people: plain text.
    pub summary: Option<String>,
}

impl Draft {
    pub fn new(id: Iri, verb: Verb, actor: Iri, object: Reference, published: Time) -> Self {
        let (to, cc, bto, bcc) = Default::default();
        Self { id, verb, actor, object, target: None, to, cc, bto, bcc, published, result: None, summary: None }
    }

    pub fn target(mut self, target: Iri) -> Self {
        self.target = Some(target);
        self
    }

    pub fn to(mut self, address: Address) -> Self {
        self.to.push(address);
        self
    }

    pub fn cc(mut self, address: Address) -> Self {
        self.cc.push(address);
        self
    }

    pub fn result(mut self, result: Reference) -> Self {
        self.result = Some(result);
        self
    }

    pub fn summary(mut self, summary: String) -> Self {
        self.summary = Some(summary);
        self
    }

    /// The activity, read back from the JSON that will be sent: what we mean is what the receiver reads.
    pub fn build(&self) -> Result<Activity, ActivityError> {
        Activity::from_value(activity_json(self))
    }
}

/// The JSON of a draft, with the `@context` that its words need.
pub fn activity_json(draft: &Draft) -> Value {
    let mut json = Map::new();
    json.insert("@context".into(), json!([ACTIVITY_STREAMS, { "Allocate": ALLOCATE }]));
    json.insert("id".into(), draft.id.as_str().into());
    json.insert("type".into(), kind(&draft.verb));
    json.insert("actor".into(), draft.actor.as_str().into());
    json.insert("object".into(), draft.object.to_json());
    json.insert("published".into(), draft.published.to_string().into());
    json.extend(draft.target.iter().map(|target| ("target".into(), target.as_str().into())));
    json.extend(draft.result.iter().map(|result| ("result".into(), result.to_json())));
    json.extend(draft.summary.iter().map(|summary| ("summary".into(), summary.as_str().into())));
    let lists = [("to", &draft.to), ("cc", &draft.cc), ("bto", &draft.bto), ("bcc", &draft.bcc)];
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        json.insert(field.into(), list.iter().map(Address::as_str).collect::<Vec<_>>().into());
    }
    Value::Object(json)
}

/// Whoever does not know what it is to allocate reads an Offer, which is what it comes to.
fn kind(verb: &Verb) -> Value {
    match verb {
        Verb::Allocate => json!([verb.as_str(), "Offer"]),
        verb => verb.as_str().into(),
    }
}

/// Takes out who was addressed in secret, from an activity and from the objects in it, before anybody else sees it.
pub fn strip_blind(activity: &mut Value) {
    match activity {
        Value::Object(map) => {
            map.remove("bto");
            map.remove("bcc");
            map.get_mut("object").into_iter().for_each(strip_blind);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_blind),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iri(text: &str) -> Iri {
        Iri::parse(text).unwrap()
    }

    fn draft() -> Draft {
        let object = json!({"id": "https://blog.example/gig", "type": "Article", "bcc": ["https://c.example/actor"]});
        Draft::new(
            iri("https://blog.example/activities/01"),
            Verb::Create,
            iri("https://blog.example/actor"),
            Reference::Embedded(object),
            Time(1_618_884_473_042),
        )
    }

    #[test]
    fn a_draft_reads_back_as_what_was_meant() {
        let draft = Draft {
            verb: Verb::Allocate,
            object: Reference::Id(iri("https://blog.example/gig")),
            bto: vec![Address::Iri(iri("https://d.example/actor"))],
            ..draft()
        }
        .target(iri("https://events.example/calendars/1"))
        .to(Address::Iri(iri("https://events.example/actor")))
        .cc(Address::Public)
        .result(Reference::Id(iri("https://blog.example/x")))
        .summary("so that it is seen".to_owned());
        let read = draft.build().unwrap();
        assert_eq!((&read.id, &read.verb, &read.actor), (&draft.id, &draft.verb, &draft.actor));
        assert_eq!((&read.target, &read.to, &read.cc, &read.bto), (&draft.target, &draft.to, &draft.cc, &draft.bto));
        assert_eq!((read.published, &read.result), (Some(draft.published), &draft.result));
        assert_eq!(read.object.id, iri("https://blog.example/gig"));
        assert_eq!(read.words().as_deref(), Some("so that it is seen"));
        assert!(read.is_public());
        assert_eq!(read.recipients().count(), 3);
    }

    #[test]
    fn our_json_is_these_words() {
        let json = activity_json(&draft().to(Address::Public));
        assert_eq!(
            json,
            json!({
                "@context": ["https://www.w3.org/ns/activitystreams", {"Allocate": "urn:quickbeam:ns#Allocate"}],
                "id": "https://blog.example/activities/01",
                "type": "Create",
                "actor": "https://blog.example/actor",
                "object": {"id": "https://blog.example/gig", "type": "Article", "bcc": ["https://c.example/actor"]},
                "published": "2021-04-20T02:07:53.042Z",
                "to": ["https://www.w3.org/ns/activitystreams#Public"],
            })
        );
    }

    #[test]
    fn a_draft_about_something_without_an_id_is_refused() {
        let nameless = Draft { object: Reference::Embedded(json!({"type": "Note"})), ..draft() };
        assert_eq!(nameless.build(), Err(ActivityError::Missing { field: "object.id" }));
    }

    #[test]
    fn secret_addresses_are_taken_out_of_the_activity_and_its_objects() {
        let mut json =
            json!({"bto": "x", "bcc": [], "to": "y", "object": [{"bcc": "x", "object": {"bto": 1, "id": 2}}]});
        strip_blind(&mut json);
        assert_eq!(json, json!({"to": "y", "object": [{"object": {"id": 2}}]}));
    }
}
