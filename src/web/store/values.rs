//! `/store/kv`: named JSON values with versions.

use actix_web::http::header;
use actix_web::web::{Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::list::{Page, place};
use super::body::whole;
use super::conditions::{Wanted, number, wanted};
use super::{
    Listing, Shared, VALUES, Wants, access, answering, holds, json_text, list_problem, media, once, other_media, raw,
};
use crate::programs::Name;
use crate::store::Position;
use crate::store::kv::{Expected, Named};
use crate::wire::error::Problem;

/// `GET` and `HEAD /store/kv/{name}`
pub(super) async fn get(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let name = access(&site, &request, &Wants::reading(VALUES))?.name;
    let Some(row) = site.programs.value(&name).await? else { return Err(missing(&name)) };
    let tag = tag(row.version);
    if holds(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, tag)).finish());
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(response.content_type("application/json").body(row.value))
}

/// `PUT /store/kv/{name}`
pub(super) async fn put(request: HttpRequest, payload: Payload, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::writing(VALUES))?;
    let expected = expected(&request)?;
    let media = media(&request);
    if media != "application/json" {
        return Err(other_media(&media, "application/json"));
    }
    let body = whole(&site, &request, payload).await?;
    let once = once(&request, &access, &body)?;
    let value = json_text(&site, &body, "the body")?;
    let answer = site.programs.put(&access.name, expected, value, once.as_ref()).await?;
    let mut response = HttpResponse::Ok();
    answering(&mut response, &answer).insert_header((header::ETAG, tag(answer.version)));
    Ok(response.json(json!({ "name": access.name.as_str(), "version": answer.version })))
}

/// `DELETE /store/kv/{name}`
pub(super) async fn delete(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::writing(VALUES))?;
    let expected = expected(&request)?;
    let once = once(&request, &access, b"")?;
    let answer = site.programs.delete(&access.name, expected, once.as_ref()).await?;
    Ok(answering(&mut HttpResponse::NoContent(), &answer).finish())
}

const WORDS: [&str; 4] = ["prefix", "after", "limit", "values"];

#[derive(Serialize)]
struct Item {
    name: String,
    version: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

/// `GET /store/kv?prefix=&after=&limit=&values=`
pub(super) async fn list(request: HttpRequest, query: Query<Listing>, site: Shared) -> Result<HttpResponse, Problem> {
    let listed = query.admit(&site, &request, &WORDS)?;
    let found = site.programs.list_values(&listed.prefix, listed.after.as_deref(), listed.limit).await;
    let (found, more) = found.map_err(list_problem)?;
    let next = found.last().filter(|_| more).map(|last| place(&last.name));
    let item = |named: Named| {
        let what = || format!("the value {}", named.name);
        let value = if query.values { Some(raw(&named.value, what)?) } else { None };
        Ok(Item { name: named.name, version: named.version, value })
    };
    let items = found.into_iter().map(item).collect::<Result<Vec<_>, Problem>>()?;
    Ok(HttpResponse::Ok().json(Page::whole(items, next)))
}

fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    Ok(match wanted(request)? {
        Wanted::Any => Expected::Any,
        Wanted::Absent => Expected::Absent,
        Wanted::Tag(tag) => Expected::Version(Position(number(&tag)?)),
    })
}

fn tag(version: Position) -> String {
    format!("\"{}\"", version.0)
}

fn missing(name: &Name) -> Problem {
    Problem::not_found(format!("there is no value {name}; GET /store/kv lists those that are"))
}
