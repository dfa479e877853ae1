//! The pages for people: plain, readable, without a script.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::list::{Page, Paging, page};
use super::methods::nothing;
use super::negotiate::{self, Wanted, wanted};
use super::public::{self, Shown, for_readers};
use super::reader::Reader;
use super::site::Site;
use crate::actors::held::HELD;
use crate::actors::reactions::{Reaction, Tally};
use crate::actors::rows::Index;
use crate::actors::{layout, record};
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::{Direction, Key};
use crate::wire::error::Problem;

pub mod deliveries;
mod filter;
pub mod flows;
pub mod moving;
pub mod problem;
pub mod queues;
pub mod schedules;
pub mod starting;
pub mod versions;

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
                        @if site.runtime.world.catalog.schedules().next().is_some() {
                            a href="/flows/schedules" { "Schedules" }
                        }
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
    let known = Reader::of_page(&site, &request).await?.is_known();
    let objects = page(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, |row| {
        let object: Object = record::decode(&row.value).ok()?;
        (object.deleted.is_none() && (known || object.visibility == Visibility::Public)).then_some(object)
    })
    .await?;
    if wanted(&request) != Wanted::Html {
        let next = objects.next;
        let world = &site.runtime.world;
        let followers = world.iri("followers");
        let items = objects.items.iter().map(|object| object.json(&world.iri(&object.path), &followers)).collect();
        return Ok(for_readers(&site, negotiate::json(Wanted::Json, &Page::<Value>::whole(items, next))));
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

/// `GET /{slug}`
pub async fn object(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let path = request.path().trim_start_matches('/').to_owned();
    if site.is_reserved(&path) {
        return nothing(request).await;
    }
    let shown = public::object(&site, &request, &path).await?;
    let wanted = wanted(&request);
    let mut response = object_as(&site, wanted, &request, &shown);
    public::for_one_only(&mut response, shown.object.visibility == Visibility::Public);
    Ok(if wanted == Wanted::Html { response } else { for_readers(&site, response) })
}

fn object_as(site: &Site, wanted: Wanted, request: &HttpRequest, shown: &Shown) -> HttpResponse {
    if wanted != Wanted::Html {
        return public::object_json(request, shown);
    }
    let title = shown.object.title.as_deref().unwrap_or(&shown.object.path).to_owned();
    if shown.object.deleted.is_some() {
        let body = html! { p.empty { "This was deleted." } };
        let mut response = negotiate::html(layout_of(site, "Gone", body));
        *response.status_mut() = actix_web::http::StatusCode::GONE;
        return response;
    }
    negotiate::html(layout_of(site, &title, object_body(shown)))
}

/// What others made of it, where there is any.
fn reactions(tally: &Tally) -> impl Iterator<Item = (&'static str, u64)> {
    Reaction::ALL.into_iter().map(|reaction| (reaction.word(), tally.of(reaction))).filter(|(_, count)| *count > 0)
}

fn object_body(shown: &Shown) -> Markup {
    let object = &shown.object;
    let content = object.shown.get("content").and_then(Value::as_str);
    let source = object.shown.get("source").and_then(|source| source["content"].as_str()).or(content);
    // The title is the heading already, and the content stands above.
    let above = |value: &Value| value.is_string() && [object.title.as_deref(), source].contains(&value.as_str());
    let fields = object.fields.iter().filter(|(_, value)| !above(value));
    html! {
        p.meta {
            span.kind { (shown.object.kind) } " " (time(&shown.object.published.to_string()))
            @for (words, count) in reactions(&shown.tally) { " " span.kind { (count) " " (words) } }
        }
        @if let Some(content) = content {
            // It was cleaned when it was written.
            div.content { (maud::PreEscaped(content)) }
        }
        dl {
            @for (name, value) in fields {
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
                            (Some(false), _) => {
                                span.kind { "refused" }
                                @if let Some(words) = &one.words { ": " (words) }
                            },
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
    let known = Reader::of_page(&site, &request).await?.is_known();
    let page = public::activities(&site, &paging, known).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(for_readers(&site, negotiate::json(Wanted::Json, &page)));
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
                        td {
                            @if item["way"] == "made" {
                                a href={ "/activities/" (field(item, "ulid")) "/deliveries" } { "sent" }
                            } @else { "received" }
                        }
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
