//! An instance as JSON: where it stands, why it waits, what would move it, and what there is to take back.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::actors::flow::{Flow, Origin};
use crate::actors::gate;
use crate::actors::lent::Lent;
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::fact::Why;
use crate::domains::flow::ledger::{Entry, Side};
use crate::domains::flow::progress::{End, ItemState, Phase, Progress, StepState};
use crate::domains::flow::verbs::{Verb, possible};
use crate::domains::trace::Context;

/// Room for most instances as JSON.
const BODY_BYTES: usize = 1 << 10;
/// Stands where a token of a callback stood.
const HIDDEN: &str = "…";

/// An instance as JSON has it.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: Option<&'a str>,
    phase: Phase,
    started: String,
    updated: String,
    definition: Option<&'a str>,
    origin: Option<&'a Origin>,
    input: Option<Given<'a>>,
    run: u32,
    steps: &'a BTreeMap<String, StepState>,
    waits_for: Vec<&'a str>,
    queued: Option<Queued<'a>>,
    why: Vec<String>,
    possible: Vec<&'static str>,
    undo: &'a [Entry],
    #[serde(skip_serializing_if = "Option::is_none")]
    runner: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notices: &'a BTreeMap<String, Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Things that it did and that nobody takes back, of one that was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Traced<'a>>,
}

/// All that its expressions see, whether it was given or not.
#[derive(Serialize)]
struct Given<'a> {
    input: &'a Value,
    activity: &'a Value,
    object: &'a Value,
    actor: &'a Value,
}

#[derive(Serialize)]
struct Queued<'a> {
    limit: &'static str,
    key: &'a Value,
    gate: String,
}

/// The span of the instance, and whose part it is: what log lines and the requests of its steps carry.
#[derive(Serialize)]
struct Traced<'a> {
    id: String,
    span: String,
    sampled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
}

/// An instance for programs and people.
pub fn instance(id: &str, flow: &Flow) -> Value {
    let mut value = seen(id, flow, |shown| serde_json::to_value(shown).unwrap_or_default());
    hide(&mut value, &tokens(flow));
    value
}

/// The same as the body of an answer.
pub fn body(id: &str, flow: &Flow) -> Vec<u8> {
    let mut out = Vec::with_capacity(BODY_BYTES);
    let written = if tokens(flow).is_empty() {
        seen(id, flow, |shown| serde_json::to_writer(&mut out, shown))
    } else {
        serde_json::to_writer(&mut out, &instance(id, flow))
    };
    written.expect("JSON values can be written");
    out
}

fn seen<T>(id: &str, flow: &Flow, show: impl FnOnce(&Shown<'_>) -> T) -> T {
    let unbegun;
    let progress = match &flow.progress {
        Some(progress) => progress,
        None => {
            unbegun = Progress::new(id);
            &unbegun
        }
    };
    let mut waits_for: Vec<&str> = progress.waiting().map(|(_, signal, _)| signal).collect();
    waits_for.dedup();
    let start = flow.start.as_deref();
    let (result, reason, left) = match &progress.end {
        Some(End::Done { result }) => (Some(result), None, None),
        Some(End::Failed { reason, .. } | End::Cancelled { reason, .. }) => (None, Some(reason.as_str()), None),
        Some(End::Killed { reason, left, .. }) => (None, Some(reason.as_str()), Some(*left)),
        None => (None, None, None),
    };
    let span = start.map(|_| flow.span(id));
    show(&Shown {
        id,
        name: start.map(|start| start.name.as_str()),
        phase: progress.phase(),
        started: flow.at.to_string(),
        updated: flow.updated.to_string(),
        definition: start.map(|start| start.definition.as_str()),
        origin: start.map(|start| &start.origin),
        input: start.map(|start| given(&start.input, progress)),
        run: progress.run,
        steps: &progress.steps,
        waits_for,
        queued: queued(flow, progress),
        why: why_of(flow, progress),
        possible: possible_now(flow),
        undo: &progress.ledger,
        runner: flow.away.as_ref().map(|away| away.view()),
        home: flow.lent.as_deref().map(home),
        notices: &progress.notices,
        result,
        reason,
        left,
        trace: span.as_ref().map(|span| traced(span, flow)),
    })
}

fn queued<'a>(flow: &Flow, progress: &'a Progress) -> Option<Queued<'a>> {
    let ((limit, key), start) = progress.queued().zip(flow.start.as_deref())?;
    Some(Queued { limit: limit.word(), key, gate: gate::id(&start.name, limit, key) })
}

fn possible_now(flow: &Flow) -> Vec<&'static str> {
    let Some(progress) = &flow.progress else { return Vec::new() };
    let mut can = possible(progress);
    let again = flow.away.as_ref().is_some_and(|away| away.is_in_trouble());
    if again && !can.contains(&Verb::Retry) {
        can.push(Verb::Retry);
    }
    can.into_iter().map(Verb::word).collect()
}

fn given<'a>(Input { input, activity, object, actor }: &'a Input, progress: &'a Progress) -> Given<'a> {
    Given { input: progress.input.as_deref().unwrap_or(input), activity, object, actor }
}

/// Whose it is, for an instance that is only run here.
fn home(lent: &Lent) -> Value {
    let line = &lent.line;
    json!({
        "actor": lent.home, "instance": lent.instance, "gone": lent.gone, "unheard": line.made - line.heard,
        "trouble": line.trouble.as_ref().map(|it| &it.what),
    })
}

fn traced<'a>(span: &'a Context, flow: &Flow) -> Traced<'a> {
    Traced {
        id: span.trace.to_string(),
        span: span.span.to_string(),
        sampled: span.is_sampled(),
        parent: flow.trace.as_ref().map(|began_in| began_in.span.to_string()),
        state: span.state(),
    }
}

/// The tokens that services were handed: whoever reads an instance must not be able to answer for them.
pub fn tokens(flow: &Flow) -> BTreeSet<String> {
    flow.progress.iter().flat_map(|progress| progress.callbacks.values().cloned()).collect()
}

/// Takes the tokens out of all texts.
pub fn hide(value: &mut Value, tokens: &BTreeSet<String>) {
    if tokens.is_empty() {
        return;
    }
    match value {
        Value::String(text) => {
            for token in tokens.iter().filter(|token| !token.is_empty()) {
                if text.contains(token.as_str()) {
                    *text = text.replace(token.as_str(), HIDDEN);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| hide(value, tokens)),
        Value::Object(table) => table.values_mut().for_each(|value| hide(value, tokens)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The same with what it is about whoever runs it, and who is let in.
fn why_of(flow: &Flow, progress: &Progress) -> Vec<String> {
    let mut said = flow.away.as_ref().map(|away| away.why()).unwrap_or_default();
    if let Some(trouble) = flow.lent.as_ref().filter(|lent| !lent.gone).and_then(|lent| lent.line.trouble.as_ref()) {
        said.push(format!(
            "its home is away since {}: {}; asked again at {}",
            trouble.since, trouble.what, trouble.until
        ));
    }
    if let Some(Queued { limit, key, gate }) = queued(flow, progress).filter(|_| progress.undoing.is_none()) {
        // All instances of the flow share one without a key.
        let whose = if key.is_null() { String::new() } else { format!(" for the key {key}") };
        said.push(format!("it waits to be let in by the limit `{limit}` of its flow{whose}: /flows/queues/{gate}"));
    }
    said.extend(why(progress));
    said
}

/// Why it does not go on by itself at once, one sentence for each thing that it waits for.
pub fn why(progress: &Progress) -> Vec<String> {
    let mut why = Vec::new();
    if progress.end.is_some() {
        return why;
    }
    if let Some(held) = &progress.held {
        let by = held.by.as_deref().unwrap_or("somebody");
        why.push(format!("{by} holds it: no step and no try begins until somebody says continue"));
    }
    match &progress.undoing {
        Some(Why::Failed { reason, .. }) => why.push(format!("what it did is taken back, since it failed: {reason}")),
        Some(Why::Cancelled { reason, .. }) => {
            why.push(format!("what it did is taken back, since it was cancelled: {reason}"));
        }
        None => {}
    }
    for entry in &progress.ledger {
        why.extend(of_side(&format!("the undo of `{}`", entry.step), &entry.undo));
    }
    for (step, notice) in &progress.notices {
        why.extend(of_side(&format!("telling that `{step}` waits"), notice));
    }
    for (step, state) in &progress.steps {
        why.extend(of_step(step, state));
    }
    why
}

fn of_side(what: &str, side: &Side) -> Option<String> {
    match side {
        Side::Running { attempt } => Some(format!("{what} is under way, try {attempt}")),
        Side::Retrying { at, reason, .. } => Some(format!("{what} is tried again at {at}: {reason}")),
        Side::Stuck { attempt, reason } => Some(format!("{what} used up its tries ({attempt}): {reason}")),
        Side::Pending | Side::Done | Side::Skipped { .. } => None,
    }
}

fn of_step(step: &str, state: &StepState) -> Vec<String> {
    let until = |until: &Option<Time>| until.map(|until| format!(", until {until}")).unwrap_or_default();
    let said = match state {
        StepState::Running { asked: true, .. } => format!("`{step}` waits for the answer to what it asked"),
        StepState::Running { attempt, .. } => format!("`{step}` is under way, try {attempt}"),
        StepState::Retrying { at, reason, .. } => format!("`{step}` is tried again at {at}: {reason}"),
        StepState::Paused { attempt, reason } => format!("`{step}` stopped after {attempt} tries: {reason}"),
        StepState::Waiting { signal, until: limit, assignee } => {
            let whose = assignee.as_ref().map(|who| format!(" of {who}")).unwrap_or_default();
            format!("`{step}` waits for the signal `{signal}`{whose}{}", until(limit))
        }
        StepState::Sleeping { until } => format!("`{step}` sleeps until {until}"),
        StepState::Awaiting { until: limit } => format!("`{step}` waits to be called back{}", until(limit)),
        StepState::Each { states, .. } => {
            let part = |(item, state): (usize, &ItemState)| match state {
                ItemState::Running { attempt } => {
                    Some(format!("element {item} of `{step}` is under way, try {attempt}"))
                }
                ItemState::Retrying { at, reason, .. } => {
                    Some(format!("element {item} of `{step}` is tried again at {at}: {reason}"))
                }
                ItemState::Paused { attempt, reason } => {
                    Some(format!("element {item} of `{step}` stopped after {attempt} tries: {reason}"))
                }
                ItemState::Failed { .. } | ItemState::Done { .. } => None,
            };
            return states.iter().enumerate().filter_map(part).collect();
        }
        _ => return Vec::new(),
    };
    vec![said]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::progress::Held;

    #[test]
    fn what_it_waits_for_is_said_and_an_end_waits_for_nothing() {
        let mut progress = Progress::new("f");
        let (signal, until, assignee) = ("go".to_owned(), None, Some("ann".to_owned()));
        progress.steps.insert("ask".into(), StepState::Waiting { signal, until, assignee });
        progress.held = Some(Held { by: Some("bob".into()) });
        let said = why(&progress);
        assert!(said[0].starts_with("bob holds it") && said[1].contains("`go` of ann"), "{said:?}");
        progress.end = Some(End::Done { result: Value::Null });
        assert_eq!(why(&progress), [""; 0]);
    }

    #[test]
    fn no_text_keeps_a_token() {
        let mut value = json!({ "a": ["x/t0ken/y", { "b": "t0ken" }], "c": 1 });
        hide(&mut value, &BTreeSet::from(["t0ken".to_owned()]));
        assert_eq!(value, json!({ "a": ["x/…/y", { "b": "…" }], "c": 1 }));
    }

    #[test]
    fn an_answer_says_the_same_as_the_instance_and_hides_the_same() {
        let mut progress = Progress::new("f");
        progress.end = Some(End::Done { result: Value::Null });
        let mut flow = Flow { progress: Some(progress), ..Flow::default() };
        let read = |flow: &Flow| serde_json::from_slice::<Value>(&body("f", flow)).unwrap();
        assert_eq!(read(&flow), instance("f", &flow));
        assert_eq!(read(&flow).get("result"), Some(&Value::Null));
        assert_eq!(read(&flow).get("reason"), None);
        let progress = flow.progress.as_mut().unwrap();
        progress.callbacks.insert("ask".into(), "t0ken".into());
        progress.end = Some(End::Done { result: json!("with t0ken") });
        assert_eq!(read(&flow)["result"], "with …");
        assert_eq!(read(&Flow::default()), instance("f", &Flow::default()));
    }
}
