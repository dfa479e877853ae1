//! The pages of queues: all limits by key, one with who is in and who waits, and the form that lets one go.

use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::Value;

use super::flows::{filled_in, signed_in};
use super::{layout_of, more, text, time};
use crate::tokens::Scope;
use crate::web::auth::granted;
use crate::web::list::{Page, Paging};
use crate::web::negotiate::{self, Wanted, wanted};
use crate::web::queues::{find, let_go, list};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `GET /flows/queues`
pub async fn queues(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let page = list(&site, &paging).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &page));
    }
    Ok(negotiate::html(layout_of(&site, "Queues", listed(&page))))
}

fn listed(page: &Page<Value>) -> Markup {
    html! {
        @if page.items.is_empty() {
            p.empty { "Nobody is in and nobody waits: " code { "concurrency" } " and " code { "rate" } " of a flow make queues." }
        }
        table {
            thead { tr { th { "Queue" } th { "Flow" } th { "Limit" } th { "Key" } th { "At most" } th { "In" } th { "Waiting" } } }
            tbody {
                @for item in &page.items {
                    tr {
                        td { a href={ "/flows/queues/" (text(&item["gate"])) } { (text(&item["gate"])) } }
                        td { a href={ "/flows?name=" (text(&item["flow"])) } { (text(&item["flow"])) } }
                        td { (text(&item["limit"])) }
                        td { (key(item)) }
                        td { (bound(item)) }
                        td { (text(&item["inside"])) }
                        td { (text(&item["waiting"])) }
                    }
                }
            }
        }
        (more("/flows/queues", &page.next))
    }
}

/// All share one where there is no key.
fn key(item: &Value) -> String {
    if item["key"].is_null() { String::new() } else { text(&item["key"]) }
}

/// `3`, or `3 in 10m`.
fn bound(item: &Value) -> String {
    let max = text(&item["max"]);
    item["per"].as_str().map_or_else(|| max.clone(), |per| format!("{max} in {per}"))
}

/// `GET /flows/queues/{gate}`
pub async fn queue(
    request: HttpRequest,
    gate: Path<String>,
    paging: Query<Paging>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let queue = find(&site, &gate, &paging).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &queue));
    }
    Ok(negotiate::html(layout_of(&site, &gate, shown(&queue))))
}

fn shown(queue: &Value) -> Markup {
    let rows = |name: &str| queue[name].as_array().cloned().unwrap_or_default();
    let (holders, waiting) = (rows("holders"), rows("items"));
    let next = queue["next"].as_str().map(str::to_owned);
    html! {
        p.meta {
            (text(&queue["limit"])) " of " a href={ "/flows?name=" (text(&queue["flow"])) } { (text(&queue["flow"])) }
            @if !queue["key"].is_null() { ", key " code { (text(&queue["key"])) } }
            ": at most " (bound(queue)) "; " (text(&queue["inside"])) " in, " (text(&queue["waiting"])) " waiting"
        }
        h2 { "In" }
        @if holders.is_empty() { p.empty { "Nobody." } }
        @else {
            table.steps {
                thead { tr { th { "Instance" } th { "Since" } } }
                tbody { @for one in &holders { tr { td { (instance(one)) } td { (time(&text(&one["since"]))) } } } }
            }
            (form(&text(&queue["gate"]), &holders))
        }
        h2 { "Waiting" }
        @if waiting.is_empty() { p.empty { "Nobody." } }
        @else {
            table.steps {
                thead { tr { th { "Place" } th { "Instance" } th { "Since" } } }
                tbody {
                    @for one in &waiting {
                        tr { td { @if let Some(place) = one["place"].as_u64() { (place) } } td { (instance(one)) } td { (time(&text(&one["since"]))) } }
                    }
                }
            }
        }
        (more(&format!("/flows/queues/{}", text(&queue["gate"])), &next))
    }
}

fn instance(one: &Value) -> Markup {
    html! { a href={ "/flows/" (text(&one["flow"])) } { (text(&one["flow"])) } }
}

/// The token travels in the form and nowhere else: another page cannot send it, since it does not know it.
fn form(gate: &str, holders: &[Value]) -> Markup {
    html! {
        form.filter method="post" action={ "/flows/queues/" (gate) } {
            label { "Let the next one in, and count no more " select name="flow" { @for one in holders { option { (text(&one["flow"])) } } } }
            label { "Token " input name="token" type="password" autocomplete="current-password" required size="14"; }
            button { "Release it" }
        }
        p.empty { "It is not ended by that: until it is, more are under way than the limit says." }
    }
}

/// `POST /flows/queues/{gate}`: the form of a page.
pub async fn told(
    request: HttpRequest,
    gate: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let mut fields = filled_in(&site, &request, payload, &format!("POST /flows/queues/{gate}/release")).await?;
    let caller = granted(&site, &fields.remove("token").unwrap_or_default(), Scope::FlowsWrite)?;
    let flow = fields.remove("flow").unwrap_or_default();
    let_go(&site, &gate, flow, caller.grant.name, None).await?;
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/flows/queues/{gate}"))).finish())
}
