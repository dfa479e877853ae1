//! What happened to an instance: its event rows as people read them, with how long things took and who did what.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::actors::away;
use crate::actors::flow::{Event, Flow, Origin};
use crate::actors::inspect::{self, Past};
use crate::clock::Time;
use crate::domains::flow::fact::Fact;
use crate::domains::trace::Context;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Turns that are shown, the last ones.
const TURNS_MAX: usize = 500;
/// Bytes of JSON of one payload; of a longer one its size and beginning are shown.
const PAYLOAD_MAX: usize = 4_096;
/// Letters of that beginning.
const BEGINNING: usize = 200;

/// What happened, in order. What was trimmed from the journal is not in it; then `timeline_from` says where it begins.
///
/// # Errors
/// What the store says.
pub async fn timeline(site: &Site, id: &str, span: &Context) -> Result<(Vec<Value>, Option<u64>), Problem> {
    let past = inspect::past::<Flow>(&site.runtime, id, TURNS_MAX).await?;
    let from = past.first().map(|turn| turn.turn).filter(|turn| *turn > 1);
    Ok((told(&past, span), from))
}

fn told(past: &[Past<Event>], span: &Context) -> Vec<Value> {
    let mut clocks = Clocks { span, began: BTreeMap::new() };
    let mut shown = Vec::new();
    for Past { turn, at, events } in past {
        for event in events {
            let Some(mut value) = of_event(event, &mut clocks) else { continue };
            value["turn"] = (*turn).into();
            value["at"] = at.to_string().into();
            value.as_object_mut().into_iter().flatten().for_each(|(_, value)| cut(value));
            shown.push(value);
        }
    }
    shown
}

fn of_event(event: &Event, clocks: &mut Clocks<'_>) -> Option<Value> {
    Some(match event {
        Event::Started { start, .. } => {
            let by = match &start.origin {
                Origin::Api { by } => by.clone(),
                Origin::Local { activity, .. } => activity.to_string(),
                Origin::Remote { actor, .. } | Origin::Node { actor } | Origin::Home { actor, .. } => actor.to_string(),
                Origin::Parent { flow, .. } => format!("flow {flow}"),
                Origin::Schedule { schedule, .. } => format!("schedule {schedule}"),
            };
            json!({ "fact": "started", "by": by })
        }
        Event::Happened { fact, at } => {
            let (span, took) = clocks.take(fact, *at);
            let mut value = serde_json::to_value(fact).ok()?;
            // Whoever has it can answer in the place of the service.
            value.as_object_mut()?.remove("callback");
            if let Some(span) = span {
                value["span"] = span.into();
            }
            if let Some(took) = took {
                value["took_ms"] = took.into();
            }
            value
        }
        Event::UndoAsked { undo } => {
            json!({ "fact": "undo_asked", "by": format!("flow {}", undo.flow), "reason": undo.reason })
        }
        Event::Petitioned { petition } => {
            json!({ "fact": "petitioned", "by": petition.actor, "activity": petition.activity })
        }
        Event::Barred { .. } => json!({ "fact": "barred" }),
        Event::Away { what } => of_away(what)?,
        Event::Lent { .. } | Event::Found { .. } => return None,
    })
}

/// What is worth telling of who runs it.
fn of_away(what: &away::Event) -> Option<Value> {
    Some(match what {
        away::Event::Offered { to, .. } => json!({ "fact": "offered", "to": to }),
        away::Event::Declined(declined) => {
            json!({ "fact": "declined", "by": declined.by, "reason": declined.why })
        }
        away::Event::Taken { instance, .. } => json!({ "fact": "taken", "instance": instance }),
        away::Event::Lost { why } => json!({ "fact": "lost", "reason": why }),
        away::Event::Nobody => json!({ "fact": "nobody" }),
        away::Event::Home => json!({ "fact": "home" }),
        _ => return None,
    })
}

/// The doing, undoing or telling of a step or element.
type What = (&'static str, String, Option<u32>);

/// When what is under way began, and the span of it: tries, waits and undos by step and element.
struct Clocks<'a> {
    /// Of the instance.
    span: &'a Context,
    began: BTreeMap<What, (Time, Option<String>)>,
}

impl Clocks<'_> {
    /// Notes a beginning; of an end how many milliseconds lie between. A try has the same span at both.
    fn take(&mut self, fact: &Fact, at: Time) -> (Option<String>, Option<u64>) {
        let begins = match fact {
            Fact::StepStarted { step, item, .. } => Some(("do", step, *item)),
            Fact::UndoStarted { step, item, .. } => Some(("undo", step, *item)),
            Fact::NotifyStarted { step, .. } => Some(("tell", step, None)),
            Fact::Suspended { step, .. } | Fact::Sleeping { step, .. } | Fact::EachStarted { step, .. } => {
                Some(("do", step, None))
            }
            _ => None,
        };
        if let Some((what, step, item)) = begins {
            let span = match fact {
                Fact::StepStarted { key, attempt, .. }
                | Fact::UndoStarted { key, attempt, .. }
                | Fact::NotifyStarted { key, attempt, .. } => Some(self.span.of_try(key, *attempt).span.to_string()),
                _ => None,
            };
            self.began.insert((what, step.clone(), item), (at, span.clone()));
            return (span, None);
        }
        let (what, step, item) = match fact {
            Fact::StepDone { step, item, .. }
            | Fact::StepFailed { step, item, .. }
            | Fact::Passed { step, item, .. } => ("do", step, *item),
            Fact::Resumed { step, .. }
            | Fact::CalledBack { step, .. }
            | Fact::TimedOut { step }
            | Fact::Woken { step }
            | Fact::EachDone { step } => ("do", step, None),
            Fact::UndoDone { step, item, .. } | Fact::UndoFailed { step, item, .. } => ("undo", step, *item),
            Fact::Notified { step } | Fact::NotifyFailed { step, .. } => ("tell", step, None),
            _ => return (None, None),
        };
        let Some((began, span)) = self.began.remove(&(what, step.clone(), item)) else { return (None, None) };
        (span, u64::try_from(at.since(began).as_millis()).ok())
    }
}

/// Of a payload that fills a screen its beginning.
fn cut(value: &mut Value) {
    let text = value.to_string();
    if text.len() > PAYLOAD_MAX {
        *value = json!({ "bytes": text.len(), "begins": text.chars().take(BEGINNING).collect::<String>() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::fact::AfterFailure;

    fn happened(at: u64, fact: Fact) -> Event {
        Event::Happened { fact, at: Time(at) }
    }

    fn started(at: u64, attempt: u32) -> Event {
        let (step, item, key, effect) = ("a".to_owned(), None, "k".to_owned(), "http".to_owned());
        let (input, undo, until) = (json!({ "long": "x".repeat(PAYLOAD_MAX) }), false, None);
        let callback = Some("secret".to_owned());
        happened(at, Fact::StepStarted { step, item, attempt, key, effect, input, undo, until, callback })
    }

    #[test]
    fn each_try_has_its_time_and_nobody_learns_where_to_call_back() {
        let (step, item) = ("a".to_owned(), None);
        let failed = Fact::StepFailed {
            step: step.clone(),
            item,
            attempt: 1,
            reason: "no".into(),
            next: AfterFailure::Pause,
            refused: false,
        };
        let done = Fact::StepDone { step, item, result: json!(1) };
        let events = vec![started(10, 1), happened(25, failed), started(100, 2), happened(103, done)];
        let shown = told(&[Past { turn: 1, at: Time(103), events }], &Context::of_flow(None, "f"));
        let took: Vec<Option<u64>> = shown.iter().map(|one| one["took_ms"].as_u64()).collect();
        assert_eq!(took, [None, Some(15), None, Some(3)]);
        let spans: Vec<&str> = shown.iter().filter_map(|one| one["span"].as_str()).collect();
        assert!(spans.len() == 4 && spans[0] == spans[1] && spans[2] == spans[3] && spans[1] != spans[2], "{spans:?}");
        assert!(shown.iter().all(|one| !one.to_string().contains("secret")));
        assert!(shown[0]["input"]["bytes"].as_u64() > Some(4_000), "{}", shown[0]);
    }
}
