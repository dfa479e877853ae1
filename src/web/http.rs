//! Around every request: limits, an id, whom it is for, and problems written out.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{Error, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde_json::Value;
use tracing::field::display;
use tracing::{Instrument as _, Span, error, info_span};

use super::guard;
use super::negotiate::is_looked_at;
use super::pages::problem;
use super::routes::is_care;
use super::site::Site;
use super::stream::Work;
use crate::actors::ambient;
use crate::domains::json::parse_json;
use crate::domains::trace::{self, Context};
use crate::wire::challenge;
use crate::wire::error::{Problem, SIGNATURE};
use crate::wire::message::names_authority;
use crate::wire::refusal::Refusal;
use crate::wire::strangers::Client;

/// Behind this stands what nobody else may know.
const CALLBACKS: &str = "/flow/callback/";

/// Which listener a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Public,
    Admin,
}

/// Reads a body up to its limits.
///
/// # Errors
/// 413 when it is too large, 408 when it does not come in time, 400 when it breaks off.
pub async fn read_body(site: &Site, payload: Payload) -> Result<Bytes, Problem> {
    let limit = site.limits.body_bytes;
    let read = Box::pin(collect(payload, limit));
    match select(read, site.clock.sleep(site.limits.body_time)).await {
        Either::Left((body, _)) => body,
        Either::Right(_) => {
            Err(Problem::new(408, "too slow", format!("the body did not come within {:?}", site.limits.body_time)))
        }
    }
}

async fn collect(mut payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|error| Problem::bad_request(format!("the body broke off: {error}; send it again")))?;
        if body.len() + chunk.len() > limit {
            return Err(Problem::too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Refuses a body that is packed in some way: it would be kept and given out again as if it were not.
///
/// # Errors
/// 415 with a `Content-Encoding` other than `identity`.
pub fn as_it_is(request: &HttpRequest) -> Result<(), Problem> {
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
pub(super) fn joined(request: &HttpRequest, name: &str) -> Option<String> {
    let values: Vec<&str> =
        request.headers().get_all(name).map(|value| value.to_str().unwrap_or("malformed")).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A body as JSON that has one meaning and bounded depth.
///
/// # Errors
/// 400 when it has not.
pub fn json_of(site: &Site, body: &[u8]) -> Result<Value, Problem> {
    parse_json(body, site.limits.json_depth)
        .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))
}

/// A request of a peer that is not believed, and when it should come again if its key could not be had.
pub fn refused(site: &Site, refusal: Refusal) -> Problem {
    tracing::debug!(%refusal, "a request of a peer was refused");
    let retry_after = match &refusal {
        Refusal::KeyUnavailable(error) => error.document().map(|document| site.keys.retry_after(document)),
        _ => None,
    };
    Problem { retry_after, ..refusal.into() }
}

/// The layer around all routes of a listener.
pub fn around<S, B>(
    request: ServiceRequest,
    service: &S,
    listener: Listener,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<B>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody,
{
    let site = request.app_data::<Data<Site>>().expect("every app has its site").clone();
    let id = site.request_id();
    let (span, trace) = traced(&site, &request, &id);
    let working = request.conn_data::<Work>().map(Work::begin);
    let admitted = admit(&site, &request, listener).and_then(|()| admit_held(&site, &request));
    let admitted = admitted.and_then(|()| guard::admit(&site, request.request()));
    let called = match admitted {
        Ok(client) => Ok((service.call(request), client)),
        Err(problem) => Err(request.into_response(problem.respond(id.clone()))),
    };
    let answered = async move {
        let _working = working;
        let response = match called {
            Ok((call, client)) => written_out(&site, call.await?, &id, client, listener),
            Err(refused) => refused.map_into_right_body(),
        };
        Ok(with_id(response, &id))
    };
    ambient::within(Some(trace), answered.instrument(span))
}

/// The span of a request: a part of the trace that its sender names, or the first of a new one.
fn traced(site: &Site, request: &ServiceRequest, id: &str) -> (Span, Context) {
    let values = |name| request.headers().get_all(name).map(|value| value.to_str().unwrap_or("malformed"));
    let given = Context::incoming(values(trace::PARENT), values(trace::STATE));
    let parent_id = given.as_ref().map(|given| display(given.span));
    let trace = match &given {
        Some(given) => given.child(id),
        None => Context::begin(site.clock.random()),
    };
    let (trace_id, span_id, method) = (trace.trace, trace.span, request.method());
    // Whoever knows the address of a callback can answer in the place of the service.
    let path = request.path();
    let path = if path.starts_with(CALLBACKS) { CALLBACKS } else { path };
    let span = info_span!("request", request_id = id, %trace_id, %span_id, parent_id, %method, path);
    (span, trace)
}

/// The response, or the problem that travels with it.
fn written_out<B: MessageBody>(
    site: &Site,
    response: ServiceResponse<B>,
    id: &str,
    client: Option<Client>,
    listener: Listener,
) -> ServiceResponse<EitherBody<B>> {
    let problem = response.response().extensions().get::<Problem>().cloned();
    let Some(problem) = problem else { return response.map_into_left_body() };
    if let Some(client) = client.filter(|_| problem.unproved) {
        guard::count(site, client, response.request());
    }
    if problem.status >= 500 && problem.status != 503 {
        error!(request_id = id, status = problem.status, detail = problem.detail, "a request failed");
    }
    let (request, _) = response.into_parts();
    let asks_for_signature = problem.challenge == Some(SIGNATURE);
    let mut refused = problem.clone().respond(id.to_owned());
    if asks_for_signature {
        let (with_body, with_key) = (!request.method().is_safe(), request.headers().contains_key("idempotency-key"));
        if let Ok(value) = header::HeaderValue::from_str(&challenge::wanted(with_body, with_key)) {
            refused.headers_mut().insert(header::HeaderName::from_static("accept-signature"), value);
        }
    }
    if listener == Listener::Public {
        refused.headers_mut().insert(header::VARY, header::HeaderValue::from_static("Accept"));
        if is_looked_at(&request) {
            refused = problem::page(site, &problem, id, refused);
        }
    }
    ServiceResponse::new(request, refused).map_into_right_body()
}

fn with_id<B>(mut response: ServiceResponse<B>, id: &str) -> ServiceResponse<B> {
    let headers = response.headers_mut();
    if let Ok(value) = header::HeaderValue::from_str(id) {
        headers.insert(header::HeaderName::from_static("x-request-id"), value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

fn admit(site: &Site, request: &ServiceRequest, listener: Listener) -> Result<(), Problem> {
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > site.limits.header_bytes || headers.len() > site.limits.headers {
        let (bytes, count) = (site.limits.header_bytes, site.limits.headers);
        let detail = format!("more than {count} headers or {bytes} bytes of them; send fewer");
        return Err(Problem::new(431, "headers too large", detail));
    }
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| text(header::HOST))
        .unwrap_or_default();
    match listener {
        Listener::Public if names_authority(host, &site.root) || asks_for_health(request) => Ok(()),
        Listener::Public => {
            let own = site.root.authority();
            let detail = format!("this node is {own}, not {host:?}; send Host: {own}");
            Err(Problem::new(421, "misdirected", detail))
        }
        Listener::Admin => admit_admin(
            site,
            host,
            text(header::ORIGIN),
            headers.get("sec-fetch-site").and_then(|value| value.to_str().ok()),
        ),
    }
}

/// A held node serves reads.
fn admit_held(site: &Site, request: &ServiceRequest) -> Result<(), Problem> {
    let changes = !request.method().is_safe() && !is_care(request.path());
    if changes && site.runtime.is_held() { Err(Problem::held()) } else { Ok(()) }
}

/// Whoever watches over processes knows this one by its address only.
fn asks_for_health(request: &ServiceRequest) -> bool {
    matches!(request.path(), "/health" | "/ready")
}

/// A page of somebody else must not reach the administration through a browser on this machine.
fn admit_admin(site: &Site, host: &str, origin: Option<&str>, fetch_site: Option<&str>) -> Result<(), Problem> {
    if !site.admin_hosts.contains(host) {
        let detail = format!("the administration does not answer to the host {host:?}; list it under [admin] hosts");
        return Err(Problem::new(421, "misdirected", detail));
    }
    let same = |origin: &str| origin.strip_prefix("http://").is_some_and(|origin| origin == host);
    if origin.is_some_and(|origin| !same(origin))
        || fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
    {
        return Err(Problem::forbidden("the administration takes no requests of other pages"));
    }
    Ok(())
}

/// How long a client may hold a connection without a request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
