//! Nodes that run flows for each other: what each says it can do, and the signed requests between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::deliver::Deliverer;
use super::transport::{Limits, Request, Transport, TransportError};
use crate::actors::errands::Report;
use crate::clock::{SharedClock, Time};
use crate::domains::flow::kinds::PROTOCOL;
use crate::domains::identity::Iri;

/// Bytes of what a runner says of itself, or answers.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long it is believed what a runner said it can do.
const BELIEVED: Duration = Duration::from_secs(30);
/// Kinds of step that one may name; more is no list of them.
const KINDS_MAX: usize = 64;

/// What a runner says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Able {
    pub protocol: String,
    pub kinds: BTreeSet<String>,
}

/// Why nothing is known of what a runner can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("{0}")]
    Away(String),
    #[error("it answered {status} to GET /flow/runner")]
    Status { status: u16 },
    #[error("what it answers to GET /flow/runner is not what a runner says: it may be no node, or a newer one")]
    Unreadable,
    #[error("it speaks {0:?}, this node speaks {PROTOCOL}: update the older of the two")]
    Protocol(String),
    #[error("{0}")]
    Never(String),
}

/// What runners said of themselves lately.
pub struct RunnerBook {
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    deadline: Duration,
    known: Mutex<BTreeMap<String, (Time, Able)>>,
}

impl RunnerBook {
    pub fn new(transport: Arc<dyn Transport>, clock: SharedClock, deadline: Duration) -> Self {
        Self { transport, clock, deadline, known: Mutex::default() }
    }

    /// Asks a runner what it can do.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn ask(&self, base: &str) -> Result<Able, Unknown> {
        let url = Iri::parse(&format!("{base}/flow/runner")).map_err(|error| Unknown::Never(error.to_string()))?;
        let limits = Limits { bytes_max: ANSWER_BYTES_MAX, deadline: self.deadline };
        let answer = self.transport.send(Request::get(url, "application/json", limits)).await;
        let answer = answer.map_err(|error| match error.is_passing() {
            true => Unknown::Away(error.to_string()),
            false => Unknown::Never(error.to_string()),
        })?;
        if !answer.is_success() {
            return Err(Unknown::Status { status: answer.status });
        }
        let able: Able = serde_json::from_slice(&answer.body).map_err(|_| Unknown::Unreadable)?;
        if able.protocol != PROTOCOL {
            return Err(Unknown::Protocol(able.protocol.chars().take(100).collect()));
        }
        if able.kinds.len() > KINDS_MAX {
            return Err(Unknown::Unreadable);
        }
        self.known.lock().insert(base.to_owned(), (self.clock.now(), able.clone()));
        Ok(able)
    }

    /// What keeps a runner from running a flow with these kinds of step, as if it had said so itself.
    async fn unfit(&self, base: &str, needs: &[String]) -> Option<Report> {
        let now = self.clock.now();
        let lately =
            self.known.lock().get(base).filter(|(at, _)| now.since(*at) < BELIEVED).map(|(_, able)| able.clone());
        let fits = |able: &Able| needs.iter().all(|kind| able.kinds.contains(kind));
        if lately.as_ref().is_some_and(fits) {
            return None;
        }
        let no = |why: String| Some(Report::Replied { status: 422, body: json!({ "detail": why }) });
        match self.ask(base).await {
            Ok(able) if fits(&able) => None,
            Ok(able) => {
                let missing: Vec<&str> =
                    needs.iter().filter(|it| !able.kinds.contains(*it)).map(String::as_str).collect();
                no(format!("it does not do {}", missing.join(", ")))
            }
            Err(Unknown::Away(reason)) => Some(Report::Unreachable { reason }),
            Err(Unknown::Status { status }) if status >= 500 || status == 429 => {
                Some(Report::Unreachable { reason: Unknown::Status { status }.to_string() })
            }
            Err(Unknown::Never(reason)) => Some(Report::Impossible { reason }),
            Err(other) => no(other.to_string()),
        }
    }
}

impl Deliverer {
    /// Posts JSON to another node, signed, under a key.
    pub(super) async fn post_signed(&self, url: &str, key: &str, body: &Value, needs: &[String]) -> Report {
        let url = match Iri::parse(url) {
            Ok(url) => url,
            Err(error) => return Report::Impossible { reason: error.to_string() },
        };
        if !needs.is_empty() {
            let base = url.as_str().split("/flow/").next().unwrap_or_default();
            if let Some(unfit) = self.runners.unfit(base, needs).await {
                return unfit;
            }
        }
        let limits = Limits { bytes_max: ANSWER_BYTES_MAX, deadline: self.deadline };
        let authority = url.authority();
        let request = Request::post(url, "application/json", body.to_string(), limits);
        let request = request.header("idempotency-key", format!("\"{key}\""));
        let signed = match self.signers.signer(&authority).sign(request, self.clock.now()) {
            Ok(signed) => signed,
            Err(error) => return Report::Impossible { reason: format!("the request cannot be signed: {error}") },
        };
        match self.transport.send(signed).await {
            Ok(answer) => {
                let text = || Value::from(String::from_utf8_lossy(&answer.body).into_owned());
                let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| text());
                Report::Replied { status: answer.status, body }
            }
            Err(TransportError::TooLarge { .. }) => Report::Unreachable { reason: "its answer is too long".to_owned() },
            Err(error) if error.is_passing() => Report::Unreachable { reason: error.to_string() },
            Err(error) => Report::Impossible { reason: error.to_string() },
        }
    }
}
