//! The verbs that move an instance: what each takes in its body, and what is said when it cannot be done now.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Waiting, json_body, moved, stored, visible};
use crate::actors::ask::AskError;
use crate::actors::flow::{Command, Flow, Rejection};
use crate::domains::flow::verbs::{Verb, possible};
use crate::tokens::Scope;
use crate::web::auth::{once, once_required, require};
use crate::web::http::read_body;
use crate::web::neighbour::User;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// What a verb can be given.
#[derive(Debug, Default, Deserialize)]
struct Given {
    reason: Option<String>,
    step: Option<String>,
    item: Option<u32>,
    input: Option<Value>,
    result: Option<Value>,
    signal: Option<String>,
    payload: Option<Value>,
}

/// What each takes, the necessary first.
pub fn words(verb: Verb) -> (&'static [&'static str], &'static [&'static str]) {
    match verb {
        Verb::Resume => (&[], &["signal", "payload"]),
        Verb::Retry => (&[], &["step"]),
        Verb::Skip => (&["step"], &["item", "result"]),
        Verb::Edit => (&["step", "input"], &["item"]),
        Verb::Pause | Verb::Continue => (&[], &[]),
        Verb::Cancel | Verb::Kill => (&[], &["reason"]),
        Verb::Restart => (&["step"], &["input"]),
    }
}

/// The verb of this name.
///
/// # Errors
/// 404 for a word that is none.
pub fn verb_of(word: &str) -> Result<Verb, Problem> {
    Verb::ALL.into_iter().find(|verb| verb.word() == word).ok_or_else(|| {
        let known: Vec<&str> = Verb::ALL.into_iter().map(Verb::word).collect();
        Problem::not_found(format!("a flow cannot be told to {word:?}; it can be told to {}", known.join(", ")))
    })
}

/// What the instance is told.
///
/// # Errors
/// 400 for words that the verb does not take, or does not have and needs.
pub fn command(verb: Verb, given: &Value, by: &str) -> Result<Command, Problem> {
    let (needed, more) = words(verb);
    let wrong = |what: String| Problem::bad_request(format!("{what}; {}", form(verb)));
    let table = given.as_object().ok_or_else(|| wrong("the body is no table".to_owned()))?;
    if let Some(strange) = table.keys().find(|key| !needed.contains(&key.as_str()) && !more.contains(&key.as_str())) {
        return Err(wrong(format!("{verb} knows no `{strange}`")));
    }
    if let Some(missing) = needed.iter().find(|needed| !table.contains_key(**needed)) {
        return Err(wrong(format!("{verb} needs `{missing}`")));
    }
    let given: Given = serde_json::from_value(given.clone()).map_err(|error| wrong(error.to_string()))?;
    let reason =
        given.reason.unwrap_or_else(|| format!("{} by {by}", if verb == Verb::Kill { "killed" } else { "cancelled" }));
    let (step, by) = (given.step.clone().unwrap_or_default(), Some(by.to_owned()));
    Ok(match verb {
        Verb::Resume => Command::Resume { signal: given.signal, payload: given.payload.unwrap_or_default(), by },
        Verb::Retry => Command::Retry { step: given.step, by },
        Verb::Skip => Command::Skip { step, item: given.item, result: given.result.unwrap_or_default(), by },
        Verb::Edit => Command::Edit { step, item: given.item, input: given.input.unwrap_or_default(), by },
        Verb::Pause => Command::Pause { by },
        Verb::Continue => Command::Continue { by },
        Verb::Cancel => Command::Cancel { by, reason },
        Verb::Kill => Command::Kill { by, reason },
        Verb::Restart => Command::Restart { step, input: given.input, by },
    })
}

fn form(verb: Verb) -> String {
    let (needed, more) = words(verb);
    let needed = needed.iter().map(|word| format!("\"{word}\": …"));
    let more = more.iter().map(|word| format!("\"{word}\"?: …"));
    format!("send {{{}}}", needed.chain(more).collect::<Vec<_>>().join(", "))
}

/// A refusal, with what can be done instead.
pub async fn refused(site: &Site, id: &str, error: AskError<Rejection>) -> Problem {
    let not_now = matches!(error, AskError::Rejected(_));
    let problem = Problem::from(error);
    if problem.status != 409 || !not_now {
        return problem;
    }
    let Ok(Some(progress)) = stored(site, id).await.map(|flow| flow.and_then(|flow| flow.progress)) else {
        return problem;
    };
    let possible: Vec<&str> = possible(&progress).into_iter().map(Verb::word).collect();
    let detail = match problem.detail.contains("can be told to") {
        true => problem.detail.clone(),
        false => format!("{}; it can be told to {}", problem.detail, possible.join(", ")),
    };
    let current = Some(json!({ "phase": progress.phase(), "possible": possible }));
    Problem { detail, current, ..problem }
}

/// `POST /flows/{id}/{verb}`
pub async fn tell(
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let (id, word) = path.into_inner();
    let verb = verb_of(&word)?;
    let once = match verb {
        // A signal that is sent twice may be meant for two steps.
        Verb::Resume => Some(once_required(&request, &caller, &body)?),
        _ => once(&request, &caller, &body)?,
    };
    let command = command(verb, &json_body(&site, &body)?, &caller.grant.name)?;
    let waiting = Waiting::of(&site, &request, &id);
    match site.runtime.registry().ask::<Flow>(&id, command, once).await {
        Ok(standing) => moved(&site, &id, standing, waiting, if verb == Verb::Resume { 202 } else { 200 }).await,
        Err(error) => Err(refused(&site, &id, error).await),
    }
}

/// `POST /flow/resume/{id}`
pub async fn resume(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let (user, body) = User::of(&site, &request, payload, Scope::FlowsWrite).await?;
    let once = user.once(&request, &body)?;
    visible(&site, &user, &id).await?;
    let command = command(Verb::Resume, &json_body(&site, &body)?, &user.by())?;
    let waiting = Waiting::of(&site, &request, &id);
    match site.runtime.registry().ask::<Flow>(&id, command, Some(once)).await {
        Ok(standing) => moved(&site, &id, standing, waiting, 202).await,
        Err(error) => Err(refused(&site, &id, error).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_takes_its_own_words_and_no_others() {
        let all = json!({
            "reason": "x", "step": "s", "item": 1, "input": 2, "result": 3, "signal": "g", "payload": 4,
        });
        for verb in Verb::ALL {
            let (needed, more) = words(verb);
            let pick =
                |names: &[&str]| Value::Object(names.iter().map(|it| ((*it).to_owned(), all[*it].clone())).collect());
            command(verb, &pick(&[needed, more].concat()), "ann").unwrap();
            command(verb, &pick(needed), "ann").unwrap();
            for missing in needed {
                let others: Vec<&str> = needed.iter().copied().filter(|it| it != missing).collect();
                let refused = command(verb, &pick(&others), "ann").unwrap_err();
                assert!(refused.status == 400 && refused.detail.contains(missing), "{refused}");
            }
            let strange = command(verb, &all, "ann").unwrap_err();
            assert!(strange.status == 400 && strange.detail.contains("knows no"), "{strange}");
            assert_eq!(command(verb, &json!([]), "ann").unwrap_err().status, 400);
            assert_eq!(verb_of(verb.word()).unwrap(), verb);
        }
        assert_eq!(verb_of("juggle").unwrap_err().status, 404);
        assert_eq!(command(Verb::Skip, &json!({ "step": "s", "item": -1 }), "ann").unwrap_err().status, 400);
    }

    #[test]
    fn who_gives_no_reason_is_the_reason() {
        let Command::Kill { reason, by } = command(Verb::Kill, &json!({}), "ann").unwrap() else {
            panic!("kill kills")
        };
        assert_eq!((reason.as_str(), by.as_deref()), ("killed by ann", Some("ann")));
    }
}
