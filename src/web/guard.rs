//! Before anybody is believed: whoever is at an address from which too much came that was not is not listened to.

use actix_web::HttpRequest;
use tracing::warn;

use super::client::client;
use super::signed::{claimed, is_signed};
use super::site::Site;
use crate::domains::identity::Authority;
use crate::wire::error::Problem;
use crate::wire::strangers::{Client, Refused};

/// Lets a request in that wants to be believed for its signature, before anything of its body is read or a key fetched.
/// None for all others: nothing of theirs can turn out to be false.
///
/// # Errors
/// 429.
pub(super) fn admit(site: &Site, request: &HttpRequest) -> Result<Option<Client>, Problem> {
    if request.path() != "/inbox" && !is_signed(request) {
        return Ok(None);
    }
    let client = client(site, request);
    site.strangers.admit(client, || names(site, request)).map_err(too_many)?;
    Ok(Some(client))
}

fn too_many(refused: Refused) -> Problem {
    let client = refused.client;
    if refused.first {
        warn!(%client, "not listened to for a while: too much that came from there was not believed. If it is a proxy of \
            yours, list it under [public] trusted_proxies, so that those behind it are told apart");
    }
    let detail =
        format!("too many requests from {client} could not be believed; slow down, and check how they are signed");
    Problem { retry_after: Some(refused.wait), ..Problem::new(429, "too many requests", detail) }
}

/// Notes a request that was not believed.
pub(super) fn count(site: &Site, client: Client, request: &HttpRequest) {
    site.strangers.fail(client, &names(site, request));
}

fn names(site: &Site, request: &HttpRequest) -> Vec<Authority> {
    claimed(site, request).iter().map(|claim| claim.key_id.authority()).collect()
}
