//! The administration of the data: backup, scrub, and what the store takes.

use std::convert::Infallible;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::admin;
use crate::care::backup;
use crate::web::site::Site;
use crate::wire::error::Problem;

#[derive(Debug, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    allow_damage: bool,
}

/// `GET /admin/backup?allow_damage=`: a whole backup, as a stream that ends with what went wrong if something did.
pub async fn backup(request: HttpRequest, wanted: Query<Wanted>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let failed = |error: backup::BackupError| Problem::new(500, "failed", error.to_string());
    let source = site.keeper.source(wanted.allow_damage).await.map_err(failed)?;
    let (keeper, at) = (site.keeper.clone(), site.clock.now());
    let name = backup::default_name(&source.head.base, at);
    let stream = backup::stream(source, move |outcome| keeper.backed_up(at, outcome));
    Ok(HttpResponse::Ok()
        .content_type("application/x-tar")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .insert_header(("cache-control", "no-store"))
        .streaming(stream.map(Ok::<_, Infallible>)))
}

/// `POST /admin/store/scrub`: looks at every row now, in the background.
pub async fn scrub(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let started = site.scrubber.start();
    Ok(HttpResponse::Accepted().json(json!({ "started": started, "running": true })))
}

/// `GET /admin/store`
pub async fn store(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let keeper = site.keeper.clone();
    let figures = actix_web::web::block(move || keeper.figures()).await;
    let mut figures = figures.map_err(|error| Problem::new(500, "failed", error.to_string()))?;
    figures["scrub"] = serde_json::to_value(site.scrubber.state()).unwrap_or_default();
    Ok(HttpResponse::Ok().json(figures))
}
