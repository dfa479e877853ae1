//! What anybody may read: the actor, activities and objects, and whether the node is well.

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::collections::{counted, tally};
use super::list::{Page, Paging, page};
use super::negotiate::{Wanted, json as json_of, wanted};
use super::reader::{Among, Reader};
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::held::HELD;
use crate::actors::log::{Entry, Way};
use crate::actors::reactions::{Reaction, Tally};
use crate::actors::rows::{Index, RowKey, parts};
use crate::actors::runtime::Health;
use crate::actors::stream::{self, Allocation, Linked, Record, Stream};
use crate::actors::{layout, record};
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::{Direction, Key, Span};
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// Entries of a collection shown with it.
const ITEMS_MAX: usize = 200;

/// `GET /health`: alive.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Why the node takes no work, if it does not.
pub fn not_ready(site: &Site) -> Option<String> {
    if site.runtime.is_stopping() {
        return Some("the node is stopping".into());
    }
    if !site.started.load(std::sync::atomic::Ordering::Acquire) {
        return Some("the node is starting".into());
    }
    if site.runtime.is_held() {
        return Some(HELD.into());
    }
    // It may have fallen ill over something that no request waited for.
    if let Err(failure) = site.keeper.engine.health() {
        site.runtime.store_failed(site.runtime.fence(), &failure);
    }
    match &*site.runtime.health().borrow() {
        Health::Well => None,
        Health::Ill(failure) => Some(failure.to_string()),
        Health::Fenced(_) => Some("another process has taken over this node's data".into()),
        Health::Lost(service) => Some(format!("the service `{service}` is lost")),
    }
}

/// `GET /ready`: takes work.
pub async fn ready(site: Data<Site>) -> Result<HttpResponse, Problem> {
    match not_ready(&site) {
        None => Ok(HttpResponse::Ok().json(json!({ "status": "ready" }))),
        Some(reason) => Err(Problem::unavailable(reason)),
    }
}

/// `GET /actor`
pub async fn actor(site: Data<Site>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/activity+json")
        .insert_header((header::VARY, "Accept"))
        .body(site.keyring.document())
}

/// The activity log as a page; without a token only what is public.
///
/// # Errors
/// What the store says, or a wrong `after`.
pub async fn activities(site: &Site, paging: &Paging, all: bool) -> Result<Page<Value>, Problem> {
    let prefix = layout::index_prefix(Index::Activities, &Key::default());
    page(site.runtime.engine.as_ref(), &prefix, Direction::Backward, paging, |row| {
        let entry: Entry = record::decode(&row.value).ok()?;
        let ulid = row.key.parts_after(&prefix).text()?;
        (all || entry.public).then(|| {
            json!({
                "ulid": ulid, "way": entry.way, "at": entry.at.to_string(), "id": entry.id, "verb": entry.verb.as_str(),
                "actor": entry.actor, "object": entry.object, "target": entry.target, "activity": entry.json(),
            })
        })
    })
    .await
}

/// `GET /activities/{ulid}`: one of ours; what came from others is theirs to show.
pub async fn activity(request: HttpRequest, ulid: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let reader = Reader::of(&site, &request).await?;
    let known = reader.is_known();
    let prefix = layout::index_prefix(Index::Activities, &parts([ulid.as_str()]));
    let rows = site.runtime.engine.range(Span::prefix(&prefix, 1)).await?;
    let entry = rows.first().and_then(|row| record::decode::<Entry>(&row.value).ok());
    let open = entry.as_ref().is_some_and(|entry| known || entry.way == Way::Made && entry.public);
    let to = entry.as_ref().filter(|_| !open).map(Entry::addressees).unwrap_or_default();
    let among = if open { Among::default() } else { reader.among(&site, &request, &to).await? };
    let sees = among.addressed || among.followers && to.contains(&site.runtime.world.iri("followers"));
    match entry.filter(|entry| open || entry.way == Way::Made && sees) {
        Some(entry) => {
            let mut response = HttpResponse::Ok().content_type("application/activity+json").body(entry.body);
            for_one_only(&mut response, entry.public);
            Ok(for_readers(&site, response))
        }
        None => Err(Problem::not_found(format!("there is no public activity {ulid}"))),
    }
}

/// An object of this node with what belongs to it.
pub struct Shown {
    pub object: Object,
    pub json: Value,
    pub items: Vec<Linked>,
    /// What others made of it.
    pub tally: Tally,
    pub allocations: Vec<Allocation>,
}

/// The object at an address, if this caller may see it.
///
/// # Errors
/// 404 if there is none, or none for this caller.
pub async fn object(site: &Site, request: &HttpRequest, path: &str) -> Result<Shown, Problem> {
    let reader = Reader::of_page(site, request).await?;
    let known = reader.is_known();
    let missing = || Problem::not_found(format!("there is nothing at /{path}"));
    let engine = &site.runtime.engine;
    let prefix = layout::index_prefix(Index::Objects, &parts([path]));
    let rows = engine.range(Span::prefix(&prefix, 1)).await?;
    let object = rows.first().and_then(|row| record::decode::<Object>(&row.value).ok());
    let open = object.as_ref().is_some_and(|object| known || object.visibility == Visibility::Public);
    let to = object.as_ref().map_or(&[][..], |object| &object.to);
    let among = if open { Among::default() } else { reader.among(site, request, to).await? };
    let sees = |object: &Object| among.addressed || among.followers && object.visibility == Visibility::Followers;
    let object = object.filter(|object| open || sees(object)).ok_or_else(missing)?;
    let world = &site.runtime.world;
    let mut json = object.json(&world.iri(path), &world.iri("followers"));
    let tally = tally(site, path).await?;
    if object.deleted.is_none() {
        for reaction in Reaction::ALL {
            json[reaction.word()] = counted(site, path, reaction, &tally);
        }
    }
    let items = Span::prefix(&layout::index_prefix(Index::Linked, &stream::linked_rows(path)), ITEMS_MAX);
    let items = read_all(engine.range(items).await?);
    let owner = ActorId::of::<Stream>(stream::object_stream(path));
    let allocations = layout::row_prefix(&owner, &RowKey::Own(stream::allocation_rows()));
    let allocations = match known {
        true => read_all(engine.range(Span::prefix(&allocations, ITEMS_MAX)).await?),
        false => Vec::new(),
    };
    Ok(Shown { object, json, items, tally, allocations })
}

fn read_all<T: serde::de::DeserializeOwned>(rows: Vec<crate::store::Row>) -> Vec<T> {
    rows.iter().filter_map(|row| record::decode(&row.value).ok()).collect()
}

/// Keeps what not everybody may see out of the caches of others: no cache knows what a signature says.
pub fn for_one_only(response: &mut HttpResponse, public: bool) {
    if !public {
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private"));
    }
}

/// The same of whatever is shown only to readers who say who they are.
pub(super) fn for_readers(site: &Site, mut response: HttpResponse) -> HttpResponse {
    for_one_only(&mut response, !site.authorized_fetch);
    response
}

/// The object as JSON: 410 with a Tombstone once it is deleted.
pub fn object_json(request: &HttpRequest, shown: &Shown) -> HttpResponse {
    let mut json = shown.json.clone();
    let wanted = match wanted(request) {
        Wanted::Json => Wanted::Json,
        Wanted::Html | Wanted::Activity => Wanted::Activity,
    };
    if !shown.items.is_empty() {
        let items =
            shown.items.iter().map(|item| json!({ "what": item.what, "title": item.title, "at": item.at.to_string() }));
        json["items"] = items.collect::<Vec<_>>().into();
    }
    if !shown.allocations.is_empty() {
        let told = shown.allocations.iter().map(|one| {
            json!({
                "activity": one.activity, "target": one.target, "to": one.to, "at": one.at.to_string(),
                "accepted": one.accepted, "result": one.result, "words": one.words,
            })
        });
        json["allocations"] = told.collect::<Vec<_>>().into();
    }
    let mut response = json_of(wanted, &json);
    if shown.object.deleted.is_some() {
        *response.status_mut() = actix_web::http::StatusCode::GONE;
    }
    response
}

/// `GET /api/streams/{name}`: the records of a local list.
pub async fn records(
    request: HttpRequest,
    name: Path<String>,
    paging: Query<Paging>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    super::auth::require(&site, &request, Scope::FlowsRead)?;
    let owner = ActorId::of::<Stream>(stream::local_stream(&name));
    let prefix = layout::row_prefix(&owner, &RowKey::Own(stream::record_rows()));
    let page = page(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, |row| {
        let Record { seq, at, value } = record::decode(&row.value).ok()?;
        Some(json!({ "seq": seq, "at": at.to_string(), "value": value }))
    })
    .await?;
    Ok(HttpResponse::Ok().json(page))
}
