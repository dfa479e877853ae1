//! The pages of schedules: all of them, one with what it began and when it ticks next, and the form that moves it.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::flows::{filled_in, signed_in};
use super::{layout_of, more, text, time};
use crate::actors::schedule::Schedule;
use crate::domains::schedule::Overlap;
use crate::tokens::Scope;
use crate::web::auth::granted;
use crate::web::list::{Page, Paging};
use crate::web::negotiate::{self, Wanted, wanted};
use crate::web::schedules::{Verb, find, list};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `GET /flows/schedules`
pub async fn schedules(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let page = list(&site, &paging).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &page));
    }
    Ok(negotiate::html(layout_of(&site, "Schedules", listed(&page))))
}

fn listed(page: &Page<Value>) -> Markup {
    html! {
        @if page.items.is_empty() {
            p.empty { "No schedules here: " code { "[schedule.NAME]" } " of the configuration declares one." }
        }
        table {
            thead { tr { th { "Schedule" } th { "Flow" } th { "When" } th { "Next" } th { "Last" } th { "Begun" } th { "Missed" } th { "Skipped" } } }
            tbody {
                @for item in &page.items {
                    tr {
                        td { a href={ "/flows/schedules/" (text(&item["name"])) } { (text(&item["name"])) } }
                        td { a href={ "/flows?name=" (text(&item["flow"])) } { (text(&item["flow"])) } }
                        td { (text(&item["when"])) }
                        td { (next(item)) }
                        td { @if let Some(last) = item["last"].as_str() { (time(last)) } }
                        td { (text(&item["begun"])) }
                        td { (missed(item)) }
                        td { (text(&item["skipped"])) }
                    }
                }
            }
        }
        (more("/flows/schedules", &page.next))
    }
}

fn next(item: &Value) -> Markup {
    html! {
        @if !item["paused"].is_null() { span.phase.paused { "paused" } }
        @else if let Some(due) = item["due"].as_str() { (time(due)) }
    }
}

fn missed(item: &Value) -> String {
    format!("{}{}", text(&item["missed"]), if item["missed_more"] == true { "+" } else { "" })
}

/// `GET /flows/schedules/{name}`
pub async fn schedule(
    request: HttpRequest,
    name: Path<String>,
    paging: Query<Paging>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let schedule = find(&site, &name, &paging).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &schedule));
    }
    Ok(negotiate::html(layout_of(&site, &name, shown(&schedule))))
}

fn shown(schedule: &Value) -> Markup {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let next = schedule["next"].as_str().map(str::to_owned);
    html! {
        p.meta {
            "begins " a href={ "/flows?name=" (text(&schedule["flow"])) } { (text(&schedule["flow"])) } ", "
            (text(&schedule["when"])) "; when one still runs: " (text(&schedule["overlap"]))
        }
        ul.why { @for why in why(schedule) { li { (why) } } }
        (form(schedule))
        @if schedule["times"].as_array().is_some_and(|times| !times.is_empty()) {
            h2 { "Next" }
            ul.things { @for at in schedule["times"].as_array().into_iter().flatten() { li { (time(&text(at))) } } }
        }
        h2 { "Begun" }
        @if schedule["items"].as_array().is_some_and(Vec::is_empty) { p.empty { "Nothing yet." } }
        table.steps {
            thead { tr { th { "Due" } th { "Begun" } th { "Instance" } th { "State" } th { "Missed with it" } th { "By" } } }
            tbody {
                @for run in schedule["items"].as_array().into_iter().flatten() {
                    tr {
                        td { (time(&text(&run["due"]))) }
                        td { (time(&text(&run["at"]))) }
                        td { a href={ "/flows/" (text(&run["flow"])) } { (text(&run["flow"])) } }
                        td { @if let Some(phase) = run["phase"].as_str() { span class={ "phase " (phase) } { (phase) } } }
                        td { (missed(run)) }
                        td { (run["by"].as_str().unwrap_or_default()) }
                    }
                }
            }
        }
        (more(&format!("/flows/schedules/{}", text(&schedule["name"])), &next))
        h2 { "Begins with" }
        pre { (pretty(&schedule["input"])) }
    }
}

/// A sentence for each thing that keeps it from simply going on, and what it left out so far.
fn why(schedule: &Value) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(paused) = schedule["paused"].as_object() {
        let by = paused["by"].as_str().map_or("the configuration".to_owned(), str::to_owned);
        let reason = paused["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        why.push(format!(
            "Paused by {by} at {}{reason}. Continue lets it go on; fire begins one all the same.",
            text(&paused["at"])
        ));
    }
    if let Some(waiting) = schedule["waiting"].as_object() {
        why.push(format!("The tick of {} waits until the instances before it have ended.", text(&waiting["due"])));
    }
    if schedule["running"] != 0 {
        why.push(format!("{} of its instances have not ended.", schedule["running"]));
    }
    why.push(format!(
        "Begun {}, missed {} while the node could not answer, skipped {} because one still ran.",
        schedule["begun"],
        missed(schedule),
        schedule["skipped"]
    ));
    why
}

/// The token travels in the form and nowhere else: another page cannot send it, since it does not know it.
fn form(schedule: &Value) -> Markup {
    html! {
        h2 { "Move it" }
        form.filter method="post" action={ "/flows/schedules/" (text(&schedule["name"])) } {
            label { "Tell it to " select name="verb" { @for verb in Verb::ALL { option { (verb.word()) } } } }
            label { "Overlap, to fire " select name="overlap" {
                option value="" { "as declared" }
                @for overlap in Overlap::ALL { option { (overlap.word()) } }
            } }
            label { "Reason, to pause " input name="reason" size="16"; }
            label { "Token " input name="token" type="password" autocomplete="current-password" required size="14"; }
            button { "Do it" }
        }
    }
}

/// `POST /flows/schedules/{name}`: the form of a page.
pub async fn told(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let programs = format!("POST /flows/schedules/{name}/VERB");
    let mut fields: BTreeMap<String, String> = filled_in(&site, &request, payload, &programs).await?;
    let caller = granted(&site, &fields.remove("token").unwrap_or_default(), Scope::FlowsWrite)?;
    let verb = Verb::parse(fields.get("verb").map_or("", String::as_str))?;
    // A field that this verb has no use for stands in the same form.
    let word = match verb {
        Verb::Pause => Some("reason"),
        Verb::Continue => None,
        Verb::Fire => Some("overlap"),
    };
    let field = word.and_then(|word| Some((word, fields.get(word)?.trim()))).filter(|(_, text)| !text.is_empty());
    let given: Map<String, Value> = field.into_iter().map(|(word, text)| (word.to_owned(), text.into())).collect();
    let command = verb.command(&Value::Object(given), &caller.grant.name)?;
    site.runtime.registry().ask::<Schedule>(&name, command, None).await?;
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/flows/schedules/{name}"))).finish())
}
