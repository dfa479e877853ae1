//! The one place where a request of a peer becomes believable: nothing else makes a [`Verified`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::digest::{self, sha256};
use super::key::PublicKey;
use super::keys::{Found, Key, KeyCache};
use super::message::{RequestView, plain};
use super::refusal::Refusal;
use super::signature::{CLOCK_WINDOW, Claim, Demand, claims};
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
pub async fn verify(
    request: &RequestView<'_>,
    body: Bytes,
    keys: &KeyCache,
    now: Time,
    limits: VerifyLimits,
) -> Result<Verified<Activity>, Refusal> {
    check_media_type(request)?;
    let demand = Demand { body: true, fields: &[], window: limits.clock_window };
    let (claims, sha256) = cheap_checks(request, &body, demand, now, limits)?;
    let activity = Activity::from_value(parse_json(&body, limits.json_depth_max)?)?;
    if !activity.id.same_authority(&activity.actor) {
        return Err(Refusal::ForeignId { id: activity.id, actor: activity.actor });
    }
    let sender = authenticate(request, claims, Some(&activity.actor), keys, now).await?;
    Ok(Verified { value: activity, sender, body, sha256 })
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
    if body.len() > limits.body_bytes_max {
        return Err(Refusal::TooLarge { bytes: body.len(), bytes_max: limits.body_bytes_max });
    }
    let claims = claims(request, demand, now)?;
    let sha256 = sha256(body);
    // Also without a body: a digest that is sent must be true.
    if demand.body || request.has_header("content-digest") {
        digest::check(request.header_text("content-digest").as_deref(), body, &sha256)?;
    }
    Ok((claims, sha256))
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
            Ok((base, found)) => return decide(&claim, &base, found, actor, keys, now).await,
            Err(wrong) => drop(first_wrong.get_or_insert(wrong)),
        }
    }
    Err(first_wrong.unwrap_or(Refusal::Signature(super::signature::SignatureError::Unsigned)))
}

async fn prepare(
    request: &RequestView<'_>,
    claim: &Claim,
    actor: Option<&Iri>,
    keys: &KeyCache,
) -> Result<(String, Arc<Found>), Refusal> {
    if let Some(actor) = actor.filter(|actor| !actor.same_authority(&claim.key_id)) {
        return Err(Refusal::ForeignKey { key_id: claim.key_id.clone(), actor: actor.clone() });
    }
    let base = claim.base(request)?;
    let found = keys.key(&claim.key_id).await?;
    check_kind(claim, &found)?;
    Ok((base, found))
}

async fn decide(
    claim: &Claim,
    base: &str,
    found: Arc<Found>,
    actor: Option<&Iri>,
    keys: &KeyCache,
    now: Time,
) -> Result<Arc<Found>, Refusal> {
    check_owner(&found, actor)?;
    if found.key.verifies(base.as_bytes(), claim.signature()) {
        return Ok(found);
    }
    let wrong = || Refusal::False { key_id: claim.key_id.clone() };
    // What was fetched for this very request is as fresh as it gets.
    if found.fetched_at >= now {
        return Err(wrong());
    }
    let newer = keys.refresh(&found).await?.ok_or_else(wrong)?;
    check_kind(claim, &newer)?;
    check_owner(&newer, actor)?;
    if newer.key.verifies(base.as_bytes(), claim.signature()) { Ok(newer) } else { Err(wrong()) }
}

fn check_kind(claim: &Claim, found: &Found) -> Result<(), Refusal> {
    match (&found.key, found.key.algorithm()) {
        (_, Some(algorithm)) => Ok(claim.check_algorithm(algorithm)?),
        (Key::Public(PublicKey::Unsupported(kind)), None) => {
            Err(Refusal::UnsupportedKey { key_id: found.key_id.clone(), kind: *kind })
        }
        (_, None) => Err(Refusal::False { key_id: found.key_id.clone() }),
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
