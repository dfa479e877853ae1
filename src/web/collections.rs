//! The collections of ActivityStreams: who follows and is followed, what this node made, and what others made of it.

use std::collections::BTreeMap;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::list::{Page, Paging, page};
use super::negotiate::activity_json;
use super::public::{self, for_readers};
use super::reader::Reader;
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::log::{Entry, Way};
use crate::actors::reactions::{Given, Reaction, Tally};
use crate::actors::rows::{Index, RowKey};
use crate::actors::stream::{self, Stream};
use crate::actors::{follower, following, layout, record};
use crate::clock::Time;
use crate::domains::activity::ACTIVITY_STREAMS;
use crate::store::{Direction, Key, ReadError, Row, Span, pages};
use crate::wire::error::Problem;

/// Rows read at once to count them.
const COUNT_PAGE: usize = 1_000;
/// How long a size that was counted is told to everybody who asks, in seconds.
const COUNT_SECONDS: u64 = 60;

/// Sizes of lists that anybody may ask for, counted at most once a minute.
#[derive(Debug, Default)]
pub struct Sizes(Mutex<BTreeMap<&'static str, (Time, u64)>>);

impl Sizes {
    /// How many rows there are under a prefix that fit.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(
        &self,
        site: &Site,
        what: &'static str,
        prefix: &Key,
        fits: fn(&Row) -> bool,
    ) -> Result<u64, ReadError> {
        let now = site.clock.now();
        if let Some((_, size)) = self.0.lock().get(what).filter(|(at, _)| now.since(*at).as_secs() < COUNT_SECONDS) {
            return Ok(*size);
        }
        let mut size = 0;
        let count = |rows: &[Row]| size += rows.iter().filter(|row| fits(row)).count() as u64;
        pages(site.runtime.engine.as_ref(), Span::prefix(prefix, COUNT_PAGE), count).await?;
        self.0.lock().insert(what, (now, size));
        Ok(size)
    }
}

/// `GET /followers`, `GET /following`: names only where the configuration lets them be seen.
pub async fn people(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    Reader::of(&site, &request).await?;
    let (path, index, fits): (_, _, fn(&Row) -> Option<String>) = match request.path() {
        "/followers" => ("followers", Index::FollowersByActor, follows),
        _ => ("following", Index::Following, is_followed),
    };
    let prefix = layout::index_prefix(index, &Key::default());
    let size = match index {
        Index::Following => site.sizes.of(&site, path, &prefix, |row| is_followed(row).is_some()).await?,
        _ => site.sizes.of(&site, path, &prefix, |row| follows(row).is_some()).await?,
    };
    let collection = Collection { site: &site, path, size: Some(size) };
    if site.hides_network {
        if paging.after.is_some() {
            return Err(Problem::not_found("this node says how many there are, and not who: see totalItems"));
        }
        return Ok(for_readers(&site, activity_json(&collection.alone())));
    }
    let page = page(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, fits).await?;
    Ok(for_readers(&site, activity_json(&collection.with(&paging, page))))
}

fn follows(row: &Row) -> Option<String> {
    let listed: follower::Listed = record::decode(&row.value).ok()?;
    (listed.status == follower::Status::Accepted).then(|| listed.actor.as_str().to_owned())
}

fn is_followed(row: &Row) -> Option<String> {
    let listed: following::Listed = record::decode(&row.value).ok()?;
    (listed.status == following::Status::Accepted).then(|| listed.actor.as_str().to_owned())
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
    // Where one page does not have them all, counting would read all that this reader may not see with it.
    let size = (page.next.is_none() && paging.after.is_none()).then_some(page.items.len() as u64);
    let collection = Collection { site: &site, path: "outbox", size };
    Ok(for_readers(&site, activity_json(&collection.with(&paging, page))))
}

/// `GET /likes/{path}`, `GET /shares/{path}`: how many; `GET /replies/{path}`: which.
pub async fn reactions(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let whole = request.path().trim_start_matches('/');
    let (word, path) = whole.split_once('/').unwrap_or((whole, ""));
    let reaction =
        Reaction::of_word(word).ok_or_else(|| Problem::not_found(format!("there is nothing at /{whole}")))?;
    Reader::of(&site, &request).await?;
    public::object(&site, &request, path).await?;
    let tally = tally(&site, path).await?;
    let collection = Collection { site: &site, path: whole, size: Some(tally.of(reaction)) };
    if reaction != Reaction::Reply {
        return Ok(for_readers(&site, activity_json(&collection.alone())));
    }
    let owner = ActorId::of::<Stream>(stream::object_stream(path));
    let prefix = layout::row_prefix(&owner, &RowKey::Own(Given::rows(reaction)));
    let page = page(site.runtime.engine.as_ref(), &prefix, Direction::Forward, &paging, |row| {
        Some(record::decode::<Given>(&row.value).ok()?.what.as_str().to_owned())
    })
    .await?;
    Ok(for_readers(&site, activity_json(&collection.with(&paging, page))))
}

/// How often an object was liked, shared and replied to.
///
/// # Errors
/// What the store says.
pub async fn tally(site: &Site, path: &str) -> Result<Tally, ReadError> {
    let owner = ActorId::of::<Stream>(stream::object_stream(path));
    let row = site.runtime.engine.get(&layout::row(&owner, &Tally::row())).await?;
    Ok(row.and_then(|row| record::decode(&row.value).ok()).unwrap_or_default())
}

/// What stands in an object for a collection of what others made of it.
pub fn counted(site: &Site, path: &str, reaction: Reaction, tally: &Tally) -> Value {
    let id = site.runtime.world.iri(&format!("{}/{path}", reaction.word()));
    json!({ "id": id.as_str(), "type": "Collection", "totalItems": tally.of(reaction) })
}

struct Collection<'a> {
    site: &'a Site,
    /// Below the base.
    path: &'a str,
    size: Option<u64>,
}

impl Collection<'_> {
    /// Only what it is, and how large.
    fn alone(&self) -> Value {
        let id = self.site.runtime.world.iri(self.path);
        let mut value = json!({ "@context": ACTIVITY_STREAMS, "id": id.as_str(), "type": "OrderedCollection" });
        value
            .as_object_mut()
            .expect("it was made as one")
            .extend(self.size.map(|size| ("totalItems".into(), size.into())));
        value
    }

    /// The whole with its first page in it, or a later page.
    fn with(&self, paging: &Paging, page: Page<impl serde::Serialize>) -> Value {
        let id = self.site.runtime.world.iri(self.path);
        let place = |after: &str| match paging.limit {
            Some(limit) => format!("{id}?after={after}&limit={limit}"),
            None => format!("{id}?after={after}"),
        };
        let mut one = json!({ "type": "OrderedCollectionPage", "partOf": id.as_str(), "orderedItems": page.items });
        if let Some(next) = &page.next {
            one["next"] = place(next).into();
        }
        if let Some(after) = &paging.after {
            one["@context"] = ACTIVITY_STREAMS.into();
            one["id"] = place(after).into();
            return one;
        }
        let mut whole = self.alone();
        whole["first"] = one;
        whole
    }
}
