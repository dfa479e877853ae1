//! The body of a write: as it is, and as whoever sent it hashed it.

use actix_web::HttpRequest;
use actix_web::web::Payload;
use bytes::Bytes;

use super::super::http::{as_it_is, joined, read_body};
use crate::web::site::Site;
use crate::wire::digest::{self, sha256};
use crate::wire::error::Problem;

/// Reads a body up to its limits, and checks it against a `Content-Digest` that came with it (RFC 9530).
///
/// # Errors
/// As [`read_body`], 400 for another digest, and as [`as_it_is`].
pub(super) async fn whole(site: &Site, request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    as_it_is(request)?;
    let body = read_body(site, payload).await?;
    if let Some(promised) = joined(request, "content-digest") {
        digest::check(Some(&promised), &body, &sha256(&body))
            .map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    Ok(body)
}
