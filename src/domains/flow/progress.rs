//! How far a flow instance is: the state that its facts make.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fact::{AfterFailure, Fact, Why};
use super::ledger::{Entry, Side};
use super::limits::{Gated, Limit};
pub use super::phase::Phase;
use super::spot::{Role, Spot, part};
pub(crate) use super::state::size;
pub use super::state::{End, Held, ItemState, StepState};
use crate::clock::Time;

/// Stands between the id of an instance and the moment in which it began.
const BORN: char = '~';

/// The id of the instance whose effect a key names.
pub fn flow_of(effect_key: &str) -> Option<&str> {
    let (flow, _) = effect_key.split_once('/')?;
    Some(flow.split_once(BORN).map_or(flow, |(flow, _)| flow))
}

/// The state of one instance. A step without an entry has not had its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The instance's id; a part of every effect key.
    pub flow: String,
    /// When it began, where another may have had its id before it was forgotten; a part of every effect key then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Time>,
    /// Raised by a restart from a step, so that its effects get new keys.
    pub run: u32,
    pub steps: BTreeMap<String, StepState>,
    /// Steps, elements and tries started so far, for the limit.
    pub started: u64,
    /// Bytes of JSON kept in results and elements, for the limit.
    pub kept: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// How often it has ended: a restart lets it end again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ends: u32,
    /// Somebody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// It ends for this reason once everything is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoing: Option<Why>,
    /// What may have to be taken back, in the order in which it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<Entry>,
    /// Whether people were told that a step waits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notices: BTreeMap<String, Side>,
    /// What callbacks have to name, by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callbacks: BTreeMap<String, String>,
    /// What the next tries are given where somebody changed that, by [`part`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edited: BTreeMap<String, Arc<Value>>,
    /// The runs that steps began in, but for the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<String, u32>,
    /// The gates that it asked to be let in by, while it has not ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gates: BTreeMap<Limit, Gated>,
    /// The instance's input where a restart changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Progress {
    /// An instance that nothing has happened to.
    pub fn new(flow: impl Into<String>) -> Self {
        Self {
            flow: flow.into(),
            born: None,
            run: 1,
            steps: BTreeMap::new(),
            started: 0,
            kept: 0,
            end: None,
            ends: 0,
            held: None,
            undoing: None,
            ledger: Vec::new(),
            notices: BTreeMap::new(),
            callbacks: BTreeMap::new(),
            edited: BTreeMap::new(),
            runs: BTreeMap::new(),
            gates: BTreeMap::new(),
            input: None,
        }
    }

    /// The key of what a step, or one element of it, does: the same for every try.
    pub fn key(&self, step: &str, item: Option<u32>) -> String {
        self.key_of(&Spot::new(step, item, self.run_of(step), Role::Do))
    }

    /// The key of anything that it does, undoes or tells.
    pub fn key_of(&self, spot: &Spot) -> String {
        match self.born {
            None => spot.key(&self.flow),
            Some(born) => spot.key(&format!("{}{BORN}{:x}", self.flow, born.0)),
        }
    }

    /// The result of a step that has one.
    pub fn result(&self, step: &str) -> Option<&Value> {
        match self.steps.get(step)? {
            StepState::Done { result } | StepState::Branched { taken: result } => Some(result),
            _ => None,
        }
    }

    /// Who waits for which signal, and until when.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, &str, Option<Time>)> {
        let steps = self.steps.iter().filter(|_| self.end.is_none());
        steps.filter_map(|(step, state)| match state {
            StepState::Waiting { signal, until, .. } => Some((step.as_str(), signal.as_str(), *until)),
            _ => None,
        })
    }

    /// The gate that it waits at before it begins.
    pub fn queued(&self) -> Option<(Limit, &Value)> {
        self.gates.iter().find(|(_, gated)| !gated.entered).map(|(limit, gated)| (*limit, &gated.key))
    }

    /// The instance in one word. What needs somebody shows even while other paths go on.
    pub fn phase(&self) -> Phase {
        match &self.end {
            Some(End::Done { .. }) => return Phase::Done,
            Some(End::Failed { .. }) => return Phase::Failed,
            Some(End::Cancelled { .. }) => return Phase::Cancelled,
            Some(End::Killed { .. }) => return Phase::Killed,
            None if self.held.is_some() => return Phase::Paused,
            None => {}
        }
        if self.ledger.iter().any(|entry| matches!(entry.undo, Side::Stuck { .. })) {
            return Phase::Stuck;
        }
        if self.undoing.is_some() {
            return Phase::Undoing;
        }
        if self.queued().is_some() {
            return Phase::Queued;
        }
        let mut phase = None;
        for state in self.steps.values() {
            match state.phase() {
                Some(Phase::Paused) => return Phase::Paused,
                Some(Phase::Running) => phase = Some(Phase::Running),
                Some(Phase::Suspended) => phase = phase.or(Some(Phase::Suspended)),
                _ => {}
            }
        }
        phase.unwrap_or(Phase::Running)
    }

    /// Takes a fact in. It holds no rule, evaluates nothing and never fails: a fact that does not fit changes nothing.
    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::StepSkipped { step, why } => self.set(step, StepState::Skipped { why: *why }),
            Fact::StepStarted { step, item, attempt, effect, input, undo, callback, .. } => {
                self.begun(step, *item, *attempt, effect == "ask");
                if *undo {
                    self.enter(step, *item, input);
                }
                if let Some(callback) = callback {
                    self.callbacks.insert(step.clone(), callback.clone());
                }
            }
            Fact::StepDone { step, item, result } | Fact::Passed { step, item, result, .. } => {
                self.done(step, *item, result);
            }
            Fact::StepFailed { step, item, attempt, reason, next, refused } => {
                self.doubted(step, *item, *refused);
                self.failed(step, *item, *attempt, reason, *next);
            }
            Fact::BranchTaken { step, taken } => {
                self.started += 1;
                self.set(step, StepState::Branched { taken: Arc::new(Value::Bool(*taken)) });
            }
            Fact::EachStarted { step, items } => {
                self.kept += items.iter().map(size).sum::<u64>();
                self.first(step);
                self.set(step, StepState::Each { items: Arc::new(items.clone()), states: Vec::new() });
            }
            Fact::EachDone { step } => self.gather(step),
            Fact::Suspended { step, signal, until, assignee } => {
                self.started += 1;
                let (signal, assignee) = (signal.clone(), assignee.clone());
                self.set(step, StepState::Waiting { signal, until: *until, assignee });
            }
            Fact::Sleeping { step, until } => {
                self.started += 1;
                self.set(step, StepState::Sleeping { until: *until });
            }
            Fact::Woken { step } => self.set(step, StepState::Done { result: Arc::default() }),
            Fact::AwaitsCallback { step, until } => self.set(step, StepState::Awaiting { until: *until }),
            Fact::Resumed { step, payload: result, .. }
            | Fact::CalledBack { step, payload: result }
            | Fact::Joined { step, result } => self.done(step, None, result),
            Fact::TimedOut { step } => self.set(step, StepState::TimedOut),
            // The starts that follow say what is tried again.
            Fact::Retried { .. } => {}
            Fact::FlowDone { result } => self.end(End::Done { result: result.clone() }),
            Fact::FlowFailed { step, reason } => {
                self.end(End::Failed { step: step.clone(), reason: reason.clone() });
            }
            Fact::FlowCancelled { by, reason } => {
                self.end(End::Cancelled { by: by.clone(), reason: reason.clone() });
            }
            Fact::FlowKilled { by, reason, left } => {
                self.end(End::Killed { by: by.clone(), reason: reason.clone(), left: *left });
            }
            beside => self.apply_beside(beside),
        }
    }

    /// The run in which a step began, or would begin now.
    pub fn run_of(&self, step: &str) -> u32 {
        match self.steps.contains_key(step) {
            true => self.runs.get(step).copied().unwrap_or(1),
            false => self.run,
        }
    }

    /// Its retries keep the run that it begins in, whatever restarts come meanwhile.
    fn first(&mut self, step: &str) {
        if self.run > 1 && !self.steps.contains_key(step) {
            self.runs.insert(step.to_owned(), self.run);
        }
    }

    fn begun(&mut self, step: &str, item: Option<u32>, attempt: u32, asked: bool) {
        self.started += 1;
        self.first(step);
        match item {
            None => self.set(step, StepState::Running { attempt, asked }),
            Some(item) => self.set_item(step, item, ItemState::Running { attempt }),
        }
    }

    fn done(&mut self, step: &str, item: Option<u32>, result: &Value) {
        self.kept += size(result);
        let result = Arc::new(result.clone());
        if let Some(entry) = self.entry_mut(step, item, self.run_of(step)) {
            // What was stored as nothing comes back as not known, which is the same to an undo.
            entry.result = Some(result.clone()).filter(|result| !result.is_null());
        }
        self.edited.remove(&part(step, item));
        match item {
            None => self.set(step, StepState::Done { result }),
            Some(item) => self.set_item(step, item, ItemState::Done { result }),
        }
    }

    fn end(&mut self, end: End) {
        self.end = Some(end);
        self.ends += 1;
        (self.undoing, self.held) = (None, None);
        self.gates.clear();
    }

    fn failed(&mut self, step: &str, item: Option<u32>, attempt: u32, reason: &str, next: AfterFailure) {
        let reason = reason.to_owned();
        let Some(item) = item else {
            let state = match next {
                AfterFailure::RetryAt(at) => StepState::Retrying { attempt, at, reason },
                AfterFailure::Pause => StepState::Paused { attempt, reason },
                AfterFailure::Fail | AfterFailure::Collect => StepState::Failed { reason },
            };
            return self.set(step, state);
        };
        let state = match next {
            AfterFailure::RetryAt(at) => ItemState::Retrying { attempt, at, reason },
            AfterFailure::Pause => ItemState::Paused { attempt, reason },
            AfterFailure::Fail | AfterFailure::Collect => ItemState::Failed { reason },
        };
        self.set_item(step, item, state);
    }

    fn set(&mut self, step: &str, state: StepState) {
        match self.steps.get_mut(step) {
            Some(known) => *known = state,
            None => drop(self.steps.insert(step.to_owned(), state)),
        }
    }

    fn set_item(&mut self, step: &str, item: u32, state: ItemState) {
        let Some(StepState::Each { states, .. }) = self.steps.get_mut(step) else { return };
        let item = item as usize;
        if item < states.len() {
            states[item] = state;
        } else if item == states.len() {
            states.push(state);
        }
    }

    /// The elements and their results are let go of for the one list.
    fn gather(&mut self, step: &str) {
        let Some(StepState::Each { items, states }) = self.steps.get_mut(step) else { return };
        let freed: u64 = items.iter().map(size).sum();
        let results = states.iter().map(|state| match state {
            ItemState::Done { result } => Value::clone(result),
            ItemState::Failed { reason } | ItemState::Retrying { reason, .. } | ItemState::Paused { reason, .. } => {
                json!({ "failed": reason })
            }
            ItemState::Running { .. } => Value::Null,
        });
        let result = Arc::new(Value::Array(results.collect()));
        self.kept = self.kept.saturating_sub(freed);
        self.set(step, StepState::Done { result });
    }
}
