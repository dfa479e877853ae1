//! Who reads what this node shows to peers: somebody with a token, an actor that signs, or anybody.
//!
//! With `[federation] authorized_fetch` nobody stays unnamed who wants JSON. Without it a signature is looked at only
//! where it could show more than there is for all.

use actix_web::HttpRequest;
use bytes::Bytes;

use super::auth::caller;
use super::client::client;
use super::guard;
use super::http::refused;
use super::negotiate::{Wanted, wanted};
use super::signed::{Signed, admit, is_signed};
use super::site::Site;
use crate::actors::follower::{Listed, Status};
use crate::actors::rows::{Index, parts};
use crate::actors::{layout, record};
use crate::domains::identity::Iri;
use crate::store::{Key, ReadError, Span};
use crate::wire::claim::Claim;
use crate::wire::error::{Problem, SIGNATURE};
use crate::wire::message::Target;

/// Whoever sent a request that only reads.
#[derive(Debug)]
pub(super) enum Reader {
    /// A program or person of this node.
    Known,
    /// One whose signature is true, and who is not blocked.
    Signer(Iri),
    /// Nobody has looked yet who it is.
    Anybody,
}

impl Reader {
    /// Who reads something that is JSON whatever is accepted.
    ///
    /// # Errors
    /// 401 for a token that is not valid; where requests have to be signed also without a signature, and 401, 403 and
    /// 503 as [`crate::wire::refusal::Refusal`] says, 429.
    pub(super) async fn of(site: &Site, request: &HttpRequest) -> Result<Self, Problem> {
        if caller(site, request)?.is_some() {
            return Ok(Self::Known);
        }
        if !site.authorized_fetch {
            return Ok(Self::Anybody);
        }
        if !is_signed(request) {
            let detail = "this node shows what it publishes only to whoever says who they are: sign the request with \
                          the key of an actor, or send a token; pages for people are open (Accept: text/html)";
            return Err(Problem { challenge: Some(SIGNATURE), ..Problem::new(401, "unauthorized", detail) });
        }
        Self::signed(site, &Signed::new(site, request, Bytes::new(), &[])).await
    }

    /// Who reads something that is a page for people as well, which is open to all.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) async fn of_page(site: &Site, request: &HttpRequest) -> Result<Self, Problem> {
        match wanted(request) {
            Wanted::Html if caller(site, request)?.is_none() => Ok(Self::Anybody),
            _ => Self::of(site, request).await,
        }
    }

    /// Somebody with a token of this node, who sees everything.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Known)
    }

    /// Whether the reader is an accepted follower, or one of those whom what it asks for is addressed to. Ask also where
    /// there is nothing to see: the answer to a signature must not tell whether there is.
    ///
    /// # Errors
    /// 401 and 403 for signatures in the name of a server that has followers, 429.
    pub(super) async fn among(self, site: &Site, request: &HttpRequest, to: &[Iri]) -> Result<Among, Problem> {
        let reader = match self {
            Self::Anybody => Self::looked_at(site, request, to).await?,
            reader => reader,
        };
        let Self::Signer(actor) = reader else { return Ok(Among::default()) };
        let addressed = to.contains(&actor);
        Ok(Among { followers: follows(site, &actor).await?, addressed })
    }

    /// A stranger cannot have this node fetch a key, and learns by no signature what there is.
    async fn looked_at(site: &Site, request: &HttpRequest, to: &[Iri]) -> Result<Self, Problem> {
        if !is_signed(request) {
            return Ok(Self::Anybody);
        }
        let signed = Signed::new(site, request, Bytes::new(), &[]);
        let claims = signed.claims()?;
        if follow_from(site, &claims).await? {
            return Self::signed(site, &signed).await;
        }
        let is_for_somebody_there = |claim: &Claim| to.iter().any(|actor| actor.same_authority(&claim.key_id));
        if !claims.iter().all(is_for_somebody_there) {
            return Ok(Self::Anybody);
        }
        let reader = Self::signed(site, &signed).await;
        if reader.as_ref().is_err_and(|problem| problem.unproved) {
            guard::count(site, client(site, request), request);
        }
        // What is refused here is refused as to all others.
        Ok(reader.unwrap_or(Self::Anybody))
    }

    async fn signed(site: &Site, signed: &Signed<'_>) -> Result<Self, Problem> {
        let verified = signed.check().await.map_err(|refusal| refused(site, refusal))?;
        let _place = admit(site, &verified)?;
        Ok(Self::Signer(verified.actor().clone()))
    }
}

/// What a reader is for this node.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Among {
    pub(super) followers: bool,
    /// What was asked for is addressed to it.
    pub(super) addressed: bool,
}

async fn follows(site: &Site, actor: &Iri) -> Result<bool, ReadError> {
    let key = layout::index_prefix(Index::FollowersByActor, &parts([actor.as_str()]));
    let rows = site.runtime.engine.range(Span::prefix(&key, 1)).await?;
    let listed = rows.first().and_then(|row| record::decode::<Listed>(&row.value).ok());
    Ok(listed.is_some_and(|listed| listed.status == Status::Accepted))
}

/// Whether somebody follows this node, or has asked to, from everywhere that is claimed.
async fn follow_from(site: &Site, claims: &[Claim]) -> Result<bool, ReadError> {
    for claim in claims {
        let Target { scheme, authority, .. } = Target::of(&claim.key_id);
        // The beginning of a text in a key: what ends it stands behind the rest.
        let there = Key::build().raw(format!("{scheme}://{authority}/").as_bytes()).done();
        let there = Span::prefix(&layout::index_prefix(Index::FollowersByActor, &there), 1);
        if site.runtime.engine.range(there).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
