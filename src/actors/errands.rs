//! Errands: what an actor asks to be done outside, as data; and the runner that sees them done.
//!
//! The runner starts what is stored, by due time and a bounded number at once, and hands each report to its actor. A
//! row is gone only with the turn that took the report, so that a crash anywhere between means that it is done again.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tracing::field::display;
use tracing::{Instrument as _, Span, debug, info_span, warn};

use super::ambient;
use super::flow::Place;
use super::layout;
use super::line::Said;
use super::record::{self, Waiting};
use super::runtime::Runtime;
use super::scheme::Scheme;
use crate::domains::effects::Request;
use crate::domains::identity::Iri;
use crate::domains::trace::Context;
use crate::store::{self, Change, Key, Row};

/// How many errands are read from the store in one go.
const PAGE: usize = 256;
/// How long the runner waits before it offers a report again to an actor that could not take it.
const OFFER_AGAIN: Duration = Duration::from_millis(500);
/// How long until a document of somebody who could not be reached is asked for again, twice as long each time: for about
/// three days.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(60);
pub(super) const LOOK_TRIES_MAX: u32 = 12;

/// Something to be done outside, at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Sends an activity of ours, named by its local ulid, as queue entry `entry` of an outbox.
    Deliver {
        activity: String,
        to: Recipient,
        entry: u64,
        #[serde(default)]
        attempt: u32,
        /// What the peer is known to take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheme: Option<Scheme>,
        /// How often it has said no to this entry.
        #[serde(default, skip_serializing_if = "is_none")]
        refusals: u32,
    },
    /// Posts JSON to a URL of the operator's choosing, for a step of a flow, whose key is the idempotency key.
    Webhook { url: String, body: serde_json::Value, place: Place },
    /// A request of a step of a flow to any service. Names of secrets stand in it, never their values.
    Http { request: Request, place: Place },
    /// The same for an instance of another node: it reaches other services, and has no secrets.
    Lent { request: Request, place: Place },
    /// Asks whether an actor says of itself that it is this other one as well.
    Vouch {
        actor: String,
        alias: String,
        #[serde(default, skip_serializing_if = "is_none")]
        tries: u32,
    },
    /// Asks where an actor takes mail, after it said that its document is another one now.
    Look {
        actor: String,
        #[serde(default, skip_serializing_if = "is_none")]
        tries: u32,
    },
    /// Posts JSON to another node, signed, under a key. Where `needs` names kinds of step, it is asked first whether it
    /// does them.
    Signed {
        url: String,
        key: String,
        body: serde_json::Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
        said: Said,
    },
}

/// Where an activity goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// An inbox whose address is known.
    Inbox(String),
    /// An actor whose document says which inbox it has.
    Actor(String),
}

/// Where an actor takes mail, by its own document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    pub inbox: Iri,
    #[serde(default)]
    pub shared_inbox: Option<Iri>,
}

/// What came of an errand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The other side answered with this status.
    Answered {
        status: u16,
        #[serde(default)]
        detail: String,
        #[serde(default)]
        retry_after: Option<Duration>,
        /// What the peer turned out to take, when that was not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheme: Option<Scheme>,
    },
    /// The service that a step asked answered this; for a look at an actor its [`Mailbox`].
    Replied { status: u16, body: serde_json::Value },
    /// Nobody answered: refused, timed out, or the address is not allowed.
    Unreachable { reason: String },
    /// It was sent, and nobody answered in time.
    TimedOut { reason: String },
    /// It can never be done, whoever tries: what it names is gone or not permitted.
    Impossible { reason: String },
    /// It was sent and answered, and the answer cannot be taken: it may have been done.
    Unusable { reason: String },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

impl Errand {
    fn word(&self) -> &'static str {
        match self {
            Self::Deliver { .. } => "deliver",
            Self::Webhook { .. } => "webhook",
            Self::Http { .. } | Self::Lent { .. } => "http",
            Self::Signed { .. } => "signed",
            Self::Vouch { .. } => "vouch",
            Self::Look { .. } => "look",
        }
    }
}

impl Report {
    /// What the peer turned out to take.
    pub(super) fn learned(&self) -> Option<Scheme> {
        match self {
            Self::Answered { scheme, .. } => *scheme,
            _ => None,
        }
    }

    /// For a line of the log: what others said, and addresses, may hold anything and stay out of it.
    fn brief(&self) -> String {
        match self {
            Self::Answered { status, .. } | Self::Replied { status, .. } => format!("answered {status}"),
            Self::Unreachable { .. } => "unreachable".to_owned(),
            Self::TimedOut { .. } => "timed out".to_owned(),
            Self::Impossible { .. } => "impossible".to_owned(),
            Self::Unusable { .. } => "answered what cannot be taken".to_owned(),
        }
    }
}

/// The port through which errands leave; handed in by `node.rs`.
pub trait Outside: Send + Sync + 'static {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report>;
}

/// The way outside, and the arbiters on which errands take it, in turn. Those of actors have enough to do, and what a
/// service answers is read where its errand runs.
#[derive(Clone)]
pub struct Ways {
    pub outside: Arc<dyn Outside>,
    pub arbiters: Vec<ArbiterHandle>,
}

/// Runs errands.
pub(super) struct Runner {
    runtime: Arc<Runtime>,
    ways: Ways,
    room: Arc<Semaphore>,
    running: Mutex<BTreeSet<Key>>,
    begun: AtomicUsize,
}

impl Runner {
    /// Follows the stored errands until the runtime stops.
    pub(super) async fn run(runtime: Arc<Runtime>, ways: Ways) {
        let room = Arc::new(Semaphore::new(runtime.limits.errands_in_flight));
        let (running, begun) = (Mutex::default(), AtomicUsize::new(0));
        let runner = Arc::new(Self { runtime, ways, room, running, begun });
        let mut changes = runner.runtime.engine.changes(&layout::errands());
        runner.start_stored().await;
        while let Some(change) = changes.recv().await {
            match change {
                Change::Put(keys) => {
                    for key in keys {
                        runner.clone().start(key).await;
                    }
                }
                Change::Missed => runner.start_stored().await,
            }
        }
    }

    async fn start_stored(self: &Arc<Self>) {
        let all = store::Span::prefix(&layout::errands(), PAGE);
        let mut span = all.clone();
        loop {
            let Ok(page) = self.runtime.engine.range(span.clone()).await else {
                self.store_is_ill().await;
                continue;
            };
            let Some(last) = page.last() else { return };
            span = all.clone().after(&last.key);
            for Row { key, .. } in page {
                self.clone().start(key).await;
            }
        }
    }

    /// Waits for room, then sees one errand through in a task of its own.
    async fn start(self: Arc<Self>, key: Key) {
        if !self.running.lock().insert(key.clone()) {
            return;
        }
        let Ok(place) = self.room.clone().acquire_owned().await else { return };
        let arbiters = &self.ways.arbiters;
        let arbiter = arbiters[self.begun.fetch_add(1, Ordering::Relaxed) % arbiters.len()].clone();
        // False only when the arbiter has stopped, and the node with it.
        let _ = arbiter.spawn(async move {
            let report = self.perform(&key).await;
            // Others go out while this one's actor takes its time, or cannot be rebuilt at all.
            drop(place);
            if let Some(report) = report {
                self.offer(&key, report).await;
            }
            self.running.lock().remove(&key);
        });
    }

    /// Does an errand, if it is still to be done.
    async fn perform(&self, key: &Key) -> Option<Report> {
        let row = loop {
            if self.runtime.is_stopping() {
                return None;
            }
            match self.runtime.engine.get(key).await {
                Ok(row) => break row?,
                Err(_) => self.store_is_ill().await,
            }
        };
        let read = |waiting: Waiting| Ok((record::decode::<Errand>(&waiting.body)?, waiting.trace));
        Some(match record::decode::<Waiting>(&row.value).and_then(read) {
            Ok((errand, trace)) => {
                let (span, trace) = self.span(key, &errand, trace);
                let work = async {
                    let done = AssertUnwindSafe(async { self.ways.outside.perform(errand).await }).catch_unwind().await;
                    let report = done.unwrap_or_else(|_| Report::Unreachable {
                        reason: "the errand panicked; the log names the cause".to_owned(),
                    });
                    debug!(outcome = report.brief(), "an errand was done");
                    report
                };
                ambient::within(Some(trace), work.instrument(span)).await
            }
            Err(error) => {
                warn!(?key, %error, "a stored errand cannot be read");
                Report::Impossible { reason: format!("the stored errand cannot be read: {error}") }
            }
        })
    }

    /// The span that it is sent under. A step's try has one of its own; a delivery is a part of whatever it tells of,
    /// and of nothing when nobody asked for it.
    fn span(&self, key: &Key, errand: &Errand, part_of: Option<Context>) -> (Span, Context) {
        let trace = match (errand, part_of) {
            (Errand::Deliver { activity, entry, attempt, .. }, Some(trace)) => {
                trace.child(&format!("deliver/{activity}/{entry}/{attempt}"))
            }
            (_, Some(trace)) => trace,
            (_, None) => Context::begin(self.runtime.clock.random()),
        };
        let actor = layout::errand_parts(key).map(|(_, actor)| display(actor));
        let (trace_id, span_id) = (trace.trace, trace.span);
        (info_span!("errand", actor, %trace_id, %span_id, what = errand.word()), trace)
    }

    async fn offer(&self, key: &Key, report: Report) {
        let Some((_, actor)) = layout::errand_parts(key) else { return };
        while !self.runtime.registry().report(&actor, key, report.clone()).await {
            if self.runtime.is_stopping() {
                return;
            }
            self.runtime.clock.sleep(OFFER_AGAIN).await;
        }
    }

    /// What is stored stays where it is, and is looked at again when the store is well.
    async fn store_is_ill(&self) {
        self.runtime.well().await;
        self.runtime.clock.sleep(OFFER_AGAIN).await;
    }
}
