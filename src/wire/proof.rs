//! Proofs of integrity in an activity itself (FEP-8b32): the cryptosuite eddsa-jcs-2022 of Data Integrity EdDSA.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::jcs::{CanonicalError, canonical};
use super::key::NodeKey;
use super::signature::{SignatureError, check_time};
use crate::clock::Time;
use crate::domains::identity::{IdentityError, Iri};

const KIND: &str = "DataIntegrityProof";
const CRYPTOSUITE: &str = "eddsa-jcs-2022";
const PURPOSE: &str = "assertionMethod";
/// Says what the words of a proof mean.
const CONTEXT: &str = "https://w3id.org/security/data-integrity/v1";

/// Proofs of one activity that are looked at; more are no honest number.
const PROOFS_MAX: usize = 4;
/// An activity that comes by detours, or was waiting for us for days, has the proof of its first day. Older ones are
/// refused, because what we took before is remembered for a time only.
pub const PROOF_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A proof that is in time and complete. Whether it is true is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub key_id: Iri,
    /// What may have been signed: peers differ in whether the context of the activity is the proof's as well.
    pub messages: Vec<Vec<u8>>,
    pub signature: Vec<u8>,
}

/// Why an activity does not prove whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the proof is none of the cryptosuite {CRYPTOSUITE}, the only one that this node checks")]
    Unsupported,
    #[error("the activity has more than {PROOFS_MAX} proofs: send fewer")]
    TooMany,
    #[error("the proof has no {field}: add it")]
    Missing { field: &'static str },
    #[error("the proofPurpose of the proof is another than {PURPOSE}")]
    OtherPurpose,
    #[error("the {field} of the proof is {given:?}: write a time like 2026-11-21T08:30:00Z")]
    BadTime { field: &'static str, given: String },
    #[error("the created or expires of the proof is out of time: {0}")]
    OutOfTime(#[source] Box<SignatureError>),
    #[error("the verificationMethod of the proof is no usable id: {0}")]
    BadKeyId(#[source] IdentityError),
    #[error("the proofValue of the proof is not z and base58 of 64 bytes")]
    BadValue,
    #[error("the @context of the proof is another than that of the activity")]
    OtherContext,
    #[error("the activity cannot be checked: {0}")]
    Canonical(#[from] CanonicalError),
    #[error("the key {key_id} is not an ed25519 key under assertionMethod of its actor: prove with one that is")]
    NotForProofs { key_id: Iri },
}

/// The first proof of an activity that this node can check; none when the activity has no proof at all.
pub fn proof_of(activity: &Value, now: Time, clock_window: Duration) -> Result<Option<Proof>, ProofError> {
    let Some(fields) = activity.as_object() else { return Ok(None) };
    let given = match fields.get("proof") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if list.is_empty() => return Ok(None),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if given.len() > PROOFS_MAX {
        return Err(ProofError::TooMany);
    }
    let ours = |proof: &&Map<String, Value>| proof["type"] == KIND && proof["cryptosuite"] == CRYPTOSUITE;
    let named = |proof: &&Map<String, Value>| proof.contains_key("type") && proof.contains_key("cryptosuite");
    let proof = given.iter().filter_map(Value::as_object).filter(named).find(ours).ok_or(ProofError::Unsupported)?;
    check_times(proof, now, clock_window)?;
    read(fields, proof).map(Some)
}

fn read(activity: &Map<String, Value>, proof: &Map<String, Value>) -> Result<Proof, ProofError> {
    if text(proof, "proofPurpose")? != PURPOSE {
        return Err(ProofError::OtherPurpose);
    }
    let key_id = Iri::parse(text(proof, "verificationMethod")?).map_err(ProofError::BadKeyId)?;
    let value = text(proof, "proofValue")?.strip_prefix('z').filter(|value| value.len() <= 128);
    let signature = value.and_then(|value| bs58::decode(value).into_vec().ok()).filter(|bytes| bytes.len() == 64);
    let signature = signature.ok_or(ProofError::BadValue)?;
    Ok(Proof { key_id, messages: messages(activity, proof)?, signature })
}

fn text<'a>(proof: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, ProofError> {
    proof.get(field).and_then(Value::as_str).ok_or(ProofError::Missing { field })
}

fn check_times(proof: &Map<String, Value>, now: Time, clock_window: Duration) -> Result<(), ProofError> {
    let time = |field: &'static str| {
        let given = text(proof, field)?;
        let bad = |_| ProofError::BadTime { field, given: given.chars().take(100).collect() };
        given.parse().map(jiff::Timestamp::as_second).map_err(bad)
    };
    let created = time("created")?;
    let expires = proof.contains_key("expires").then(|| time("expires")).transpose()?;
    let out_of_time = |error| ProofError::OutOfTime(Box::new(error));
    check_time(Some(created), expires, PROOF_AGE_MAX, now).map_err(out_of_time)?;
    // The past is long, because proofs travel; the future is that of any clock.
    let early = created.saturating_sub(now.seconds());
    if early > clock_window.as_secs().cast_signed() {
        return Err(out_of_time(SignatureError::InFuture { seconds: early }));
    }
    Ok(())
}

/// The hash of what the proof says of itself, then that of the activity without its proofs (section 3.3 of Data
/// Integrity EdDSA). A proof without a context was made over the activity's (FEP-8b32), or over none.
fn messages(activity: &Map<String, Value>, proof: &Map<String, Value>) -> Result<Vec<Vec<u8>>, ProofError> {
    let (mut document, mut options) = (activity.clone(), proof.clone());
    document.remove("proof");
    options.remove("proofValue");
    let context = document.get("@context").cloned();
    if let Some(own) = options.get("@context") {
        // The standard lets the activity's go on behind it. What a name means depends on all of it, so we do not.
        if context.as_ref() != Some(own) {
            return Err(ProofError::OtherContext);
        }
        return Ok(vec![message(&options, &document)?]);
    }
    let bare = message(&options, &document)?;
    let Some(context) = context else { return Ok(vec![bare]) };
    options.insert("@context".to_owned(), context);
    Ok(vec![message(&options, &document)?, bare])
}

fn message(options: &Map<String, Value>, document: &Map<String, Value>) -> Result<Vec<u8>, CanonicalError> {
    let hash = |fields: &Map<String, Value>| canonical(&Value::Object(fields.clone())).map(Sha256::digest);
    Ok([hash(options)?, hash(document)?].concat())
}

/// The activity with a proof of this node. The same activity gets the same proof, so that a repeat of it is one.
pub fn prove(activity: &Value, key: &NodeKey, key_id: &Iri, created: Time) -> Result<Value, ProofError> {
    let mut document = activity.as_object().cloned().unwrap_or_default();
    document.remove("proof");
    let context = with_context(document.remove("@context"));
    document.insert("@context".to_owned(), context.clone());
    let created = jiff::Timestamp::from_second(created.seconds()).unwrap_or(jiff::Timestamp::MAX).to_string();
    let mut proof = Map::new();
    for (name, value) in [
        ("@context", context),
        ("type", KIND.into()),
        ("cryptosuite", CRYPTOSUITE.into()),
        ("verificationMethod", json!(key_id)),
        ("proofPurpose", PURPOSE.into()),
        ("created", created.into()),
    ] {
        proof.insert(name.to_owned(), value);
    }
    let signature = key.sign(&message(&proof, &document)?);
    proof.insert("proofValue".to_owned(), format!("z{}", bs58::encode(signature).into_string()).into());
    document.insert("proof".to_owned(), Value::Object(proof));
    Ok(Value::Object(document))
}

fn with_context(given: Option<Value>) -> Value {
    let mut list = match given {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if !list.iter().any(|one| one == CONTEXT) {
        list.push(CONTEXT.into());
    }
    Value::Array(list)
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
