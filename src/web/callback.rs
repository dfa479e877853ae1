//! `/flow/callback`: where a service answers that a step called. The address that it was given is all the proof it needs.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use serde_json::{Value, json};

use super::http::{json_of, read_body};
use super::site::Site;
use crate::actors::ask::AskError;
use crate::actors::entity::ActorId;
use crate::actors::flow::{Command, Flow, Rejection};
use crate::actors::inspect;
use crate::actors::once::Once;
use crate::domains::flow::step;
use crate::wire::error::Problem;

/// Letters of an instance's id, at most, and of a token: 16 bytes in hex.
const NAME_LENGTH: usize = 32;

/// `POST /flow/callback/{id}/{token}`
///
/// A repeat with the same body gets the first answer again, whether the service knows of Idempotency-Key or not: a
/// callback is used once, so that its address is key enough.
pub async fn called(path: Path<(String, String)>, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let (id, token) = path.into_inner();
    // What cannot be one of ours wakes no actor.
    if !is_id(&id) || !is_token(&token) || !inspect::exists(&site.runtime, &ActorId::of::<Flow>(id.as_str())).await? {
        return Err(unknown());
    }
    let _under_way = site.callbacks.take(&id).map_err(|wait| Problem {
        retry_after: Some(wait),
        ..Problem::new(429, "too many requests", "this flow is called back faster than this node takes; slow down")
    })?;
    let body = read_body(&site, payload).await?;
    let payload = if body.is_empty() { Value::Null } else { json_of(&site, &body)? };
    let once = Once::new("\u{1f}callback", &format!("{id}/{token}"), &body);
    let asked = site.runtime.registry().ask::<Flow>(&id, Command::Callback { token, payload }, Some(once)).await;
    match asked {
        Ok(_) => Ok(HttpResponse::Ok().json(json!({ "status": "taken" }))),
        Err(AskError::Conflict) => {
            Err(Problem::new(409, "used", "this callback was used with another body; each is used once"))
        }
        Err(AskError::Rejected(Rejection::Unknown(_) | Rejection::Step(step::Rejection::NoCallback))) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= NAME_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_token(text: &str) -> bool {
    text.len() == NAME_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The same words whatever is not there, so that nobody learns which instances are.
fn unknown() -> Problem {
    Problem::not_found("nobody waits for this callback: use the address as it was handed out")
}
