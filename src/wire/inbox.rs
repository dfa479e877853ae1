//! `POST /inbox`: the only way in for activities of peers, and the only place that calls `verify`.

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::error::Problem;
use super::message::{RequestView, Target};
use super::refusal::Refusal;
use super::signature::Algorithm;
use super::verify::{Verified, VerifyLimits, verify};
use crate::actors::inbox::{self, Inbox, Receipt, Received};
use crate::actors::log::Signed;
use crate::domains::activity::{Activity, Verb};
use crate::domains::identity::Iri;
use crate::web::client::client;
use crate::web::http::{as_it_is, read_body, refused};
use crate::web::site::Site;

/// Takes a signed activity; answers 202 when what follows from it is on disk.
pub async fn receive(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    check_length(&site, &request).and_then(|()| as_it_is(&request)).map_err(Problem::unproved)?;
    let body = read_body(&site, payload).await.map_err(Problem::unproved)?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let view = RequestView { method: request.method().as_str(), target: Target::at(&site.root, path), headers };
    let limits = VerifyLimits {
        clock_window: site.limits.clock_window,
        body_bytes_max: site.limits.body_bytes,
        json_depth_max: site.limits.json_depth,
    };
    let verified =
        verify(&view, body, &site.keys, site.clock.now(), limits).await.map_err(|refusal| refused(&site, refusal))?;
    // A proof travels with its activity, so that it says nothing of the address from which it came.
    if view.has_header("signature") {
        site.strangers.prove(client(&site, &request), &verified.authority());
    }
    let signed = signed(&view, &verified);
    let receipt = take(&site, verified, signed).await?;
    let word = match receipt {
        Receipt::Taken => "taken",
        Receipt::Repeated => "repeated",
        Receipt::Ignored => "ignored",
    };
    Ok(HttpResponse::Accepted().json(serde_json::json!({ "status": word })))
}

/// A body that says itself that it is too large is not waited for.
fn check_length(site: &Site, request: &HttpRequest) -> Result<(), Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced.is_some_and(|bytes| bytes > site.limits.body_bytes as u64) {
        true => Err(Problem::too_large(site.limits.body_bytes)),
        false => Ok(()),
    }
}

/// With what it was shown whose it is, for who looks at it later.
fn signed(request: &RequestView<'_>, verified: &Verified<Activity>) -> Signed {
    let form = match (request.has_header("signature-input"), request.has_header("signature")) {
        (true, _) => "RFC 9421",
        (false, true) => "draft-cavage",
        (false, false) => "FEP-8b32",
    };
    let algorithm = verified.algorithm().map_or("", Algorithm::as_str).to_owned();
    Signed { key_id: verified.key_id().clone(), form: form.to_owned(), algorithm }
}

async fn take(site: &Site, verified: Verified<Activity>, signed: Signed) -> Result<Receipt, Problem> {
    let authority = verified.authority();
    let _under_way = site.rates.take(&authority).map_err(|wait| Problem {
        retry_after: Some(wait),
        ..Problem::new(429, "too many requests", format!("{authority} sends faster than this node takes; slow down"))
    })?;
    let activity = verified.value();
    // Whatever it says of itself here: its own document counts.
    if activity.verb == Verb::Update && activity.object.id == activity.actor {
        site.keys.doubt(&activity.actor);
    }
    let command = inbox::Command::Receive(Box::new(received(site, verified, signed).await?));
    let receipt = site.runtime.registry().ask::<Inbox>(authority.as_str(), command, None).await?;
    if receipt == Receipt::Ignored {
        site.ignored.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(receipt)
}

/// What the inbox actor is told; made of nothing but what was verified.
async fn received(site: &Site, verified: Verified<Activity>, signed: Signed) -> Result<Received, Problem> {
    let inbox = match verified.inbox() {
        Some(inbox) => inbox.clone(),
        // A pair whose configuration names no inbox: its actor document does.
        None => {
            site.keys.actor(verified.actor()).await.map_err(|error| Problem::from(Refusal::from(error)))?.inbox.clone()
        }
    };
    let local = |iri: &Iri| site.runtime.world.local(iri).map(str::to_owned);
    let (shared_inbox, body) = (verified.shared_inbox().cloned(), verified.body().clone());
    let activity = verified.into_value();
    let about = local(&activity.object.id);
    let target = activity.target.as_ref().and_then(local);
    let reply_to = activity.object.in_reply_to().as_ref().and_then(local);
    Ok(Received { activity, body, inbox, shared_inbox, signed: Some(signed), about, target, reply_to })
}
