//! Retention for people: what it keeps and has removed, what it would remove now, and a pass at once.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::admin;
use super::site::Site;
use crate::actors::retention::{self, Removed};
use crate::config::reader::show_span;
use crate::wire::error::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[serde(default)]
    dry_run: bool,
}

/// `GET /admin/retention`: the settings, and what was removed since the start.
pub async fn show(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let report = *site.runtime.retention.lock();
    let last = report.last.map(|at| at.to_string());
    Ok(HttpResponse::Ok().json(json!({
        "keeps": keeps(&site), "passes": report.passes, "last": last, "removed": removed(&report.removed),
    })))
}

/// `POST /admin/retention?dry_run=true`: removes what is due, or says what would be.
pub async fn pass(request: HttpRequest, query: Query<Wanted>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let done = match query.dry_run {
        true => retention::dry(&site.runtime, &site.keep).await?,
        false => retention::pass(&site.runtime, &site.keep).await?,
    };
    Ok(HttpResponse::Ok().json(json!({ "dry_run": query.dry_run, "removed": removed(&done) })))
}

fn removed(removed: &Removed) -> Value {
    serde_json::to_value(removed).unwrap_or_default()
}

fn keeps(site: &Site) -> Value {
    let shown = |span: Option<_>| span.map_or_else(|| "never".to_owned(), show_span);
    json!({
        "flows": shown(site.keep.flows),
        "received": shown(site.keep.received),
        "deliveries": shown(site.keep.deliveries),
        "answers": show_span(site.keep.answers),
        "ids": show_span(site.runtime.world.dedupe),
    })
}
