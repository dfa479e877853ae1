//! Who a program or person is: bearer tokens with scopes, on the public listener and on the admin one.

use actix_web::HttpRequest;
use actix_web::http::header;
use base64::Engine as _;

use super::site::Site;
use crate::actors::once::Once;
use crate::tokens::{Grant, Scope};
use crate::wire::error::Problem;

/// An idempotency key is somebody's text and becomes a part of a row's key.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Somebody with a valid token.
#[derive(Debug, Clone)]
pub struct Caller {
    pub grant: Grant,
}

/// The caller, if the request has a token that lets it do this.
///
/// # Errors
/// 401 without a valid token, 403 with one that lacks the scope.
pub fn require(site: &Site, request: &HttpRequest, scope: Scope) -> Result<Caller, Problem> {
    let caller = caller(site, request)?.ok_or_else(|| {
        Problem::unauthorized(format!(
            "send Authorization: Bearer TOKEN with the scope {scope}; `quickbeam token add` makes one"
        ))
    })?;
    allowed(caller, scope)
}

/// Whoever has this token, if it lets them do this: for forms, which carry it as a field.
///
/// # Errors
/// 401 for a token that is not valid, 403 for one that lacks the scope.
pub fn granted(site: &Site, token: &str, scope: Scope) -> Result<Caller, Problem> {
    let wrong = || Problem::unauthorized("the token is not valid: unknown, revoked or expired");
    let grant = site.tokens.verify(token.trim(), site.clock.now()).ok_or_else(wrong)?;
    allowed(Caller { grant }, scope)
}

fn allowed(caller: Caller, scope: Scope) -> Result<Caller, Problem> {
    if caller.grant.allows(scope) {
        return Ok(caller);
    }
    Err(Problem::forbidden(format!(
        "the token `{}` does not have the scope {scope}; use one that has",
        caller.grant.name
    )))
}

/// The caller, if the request has a token at all.
///
/// # Errors
/// 401 for a token that is not valid: it is never taken for none.
pub fn caller(site: &Site, request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
    let wrong = || Problem::unauthorized("the token is not valid: unknown, revoked or expired");
    let token = token(request, value.to_str().unwrap_or_default()).ok_or_else(wrong)?;
    let grant = site.tokens.verify(&token, site.clock.now()).ok_or_else(wrong)?;
    Ok(Some(Caller { grant }))
}

/// A bearer token; or, for looking with a browser, a token as the password of Basic. A browser sends that by itself, so
/// that it counts only for requests that change nothing.
fn token(request: &HttpRequest, value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") || !request.method().is_safe() {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// What makes the request safe to repeat, if it has an `Idempotency-Key`.
///
/// # Errors
/// 400 for a key that cannot be one.
pub fn once(request: &HttpRequest, caller: &Caller, body: &[u8]) -> Result<Option<Once>, Problem> {
    once_of(request, &caller.grant.name, body)
}

/// The same for whoever has this name, which nobody else can have.
///
/// # Errors
/// 400 for a key that cannot be one.
pub fn once_of(request: &HttpRequest, name: &str, body: &[u8]) -> Result<Option<Once>, Problem> {
    let Some(key) = idempotency_key(request)? else { return Ok(None) };
    let route = format!("{} {}", request.method(), request.uri());
    let scope = format!("{name}\u{1f}{}", request.path());
    Ok(Some(Once::new(&scope, &key, &[route.as_bytes(), b"\n", body].concat())))
}

/// The `Idempotency-Key`, if there is one.
///
/// # Errors
/// 400 for a key that cannot be one.
pub fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request("Idempotency-Key stands twice: send one"));
    }
    let key = value.to_str().unwrap_or_default().trim().trim_matches('"');
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX {
        let detail = format!("Idempotency-Key has to be 1 to {IDEMPOTENCY_KEY_MAX} visible characters");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(key.to_owned()))
}

/// As [`once`], for routes where the key is required.
///
/// # Errors
/// 400 without one.
pub fn once_required(request: &HttpRequest, caller: &Caller, body: &[u8]) -> Result<Once, Problem> {
    once(request, caller, body)?.ok_or_else(no_key)
}

/// A request without the key that it has to have.
pub fn no_key() -> Problem {
    Problem::bad_request("Idempotency-Key is missing: send a new one for each new request, and the same for a repeat")
}
