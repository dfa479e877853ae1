//! Signed requests that post no activity: what they claim, and who made them.

use actix_web::HttpRequest;
use actix_web::http::header;
use bytes::Bytes;

use super::client::client;
use super::site::Site;
use crate::clock::Time;
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
        self.site.strangers.prove(self.client, &verified.authority());
        Ok(verified)
    }
}
