//! `/flows/bulk`: one verb for all instances that a filter means, a bounded number in each request.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::filter::{Filter, Found};
use super::verbs::{command, verb_of};
use super::{json_body, stored};
use crate::actors::answers::{Kept, keep, kept};
use crate::actors::ask::AskError;
use crate::actors::flow::{Command, Flow, Rejection};
use crate::actors::once::Once;
use crate::actors::rehearse::rehearse;
use crate::domains::flow::progress::End;
use crate::domains::flow::verbs::Verb;
use crate::tokens::Scope;
use crate::web::auth::{Caller, idempotency_key, once, require};
use crate::web::http::read_body;
use crate::web::list::Paging;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Instances told at the same time, so that others are served between them.
const TOGETHER: usize = 32;
/// Instances named in an answer; the rest are counted.
const NAMED: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bulk {
    verb: String,
    filter: Map<String, Value>,
    /// What the verb is given, as for one instance.
    #[serde(default)]
    with: Option<Value>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// What became of one.
enum Told {
    Moved {
        /// Things that a kill has not taken back.
        left: u32,
    },
    Refused(String),
}

/// `POST /flows/bulk`
pub async fn bulk(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let whole = once(&request, &caller, &body)?;
    if let Some(whole) = &whole {
        match kept(&site.runtime, whole).await? {
            Kept::Nothing => {}
            Kept::Answer(answer) => return Ok(answered(answer)),
            Kept::Other => {
                let detail = "this idempotency key was used for another request; use a new key for a new request";
                return Err(Problem::unprocessable(detail));
            }
        }
    }
    let asked: Bulk = serde_json::from_value(json_body(&site, &body)?).map_err(|error| {
        let form = "send {\"verb\": \"retry\", \"filter\": {\"state\": \"paused\"}, \"dry_run\": true}";
        Problem::bad_request(format!("{form}: {error}"))
    })?;
    let verb = verb_of(&asked.verb)?;
    let told = command(verb, asked.with.as_ref().unwrap_or(&json!({})), &caller.grant.name)?;
    let filter = asked.filter.iter().map(|(word, value)| Ok((word.clone(), text_of(word, value)?)));
    let filter = Filter::read(&site, filter.collect::<Result<Vec<_>, Problem>>()?)?;
    let limit = Paging { after: None, limit: asked.limit }.limit();
    let all = All { verb, told, filter, after: asked.after, limit, dry_run: asked.dry_run };
    let answer = all.tell(&site, |found| own_once(&request, &caller, found, &body)).await?;
    let answer = Bytes::from(answer.to_string());
    if let Some(whole) = &whole {
        keep(&site.runtime, whole, answer.clone()).await?;
    }
    Ok(answered(answer))
}

/// A verb for all that a filter means.
pub struct All {
    pub verb: Verb,
    pub told: Command,
    pub filter: Filter,
    pub after: Option<String>,
    pub limit: usize,
    /// Says whom it would tell, and tells nobody.
    pub dry_run: bool,
}

impl All {
    /// Tells a page of them, each under the key that `once` gives it, and says what became of it.
    ///
    /// # Errors
    /// 400 for a filter that means everything, and what ails the node.
    pub async fn tell(
        &self,
        site: &Site,
        once: impl Fn(&Found) -> Result<Option<Once>, Problem>,
    ) -> Result<Value, Problem> {
        if self.filter.is_empty() {
            let detail =
                "an empty filter means every instance there is: say which, for example {\"state\": \"paused\"}";
            return Err(Problem::bad_request(detail));
        }
        let page = self.filter.walk(site, self.after.as_deref(), self.limit).await?;
        let each = page.items.iter().map(async |found| match self.dry_run {
            true => would(site, found, self.told.clone()).await,
            false => one(site, self.verb, found, self.told.clone(), once(found)?).await,
        });
        let outcomes: Vec<Told> = stream::iter(each).buffered(TOGETHER).try_collect().await?;
        let mut answer = summary(self.verb, self.dry_run, &page.items, &outcomes, page.next.as_deref());
        if !page.left_out.is_empty() {
            answer["left_out"] = json!(page.left_out);
        }
        Ok(answer)
    }
}

fn answered(answer: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(answer)
}

/// Each instance has a key of its own: a repeat after a crash in the middle tells nobody twice.
fn own_once(request: &HttpRequest, caller: &Caller, found: &Found, body: &[u8]) -> Result<Option<Once>, Problem> {
    let scope = format!("{}\u{1f}/flows/bulk\u{1f}{}", caller.grant.name, found.id);
    Ok(idempotency_key(request)?.map(|key| Once::new(&scope, &key, body)))
}

async fn one(site: &Site, verb: Verb, found: &Found, command: Command, once: Option<Once>) -> Result<Told, Problem> {
    let told = told(site.runtime.registry().ask::<Flow>(&found.id, command, once).await.map(drop))?;
    Ok(match told {
        Told::Moved { .. } if verb == Verb::Kill => Told::Moved { left: left(site, found).await },
        told => told,
    })
}

/// What cannot be read was killed all the same.
async fn left(site: &Site, found: &Found) -> u32 {
    match stored(site, &found.id).await.ok().flatten().and_then(|flow| flow.progress?.end) {
        Some(End::Killed { left, .. }) => left,
        _ => 0,
    }
}

/// What telling it now would do.
async fn would(site: &Site, found: &Found, command: Command) -> Result<Told, Problem> {
    told(rehearse::<Flow>(&site.runtime, &found.id, command).await)
}

fn told(answer: Result<(), AskError<Rejection>>) -> Result<Told, Problem> {
    match answer.map_err(Problem::from) {
        Ok(()) => Ok(Told::Moved { left: 0 }),
        // What ails the node ails the next as well: the caller repeats it with the same key.
        Err(problem) if matches!(problem.status, 503 | 507) => Err(problem),
        Err(problem) => Ok(Told::Refused(problem.detail)),
    }
}

fn summary(verb: Verb, dry_run: bool, found: &[Found], outcomes: &[Told], next: Option<&str>) -> Value {
    let told = || found.iter().zip(outcomes);
    let moved = || told().filter(|(_, told)| matches!(told, Told::Moved { .. })).map(|(found, _)| found.json());
    let refused = || {
        told().filter_map(|(found, told)| match told {
            Told::Refused(why) => Some(json!({ "id": found.id, "name": found.listed.name, "why": why })),
            Told::Moved { .. } => None,
        })
    };
    let mut answer = json!({
        "verb": verb.word(), "dry_run": dry_run, "moved": moved().count(), "refused": refused().count(),
        "items": moved().take(NAMED).collect::<Vec<_>>(), "refusals": refused().take(NAMED).collect::<Vec<_>>(),
    });
    if verb == Verb::Kill && !dry_run {
        let left = outcomes.iter().map(|told| if let Told::Moved { left } = told { u64::from(*left) } else { 0 });
        answer["left"] = left.sum::<u64>().into();
    }
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    answer
}

/// A word of a filter. One that says nothing is not left out: whoever wrote it would tell more than they mean.
fn text_of(word: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(Problem::bad_request(format!(
            "the filter's `{word}` is {value}: give it a text, a number, true or false, or leave it out"
        ))),
    }
}
