//! Between nodes that run flows for each other: what this one can do, taking an instance, hearing what it is told, and
//! what others say of ours. And for people: who runs the flows of this node.

use std::collections::BTreeSet;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth::{no_key, once_of};
use super::http::{json_of, read_body};
use super::neighbour::Neighbour;
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::flow::{Command, Flow};
use crate::actors::hand::Told;
use crate::actors::lent::{self, Lasted, Lend, Lent};
use crate::actors::once::Once;
use crate::actors::{inspect, layout};
use crate::domains::flow::check::compile;
use crate::domains::flow::definition::Definition;
use crate::domains::flow::expr::Input;
use crate::domains::flow::kinds::{KINDS, PROTOCOL, Runner, needed, secrets};
use crate::domains::flow::mirror::within_bounds;
use crate::domains::flow::progress::Progress;
use crate::store::{Batch, Outcome};
use crate::wire::error::Problem;

/// Definitions that this node keeps, its own included: others could send a new one with each instance.
const DEFINITIONS_MAX: usize = 10_000;
/// Letters of what another node calls its instance.
const INSTANCE_MAX: usize = 128;

/// `GET /flow/runner`
pub async fn here(site: Data<Site>) -> HttpResponse {
    let kinds: BTreeSet<&str> = site.runtime.world.runners.here();
    HttpResponse::Ok().json(json!({ "protocol": PROTOCOL, "kinds": kinds }))
}

/// What another node wants run here.
#[derive(Debug, Deserialize)]
struct Offer {
    protocol: String,
    instance: String,
    hold: u32,
    #[serde(default)]
    heard: u64,
    definition: Definition,
    input: Input,
    progress: Progress,
}

/// `POST /flow/start`: another node's instance, with its definition and how far it is.
pub async fn take(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let (node, body, once) = signed(&site, &request, payload).await?;
    node.is_allowed(&site)?;
    let offer: Offer = read(&site, &body)?;
    let lend = accept(&site, &node, offer).await?;
    let id = lent::id(&lend.lent.home, &lend.lent.instance, lend.lent.hold);
    site.runtime.registry().ask::<Flow>(&id, Command::Lend(Box::new(lend)), Some(once)).await?;
    let location = format!("{}/flow/{id}", site.runtime.world.base);
    Ok(HttpResponse::Accepted().insert_header(("location", location)).json(json!({ "id": id })))
}

/// Everything that is checked of a flow of our own when the node starts, and what only strangers can do wrong.
async fn accept(site: &Site, node: &Neighbour, offer: Offer) -> Result<Lend, Problem> {
    let Offer { protocol, instance, hold, heard, definition, input, progress } = offer;
    let wrong = |what: String| Err(Problem::unprocessable(what));
    if protocol != PROTOCOL {
        return wrong(format!("it speaks {protocol:?}, this node speaks {PROTOCOL}: update the older of the two"));
    }
    let named = (1..=INSTANCE_MAX).contains(&instance.len()) && instance.bytes().all(|it| it.is_ascii_alphanumeric());
    if !named || progress.flow != instance {
        return wrong(format!("the instance {instance:?} has no usable name, or its progress is that of another one"));
    }
    let here = site.runtime.world.runners.here();
    let missing: Vec<&str> = needed(&definition).difference(&here).copied().collect();
    if !missing.is_empty() {
        return wrong(format!("this node does not do {}; GET /flow/runner says what it does", missing.join(", ")));
    }
    if let Some(secret) = secrets(&definition).first() {
        return wrong(format!(
            "its requests are sent with the secret `{secret}`; no secret of this node is for others"
        ));
    }
    let progress = Progress { gates: [].into(), held: None, ..progress };
    let hash = define(site, definition, progress.clone()).await?;
    let lent = Lent { home: node.actor.clone(), instance, hold, heard, line: Default::default(), gone: false };
    Ok(Lend { name: hash.0, definition: hash.1, input, lent, progress })
}

/// Checks a definition away from where others are served, and keeps it for as long as instances may need it.
async fn define(site: &Site, definition: Definition, progress: Progress) -> Result<(String, String), Problem> {
    let catalog = site.runtime.world.catalog.clone();
    let lean = Definition { concurrency: None, rate: None, search: [].into(), expose: false, ..definition };
    let (name, hash, bytes) = (lean.name.clone(), lean.hash(), lean.to_bytes());
    if name.is_empty() || name.len() > INSTANCE_MAX {
        return Err(Problem::unprocessable("the flow has no usable name: 1 to 128 letters"));
    }
    if catalog.definition(&hash.0).is_none() && catalog.known().len() >= DEFINITIONS_MAX {
        return Err(Problem::unavailable(format!(
            "this node keeps {DEFINITIONS_MAX} definitions and takes no new one"
        )));
    }
    let bounds = catalog.bounds();
    let checked = actix_web::web::block(move || compile(lean, bounds)).await;
    let checked =
        checked.map_err(|_| Problem::unavailable("the definition could not be checked: the node is stopping"))?;
    let compiled = checked.map_err(|faults| {
        let faults: Vec<String> = faults.iter().take(20).map(ToString::to_string).collect();
        Problem::unprocessable(format!("the definition cannot run here: {}", faults.join("; ")))
    })?;
    let strange = progress.steps.keys().find(|step| !compiled.definition.steps.contains_key(*step));
    if let Some(strange) = strange {
        return Err(Problem::unprocessable(format!("its progress has a step `{strange}`, which the flow has not")));
    }
    within_bounds(&compiled, &progress).map_err(Problem::unprocessable)?;
    if catalog.definition(&hash.0).is_none() {
        let puts = vec![(layout::definition(&hash.0), bytes.clone().into())];
        let batch = Batch { fence: site.runtime.fence(), puts, ..Batch::default() };
        if !matches!(site.runtime.engine.commit(batch).await, Outcome::Committed(_)) {
            return Err(Problem::unavailable("the definition could not be stored"));
        }
        let added = actix_web::web::block(move || catalog.add_stored(&bytes).map(drop)).await;
        let added = added.map_err(|_| Problem::unavailable("the node is stopping"))?;
        added.map_err(|error| Problem::unprocessable(error.to_string()))?;
    }
    Ok((name, hash.0))
}

#[derive(Debug, Deserialize)]
struct Words {
    hold: u32,
    from: u64,
    words: Vec<Command>,
}

/// `POST /flow/words/{id}`: what the home of an instance that is run here tells it.
pub async fn words(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let (node, body, once) = signed(&site, &request, payload).await?;
    let Words { hold, from, words } = read(&site, &body)?;
    let command = Command::Words { by: node.actor.clone(), hold, from, words };
    tell(&site, &id, command, once).await
}

/// `POST /flow/release/{id}`: the home of an instance does not want it run here any more.
pub async fn release(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let (node, _, once) = signed(&site, &request, payload).await?;
    tell(&site, &id, Command::Released { by: node.actor.clone() }, once).await
}

#[derive(Debug, Deserialize)]
struct Effects {
    instance: String,
    hold: u32,
    from: u64,
    turns: Vec<Lasted>,
}

/// `POST /flow/effects/{id}`: what an instance of ours did at the node that runs it, and so what is to be done here.
/// Only whoever holds it is heard.
pub async fn effects(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let (node, body, once) = signed(&site, &request, payload).await?;
    let Effects { instance, hold, from, turns } = read(&site, &body)?;
    let told = Told { by: node.actor.clone(), instance, hold, from, turns };
    tell(&site, &id, Command::Told(Box::new(told)), once).await
}

async fn signed(
    site: &Site,
    request: &HttpRequest,
    payload: Payload,
) -> Result<(Neighbour, bytes::Bytes, Once), Problem> {
    let body = read_body(site, payload).await?;
    let node = Neighbour::of(site, request, body.clone()).await?;
    let once = once_of(request, &format!("\u{1f}node {}", node.actor), &body)?.ok_or_else(no_key)?;
    Ok((node, body, once))
}

fn read<T: DeserializeOwned>(site: &Site, body: &[u8]) -> Result<T, Problem> {
    let value = json_of(site, body)?;
    serde_json::from_value(value).map_err(|error| {
        Problem::unprocessable(format!(
            "the body is not what one node says to another, or a newer one says it: {error}"
        ))
    })
}

async fn tell(site: &Site, id: &str, command: Command, once: Once) -> Result<HttpResponse, Problem> {
    // What is not there wakes no actor.
    if !inspect::exists(&site.runtime, &ActorId::of::<Flow>(id)).await? {
        return Err(Problem::not_found(format!("there is no flow {id} here")));
    }
    site.runtime.registry().ask::<Flow>(id, command, Some(once)).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "taken" })))
}

/// Who runs the flows of this node, in the order in which they are asked.
pub async fn list(site: &Site) -> Value {
    let items = join_all(site.runtime.world.runners.0.iter().map(|runner| shown(site, runner))).await;
    let kernel: Vec<&str> = site.kernel.iter().map(|authority| authority.as_str()).collect();
    json!({ "items": items, "kernel": { "allow": kernel } })
}

async fn shown(site: &Site, runner: &Runner) -> Value {
    let remote = match runner {
        Runner::Here(kinds) => {
            return json!({ "url": "here", "state": "ready", "protocol": PROTOCOL, "kinds": kinds });
        }
        Runner::At(remote) => remote,
    };
    match site.runners.ask(&remote.base).await {
        Ok(able) => {
            let strange: Vec<&String> = able.kinds.iter().filter(|kind| !KINDS.contains(&kind.as_str())).collect();
            let error = (!strange.is_empty()).then(|| format!("this node knows no kind {strange:?}"));
            json!({
                "url": remote.base, "state": "ready", "protocol": able.protocol, "kinds": able.kinds, "error": error,
            })
        }
        Err(error) => json!({ "url": remote.base, "state": "away", "error": error.to_string() }),
    }
}
