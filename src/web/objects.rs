//! `/api/objects`: create, update and delete things of this node; `/{slug}/allocate`: offer one to a peer.

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::{once, require};
use super::http::{json_of, read_body};
use super::site::Site;
use crate::actors::ask::AskError;
use crate::actors::once::Once;
use crate::actors::stream::{Command, Create, Rejection, Stream, Written, object_stream};
use crate::domains::identity::Iri;
use crate::domains::slug;
use crate::domains::types::{Type, Visibility};
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// A slug that was not asked for gets a number when it is taken, up to this.
const SLUG_TRIES_MAX: u32 = 1_000;

/// The fields of a body that are about the object and not of it.
struct Envelope {
    slug: Option<String>,
    to: Vec<Iri>,
    visibility: Option<Visibility>,
    fields: Map<String, Value>,
}

/// `POST /api/objects/{type}`
pub async fn create(
    request: HttpRequest,
    kind: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Publish)?;
    let body = read_body(&site, payload).await?;
    let once = once(&request, &caller, &body)?;
    let declared = declared(&site, &kind)?;
    let Envelope { slug, to, visibility, fields } = envelope(&site, &body)?;
    let explicit = slug.is_some();
    let stem = match slug {
        Some(slug) => slug::explicit(&slug).map_err(|error| Problem::unprocessable(error.to_string()))?.to_owned(),
        None => derived_slug(&site, declared, &fields),
    };
    let create = Create {
        kind: declared.name.clone(),
        fields: Value::Object(fields),
        to,
        visibility,
        attributed_to: None,
        into: None,
    };
    let written = place(&site, declared, &stem, explicit, &create, once).await?;
    let id = written.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
    // Of what was written: a repeat may have begun with another address.
    let slug = id.rsplit('/').next().unwrap_or_default();
    let answer = json!({ "id": id, "activity": written.activity, "slug": slug });
    Ok(HttpResponse::Created().insert_header(("location", id)).json(answer))
}

/// Asks for one address after the other until one is free; an address that was asked for is the only one.
async fn place(
    site: &Site,
    declared: &Type,
    stem: &str,
    explicit: bool,
    create: &Create,
    once: Option<Once>,
) -> Result<Written, Problem> {
    for number in 1..=SLUG_TRIES_MAX {
        let slug = if number == 1 { stem.to_owned() } else { slug::numbered(stem, number) };
        if site.is_reserved(&declared.address(&slug)) {
            if explicit {
                return Err(Problem::new(
                    409,
                    "taken",
                    format!("{slug} is an address of the node itself; choose another slug"),
                ));
            }
            continue;
        }
        let stream = object_stream(&declared.address(&slug));
        let asked = site.runtime.registry().ask::<Stream>(&stream, Command::Create(create.clone()), once.clone()).await;
        match asked {
            Ok(written) => return Ok(written),
            Err(AskError::Rejected(Rejection::Taken(_) | Rejection::Gone(_))) if !explicit => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(409, "taken", format!("{stem} is taken {SLUG_TRIES_MAX} times over; choose another slug")))
}

fn derived_slug(site: &Site, declared: &Type, fields: &Map<String, Value>) -> String {
    let title = declared.title_of(fields);
    title.and_then(|title| slug::from_title(title, &[])).unwrap_or_else(|| site.request_id().to_lowercase())
}

/// `PATCH /api/objects/{type}/{slug}`
pub async fn update(
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Publish)?;
    let body = read_body(&site, payload).await?;
    let once = once(&request, &caller, &body)?;
    let changes = Value::Object(object_of(&site, &body)?);
    write(&site, &path, Command::Update { changes }, once).await
}

/// `DELETE /api/objects/{type}/{slug}`
pub async fn delete(
    request: HttpRequest,
    path: Path<(String, String)>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Publish)?;
    let once = once(&request, &caller, b"")?;
    write(&site, &path, Command::Delete, once).await
}

async fn write(
    site: &Site,
    path: &(String, String),
    command: Command,
    once: Option<Once>,
) -> Result<HttpResponse, Problem> {
    let stream = object_stream(&declared(site, &path.0)?.address(&path.1));
    let Written { id, activity } = site.runtime.registry().ask::<Stream>(&stream, command, once).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "activity": activity })))
}

/// `?calendar=&to=` of an allocation; `collection` says the same for things that are no calendars.
#[derive(Debug, Deserialize)]
pub struct Where {
    calendar: Option<String>,
    collection: Option<String>,
    to: Option<String>,
}

/// `POST /{slug}/allocate?calendar=ID&to=PEER`
pub async fn allocate(
    request: HttpRequest,
    slug: Path<String>,
    query: Query<Where>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Publish)?;
    let once = once(&request, &caller, b"")?;
    let missing =
        |what: &str| Problem::bad_request(format!("{what} is missing: POST /{slug}/allocate?calendar=ID&to=PEER"));
    let to = site.open_peer(query.to.as_deref().ok_or_else(|| missing("to"))?)?;
    let base = format!("{}://{}", if to.is_https() { "https" } else { "http" }, to.authority());
    let target = match (&query.calendar, &query.collection) {
        (Some(target), _) | (None, Some(target)) if target.contains("://") => target.clone(),
        (Some(calendar), _) => format!("{base}/calendars/{calendar}"),
        (None, Some(collection)) => format!("{base}/{collection}"),
        (None, None) => return Err(missing("calendar")),
    };
    let target = Iri::parse(&target).map_err(|error| Problem::bad_request(error.to_string()))?;
    let command = Command::Allocate { target, to };
    let Written { id, activity } = site.runtime.registry().ask::<Stream>(&object_stream(&slug), command, once).await?;
    Ok(HttpResponse::Accepted().json(json!({ "id": id, "activity": activity })))
}

fn declared<'a>(site: &'a Site, kind: &str) -> Result<&'a Type, Problem> {
    site.runtime.world.catalog.object_type(kind).ok_or_else(|| {
        let known: Vec<&str> = site.runtime.world.catalog.types().map(|declared| declared.name.as_str()).collect();
        Problem::not_found(format!("there is no type {kind:?}; this node has {}", known.join(", ")))
    })
}

fn object_of(site: &Site, body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match json_of(site, body)? {
        Value::Object(map) => Ok(map),
        _ => Err(Problem::bad_request("the body has to be a JSON object")),
    }
}

fn envelope(site: &Site, body: &[u8]) -> Result<Envelope, Problem> {
    let mut fields = object_of(site, body)?;
    let slug = match fields.remove("slug") {
        None | Some(Value::Null) => None,
        Some(Value::String(slug)) => Some(slug),
        Some(_) => return Err(Problem::bad_request("`slug` has to be text")),
    };
    let to = match fields.remove("to") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![site.open_peer(&one)?],
        Some(Value::Array(list)) => {
            let named = |peer: &Value| site.open_peer(peer.as_str().unwrap_or_default());
            list.iter().map(named).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Problem::bad_request("`to` has to be a list of peers")),
    };
    let visibility = match fields.remove("visibility") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            serde_json::from_value(value)
                .map_err(|_| Problem::bad_request("`visibility` has to be public, followers or direct"))?,
        ),
    };
    Ok(Envelope { slug, to, visibility, fields })
}
