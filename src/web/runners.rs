//! `/flow/runner`: what this node can do for others.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::site::Site;
use crate::domains::flow::kinds::PROTOCOL;

/// `GET /flow/runner`
pub async fn here(site: Data<Site>) -> HttpResponse {
    let kinds: BTreeSet<&str> = site.runtime.world.runners.here();
    HttpResponse::Ok().json(json!({ "protocol": PROTOCOL, "kinds": kinds }))
}
