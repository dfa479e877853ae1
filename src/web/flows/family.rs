//! Which flow called an instance, and which flows its steps have called: both ways by id.

use serde_json::{Value, json};

use crate::actors::flow::{Flow, Origin, child_id};
use crate::domains::flow::definition::Kind;
use crate::domains::flow::progress::{Progress, StepState};
use crate::domains::flow::spot::{Role, Spot};
use crate::web::site::Site;

/// Adds `parent` and `children` to the JSON of an instance that has them.
pub fn link(site: &Site, flow: &Flow, value: &mut Value) {
    let Some((start, progress)) = flow.start.as_ref().zip(flow.progress.as_ref()) else { return };
    if let Origin::Parent { flow, place, .. } = &start.origin {
        value["parent"] = json!({ "id": flow, "step": place.step });
    }
    let Some(compiled) = site.runtime.world.catalog.definition(&start.definition) else { return };
    let mut children = Vec::new();
    for (name, step) in &compiled.definition.steps {
        let Kind::Call { flow, .. } = &step.kind else { continue };
        for run in runs(progress, name) {
            let key = progress.key_of(&Spot::new(name, None, run, Role::Do));
            children.push(json!({ "id": child_id(&key), "flow": flow, "step": name, "run": run }));
        }
    }
    if !children.is_empty() {
        value["children"] = children.into();
    }
}

/// The runs in which a step has called: each has a child of its own.
fn runs(progress: &Progress, step: &str) -> Vec<u32> {
    let began = progress.steps.get(step).is_some_and(|state| !matches!(state, StepState::Skipped { .. }));
    let mut runs: Vec<u32> = progress.ledger.iter().filter(|entry| entry.step == step).map(|entry| entry.run).collect();
    runs.extend(began.then(|| progress.run_of(step)));
    runs.sort_unstable();
    runs.dedup();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::fact::{Fact, Skip};

    #[test]
    fn each_run_that_called_has_a_child_and_one_that_was_passed_over_has_none() {
        let mut progress = Progress::new("f");
        progress.apply(&Fact::StepSkipped { step: "b".into(), why: Skip::Condition });
        let (step, item, attempt, key, effect) = ("a".to_owned(), None, 1, "f/1/a/-/do".to_owned(), "call".to_owned());
        let (input, undo, until, callback) = (Value::Null, true, None, None);
        progress.apply(&Fact::StepStarted { step, item, attempt, key, effect, input, undo, until, callback });
        assert_eq!((runs(&progress, "a"), runs(&progress, "b")), (vec![1], vec![]));
        let (step, cleared, input, by) = ("a".to_owned(), vec!["a".to_owned()], None, None);
        progress.apply(&Fact::Restarted { step, run: 2, cleared, input, by });
        assert_eq!(runs(&progress, "a"), [1], "the earlier one is still there to be taken back");
    }
}
