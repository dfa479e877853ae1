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
