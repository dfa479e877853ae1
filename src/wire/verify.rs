//! The one place where a request of a peer becomes believable: nothing else makes a [`Verified`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tracing::debug;

use super::claim::{Claim, claims};
use super::digest::{self, sha256};
use super::key::PublicKey;
use super::keys::{Found, Key, KeyCache};
use super::message::{RequestView, plain};
use super::proof::{Proof, ProofError, proof_of};
use super::refusal::Refusal;
use super::signature::{Algorithm, CLOCK_WINDOW, Demand, SignatureError};
use crate::clock::Time;
use crate::domains::activity::Activity;
use crate::domains::identity::{Authority, Iri};
use crate::domains::json::{JSON_DEPTH_MAX, parse_json};

/// What may be read before it is known who sent it.
#[derive(Debug, Clone, Copy)]
pub struct VerifyLimits {
    /// How far the signer's clock may differ from ours.
    pub clock_window: Duration,
    pub body_bytes_max: usize,
    pub json_depth_max: usize,
}

/// Something that was signed by the owner of a key, with who that is. Only [`verify`] and [`verify_sender`] make one.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    sender: Arc<Found>,
    body: Bytes,
    sha256: [u8; 32],
}

impl Default for VerifyLimits {
    fn default() -> Self {
        Self { clock_window: CLOCK_WINDOW, body_bytes_max: 1024 * 1024, json_depth_max: JSON_DEPTH_MAX }
    }
}

impl<T> Verified<T> {
    pub fn value(&self) -> &T {
        &self.value
    }

    pub fn into_value(self) -> T {
        self.value
    }

    /// The actor that signed, which is the `actor` of a verified activity.
    pub fn actor(&self) -> &Iri {
        &self.sender.actor
    }

    pub fn authority(&self) -> Authority {
        self.sender.actor.authority()
    }

    pub fn key_id(&self) -> &Iri {
        &self.sender.key_id
    }

    /// What its key signs by.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.sender.key.algorithm()
    }

    /// Where the sender takes mail; none for a pair whose configuration does not say.
    pub fn inbox(&self) -> Option<&Iri> {
        self.sender.inbox.as_ref()
    }

    pub fn shared_inbox(&self) -> Option<&Iri> {
        self.sender.shared_inbox.as_ref()
    }

    /// The bytes that were signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Of the body.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

/// Checks an activity posted to us. All that is cheap comes first, so that nobody can make this node fetch or compute
/// for a request that could not pass anyway. `request.target` is made of our own base ([`super::message::Target::at`]).
///
/// A request that is signed is judged by its signature alone; one that is not, by the proof in its activity.
pub async fn verify(
    request: &RequestView<'_>,
    body: Bytes,
    keys: &KeyCache,
    now: Time,
    limits: VerifyLimits,
) -> Result<Verified<Activity>, Refusal> {
    check_media_type(request)?;
    check_size(&body, limits)?;
    if !request.has_header("signature") && !request.has_header("signature-input") {
        return by_proof(request, body, keys, now, limits).await;
    }
    let demand = Demand { body: true, fields: &[], window: limits.clock_window };
    let (claims, sha256) = cheap_checks(request, &body, demand, now, limits)?;
    let activity = read_activity(parse_json(&body, limits.json_depth_max)?)?;
    let sender = authenticate(request, claims, Some(&activity.actor), keys, now).await?;
    Ok(Verified { value: activity, sender, body, sha256 })
}

async fn by_proof(
    request: &RequestView<'_>,
    body: Bytes,
    keys: &KeyCache,
    now: Time,
    limits: VerifyLimits,
) -> Result<Verified<Activity>, Refusal> {
    let unsigned = || Refusal::Signature(SignatureError::Unsigned);
    let value = parse_json(&body, limits.json_depth_max).map_err(|_| unsigned())?;
    let proof = proof_of(&value, now, limits.clock_window)?.ok_or_else(unsigned)?;
    let sha256 = sha256(&body);
    if request.has_header("content-digest") {
        digest::check(request.header_text("content-digest").as_deref(), &body, &sha256)?;
    }
    let activity = read_activity(value)?;
    check_authority(&proof.key_id, Some(&activity.actor))?;
    let found = keys.key(&proof.key_id).await?;
    let sender = Evidence::of_proof(&proof).decide(found, Some(&activity.actor), keys, now).await?;
    Ok(Verified { value: activity, sender, body, sha256 })
}

fn read_activity(value: Value) -> Result<Activity, Refusal> {
    let activity = Activity::from_value(value)?;
    if !activity.id.same_authority(&activity.actor) {
        return Err(Refusal::ForeignId { id: activity.id, actor: activity.actor });
    }
    Ok(activity)
}

/// Checks who sent any other request: a signed GET, or a call with `fields` that must be covered as well.
pub async fn verify_sender(
    request: &RequestView<'_>,
    body: Bytes,
    fields: &[&str],
    keys: &KeyCache,
    now: Time,
    limits: VerifyLimits,
) -> Result<Verified<()>, Refusal> {
    let demand = Demand { body: !body.is_empty(), fields, window: limits.clock_window };
    let (claims, sha256) = cheap_checks(request, &body, demand, now, limits)?;
    let sender = authenticate(request, claims, None, keys, now).await?;
    Ok(Verified { value: (), sender, body, sha256 })
}

fn check_media_type(request: &RequestView<'_>) -> Result<(), Refusal> {
    const TAKEN: [&str; 3] = ["application/activity+json", "application/ld+json", "application/json"];
    let mut values = request.header_values("content-type");
    let given = values.next().and_then(plain).filter(|_| values.next().is_none()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if TAKEN.iter().any(|taken| essence.eq_ignore_ascii_case(taken)) {
        return Ok(());
    }
    Err(Refusal::MediaType { given: given.chars().take(200).collect() })
}

fn cheap_checks(
    request: &RequestView<'_>,
    body: &Bytes,
    demand: Demand<'_>,
    now: Time,
    limits: VerifyLimits,
) -> Result<(Vec<Claim>, [u8; 32]), Refusal> {
    check_size(body, limits)?;
    let claims = claims(request, demand, now)?;
    let sha256 = sha256(body);
    let is_draft = claims.iter().any(Claim::is_draft);
    // Also without a body: a digest that is sent must be true.
    if is_draft && (demand.body || request.has_header("digest")) {
        digest::check_draft(request, body, &sha256)?;
    }
    if (demand.body && !is_draft) || request.has_header("content-digest") {
        digest::check(request.header_text("content-digest").as_deref(), body, &sha256)?;
    }
    Ok((claims, sha256))
}

fn check_size(body: &Bytes, limits: VerifyLimits) -> Result<(), Refusal> {
    match body.len() > limits.body_bytes_max {
        true => Err(Refusal::TooLarge { bytes: body.len(), bytes_max: limits.body_bytes_max }),
        false => Ok(()),
    }
}

/// The owner of the first claim whose key can be had; whether that claim is true then decides.
async fn authenticate(
    request: &RequestView<'_>,
    claims: Vec<Claim>,
    actor: Option<&Iri>,
    keys: &KeyCache,
    now: Time,
) -> Result<Arc<Found>, Refusal> {
    let mut first_wrong = None;
    for claim in claims {
        match prepare(request, &claim, actor, keys).await {
            Ok((evidence, found)) => return evidence.decide(found, actor, keys, now).await,
            Err(wrong) => drop(first_wrong.get_or_insert(wrong)),
        }
    }
    Err(first_wrong.unwrap_or(Refusal::Signature(SignatureError::Unsigned)))
}

async fn prepare<'a>(
    request: &RequestView<'_>,
    claim: &'a Claim,
    actor: Option<&Iri>,
    keys: &KeyCache,
) -> Result<(Evidence<'a>, Arc<Found>), Refusal> {
    check_authority(&claim.key_id, actor)?;
    let base = claim.base(request)?;
    let found = keys.key(&claim.key_id).await?;
    let evidence = Evidence {
        key_id: &claim.key_id,
        messages: vec![base.into_bytes()],
        signature: claim.signature(),
        claim: Some(claim),
    };
    evidence.check_kind(&found)?;
    Ok((evidence, found))
}

/// Something that only the owner of a key can have made, if it is true: a signature of the request, or a proof.
struct Evidence<'a> {
    key_id: &'a Iri,
    /// One of them was signed.
    messages: Vec<Vec<u8>>,
    signature: &'a [u8],
    /// None for a proof.
    claim: Option<&'a Claim>,
}

impl<'a> Evidence<'a> {
    fn of_proof(proof: &'a Proof) -> Self {
        Self { key_id: &proof.key_id, messages: proof.messages.clone(), signature: &proof.signature, claim: None }
    }

    async fn decide(
        &self,
        found: Arc<Found>,
        actor: Option<&Iri>,
        keys: &KeyCache,
        now: Time,
    ) -> Result<Arc<Found>, Refusal> {
        self.check_kind(&found)?;
        check_owner(&found, actor)?;
        if self.holds(&found) {
            return Ok(found);
        }
        // What was fetched for this very request is as fresh as it gets.
        if found.fetched_at >= now {
            return Err(self.is_false());
        }
        let newer = keys.refresh(&found).await?.ok_or_else(|| self.is_false())?;
        self.check_kind(&newer)?;
        check_owner(&newer, actor)?;
        if self.holds(&newer) { Ok(newer) } else { Err(self.is_false()) }
    }

    fn holds(&self, found: &Found) -> bool {
        self.messages.iter().any(|message| found.key.verifies(message, self.signature))
    }

    /// Whoever debugs a signature wants to compare what both sides signed.
    fn is_false(&self) -> Refusal {
        let key_id = self.key_id.clone();
        match self.claim {
            Some(_) => {
                let base = self.messages.first().map(|base| String::from_utf8_lossy(base));
                debug!(%key_id, base = base.as_deref(), "a signature is false over this signature base");
                Refusal::False { key_id }
            }
            None => {
                debug!(%key_id, "a proof is false over the canonical form of its activity");
                Refusal::FalseProof { key_id }
            }
        }
    }

    fn check_kind(&self, found: &Found) -> Result<(), Refusal> {
        let key_id = || found.key_id.clone();
        match (self.claim, &found.key, found.key.algorithm()) {
            (None, Key::Public(PublicKey::Ed25519(_)), _) if found.asserts => Ok(()),
            (None, ..) => Err(ProofError::NotForProofs { key_id: key_id() }.into()),
            (Some(claim), _, Some(algorithm)) => Ok(claim.check_algorithm(algorithm)?),
            (_, Key::Public(PublicKey::Unsupported(kind)), _) => {
                Err(Refusal::UnsupportedKey { key_id: key_id(), kind: *kind })
            }
            (_, _, None) => Err(Refusal::False { key_id: key_id() }),
        }
    }
}

fn check_authority(key_id: &Iri, actor: Option<&Iri>) -> Result<(), Refusal> {
    match actor {
        Some(actor) if !actor.same_authority(key_id) => {
            Err(Refusal::ForeignKey { key_id: key_id.clone(), actor: actor.clone() })
        }
        _ => Ok(()),
    }
}

/// Equal authority is not enough: a neighbour on the same host is somebody else.
fn check_owner(found: &Found, actor: Option<&Iri>) -> Result<(), Refusal> {
    match actor {
        Some(actor) if *actor != found.actor => {
            Err(Refusal::NotTheOwner { key_id: found.key_id.clone(), owner: found.actor.clone(), actor: actor.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
