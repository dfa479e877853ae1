//! `/flows/{id}/export`: all that is kept of one instance, in one piece that can be read without the node.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::shown::{hide, instance, tokens};
use super::{family, known};
use crate::actors::flow::{Event, Flow};
use crate::actors::inspect;
use crate::tokens::Scope;
use crate::web::auth::require;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// What the form of an export is called; a later form has a later number.
const FORMAT: u32 = 1;
/// Turns of one instance: more than its bound on steps lets it take.
const TURNS_MAX: usize = 100_000;

/// `GET /flows/{id}/export`: definition, input, every event with its payloads, results, and what there is to take back.
pub async fn export(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    require(&site, &request, Scope::FlowsRead)?;
    let flow = known(&site, &id).await?;
    let past = inspect::past::<Flow>(&site.runtime, &id, TURNS_MAX).await?;
    let mut shown = instance(&id, &flow);
    family::link(&site, &flow, &mut shown);
    let start = flow.start.as_ref();
    let definition = start.and_then(|start| site.runtime.world.catalog.definition(&start.definition));
    let mut events = Vec::new();
    for turn in &past {
        let of_turn = turn.events.iter().map(|event| told(turn.turn, &turn.at.to_string(), event));
        events.extend(of_turn);
    }
    let tokens = tokens(&flow);
    events.iter_mut().for_each(|event| hide(event, &tokens));
    let world = &site.runtime.world;
    let body = json!({
        "format": FORMAT,
        "exported": site.clock.now().to_string(),
        "node": { "name": world.name, "base": world.base, "version": env!("CARGO_PKG_VERSION") },
        "instance": shown,
        // A node that was restored without its configuration may not have it.
        "definition": definition.as_ref().map(|compiled| &compiled.definition),
        "events": events,
        // Of a long life the first turns may be trimmed; the instance says what came of them.
        "events_from": past.first().map(|turn| turn.turn),
    });
    let name = format!("attachment; filename=\"flow-{}.json\"", id.as_str());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_DISPOSITION, name))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body))
}

/// An event as it is stored, without what nobody else may know.
fn told(turn: u64, at: &str, event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(fact) = value.pointer_mut("/happened/fact").and_then(Value::as_object_mut) {
        fact.remove("callback");
    }
    json!({ "turn": turn, "at": at, "event": value })
}
