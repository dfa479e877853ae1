//! `/flow` and `/flows`: starting, resuming, moving and seeing flow instances.

use std::time::Duration;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{Either, select};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::auth::{Caller, once_required, require};
use super::http::{json_of, read_body};
use super::list::{Page, Paging, page};
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::flow::{Command, Flow, Listed, Origin, Start, list_prefix};
use crate::actors::rows::Index;
use crate::actors::{inspect, layout, record};
use crate::domains::flow::expr::Input;
use crate::domains::flow::progress::{End, Phase, Progress};
use crate::store::Direction;
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// RFC 7240 lets us bound what a client prefers.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// `POST /flow/start/{name}`
pub async fn start(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let once = once_required(&request, &caller, &body)?;
    let catalog = &site.runtime.world.catalog;
    let compiled = catalog.current(&name).ok_or_else(|| {
        let known: Vec<String> = catalog.flows().map(|flow| flow.definition.name.clone()).collect();
        Problem::not_found(format!("there is no flow {:?}; this node has {}", *name, known.join(", ")))
    })?;
    let input = json_body(&site, &body)?;
    let start = Start {
        name: name.into_inner(),
        definition: compiled.hash.0.clone(),
        input: Input { object: input.get("object").cloned().unwrap_or_default(), input, ..Input::default() },
        origin: Origin::Api { by: caller.grant.name.clone() },
    };
    // The key gives the id, so that a repeat finds the same instance whatever became of the answer.
    let id = id_of(&caller, &request);
    let command = Command::Start(Box::new(start));
    site.runtime.registry().ask::<Flow>(&id, command, Some(once)).await?;
    moved(&site, &request, &id, 202).await
}

fn id_of(caller: &Caller, request: &HttpRequest) -> String {
    let key = request.headers().get("idempotency-key").map(|value| value.as_bytes()).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(&caller.grant.name)
        .chain_update(b"\n")
        .chain_update(request.path())
        .chain_update(b"\n")
        .chain_update(key)
        .finalize();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a resume says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    signal: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// `POST /flow/resume/{id}` and `POST /flows/{id}/resume`
pub async fn resume(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let once = once_required(&request, &caller, &body)?;
    let resume: Resume = serde_json::from_value(json_body(&site, &body)?)
        .map_err(|error| Problem::bad_request(format!("send {{\"signal\": \"approve\", \"payload\": …}}: {error}")))?;
    let by = Some(caller.grant.name.clone());
    let command = Command::Resume { signal: resume.signal, payload: resume.payload, by };
    site.runtime.registry().ask::<Flow>(&id, command, Some(once)).await?;
    moved(&site, &request, &id, 202).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
    step: Option<String>,
}

/// `POST /flows/{id}/cancel` and `POST /flows/{id}/retry`
pub async fn verb(
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let once = super::auth::once(&request, &caller, &body)?;
    let (id, verb) = path.into_inner();
    let given: Reason = serde_json::from_value(json_body(&site, &body)?)
        .map_err(|error| Problem::bad_request(format!("send {{\"reason\": …}} or {{\"step\": …}}: {error}")))?;
    let by = Some(caller.grant.name.clone());
    let command = match verb.as_str() {
        "cancel" => Command::Cancel {
            reason: given.reason.unwrap_or_else(|| format!("cancelled by {}", caller.grant.name)),
            by,
        },
        "retry" => Command::Retry { step: given.step, by },
        _ => {
            return Err(Problem::not_found(format!(
                "a flow cannot be told to {verb:?}; it can be resumed, cancelled and retried"
            )));
        }
    };
    site.runtime.registry().ask::<Flow>(&id, command, once).await?;
    moved(&site, &request, &id, 200).await
}

/// An empty body says nothing.
fn json_body(site: &Site, body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    json_of(site, body)
}

/// Answers where the instance stands; with `Prefer: wait` once it has come to rest, or the time is over.
async fn moved(site: &Site, request: &HttpRequest, id: &str, otherwise: u16) -> Result<HttpResponse, Problem> {
    let location = format!("{}/flow/{id}", site.runtime.world.base);
    let flow = match preferred_wait(request) {
        Some(wait) => settled(site, id, wait).await?,
        None => None,
    };
    Ok(match flow {
        Some(flow) => HttpResponse::Ok()
            .insert_header(("location", location))
            .insert_header(("preference-applied", "wait"))
            .json(instance(id, &flow)),
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

/// The instance once nothing moves it any more by itself; `None` when that takes longer than `wait`.
async fn settled(site: &Site, id: &str, wait: Duration) -> Result<Option<Flow>, Problem> {
    let actor = ActorId::of::<Flow>(id);
    let mut deadline = site.clock.sleep(wait);
    loop {
        let turn = site.runtime.registry().watch(&actor);
        let flow = stored(site, id).await?;
        if flow
            .as_ref()
            .and_then(|flow| flow.progress.as_ref())
            .is_some_and(|progress| !matches!(progress.phase(), Phase::Running | Phase::Queued))
        {
            return Ok(flow);
        }
        match select(turn, deadline).await {
            Either::Left((_, left)) => deadline = left,
            Either::Right(_) => return Ok(None),
        }
    }
}

/// The instance as it is on disk.
async fn stored(site: &Site, id: &str) -> Result<Option<Flow>, Problem> {
    inspect::state::<Flow>(&site.runtime, id).await.map_err(|reason| Problem::new(500, "damaged", reason))
}

/// The instance that a page or program asked for.
///
/// # Errors
/// 404 if there is none.
pub async fn find(site: &Site, id: &str) -> Result<Value, Problem> {
    let flow = stored(site, id).await?;
    flow.map(|flow| instance(id, &flow))
        .ok_or_else(|| Problem::not_found(format!("there is no flow {id}; GET /flows lists them")))
}

/// `GET /flow/{id}`
pub async fn show(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    require(&site, &request, Scope::FlowsRead)?;
    Ok(HttpResponse::Ok().json(find(&site, &id).await?))
}

/// An instance for programs and people.
fn instance(id: &str, flow: &Flow) -> Value {
    let progress = flow.progress.clone().unwrap_or_else(|| Progress::new(id));
    let mut waits_for: Vec<&str> = progress.waiting().map(|(_, signal, _)| signal).collect();
    waits_for.dedup();
    let start = flow.start.as_ref();
    let mut value = json!({
        "id": id,
        "name": start.map(|start| &start.name),
        "phase": progress.phase(),
        "started": flow.at.to_string(),
        "updated": flow.updated.to_string(),
        "definition": start.map(|start| &start.definition),
        "origin": start.map(|start| &start.origin),
        "input": start.map(|start| &start.input),
        "steps": progress.steps,
        "waits_for": waits_for,
        "queued": progress.queued().map(|(limit, key)| json!({ "limit": limit.word(), "key": key })),
    });
    match &progress.end {
        Some(End::Done { result }) => value["result"] = result.clone(),
        Some(End::Failed { reason, .. } | End::Cancelled { reason, .. } | End::Killed { reason, .. }) => {
            value["reason"] = reason.as_str().into()
        }
        None => {}
    }
    value
}

/// `?state=` besides the paging of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    pub state: Option<String>,
    pub after: Option<String>,
    pub limit: Option<usize>,
}

/// A page of instances, the newest first.
///
/// # Errors
/// 400 for an unknown state.
pub async fn list(site: &Site, filter: &Filter) -> Result<Page<Value>, Problem> {
    let phase = match filter.state.as_deref() {
        None | Some("" | "all") => None,
        Some(word) => Some(Phase::parse(word).ok_or_else(|| {
            let known: Vec<&str> = Phase::ALL.into_iter().map(Phase::word).collect();
            Problem::bad_request(format!("there is no state {word:?}; there are {}", known.join(", ")))
        })?),
    };
    let prefix = layout::index_prefix(Index::Flows, &list_prefix(phase));
    let paging = Paging { after: filter.after.clone(), limit: filter.limit };
    page(site.runtime.engine.as_ref(), &prefix, Direction::Backward, &paging, |row| {
        let listed: Listed = record::decode(&row.value).ok()?;
        let id = layout::index_owner(&row.key)?.key;
        Some(json!({
            "id": &*id, "name": listed.name, "phase": listed.phase, "started": listed.started.to_string(),
            "updated": listed.updated.to_string(), "waits_for": listed.waits_for, "object": listed.object,
        }))
    })
    .await
}

/// `GET /flows` as JSON
pub async fn index(request: HttpRequest, filter: Query<Filter>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    require(&site, &request, Scope::FlowsRead)?;
    Ok(HttpResponse::Ok().json(list(&site, &filter).await?))
}
