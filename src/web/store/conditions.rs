//! `If-Match` and `If-None-Match` of requests that write: what they rely on.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

use crate::wire::error::Problem;

/// What a write relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Any,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "TAG"`
    Tag(String),
}

/// Reads the two headers.
///
/// # Errors
/// 400 when they say something that no write can rely on.
pub fn wanted(request: &HttpRequest) -> Result<Wanted, Problem> {
    match (one(request, header::IF_MATCH)?, one(request, header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Wanted::Any),
        (None, Some("*")) => Ok(Wanted::Absent),
        (Some(tag), None) => read_tag(tag).map(|tag| Wanted::Tag(tag.to_owned())),
        (None, Some(_)) => Err(Problem::bad_request("If-None-Match of a write has to be *: only if there is none yet")),
        (Some(_), Some(_)) => Err(Problem::bad_request("send If-Match or If-None-Match, not both")),
    }
}

fn one(request: &HttpRequest, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = request.headers().get_all(&name);
    let value = values.next().map(|value| value.to_str().unwrap_or_default().trim());
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("{name} stands twice: send one")));
    }
    Ok(value)
}

/// One entity tag; the quotes may be missing, as people write it.
fn read_tag(value: &str) -> Result<&str, Problem> {
    let tag = value.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(value);
    let fits = |letter: char| letter.is_ascii_alphanumeric();
    if tag.is_empty() || !tag.chars().all(fits) {
        let detail = format!("If-Match is {value:?}; send the one ETag that you rely on, as in If-Match: \"7\"");
        return Err(Problem::bad_request(detail));
    }
    Ok(tag)
}

/// The number in a tag.
///
/// # Errors
/// 400 for a tag that is none.
pub fn number(tag: &str) -> Result<u64, Problem> {
    tag.parse().map_err(|_| {
        Problem::bad_request(format!("If-Match is {tag:?}, which is no ETag of this address; send a number as \"7\""))
    })
}
