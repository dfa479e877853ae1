//! What goes wrong, as RFC 9457 problems: the one place where rejections and failures become statuses.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Value, json};

use super::refusal::{Class, Refusal};
use crate::actors::ask::AskError;
use crate::actors::held::HELD;
use crate::actors::{flow, follower, following, gate, inbox, outbox, schedule, stream};
use crate::domains::flow::step;
use crate::programs::damage::Behind;
use crate::programs::{Current, OpError};
use crate::store::blob::BlobError;
use crate::store::{Failure, ReadError};

/// A person has to look before a held node goes on.
const RETRY_HELD: Duration = Duration::from_secs(60);
/// What is asked of a peer whose request was not believed.
pub const SIGNATURE: &str = "Signature";
/// How long a caller is asked to wait when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal or failure as callers see it.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// More facts: the mistakes of a body, field by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Value>,
    /// What stands there instead of what the request relied on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Value>,
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    #[serde(skip)]
    pub challenge: Option<&'static str>,
    /// The methods that the address takes.
    #[serde(skip)]
    pub allow: Option<String>,
    /// How much there is, of which a part was wanted that there is not.
    #[serde(skip)]
    pub content_range: Option<String>,
    /// Who sent the request is not known: it counts for the address from which it came.
    #[serde(skip)]
    pub unproved: bool,
}

impl Problem {
    pub fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        let word = title.replace(' ', "-");
        let kind = format!("urn:quickbeam:problem:{word}");
        let (request_id, errors, current, retry_after, challenge, allow, content_range) = Default::default();
        let (detail, unproved) = (detail.into(), false);
        Self {
            kind,
            title,
            status,
            detail,
            request_id,
            errors,
            current,
            retry_after,
            challenge,
            allow,
            content_range,
            unproved,
        }
    }

    /// The same of a request before it is known whose it is.
    pub fn unproved(self) -> Self {
        Self { unproved: true, ..self }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad request", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not found", detail)
    }

    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(422, "unprocessable", detail)
    }

    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "too large", format!("the body has more than {limit} bytes; send less"))
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(503, "unavailable", detail) }
    }

    /// A restored node that nobody has let go yet. Whoever asked tries again after a person has acted.
    pub fn held() -> Self {
        Self { retry_after: Some(RETRY_HELD), ..Self::new(503, "held", HELD) }
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self { challenge: Some("Bearer realm=\"quickbeam\""), ..Self::new(401, "unauthorized", detail) }
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", detail)
    }

    fn errors(self, errors: &impl Serialize) -> Self {
        Self { errors: serde_json::to_value(errors).ok(), ..self }
    }

    /// The response, once the request's id is known.
    pub fn respond(mut self, request_id: String) -> HttpResponse {
        self.request_id = Some(request_id);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if let Some(after) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, after.as_secs().max(1).to_string()));
        }
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        if let Some(content_range) = &self.content_range {
            response.insert_header((header::CONTENT_RANGE, content_range.as_str()));
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        response.content_type("application/problem+json").body(body)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.title, self.detail)
    }
}

/// The body is written by the layer that knows the request's id; until then the problem travels with the response.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        response.extensions_mut().insert(self.clone());
        response
    }
}

impl<R: Rejected> From<AskError<R>> for Problem {
    fn from(error: AskError<R>) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Rejected(rejection) => rejection.problem(),
            AskError::Conflict => Self::unprocessable(detail),
            AskError::Held => Self::held(),
            AskError::Full | AskError::Unavailable(_) | AskError::Unknown(_) => Self::unavailable(detail),
            AskError::Store(failure) => store_failed(&failure, detail),
            AskError::Panicked => Self::new(500, "failed", detail),
            AskError::Damaged(_) => Self::new(500, "damaged", detail),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(failure: ReadError) -> Self {
        store_failed(&failure, format!("the store could not be read: {failure}"))
    }
}

fn store_failed(failure: &Failure, detail: String) -> Problem {
    match failure {
        Failure::Full(_) => full(detail),
        Failure::Damaged { .. } => Problem::new(500, "damaged", detail),
        _ => Problem::unavailable(detail),
    }
}

/// What whoever met damage can do.
fn go_on(behind: &Behind) -> String {
    let verify = "a backup has it as it was, and `quickbeam journal verify` names all that is damaged";
    match behind {
        Behind::Nothing | Behind::After(_) => verify.to_owned(),
        Behind::Anew => format!("write it anew; {verify}"),
        Behind::From(number) => format!("read on behind it with from={number}; {verify}"),
        Behind::To(number) => format!("read on before it with to={number}; {verify}"),
    }
}

fn full(detail: String) -> Problem {
    Problem { retry_after: Some(RETRY_AFTER), ..Problem::new(507, "insufficient storage", detail) }
}

impl From<OpError> for Problem {
    fn from(error: OpError) -> Self {
        let detail = error.to_string();
        match error {
            OpError::Conflict(current) => {
                let current = match current {
                    Current::Stream { first, last } => json!({ "first": first, "last": last }),
                    Current::Value(version) => json!({ "version": version }),
                    Current::Blob(hash) => json!({ "hash": hash.map(|hash| hash.to_string()) }),
                };
                Self { current: Some(current), ..Self::new(412, "precondition failed", detail) }
            }
            OpError::OtherRequest => Self::unprocessable(detail),
            OpError::OtherContent { .. } => Self::bad_request(detail),
            OpError::Busy(_) | OpError::Fenced | OpError::Unknown(_) | OpError::Stopped => Self::unavailable(detail),
            OpError::Failed(failure) | OpError::Unread(failure) => store_failed(&failure, detail),
            OpError::Damaged { behind, .. } => Self::new(500, "damaged", format!("{detail}; {}", go_on(&behind))),
            OpError::Blob(error) => match &*error {
                BlobError::TooLarge { .. } => {
                    Self::new(413, "too large", format!("{detail}; send less, or raise limits.blob"))
                }
                BlobError::Full(_) => full(detail),
                BlobError::Damaged(_) => Self::new(500, "damaged", detail),
                BlobError::Io { .. } | BlobError::Stopped => Self::unavailable(detail),
            },
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let unproved = refusal.is_of_nobody();
        let problem = match refusal.class() {
            Class::BadRequest => Self::bad_request(detail),
            Class::Unauthorized => Self { challenge: Some(SIGNATURE), ..Self::new(401, "signature refused", detail) },
            Class::Forbidden => Self::new(403, "signature refused", detail),
            Class::TooLarge => Self::new(413, "too large", detail),
            Class::MediaType => Self::new(415, "unsupported media type", detail),
            Class::Unavailable => Self::unavailable(detail),
        };
        Self { unproved, ..problem }
    }
}

/// A rejection of an actor, as a problem.
pub trait Rejected: fmt::Display {
    fn problem(&self) -> Problem;
}

impl Rejected for inbox::Rejection {
    fn problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::OtherBody(_) => Problem::new(409, "id used before", detail),
            Self::TooOld { .. } => Problem::new(410, "too old", detail),
            Self::NotAsked(_)
            | Self::ResultElsewhere(_)
            | Self::NotYours(_)
            | Self::NotYourObject { .. }
            | Self::NotAllowed { .. } => Problem::forbidden(detail),
        }
    }
}

impl Rejected for stream::Rejection {
    fn problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::Taken(_) => Problem::new(409, "taken", detail),
            Self::Gone(_) => Problem::new(410, "gone", detail),
            Self::NotFound(_) | Self::UnknownType(_) => Problem::not_found(detail),
            Self::Invalid(mistakes) => Problem::unprocessable(detail).errors(mistakes),
        }
    }
}

impl Rejected for flow::Rejection {
    fn problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::Unknown(_) => Problem::not_found(detail),
            Self::WhichSignal { .. } => Problem::unprocessable(detail),
            Self::NotHeld(_) => Problem::new(403, "not held", detail),
            Self::Missing { .. } => Problem::new(409, "missing", detail),
            Self::NotWaiting { .. }
            | Self::Step(
                step::Rejection::Finished(_)
                | step::Rejection::NotWaiting { .. }
                | step::Rejection::NothingToRetry
                | step::Rejection::NotNow { .. }
                | step::Rejection::NotStopped { .. }
                | step::Rejection::UnderWay(_),
            ) => Problem::new(409, "not now", detail),
            Self::Step(step::Rejection::WrongShape { mistakes, .. }) => Problem::unprocessable(detail).errors(mistakes),
            Self::Step(step::Rejection::NoCallback) => Problem::not_found(detail),
            Self::Step(step::Rejection::CallbackOver { .. }) => Problem::new(410, "gone", detail),
            Self::Step(step::Rejection::NoStep { .. }) => Problem::unprocessable(detail),
            Self::Step(step::Rejection::TooLarge { .. }) => Problem::new(413, "too large", detail),
            Self::NoDefinition(_) => Problem::new(500, "definition lost", detail),
        }
    }
}

impl Rejected for schedule::Rejection {
    fn problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::Unknown(_) => Problem::not_found(detail),
            Self::StillRuns { .. } | Self::Waits(_) => Problem::new(409, "not now", detail),
        }
    }
}

impl Rejected for following::Rejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Oneself => Problem::unprocessable(self.to_string()),
            Self::NotFollowing(_) => Problem::not_found(self.to_string()),
        }
    }
}

impl Rejected for follower::Rejection {
    fn problem(&self) -> Problem {
        Problem::not_found(self.to_string())
    }
}

impl Rejected for gate::Rejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotIn(_) => Problem::new(409, "not now", self.to_string()),
        }
    }
}

impl Rejected for outbox::Rejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NoSuchLetter(_) => Problem::not_found(self.to_string()),
            Self::TooOld(_) => Problem::new(410, "too old", self.to_string()),
        }
    }
}
