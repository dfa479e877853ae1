//! Going on with an instance that somebody else ran so far: its alarms are set anew, and what was under way begins again.
//!
//! Every try that was under way may have been done, so that the next one has the same key: receivers do it once.

use super::alarm::{Alarm, alarms};
use super::check::Compiled;
use super::fact::{AfterFailure, Fact};
use super::ledger::Side;
use super::progress::{ItemState, Progress, StepState};
use super::spot::{Role, Spot};
use super::step::Cure;
use super::stepper::Stepper;

/// What of an instance goes on by itself, for whoever takes it over.
pub fn alarms_of(compiled: &Compiled, progress: &Progress) -> Vec<Alarm> {
    let mut facts = Vec::new();
    for (step, state) in &progress.steps {
        let (step, again) = (step.clone(), |item, attempt, at, reason: &String| Fact::StepFailed {
            step: step.clone(),
            item,
            attempt,
            reason: reason.clone(),
            next: AfterFailure::RetryAt(at),
            refused: false,
        });
        match state {
            StepState::Waiting { signal, until, assignee } => {
                let (signal, until, assignee) = (signal.clone(), *until, assignee.clone());
                facts.push(Fact::Suspended { step: step.clone(), signal, until, assignee });
            }
            StepState::Sleeping { until } => facts.push(Fact::Sleeping { step: step.clone(), until: *until }),
            StepState::Awaiting { until } => facts.push(Fact::AwaitsCallback { step: step.clone(), until: *until }),
            StepState::Retrying { attempt, at, reason } => facts.push(again(None, *attempt, *at, reason)),
            StepState::Each { states, .. } => {
                for (item, state) in (0..).zip(states) {
                    if let ItemState::Retrying { attempt, at, reason } = state {
                        facts.push(again(Some(item), *attempt, *at, reason));
                    }
                }
            }
            _ => {}
        }
    }
    for entry in &progress.ledger {
        if let Side::Retrying { attempt, at, reason } = &entry.undo {
            let (step, item, run) = (entry.step.clone(), entry.item, entry.run);
            let (attempt, reason, next) = (*attempt, reason.clone(), AfterFailure::RetryAt(*at));
            facts.push(Fact::UndoFailed { step, item, run, attempt, reason, next });
        }
    }
    for (step, notice) in &progress.notices {
        if let Side::Retrying { attempt, at, reason } = notice {
            let (step, attempt, reason, next) = (step.clone(), *attempt, reason.clone(), AfterFailure::RetryAt(*at));
            facts.push(Fact::NotifyFailed { step, attempt, reason, next });
        }
    }
    facts.iter().flat_map(|fact| alarms(&compiled.definition, progress, fact, true)).collect()
}

impl Stepper<'_> {
    /// What was under way begins again; while things are taken back, what nobody will answer any more is taken for
    /// done perhaps, and taken back.
    pub(super) fn handed(&mut self) {
        for (step, item, attempt) in under_way(&self.progress) {
            if self.progress.undoing.is_some() {
                let spot = Spot::new(&step, item, self.progress.run_of(&step), Role::Do);
                self.failed(&spot, attempt, "whoever ran it is gone", Cure::Time, None);
            } else if !self.is_ending() {
                self.start(&step, item, attempt + 1);
            }
        }
        let undos = self.progress.ledger.iter().filter_map(|entry| match entry.undo {
            Side::Running { attempt } => Some((entry.step.clone(), entry.item, entry.run, attempt)),
            _ => None,
        });
        for (step, item, run, attempt) in undos.collect::<Vec<_>>() {
            self.start_undo(&step, item, run, attempt + 1);
        }
        let notices = self.progress.notices.iter().filter_map(|(step, notice)| match notice {
            Side::Running { attempt } => Some((step.clone(), *attempt)),
            _ => None,
        });
        for (step, attempt) in notices.collect::<Vec<_>>() {
            self.tell(&step, attempt + 1);
        }
    }
}

fn under_way(progress: &Progress) -> Vec<(String, Option<u32>, u32)> {
    let mut found = Vec::new();
    for (step, state) in &progress.steps {
        match state {
            StepState::Running { attempt, .. } => found.push((step.clone(), None, *attempt)),
            StepState::Each { states, .. } => {
                for (item, state) in (0..).zip(states) {
                    if let ItemState::Running { attempt } = state {
                        found.push((step.clone(), Some(item), *attempt));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Time;
    use crate::domains::flow::check::{Bounds, compile};
    use crate::domains::flow::definition::{Call, Definition, Kind, Step, Until};
    use crate::domains::flow::expr::Input;
    use crate::domains::flow::step::{Event, decide};

    fn compiled() -> Compiled {
        let call = Call { effect: "notify".into(), with: BTreeMap::new() };
        let steps = [("tell", Kind::Effect(call)), ("night", Kind::Wait(Until::Span(1_000)))];
        let steps = steps.into_iter().map(|(name, kind)| (name.to_owned(), Step::of(kind)));
        compile(Definition::of("f", steps.collect()), Bounds::default()).unwrap()
    }

    #[test]
    fn what_was_under_way_is_tried_again_under_its_key_and_what_sleeps_wakes_in_time() {
        let (compiled, input, mut progress) = (compiled(), Input::default(), Progress::new("i"));
        let begun = decide(&compiled, &progress, &input, Event::Handed, Time(10)).unwrap();
        begun.iter().for_each(|fact| progress.apply(fact));
        let keys = |facts: &[Fact]| -> Vec<(String, u32)> {
            let key = |fact: &Fact| match fact {
                Fact::StepStarted { key, attempt, .. } => Some((key.clone(), *attempt)),
                _ => None,
            };
            facts.iter().filter_map(key).collect()
        };
        assert_eq!(keys(&begun), [("i/1/tell/-/do".to_owned(), 1)], "one that has not begun begins");
        let again = decide(&compiled, &progress, &input, Event::Handed, Time(20)).unwrap();
        assert_eq!(keys(&again), [("i/1/tell/-/do".to_owned(), 2)]);
        assert!(matches!(&alarms_of(&compiled, &progress)[..], [Alarm::Set { at: Time(1_010), .. }]));
    }
}
