//! `/api/follow`: whom this node follows.

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::auth::{once, require};
use super::http::{json_of, read_body};
use super::site::Site;
use crate::actors::following::{Command, Following};
use crate::actors::once::Once;
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// Who is meant: a name in `[peers]`, an authority, an actor URL, or an account such as `@gigs@events.example`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    peer: String,
}

/// `POST /api/follow`
pub async fn follow(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Follow)?;
    let body = read_body(&site, payload).await?;
    let once = once(&request, &caller, &body)?;
    let whom: Whom = serde_json::from_value(json_of(&site, &body)?)
        .map_err(|error| Problem::bad_request(format!("send {{\"peer\": \"events.example\"}}: {error}")))?;
    tell(&site, &whom.peer, Command::Follow, once).await
}

/// `DELETE /api/follow?peer=`
pub async fn unfollow(request: HttpRequest, whom: Query<Whom>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Follow)?;
    let once = once(&request, &caller, b"")?;
    tell(&site, &whom.peer, Command::Unfollow, once).await
}

async fn tell(site: &Site, peer: &str, command: Command, once: Option<Once>) -> Result<HttpResponse, Problem> {
    let actor = match command {
        // Whoever is blocked by now can still be left.
        Command::Unfollow => site.find_actor(peer).await?,
        _ => site.find_peer(peer).await?,
    };
    let standing = site.runtime.registry().ask::<Following>(actor.as_str(), command, once).await?;
    Ok(HttpResponse::Accepted()
        .json(json!({ "actor": actor, "status": standing.status, "activity": standing.activity })))
}
