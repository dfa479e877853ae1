//! One turn of an instance: the facts that follow from an event, and what they ask of the outside.

use super::check::Compiled;
use super::expr::Input;
use super::fact::Fact;
use super::progress::Progress;
use super::step::{Cure, Event, Rejection, decide};
use crate::clock::Time;
use crate::domains::effects::{EffectError, Effects, Plan};

/// What a turn commits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    pub facts: Vec<Fact>,
    pub calls: Vec<PlannedCall>,
}

/// One effect to carry out, for [`Event::Done`] or [`Event::Failed`] to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    pub step: String,
    pub item: Option<u32>,
    pub attempt: u32,
    pub key: String,
    pub plan: Plan,
}

/// Decides, and plans each effect that is started. One that cannot be planned has failed in the same turn; when that
/// ends the flow nothing is carried out.
pub fn turn(
    compiled: &Compiled,
    effects: &Effects,
    progress: &Progress,
    input: &Input,
    event: Event,
    now: Time,
) -> Result<Turn, Rejection> {
    let mut progress = progress.clone();
    let mut turn = Turn { facts: decide(compiled, &progress, input, event, now)?, calls: Vec::new() };
    turn.facts.iter().for_each(|fact| progress.apply(fact));
    let mut next = 0;
    while let Some(fact) = turn.facts.get(next) {
        next += 1;
        let Fact::StepStarted { step, item, attempt, key, effect, input: with } = fact else { continue };
        let (step, item, attempt) = (step.clone(), *item, *attempt);
        match effects.plan(effect, with, input) {
            Ok(plan) => turn.calls.push(PlannedCall { step, item, attempt, key: key.clone(), plan }),
            Err(error) => {
                let reason = error.to_string();
                let event = Event::Failed { step, item, attempt, reason, cure: cure(&error) };
                // A failure is no verb, so nothing rejects it.
                let more = decide(compiled, &progress, input, event, now).unwrap_or_default();
                more.iter().for_each(|fact| progress.apply(fact));
                turn.facts.extend(more);
            }
        }
    }
    if progress.end.is_some() {
        turn.calls.clear();
    }
    Ok(turn)
}

fn cure(error: &EffectError) -> Cure {
    match error {
        EffectError::Unknown(_) => Cure::Person,
        EffectError::Parameters { .. } => Cure::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::domains::flow::check::{Bounds, compile};
    use crate::domains::flow::definition::{Argument, Call, Definition, Failures, Kind, Step};
    use crate::domains::flow::progress::Phase;

    fn flow(steps: &[(&str, Kind)]) -> Compiled {
        let step = |kind: &Kind| Step { kind: kind.clone(), after: vec![], condition: None, retry: None };
        let steps = steps.iter().map(|(name, kind)| ((*name).to_owned(), step(kind))).collect();
        compile(Definition { name: "f".into(), steps, result: None, expose: false }, Bounds::default()).unwrap()
    }

    fn call(effect: &str, text: &str) -> Call {
        Call { effect: effect.into(), with: BTreeMap::from([("text".into(), Argument::Cel(text.into()))]) }
    }

    fn started(compiled: &Compiled) -> (Turn, Progress) {
        let input = Input { input: json!(["x", 1, "y"]), ..Input::default() };
        let mut progress = Progress::new("flow-1");
        let turn = turn(compiled, &Effects::generic(), &progress, &input, Event::Start, Time(0)).unwrap();
        turn.facts.iter().for_each(|fact| progress.apply(fact));
        (turn, progress)
    }

    #[test]
    fn what_is_started_is_planned_with_its_key() {
        let (turn, progress) = started(&flow(&[("a", Kind::Effect(call("notify", "'hello'")))]));
        assert_eq!((turn.calls.len(), turn.calls[0].key.as_str()), (1, "flow-1/1/a/-/do"));
        assert_eq!(progress.phase(), Phase::Running);
    }

    #[test]
    fn parameters_of_a_wrong_kind_fail_the_flow_and_nothing_goes_out() {
        let steps = [("a", Kind::Effect(call("notify", "'hello'"))), ("b", Kind::Effect(call("notify", "3")))];
        let (turn, progress) = started(&flow(&steps));
        assert_eq!(progress.phase(), Phase::Failed);
        assert!(turn.calls.is_empty());
    }

    #[test]
    fn an_effect_that_the_binary_lacks_pauses_its_step_and_others_go_out() {
        let steps = [("a", Kind::Effect(call("gone", "'x'"))), ("b", Kind::Effect(call("notify", "'x'")))];
        let (turn, progress) = started(&flow(&steps));
        assert_eq!(progress.phase(), Phase::Paused);
        assert_eq!(turn.calls.iter().map(|call| call.step.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn elements_that_cannot_be_planned_are_collected_and_the_rest_goes_out() {
        let each = |parallel| Kind::Each {
            list: "input".into(),
            call: call("notify", "item"),
            parallel,
            failures: Failures::Collect,
        };
        let (turn, _) = started(&flow(&[("l", each(2))]));
        assert_eq!(turn.calls.iter().map(|call| call.item).collect::<Vec<_>>(), [Some(0), Some(2)]);
    }
}
