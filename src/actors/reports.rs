//! What an errand or a message of a step came to, as the instance is told.

use super::entity::{ActorId, Kind};
use super::errands::{Errand, Report};
use super::orders::{Command, Place};
use super::{record, stream};

/// Letters of an answer that stand in the reason of a failure.
const DETAIL_MAX: usize = 500;

/// What came of an errand that a step sent out.
pub(super) fn reported(errand: Errand, report: Report) -> Option<Command> {
    let (what, ok, place) = match errand {
        Errand::Webhook { place, .. } => ("the webhook", None, place),
        Errand::Http { request, place } | Errand::Lent { request, place } => ("the service", Some(request), place),
        Errand::Signed { said, .. } => return Some(Command::Heard { said, report }),
        Errand::Deliver { .. } | Errand::Vouch { .. } | Errand::Look { .. } => return None,
    };
    let is_ok = |status| ok.as_ref().map_or((200..300).contains(&status), |request| request.is_ok(status));
    Some(match report {
        Report::Answered { status, detail, .. } if is_ok(status) => {
            place.done(serde_json::json!({ "status": status, "body": detail }))
        }
        Report::Replied { status, body } if is_ok(status) => {
            place.done(serde_json::json!({ "status": status, "body": body }))
        }
        Report::Answered { status, detail, .. } => not_taken(what, status, &detail, place),
        Report::Replied { status, body } => {
            let said: String = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            not_taken(what, status, &said.chars().take(DETAIL_MAX).collect::<String>(), place)
        }
        Report::Unreachable { reason } => place.failed(reason, true, Some("unreachable".into())),
        Report::TimedOut { reason } => place.failed(reason, true, Some("timeout".into())),
        Report::Impossible { reason } => place.failed(reason, false, None),
        Report::Unusable { reason } => place.lost(reason, None),
    })
}

/// An answer that is not what the step takes. Only an error of the one who asked says that nothing was done.
fn not_taken(what: &str, status: u16, said: &str, place: Place) -> Command {
    let (reason, trouble) = (format!("{what} answered {status}: {said}"), Some(status.to_string()));
    match status {
        408 | 421 | 425 | 429 | 500..=599 => place.failed(reason, true, trouble),
        400..=499 => place.failed(reason, false, trouble),
        _ => place.lost(format!("{reason} (the step takes no {status}: `ok` says what it takes)"), trouble),
    }
}

/// A message of the instance ended as a dead letter: a person decides.
pub(super) fn undeliverable(to: &ActorId, body: &[u8], reason: &str) -> Option<Command> {
    let place = match to.kind {
        Kind::Flow => match record::decode::<Command>(body).ok()? {
            Command::Start(start) => start.origin.place()?.clone(),
            Command::Undo(undo) => undo.place,
            _ => return None,
        },
        _ => match record::decode::<stream::Command>(body).ok()? {
            stream::Command::Effect { place, .. } => place,
            stream::Command::Undo(undo) => undo.place,
            stream::Command::Ask { place, .. } | stream::Command::Unask { place, .. } => place,
            _ => return None,
        },
    };
    Some(place.stopped(reason.to_owned()))
}
