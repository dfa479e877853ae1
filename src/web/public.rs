//! What anybody may read: the actor, its collections, activities and objects, and whether the node is well.

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::{Page, Paging, count, page};
use super::negotiate::{Wanted, activity_json, json as json_of, wanted};
use super::reader::{Among, Reader};
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::held::HELD;
use crate::actors::log::{Entry, Way};
use crate::actors::rows::{Index, RowKey, parts};
use crate::actors::runtime::Health;
use crate::actors::stream::{self, Allocation, Linked, Record, Stream};
use crate::actors::{follower, following, layout, record};
use crate::domains::activity::ACTIVITY_STREAMS;
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::{Direction, Key, Span};
use crate::tokens::Scope;
use crate::wire::error::Problem;
use crate::wire::webfinger::{self, Account};

/// Members counted for `totalItems`; a larger collection says this.
const COUNT_MAX: usize = 100_000;
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

/// `GET /.well-known/webfinger?resource=`
pub async fn account(query: Query<Resource>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let world = &site.runtime.world;
    let us = Account { name: world.name.clone(), host: world.authority.clone() };
    let account = format!("acct:{us}");
    let asked = query
        .resource
        .as_deref()
        .ok_or_else(|| Problem::bad_request("resource is missing: ask for ?resource=acct:NAME@HOST"))?;
    if !webfinger::means(asked, &us, [world.actor.as_str(), &world.base]) {
        return Err(Problem::not_found(format!("{asked} is not here; the one account is {account}")));
    }
    let body = json!({
        "subject": account,
        "aliases": [world.actor.as_str()],
        "links": [{ "rel": "self", "type": "application/activity+json", "href": world.actor.as_str() }],
    });
    Ok(HttpResponse::Ok()
        .content_type("application/jrd+json")
        .insert_header(("access-control-allow-origin", "*"))
        .body(body.to_string()))
}

#[derive(Debug, Deserialize)]
pub struct Resource {
    resource: Option<String>,
}

/// `GET /.well-known/nodeinfo`
pub async fn nodeinfo_links(site: Data<Site>) -> HttpResponse {
    let href = format!("{}/nodeinfo/2.1", site.runtime.world.base);
    HttpResponse::Ok()
        .json(json!({ "links": [{ "rel": "http://nodeinfo.diaspora.software/ns/schema/2.1", "href": href }] }))
}

/// `GET /nodeinfo/2.1`
pub async fn nodeinfo(site: Data<Site>) -> Result<HttpResponse, Problem> {
    let objects =
        count(site.runtime.engine.as_ref(), &layout::index_prefix(Index::Objects, &Key::default()), COUNT_MAX).await?;
    Ok(HttpResponse::Ok().json(json!({
        "version": "2.1",
        "software": { "name": "quickbeam", "version": env!("CARGO_PKG_VERSION") },
        "protocols": ["activitypub"],
        "services": { "inbound": [], "outbound": [] },
        "openRegistrations": false,
        "usage": { "users": { "total": 1 }, "localPosts": objects },
        "metadata": {},
    })))
}

/// `GET /followers`, `GET /following`
pub async fn people(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    Reader::of(&site, &request).await?;
    let followers = request.path() == "/followers";
    let index = if followers { Index::FollowersByActor } else { Index::Following };
    let prefix = layout::index_prefix(index, &Key::default());
    let engine = site.runtime.engine.as_ref();
    let page = page(engine, &prefix, Direction::Forward, &paging, |row| {
        if followers {
            let listed: follower::Listed = record::decode(&row.value).ok()?;
            (listed.status == follower::Status::Accepted).then(|| listed.actor.as_str().to_owned())
        } else {
            let listed: following::Listed = record::decode(&row.value).ok()?;
            (listed.status == following::Status::Accepted).then(|| listed.actor.as_str().to_owned())
        }
    })
    .await?;
    Ok(for_readers(&site, activity_json(&collection(&site, request.path(), &paging, page))))
}

/// A collection with its first or a later page in it.
///
/// How many there are in all is said where one page has them all. Else counting would read every row, those that this
/// reader may not see with them, for anybody who asks.
fn collection<T: serde::Serialize>(site: &Site, path: &str, paging: &Paging, page: Page<T>) -> Value {
    let id = format!("{}{path}", site.runtime.world.base);
    let total = page.items.len();
    let mut value =
        json!({ "@context": ACTIVITY_STREAMS, "id": id, "type": "OrderedCollection", "orderedItems": page.items });
    match page.next {
        Some(next) => value["next"] = format!("{id}?after={next}").into(),
        None if paging.after.is_none() => value["totalItems"] = total.into(),
        None => {}
    }
    value
}

/// `GET /outbox`: the public activities of this node, the newest first.
pub async fn outbox(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    Reader::of(&site, &request).await?;
    let prefix = layout::index_prefix(Index::Activities, &Key::default());
    let page = page(site.runtime.engine.as_ref(), &prefix, Direction::Backward, &paging, |row| {
        let entry: Entry = record::decode(&row.value).ok()?;
        (entry.way == Way::Made && entry.public).then(|| entry.json())
    })
    .await?;
    Ok(for_readers(&site, activity_json(&collection(&site, "/outbox", &paging, page))))
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
    let among = if open { Among::default() } else { reader.among(&site, &request, entry.as_ref()).await? };
    let followers = site.runtime.world.iri("followers");
    let is_for = |entry: &Entry| among.addressed || among.followers && entry.is_for(&followers);
    match entry.filter(|entry| open || entry.way == Way::Made && is_for(entry)) {
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
    let follows = !open && reader.among(site, request, None).await?.followers;
    let object = object.filter(|object| open || follows && object.visibility == Visibility::Followers);
    let object = object.ok_or_else(missing)?;
    let json = object.json(&site.runtime.world.iri(path));
    let items = Span::prefix(&layout::index_prefix(Index::Linked, &stream::linked_rows(path)), ITEMS_MAX);
    let items = read_all(engine.range(items).await?);
    let owner = ActorId::of::<Stream>(stream::object_stream(path));
    let allocations = layout::row_prefix(&owner, &RowKey::Own(stream::allocation_rows()));
    let allocations = match known {
        true => read_all(engine.range(Span::prefix(&allocations, ITEMS_MAX)).await?),
        false => Vec::new(),
    };
    Ok(Shown { object, json, items, allocations })
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
