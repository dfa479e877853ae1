//! What of an instance goes on by itself: the alarms that a fact sets, and those that have no use any more.

use super::definition::{Definition, Kind};
use super::fact::{AfterFailure, Fact};
use super::progress::Progress;
use super::spot::{Role, Spot, part};
use super::step::Event;
use crate::clock::Time;

/// A change of what goes on by itself. Each alarm has a name, and a new one takes the place of the old.
#[derive(Debug, Clone, PartialEq)]
pub enum Alarm {
    Set {
        name: String,
        at: Time,
        ring: Ring,
    },
    /// One that never was costs nothing to take back.
    Cancel {
        name: String,
    },
}

/// What it is time for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ring {
    Retry {
        step: String,
        item: Option<u32>,
        attempt: u32,
        /// Of what was tried.
        key: String,
    },
    TryTimedOut {
        step: String,
        item: Option<u32>,
        attempt: u32,
    },
    /// Nobody confirmed that something is taken back.
    UndoTimedOut {
        step: String,
        item: Option<u32>,
        attempt: u32,
        key: String,
    },
    TimedOut {
        step: String,
    },
    WaitOver {
        step: String,
    },
}

/// What a fact changes about alarms. `progress` is the one that all facts of the turn made; where it is known that no
/// alarm is `set`, none is cancelled.
pub fn alarms(definition: &Definition, progress: &Progress, fact: &Fact, set: bool) -> Vec<Alarm> {
    match fact {
        Fact::StepStarted { step, item, attempt, until: Some(until), .. } => {
            let (step, item, attempt) = (step.clone(), *item, *attempt);
            let waits = definition.steps.get(&step).map(|step| &step.kind);
            let (name, ring) = match waits {
                Some(Kind::Call { .. } | Kind::Ask { .. }) => (timeout_of(&step), Ring::TimedOut { step }),
                _ => (try_of(&step, item), Ring::TryTimedOut { step, item, attempt }),
            };
            vec![Alarm::Set { name, at: *until, ring }]
        }
        Fact::StepFailed { step, item, attempt, next: AfterFailure::RetryAt(at), .. } => {
            vec![again(retry_of(Role::Do, step, *item), *at, step, *item, *attempt, progress.key(step, *item))]
        }
        Fact::UndoStarted { step, item, run, attempt, key, until: Some(until), .. } => {
            let (name, key) = (undo_of(step, *item, *run), key.clone());
            let ring = Ring::UndoTimedOut { step: step.clone(), item: *item, attempt: *attempt, key };
            vec![Alarm::Set { name, at: *until, ring }]
        }
        Fact::UndoFailed { step, item, run, attempt, next: AfterFailure::RetryAt(at), .. } => {
            let key = progress.key_of(&Spot::new(step, *item, *run, Role::Undo));
            vec![again(undo_again(step, *item, *run), *at, step, *item, *attempt, key)]
        }
        Fact::UndoDone { step, item, run } | Fact::UndoSkipped { step, item, run, .. } if set => {
            [undo_of(step, *item, *run), undo_again(step, *item, *run)].map(|name| Alarm::Cancel { name }).into()
        }
        Fact::NotifyFailed { step, attempt, next: AfterFailure::RetryAt(at), .. } => {
            let key = progress.key_of(&Spot::new(step, None, progress.run_of(step), Role::Notify));
            vec![again(retry_of(Role::Notify, step, None), *at, step, None, *attempt, key)]
        }
        Fact::Suspended { step, until: Some(until), .. } | Fact::AwaitsCallback { step, until: Some(until) } => {
            vec![Alarm::Set { name: timeout_of(step), at: *until, ring: Ring::TimedOut { step: step.clone() } }]
        }
        Fact::Sleeping { step, until } => {
            vec![Alarm::Set { name: wait_of(step), at: *until, ring: Ring::WaitOver { step: step.clone() } }]
        }
        Fact::StepDone { step, item, .. } | Fact::Passed { step, item, .. } if set => settled(step, *item).into(),
        Fact::Resumed { step, .. } | Fact::CalledBack { step, .. } if set => settled(step, None).into(),
        Fact::Restarted { cleared, .. } if set => cleared.iter().flat_map(|step| settled(step, None)).collect(),
        _ => Vec::new(),
    }
}

impl From<Ring> for Event {
    fn from(ring: Ring) -> Self {
        match ring {
            Ring::Retry { step, item, attempt, key } => {
                Self::RetryDue { spot: Spot::from_key(&key, &step, item), attempt }
            }
            Ring::TryTimedOut { step, item, attempt } => Self::TryTimedOut { step, item, attempt },
            Ring::UndoTimedOut { step, item, attempt, key } => {
                Self::UndoTimedOut { spot: Spot::from_key(&key, &step, item), attempt }
            }
            Ring::TimedOut { step } => Self::TimedOut { step },
            Ring::WaitOver { step } => Self::WaitOver { step },
        }
    }
}

fn settled(step: &str, item: Option<u32>) -> [Alarm; 4] {
    [timeout_of(step), wait_of(step), try_of(step, item), retry_of(Role::Do, step, item)]
        .map(|name| Alarm::Cancel { name })
}

fn again(name: String, at: Time, step: &str, item: Option<u32>, attempt: u32, key: String) -> Alarm {
    Alarm::Set { name, at, ring: Ring::Retry { step: step.to_owned(), item, attempt, key } }
}

fn retry_of(role: Role, step: &str, item: Option<u32>) -> String {
    match role {
        Role::Do => format!("retry/{}", part(step, item)),
        role => format!("retry {role}/{}", part(step, item)),
    }
}

fn try_of(step: &str, item: Option<u32>) -> String {
    format!("try/{}", part(step, item))
}

/// Of several runs of one step undos may be under way at the same time. The first run has the name of old.
fn undo_again(step: &str, item: Option<u32>, run: u32) -> String {
    if run == 1 { retry_of(Role::Undo, step, item) } else { format!("retry undo {run}/{}", part(step, item)) }
}

fn undo_of(step: &str, item: Option<u32>, run: u32) -> String {
    format!("undo/{run}/{}", part(step, item))
}

fn timeout_of(step: &str) -> String {
    format!("timeout/{step}")
}

fn wait_of(step: &str) -> String {
    format!("wait/{step}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sleeps_has_an_alarm_until_somebody_passes_it() {
        let (definition, progress) = (Definition::of("f", [].into()), Progress::new("i"));
        let sleeps = Fact::Sleeping { step: "night".into(), until: Time(7) };
        let ring = Ring::WaitOver { step: "night".into() };
        let name = "wait/night".to_owned();
        for set in [false, true] {
            let (name, ring) = (name.clone(), ring.clone());
            assert_eq!(alarms(&definition, &progress, &sleeps, set), [Alarm::Set { name, at: Time(7), ring }]);
        }
        let passed = Fact::Passed { step: "night".into(), item: None, result: serde_json::Value::Null, by: None };
        assert!(alarms(&definition, &progress, &passed, true).contains(&Alarm::Cancel { name }));
        assert_eq!(alarms(&definition, &progress, &passed, false), []);
    }
}
