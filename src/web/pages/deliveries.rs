//! `/activities/{ulid}/deliveries`: what went to whom and why not, for who operates the node: as JSON and as a page.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::flows::signed_in;
use super::{layout_of, time};
use crate::actors::deliveries::{self, Counts, Delivery, State};
use crate::actors::errands::Recipient;
use crate::actors::log::{Entry, Way};
use crate::actors::rows::{Index, parts};
use crate::actors::{layout, record};
use crate::store::{Direction, Row, Span};
use crate::tokens::Scope;
use crate::web::list::{Page, Paging, page_around};
use crate::web::negotiate::{self, Wanted, wanted};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `?state=&after=&limit=`
#[derive(Debug, Deserialize)]
pub struct Asked {
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /activities/{ulid}/deliveries`
pub async fn deliveries(
    request: HttpRequest,
    ulid: Path<String>,
    asked: Query<Asked>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::Admin)?;
    let state = asked.state.as_deref().filter(|word| !word.is_empty());
    if let Some(word) = state.filter(|word| !State::WORDS.contains(word)) {
        let what = format!("there is no state {word:?}; there are {}", State::WORDS.join(", "));
        return Err(Problem::bad_request(what));
    }
    let entry = made(&site, &ulid).await?;
    let paging = Paging { after: asked.after.clone(), limit: asked.limit };
    let read = |row: &Row| {
        let delivery: Delivery = record::decode(&row.value).ok()?;
        state.is_none_or(|word| delivery.state.word() == word).then(|| shown(&delivery))
    };
    let engine = site.runtime.engine.as_ref();
    let page = page_around(engine, &deliveries::prefix(&ulid), Direction::Forward, &paging, read).await?;
    let counts = deliveries::counts(&site.runtime, &ulid).await?;
    if wanted(&request) != Wanted::Html {
        let answer = json!({
            "activity": entry.id, "verb": entry.verb.as_str(), "object": entry.object, "at": entry.at.to_string(),
            "counts": counts, "items": page.items, "next": page.next, "left_out": page.left_out,
        });
        return Ok(negotiate::json(Wanted::Json, &answer));
    }
    Ok(negotiate::html(layout_of(&site, "Deliveries", body(&entry, &ulid, state, counts, &page))))
}

/// An activity that went out from here.
async fn made(site: &Site, ulid: &str) -> Result<Entry, Problem> {
    let prefix = layout::index_prefix(Index::Activities, &parts([ulid]));
    let rows = site.runtime.engine.range(Span::prefix(&prefix, 1)).await?;
    let entry = rows.first().and_then(|row| record::decode::<Entry>(&row.value).ok());
    entry.filter(|entry| entry.way == Way::Made).ok_or_else(|| {
        Problem::not_found(format!("this node has made no activity {ulid}; `quickbeam activities` lists them"))
    })
}

fn shown(delivery: &Delivery) -> Value {
    let (Recipient::Inbox(to) | Recipient::Actor(to)) = &delivery.to;
    let (attempts, at, why) = match &delivery.state {
        State::Waiting { attempts, what } => (attempts, None, what.as_ref()),
        State::Delivered { at, attempts } => (attempts, Some(at), None),
        State::GivenUp { at, attempts, reason } => (attempts, Some(at), Some(reason)),
    };
    json!({
        "to": to, "state": delivery.state.word(), "since": delivery.since.to_string(),
        "at": at.map(ToString::to_string), "attempts": attempts, "why": why,
    })
}

fn body(entry: &Entry, ulid: &str, state: Option<&str>, counts: Counts, page: &Page<Value>) -> Markup {
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let link = |word: &str| format!("/activities/{ulid}/deliveries?state={word}");
    let Counts { delivered, waiting, given_up } = counts;
    html! {
        p.meta {
            b { (entry.verb.as_str()) } " " a href=(entry.object.as_str()) { (entry.object.as_str()) }
            " " (time(&entry.at.to_string()))
        }
        p {
            a href=(link("delivered")) { (delivered) " have it" } ", "
            a href=(link("waiting")) { (waiting) " wait for it" } ", "
            a href=(link("given-up")) { (given_up) " were given up" }
        }
        @if page.items.is_empty() { p.empty { "Nothing here." } }
        table {
            thead { tr { th { "To" } th { "State" } th { "Tries" } th { "Queued" } th { "Done" } th { "Why not" } } }
            tbody {
                @for item in &page.items {
                    tr {
                        td { (field(item, "to")) }
                        td { span class={ "phase " (field(item, "state")) } { (field(item, "state")) } }
                        td { (item["attempts"]) }
                        td { (time(&field(item, "since"))) }
                        td { @if let Some(at) = item["at"].as_str() { (time(at)) } }
                        td { (field(item, "why")) }
                    }
                }
            }
        }
        @if let Some(next) = &page.next {
            p { a href={ (link(state.unwrap_or_default())) "&after=" (next) } { "More" } }
        }
    }
}
