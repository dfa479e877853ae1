//! Facts as people read them: one line each, with spans instead of times, so that a line is the same on every day.

use serde_json::Value;

use super::fact::{AfterFailure, Fact, Skip, Why};
use crate::clock::Time;
use crate::config::reader::show_span;

/// Letters of a value that stand in a line.
const VALUE_MAX: usize = 120;

/// What a fact says, told at the moment in which it came true.
pub fn told(fact: &Fact, now: Time) -> String {
    steps(fact, now).or_else(|| taking_back(fact, now)).unwrap_or_else(|| people(fact))
}

/// What steps do by themselves.
fn steps(fact: &Fact, now: Time) -> Option<String> {
    Some(match fact {
        Fact::StepSkipped { step, why } => {
            let why = match why {
                Skip::Condition => "its if is false",
                Skip::NotReached => "nothing leads to it",
                Skip::Failed => "a step before it failed",
            };
            format!("skip {step}: {why}")
        }
        Fact::StepStarted { step, item, attempt, .. } => format!("start {}{}", at(step, *item), again(*attempt)),
        Fact::StepDone { step, item, result } => format!("done {}{}", at(step, *item), gave(result)),
        Fact::StepFailed { step, item, reason, next, .. } => {
            format!("failed {}: {reason}; {}", at(step, *item), follows(*next, now))
        }
        Fact::BranchTaken { step, taken } => format!("branch {step}: {}", if *taken { "then" } else { "else" }),
        Fact::EachStarted { step, items } => format!("each {step}: {} elements", items.len()),
        Fact::EachDone { step } => format!("done {step}"),
        Fact::Suspended { step, signal, until, assignee } => {
            let whose = assignee.as_ref().map(|who| format!(" of {who}")).unwrap_or_default();
            format!("wait {step}: for the signal {signal}{whose}{}", until_when(*until, now))
        }
        Fact::Resumed { step, signal, payload, .. } => format!("resumed {step}: by {signal}{}", gave(payload)),
        Fact::TimedOut { step } => format!("timed out {step}"),
        Fact::Sleeping { step, until } => format!("sleep {step}: {}", span(*until, now)),
        Fact::Woken { step } => format!("woken {step}"),
        Fact::Joined { step, result } => format!("joined {step}{}", gave(result)),
        Fact::AwaitsCallback { step, until } => format!("wait {step}: for its callback{}", until_when(*until, now)),
        Fact::CalledBack { step, payload } => format!("called back {step}{}", gave(payload)),
        Fact::NotifyStarted { step, attempt, .. } => format!("notify {step}{}", again(*attempt)),
        Fact::Notified { step } => format!("notified {step}"),
        Fact::NotifyFailed { step, reason, next, .. } => {
            format!("notify failed {step}: {reason}; {}", follows(*next, now))
        }
        Fact::FlowDone { result } => format!("flow done{}", gave(result)),
        Fact::FlowFailed { reason, .. } => format!("flow failed: {reason}"),
        Fact::FlowCancelled { reason, .. } => format!("flow cancelled: {reason}"),
        Fact::FlowKilled { reason, left, .. } => format!("flow killed: {reason}; {left} not taken back"),
        _ => return None,
    })
}

fn taking_back(fact: &Fact, now: Time) -> Option<String> {
    Some(match fact {
        Fact::Undoing { why: Why::Failed { reason, .. } } => format!("take back: it failed, {reason}"),
        Fact::Undoing { why: Why::Cancelled { reason, .. } } => format!("take back: it was cancelled, {reason}"),
        Fact::UndoStarted { step, item, attempt, .. } => format!("undo {}{}", at(step, *item), again(*attempt)),
        Fact::UndoDone { step, item, .. } => format!("undone {}", at(step, *item)),
        Fact::UndoFailed { step, item, reason, next, .. } => {
            format!("undo failed {}: {reason}; {}", at(step, *item), follows(*next, now))
        }
        Fact::UndoSkipped { step, item, .. } => format!("undo skipped {}", at(step, *item)),
        _ => return None,
    })
}

/// What others did to it.
fn people(fact: &Fact) -> String {
    match fact {
        Fact::Queued { limit, key } => format!("queue for its {}{}", limit.word(), gave(key)),
        Fact::Admitted { limit } => format!("let in by its {}", limit.word()),
        Fact::Retried { step, .. } => format!("retried {step}"),
        Fact::Paused { .. } => "paused".into(),
        Fact::Continued { .. } => "continued".into(),
        Fact::Passed { step, item, result, .. } => format!("passed {}{}", at(step, *item), gave(result)),
        Fact::Edited { step, item, undo: None, .. } => format!("edited {}", at(step, *item)),
        Fact::Edited { step, item, .. } => format!("edited the undo of {}", at(step, *item)),
        Fact::Restarted { step, run, .. } => format!("restarted {step} as run {run}"),
        other => format!("{other:?}"),
    }
}

fn at(step: &str, item: Option<u32>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}

fn again(attempt: u32) -> String {
    if attempt > 1 { format!(" again, try {attempt}") } else { String::new() }
}

fn gave(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    let text = value.to_string();
    match text.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!(" = {}…", &text[..end]),
        None => format!(" = {text}"),
    }
}

fn follows(next: AfterFailure, now: Time) -> String {
    match next {
        AfterFailure::RetryAt(at) => format!("tried again in {}", span(at, now)),
        AfterFailure::Pause => "waits for somebody".into(),
        AfterFailure::Collect => "goes on without it".into(),
        AfterFailure::Fail => "that is final".into(),
    }
}

fn until_when(until: Option<Time>, now: Time) -> String {
    until.map(|until| format!(", at most {}", span(until, now))).unwrap_or_default()
}

fn span(until: Time, now: Time) -> String {
    show_span(until.since(now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_spans_and_cuts_long_values() {
        let failed = Fact::StepFailed {
            step: "send".into(),
            item: Some(2),
            attempt: 1,
            reason: "busy".into(),
            next: AfterFailure::RetryAt(Time(91_000)),
            refused: false,
        };
        assert_eq!(told(&failed, Time(1_000)), "failed send[2]: busy; tried again in 90s");
        let done = Fact::StepDone { step: "a".into(), item: None, result: json!("ü".repeat(500)) };
        assert_eq!(told(&done, Time(0)).chars().count(), "done a = …".chars().count() + VALUE_MAX);
    }
}
