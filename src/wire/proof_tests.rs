//! Proofs: the same for the same activity, and refused for each thing that is wrong with them.

use super::*;
use crate::wire::for_tests::{START, iri};
use crate::wire::signature::CLOCK_WINDOW;

fn key() -> NodeKey {
    NodeKey::from_seed([7; 32])
}

fn activity() -> Value {
    json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "https://a.example/1", "type": "Follow", "actor": "https://a.example/actor",
        "object": "https://b.example/actor", "n": 1.5,
    })
}

fn proved() -> Value {
    prove(&activity(), &key(), &iri("https://a.example/actor#ed25519"), START).unwrap()
}

fn read_at(activity: &Value, now: Time) -> Result<Option<Proof>, ProofError> {
    proof_of(activity, now, CLOCK_WINDOW)
}

fn is_true(activity: &Value) -> bool {
    let proof = read_at(activity, START).unwrap().unwrap();
    proof.messages.iter().any(|message| key().public().verifies(message, &proof.signature))
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = proved();
    change(&mut value);
    value
}

#[test]
fn an_activity_with_a_proof_says_who_made_it() {
    let proof = read_at(&proved(), START).unwrap().unwrap();
    assert_eq!((proof.key_id.as_str(), proof.signature.len()), ("https://a.example/actor#ed25519", 64));
    assert!(is_true(&proved()));
    assert_eq!(proved(), proved());
    assert_eq!(proved()["proof"]["created"], "2023-11-14T22:13:20Z");
    assert_eq!(prove(&proved(), &key(), &proof.key_id, START).unwrap(), proved(), "a proof replaces one before");
}

#[test]
fn the_context_says_what_a_proof_is_beside_what_it_said_before() {
    assert_eq!(proved()["@context"], json!(["https://www.w3.org/ns/activitystreams", CONTEXT]));
    let proved_of = |context: Value| {
        let mut bare = activity();
        bare["@context"] = context;
        prove(&bare, &key(), &iri("https://a.example/actor#ed25519"), START).unwrap()["@context"].clone()
    };
    assert_eq!(proved_of(Value::Null), json!([CONTEXT]));
    assert_eq!(proved_of(json!(["a", CONTEXT, {"b": "c"}])), json!(["a", CONTEXT, {"b": "c"}]));
}

#[test]
fn whatever_is_changed_afterwards_makes_it_false() {
    let changes: [fn(&mut Value); 6] = [
        |it| it["object"] = "https://c.example/actor".into(),
        |it| it["n"] = 1.25.into(),
        |it| it["more"] = true.into(),
        |it| it["proof"]["created"] = "2023-11-14T22:13:21Z".into(),
        |it| it["proof"]["verificationMethod"] = "https://a.example/actor#other".into(),
        |it| it["proof"]["nonce"] = "x".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(!is_true(&changed(change)), "{number}");
    }
    let longer = changed(|it| it["@context"].as_array_mut().unwrap().push(json!({"Allocate": "x"})));
    assert_eq!(read_at(&longer, START), Err(ProofError::OtherContext));
}

#[test]
fn a_proof_without_a_context_is_read_as_made_over_that_of_the_activity_or_none() {
    let sign = |with_context: bool| {
        let mut value = activity();
        let mut options = json!({
            "type": KIND, "cryptosuite": CRYPTOSUITE, "proofPurpose": PURPOSE, "created": "2023-11-14T22:13:20Z",
            "verificationMethod": "https://a.example/actor#ed25519",
        });
        if with_context {
            options["@context"] = value["@context"].clone();
        }
        let signed = key().sign(&message(options.as_object().unwrap(), value.as_object().unwrap()).unwrap());
        options.as_object_mut().unwrap().remove("@context");
        options["proofValue"] = format!("z{}", bs58::encode(signed).into_string()).into();
        value["proof"] = options;
        value
    };
    assert!(is_true(&sign(true)) && is_true(&sign(false)));
}

#[test]
fn one_of_several_proofs_is_enough_and_none_is_none() {
    let other = json!({"type": KIND, "cryptosuite": "bbs-2023"});
    assert!(is_true(&changed(|it| it["proof"] = json!([other, "x", it["proof"].clone()]))));
    for none in [activity(), changed(|it| it["proof"] = Value::Null), changed(|it| it["proof"] = json!([])), json!([])]
    {
        assert_eq!(read_at(&none, START), Ok(None));
    }
    let only = |proof: Value| read_at(&changed(|it| it["proof"] = proof), START);
    for unknown in [other, json!("x"), json!({}), json!({"type": KIND}), json!([{"type": "Ed25519Signature2020"}])] {
        assert_eq!(only(unknown.clone()), Err(ProofError::Unsupported), "{unknown}");
    }
    assert_eq!(only(json!(["x", "x", "x", "x", "x"])), Err(ProofError::TooMany));
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    for field in ["created", "proofPurpose", "verificationMethod", "proofValue"] {
        let without = changed(|it| drop(it["proof"].as_object_mut().unwrap().remove(field)));
        assert_eq!(read_at(&without, START), Err(ProofError::Missing { field }));
    }
    let with = |field: &str, value: Value| read_at(&changed(|it| it["proof"][field] = value), START);
    assert_eq!(with("proofPurpose", "authentication".into()), Err(ProofError::OtherPurpose));
    assert!(matches!(with("verificationMethod", "did:key:z6Mk".into()), Err(ProofError::BadKeyId(_))));
    let long = format!("z{}", "1".repeat(4_000));
    for bad in ["", "z", "m64", "z0", "zAAAA", &long] {
        assert_eq!(with("proofValue", bad.into()), Err(ProofError::BadValue), "{bad}");
    }
    for field in ["created", "expires"] {
        assert!(matches!(with(field, "soon".into()), Err(ProofError::BadTime { .. })));
    }
    assert_eq!(with("@context", "https://x.example/".into()), Err(ProofError::OtherContext));
    let unreadable = changed(|it| it["n"] = u64::MAX.into());
    assert!(matches!(read_at(&unreadable, START), Err(ProofError::Canonical(_))));
}

#[test]
fn a_proof_out_of_time_is_refused() {
    let late = |now: Time| matches!(read_at(&proved(), now), Err(ProofError::OutOfTime(_)));
    assert!(!late(START.plus(PROOF_AGE_MAX)) && late(START.plus(PROOF_AGE_MAX + Duration::from_secs(1))));
    assert!(!late(START.minus(CLOCK_WINDOW)) && late(START.minus(CLOCK_WINDOW + Duration::from_secs(1))));
    let expired = changed(|it| it["proof"]["expires"] = "2023-11-14T22:13:19Z".into());
    assert!(matches!(read_at(&expired, START), Err(ProofError::OutOfTime(_))));
}
