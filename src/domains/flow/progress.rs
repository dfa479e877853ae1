//! How far a flow instance is: the state that its facts make.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fact::{AfterFailure, Fact, Skip};
use crate::clock::Time;

/// The state of one instance. A step without an entry has not had its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The instance's id; a part of every effect key.
    pub flow: String,
    /// Raised by a restart from a step, so that its effects get new keys.
    pub run: u32,
    pub steps: BTreeMap<String, StepState>,
    /// Steps, elements and tries started so far, for the limit.
    pub started: u64,
    /// Bytes of JSON kept in results and elements, for the limit.
    pub kept: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StepState {
    Skipped {
        why: Skip,
    },
    /// An effect is under way.
    Running {
        attempt: u32,
    },
    Retrying {
        attempt: u32,
        at: Time,
        reason: String,
    },
    /// The tries are used up.
    Paused {
        attempt: u32,
        reason: String,
    },
    Failed {
        reason: String,
    },
    Waiting {
        signal: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    TimedOut,
    Branched {
        /// The choice, as JSON, since it is also the step's result.
        taken: Arc<Value>,
    },
    /// Elements start in order: those beyond `states` have not begun.
    Each {
        items: Arc<Vec<Value>>,
        states: Vec<ItemState>,
    },
    Done {
        result: Arc<Value>,
    },
}

/// Where one element of an `each` stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ItemState {
    Running { attempt: u32 },
    Retrying { attempt: u32, at: Time, reason: String },
    Paused { attempt: u32, reason: String },
    Failed { reason: String },
    Done { result: Arc<Value> },
}

/// How the instance ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    Done {
        result: Value,
    },
    Failed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        reason: String,
    },
    Cancelled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        reason: String,
    },
}

/// The instance in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Something is under way, or due by itself.
    Running,
    /// Only signals are waited for.
    Suspended,
    /// A step used up its tries.
    Paused,
    Done,
    Failed,
    Cancelled,
}

impl Phase {
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Suspended, Self::Paused, Self::Done, Self::Failed, Self::Cancelled];

    /// The phase as it is written in lists and stored in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.word() == word)
    }

    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl Progress {
    /// An instance that nothing has happened to.
    pub fn new(flow: impl Into<String>) -> Self {
        Self { flow: flow.into(), run: 1, steps: BTreeMap::new(), started: 0, kept: 0, end: None }
    }

    /// The key of what a step, or one element of it, does: the same for every try.
    pub fn key(&self, step: &str, item: Option<u32>) -> String {
        let item = item.map_or_else(|| "-".to_owned(), |item| item.to_string());
        format!("{}/{}/{step}/{item}/do", self.flow, self.run)
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
        self.steps.iter().filter_map(|(step, state)| match state {
            StepState::Waiting { signal, until } => Some((step.as_str(), signal.as_str(), *until)),
            _ => None,
        })
    }

    /// The instance in one word. A pause shows even while other paths go on: somebody has to come.
    pub fn phase(&self) -> Phase {
        match &self.end {
            Some(End::Done { .. }) => return Phase::Done,
            Some(End::Failed { .. }) => return Phase::Failed,
            Some(End::Cancelled { .. }) => return Phase::Cancelled,
            None => {}
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
            Fact::StepStarted { step, item, attempt, .. } => {
                self.started += 1;
                match item {
                    None => self.set(step, StepState::Running { attempt: *attempt }),
                    Some(item) => self.set_item(step, *item, ItemState::Running { attempt: *attempt }),
                }
            }
            Fact::StepDone { step, item, result } => {
                self.kept += size(result);
                let result = Arc::new(result.clone());
                match item {
                    None => self.set(step, StepState::Done { result }),
                    Some(item) => self.set_item(step, *item, ItemState::Done { result }),
                }
            }
            Fact::StepFailed { step, item, attempt, reason, next } => self.failed(step, *item, *attempt, reason, *next),
            Fact::BranchTaken { step, taken } => {
                self.started += 1;
                self.set(step, StepState::Branched { taken: Arc::new(Value::Bool(*taken)) });
            }
            Fact::EachStarted { step, items } => {
                self.kept += items.iter().map(size).sum::<u64>();
                self.set(step, StepState::Each { items: Arc::new(items.clone()), states: Vec::new() });
            }
            Fact::EachDone { step } => self.gather(step),
            Fact::Suspended { step, signal, until } => {
                self.started += 1;
                self.set(step, StepState::Waiting { signal: signal.clone(), until: *until });
            }
            Fact::Resumed { step, payload, .. } => {
                self.kept += size(payload);
                self.set(step, StepState::Done { result: Arc::new(payload.clone()) });
            }
            Fact::TimedOut { step } => self.set(step, StepState::TimedOut),
            // The starts that follow say what is tried again.
            Fact::Retried { .. } => {}
            Fact::FlowDone { result } => self.end = Some(End::Done { result: result.clone() }),
            Fact::FlowFailed { step, reason } => {
                self.end = Some(End::Failed { step: step.clone(), reason: reason.clone() });
            }
            Fact::FlowCancelled { by, reason } => {
                self.end = Some(End::Cancelled { by: by.clone(), reason: reason.clone() });
            }
        }
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

impl StepState {
    /// Nothing more comes of it by itself or by an answer.
    pub fn settled(&self) -> bool {
        matches!(
            self,
            StepState::Skipped { .. } | StepState::Branched { .. } | StepState::Done { .. } | StepState::TimedOut
        )
    }

    /// What it makes of the whole instance, if it is not settled.
    fn phase(&self) -> Option<Phase> {
        match self {
            StepState::Paused { .. } => Some(Phase::Paused),
            StepState::Running { .. } | StepState::Retrying { .. } => Some(Phase::Running),
            StepState::Waiting { .. } => Some(Phase::Suspended),
            StepState::Each { states, .. } => {
                let paused = states.iter().any(|state| matches!(state, ItemState::Paused { .. }));
                Some(if paused { Phase::Paused } else { Phase::Running })
            }
            _ => None,
        }
    }
}

/// What a value counts for the limit: the bytes of its JSON.
pub(crate) fn size(value: &Value) -> u64 {
    /// Counts instead of keeping.
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("JSON is written to a counter that takes everything");
    counter.0
}
