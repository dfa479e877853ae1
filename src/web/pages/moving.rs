//! One verb for all flows that the list means: the form under the list, and the page that says what became of them.

use std::collections::BTreeMap;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::Value;

use super::flows::{filled_in, given};
use super::{layout_of, text};
use crate::domains::flow::verbs::Verb;
use crate::tokens::Scope;
use crate::web::auth::granted;
use crate::web::flows::bulk::All;
use crate::web::flows::filter::Filter;
use crate::web::flows::verbs::{command, verb_of};
use crate::web::list::Paging;
use crate::web::negotiate;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// What the names of the filter's words begin with in the form.
const WHERE: &str = "where.";
/// As many as one request tells.
const TOLD_MAX: usize = 200;

/// The form for what the list shows. Without a filter there is none, since it would mean everything there is.
pub(super) fn form(words: &BTreeMap<String, String>) -> Markup {
    let filter: BTreeMap<&str, &str> = words
        .iter()
        .filter(|(word, value)| !matches!(word.as_str(), "after" | "limit") && !value.is_empty())
        .map(|(word, value)| (word.as_str(), value.as_str()))
        .collect();
    if filter.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Move all of these" }
        form.filter method="post" action="/flows" {
            @for (word, value) in &filter { input type="hidden" name={ (WHERE) (word) } value=(value); }
            label { "Tell them to " select name="verb" { @for verb in Verb::ALL { option { (verb.word()) } } } }
            label { "Step " input name="step" size="10"; }
            label { "Signal " input name="signal" size="10"; }
            label { "JSON " input name="value" size="20" placeholder="payload, result or input"; }
            label { "Reason " input name="reason" size="16"; }
            (buttons())
        }
    }
}

fn buttons() -> Markup {
    html! {
        label { "Token " input name="token" type="password" autocomplete="current-password" required size="14"; }
        button name="dry_run" value="true" { "Show whom it would reach" }
        button name="dry_run" value="false" { "Do it" }
    }
}

/// `POST /flows`: the form under the list.
pub async fn told(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let mut fields = filled_in(&site, &request, payload, "POST /flows/bulk").await?;
    let caller = granted(&site, &fields.remove("token").unwrap_or_default(), Scope::FlowsWrite)?;
    let verb = verb_of(fields.get("verb").map_or("", String::as_str))?;
    let told = command(verb, &given(&site, verb, &fields)?, &caller.grant.name)?;
    let words = fields.iter().filter_map(|(name, value)| Some((name.strip_prefix(WHERE)?.to_owned(), value.clone())));
    let filter = Filter::read(&site, words)?;
    let after = fields.get("after").filter(|after| !after.is_empty()).cloned();
    let limit = Paging { after: None, limit: Some(TOLD_MAX) }.limit();
    // A form that says neither is taken for the one that changes nothing.
    let dry_run = fields.get("dry_run").is_none_or(|word| word != "false");
    let answer = All { verb, told, filter, after, limit, dry_run }.tell(&site, |_| Ok(None)).await?;
    Ok(negotiate::html(layout_of(&site, "Flows", shown(&fields, &answer))))
}

fn shown(fields: &BTreeMap<String, String>, answer: &Value) -> Markup {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let verb = text(&answer["verb"]);
    html! {
        p {
            @if answer["dry_run"] == true { (count("moved")) " would be told to " (verb) ", " (count("refused")) " would refuse." }
            @else { (count("moved")) " were told to " (verb) ", " (count("refused")) " refused." }
            @if let Some(left) = answer["left"].as_u64() { " Things that they did and that were not taken back: " (left) "." }
            @if answer.get("next").is_some() { " There are more." }
        }
        table {
            thead { tr { th { "Flow" } th { "What" } } }
            tbody {
                @for item in answer["items"].as_array().into_iter().flatten() {
                    tr { td { (link(item)) } td { (text(&item["phase"])) } }
                }
                @for item in answer["refusals"].as_array().into_iter().flatten() {
                    tr { td { (link(item)) } td { (text(&item["why"])) } }
                }
            }
        }
        form.filter method="post" action="/flows" {
            @for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "after" | "dry_run")) {
                input type="hidden" name=(name) value=(value);
            }
            // What was only shown is done from where it began; what was done goes on behind it.
            @let begins = if answer["dry_run"] == true { fields.get("after").map(String::as_str) } else { answer["next"].as_str() };
            @if answer["dry_run"] == true || begins.is_some() {
                @if let Some(after) = begins { input type="hidden" name="after" value=(after); }
                (buttons())
            }
        }
        p { a href="/flows" { "All flows" } }
    }
}

fn link(item: &Value) -> Markup {
    html! { a href={ "/flows/" (text(&item["id"])) } { (text(&item["name"])) } }
}
