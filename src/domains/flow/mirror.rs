//! What another node says of an instance that it runs: whether it can be so, and who carries out what it starts.
//!
//! A runner decides alone how an instance goes on, and may be wrong or lie. What it says is taken over only where it
//! fits the definition and what is known of the instance, and within the limits of the node at home.

use super::check::Compiled;
use super::definition::{Definition, Kind, Step, Undo};
use super::fact::Fact;
use super::progress::{Progress, StepState};
use super::spot::{Role, Spot};
use super::start::effect_of;

/// Undos and tries of them count as starts too, and are not refused for their number.
const STARTS_OVER: u64 = 2;

/// Who carries out what a fact starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// The node whose instance it is: its objects, its flows and its name are touched.
    Home,
    /// The node that runs it: requests to services.
    Runner,
}

/// Who carries out what a fact starts, if it starts anything.
pub fn doer(definition: &Definition, fact: &Fact) -> Option<Doer> {
    let request = match fact {
        Fact::StepStarted { step, .. } => matches!(definition.steps.get(step)?.kind, Kind::Http(_)),
        Fact::UndoStarted { step, .. } => matches!(definition.steps.get(step)?.undo(), Some(Undo::Http(_))),
        Fact::NotifyStarted { .. } => false,
        _ => return None,
    };
    Some(if request { Doer::Runner } else { Doer::Home })
}

/// Whether what a fact started is still wanted.
pub fn is_open(progress: &Progress, fact: &Fact) -> bool {
    match fact {
        Fact::StepStarted { step, item, attempt, .. } => {
            let ending = progress.end.is_some() || progress.undoing.is_some();
            !ending && super::outcome::running(progress, step, *item) == Some(*attempt)
        }
        Fact::UndoStarted { step, item, run, attempt, .. } => {
            let running = super::ledger::Side::Running { attempt: *attempt };
            progress.end.is_none() && progress.entry(step, *item, *run).is_some_and(|entry| entry.undo == running)
        }
        Fact::NotifyStarted { .. } => progress.end.is_none(),
        _ => false,
    }
}

/// What is wrong about a fact that is to follow what is known.
///
/// # Errors
/// What cannot be so, in words for people.
pub fn check(compiled: &Compiled, progress: &Progress, fact: &Fact) -> Result<(), String> {
    if progress.end.is_some() {
        return Err("something happened after the end".to_owned());
    }
    if matches!(fact, Fact::Queued { .. } | Fact::Admitted { .. }) {
        return Err("it was let in somewhere else than at home".to_owned());
    }
    let Some(name) = step_of(fact) else { return Ok(()) };
    let declared = compiled.definition.steps.get(name);
    let declared = declared.ok_or_else(|| format!("the flow has no step `{name}`"))?;
    match fact {
        Fact::StepStarted { item, key, effect, .. } => {
            let starts = matches!(
                declared.kind,
                Kind::Effect(_) | Kind::Each { .. } | Kind::Call { .. } | Kind::Http(_) | Kind::Ask { .. }
            );
            let fits = starts && effect == effect_of(declared) && is_element(progress, name, declared, *item);
            let keyed = *key == progress.key(name, *item);
            if fits && keyed { Ok(()) } else { Err(format!("`{name}` was started as what it is not")) }
        }
        Fact::UndoStarted { item, run, key, .. } => {
            let known = progress.entry(name, *item, *run).is_some();
            let keyed = *key == progress.key_of(&Spot::new(name, *item, *run, Role::Undo));
            if known && keyed { Ok(()) } else { Err(format!("there is nothing to take back of `{name}`")) }
        }
        Fact::NotifyStarted { key, .. } => {
            let tells = matches!(declared.kind, Kind::Suspend { notify: Some(_), .. });
            let keyed = *key == progress.key_of(&Spot::new(name, None, progress.run_of(name), Role::Notify));
            if tells && keyed { Ok(()) } else { Err(format!("`{name}` tells nobody")) }
        }
        _ => Ok(()),
    }
}

/// Whether an instance has grown beyond what one may do and keep here.
///
/// # Errors
/// In what, in words for people.
pub fn within_bounds(compiled: &Compiled, progress: &Progress) -> Result<(), String> {
    let bounds = compiled.bounds;
    if progress.started > bounds.steps.saturating_mul(STARTS_OVER) {
        return Err(format!("it started more than the {} steps, elements and tries that one may here", bounds.steps));
    }
    if progress.kept > bounds.results {
        return Err(format!("it keeps more than the {} bytes of results that one may here", bounds.results));
    }
    Ok(())
}

fn is_element(progress: &Progress, name: &str, declared: &Step, item: Option<u32>) -> bool {
    match (&declared.kind, progress.steps.get(name), item) {
        (Kind::Each { .. }, Some(StepState::Each { items, .. }), Some(item)) => (item as usize) < items.len(),
        (Kind::Each { .. }, ..) => false,
        (_, _, item) => item.is_none(),
    }
}

fn step_of(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::StepSkipped { step, .. }
        | Fact::StepStarted { step, .. }
        | Fact::StepDone { step, .. }
        | Fact::StepFailed { step, .. }
        | Fact::BranchTaken { step, .. }
        | Fact::EachStarted { step, .. }
        | Fact::EachDone { step }
        | Fact::Suspended { step, .. }
        | Fact::Resumed { step, .. }
        | Fact::TimedOut { step }
        | Fact::Retried { step, .. }
        | Fact::Sleeping { step, .. }
        | Fact::Woken { step }
        | Fact::Joined { step, .. }
        | Fact::AwaitsCallback { step, .. }
        | Fact::CalledBack { step, .. }
        | Fact::NotifyStarted { step, .. }
        | Fact::Notified { step }
        | Fact::NotifyFailed { step, .. }
        | Fact::UndoStarted { step, .. }
        | Fact::UndoDone { step, .. }
        | Fact::UndoFailed { step, .. }
        | Fact::UndoSkipped { step, .. }
        | Fact::Passed { step, .. }
        | Fact::Edited { step, .. }
        | Fact::Restarted { step, .. } => Some(step),
        Fact::Undoing { .. }
        | Fact::Paused { .. }
        | Fact::Continued { .. }
        | Fact::Queued { .. }
        | Fact::Admitted { .. }
        | Fact::FlowDone { .. }
        | Fact::FlowFailed { .. }
        | Fact::FlowCancelled { .. }
        | Fact::FlowKilled { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::domains::flow::check::{Bounds, compile};
    use crate::domains::flow::definition::Call;

    fn compiled() -> Compiled {
        let call = Call { effect: "notify".into(), with: BTreeMap::new() };
        let steps = [("tell".to_owned(), Step::of(Kind::Effect(call)))];
        compile(Definition::of("f", steps.into()), Bounds { steps: 3, results: 10 }).unwrap()
    }

    fn started(step: &str, effect: &str, key: &str) -> Fact {
        Fact::StepStarted {
            step: step.into(),
            item: None,
            attempt: 1,
            key: key.into(),
            effect: effect.into(),
            input: Value::Null,
            undo: false,
            until: None,
            callback: None,
        }
    }

    #[test]
    fn what_a_runner_starts_has_to_be_what_the_definition_says_under_the_instances_own_key() {
        let (compiled, progress) = (compiled(), Progress::new("i"));
        let good = started("tell", "notify", "i/1/tell/-/do");
        assert_eq!(check(&compiled, &progress, &good), Ok(()));
        assert_eq!(doer(&compiled.definition, &good), Some(Doer::Home));
        for wrong in [
            started("tell", "object.create", "i/1/tell/-/do"),
            started("tell", "notify", "another/1/tell/-/do"),
            started("ask", "notify", "i/1/ask/-/do"),
            Fact::Queued { limit: crate::domains::flow::limits::Limit::Rate, key: Value::Null },
        ] {
            check(&compiled, &progress, &wrong).unwrap_err();
        }
    }

    #[test]
    fn an_end_is_the_end_and_bounds_are_those_at_home() {
        let (compiled, mut progress) = (compiled(), Progress::new("i"));
        progress.apply(&Fact::StepDone { step: "tell".into(), item: None, result: json!("longer than ten") });
        within_bounds(&compiled, &progress).unwrap_err();
        progress.apply(&Fact::FlowDone { result: Value::Null });
        check(&compiled, &progress, &started("tell", "notify", "i/1/tell/-/do")).unwrap_err();
    }
}
