//! The administration: every actor, every peer, everything that is stuck, and the verbs that move it.

use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

use super::auth::require;
use super::http::{json_of, read_body};
use super::list::{LeftOut, Page, Paging, count, keys, page_around, place, placed};
use super::public::not_ready;
use super::site::Site;
use crate::actors::entity::{ActorId, Kind};
use crate::actors::follower::{self, Follower};
use crate::actors::inspect::{self, State};
use crate::actors::outbox::{self, Outbox};
use crate::actors::rows::Index;
use crate::actors::{layout, letters, queue, record, tick};
use crate::store::{Direction, Key};
use crate::tokens::{Scope, Wanted};
use crate::wire::error::Problem;

pub mod activities;
pub mod blocks;
pub mod care;
pub mod checkup;
pub mod held;
pub mod keys;
mod metrics;

pub use metrics::metrics;

/// Rows counted of what waits; more are said to be this many.
const WAITING_MAX: usize = 1_000;

pub(super) fn admin(site: &Site, request: &HttpRequest) -> Result<(), Problem> {
    require(site, request, Scope::Admin).map(drop)
}

/// `GET /admin/status`
pub async fn status(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let (world, counters) = (&site.runtime.world, &site.runtime.counters);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let reason = not_ready(&site);
    let engine = site.runtime.engine.as_ref();
    // What cannot be counted says nothing: whether the node is well has to be answered above all when it is not.
    let messages = count(engine, &layout::messages(), WAITING_MAX).await.ok();
    let errands = count(engine, &layout::errands(), WAITING_MAX).await.ok();
    let failed = site.runtime.registry().all_failed().len();
    Ok(HttpResponse::Ok().json(json!({
        "name": world.name, "base": world.base, "version": env!("CARGO_PKG_VERSION"),
        "incarnation": site.incarnation, "ready": reason.is_none(), "reason": reason,
        "held": site.runtime.is_held(), "scrub": site.scrubber.state(), "last_backup": site.keeper.last_backup(),
        "active": site.runtime.registry().active(), "failed": failed,
        "waiting": { "messages": messages, "errands": errands },
        "counters": {
            "turns": read(&counters.turns),
            "rejections": read(&counters.rejections), "panics": read(&counters.panics),
            "activations": read(&counters.activations), "ignored": read(&site.ignored),
        },
        "store": (site.store_stats)(),
    })))
}

/// `?kind=&state=&after=&limit=`
#[derive(Debug, Deserialize)]
pub struct Actors {
    kind: Option<String>,
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/actors`
pub async fn actors(request: HttpRequest, query: Query<Actors>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let kind = match query.kind.as_deref() {
        None | Some("") => None,
        Some(word) => Some(kind(word)?),
    };
    let state = match query.state.as_deref() {
        None | Some("") => None,
        Some(word) => Some(State::parse(word).ok_or_else(|| {
            Problem::bad_request(format!("there is no state {word:?}; there are active, passive, suspended, failed"))
        })?),
    };
    let after = query.after.as_deref().map(placed).transpose()?;
    let after = after.map(|text| actor_id(&text)).transpose()?;
    let limit = Paging { after: None, limit: query.limit }.limit();
    let (items, next) = inspect::list(&site.runtime, kind, state, after.as_ref(), limit).await?;
    Ok(HttpResponse::Ok().json(Page::whole(items, next.map(|id| place(&id.to_string())))))
}

fn kind(word: &str) -> Result<Kind, Problem> {
    Kind::parse(word).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        Problem::bad_request(format!("there is no kind {word:?}; there are {}", known.join(", ")))
    })
}

fn actor_id(text: &str) -> Result<ActorId, Problem> {
    let (word, key) = text.split_once('/').ok_or_else(|| Problem::bad_request("an actor is named KIND/KEY"))?;
    Ok(ActorId::new(kind(word)?, key))
}

/// `GET /admin/actors/{kind}/{key}`
pub async fn actor(
    request: HttpRequest,
    path: Path<(String, String)>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let id = ActorId::new(kind(&path.0)?, path.1.as_str());
    match inspect::details(&site.runtime, &id).await? {
        Some(details) => Ok(HttpResponse::Ok().json(details)),
        None => Err(Problem::not_found(format!("there is no actor {id}; `quickbeam actors` lists them"))),
    }
}

/// `POST /admin/actors/{kind}/{key}/retry`: tries to rebuild one that failed.
pub async fn retry_actor(
    request: HttpRequest,
    path: Path<(String, String)>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let id = ActorId::new(kind(&path.0)?, path.1.as_str());
    match site.runtime.registry().retry_failed(&id) {
        true => Ok(HttpResponse::Ok().json(json!({}))),
        false => Err(Problem::not_found(format!("{id} has not failed"))),
    }
}

/// `GET /admin/peers`
pub async fn peers(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let heads = layout::heads(Some(Kind::Outbox));
    let found = keys(site.runtime.engine.as_ref(), &heads, &paging).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for id in found.items.iter().filter_map(layout::head_actor) {
        items.push(match peer(&site, &id).await {
            Ok(peer) => peer,
            // One that cannot be read must not hide the others.
            Err(reason) => json!({ "authority": &*id.key, "state": "failed", "last_error": { "what": reason } }),
        });
    }
    Ok(HttpResponse::Ok().json(Page::whole(items, found.next)))
}

/// # Errors
/// Why nothing can be said of this peer.
async fn peer(site: &Site, id: &ActorId) -> Result<Value, String> {
    if let Some(failed) = site.runtime.registry().failed(id) {
        return Err(failed.reason);
    }
    let outbox = inspect::state::<Outbox>(&site.runtime, &id.key).await?.unwrap_or_default();
    let queue = layout::row_prefix(id, &queue::queue_rows());
    let oldest = site.runtime.engine.range(crate::store::Span::prefix(&queue, 1)).await;
    let oldest = oldest
        .map_err(|failure| failure.to_string())?
        .first()
        .and_then(|row| record::decode::<queue::Entry>(&row.value).ok())
        .map(|entry| entry.since.to_string());
    let state = match (outbox.paused, outbox.retry_at) {
        (true, _) => "paused",
        (false, Some(_)) => "waiting",
        (false, None) => "open",
    };
    Ok(json!({
        "authority": &*id.key, "state": state, "queued": outbox.queued, "in_flight": outbox.in_flight.len(),
        "delivered": outbox.delivered, "dead": outbox.dead, "failures": outbox.failures,
        "retry_at": outbox.retry_at.map(|at| at.to_string()), "oldest": oldest,
        "last_error": outbox.last_error.map(|error| json!({ "at": error.at.to_string(), "what": error.what })),
    }))
}

/// `POST /admin/peers/{authority}/{verb}`
pub async fn move_peer(
    request: HttpRequest,
    path: Path<(String, String)>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let (authority, verb) = path.into_inner();
    let command = match verb.as_str() {
        "retry" => outbox::Command::Retry,
        "pause" => outbox::Command::Pause,
        "continue" => outbox::Command::Continue,
        "forget" => outbox::Command::Forget,
        _ => {
            return Err(Problem::not_found(format!(
                "a peer cannot be told to {verb:?}; there are retry, pause, continue, forget"
            )));
        }
    };
    if inspect::state::<Outbox>(&site.runtime, &authority).await.is_ok_and(|outbox| outbox.is_none()) {
        return Err(Problem::not_found(format!(
            "nothing was ever sent to {authority}; `quickbeam peers` lists all peers"
        )));
    }
    site.runtime.registry().ask::<Outbox>(&authority, command, None).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `GET /admin/dead-letters`
pub async fn dead_letters(
    request: HttpRequest,
    paging: Query<Paging>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let limit = paging.limit();
    let after = paging.after.as_deref().map(placed).transpose()?;
    let letters::Page { items, unread, next } = letters::list(&site.runtime, after.as_deref(), limit).await?;
    let left_out = unread.iter().map(LeftOut::of).collect();
    Ok(HttpResponse::Ok().json(Page { items, next: next.map(|next| place(&next)), left_out }))
}

/// `POST /admin/dead-letters/{id}/{retry,discard}`
pub async fn move_letter(
    request: HttpRequest,
    path: Path<(String, String)>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let (id, verb) = path.into_inner();
    let retry = match verb.as_str() {
        "retry" => true,
        "discard" => false,
        _ => {
            return Err(Problem::not_found(format!(
                "a dead letter cannot be told to {verb:?}; there are retry and discard"
            )));
        }
    };
    match letters::Name::parse(&id) {
        Some(letters::Name::Delivery { authority, number }) => {
            let command = match retry {
                true => outbox::Command::Revive { undelivered: number },
                false => outbox::Command::Discard { undelivered: number },
            };
            site.runtime.registry().ask::<Outbox>(&authority, command, None).await?;
        }
        Some(letters::Name::Message { ulid }) => {
            let found = if retry {
                letters::retry(&site.runtime, &ulid).await?
            } else {
                letters::discard(&site.runtime, &ulid).await?
            };
            if !found {
                return Err(Problem::not_found(format!(
                    "there is no dead letter {id}; `quickbeam dead-letters` lists them"
                )));
            }
        }
        None => {
            return Err(Problem::not_found(format!(
                "there is no dead letter {id}; `quickbeam dead-letters` lists them"
            )));
        }
    }
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `POST /admin/tick`
pub async fn tick_now(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let told = tick::now(&site.runtime, true).await?;
    Ok(HttpResponse::Ok().json(json!({ "told": told })))
}

#[derive(Debug, Deserialize)]
pub struct FollowerQuery {
    status: Option<String>,
    actor: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// How a follower may stand.
const STANDINGS: [&str; 3] = ["asked", "accepted", "rejected"];

/// `GET /admin/followers?status=asked`
pub async fn followers(
    request: HttpRequest,
    query: Query<FollowerQuery>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let prefix = layout::index_prefix(Index::FollowersByActor, &Key::default());
    let paging = Paging { after: query.after.clone(), limit: query.limit };
    let wanted = query.status.as_deref().filter(|word| !word.is_empty());
    if let Some(word) = wanted.filter(|word| !STANDINGS.contains(word)) {
        return Err(Problem::bad_request(format!("there is no status {word:?}; there are {}", STANDINGS.join(", "))));
    }
    let found = page_around(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, |row| {
        let listed: follower::Listed = record::decode(&row.value).ok()?;
        let status = serde_json::to_value(listed.status).ok()?;
        let fits = wanted.is_none_or(|wanted| status == wanted);
        fits.then(|| json!({ "actor": listed.actor, "status": status, "since": listed.since.to_string() }))
    })
    .await?;
    Ok(HttpResponse::Ok().json(found))
}

/// `POST /admin/followers/{accept,reject}?actor=`
pub async fn move_follower(
    request: HttpRequest,
    verb: Path<String>,
    query: Query<FollowerQuery>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let command = match verb.as_str() {
        "accept" => follower::Command::Accept,
        "reject" => follower::Command::Reject,
        _ => return Err(Problem::not_found("a follower can be told accept and reject")),
    };
    let actor = query.actor.as_deref().ok_or_else(|| Problem::bad_request("actor is missing: add ?actor=ID"))?;
    let actor = site.named_peer(actor)?;
    let status = site.runtime.registry().ask::<Follower>(actor.as_str(), command, None).await?;
    Ok(HttpResponse::Ok().json(json!({ "actor": actor, "status": status })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    scopes: Vec<Scope>,
    prefix: Option<String>,
    expires: Option<String>,
}

/// `GET /admin/tokens`
pub async fn tokens(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    Ok(HttpResponse::Ok().json(json!({ "items": site.tokens.list() })))
}

/// `POST /admin/tokens`: the token is in the answer, and nowhere else.
pub async fn add_token(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let body = read_body(&site, payload).await?;
    let new: NewToken = serde_json::from_value(json_of(&site, &body)?)
        .map_err(|error| Problem::bad_request(format!("send {{\"name\": …, \"scopes\": […]}}: {error}")))?;
    let (now, clock, tokens) = (site.clock.now(), site.clock.clone(), site.tokens.clone());
    let name = new.name.clone();
    let seed = [clock.random(), clock.random()].concat();
    let made = actix_web::web::block(move || {
        let (prefix, expires) = (new.prefix.as_deref(), new.expires.as_deref());
        tokens.add(&Wanted { name: &new.name, scopes: &new.scopes, prefix, expires }, now, &seed)
    })
    .await;
    let token = made
        .map_err(|error| Problem::new(500, "failed", error.to_string()))?
        .map_err(|error| Problem::unprocessable(error.to_string()))?;
    Ok(HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "name": name, "token": token })))
}

/// `DELETE /admin/tokens/{name}`
pub async fn revoke_token(request: HttpRequest, name: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let (tokens, revoked) = (site.tokens.clone(), name.clone());
    let done = actix_web::web::block(move || tokens.revoke(&revoked)).await;
    done.map_err(|error| Problem::new(500, "failed", error.to_string()))?
        .map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(HttpResponse::Ok().json(json!({})))
}
