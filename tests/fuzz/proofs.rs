//! Proofs in activities: whatever is changed in one, it holds for what was said and for nothing else.

use std::sync::LazyLock;
use std::time::Duration;

use quickbeam::clock::Time;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::json::{JSON_DEPTH_MAX, parse_json};
use quickbeam::wire::jcs::canonical;
use quickbeam::wire::key::NodeKey;
use quickbeam::wire::keys::Key;
use quickbeam::wire::proof::{proof_of, prove};
use serde_json::{Value, json};

use super::json::JSON;
use super::run::{Target, named};

const NOW: Time = Time(1_795_250_000_000);
const WINDOW: Duration = Duration::from_secs(300);

const TOKENS: [&str; 21] = [
    "\"proof\":",
    "\"proof\":[",
    "null",
    "\"proofValue\":",
    "\"proofPurpose\":",
    "\"verificationMethod\":",
    "\"created\":",
    "\"expires\":",
    "\"cryptosuite\":\"eddsa-jcs-2022\"",
    "\"type\":\"DataIntegrityProof\"",
    "\"@context\":",
    "assertionMethod",
    "authentication",
    "2026-11-21T08:30:00Z",
    "2026-11-21T08:30:00+14:00",
    "z",
    "1",
    "1.0",
    "\\u0061",
    "https://a.example/actor#ed25519",
    "Follow",
];

/// A proven activity: the text, its key, and the canonical form of what was said.
static PROVEN: LazyLock<(Vec<u8>, NodeKey, Vec<u8>)> = LazyLock::new(|| {
    let (key, key_id) = (NodeKey::from_seed([7; 32]), Iri::parse("https://a.example/actor#ed25519").unwrap());
    let activity = json!({
        "@context": "https://www.w3.org/ns/activitystreams", "id": "https://a.example/1", "type": "Create",
        "actor": "https://a.example/actor", "object": { "id": "https://a.example/2", "n": [1, 2.5, null, true, "é"] },
    });
    let proven = prove(&activity, &key, &key_id, NOW).unwrap();
    let said = said(&proven);
    (proven.to_string().into_bytes(), key, said)
});

fn said(activity: &Value) -> Vec<u8> {
    let mut bare = activity.clone();
    bare.as_object_mut().unwrap().remove("proof");
    canonical(&bare).unwrap()
}

#[test]
fn proof() {
    let (proven, key, said_first) = &*PROVEN;
    let public = Key::Public(key.public());
    let tokens: Vec<&str> = TOKENS.into_iter().chain(JSON).collect();
    Target {
        name: "proof",
        also: &["vectors/eddsa-jcs-2022/signedJCS.json"],
        made: std::slice::from_ref(proven),
        tokens: &tokens,
    }
    .run(|input| {
        let Ok(value) = parse_json(input, JSON_DEPTH_MAX) else { return "none".to_owned() };
        let proof = match proof_of(&value, NOW, WINDOW) {
            Ok(Some(proof)) => proof,
            Ok(None) => return "bare".to_owned(),
            Err(refused) => return named(&refused) + &refused.to_string().chars().take(20).collect::<String>(),
        };
        assert_eq!(proof.signature.len(), 64);
        assert_eq!(Iri::parse(proof.key_id.as_str()).as_ref(), Ok(&proof.key_id));
        if !proof.messages.iter().any(|message| public.verifies(message, &proof.signature)) {
            return "false".to_owned();
        }
        assert_eq!(&said(&value), said_first, "a proof holds for what nobody said");
        "true".to_owned()
    });
}
