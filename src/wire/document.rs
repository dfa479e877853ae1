//! Actor documents: what peers say of themselves, read with suspicion, and what we say of ourselves.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use super::key::{KeyFormatError, PublicKey};
use crate::domains::activity::ACTIVITY_STREAMS;
use crate::domains::identity::{IdentityError, Iri};
use crate::domains::markup::escaped;
use crate::keyring::{FIRST, Generation, Ring};

/// Keys read from one document; honest actors have two or three.
pub const KEYS_MAX: usize = 16;

/// What the ids of our keys end in, for ever. Those of a later generation have its name behind it: `ed25519-2`.
pub const ED25519: &str = "ed25519";
pub const RSA: &str = "main-key";

/// Aliases read from one document.
const ALIASES_MAX: usize = 64;

const ACTOR_TYPES: [&str; 5] = ["Application", "Group", "Organization", "Person", "Service"];

/// What this node goes by of a peer's actor document.
#[derive(Debug, Clone)]
pub struct ActorDocument {
    pub id: Iri,
    pub kind: String,
    pub name: Option<String>,
    pub inbox: Iri,
    pub shared_inbox: Option<Iri>,
    /// Who it says it is as well: accounts that moved here.
    pub also_known_as: Vec<Iri>,
    pub keys: Vec<PublishedKey>,
    /// Keys that stand in the document but are not its actor's, or are none.
    pub refused: BTreeMap<Iri, KeyRefused>,
}

/// A key of the actor that published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    pub id: Iri,
    pub owner: Iri,
    pub key: PublicKey,
    /// Listed under `assertionMethod`: it may sign what its owner says, not only requests.
    pub asserts: bool,
}

/// Why a key in a document is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    #[error("it names another owner than the actor that publishes it")]
    Owner,
    #[error("it lives on another authority than the actor that publishes it")]
    Authority,
    #[error("{0}")]
    Format(String),
}

/// Why a document is not the actor that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("the document at {asked} says that it is {given:?}: its id must be its address")]
    OtherId { asked: Iri, given: String },
    #[error("the document at {asked} is no actor: its type is {given:?}")]
    NotAnActor { asked: Iri, given: String },
    #[error("the document at {asked} is no actor: it shows only a key of {owner}, which that actor has to publish")]
    OnlyKey { asked: Iri, owner: Iri },
    #[error("the document at {asked} shows a key of {owner}, which is on another authority than the key")]
    ForeignOwner { asked: Iri, owner: Iri },
    #[error("the document at {asked} has no usable {field}")]
    Missing { asked: Iri, field: &'static str },
    #[error("the {field} in the document at {asked} is no usable id: {source}")]
    BadId {
        asked: Iri,
        field: &'static str,
        #[source]
        source: IdentityError,
    },
}

/// Who this node is, for its own document.
#[derive(Debug, Clone)]
pub struct OurActor<'a> {
    /// The base with its slash: `https://blog.example/`.
    pub base: &'a Iri,
    pub name: &'a str,
    /// The part before `@` in `acct:` addresses.
    pub username: &'a str,
    pub profile: Profile,
    pub keys: &'a Ring,
}

/// The id of a key of a node's actor, of one kind and generation.
pub fn key_id(actor: &Iri, kind: &str, generation: &str) -> Iri {
    let id = match generation {
        FIRST => format!("{actor}#{kind}"),
        later => format!("{actor}#{kind}-{later}"),
    };
    Iri::parse(&id).expect("an id with a plain fragment is an id")
}

/// Whether it is the id that a node like this one gives an ed25519 key of its actor, of whatever generation.
pub(super) fn is_like_ours(key_id: &Iri, actor: &Iri) -> bool {
    let behind = || key_id.as_str().strip_prefix(actor.as_str())?.strip_prefix('#')?.strip_prefix(ED25519);
    behind().is_some_and(|behind| match behind.strip_prefix('-') {
        Some(name) => name.starts_with(|first: char| first.is_ascii_digit()),
        None => behind.is_empty(),
    })
}

/// What others show of it to people.
#[derive(Debug, Clone)]
pub struct Profile {
    /// An ActivityStreams type.
    pub kind: &'static str,
    /// Plain text.
    pub summary: Option<String>,
    /// Of a picture.
    pub icon: Option<Url>,
}

impl Default for Profile {
    fn default() -> Self {
        Self { kind: "Service", summary: None, icon: None }
    }
}

impl ActorDocument {
    /// Reads the document that was fetched from `asked`, which must say that it is just that.
    pub fn parse(value: &Value, asked: &Iri) -> Result<Self, DocumentError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let given = text("id").unwrap_or_default();
        if given != asked.as_str() {
            return Err(DocumentError::OtherId { asked: asked.clone(), given: given.chars().take(200).collect() });
        }
        let kind = actor_type(value, asked)?;
        let inbox = iri(value.get("inbox"), asked, "inbox")?;
        let inbox = inbox.ok_or_else(|| DocumentError::Missing { asked: asked.clone(), field: "inbox" })?;
        let shared = value.get("endpoints").and_then(|endpoints| endpoints.get("sharedInbox"));
        let mut document = Self {
            id: asked.clone(),
            kind,
            name: text("name").or_else(|| text("preferredUsername")).map(str::to_owned),
            inbox,
            shared_inbox: iri(shared, asked, "endpoints.sharedInbox")?,
            also_known_as: aliases(value.get("alsoKnownAs")),
            keys: Vec::new(),
            refused: BTreeMap::new(),
        };
        document.read_keys(value);
        Ok(document)
    }

    /// The key of that id.
    pub fn key(&self, id: &Iri) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.id == *id)
    }

    fn read_keys(&mut self, value: &Value) {
        let pem = |entry: &Value| read_with(entry, "publicKeyPem", PublicKey::from_pem);
        let multikey = |entry: &Value| read_with(entry, "publicKeyMultibase", PublicKey::from_multikey);
        let published = many(value.get("publicKey")).map(|entry| (entry, "owner", pem(entry)));
        let asserted = many(value.get("assertionMethod")).map(|entry| (entry, "controller", multikey(entry)));
        for (entry, owner_field, key) in published.chain(asserted).take(KEYS_MAX) {
            // A bare string points to a key elsewhere, which nobody asked for.
            let Some(id) = entry.get("id").and_then(Value::as_str).and_then(|id| Iri::parse(id).ok()) else { continue };
            let owner = entry.get(owner_field).and_then(Value::as_str);
            match self.accept(&id, owner, key) {
                Ok(key) => self.take(PublishedKey { asserts: owner_field == "controller", ..key }),
                Err(why) => drop(self.refused.insert(id, why)),
            }
        }
    }

    /// The first key under an id counts; the same one once more can only be one that asserts as well.
    fn take(&mut self, key: PublishedKey) {
        match self.keys.iter_mut().find(|known| known.id == key.id) {
            Some(known) => known.asserts |= key.asserts && known.key == key.key,
            None => self.keys.push(key),
        }
    }

    fn accept(
        &self,
        id: &Iri,
        owner: Option<&str>,
        key: Result<PublicKey, KeyFormatError>,
    ) -> Result<PublishedKey, KeyRefused> {
        if owner != Some(self.id.as_str()) {
            return Err(KeyRefused::Owner);
        }
        if !id.same_authority(&self.id) {
            return Err(KeyRefused::Authority);
        }
        let key = key.map_err(|error| KeyRefused::Format(error.to_string()))?;
        Ok(PublishedKey { id: id.clone(), owner: self.id.clone(), key, asserts: false })
    }
}

impl OurActor<'_> {
    /// The id of this node's actor.
    pub fn id(&self) -> Iri {
        self.at("actor")
    }

    pub fn inbox(&self) -> Iri {
        self.at("inbox")
    }

    /// The document as it is served. `publicKey` is one object and no list, and it is the RSA key that signs: Lemmy and
    /// Pleroma read nothing else there, and Mastodon takes the first of a list. An old RSA key checks nothing but what
    /// was on its way when keys were rotated, which is sent again. Other keys belong under `assertionMethod` (FEP-521a),
    /// where nodes like this one look for theirs and Fedify looks for those of proofs. Old ones stay there for their
    /// overlap: a proof is checked long after it was made.
    pub fn to_json(&self) -> Value {
        let (id, newest) = (self.id(), self.keys.newest());
        let asserts = |one: &Generation| {
            json!({
                "id": key_id(&id, ED25519, &one.name),
                "type": "Multikey",
                "controller": id,
                "publicKeyMultibase": one.keys.ed25519.public_multikey(),
            })
        };
        let asserting: Vec<Value> = self.keys.generations().iter().map(asserts).collect();
        let mut document = json!({
            "@context": [
                ACTIVITY_STREAMS,
                "https://w3id.org/security/v1",
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/multikey/v1",
            ],
            "id": id,
            "type": self.profile.kind,
            "name": self.name,
            "preferredUsername": self.username,
            "url": self.base,
            "inbox": self.inbox(),
            "outbox": self.at("outbox"),
            "followers": self.at("followers"),
            "following": self.at("following"),
            "endpoints": { "sharedInbox": self.inbox() },
            "publicKey": {
                "id": key_id(&id, RSA, &newest.name),
                "owner": id,
                "publicKeyPem": newest.keys.rsa.public_pem(),
            },
            "assertionMethod": asserting,
        });
        if let Some(summary) = &self.profile.summary {
            document["summary"] = escaped(summary).into();
        }
        if let Some(icon) = &self.profile.icon {
            document["icon"] = json!({ "type": "Image", "url": icon.as_str() });
        }
        document
    }

    fn at(&self, path: &str) -> Iri {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        Iri::parse(&text).expect("a base in normal form and a plain path make an id")
    }
}

fn actor_type(value: &Value, asked: &Iri) -> Result<String, DocumentError> {
    let mut types = many(value.get("type")).filter_map(Value::as_str);
    let first = types.clone().next().unwrap_or_default().to_owned();
    match types.find(|name| ACTOR_TYPES.contains(name)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(DocumentError::NotAnActor { asked: asked.clone(), given: first.chars().take(200).collect() }),
    }
}

fn iri(value: Option<&Value>, asked: &Iri, field: &'static str) -> Result<Option<Iri>, DocumentError> {
    let Some(text) = value.and_then(Value::as_str) else { return Ok(None) };
    Iri::parse(text).map(Some).map_err(|source| DocumentError::BadId { asked: asked.clone(), field, source })
}

/// What is no id names nobody.
fn aliases(value: Option<&Value>) -> Vec<Iri> {
    let ids = many(value).filter_map(Value::as_str).filter_map(|text| Iri::parse(text).ok());
    ids.take(ALIASES_MAX).collect()
}

fn read_with(
    entry: &Value,
    field: &str,
    read: impl Fn(&str) -> Result<PublicKey, KeyFormatError>,
) -> Result<PublicKey, KeyFormatError> {
    read(entry.get(field).and_then(Value::as_str).unwrap_or_default())
}

/// One or many, none when absent.
pub(super) fn many(value: Option<&Value>) -> impl Iterator<Item = &Value> + Clone {
    match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
    .iter()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Time;
    use crate::keyring::{Old, Rotation};
    use crate::wire::for_tests::keys;
    use crate::wire::key::Kind;

    fn iri(text: &str) -> Iri {
        Iri::parse(text).unwrap()
    }

    fn our_json() -> Value {
        let base = iri("https://a.example/");
        let (profile, keys) = (Profile::default(), Ring::first(keys(1)));
        OurActor { base: &base, name: "A", username: "a", profile, keys: &keys }.to_json()
    }

    fn parse(value: &Value) -> Result<ActorDocument, DocumentError> {
        ActorDocument::parse(value, &iri("https://a.example/actor"))
    }

    #[test]
    fn our_own_document_reads_as_one_of_a_peer() {
        let read = parse(&our_json()).unwrap();
        assert_eq!((read.kind.as_str(), read.name.as_deref()), ("Service", Some("A")));
        assert_eq!(read.inbox, iri("https://a.example/inbox"));
        assert_eq!(read.shared_inbox, Some(iri("https://a.example/inbox")));
        let ed25519 = read.key(&iri("https://a.example/actor#ed25519")).unwrap();
        assert_eq!((&ed25519.key, ed25519.asserts), (&keys(1).ed25519.public(), true));
        let rsa = read.key(&iri("https://a.example/actor#main-key")).unwrap();
        assert_eq!((&rsa.key, rsa.asserts), (&keys(1).rsa.public(), false));
        assert_eq!((read.keys.len(), read.refused.len()), (2, 0));
    }

    #[test]
    fn public_key_is_one_object_for_those_who_read_no_list() {
        let json = our_json();
        assert!(json["publicKey"].is_object() && json["publicKey"]["publicKeyPem"].is_string());
        assert_eq!(json["publicKey"]["id"], "https://a.example/actor#main-key");
        // Fedify looks for keys of proofs only in documents that name this context.
        assert!(json["@context"].as_array().unwrap().contains(&"https://www.w3.org/ns/did/v1".into()));
    }

    #[test]
    fn in_an_overlap_the_new_keys_stand_first_and_the_old_one_for_proofs_stays() {
        let first = Ring::first(keys(1));
        let new = Generation { name: first.next_name(1), since: None, until: None, keys: keys(2) };
        let rotation = Rotation { activity: "01A".into(), logged: false, request: None };
        let ring = first.rotated(new, Old::StayFor(Duration::from_secs(1)), rotation, Time(1));
        let (base, profile) = (iri("https://a.example/"), Profile::default());
        let json = OurActor { base: &base, name: "A", username: "a", profile, keys: &ring }.to_json();
        assert_eq!(json["publicKey"]["id"], "https://a.example/actor#main-key-2");
        assert_eq!(json["publicKey"]["publicKeyPem"], keys(2).rsa.public_pem());
        let asserting: Vec<_> = json["assertionMethod"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        assert_eq!(asserting, ["https://a.example/actor#ed25519-2", "https://a.example/actor#ed25519"]);
        let read = parse(&json).unwrap();
        let of = |id: &str| read.key(&iri(id)).map(|found| found.key.clone());
        assert_eq!(of("https://a.example/actor#ed25519-2"), Some(keys(2).ed25519.public()));
        assert_eq!(of("https://a.example/actor#ed25519"), Some(keys(1).ed25519.public()));
    }

    #[test]
    fn ids_of_every_generation_are_known_as_those_of_nodes_like_this_one() {
        let actor = iri("https://a.example/actor");
        for name in ["1", "2", "17", "3-2"] {
            assert!(is_like_ours(&key_id(&actor, ED25519, name), &actor), "{name}");
            assert!(!is_like_ours(&key_id(&actor, RSA, name), &actor), "{name}");
        }
        for other in ["#ed25519x", "#ed25519-", "#ed25519-key", "/2#ed25519", "#key"] {
            assert!(!is_like_ours(&iri(&format!("{actor}{other}")), &actor), "{other}");
        }
        assert!(!is_like_ours(&iri("https://b.example/actor#ed25519"), &actor));
    }

    #[test]
    fn the_document_of_an_older_node_gives_its_key_under_both_ids() {
        let mut json = our_json();
        let (owner, pem) = ("https://a.example/actor", keys(1).ed25519.public_pem());
        json["publicKey"] = json!({"id": "https://a.example/actor#ed25519", "owner": owner, "publicKeyPem": pem});
        json["assertionMethod"][0]["id"] = "https://a.example/actor#ed25519-multikey".into();
        let read = parse(&json).unwrap();
        let of = |id: &str| read.key(&iri(id)).map(|it| (it.key == keys(1).ed25519.public(), it.asserts)).unwrap();
        assert_eq!(of("https://a.example/actor#ed25519"), (true, false));
        assert_eq!(of("https://a.example/actor#ed25519-multikey"), (true, true));
        // Both forms under one id are one key; another key under an id that is taken is none.
        json["assertionMethod"][0]["id"] = "https://a.example/actor#ed25519".into();
        assert!(parse(&json).unwrap().keys[0].asserts);
        json["assertionMethod"][0]["publicKeyMultibase"] = keys(2).ed25519.public_multikey().into();
        let read = parse(&json).unwrap();
        assert_eq!((read.keys.len(), read.keys[0].asserts), (1, false));
    }

    #[test]
    fn a_document_that_is_another_is_refused() {
        let mut json = our_json();
        json["id"] = "https://a.example/other".into();
        assert!(matches!(parse(&json), Err(DocumentError::OtherId { .. })));
        json["id"] = json!(["https://a.example/actor"]);
        assert!(matches!(parse(&json), Err(DocumentError::OtherId { .. })));
        let mut note = our_json();
        note["type"] = "Note".into();
        assert!(matches!(parse(&note), Err(DocumentError::NotAnActor { .. })));
        assert!(matches!(parse(&json!([1])), Err(DocumentError::OtherId { .. })));
    }

    #[test]
    fn an_inbox_is_needed_and_in_normal_form() {
        let mut json = our_json();
        json["inbox"] = Value::Null;
        assert!(matches!(parse(&json), Err(DocumentError::Missing { field: "inbox", .. })));
        json["inbox"] = "https://A.example/inbox".into();
        assert!(matches!(parse(&json), Err(DocumentError::BadId { field: "inbox", .. })));
    }

    #[test]
    fn keys_of_others_are_refused_and_named() {
        let mut json = our_json();
        json["publicKey"]["owner"] = "https://a.example/neighbour".into();
        json["assertionMethod"][0]["id"] = "https://b.example/actor#k".into();
        let read = parse(&json).unwrap();
        assert!(read.keys.is_empty());
        assert_eq!(read.refused[&iri("https://a.example/actor#main-key")], KeyRefused::Owner);
        assert_eq!(read.refused[&iri("https://b.example/actor#k")], KeyRefused::Authority);
    }

    #[test]
    fn odd_keys_do_not_hide_good_ones() {
        let mut json = our_json();
        let good = json["publicKey"].take();
        let curve = include_str!("../../tests/vectors/rsa/ec_public.pem");
        let small = include_str!("../../tests/vectors/rsa/small_public.pem");
        let owner = "https://a.example/actor";
        json["publicKey"] = json!([
            "https://a.example/key",
            {"id": "https://a.example/actor#curve", "owner": owner, "publicKeyPem": curve},
            {"id": "https://a.example/actor#small", "owner": owner, "publicKeyPem": small},
            {"id": "https://a.example/actor#bad", "owner": owner, "publicKeyPem": "?"},
            {"owner": owner, "publicKeyPem": "?"},
            good,
        ]);
        let read = parse(&json).unwrap();
        assert_eq!(read.keys[0].key, PublicKey::Unsupported(Kind::EllipticCurve));
        assert!(read.key(&iri("https://a.example/actor#main-key")).is_some());
        let small = read.refused[&iri("https://a.example/actor#small")].to_string();
        assert!(small.contains("1024 bits"), "{small}");
        assert!(matches!(read.refused[&iri("https://a.example/actor#bad")], KeyRefused::Format(_)));
    }

    #[test]
    fn a_document_of_a_thousand_keys_is_read_to_the_sixteenth() {
        let mut json = our_json();
        let key = |n: usize| json!({"id": format!("https://a.example/actor#{n}"), "owner": "x"});
        json["publicKey"] = (0..1_000).map(key).collect();
        assert_eq!(parse(&json).unwrap().refused.len(), KEYS_MAX);
    }
}
