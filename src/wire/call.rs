//! Requests that steps of flows make to any service: their own list of what may be reached, secrets filled in last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::transport::{Limits, Request, Transport, TransportError};
use crate::actors::errands::Report;
use crate::actors::flow::Place;
use crate::config::secret::Secret;
use crate::domains::effects::{self, HeaderValue};
use crate::domains::identity::Iri;

/// For one request, unless its step says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of an answer that become a step's result: what is longer is refused before it is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// All that is needed to call services.
#[derive(Clone)]
pub struct Caller {
    /// With the address policy of `[http]`.
    pub transport: Arc<dyn Transport>,
    /// `[secrets.NAME]` by name.
    pub secrets: Arc<BTreeMap<String, Secret>>,
}

impl Caller {
    /// Sends a request of a step once, under the key of the step's effect.
    pub async fn call(&self, request: effects::Request, place: &Place) -> Report {
        let built = match self.build(&request, place) {
            Ok(built) => built,
            Err(reason) => return Report::Impossible { reason },
        };
        match self.transport.send(built).await {
            Ok(response) => Report::Replied { status: response.status, body: body_of(&response.body) },
            Err(error @ TransportError::TimedOut { .. }) => Report::TimedOut { reason: error.to_string() },
            // Once more would bring the same.
            Err(error @ TransportError::TooLarge { .. }) => Report::Unusable { reason: error.to_string() },
            Err(error) if error.is_passing() => Report::Unreachable { reason: error.to_string() },
            Err(error) => Report::Impossible { reason: error.to_string() },
        }
    }

    fn build(&self, request: &effects::Request, place: &Place) -> Result<Request, String> {
        let url = Iri::parse(&request.url).map_err(|error| error.to_string())?;
        let method = crate::domains::flow::request::METHODS.into_iter().find(|method| *method == request.method);
        let method = method.ok_or_else(|| format!("`{}` is no method that a step can use", request.method))?;
        let deadline = request.timeout.map_or(DEADLINE, Duration::from_millis);
        let limits = Limits { bytes_max: ANSWER_BYTES_MAX, deadline };
        let (body, content_type) = match &request.body {
            None => (Vec::new(), None),
            Some(Value::String(text)) => (text.clone().into_bytes(), Some("text/plain; charset=utf-8")),
            Some(value) => (value.to_string().into_bytes(), Some("application/json")),
        };
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            headers.push((name.clone(), self.value(value)?));
        }
        if let Some(content_type) = content_type.filter(|_| !request.headers.contains_key("content-type")) {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        headers.push(("idempotency-key".to_owned(), format!("\"{}\"", place.key)));
        Ok(Request { method, url, headers, body: body.into(), limits })
    }

    fn value(&self, value: &HeaderValue) -> Result<String, String> {
        match value {
            HeaderValue::Text(text) => Ok(text.clone()),
            HeaderValue::Secret { secret, prefix } => {
                let known = self.secrets.get(secret);
                let known = known.ok_or_else(|| format!("there is no secret `{secret}`: add [secrets.{secret}]"))?;
                let text = std::str::from_utf8(known.expose());
                let text =
                    text.map_err(|_| format!("the secret `{secret}` is no text, so that no header can hold it"))?;
                Ok(format!("{prefix}{text}"))
            }
        }
    }
}

/// JSON as it is, everything else as text.
fn body_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
