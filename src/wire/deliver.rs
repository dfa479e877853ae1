//! Going out for actors: delivers signed activities to inboxes, and posts webhooks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tracing::debug;

use super::call::Caller;
use super::keys::{KeyCache, KeyError};
use super::runners::RunnerBook;
use super::signers::Signers;
use super::transport::{Limits, Request, Response, Transport, TransportError};
use crate::actors::errands::{Errand, Outside, Recipient, Report};
use crate::actors::flow::Place;
use crate::actors::layout;
use crate::actors::log::Entry;
use crate::actors::record;
use crate::actors::rows::{Index, parts};
use crate::actors::scheme::Scheme;
use crate::clock::SharedClock;
use crate::domains::identity::Iri;
use crate::store::{Engine, ReadError, Span};

/// Bytes of an answer that are read: enough for a problem that says why.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Characters of an answer that are kept.
const DETAIL_MAX: usize = 500;

/// All that is needed to go out.
#[derive(Clone)]
pub struct Deliverer {
    pub engine: Arc<dyn Engine>,
    pub transport: Arc<dyn Transport>,
    pub keys: Arc<KeyCache>,
    pub clock: SharedClock,
    pub signers: Signers,
    /// For the requests of steps, which reach what others may not, and the other way round.
    pub caller: Caller,
    /// For the requests of instances of other nodes, without any secret.
    pub lent: Caller,
    pub runners: Arc<RunnerBook>,
    /// For one request, from the look-up to the last byte.
    pub deadline: Duration,
    /// Whether public activities get a proof of their own (`[delivery]`).
    pub proofs: bool,
    /// How a peer is signed for of which nothing is known yet; by what its document shows without it.
    pub sign_with: Option<Scheme>,
}

impl Outside for Deliverer {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let deliverer = self.clone();
        Box::pin(async move {
            match errand {
                Errand::Deliver { activity, to, scheme, refusals, .. } => {
                    deliverer.deliver(&activity, to, scheme, refusals).await
                }
                Errand::Webhook { url, body, place } => deliverer.webhook(&url, &body, &place).await,
                Errand::Http { request, place } => deliverer.caller.call(request, &place).await,
                Errand::Lent { request, place } => deliverer.lent.call(request, &place).await,
                Errand::Vouch { actor, alias, .. } => deliverer.vouch(&actor, &alias).await,
                Errand::Look { actor, .. } => deliverer.look(&actor).await,
                Errand::Signed { url, key, body, needs, .. } => deliverer.post_signed(&url, &key, &body, &needs).await,
            }
        })
    }
}

impl Deliverer {
    async fn deliver(&self, activity: &str, to: Recipient, known: Option<Scheme>, refusals: u32) -> Report {
        let body = match self.entry(activity).await {
            Ok(Some(entry)) => self.body(entry),
            Ok(None) => {
                return Report::Impossible { reason: format!("the activity {activity} is not in the log any more") };
            }
            Err(failure) => {
                return Report::Unreachable { reason: format!("the activity could not be read: {failure}") };
            }
        };
        let inbox = match self.inbox(to).await {
            Ok(inbox) => inbox,
            Err(report) => return report,
        };
        let request = Request::post(inbox, "application/activity+json", body, self.limits());
        let Some(before) = self.signers.pen_before(activity) else { return self.knock(request, known, refusals).await };
        match self.knock_with(&before, request.clone(), known, refusals).await {
            // It knows the new keys by something else that went there first, and has forgotten the old ones.
            Report::Answered { status: 401 | 403, .. } => self.knock(request, known, refusals).await,
            report => report,
        }
    }

    async fn entry(&self, activity: &str) -> Result<Option<Entry>, ReadError> {
        let prefix = layout::index_prefix(Index::Activities, &parts([activity]));
        let rows = self.engine.range(Span::prefix(&prefix, 1)).await?;
        Ok(rows.first().and_then(|row| record::decode::<Entry>(&row.value).ok()))
    }

    /// What goes out: the same bytes each time, since a receiver remembers them. A proof matters where an activity is
    /// passed on without our signature, which nobody does with letters to one.
    fn body(&self, entry: Entry) -> Bytes {
        if !self.proofs || !entry.public {
            return entry.body;
        }
        let value = serde_json::from_slice(&entry.body).unwrap_or_default();
        match self.signers.prove(&value, entry.at) {
            Ok(proved) => proved.to_string().into(),
            Err(error) => {
                debug!(activity = %entry.id, %error, "an activity goes out without a proof");
                entry.body
            }
        }
    }

    async fn inbox(&self, to: Recipient) -> Result<Iri, Report> {
        let named = |text: &str| Iri::parse(text).map_err(|error| Report::Impossible { reason: error.to_string() });
        match to {
            Recipient::Inbox(inbox) => named(&inbox),
            Recipient::Actor(actor) => match self.keys.recipient(&named(&actor)?).await {
                Ok(document) => Ok(document.inbox.clone()),
                Err(KeyError::Status { status, document }) => {
                    let detail = format!("{document} could not be read");
                    Err(Report::Answered { status, detail, retry_after: None, scheme: None })
                }
                Err(error) if error.is_passing() => Err(Report::Unreachable { reason: error.to_string() }),
                Err(error) => Err(Report::Impossible { reason: error.to_string() }),
            },
        }
    }

    /// What an actor says about an alias: 200 when it has it.
    async fn vouch(&self, actor: &str, alias: &str) -> Report {
        let impossible = |reason: String| Report::Impossible { reason };
        let actor = match Iri::parse(actor) {
            Ok(actor) => actor,
            Err(error) => return impossible(error.to_string()),
        };
        // Not what is remembered of it: that may be from before it took the name.
        match self.keys.anew(&actor).await {
            Ok(document) if document.also_known_as.iter().any(|known| known.as_str() == alias) => {
                Report::Answered { status: 200, detail: String::new(), retry_after: None, scheme: None }
            }
            Ok(_) => impossible(format!("{actor} does not have {alias} among its `alsoKnownAs`")),
            Err(error) if error.is_passing() => Report::Unreachable { reason: error.to_string() },
            Err(error) => impossible(error.to_string()),
        }
    }

    /// Where an actor takes mail now, by its own document.
    async fn look(&self, actor: &str) -> Report {
        let actor = match Iri::parse(actor) {
            Ok(actor) => actor,
            Err(error) => return Report::Impossible { reason: error.to_string() },
        };
        match self.keys.mailbox(&actor).await {
            Ok(Some(mailbox)) => {
                Report::Replied { status: 200, body: serde_json::to_value(mailbox).unwrap_or_default() }
            }
            Ok(None) => Report::Unreachable { reason: format!("{actor} was asked for a moment ago") },
            Err(error) if error.is_passing() => Report::Unreachable { reason: error.to_string() },
            Err(error) => Report::Impossible { reason: error.to_string() },
        }
    }

    async fn webhook(&self, url: &str, body: &Value, place: &Place) -> Report {
        let url = match Iri::parse(url) {
            Ok(url) => url,
            Err(error) => return Report::Impossible { reason: error.to_string() },
        };
        let body = serde_json::to_vec(body).unwrap_or_default();
        let request = Request::post(url, "application/json", body, self.limits());
        self.send(request.header("idempotency-key", format!("\"{}\"", place.key))).await
    }

    async fn send(&self, request: Request) -> Report {
        report(&self.transport.send(request).await)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { bytes_max: ANSWER_BYTES_MAX, deadline: self.deadline }
    }
}

/// What came of a request.
pub(super) fn report(answer: &Result<Response, TransportError>) -> Report {
    match answer {
        Ok(response) => Report::Answered {
            status: response.status,
            retry_after: retry_after(response),
            detail: detail(response),
            scheme: None,
        },
        // The answer itself is known; only its length is not to our liking.
        Err(TransportError::TooLarge { .. }) => Report::Unreachable { reason: "the answer is too long".to_owned() },
        Err(error) if error.is_passing() => Report::Unreachable { reason: error.to_string() },
        Err(error) => Report::Impossible { reason: error.to_string() },
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    response.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// What the other side says about it: the detail of a problem, or the beginning of a text.
fn detail(response: &Response) -> String {
    let problem: Option<Value> = serde_json::from_slice(&response.body).ok();
    let said = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    match said {
        Some(said) => said.chars().take(DETAIL_MAX).collect(),
        None => String::from_utf8_lossy(&response.body).chars().take(DETAIL_MAX).collect(),
    }
}
