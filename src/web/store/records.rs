//! `/store/streams`: numbered JSON records; appended, read, truncated and listed.

use actix_web::http::header;
use actix_web::web::{Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::super::list::{Page, Paging, place};
use super::body::whole;
use super::conditions::{Wanted, number, wanted};
use super::follow::{self, wants_events};
use super::{
    LISTED, Listing, STREAMS, Shared, Wants, access, answering, json_text, list_problem, media, once, other_media, raw,
};
use crate::programs::streams::{Ask, Ends};
use crate::programs::{Answer, Done, JsonText, Name};
use crate::store::Direction;
use crate::store::streams::{Expected, Record};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `?from=&to=&after=&limit=&direction=` of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Reading {
    pub(super) from: Option<u64>,
    to: Option<u64>,
    /// The `next` of the page before.
    pub(super) after: Option<u64>,
    limit: Option<usize>,
    direction: Option<String>,
}

const READING: [&str; 5] = ["from", "to", "after", "limit", "direction"];

/// One record of an answer.
#[derive(Serialize)]
pub(super) struct Item {
    sequence: u64,
    value: Box<RawValue>,
}

/// A page of a stream, with its ends: records before `first` are gone.
#[derive(Serialize)]
struct Records {
    items: Vec<Item>,
    first: u64,
    last: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `POST /store/streams/{name}`
pub(super) async fn append(request: HttpRequest, payload: Payload, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::writing(STREAMS))?;
    let expected = match wanted(&request)? {
        Wanted::Any => Expected::Any,
        Wanted::Absent => Expected::None,
        Wanted::Tag(tag) => match number(&tag)? {
            0 => Expected::None,
            last => Expected::Exactly(last),
        },
    };
    let many = match media(&request).as_str() {
        "application/json" => false,
        "application/x-ndjson" | "application/jsonl" => true,
        other => return Err(other_media(other, "application/json, or application/x-ndjson for several")),
    };
    let body = whole(&site, &request, payload).await?;
    let once = once(&request, &access, &body)?;
    let values = if many { lines(&site, &body)? } else { vec![json_text(&site, &body, "the body")?] };
    let answer = site.programs.append(&access.name, expected, values, once).await?;
    answered(&mut HttpResponse::Created(), &answer)
}

/// One value on each line; empty lines say nothing.
fn lines(site: &Site, body: &[u8]) -> Result<Vec<JsonText>, Problem> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let values = lines.map(|(number, line)| json_text(site, line, &format!("line {number} of the body")));
    let values = values.collect::<Result<Vec<_>, Problem>>()?;
    if values.is_empty() {
        return Err(Problem::bad_request("the body has no value: write one JSON value on each line"));
    }
    Ok(values)
}

/// `DELETE /store/streams/{name}?before=N`
pub(super) async fn truncate(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    #[derive(Deserialize)]
    struct Truncation {
        before: u64,
    }
    let access = access(&site, &request, &Wants::writing(STREAMS).with(&["before"]))?;
    let before = Query::<Truncation>::from_query(request.query_string()).map_err(|_| {
        Problem::bad_request("add ?before=N: records with smaller numbers are forgotten, and the numbers go on")
    })?;
    let once = once(&request, &access, b"")?;
    let answer = site.programs.truncate(&access.name, before.before, once).await?;
    answered(&mut HttpResponse::Ok(), &answer)
}

fn answered(response: &mut actix_web::HttpResponseBuilder, answer: &Answer) -> Result<HttpResponse, Problem> {
    let (Done::Appended { first, last } | Done::Truncated { first, last }) = answer.done else {
        return Err(Problem::unprocessable("this idempotency key was used for another request; use a new one"));
    };
    answering(response, answer).insert_header((header::ETAG, tag(last)));
    Ok(response.json(json!({ "first": first, "last": last })))
}

/// `HEAD /store/streams/{name}`: where it begins and ends.
pub(super) async fn last(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let name = access(&site, &request, &Wants::reading(STREAMS))?.name;
    let ends = site.programs.ends(&name).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::ETAG, tag(ends.last)));
    response.insert_header(("stream-first", ends.first.to_string()));
    response.insert_header(("stream-last", ends.last.to_string()));
    Ok(response.finish())
}

/// `GET /store/streams/{name}`: a page, or with `Accept: text/event-stream` what comes, as it comes.
pub(super) async fn read(request: HttpRequest, query: Query<Reading>, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::reading(STREAMS).with(&READING))?;
    if wants_events(&request) {
        return follow::follow(&request, &query, site, access.name).await;
    }
    let page = site.programs.read(&access.name, &query.asked()?).await?;
    let next = page.records.last().filter(|_| page.more).map(|record| record.sequence.to_string());
    let items = page.records.into_iter().map(|record| item(&access.name, record)).collect::<Result<_, _>>()?;
    let Ends { first, last } = page.ends;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::ETAG, tag(last))).insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(response.json(Records { items, first, last, next }))
}

fn item(stream: &Name, record: Record) -> Result<Item, Problem> {
    let sequence = record.sequence;
    Ok(Item { sequence, value: raw(&record.value, || format!("record {sequence} of the stream {stream}"))? })
}

impl Reading {
    fn asked(&self) -> Result<Ask, Problem> {
        let direction = match self.direction.as_deref() {
            None | Some("" | "forward") => Direction::Forward,
            Some("backward") => Direction::Backward,
            Some(other) => {
                let detail = format!("there is no direction {other:?}; there are forward and backward");
                return Err(Problem::bad_request(detail));
            }
        };
        let (mut from, mut to) = (self.from.unwrap_or(1).max(1), self.to.unwrap_or(u64::MAX));
        match (self.after, direction) {
            (Some(after), Direction::Forward) => from = from.max(after.saturating_add(1)),
            (Some(after), Direction::Backward) => to = to.min(after.saturating_sub(1)),
            (None, _) => {}
        }
        let limit = Paging { after: None, limit: self.limit }.limit();
        Ok(Ask { numbers: from..=to, limit, direction })
    }
}

/// `GET /store/streams?prefix=&after=&limit=`
pub(super) async fn list(request: HttpRequest, query: Query<Listing>, site: Shared) -> Result<HttpResponse, Problem> {
    let listed = query.admit(&site, &request, &LISTED)?;
    let found = site.programs.list_streams(&listed.prefix, listed.after.as_deref(), listed.limit).await;
    let (found, more) = found.map_err(list_problem)?;
    let next = found.last().filter(|_| more).map(|(name, _)| place(name));
    let item = |(name, Ends { first, last })| json!({ "name": name, "first": first, "last": last });
    Ok(HttpResponse::Ok().json(Page::whole(found.into_iter().map(item).collect(), next)))
}

fn tag(last: u64) -> String {
    format!("\"{last}\"")
}
