//! `/store`: streams, values and blobs for programs; one file for each, and what they share.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::auth::{Caller, idempotency_key, require};
use super::list::{Paging, place, placed};
use super::methods::{self as web, Routes};
use super::site::Site;
use crate::actors::runtime::Runtime;
use crate::config::reader::suggest;
use crate::programs::damage::Behind;
use crate::programs::{Answer, JsonText, Name, Once, OpError, Owner, Prefix};
use crate::store::{Epoch, Failure, Fence};
use crate::tokens::Scope;
use crate::wire::error::Problem;

mod blobs;
mod body;
pub mod conditions;
mod follow;
pub mod range;
mod records;
mod values;

/// What all of it answers, as OpenAPI 3.1; a test walks it.
const DOCUMENT: &str = include_str!("openapi.json");
/// Stands there for the base of the node.
const SERVER: &str = "https://node.example";

const STREAMS: &str = "/store/streams/";
const VALUES: &str = "/store/kv/";
const BLOBS: &str = "/store/blobs/";

/// The routes of the store. Names may hold slashes, so that a name is all of the rest.
pub(super) fn routes<'a, 'b>(routes: &'a mut Routes<'b>) -> &'a mut Routes<'b> {
    routes
        .route("/store/openapi.json", web::get().to(document))
        .route("/store/streams", web::get().to(records::list))
        .route("/store/streams/{name:.*}", web::post().to(records::append))
        .route("/store/streams/{name:.*}", web::get().to(records::read))
        .route("/store/streams/{name:.*}", web::head().to(records::last))
        .route("/store/streams/{name:.*}", web::delete().to(records::truncate))
        .route("/store/kv", web::get().to(values::list))
        .route("/store/kv/{name:.*}", web::get().to(values::get))
        .route("/store/kv/{name:.*}", web::head().to(values::get))
        .route("/store/kv/{name:.*}", web::put().to(values::put))
        .route("/store/kv/{name:.*}", web::delete().to(values::delete))
        .route("/store/blobs", web::get().to(blobs::list))
        .route("/store/blobs/{name:.*}", web::get().to(blobs::get))
        .route("/store/blobs/{name:.*}", web::head().to(blobs::has))
        .route("/store/blobs/{name:.*}", web::put().to(blobs::put))
        .route("/store/blobs/{name:.*}", web::delete().to(blobs::delete))
}

/// `GET /store/openapi.json`: as it is of this node.
async fn document(site: Shared) -> HttpResponse {
    let document = DOCUMENT.replacen(SERVER, &site.runtime.world.base, 1);
    HttpResponse::Ok().content_type("application/json").body(document)
}

/// A node's programs write with the fence of its actors, and a failure that one of them meets is the failure of all.
pub struct OwnedByRuntime(pub Arc<Runtime>);

impl Owner for OwnedByRuntime {
    fn fence(&self) -> Fence {
        self.0.fence()
    }

    fn store_failed(&self, fence: Fence, failure: &Arc<Failure>) {
        self.0.store_failed(fence, failure);
    }

    fn fenced(&self, current: Epoch) {
        self.0.fenced(current);
    }
}

/// What is asked of the thing of a name, and the words that its address may have behind it.
struct Wants {
    scope: Scope,
    area: &'static str,
    words: &'static [&'static str],
}

impl Wants {
    const fn reading(area: &'static str) -> Self {
        Self { scope: Scope::StoreRead, area, words: &[] }
    }

    const fn writing(area: &'static str) -> Self {
        Self { scope: Scope::StoreWrite, area, words: &[] }
    }

    const fn with(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }
}

/// Somebody who may do this with the thing of this name.
struct Access {
    caller: Caller,
    area: &'static str,
    name: Name,
}

/// The name in the address, if the token reaches it.
///
/// The address is taken as it was sent. Of its escapes only that of the slash is decoded, which generated clients send
/// for one; there is none that would lead out of the area.
fn access(site: &Site, request: &HttpRequest, wants: &Wants) -> Result<Access, Problem> {
    let (caller, area) = (require(site, request, wants.scope)?, wants.area);
    let written = request.uri().path().strip_prefix(area).ok_or_else(|| {
        Problem::bad_request(format!("write the address as {area}NAME, without %-escapes before the name"))
    })?;
    let name: Name = written
        .replace("%2F", "/")
        .replace("%2f", "/")
        .parse()
        .map_err(|error| Problem::bad_request(format!("{written:?} is no name: {error}")))?;
    if !caller.grant.prefix.covers(&name) {
        return Err(out_of_reach(&caller, name.as_str()));
    }
    known_words(request, wants.words)?;
    Ok(Access { caller, area, name })
}

/// Refuses a word in the query that means nothing here: a slip would read or forget something else than was meant.
fn known_words(request: &HttpRequest, known: &[&str]) -> Result<(), Problem> {
    let words = Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Problem::bad_request("the query cannot be read: send NAME=VALUE, joined by &"))?;
    let Some((strange, _)) = words.iter().find(|(word, _)| !known.contains(&word.as_str())) else { return Ok(()) };
    let remedy = suggest(strange, known.iter().copied());
    Err(Problem::bad_request(format!("the query has the word {strange:?}, which means nothing here; {remedy}")))
}

fn out_of_reach(caller: &Caller, what: &str) -> Problem {
    let (token, prefix) = (&caller.grant.name, &caller.grant.prefix);
    Problem::forbidden(format!(
        "the token `{token}` reaches only what is named below {prefix}, and {what:?} is not; use another token or name"
    ))
}

/// `?prefix=&after=&limit=&values=` of the lists.
#[derive(Debug, Clone, Default, Deserialize)]
struct Listing {
    /// Without it, all that the token reaches.
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    values: bool,
}

/// The words of every list.
const LISTED: [&str; 3] = ["prefix", "after", "limit"];

/// What a list is of.
struct Listed {
    prefix: Prefix,
    after: Option<String>,
    limit: usize,
}

impl Listing {
    fn admit(&self, site: &Site, request: &HttpRequest, words: &[&str]) -> Result<Listed, Problem> {
        let caller = require(site, request, Scope::StoreRead)?;
        known_words(request, words)?;
        let prefix: Prefix = match &self.prefix {
            None => caller.grant.prefix.clone(),
            Some(given) => given
                .parse()
                .map_err(|error| Problem::bad_request(format!("the prefix {given:?} cannot be one: {error}")))?,
        };
        if !caller.grant.prefix.holds(&prefix) {
            return Err(out_of_reach(&caller, prefix.as_str()));
        }
        let after = self.after.as_deref().map(placed).transpose()?;
        Ok(Listed { prefix, after, limit: Paging { after: None, limit: self.limit }.limit() })
    }
}

/// As any problem, with the place where a list goes on behind what is damaged.
fn list_problem(error: OpError) -> Problem {
    let after = match &error {
        OpError::Damaged { behind: Behind::After(text), .. } => Some(place(text)),
        _ => None,
    };
    let mut problem = Problem::from(error);
    if let Some(after) = after {
        problem.detail += &format!("; list on behind it with after={after}");
    }
    problem
}

/// What makes a repeat harmless, if the request has a key: all that makes the request what it is goes into it.
fn once(request: &HttpRequest, access: &Access, content: &[u8]) -> Result<Option<Once>, Problem> {
    let Some(key) = idempotency_key(request)? else { return Ok(None) };
    let mut asked = Sha256::new();
    asked.update(request.query_string());
    for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::CONTENT_TYPE] {
        asked.update(b"\n");
        asked.update(request.headers().get(name).map(|value| value.as_bytes()).unwrap_or_default());
    }
    asked.update(b"\n");
    asked.update(Sha256::digest(content));
    let route = format!("{} {}{}", request.method(), access.area, access.name);
    Ok(Some(Once::new(&access.caller.grant.name, &route, &key, &asked.finalize())))
}

/// Says so when the answer is that of an earlier request with the same key.
fn answering<'a>(response: &'a mut HttpResponseBuilder, answer: &Answer) -> &'a mut HttpResponseBuilder {
    if answer.repeated {
        response.insert_header(("idempotent-replayed", "true"));
    }
    response
}

/// The media type of a body, without its parameters.
fn media(request: &HttpRequest) -> String {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn other_media(given: &str, wanted: &str) -> Problem {
    Problem::new(415, "unsupported media type", format!("Content-Type is {given:?}; send {wanted}"))
}

fn json_text(site: &Site, bytes: &[u8], what: &str) -> Result<JsonText, Problem> {
    JsonText::parse(bytes, site.limits.json_depth)
        .map_err(|error| Problem::bad_request(format!("{what} cannot be taken: {error}")))
}

/// A stored value as it goes into an answer: its very text.
fn raw(value: &[u8], what: impl FnOnce() -> String) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(value.to_vec()).ok();
    text.and_then(|text| RawValue::from_string(text).ok())
        .ok_or_else(|| OpError::Damaged { what: what(), behind: Behind::Nothing }.into())
}

/// Whoever asked holds this version already.
fn holds(request: &HttpRequest, tag: &str) -> bool {
    let given = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|given| {
        let given = given.trim();
        given == "*" || given.trim_start_matches("W/") == tag
    })
}

type Shared = Data<Site>;
