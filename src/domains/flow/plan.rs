//! What a fact asks of the outside, as data: an effect, a request, another flow, a question, or taking one of them back.

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{Http, Kind, Step, Undo};
use super::expr::Input;
use super::fact::Fact;
use super::progress::Progress;
use super::spot::{Role, Spot};
use crate::domains::effects::{EffectError, Effects, HeaderValue, Plan, Request};

/// One thing to carry out, for [`super::step::Event::Done`] or [`super::step::Event::Failed`] to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    pub step: String,
    pub item: Option<u32>,
    pub attempt: u32,
    /// Says also which run it belongs to, and whether it does, undoes or notifies.
    pub key: String,
    pub plan: Plan,
}

/// What a fact starts, and what that is, if this binary can do it.
pub(super) struct Started {
    pub(super) spot: Spot,
    pub(super) attempt: u32,
    pub(super) key: String,
    pub(super) plan: Result<Plan, EffectError>,
}

/// Plans what a fact starts; `None` for facts that start nothing.
pub(super) fn started(
    steps: &BTreeMap<String, Step>,
    effects: &Effects,
    progress: &Progress,
    cause: &Input,
    fact: &Fact,
) -> Option<Started> {
    let (name, item, run, role, attempt, key) = match fact {
        Fact::StepStarted { step, item, attempt, key, .. } => {
            (step, *item, progress.run_of(step), Role::Do, *attempt, key)
        }
        Fact::UndoStarted { step, item, run, attempt, key, .. } => (step, *item, *run, Role::Undo, *attempt, key),
        Fact::NotifyStarted { step, attempt, key, .. } => {
            (step, None, progress.run_of(step), Role::Notify, *attempt, key)
        }
        _ => return None,
    };
    let declared = steps.get(name)?;
    let plan = match fact {
        Fact::StepStarted { effect, input, .. } => doing(declared, effects, effect, input, cause),
        Fact::UndoStarted { effect, input, .. } => {
            let result = progress.entry(name, item, run).and_then(|entry| entry.result.as_deref());
            undoing(declared, effects, effect, input, result, cause)
        }
        Fact::NotifyStarted { effect, input, .. } => effects.plan(effect, input, cause),
        _ => return None,
    };
    Some(Started { spot: Spot::new(name, item, run, role), attempt, key: key.clone(), plan })
}

fn doing(step: &Step, effects: &Effects, effect: &str, input: &Value, cause: &Input) -> Result<Plan, EffectError> {
    match &step.kind {
        Kind::Http(http) => request(http, step.timeout, input).map(Plan::Http),
        Kind::Call { flow, .. } => Ok(Plan::Call { flow: flow.clone(), input: input.clone() }),
        Kind::Ask { .. } => {
            let part = |name: &str| text(input, name).ok_or_else(|| malformed(effect, name));
            Ok(Plan::Ask { verb: part("verb")?, object: part("object")?, target: part("target")?, to: part("to")? })
        }
        _ => effects.plan(effect, input, cause),
    }
}

fn undoing(
    step: &Step,
    effects: &Effects,
    effect: &str,
    input: &Value,
    result: Option<&Value>,
    cause: &Input,
) -> Result<Plan, EffectError> {
    match step.undo() {
        Some(Undo::Effect(_)) => effects.plan(effect, input, cause),
        Some(Undo::Http(http)) => request(http, step.timeout, input).map(Plan::Http),
        Some(Undo::Own) | None => {
            let done = step.kind.call().map_or(effect, |call| call.effect.as_str());
            let of = Box::new(doing(step, effects, done, input, cause)?);
            Ok(Plan::Undo { of, result: result.cloned() })
        }
    }
}

fn request(http: &Http, timeout: Option<u64>, input: &Value) -> Result<Request, EffectError> {
    let part = |name: &str| text(input, name).ok_or_else(|| malformed("http", name));
    let named = input.get("headers").and_then(Value::as_object);
    let mut headers = BTreeMap::new();
    for (name, value) in named.into_iter().flatten() {
        let secret = text(value, "secret");
        let value = match secret {
            Some(secret) => HeaderValue::Secret { secret, prefix: text(value, "prefix").unwrap_or_default() },
            None => HeaderValue::Text(match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(malformed("http", &format!("headers.{name}"))),
            }),
        };
        headers.insert(name.clone(), value);
    }
    let body = input.get("body").cloned();
    Ok(Request { method: part("method")?, url: part("url")?, headers, body, ok: http.ok.clone(), timeout })
}

fn text(of: &Value, name: &str) -> Option<String> {
    of.get(name)?.as_str().map(str::to_owned)
}

fn malformed(effect: &str, part: &str) -> EffectError {
    EffectError::NotText { effect: effect.to_owned(), part: part.to_owned() }
}
