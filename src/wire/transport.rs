//! The port through which everything leaves this node: one request as data, one response as data.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::address::AddressRefused;
use super::message::{RequestView, Target};
use crate::domains::identity::Iri;
use crate::domains::trace::{self, Context};

/// What a request may take: bytes of the response body, and time for all of it, from the name look-up to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bytes_max: usize,
    pub deadline: Duration,
}

/// A request to another server. Header names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: &'static str,
    pub url: Iri,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub limits: Limits,
}

/// What came back, whatever the status; redirects are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case; values that are no visible ASCII are left out.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    #[error("the name {host} could not be resolved")]
    Unresolved {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{url} did not answer in full within {} ms", .deadline.as_millis())]
    TimedOut { url: Iri, deadline: Duration },
    #[error("the answer of {url} is longer than {bytes_max} bytes")]
    TooLarge { url: Iri, bytes_max: usize },
    #[error("the request to {url} cannot be made: {header} is no valid header")]
    BadHeader { url: Iri, header: String },
    #[error("no connection to {url}, or it broke: {why}")]
    Broken { url: Iri, why: String },
}

/// Sends requests. An implementation checks every address that it connects to, follows no redirects, uncompresses
/// nothing, and keeps to the limits.
pub trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>>;
}

impl Request {
    pub fn get(url: Iri, accept: &str, limits: Limits) -> Self {
        let headers = vec![("accept".to_owned(), accept.to_owned())];
        Self { method: "GET", url, headers, body: Bytes::new(), limits }
    }

    pub fn post(url: Iri, content_type: &str, body: impl Into<Bytes>, limits: Limits) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { method: "POST", url, headers, body: body.into(), limits }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Says which trace it is a part of, unless it says so already. No signature covers that: proxies on the way may
    /// have spans of their own.
    pub fn traced(self, trace: Option<Context>) -> Self {
        let said = self.headers.iter().any(|(name, _)| name == trace::PARENT);
        let Some(trace) = trace.filter(|_| !said) else { return self };
        let state = trace.state().map(str::to_owned);
        let request = self.header(trace::PARENT, trace.parent());
        state.into_iter().fold(request, |request, state| request.header(trace::STATE, state))
    }

    /// The request as its signature sees it.
    pub fn view(&self) -> RequestView<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        RequestView { method: self.method, target: Target::of(&self.url), headers }
    }
}

impl Response {
    /// The first value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl TransportError {
    /// Whether the same request may fare better later. What the address check refuses and what cannot be written as a
    /// request stays so until somebody changes a setting.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::BadHeader { .. })
    }
}
