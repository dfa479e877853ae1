//! Whoever uses the kernel: a program or person with a token, or another node that is allowed to and signs for itself.

use actix_web::HttpRequest;
use actix_web::web::Payload;
use bytes::Bytes;

use super::auth::{Caller, no_key, once_of, require};
use super::http::read_body;
use super::signed::{Signed, admit, is_signed};
use super::site::Site;
use crate::actors::flow::Origin;
use crate::actors::once::Once;
use crate::domains::identity::Iri;
use crate::tokens::Scope;
use crate::wire::claim::Claim;
use crate::wire::error::Problem;
use crate::wire::rate::Place;
use crate::wire::refusal::Refusal;

/// What a signature covers of a request that is done once: a stranger must not put its own key on somebody's words.
const COVERED: [&str; 1] = ["idempotency-key"];

/// Whoever uses the kernel.
#[derive(Debug)]
pub enum User {
    Program(Caller),
    Node(Neighbour),
}

/// Another node whose signature is true, and that is in `[kernel] allow` or runs flows for this one.
#[derive(Debug)]
pub struct Neighbour {
    pub actor: Iri,
    /// Its request counts until this is dropped.
    _place: Place,
}

impl User {
    /// Who sends a request that changes something, and its body.
    ///
    /// # Errors
    /// As [`require`] for tokens; 401 and 403 for signatures that are missing, false, or of nobody who may.
    pub async fn of(
        site: &Site,
        request: &HttpRequest,
        payload: Payload,
        scope: Scope,
    ) -> Result<(Self, Bytes), Problem> {
        if !is_signed(request) {
            let caller = require(site, request, scope)?;
            return Ok((Self::Program(caller), read_body(site, payload).await?));
        }
        let body = read_body(site, payload).await?;
        let node = Neighbour::of(site, request, body.clone()).await?;
        Ok((Self::Node(node), body))
    }

    /// Who looks at something.
    ///
    /// # Errors
    /// As [`User::of`].
    pub async fn looking(site: &Site, request: &HttpRequest) -> Result<Self, Problem> {
        if is_signed(request) {
            return Neighbour::of(site, request, Bytes::new()).await.map(Self::Node);
        }
        require(site, request, Scope::FlowsRead).map(Self::Program)
    }

    /// What makes the request safe to repeat. A key is that of one user.
    ///
    /// # Errors
    /// 400 without one.
    pub fn once(&self, request: &HttpRequest, body: &[u8]) -> Result<Once, Problem> {
        once_of(request, &self.name(), body)?.ok_or_else(no_key)
    }

    /// Nobody else has it: names of tokens have no such letter, and actors are their nodes' own.
    pub fn name(&self) -> String {
        match self {
            Self::Program(caller) => caller.grant.name.clone(),
            Self::Node(node) => format!("\u{1f}node {}", node.actor),
        }
    }

    /// As whom it starts something.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Program(caller) => Origin::Api { by: caller.grant.name.clone() },
            Self::Node(node) => Origin::Node { actor: node.actor.clone() },
        }
    }

    /// As whom it tells an instance something.
    pub fn by(&self) -> String {
        match self {
            Self::Program(caller) => caller.grant.name.clone(),
            Self::Node(node) => node.actor.to_string(),
        }
    }

    /// Whether it may know of an instance that began so.
    pub fn may_see(&self, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Program(_), _) => true,
            (Self::Node(node), Some(Origin::Node { actor })) => *actor == node.actor,
            (Self::Node(_), _) => false,
        }
    }
}

impl Neighbour {
    /// Whoever signed, if it may be here. What is cheap comes first: a stranger cannot have this node fetch a key.
    ///
    /// # Errors
    /// 400 without an idempotency key on what changes something, 401 and 403 as [`Refusal`] says, 429.
    pub async fn of(site: &Site, request: &HttpRequest, body: Bytes) -> Result<Self, Problem> {
        let changes = !request.method().is_safe();
        if changes && !request.headers().contains_key("idempotency-key") {
            return Err(no_key());
        }
        let fields: &[&str] = if changes { &COVERED } else { &[] };
        let signed = Signed::new(site, request, body, fields);
        let claimed = signed.claims()?;
        if let Some(stranger) = claimed.iter().find(|claim| !may(site, &claim.key_id)) {
            return Err(not_allowed(&stranger.key_id));
        }
        let mut verified = signed.check().await;
        if let Err(Refusal::KeyUnavailable(_)) = &verified
            && is_back(site, &claimed).await
        {
            verified = signed.check().await;
        }
        let verified = verified.map_err(|refusal| super::http::refused(site, refusal))?;
        let (actor, _place) = (verified.actor().clone(), admit(site, &verified)?);
        Ok(Self { actor, _place })
    }

    /// Whether flows of its own may run here. One that only runs flows of ours may not.
    ///
    /// # Errors
    /// 403 when they may not.
    pub fn is_allowed(&self, site: &Site) -> Result<(), Problem> {
        match site.kernel.contains(&self.actor.authority()) {
            true => Ok(()),
            false => Err(not_allowed(&self.actor)),
        }
    }
}

/// Its key could not be had a while ago, when it was down perhaps: whoever signs now may be there again. Asked seldom,
/// since anybody could have put its name there.
async fn is_back(site: &Site, claimed: &[Claim]) -> bool {
    let Some(claim) = claimed.first() else { return false };
    match site.returning.take(&claim.key_id.authority()) {
        Ok(_place) => site.keys.recipient(&claim.key_id.without_fragment()).await.is_ok(),
        Err(_) => false,
    }
}

fn may(site: &Site, id: &Iri) -> bool {
    let mut runners = site.runtime.world.runners.remotes();
    site.kernel.contains(&id.authority()) || runners.any(|runner| runner.actor.same_authority(id))
}

fn not_allowed(id: &Iri) -> Problem {
    let authority = id.authority();
    Problem::forbidden(format!(
        "{authority} may not use the kernel of this node: its operator lists it in [kernel] allow"
    ))
}
