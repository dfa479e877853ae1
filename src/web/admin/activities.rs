//! One activity with all that is known of it: what shows whose it is, what it set off, and who has it.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::admin;
use crate::actors::log::{Entry, Way};
use crate::actors::rows::{Index, parts};
use crate::actors::{deliveries, inbox, layout, record};
use crate::domains::identity::Iri;
use crate::store::{Direction, Key, Span};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Entries looked through for the id of an activity of somebody else; what is older is named by its ulid.
const LOOKED_MAX: usize = 100_000;
const PAGE: usize = 500;

/// `?id=`: the ulid in our log, or the whole id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    id: String,
}

/// `GET /admin/activity?id=`
pub async fn activity(request: HttpRequest, asked: Query<Asked>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let found = match Iri::parse(&asked.id) {
        Ok(id) => match site.runtime.world.local(&id).and_then(|path| path.strip_prefix("activities/")) {
            Some(ulid) => logged(&site, ulid).await?,
            None => looked_for(&site, &id).await?,
        },
        Err(_) => logged(&site, &asked.id).await?,
    };
    let (ulid, entry) = found.ok_or_else(|| {
        let what = format!("there is no activity {} in the log; `quickbeam activities` lists them", asked.id);
        Problem::not_found(what)
    })?;
    let counts = deliveries::counts(&site.runtime, &ulid).await?;
    let flow = match entry.way {
        Way::Received => inbox::flow_of(site.runtime.engine.as_ref(), &entry.actor, &entry.id).await?,
        Way::Made => None,
    };
    Ok(HttpResponse::Ok().json(json!({
        "ulid": ulid, "way": entry.way, "at": entry.at.to_string(), "id": entry.id, "verb": entry.verb.as_str(),
        "actor": entry.actor, "object": entry.object, "target": entry.target, "asked": entry.asked,
        "public": entry.public, "signed": entry.signed, "flow": flow,
        "deliveries": (entry.way == Way::Made).then_some(counts), "activity": entry.json(),
    })))
}

async fn logged(site: &Site, ulid: &str) -> Result<Option<(String, Entry)>, Problem> {
    let prefix = layout::index_prefix(Index::Activities, &parts([ulid]));
    let rows = site.runtime.engine.range(Span::prefix(&prefix, 1)).await?;
    let entry = rows.first().and_then(|row| record::decode(&row.value).ok());
    Ok(entry.map(|entry| (ulid.to_owned(), entry)))
}

/// From the newest on, since what people ask about came a moment ago.
async fn looked_for(site: &Site, id: &Iri) -> Result<Option<(String, Entry)>, Problem> {
    let prefix = layout::index_prefix(Index::Activities, &Key::default());
    let all = Span { direction: Direction::Backward, ..Span::prefix(&prefix, PAGE) };
    let mut span = all.clone();
    for _ in 0..LOOKED_MAX / PAGE {
        let page = site.runtime.engine.range(span).await?;
        for row in &page {
            let Some(entry) = record::decode::<Entry>(&row.value).ok().filter(|entry| entry.id == *id) else {
                continue;
            };
            return Ok(row.key.parts_after(&prefix).text().map(|ulid| (ulid, entry)));
        }
        let Some(last) = page.last() else { break };
        span = all.clone().before(&last.key);
    }
    Ok(None)
}
