//! `/flows/queues`: the gates of flows that have limits, who is in and who waits, in order.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::{once, require};
use super::http::{json_of, read_body};
use super::list::{Page, Paging, page_around};
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::flow::Flow;
use crate::actors::gate::{self, About, Gate, Listed, Place};
use crate::actors::once::Once;
use crate::actors::rows::Index;
use crate::actors::{inspect, layout, record};
use crate::config::reader::show_span;
use crate::domains::flow::progress::Progress;
use crate::store::{Direction, Key, Row, Span, around};
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// Places are counted up to this; one further back is shown without a number.
const COUNTED_MAX: usize = 10_000;

/// One that waits.
#[derive(Debug, Serialize)]
struct Waits {
    flow: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<usize>,
}

/// A page of the gates that somebody is in or waits at.
///
/// # Errors
/// What the store says, or 400 for a wrong `after`.
pub async fn list(site: &Site, paging: &Paging) -> Result<Page<Value>, Problem> {
    let prefix = layout::index_prefix(Index::Gates, &Key::default());
    let gates = page_around(site.runtime.engine.as_ref(), &prefix, Direction::Forward, paging, |row| {
        let listed: Listed = record::decode(&row.value).ok()?;
        Some(shown(&layout::index_owner(&row.key)?.key, &listed.about, listed.inside, listed.waiting))
    });
    gates.await
}

/// One gate, who is in, and a page of those that wait, the next one first.
///
/// # Errors
/// 404 when there is none of this name, and what the store says.
pub async fn find(site: &Site, gate: &str, paging: &Paging) -> Result<Value, Problem> {
    let id = ActorId::of::<Gate>(gate);
    let state = known(site, gate).await?;
    let about = state.about.as_ref().ok_or_else(|| unknown(gate))?;
    let engine = site.runtime.engine.as_ref();
    let inside = layout::row_prefix(&id, &gate::inside_rows());
    let inside =
        page_around(engine, &inside, Direction::Forward, &Paging { after: None, limit: Some(200) }, holder).await?;
    let waiting = layout::row_prefix(&id, &gate::waiting_rows());
    let mut rows = page_around(engine, &waiting, Direction::Forward, paging, |row| Some(row.clone())).await?;
    let before = match rows.items.first() {
        Some(first) => ahead(site, &waiting, &first.key).await?,
        None => Some(0),
    };
    let waits = |(nth, row): (usize, &Row)| {
        let place: Place = record::decode(&row.value).ok()?;
        let since = place.since.to_string();
        Some(Waits { flow: place.flow, since, place: before.map(|before| before + nth + 1) })
    };
    let items: Vec<Waits> = rows.items.iter().enumerate().filter_map(waits).collect();
    let mut answer = shown(gate, about, state.inside, state.waiting);
    answer["holders"] = json!(inside.items);
    answer["items"] = json!(items);
    if let Some(next) = rows.next {
        answer["next"] = next.into();
    }
    rows.left_out.extend(inside.left_out);
    if !rows.left_out.is_empty() {
        answer["left_out"] = json!(rows.left_out);
    }
    Ok(answer)
}

async fn known(site: &Site, gate: &str) -> Result<Gate, Problem> {
    inspect::state::<Gate>(&site.runtime, gate).await.map_err(damaged)?.ok_or_else(|| unknown(gate))
}

fn unknown(gate: &str) -> Problem {
    Problem::not_found(format!("there is no queue {gate:?}; GET /flows/queues lists them"))
}

/// What it takes to have somebody leave.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    flow: String,
}

/// `POST /flows/queues/{gate}/release`: an instance that is in counts no more, so that the next is let in. It is not
/// ended by that.
pub async fn release(
    request: HttpRequest,
    gate: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let once = once(&request, &caller, &body)?;
    let Release { flow } = serde_json::from_value(json_of(&site, &body)?)
        .map_err(|error| Problem::bad_request(format!("send {{\"flow\": ID}}: {error}")))?;
    Ok(HttpResponse::Ok().json(let_go(&site, &gate, flow, caller.grant.name, once).await?))
}

/// Has an instance leave, and says how many are there then.
///
/// # Errors
/// 404 for a gate that is none, 409 for an instance that is not in.
pub async fn let_go(site: &Site, gate: &str, flow: String, by: String, once: Option<Once>) -> Result<Value, Problem> {
    known(site, gate).await?;
    let command = gate::Command::Release { flow: flow.clone(), by: Some(by) };
    site.runtime.registry().ask::<Gate>(gate, command, once).await?;
    let state = inspect::state::<Gate>(&site.runtime, gate).await.map_err(damaged)?.unwrap_or_default();
    Ok(json!({ "gate": gate, "released": flow, "inside": state.inside, "waiting": state.waiting }))
}

/// `GET /flows/{id}/queue`: what an instance waits for before it begins, and its place.
pub async fn place(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    require(&site, &request, Scope::FlowsRead)?;
    let flow = inspect::state::<Flow>(&site.runtime, &id).await.map_err(damaged)?;
    let flow = flow.ok_or_else(|| Problem::not_found(format!("there is no flow {id}; GET /flows lists them")))?;
    Ok(HttpResponse::Ok().json(match stands(&site, &id, &flow).await? {
        None => json!({ "id": *id, "queued": false }),
        Some(Stands { limit, key, gate, place }) => {
            json!({ "id": *id, "queued": true, "limit": limit, "key": key, "gate": gate, "place": place })
        }
    }))
}

/// The queue that an instance waits in before it begins, and its place there.
#[derive(Debug, Serialize)]
pub struct Stands<'a> {
    limit: &'static str,
    key: &'a Value,
    pub gate: String,
    /// `None` when it cannot be counted, or while the instance is on its way to the gate, or in.
    pub place: Option<usize>,
}

/// Where an instance waits; `None` for one that does not.
///
/// # Errors
/// What the store says.
pub async fn stands<'a>(site: &Site, id: &str, flow: &'a Flow) -> Result<Option<Stands<'a>>, Problem> {
    let queued = flow.progress.as_ref().and_then(Progress::queued).zip(flow.start.as_ref());
    let Some(((limit, key), start)) = queued else { return Ok(None) };
    let gate = gate::id(&start.name, limit, key);
    let waiting = layout::row_prefix(&ActorId::of::<Gate>(gate.as_str()), &gate::waiting_rows());
    let place = match gate::stands(&site.runtime, &gate, id).await? {
        Some(at) => ahead(site, &waiting, &at).await?.map(|ahead| ahead + 1),
        None => None,
    };
    Ok(Some(Stands { limit: limit.word(), key, gate, place }))
}

/// How many wait before a row, if they can be counted.
async fn ahead(site: &Site, waiting: &Key, row: &Key) -> Result<Option<usize>, Problem> {
    let span = Span { to: row.clone(), ..Span::prefix(waiting, COUNTED_MAX) };
    let found = around::range(site.runtime.engine.as_ref(), span).await?;
    let count = found.rows.len() + found.unread.len();
    Ok((count < COUNTED_MAX).then_some(count))
}

fn holder(row: &Row) -> Option<Value> {
    let place: Place = record::decode(&row.value).ok()?;
    Some(json!({ "flow": place.flow, "since": place.since.to_string() }))
}

fn shown(gate: &str, about: &About, inside: u64, waiting: u64) -> Value {
    let per = about.per.map(|millis| show_span(std::time::Duration::from_millis(millis)));
    json!({
        "gate": gate, "flow": about.flow, "limit": about.limit.word(), "key": about.key, "max": about.max, "per": per,
        "inside": inside, "waiting": waiting,
    })
}

fn damaged(reason: String) -> Problem {
    Problem::new(500, "damaged", reason)
}
