//! `/flow` and `/flows`: starting and seeing flow instances, and the lists of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{BoxFuture, Either, select};
use maud::Markup;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::auth::require;
use super::http::json_of;
use super::list::{Page, Paging};
use super::neighbour::User;
use super::picture;
use super::queues;
use super::site::Site;
use crate::actors::answers::Beginning;
use crate::actors::entity::ActorId;
use crate::actors::flow::{Command, Flow, Standing, Start};
use crate::actors::inspect;
use crate::actors::watchers::{Seen, Until};
use crate::domains::flow::check::Compiled;
use crate::domains::flow::expr::Input;
use crate::domains::flow::progress::Phase;
use crate::tokens::Scope;
use crate::wire::error::Problem;

pub mod bulk;
pub mod export;
pub mod family;
pub mod filter;
pub mod shown;
pub mod timeline;
pub mod verbs;
pub mod versions;

use filter::{Filter, Found};
use shown::{body, hide, instance, tokens};
use timeline::timeline;

/// RFC 7240 lets us bound what a client prefers.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// `POST /flow/start/{name}`
pub async fn start(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let (user, body) = User::of(&site, &request, payload, Scope::FlowsWrite).await?;
    if let User::Node(node) = &user {
        node.is_allowed(&site)?;
    }
    let once = user.once(&request, &body)?;
    let start = beginning(&site, &name, json_body(&site, &body)?, &user)?;
    let beginning = Beginning::of(&site.runtime, once).await?;
    let id = beginning.flow().to_owned();
    let waiting = Waiting::of(&site, &request, &id);
    let standing = beginning.ask(&site.runtime, Command::Start(Box::new(start))).await?;
    moved(&site, &id, standing, waiting, 202).await
}

/// How an instance of a flow begins, on its newest definition.
///
/// # Errors
/// 404 for a flow that is none, or that is not for whoever asks.
pub fn beginning(site: &Site, name: &str, input: Value, user: &User) -> Result<Start, Problem> {
    let catalog = &site.runtime.world.catalog;
    let open = |flow: &Arc<Compiled>| matches!(user, User::Program(_)) || flow.definition.expose;
    let compiled = catalog.current(name).filter(&open).ok_or_else(|| {
        let known = catalog.flows().filter(|flow| open(flow)).map(|flow| flow.definition.name.clone());
        let known: Vec<String> = known.collect();
        Problem::not_found(format!("there is no flow {name:?}; this node has {}", known.join(", ")))
    })?;
    Ok(Start {
        name: name.to_owned(),
        definition: compiled.hash.0.clone(),
        input: Input { object: input.get("object").cloned().unwrap_or_default(), input, ..Input::default() },
        origin: user.origin(),
    })
}

/// An empty body says nothing.
pub(super) fn json_body(site: &Site, body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    json_of(site, body)
}

/// Somebody who prefers to wait, from before anything is asked, so that no end is missed.
struct Waiting {
    rest: oneshot::Receiver<Seen>,
    deadline: BoxFuture<'static, ()>,
}

impl Waiting {
    fn of(site: &Site, request: &HttpRequest, id: &str) -> Option<Self> {
        let wait = preferred_wait(request)?;
        Some(Self { rest: rest(site, id), deadline: site.clock.sleep(wait) })
    }
}

/// Answers where the instance stands; with `Prefer: wait` once it has come to rest, or the time is over.
async fn moved(
    site: &Site,
    id: &str,
    standing: Standing,
    waiting: Option<Waiting>,
    otherwise: u16,
) -> Result<HttpResponse, Problem> {
    let location = format!("{}/flow/{id}", site.runtime.world.base);
    let flow = match waiting {
        Some(waiting) => settled(site, id, standing, waiting).await?,
        None => None,
    };
    Ok(match flow {
        Some(flow) => HttpResponse::Ok()
            .insert_header(("location", location))
            .insert_header(("preference-applied", "wait"))
            .content_type("application/json")
            .body(body(id, &flow)),
        None if otherwise == 202 => {
            HttpResponse::Accepted().insert_header(("location", location)).json(json!({ "id": id }))
        }
        None => HttpResponse::Ok().json(stored(site, id).await?.map(|flow| instance(id, &flow))),
    })
}

fn preferred_wait(request: &HttpRequest) -> Option<Duration> {
    let preferences = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
    let seconds: u64 = preferences.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// The instance once nothing moves it any more by itself; `None` when that takes longer than was preferred.
async fn settled(site: &Site, id: &str, standing: Standing, waiting: Waiting) -> Result<Option<Flow>, Problem> {
    let Waiting { mut rest, mut deadline } = waiting;
    // What moved a moment ago need not be looked at before it rests.
    let mut look = standing.phase.is_none_or(rests);
    if rest.try_recv().is_ok() {
        // That may have been before the turn of this request: it was still at rest then.
        (rest, look) = (self::rest(site, id), true);
    }
    loop {
        if look && let Some(flow) = at_rest(site, id).await? {
            return Ok(Some(flow));
        }
        let seen = match select(rest, deadline).await {
            Either::Left((seen, left)) => {
                deadline = left;
                seen.ok().flatten()
            }
            Either::Right(_) => return Ok(None),
        };
        if let Some(flow) = seen.and_then(|seen| seen.downcast::<Flow>().ok()).filter(|flow| is_at_rest(flow)) {
            return Ok(Some(*flow));
        }
        // Mostly it rests now, and nobody needs to hear of the next time.
        if let Some(flow) = at_rest(site, id).await? {
            return Ok(Some(flow));
        }
        (rest, look) = (self::rest(site, id), true);
    }
}

fn rest(site: &Site, id: &str) -> oneshot::Receiver<Seen> {
    site.runtime.registry().watch(&ActorId::of::<Flow>(id), Until::Rest)
}

/// The instance as it is on disk, if nothing moves it by itself.
async fn at_rest(site: &Site, id: &str) -> Result<Option<Flow>, Problem> {
    Ok(stored(site, id).await?.filter(is_at_rest))
}

fn is_at_rest(flow: &Flow) -> bool {
    flow.progress.as_ref().is_some_and(|progress| rests(progress.phase()))
}

/// What waits at a limit is let in by itself, and what is taken back goes on.
fn rests(phase: Phase) -> bool {
    !matches!(phase, Phase::Running | Phase::Queued | Phase::Undoing)
}

/// The instance as it is on disk.
async fn stored(site: &Site, id: &str) -> Result<Option<Flow>, Problem> {
    inspect::state::<Flow>(&site.runtime, id).await.map_err(|reason| Problem::new(500, "damaged", reason))
}

/// The instance that a page or program asked for, with what happened to it.
///
/// # Errors
/// 404 if there is none.
pub async fn find(site: &Site, id: &str) -> Result<Value, Problem> {
    let flow = known(site, id).await?;
    let mut value = instance(id, &flow);
    family::link(site, &flow, &mut value);
    queue(site, id, &flow, &mut value).await?;
    let (mut timeline, from) = timeline(site, id, &flow.span(id)).await?;
    let tokens = tokens(&flow);
    timeline.iter_mut().for_each(|one| hide(one, &tokens));
    value["timeline"] = timeline.into();
    if let Some(from) = from {
        value["timeline_from"] = from.into();
    }
    Ok(value)
}

/// Adds its place to an instance that waits to be let in.
async fn queue(site: &Site, id: &str, flow: &Flow, value: &mut Value) -> Result<(), Problem> {
    let Some(stands) = queues::stands(site, id, flow).await? else { return Ok(()) };
    value["queued"]["place"] = stands.place.into();
    if let (Some(place), Some(why)) = (stands.place, value["why"].as_array_mut()) {
        why.push(format!("it is number {place} of those that wait in {}", stands.gate).into());
    }
    Ok(())
}

async fn known(site: &Site, id: &str) -> Result<Flow, Problem> {
    stored(site, id).await?.ok_or_else(|| missing(id))
}

/// The picture of an instance; `None` when the definition that it began with is not here any more.
///
/// # Errors
/// 404 if there is no such instance.
pub async fn pictured(site: &Site, id: &str) -> Result<Option<Markup>, Problem> {
    let flow = known(site, id).await?;
    let Some((start, progress)) = flow.start.zip(flow.progress) else { return Ok(None) };
    let definition = site.runtime.world.catalog.definition(&start.definition);
    Ok(definition.map(|compiled| picture::draw(&compiled, &progress)))
}

/// The steps of an instance that verbs may name: all of its definition, in order; and where that is not here any more,
/// those that something is known of.
pub fn steps(site: &Site, flow: &Value) -> Vec<String> {
    let definition = flow["definition"].as_str().and_then(|hash| site.runtime.world.catalog.definition(hash));
    if let Some(compiled) = definition {
        return compiled.order.clone();
    }
    let begun = flow["steps"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    // A restart clears a step, and leaves what there is to take back of it.
    let undo = flow["undo"].as_array().into_iter().flatten().filter_map(|entry| entry["step"].as_str());
    begun.chain(undo).collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

/// `GET /flows/{id}.svg`
pub async fn svg(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    require(&site, &request, Scope::FlowsRead)?;
    let picture = pictured(&site, &id).await?;
    let picture =
        picture.ok_or_else(|| Problem::not_found("the definition that this flow began with is not here any more"))?;
    Ok(HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(picture.into_string()))
}

/// Another node sees what it started; of everything else it learns not even that it is there.
///
/// # Errors
/// 404 for what it did not start.
pub async fn visible(site: &Site, user: &User, id: &str) -> Result<(), Problem> {
    match user {
        User::Program(_) => Ok(()),
        User::Node(_) => {
            let flow = stored(site, id).await?;
            let origin = flow.as_ref().and_then(|flow| flow.start.as_ref()).map(|start| &start.origin);
            if user.may_see(origin) { Ok(()) } else { Err(missing(id)) }
        }
    }
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no flow {id}; GET /flows lists them"))
}

/// `GET /flow/{id}`
pub async fn show(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let user = User::looking(&site, &request).await?;
    visible(&site, &user, &id).await?;
    Ok(HttpResponse::Ok().json(find(&site, &id).await?))
}

/// A page of instances, the newest first, of those that the words of the query mean.
///
/// # Errors
/// 400 for words that are none, and for values that they cannot have.
pub async fn list(site: &Site, mut words: BTreeMap<String, String>) -> Result<Page<Value>, Problem> {
    let after = words.remove("after");
    let limit = match words.remove("limit") {
        Some(limit) => Some(limit.parse().map_err(|_| Problem::bad_request(format!("limit is {limit:?}, no number")))?),
        None => None,
    };
    let paging = Paging { after, limit };
    let page = Filter::read(site, words)?.walk(site, paging.after.as_deref(), paging.limit()).await?;
    Ok(Page { items: page.items.iter().map(Found::json).collect(), next: page.next, left_out: page.left_out })
}
