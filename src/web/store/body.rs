//! The body of a write: as it is, and as whoever sent it hashed it.

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::Bytes;

use super::super::http::read_body;
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

/// Refuses a body that is packed in some way: it would be kept and given out again as if it were not.
///
/// # Errors
/// 415 with a `Content-Encoding` other than `identity`.
pub(super) fn as_it_is(request: &HttpRequest) -> Result<(), Problem> {
    let Some(encoding) = joined(request, header::CONTENT_ENCODING.as_str()) else { return Ok(()) };
    if encoding.split(',').all(|coding| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity")) {
        return Ok(());
    }
    let detail = format!(
        "Content-Encoding is {encoding:?}, and nothing is unpacked here; send the content itself, without this header"
    );
    Err(Problem::new(415, "unsupported media type", detail))
}

/// A header that may stand in several lines.
fn joined(request: &HttpRequest, name: &str) -> Option<String> {
    let values: Vec<&str> =
        request.headers().get_all(name).map(|value| value.to_str().unwrap_or("malformed")).collect();
    (!values.is_empty()).then(|| values.join(", "))
}
