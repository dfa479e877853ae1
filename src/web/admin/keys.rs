//! The keys of this node: which there are, and new ones in their place.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::admin;
use crate::config::reader::{parse_span, show_span};
use crate::hex::hex;
use crate::keyring::live::{RotateError, Wanted};
use crate::keyring::{Generation, NotNow, OVERLAP, OVERLAP_MAX, Old, Request, Ring};
use crate::tokens::Scope;
use crate::web::auth::{idempotency_key, require};
use crate::web::http::{json_of, read_body};
use crate::web::site::Site;
use crate::wire::document::{ED25519, RSA, key_id};
use crate::wire::error::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    overlap: Option<String>,
    #[serde(default)]
    now: bool,
}

/// `GET /admin/keys`
pub async fn list(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    Ok(HttpResponse::Ok().json(shown(&site, &site.keyring.ring())))
}

/// `POST /admin/keys/rotate`: `{"overlap": "2d"}` or `{"now": true}`, or nothing.
pub async fn rotate(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::Admin)?;
    let body = read_body(&site, payload).await?;
    let key = idempotency_key(&request)?;
    let request = key.map(|key| Request { key: hash(&[&caller.grant.name, &key]), content: hash(&[&body]) });
    let wanted = Wanted { old: old(&site, &body)?, request };
    // Whoever asked may go away half way, and the new keys must not be on disk only.
    let keyring = site.keyring.clone();
    let rotated = actix_web::rt::spawn(async move { keyring.rotate(wanted).await }).await;
    let (ring, again) = rotated.unwrap_or(Err(RotateError::Stopping)).map_err(refused)?;
    let mut response = HttpResponse::Ok();
    if again {
        response.insert_header(("idempotent-replayed", "true"));
    }
    Ok(response.json(shown(&site, &ring)))
}

/// What is to become of the old keys.
fn old(site: &Site, body: &[u8]) -> Result<Old, Problem> {
    let wanted = if body.is_empty() { json!({}) } else { json_of(site, body)? };
    let wanted: Body = serde_json::from_value(wanted)
        .map_err(|error| Problem::bad_request(format!("send {{\"overlap\": \"2d\"}} or {{\"now\": true}}: {error}")))?;
    let overlap = match (wanted.overlap, wanted.now) {
        (None, true) => return Ok(Old::GoNow),
        (Some(_), true) => {
            return Err(Problem::unprocessable("`now` leaves no overlap: send one of the two"));
        }
        (None, false) => OVERLAP,
        (Some(text), false) => parse_span(&text)
            .ok_or_else(|| Problem::unprocessable(format!("{text:?} is no span of time: write 12h, 2d or the like")))?,
    };
    match overlap {
        Duration::ZERO => Err(Problem::unprocessable("an overlap of nothing is `now`: send {\"now\": true}")),
        _ if overlap > OVERLAP_MAX => {
            let (given, longest) = (show_span(overlap), show_span(OVERLAP_MAX));
            Err(Problem::unprocessable(format!("an overlap of {given} is longer than {longest}: take a shorter one")))
        }
        _ => Ok(Old::StayFor(overlap)),
    }
}

fn refused(error: RotateError) -> Problem {
    let detail = error.to_string();
    match error {
        RotateError::NotNow(NotNow::Overlap { .. }) => Problem::new(409, "overlap", detail),
        RotateError::NotNow(NotNow::KeyReused) => Problem::unprocessable(detail),
        RotateError::Making(_) | RotateError::Keeping(_) | RotateError::Stopping => Problem::unavailable(detail),
    }
}

/// No part can run over into the next.
fn hash(parts: &[impl AsRef<[u8]>]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.as_ref().len() as u64).to_be_bytes());
        hasher.update(part.as_ref());
    }
    hex(&hasher.finalize())
}

fn shown(site: &Site, ring: &Ring) -> Value {
    let actor = &site.runtime.world.actor;
    let each = |(nth, one): (usize, &Generation)| {
        let (since, until) = (one.since.map(|at| at.to_string()), one.until.map(|at| at.to_string()));
        let item = |kind: &str, fragment: &str, published: bool| {
            json!({
                "id": key_id(actor, fragment, &one.name), "kind": kind, "since": since, "until": until,
                "signs": nth == 0, "published": published,
            })
        };
        // An old RSA key is kept for the Update alone: `publicKey` has room for one.
        [item("ed25519", ED25519, true), item("rsa", RSA, nth == 0)]
    };
    let items: Vec<Value> = ring.generations().iter().enumerate().flat_map(each).collect();
    let rotation = ring.rotation.as_ref().map(
        |rotation| json!({ "update": site.runtime.world.activity(&rotation.activity), "logged": rotation.logged }),
    );
    json!({ "items": items, "rotation": rotation })
}
