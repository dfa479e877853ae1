//! The transport over real sockets: every address is checked before and after connecting, and nothing is followed.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Either, select};
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, redirect, retry};

use super::address::{AddressPolicy, AddressRefused};
use super::kept::Kept;
use super::transport::{Request, Response, Transport, TransportError};
use crate::actors::ambient;
use crate::clock::SharedClock;
use crate::domains::identity::{Authority, Iri};

/// Idle connections to one place. As many as steps of flows call one service at a time in a burst: each further call would
/// begin with a connection of its own.
const IDLE_PER_PLACE_MAX: usize = 256;
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections to all places together.
const IDLE_MAX: usize = 512;
/// Header lines of a response; more is no answer to anything we ask.
const HEADERS_MAX: usize = 100;

/// An HTTP/1.1 client that connects only where the policy lets it.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    policy: Arc<AddressPolicy>,
    clock: SharedClock,
    kept: Arc<Kept>,
}

/// Why there is no client at all.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: check the system's certificates")]
pub struct ClientError(#[source] reqwest::Error);

/// Where the request of this task is going. The resolver is told a name only; the policy wants the port as well.
#[derive(Debug, Clone)]
struct Destination {
    authority: Authority,
    host: String,
    port: u16,
}

tokio::task_local! {
    static DESTINATION: Destination;
}

/// What finds the addresses of a host.
type Lookup = fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// Resolves names to the addresses that the policy lets this request connect to.
struct Resolver {
    policy: Arc<AddressPolicy>,
    lookup: Lookup,
}

/// Why a name gives no address; found again in the chain of the client's error.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("refused")]
    Refused(#[source] AddressRefused),
    #[error("not resolved")]
    Failed(#[source] io::Error),
    #[error("the resolver was not told where the request goes")]
    NoDestination,
}

impl HttpTransport {
    /// `base` is named in `User-Agent`, so that whoever we call can see who we are.
    pub fn new(policy: AddressPolicy, clock: SharedClock, base: &Iri) -> Result<Self, ClientError> {
        Self::resolving(policy, clock, base, system_lookup)
    }

    fn resolving(policy: AddressPolicy, clock: SharedClock, base: &Iri, lookup: Lookup) -> Result<Self, ClientError> {
        let policy = Arc::new(policy);
        let client = Client::builder()
            .user_agent(user_agent(base))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .http1_max_headers(HEADERS_MAX)
            .pool_max_idle_per_host(IDLE_PER_PLACE_MAX)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(Resolver { policy: policy.clone(), lookup }))
            .build()
            .map_err(ClientError)?;
        Ok(Self { client, policy, clock, kept: Arc::new(Kept::new(IDLE_MAX, IDLE)) })
    }

    async fn send_within(self, request: Request) -> Result<Response, TransportError> {
        let (url, limits) = (request.url.clone(), request.limits);
        let late = self.clock.sleep(limits.deadline);
        let work = self.send_checked(request);
        match select(pin!(work), late).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(TransportError::TimedOut { url, deadline: limits.deadline }),
        }
    }

    async fn send_checked(&self, request: Request) -> Result<Response, TransportError> {
        self.policy.check_url(&request.url)?;
        let destination = Destination::of(&request.url);
        // The resolver is not asked for hosts that are written as addresses.
        if let Some(address) = destination.authority.address() {
            self.policy.check_address(&destination.authority, SocketAddr::new(address, destination.port))?;
        }
        let url = request.url.clone();
        let authority = destination.authority.clone();
        let bytes_max = request.limits.bytes_max;
        let stays = self.kept.has_room(self.clock.monotonic());
        let sending = self.build(request)?;
        let sending = if stays { sending } else { sending.header(CONNECTION, "close") };
        let mut answer = DESTINATION.scope(destination, sending.send()).await.map_err(|error| explain(&url, error))?;
        let connected =
            answer.remote_addr().ok_or_else(|| AddressRefused::NoAddress { authority: authority.clone() })?;
        self.policy.check_address(&authority, connected)?;
        let (status, headers) = (answer.status().as_u16(), plain_headers(answer.headers()));
        let ends = answer.extensions().get::<HttpInfo>().map(|info| (info.local_addr(), info.remote_addr()));
        let body = read_body(&mut answer, &url, bytes_max).await?;
        if let Some(ends) = ends {
            self.kept.note(ends, stays, self.clock.monotonic());
        }
        Ok(Response { status, headers, body })
    }

    fn build(&self, request: Request) -> Result<reqwest::RequestBuilder, TransportError> {
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let bad = || TransportError::BadHeader { url: request.url.clone(), header: name.clone() };
            let name: HeaderName = name.parse().map_err(|_| bad())?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| TransportError::BadHeader { url: request.url.clone(), header: "method".to_owned() })?;
        Ok(self.client.request(method, request.url.to_url()).headers(headers).body(request.body))
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        Box::pin(self.clone().send_within(request.traced(ambient::trace())))
    }
}

impl Destination {
    fn of(url: &Iri) -> Self {
        let authority = url.authority();
        let default = if url.is_https() { 443 } else { 80 };
        Self { host: authority.host().to_owned(), port: authority.port().unwrap_or(default), authority }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        // Read now, in the task of the request: what goes on elsewhere has no destination and is refused.
        let destination = DESTINATION.try_with(Clone::clone).ok().filter(|to| to.host == name.as_str());
        let (policy, lookup) = (self.policy.clone(), self.lookup);
        Box::pin(async move {
            let to = destination.ok_or(LookupError::NoDestination)?;
            let found = lookup(to.host.clone(), to.port).await.map_err(LookupError::Failed)?;
            let permitted = permitted(&policy, &to.authority, found.into_iter()).map_err(LookupError::Refused)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

fn system_lookup(host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
}

fn permitted(
    policy: &AddressPolicy,
    authority: &Authority,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, AddressRefused> {
    let mut refused = AddressRefused::NoAddress { authority: authority.clone() };
    let mut permitted = Vec::new();
    for address in found {
        match policy.check_address(authority, address) {
            Ok(()) => permitted.push(address),
            Err(why) => refused = why,
        }
    }
    if permitted.is_empty() { Err(refused) } else { Ok(permitted) }
}

async fn read_body(answer: &mut reqwest::Response, url: &Iri, bytes_max: usize) -> Result<Bytes, TransportError> {
    let too_large = || TransportError::TooLarge { url: url.clone(), bytes_max };
    if answer.content_length().is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| explain(url, error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn plain_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    headers.iter().filter_map(text).collect()
}

/// The client's error is a chain; what our resolver said is somewhere in it.
fn explain(url: &Iri, error: reqwest::Error) -> TransportError {
    let mut why = String::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        match cause.downcast_ref() {
            Some(LookupError::Refused(refused)) => return refused.clone().into(),
            Some(LookupError::Failed(source)) => {
                let source = io::Error::new(source.kind(), source.to_string());
                return TransportError::Unresolved { host: url.authority().host().to_owned(), source };
            }
            Some(LookupError::NoDestination) | None => {}
        }
        why = cause.to_string();
        next = cause.source();
    }
    // The innermost cause is what a person can act on.
    let why = if why.is_empty() { error.to_string() } else { why };
    TransportError::Broken { url: url.clone(), why }
}

fn user_agent(base: &Iri) -> String {
    format!("Quickbeam/{} (+{base})", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
