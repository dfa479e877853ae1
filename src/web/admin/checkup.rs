//! Whether this node and a peer can speak with one another.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::admin;
use crate::domains::identity::Authority;
use crate::web::site::Site;
use crate::wire::checkup::{Checkup, Verdict};
use crate::wire::error::Problem;

/// `?peer=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    peer: String,
}

/// `POST /admin/check?peer=`: tries each step of the way to a peer. Nothing here changes; it gets one activity that
/// nobody acts on.
pub async fn check(request: HttpRequest, whom: Query<Whom>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let actor = site.find_actor(&whom.peer).await?;
    let scheme = |host: &Authority| site.scheme(host);
    let own = &site.runtime.world.actor;
    let limits = site.fetch_limits;
    let checkup = Checkup { deliverer: &site.deliverer, blocks: &site.blocks, own, limits, scheme: &scheme };
    let steps = checkup.walk(&actor).await;
    let worst = steps.iter().map(|step| step.verdict).max().unwrap_or(Verdict::Bad);
    Ok(HttpResponse::Ok().json(json!({ "actor": actor, "verdict": worst, "steps": steps })))
}
