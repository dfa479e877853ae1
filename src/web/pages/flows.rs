//! The pages of flows: the list with its filter, one instance with its picture, and the form that moves it.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{filter, layout_of, moving, starting, text, time};
use crate::actors::flow::Flow;
use crate::domains::flow::state::moment;
use crate::domains::flow::verbs::Verb;
use crate::tokens::Scope;
use crate::web::auth::{granted, require};
use crate::web::flows::verbs::{command, refused, verb_of, words};
use crate::web::flows::{find, list, pictured, steps};
use crate::web::http::{json_of, read_body};
use crate::web::list::Page;
use crate::web::negotiate::{self, Wanted, wanted};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Payloads in the table of what happened, in letters; all of them are in the JSON.
const SHOWN_MAX: usize = 300;

/// A person's browser asks for a token as a password.
pub(super) fn signed_in(site: &Site, request: &HttpRequest, scope: Scope) -> Result<(), Problem> {
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
    let page = list(&site, words.0.clone()).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &page));
    }
    Ok(negotiate::html(layout_of(&site, "Flows", listed(&site, &words.0, &page))))
}

fn listed(site: &Site, words: &BTreeMap<String, String>, page: &Page<Value>) -> Markup {
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let waits = |item: &Value| {
        let signals = item["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str);
        signals.collect::<Vec<_>>().join(", ")
    };
    html! {
        p.meta {
            a href="/flows/queues" { "Queues" } " · " a href="/flows/versions" { "Versions" } " · " a href="/flows/runners" { "Runners" }
        }
        (filter::form(site, words))
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
                        td { @let object = field(item, "object"); @if !object.is_empty() { a href=(object) { (object) } } }
                    }
                }
            }
        }
        (more_of(words, &page.next))
        @if !page.items.is_empty() { (moving::form(words)) }
        (starting::form(site, words))
    }
}

/// The next page of the same filter.
fn more_of(words: &BTreeMap<String, String>, next: &Option<String>) -> Markup {
    let Some(next) = next else { return html! {} };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(words.iter().filter(|(word, _)| *word != "after")).append_pair("after", next);
    html! { p { a href={ "/flows?" (query.finish()) } { "More" } } }
}

/// `GET /flows/{id}`
pub async fn flow(request: HttpRequest, id: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let flow = find(&site, &id).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &flow));
    }
    let picture = pictured(&site, &id).await?;
    Ok(negotiate::html(layout_of(&site, &text(&flow["name"]), shown(&flow, picture, &steps(&site, &flow)))))
}

fn shown(flow: &Value, picture: Option<Markup>, steps: &[String]) -> Markup {
    let phase = flow["phase"].as_str().unwrap_or_default();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    html! {
        p.meta { span class={ "phase " (phase) } { (phase) } " started " (time(&text(&flow["started"]))) ", last moved " (time(&text(&flow["updated"]))) }
        @if let Some(trace) = flow["trace"]["id"].as_str() {
            p.meta { "trace " code { (trace) } @if flow["trace"].get("parent").is_some() { ", begun elsewhere" } }
        }
        (family(flow))
        @if let Some(reason) = flow.get("reason") { p { "Ended: " (text(reason)) (left(flow).unwrap_or_default()) } }
        @if let Some(gate) = flow["queued"]["gate"].as_str() {
            p.meta { "waits in the queue " a href={ "/flows/queues/" (gate) } { (gate) } }
        }
        ul.why { @for why in flow["why"].as_array().into_iter().flatten() { li { (text(why)) } } }
        @match picture {
            Some(picture) => div.scroll { (picture) },
            None => p.empty { "The definition that it began with is not here any more, so that there is no picture." },
        }
        (form(flow, steps))
        h2 { "Steps" }
        table.steps {
            thead { tr { th { "Step" } th { "State" } th { "Details" } } }
            tbody {
                @for (name, step) in flow["steps"].as_object().into_iter().flatten() {
                    tr { td { (name) } td { (step["state"].as_str().unwrap_or_default()) } td { code { (details(step, &["state"])) } } }
                }
            }
        }
        @if flow["undo"].as_array().is_some_and(|undo| !undo.is_empty()) {
            h2 { "To take back, the last first" }
            table.steps {
                thead { tr { th { "Step" } th { "Run" } th { "Undo" } } }
                tbody {
                    @for entry in flow["undo"].as_array().into_iter().flatten().rev() {
                        tr { td { (text(&entry["step"])) } td { (entry["run"].as_u64().unwrap_or(1)) } td { code { (undo_of(entry)) } } }
                    }
                }
            }
        }
        h2 { "What happened" }
        table.steps {
            thead { tr { th { "When" } th { "What" } th { "Step" } th { "Took" } th { "Details" } } }
            tbody {
                @for one in flow["timeline"].as_array().into_iter().flatten() {
                    tr {
                        td { (time(&text(&one["at"]))) }
                        td { (text(&one["fact"]).replace('_', " ")) }
                        td { (one["step"].as_str().unwrap_or_default()) }
                        td { @if let Some(took) = one["took_ms"].as_u64() { (took) " ms" } }
                        td { code { (details(one, &["at", "fact", "step", "took_ms", "turn", "key"])) } }
                    }
                }
            }
        }
        @if let Some(result) = flow.get("result") { h2 { "Result" } pre { (pretty(result)) } }
        h2 { "Began with" }
        pre { (pretty(&flow["input"])) }
    }
}

/// What a kill did not take back.
fn left(flow: &Value) -> Option<String> {
    match flow["left"].as_u64()? {
        0 => Some(". Nothing that it did was left to take back.".to_owned()),
        1 => Some(". One thing that it did was not taken back.".to_owned()),
        left => Some(format!(". {left} things that it did were not taken back.")),
    }
}

/// Who called it, and whom it has called.
fn family(flow: &Value) -> Markup {
    let children: Vec<&Value> = flow["children"].as_array().into_iter().flatten().collect();
    html! {
        @if let Some(parent) = flow.get("parent") {
            p.meta { "called by step " (text(&parent["step"])) " of " a href={ "/flows/" (text(&parent["id"])) } { (text(&parent["id"])) } }
        }
        @if !children.is_empty() {
            p.meta {
                "called "
                @for (nth, child) in children.iter().enumerate() {
                    @if nth > 0 { ", " }
                    a href={ "/flows/" (text(&child["id"])) } { (text(&child["flow"])) } " (" (text(&child["step"])) ")"
                }
            }
        }
    }
}

/// The token travels in the form and nowhere else: another page cannot send it, since it does not know it.
fn form(flow: &Value, steps: &[String]) -> Markup {
    let words = flow["possible"].as_array().into_iter().flatten().filter_map(Value::as_str);
    html! {
        h2 { "Move it" }
        form.filter method="post" action={ "/flows/" (text(&flow["id"])) } {
            label { "Tell it to " select name="verb" { @for word in words { option { (word) } } } }
            label { "Step " select name="step" { option value="" { "–" } @for step in steps { option { (step) } } } }
            label { "Element " input name="item" inputmode="numeric" size="3"; }
            label { "Signal " input name="signal" size="10"; }
            label { "JSON " input name="value" size="20" placeholder="payload, result or input"; }
            label { "Reason " input name="reason" size="16"; }
            label { "Token " input name="token" type="password" autocomplete="current-password" required size="14"; }
            button { "Do it" }
        }
    }
}

/// `POST /flows/{id}`: the form of a page.
pub async fn told(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let mut fields = filled_in(&site, &request, payload, &format!("POST /flows/{id}/VERB")).await?;
    let caller = granted(&site, &fields.remove("token").unwrap_or_default(), Scope::FlowsWrite)?;
    let verb = verb_of(fields.get("verb").map_or("", String::as_str))?;
    let command = command(verb, &given(&site, verb, &fields)?, &caller.grant.name)?;
    if let Err(error) = site.runtime.registry().ask::<Flow>(&id, command, None).await {
        return Err(refused(&site, &id, error).await);
    }
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/flows/{id}"))).finish())
}

/// The fields of a form. `instead` is what programs send.
///
/// # Errors
/// 415 for what is no form.
pub(super) async fn filled_in(
    site: &Site,
    request: &HttpRequest,
    payload: Payload,
    instead: &str,
) -> Result<BTreeMap<String, String>, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        let detail = format!("this takes the form of the page; programs send {instead}");
        return Err(Problem::new(415, "unsupported media type", detail));
    }
    let body = read_body(site, payload).await?;
    Ok(url::form_urlencoded::parse(&body).into_owned().collect())
}

/// What is filled in of what the verb takes.
pub(super) fn given(site: &Site, verb: Verb, fields: &BTreeMap<String, String>) -> Result<Value, Problem> {
    let (needed, more) = words(verb);
    let mut given = Map::new();
    for word in needed.iter().chain(more) {
        let name = if matches!(*word, "input" | "result" | "payload") { "value" } else { word };
        let Some(text) = fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty()) else { continue };
        let value = match name {
            "value" => json_of(site, text.as_bytes())?,
            "item" => text.parse::<u32>().map_or_else(|_| text.into(), Value::from),
            _ => json!(text),
        };
        given.insert((*word).to_owned(), value);
    }
    Ok(Value::Object(given))
}

fn undo_of(entry: &Value) -> String {
    match entry.get("undo") {
        None => "not begun".to_owned(),
        Some(undo) => format!("{} {}", undo["state"].as_str().unwrap_or_default(), details(undo, &["state"])),
    }
}

fn details(value: &Value, without: &[&str]) -> String {
    let told = value.as_object().into_iter().flatten().filter(|(name, _)| !without.contains(&name.as_str()));
    let said = |name, value| moment(name, value).map_or_else(|| text(value), |at| at.to_string());
    let told: Vec<String> = told.map(|(name, value)| format!("{name}: {}", said(name, value))).collect();
    let told = told.join("  ");
    match told.chars().count() > SHOWN_MAX {
        true => told.chars().take(SHOWN_MAX).chain(['…']).collect(),
        false => told,
    }
}
