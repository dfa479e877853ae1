//! Signed requests that post no activity: what they claim, who made them, and which of them show what is for followers.

use actix_web::HttpRequest;
use actix_web::http::header;
use bytes::Bytes;

use super::client::client;
use super::http::refused;
use super::site::Site;
use crate::actors::follower::{Listed, Status};
use crate::actors::rows::{Index, parts};
use crate::actors::{layout, record};
use crate::clock::Time;
use crate::domains::identity::Iri;
use crate::store::{Key, ReadError, Span};
use crate::wire::claim::{Claim, claims};
use crate::wire::error::Problem;
use crate::wire::message::{RequestView, Target};
use crate::wire::rate::Place;
use crate::wire::refusal::Refusal;
use crate::wire::signature::Demand;
use crate::wire::strangers::Client;
use crate::wire::verify::{Verified, VerifyLimits, verify_sender};

/// A request with a signature that is not checked yet.
pub(super) struct Signed<'a> {
    site: &'a Site,
    client: Client,
    view: RequestView<'a>,
    body: Bytes,
    /// What has to be covered beside what always has.
    fields: &'a [&'a str],
    now: Time,
}

/// A token counts before a signature that a proxy may have added.
pub(super) fn is_signed(request: &HttpRequest) -> bool {
    let headers = request.headers();
    !headers.contains_key(header::AUTHORIZATION)
        && (headers.contains_key("signature-input") || headers.contains_key("signature"))
}

/// By whom a request says that it is signed; nobody when that cannot be read.
pub(super) fn claimed(site: &Site, request: &HttpRequest) -> Vec<Claim> {
    Signed::new(site, request, Bytes::new(), &[]).claims().unwrap_or_default()
}

/// Whether an accepted follower signed this request. Ask also where there is nothing to see: the answer to a signature
/// must not tell whether there is.
///
/// # Errors
/// 401 and 403 as [`Refusal`] says for signatures in the name of a server that has followers, 429.
pub(super) async fn is_by_follower(site: &Site, request: &HttpRequest) -> Result<bool, Problem> {
    if !is_signed(request) {
        return Ok(false);
    }
    let signed = Signed::new(site, request, Bytes::new(), &[]);
    for claim in signed.claims()? {
        // A stranger cannot have this node fetch a key.
        if !follows_from(site, &claim.key_id).await? {
            return Ok(false);
        }
    }
    let verified = signed.check().await.map_err(|refusal| refused(site, refusal))?;
    let _place = admit(site, &verified)?;
    let key = layout::index_prefix(Index::FollowersByActor, &parts([verified.actor().as_str()]));
    let rows = site.runtime.engine.range(Span::prefix(&key, 1)).await?;
    let listed = rows.first().and_then(|row| record::decode::<Listed>(&row.value).ok());
    Ok(listed.is_some_and(|listed| listed.status == Status::Accepted))
}

/// Whether anybody there follows this node or has asked to.
async fn follows_from(site: &Site, id: &Iri) -> Result<bool, ReadError> {
    let Target { scheme, authority, .. } = Target::of(id);
    // The beginning of a text in a key: what ends it stands behind the rest.
    let there = Key::build().raw(format!("{scheme}://{authority}/").as_bytes()).done();
    let rows =
        site.runtime.engine.range(Span::prefix(&layout::index_prefix(Index::FollowersByActor, &there), 1)).await?;
    Ok(!rows.is_empty())
}

/// Lets a request of somebody in, who then counts for what a peer may ask for.
///
/// # Errors
/// 429.
pub(super) fn admit(site: &Site, verified: &Verified<()>) -> Result<Place, Problem> {
    let authority = verified.authority();
    site.rates.take(&authority).map_err(|wait| Problem {
        retry_after: Some(wait),
        ..Problem::new(429, "too many requests", format!("{authority} asks faster than this node takes; slow down"))
    })
}

impl<'a> Signed<'a> {
    pub(super) fn new(site: &'a Site, request: &'a HttpRequest, body: Bytes, fields: &'a [&'a str]) -> Self {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let view = RequestView { method: request.method().as_str(), target: Target::at(&site.root, path), headers };
        Self { site, client: client(site, request), view, body, fields, now: site.clock.now() }
    }

    /// Who may have signed it, for those who refuse some before anything is fetched or computed.
    pub(super) fn claims(&self) -> Result<Vec<Claim>, Problem> {
        let window = self.site.limits.clock_window;
        let demand = Demand { body: !self.body.is_empty(), fields: self.fields, window };
        claims(&self.view, demand, self.now).map_err(|error| Problem::from(Refusal::from(error)))
    }

    pub(super) async fn check(&self) -> Result<Verified<()>, Refusal> {
        let limits = VerifyLimits {
            clock_window: self.site.limits.clock_window,
            body_bytes_max: self.site.limits.body_bytes,
            json_depth_max: self.site.limits.json_depth,
        };
        let (body, keys) = (self.body.clone(), &self.site.keys);
        let verified = verify_sender(&self.view, body, self.fields, keys, self.now, limits).await?;
        self.site.strangers.prove(self.client, verified.authority());
        Ok(verified)
    }
}
