//! Instances of flows as `quickbeam flows` shows them to people: in columns, with what is long cut short.

use serde_json::Value;

use crate::cli::ago::{ago, span};
use crate::cli::list::{items, more, text};
use crate::cli::table::{pairs, table};
use crate::clock::Time;
use crate::domains::flow::state::moment;

/// Letters of the input; all of it is in `--json`.
const INPUT_MAX: usize = 200;
/// What has a column of its own, or says nothing to people.
const BESIDE: [&str; 9] = ["at", "fact", "step", "attempt", "took_ms", "by", "reason", "turn", "key"];
/// Milliseconds beyond which nobody counts them.
const COUNTED_MAX: u64 = 10_000;

/// What runs on which definition.
pub(super) fn versions(answer: &Value) -> String {
    let row = |item: &Value| {
        let state = if item["current"] == true { "current" } else { "old" };
        vec![
            text(item, "name"),
            text(item, "definition"),
            state.to_owned(),
            text(item, "instances"),
            text(item, "states"),
        ]
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let rest = if answer["complete"] == false { "\n\nthere are more than were counted" } else { "" };
    table(&["flow", "definition", "is", "instances", "states"], &rows, "no flow is declared") + rest
}

/// A page of instances.
pub(super) fn list(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["id", "name", "phase", "waits_for"].map(|name| text(item, name));
        [cells.to_vec(), vec![ago(&item["updated"], now), text(item, "object")]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["id", "flow", "phase", "waits for", "moved", "about"], &rows, "no flows") + &more(answer)
}

/// One instance: where it stands, its steps, what there is to take back, and what happened.
pub(super) fn one(answer: &Value, now: Time) -> String {
    let happened: Vec<_> = rows_of(answer, "timeline").map(happened).collect();
    let steps: Vec<_> = answer["steps"].as_object().into_iter().flatten().map(step).collect();
    let mut parts = vec![
        pairs(&facts(answer, now)),
        table(&["step", "state", "with"], &steps, "no step has begun"),
        table(
            &["when", "what", "step", "try", "took", "by", "why", "with"],
            &happened,
            "nothing is kept of what happened",
        ),
    ];
    let undo: Vec<_> = rows_of(answer, "undo").rev().map(undo).collect();
    if !undo.is_empty() {
        parts.insert(2, table(&["to take back", "item", "run", "stands", "with"], &undo, ""));
    }
    parts.join("\n\n")
}

fn rows_of<'a>(answer: &'a Value, name: &str) -> impl DoubleEndedIterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

fn facts(answer: &Value, now: Time) -> Vec<(&'static str, String)> {
    let mut facts: Vec<_> =
        ["id", "name", "phase", "waits_for", "result", "reason"].map(|name| (name, text(answer, name))).to_vec();
    facts.push(("not taken back", text(answer, "left")));
    facts.push(("started", ago(&answer["started"], now)));
    facts.push(("moved", ago(&answer["updated"], now)));
    facts.push(("input", input(&answer["input"]["input"])));
    let parent = &answer["parent"];
    if parent.is_object() {
        facts.push(("called by", format!("step {} of {}", text(parent, "step"), text(parent, "id"))));
    }
    let called = rows_of(answer, "children");
    let called = called.map(|child| format!("{} {} ({})", text(child, "flow"), text(child, "id"), text(child, "step")));
    facts.push(("called", called.collect::<Vec<_>>().join(", ")));
    facts.push(("trace", text(&answer["trace"], "id")));
    let why: Vec<&str> = rows_of(answer, "why").filter_map(Value::as_str).collect();
    facts.push(("why", why.join("; ")));
    facts.push(("queue", text(&answer["queued"], "gate")));
    facts.push(("runner", text(&answer["runner"], "at")));
    facts.push(("can", text(answer, "possible")));
    facts
}

/// One line of what it began with, which strangers may have written.
fn input(value: &Value) -> String {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return String::new();
    }
    let whole = value.to_string();
    let most: String = whole.chars().take(INPUT_MAX).collect();
    if most.len() < whole.len() { format!("{most}…") } else { whole }
}

fn step((name, step): (&String, &Value)) -> Vec<String> {
    vec![name.clone(), text(step, "state"), details(step, &["state"])]
}

fn undo(entry: &Value) -> Vec<String> {
    let stands = if entry["undo"].is_null() { "not begun".to_owned() } else { text(&entry["undo"], "state") };
    let with = [details(&entry["undo"], &["state"]), details(entry, &["step", "item", "run", "undo"])];
    let with: Vec<String> = with.into_iter().filter(|with| !with.is_empty()).collect();
    vec![text(entry, "step"), text(entry, "item"), text(entry, "run"), stands, with.join("  ")]
}

fn happened(one: &Value) -> Vec<String> {
    let [at, fact, step, attempt, by, reason] =
        ["at", "fact", "step", "attempt", "by", "reason"].map(|name| text(one, name));
    let took = one["took_ms"].as_u64().map(took).unwrap_or_default();
    vec![at, fact, step, attempt, took, by, reason, details(one, &BESIDE)]
}

fn took(millis: u64) -> String {
    if millis < COUNTED_MAX { format!("{millis} ms") } else { span(millis) }
}

/// The rest, by name.
fn details(value: &Value, without: &[&str]) -> String {
    let told = value.as_object().into_iter().flatten();
    let told = told.filter(|(name, value)| !value.is_null() && *name != "span" && !without.contains(&name.as_str()));
    let said = |name, it| moment(name, it).map_or_else(|| text(value, name), |at| at.to_string());
    told.map(|(name, it)| format!("{name}: {}", said(name, it))).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_asks_of_an_instance_is_shown_and_what_is_long_is_cut() {
        let long = "x".repeat(1_000);
        let shown = one(
            &json!({
                "id": "f", "phase": "undoing", "input": { "input": { "n": long } },
                "parent": { "id": "p", "step": "ask" },
                "children": [{ "id": "c", "flow": "child", "step": "call", "run": 1 }],
                "steps": {
                    "call": { "state": "done", "result": { "a": 1 } },
                    "go": { "state": "waiting", "signal": "go", "until": 1_795_621_759_959_u64 },
                },
                "undo": [
                    { "step": "first", "result": 7 },
                    { "step": "call", "run": 2, "undo": { "state": "stuck", "attempt": 3, "reason": "gone" } },
                ],
                "timeline": [
                    { "at": "t", "fact": "step_done", "step": "call", "took_ms": 12, "result": { "a": 1 }, "span": "s", "key": "k" },
                    { "at": "t", "fact": "resumed", "step": "go", "took_ms": 7_200_000, "payload": [2] },
                ],
            }),
            Time(0),
        );
        for words in [
            "step ask of p",
            "child c (call)",
            "result: {\"a\":1}",
            "12 ms",
            "2 h",
            "payload: 2",
            "attempt: 3  reason: gone",
            "until: 2026-11-25T15:49:19.959Z",
            "not begun",
        ] {
            assert!(shown.contains(words), "{words} is not in {shown}");
        }
        let undo = shown.split("TO TAKE BACK").nth(1).unwrap();
        assert!(undo.find("call") < undo.find("first"), "the last first: {shown}");
        assert!(!shown.contains("span") && !shown.contains(&"x".repeat(INPUT_MAX)), "{shown}");
        assert!(!one(&json!({ "id": "f", "input": { "input": {} } }), Time(0)).contains("input"));
    }
}
