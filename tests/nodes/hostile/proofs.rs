//! Proofs of FEP-8b32, in activities that come without a signature, that are false, out of time or none.

use quickbeam::clock::{Clock as _, SystemClock};
use quickbeam::domains::identity::Iri;
use quickbeam::wire::key::NodeKey;
use quickbeam::wire::proof::prove;
use serde_json::{Value, json};

use super::{Case, Class, Stage, case};
use crate::http::Call;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// What is made of an activity with a true proof.
type Forge = fn(Value, &Stage) -> Value;

const FORGED: [(&str, u16, &str, Forge); 28] = [
    ("of another object", 403, "false", |it, stage| with(it, "object", format!("{}/", stage.node.base()).into())),
    ("of another verb", 403, "false", |it, _| with(it, "type", "Like".into())),
    ("of an activity with another field", 403, "false", |it, _| with(it, "summary", "more".into())),
    ("of an activity without a field", 403, "false", |mut it, _| {
        it.as_object_mut().unwrap().remove("@context");
        it["proof"].as_object_mut().unwrap().remove("@context");
        it
    }),
    ("by another key", 403, "false", |it, stage| again(it, &NodeKey::from_seed([9; 32]), &key_id(stage), 0)),
    ("that is altered", 403, "false", |it, stage| {
        let other = again(stage.follow(), &stage.peer.key.lock(), &key_id(stage), 0);
        of(it, "proofValue", other["proof"]["proofValue"].clone())
    }),
    ("of zeros", 403, "false", |it, _| of(it, "proofValue", format!("z{}", "1".repeat(64)).into())),
    ("that is too old", 401, "ago", |it, stage| again(it, &stage.peer.key.lock(), &key_id(stage), -8)),
    ("of the future", 401, "future", |it, stage| again(it, &stage.peer.key.lock(), &key_id(stage), 1)),
    ("that expired", 401, "expired", |it, _| of(it, "expires", "2020-01-01T00:00:00Z".into())),
    ("made yesterday", 401, "created", |it, _| of(it, "created", "yesterday".into())),
    ("made at a number", 401, "created", |it, _| of(it, "created", 7.into())),
    ("without a time", 401, "created", |it, _| of(it, "created", Value::Null)),
    ("for another purpose", 401, "proofPurpose", |it, _| of(it, "proofPurpose", "authentication".into())),
    ("for no purpose", 401, "proofPurpose", |it, _| of(it, "proofPurpose", Value::Null)),
    ("of another suite", 401, "eddsa-jcs-2022", |it, _| of(it, "cryptosuite", "ecdsa-jcs-2019".into())),
    ("of another kind", 401, "eddsa-jcs-2022", |it, _| of(it, "type", "Ed25519Signature2020".into())),
    ("of another context", 401, "@context", |it, _| of(it, "@context", json!(["https://evil.example/context"]))),
    ("without a key", 401, "verificationMethod", |it, _| of(it, "verificationMethod", Value::Null)),
    ("with a key that is no address", 401, "verificationMethod", |it, _| {
        of(it, "verificationMethod", "did:key:z6Mk".into())
    }),
    ("with a key of a neighbour", 403, "authority", |it, stage| {
        of(it, "verificationMethod", format!("{}#ed25519", stage.neighbour.actor()).into())
    }),
    ("with a key that is not published", 503, "asked for again soon", |it, _| {
        let key_id = format!("{}-2", it["proof"]["verificationMethod"].as_str().unwrap());
        of(it, "verificationMethod", key_id.into())
    }),
    ("with a key that signs requests only", 401, "assertionMethod", |it, stage| {
        of(it, "verificationMethod", format!("{}#main-key", stage.peer.actor()).into())
    }),
    ("without its bytes", 401, "proofValue", |it, _| of(it, "proofValue", Value::Null)),
    ("in base64", 401, "proofValue", |it, _| of(it, "proofValue", "uAAAA".into())),
    ("in no letters of base58", 401, "proofValue", |it, _| of(it, "proofValue", "z0OIl".into())),
    ("that is a text", 401, "eddsa-jcs-2022", |it, _| with(it, "proof", "true".into())),
    ("among five", 401, "more than 4", |it, _| {
        let five = vec![it["proof"].clone(); 5];
        with(it, "proof", five.into())
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let cases = FORGED.into_iter().map(|(name, status, word, forge)| {
        case(format!("a proof {name}"), status, word, move |stage| post(&forge(proved(stage), stage)))
    });
    cases.collect()
}

#[test]
fn false_proofs_are_refused() {
    Class::of(cases()).run();
}

#[test]
fn what_the_forgeries_are_made_of_is_true() {
    let stage = Stage::new(|plan| plan);
    stage.node.send(&post(&proved(&stage))).expect(202);
}

fn key_id(stage: &Stage) -> String {
    format!("{}#ed25519", stage.peer.actor())
}

fn proved(stage: &Stage) -> Value {
    again(stage.follow(), &stage.peer.key.lock(), &key_id(stage), 0)
}

/// Proved anew, so many days from now.
fn again(activity: Value, key: &NodeKey, key_id: &str, days: i32) -> Value {
    let now = SystemClock::default().now();
    let shift = DAY * days.unsigned_abs();
    let at = if days < 0 { now.minus(shift) } else { now.plus(shift) };
    prove(&activity, key, &Iri::parse(key_id).unwrap(), at).unwrap()
}

fn with(mut activity: Value, field: &str, value: Value) -> Value {
    activity[field] = value;
    activity
}

fn of(mut activity: Value, field: &str, value: Value) -> Value {
    activity["proof"][field] = value;
    activity
}

fn post(activity: &Value) -> Call {
    Call::post("/inbox").header("content-type", "application/activity+json").body(activity.to_string())
}
