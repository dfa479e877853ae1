//! One turn of an instance: the facts that follow from an event, and what they ask of the outside.

use super::check::Compiled;
use super::expr::Input;
use super::fact::Fact;
pub use super::plan::PlannedCall;
use super::plan::{Started, started};
use super::progress::Progress;
use super::spot::Role;
use super::step::{Cure, Event, Moment, Rejection};
use super::stepper::Stepper;
use crate::domains::effects::{EffectError, Effects};

/// What a turn commits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    pub facts: Vec<Fact>,
    pub calls: Vec<PlannedCall>,
}

/// Decides, and plans each effect that is started. One that cannot be planned has failed in the same turn; when that
/// ends the flow nothing that it does is carried out, only what takes it back.
pub fn turn<'a>(
    compiled: &'a Compiled,
    effects: &Effects,
    progress: &Progress,
    input: &'a Input,
    event: Event,
    at: impl Into<Moment<'a>>,
) -> Result<Turn, Rejection> {
    advance(compiled, effects, progress.clone(), input, event, at.into()).map(|(turn, _)| turn)
}

/// The same for a caller that goes on with the progress: nothing is copied.
pub fn advance<'a>(
    compiled: &'a Compiled,
    effects: &Effects,
    progress: Progress,
    input: &'a Input,
    event: Event,
    at: Moment<'a>,
) -> Result<(Turn, Progress), Rejection> {
    let mut stepper = Stepper { compiled, input, at, progress, facts: Vec::new() };
    stepper.decide(event)?;
    let mut calls = Vec::new();
    let mut next = 0;
    while let Some(fact) = stepper.facts.get(next) {
        next += 1;
        let steps = &compiled.definition.steps;
        let Some(planned) = started(steps, effects, &stepper.progress, input, fact) else { continue };
        let Started { spot, attempt, key, plan } = planned;
        match plan {
            Ok(plan) => calls.push((spot.role, PlannedCall { step: spot.step, item: spot.item, attempt, key, plan })),
            Err(error) => {
                let (reason, cure) = (error.to_string(), cure(&error));
                // A failure is no verb, so nothing rejects it.
                let _ = stepper.decide(Event::Failed { spot, attempt, reason, cure, trouble: None });
            }
        }
    }
    let Stepper { progress, facts, .. } = stepper;
    let ending = progress.end.is_some() || progress.undoing.is_some();
    let calls = calls.into_iter().filter(|(role, _)| *role == Role::Undo || !ending).map(|(_, call)| call).collect();
    Ok((Turn { facts, calls }, progress))
}

/// What a fact asks of the outside, for whoever carries it out without having decided it; what cannot be planned has
/// failed. `None` for facts that start nothing.
pub fn planned(
    compiled: &Compiled,
    effects: &Effects,
    progress: &Progress,
    input: &Input,
    fact: &Fact,
) -> Option<Result<PlannedCall, Event>> {
    let Started { spot, attempt, key, plan } = started(&compiled.definition.steps, effects, progress, input, fact)?;
    Some(match plan {
        Ok(plan) => Ok(PlannedCall { step: spot.step, item: spot.item, attempt, key, plan }),
        Err(error) => {
            let (reason, cure) = (error.to_string(), cure(&error));
            Err(Event::Failed { spot, attempt, reason, cure, trouble: None })
        }
    })
}

fn cure(error: &EffectError) -> Cure {
    match error {
        EffectError::Unknown(_) => Cure::Missing,
        EffectError::Parameters { .. } | EffectError::NotText { .. } => Cure::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::clock::Time;
    use crate::domains::flow::check::{Bounds, compile};
    use crate::domains::flow::definition::{Argument, Call, Definition, Failures, Kind, Step};
    use crate::domains::flow::progress::Phase;

    fn flow(steps: &[(&str, Kind)]) -> Compiled {
        let steps = steps.iter().map(|(name, kind)| ((*name).to_owned(), Step::of(kind.clone()))).collect();
        compile(Definition::of("f", steps), Bounds::default()).unwrap()
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
