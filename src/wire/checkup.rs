//! Whether a peer and this node can speak with one another: each step of the way tried, with a verdict for people.

use jiff::fmt::rfc2822::DateTimeParser;
use serde::Serialize;
use serde_json::{Value, json};

use super::deliver::Deliverer;
use super::document::ActorDocument;
use super::found::Key;
use super::transport::{Limits, Request, Response};
use super::webfinger::{self, Account};
use crate::actors::blocking::Blocklist;
use crate::actors::errands::Report;
use crate::clock::ulid;
use crate::domains::activity::ACTIVITY_STREAMS;
use crate::domains::identity::{Authority, Iri};
use crate::domains::json::{JSON_DEPTH_MAX, parse_json};

/// Clocks may differ by five minutes; from here on somebody should look.
const CLOCK_WORRIES_SECONDS: u64 = 60;
const CLOCK_MAX_SECONDS: u64 = 300;

/// One step of the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// It works, or may work, and somebody should look.
    Unsure,
    Bad,
}

/// What a check needs of its node.
pub struct Checkup<'a> {
    pub deliverer: &'a Deliverer,
    pub blocks: &'a Blocklist,
    /// Our own actor.
    pub own: &'a Iri,
    /// What a document of a peer may take.
    pub limits: Limits,
    /// How a host is reached.
    pub scheme: &'a (dyn Fn(&Authority) -> &'static str + Send + Sync),
}

impl Step {
    fn new(step: &'static str, verdict: Verdict, what: impl Into<String>) -> Self {
        Self { step, verdict, what: what.into(), remedy: None }
    }

    fn good(step: &'static str, what: impl Into<String>) -> Self {
        Self::new(step, Verdict::Good, what)
    }

    fn bad(step: &'static str, what: impl Into<String>, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..Self::new(step, Verdict::Bad, what) }
    }

    fn unsure(step: &'static str, what: impl Into<String>, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..Self::new(step, Verdict::Unsure, what) }
    }
}

impl Checkup<'_> {
    /// Walks to the actor and tells it something that nobody acts on. What is behind a bad step is not tried.
    pub async fn walk(&self, actor: &Iri) -> Vec<Step> {
        if let Err(blocked) = self.blocks.judge(&actor.authority()) {
            return vec![Step::bad(
                "blocks",
                blocked.to_string(),
                "see `quickbeam blocks` and [federation] allow_only",
            )];
        }
        let response = match self.deliverer.keys.look(actor).await {
            Ok(response) => response,
            Err(error) => {
                let remedy = "see whether the name is right, its server runs, and its certificate is good";
                return vec![Step::bad("actor", error.to_string(), remedy)];
            }
        };
        let (value, document) = match read(actor, &response) {
            Ok(read) => read,
            Err(step) => return vec![step],
        };
        let mut steps =
            vec![Step::good("actor", format!("{actor} is a {} with the inbox {}", document.kind, document.inbox))];
        steps.push(keys(&document));
        steps.push(self.account(actor, &value).await);
        steps.push(self.clocks(&response));
        steps.push(self.delivery(actor, &document).await);
        steps
    }

    /// The account by which people find the actor has to lead back to it.
    async fn account(&self, actor: &Iri, value: &Value) -> Step {
        const STEP: &str = "webfinger";
        let name = value.get("preferredUsername").and_then(Value::as_str).unwrap_or_default();
        let Ok(account) = Account::parse(&format!("{name}@{}", actor.authority())) else {
            return Step::unsure(
                STEP,
                "the actor has no usable preferredUsername",
                "only its URL finds it, no account",
            );
        };
        match webfinger::find(self.deliverer.transport.as_ref(), &account, self.scheme, self.limits).await {
            Ok(found) if found == *actor => Step::good(STEP, format!("@{account} is {actor}")),
            Ok(found) => {
                Step::unsure(STEP, format!("@{account} is {found}, not {actor}"), "follow it by the URL that you mean")
            }
            Err(error) => Step::unsure(STEP, error.to_string(), "only its URL finds it, no account"),
        }
    }

    fn clocks(&self, response: &Response) -> Step {
        const STEP: &str = "clock";
        let date = response.header("date").and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        let Some(theirs) = date.and_then(|date| u64::try_from(date.as_second()).ok()) else {
            return Step::unsure(STEP, "its answers have no Date", "its clock cannot be compared with ours");
        };
        let apart = theirs.abs_diff(self.deliverer.clock.now().0 / 1_000);
        let what = format!("its clock and ours are {apart} s apart");
        match apart {
            CLOCK_MAX_SECONDS.. => Step::bad(STEP, what, "set both by NTP: signatures count for 300 s only"),
            CLOCK_WORRIES_SECONDS.. => Step::unsure(STEP, what, "set both by NTP: signatures count for 300 s only"),
            _ => Step::good(STEP, what),
        }
    }

    /// Posts a `View` of the actor itself, signed as every delivery.
    async fn delivery(&self, actor: &Iri, document: &ActorDocument) -> Step {
        let clock = &self.deliverer.clock;
        let id = format!("{}#checked-{}", self.own, ulid(clock.now(), clock.random()));
        let view = json!({
            "@context": ACTIVITY_STREAMS, "id": id, "type": "View", "actor": self.own.as_str(),
            "object": actor.as_str(), "to": [actor.as_str()],
        });
        let limits = self.deliverer.limits();
        let request = Request::post(document.inbox.clone(), "application/activity+json", view.to_string(), limits);
        let report = self.deliverer.knock(request, None, 0).await;
        delivered(&document.inbox, self.own, report)
    }
}

fn read(actor: &Iri, response: &Response) -> Result<(Value, ActorDocument), Step> {
    const STEP: &str = "actor";
    if response.status != 200 {
        let remedy = match response.status {
            401 | 403 => {
                "it shows its actor to nobody whom it does not know, also when asked by name: ask who operates it"
            }
            404 | 410 => "name the actor's own URL: `quickbeam peers check https://HOST/users/NAME`, or @NAME@HOST",
            _ => "try again later, or ask who operates it",
        };
        return Err(Step::bad(STEP, format!("{actor} answers {}", response.status), remedy));
    }
    let value = parse_json(&response.body, JSON_DEPTH_MAX);
    let value = value.map_err(|error| Step::bad(STEP, error.to_string(), "name the URL of an actor, not of a page"))?;
    let document = ActorDocument::parse(&value, actor);
    let document = document.map_err(|error| Step::bad(STEP, error.to_string(), "name the URL that it says it has"))?;
    Ok((value, document))
}

fn keys(document: &ActorDocument) -> Step {
    const STEP: &str = "keys";
    let algorithm = |key| Key::Public(key).algorithm().map(|algorithm| algorithm.as_str());
    let usable = document.keys.iter().filter_map(|published| Some((algorithm(published.key.clone())?, &published.id)));
    let usable: Vec<String> = usable.map(|(algorithm, id)| format!("{id} ({algorithm})")).collect();
    let refused = document.refused.iter().map(|(id, why)| format!("{id}: {why}")).collect::<Vec<_>>().join("; ");
    match (usable.is_empty(), refused.is_empty()) {
        (false, true) => Step::good(STEP, usable.join(", ")),
        (false, false) => Step::unsure(
            STEP,
            format!("{}; not usable: {refused}", usable.join(", ")),
            "what it signs with those is refused",
        ),
        (true, _) => {
            Step::bad(STEP, format!("no key that this node can check; {refused}"), "nothing of it is believed")
        }
    }
}

fn delivered(inbox: &Iri, own: &Iri, report: Report) -> Step {
    const STEP: &str = "delivery";
    match report {
        Report::Answered { status: status @ 200..=299, scheme, .. } => {
            let scheme = scheme.map_or_else(String::new, |scheme| format!(", signed as {}", scheme.word()));
            Step::good(STEP, format!("{inbox} took a signed activity ({status}{scheme})"))
        }
        Report::Answered { status: status @ (401 | 403), detail, .. } => Step::bad(
            STEP,
            format!("{inbox} answers {status}: {detail}"),
            &format!("see whether {own} can be read from there, whether it blocks this node, and both clocks"),
        ),
        Report::Answered { status: status @ (400 | 422), detail, .. } => Step::unsure(
            STEP,
            format!("{inbox} answers {status}: {detail}"),
            "it may dislike a View and take the rest: follow it and look at `quickbeam peers`",
        ),
        Report::Answered { status, detail, .. } => {
            Step::bad(STEP, format!("{inbox} answers {status}: {detail}"), "try again later, or ask who operates it")
        }
        Report::Unreachable { reason } | Report::TimedOut { reason } | Report::Unusable { reason } => {
            Step::bad(STEP, reason, "its actor can be read and its inbox not: ask who operates it")
        }
        Report::Impossible { reason } => {
            Step::bad(STEP, reason, "see [fetch] allow and the inbox that its actor names")
        }
        Report::Replied { status, .. } => Step::bad(STEP, format!("{inbox} answers {status}"), "try again later"),
    }
}
