//! The pages for people: plain, readable, without a script.

use std::collections::BTreeMap;

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::auth::{caller, require};
use super::flows;
use super::list::{Page, Paging, page};
use super::negotiate::{self, Wanted, wanted};
use super::public::{self, Shown};
use super::site::Site;
use crate::actors::held::HELD;
use crate::actors::rows::Index;
use crate::actors::{layout, record};
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::{Direction, Key};
use crate::tokens::Scope;
use crate::wire::error::Problem;

const STYLE: &str = include_str!("style.css");

fn layout_of(site: &Site, title: &str, body: Markup) -> Markup {
    let name = &site.runtime.world.name;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · " (name) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header {
                    a.name href="/" { (name) }
                    nav {
                        a href="/activities" { "Activities" }
                        a href="/flows" { "Flows" }
                    }
                }
                @if site.runtime.is_held() { p.notice role="status" { (HELD) } }
                main { h1 { (title) } (body) }
                footer { "A Quickbeam node at " (site.runtime.world.authority.as_str()) }
            }
        }
    }
}

/// A time as people read it, to the minute; the whole of it for machines.
fn time(at: &str) -> Markup {
    let short = at.get(..16).map_or_else(|| at.to_owned(), |minute| minute.replace('T', " "));
    html! { time datetime=(at) title=(at) { (short) } }
}

/// `GET /`
pub async fn home(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let prefix = layout::index_prefix(Index::Objects, &Key::default());
    let known = caller(&site, &request)?.is_some();
    let objects = page(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, |row| {
        let object: Object = record::decode(&row.value).ok()?;
        (object.deleted.is_none() && (known || object.visibility == Visibility::Public)).then_some(object)
    })
    .await?;
    if wanted(&request) != Wanted::Html {
        let next = objects.next;
        let items = objects.items.iter().map(|object| object.json(&site.runtime.world.iri(&object.path))).collect();
        return Ok(negotiate::json(Wanted::Json, &Page::<Value> { items, next }));
    }
    let body = html! {
        @if objects.items.is_empty() { p.empty { "Nothing has been published here yet." } }
        ul.things {
            @for object in &objects.items {
                li {
                    a href={ "/" (object.path) } { (object.title.as_deref().unwrap_or(&object.path)) }
                    " " span.kind { (object.kind) } " " (time(&object.published.to_string()))
                }
            }
        }
        (more("/", &objects.next))
    };
    Ok(negotiate::html(layout_of(&site, &site.runtime.world.name, body)))
}

fn more(path: &str, next: &Option<String>) -> Markup {
    html! { @if let Some(next) = next { p { a href={ (path) "?after=" (next) } { "More" } } } }
}

/// The next page of flows, of the same filter.
fn more_of(words: &BTreeMap<String, String>, next: &Option<String>) -> Markup {
    let Some(next) = next else { return html! {} };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(words.iter().filter(|(word, _)| *word != "after")).append_pair("after", next);
    html! { p { a href={ "/flows?" (query.finish()) } { "More" } } }
}

/// `GET /{slug}`
pub async fn object(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let path = request.path().trim_start_matches('/').to_owned();
    let shown = public::object(&site, &request, &path).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(public::object_json(&request, &shown));
    }
    let title = shown.object.title.as_deref().unwrap_or(&shown.object.path).to_owned();
    if shown.object.deleted.is_some() {
        let body = html! { p.empty { "This was deleted." } };
        let mut response = negotiate::html(layout_of(&site, "Gone", body));
        *response.status_mut() = actix_web::http::StatusCode::GONE;
        return Ok(response);
    }
    Ok(negotiate::html(layout_of(&site, &title, object_body(&shown))))
}

fn object_body(shown: &Shown) -> Markup {
    html! {
        p.meta { span.kind { (shown.object.kind) } " " (time(&shown.object.published.to_string())) }
        dl {
            // The title is the heading already.
            @for (name, value) in shown.object.fields.iter().filter(|(_, value)| value.as_str() != shown.object.title.as_deref()) {
                dt { (name) }
                dd { (text(value)) }
            }
        }
        @if !shown.items.is_empty() {
            h2 { "In it" }
            ul.things {
                @for item in &shown.items {
                    li { a href=(item.what) { (item.title.as_deref().unwrap_or(&item.what)) } " " (time(&item.at.to_string())) }
                }
            }
        }
        @if !shown.allocations.is_empty() {
            h2 { "Allocated" }
            ul.things {
                @for one in &shown.allocations {
                    li {
                        a href=(one.target.as_str()) { (one.target.as_str()) } " "
                        @match (one.accepted, &one.result) {
                            (None, _) => span.kind { "not answered yet" },
                            (Some(false), _) => span.kind { "refused" },
                            (Some(true), None) => span.kind { "accepted" },
                            (Some(true), Some(result)) => a href=(result.as_str()) { (result.as_str()) },
                        }
                    }
                }
            }
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `GET /activities`
pub async fn activities(
    request: HttpRequest,
    paging: Query<Paging>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let known = caller(&site, &request)?.is_some();
    let page = public::activities(&site, &paging, known).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &page));
    }
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let body = html! {
        @if page.items.is_empty() { p.empty { "No activities yet." } }
        table {
            thead { tr { th { "When" } th { "" } th { "What" } th { "Who" } th { "About" } } }
            tbody {
                @for item in &page.items {
                    tr {
                        td { (time(&field(item, "at"))) }
                        td { (if item["way"] == "made" { "sent" } else { "received" }) }
                        td { b { (field(item, "verb")) } }
                        td { a href=(field(item, "actor")) { (field(item, "actor")) } }
                        td { a href=(field(item, "object")) { (field(item, "object")) } }
                    }
                }
            }
        }
        (more("/activities", &page.next))
    };
    Ok(negotiate::html(layout_of(&site, "Activities", body)))
}

/// A person's browser asks for a token as a password.
fn signed_in(site: &Site, request: &HttpRequest, scope: Scope) -> Result<(), Problem> {
    let challenge = Some("Basic realm=\"quickbeam: any name, a token as the password\", charset=\"UTF-8\"");
    require(site, request, scope).map(drop).map_err(|problem| match wanted(request) {
        Wanted::Html if problem.status == 401 => Problem { challenge, ..problem },
        _ => problem,
    })
}

/// `GET /flows`
pub async fn flows(
    request: HttpRequest,
    words: Query<BTreeMap<String, String>>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let page = flows::list(&site, words.0.clone()).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &page));
    }
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let waits = |item: &Value| {
        let signals = item["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str);
        signals.collect::<Vec<_>>().join(", ")
    };
    let body = html! {
        @if page.items.is_empty() { p.empty { "No flows here." } }
        table {
            thead { tr { th { "Flow" } th { "State" } th { "Waits for" } th { "Started" } th { "About" } } }
            tbody {
                @for item in &page.items {
                    tr {
                        td { a href={ "/flows/" (field(item, "id")) } { (field(item, "name")) } }
                        td { span class={ "phase " (field(item, "phase")) } { (field(item, "phase")) } }
                        td { (waits(item)) }
                        td { (time(&field(item, "started"))) }
                        td { @let object = field(item, "object"); a href=(object) { (object) } }
                    }
                }
            }
        }
        (more_of(&words.0, &page.next))
    };
    Ok(negotiate::html(layout_of(&site, "Flows", body)))
}

/// `GET /flows/{id}`
pub async fn flow(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let flow = flows::find(&site, &id).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &flow));
    }
    let phase = flow["phase"].as_str().unwrap_or_default();
    let body = html! {
        p.meta { span class={ "phase " (phase) } { (phase) } " started " (time(&text(&flow["started"]))) ", last moved " (time(&text(&flow["updated"]))) }
        table {
            thead { tr { th { "Step" } th { "State" } th { "Details" } } }
            tbody {
                @for (name, step) in flow["steps"].as_object().into_iter().flatten() {
                    tr {
                        td { (name) }
                        td { (step["state"].as_str().unwrap_or_default()) }
                        td { code { (details(step)) } }
                    }
                }
            }
        }
        @if let Some(result) = flow.get("result") { h2 { "Result" } pre { (serde_json::to_string_pretty(result).unwrap_or_default()) } }
        @if let Some(reason) = flow.get("reason") { h2 { "Why it ended" } p { (text(reason)) } }
        h2 { "Began with" }
        pre { (serde_json::to_string_pretty(&flow["input"]).unwrap_or_default()) }
    };
    Ok(negotiate::html(layout_of(&site, &text(&flow["name"]), body)))
}

fn details(step: &Value) -> String {
    let Some(step) = step.as_object() else { return String::new() };
    step.iter()
        .filter(|(name, _)| *name != "state")
        .map(|(name, value)| format!("{name}: {}", text(value)))
        .collect::<Vec<_>>()
        .join("  ")
}
