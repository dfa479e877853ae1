//! What people tell an instance. Every state leaves by one of these; one that cannot be done now says which can.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::definition::{Kind, Step};
use super::fact::{Fact, Why};
use super::ledger::Side;
use super::progress::{ItemState, Progress, StepState, size};
use super::step::Rejection;
use super::stepper::Stepper;
use crate::domains::types::check_fields;

/// What an instance can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Resume,
    Retry,
    Skip,
    Edit,
    Pause,
    Continue,
    Cancel,
    Kill,
    Restart,
}

impl Verb {
    pub const ALL: [Self; 9] = [
        Self::Resume,
        Self::Retry,
        Self::Skip,
        Self::Edit,
        Self::Pause,
        Self::Continue,
        Self::Cancel,
        Self::Kill,
        Self::Restart,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Edit => "edit",
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Cancel => "cancel",
            Self::Kill => "kill",
            Self::Restart => "restart",
        }
    }

    pub(super) fn of(self) -> &'static str {
        if self == Self::Edit { "there is nothing to edit" } else { "there is nothing to skip" }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// What an instance can be told now.
pub fn possible(progress: &Progress) -> Vec<Verb> {
    if progress.end.is_some() {
        return vec![Verb::Restart];
    }
    let (held, undoing) = (progress.held.is_some(), progress.undoing.is_some());
    let waits = progress.waiting().next().is_some();
    let stopped = progress.steps.values().any(|state| !stopped_parts(state).is_empty());
    let stuck = progress.ledger.iter().any(|entry| is_stopped(&entry.undo));
    let unheard = progress.notices.values().any(is_stopped);
    let quiet = progress.steps.values().any(can_pass);
    let can = |verb: &Verb| match verb {
        Verb::Resume => waits && !undoing,
        Verb::Retry => !held && (stuck || (!undoing && (stopped || unheard))),
        Verb::Skip => stuck || (!undoing && (stopped || quiet)),
        Verb::Edit => stuck || (!undoing && stopped),
        Verb::Pause => !held,
        Verb::Continue => held,
        Verb::Cancel => !undoing,
        Verb::Kill => true,
        Verb::Restart => !undoing,
    };
    Verb::ALL.into_iter().filter(can).collect()
}

impl Stepper<'_> {
    fn not_now(&self, verb: Verb) -> Rejection {
        Rejection::NotNow { verb, phase: self.progress.phase(), possible: possible(&self.progress) }
    }

    /// Goes to the first step by name that waits for the signal: one resume moves one step.
    pub(super) fn resume(&mut self, signal: String, payload: Value, by: Option<String>) -> Result<(), Rejection> {
        if self.progress.undoing.is_some() {
            return Err(self.not_now(Verb::Resume));
        }
        let waits = self.progress.waiting().find(|(_, waited, _)| *waited == signal).map(|(step, ..)| step.to_owned());
        let Some(step) = waits else {
            let mut waiting: Vec<_> = self.progress.waiting().map(|(_, signal, _)| signal.to_owned()).collect();
            waiting.dedup();
            return Err(Rejection::NotWaiting { signal, waiting });
        };
        let payload = self.shaped(&step, &signal, payload)?;
        self.fits(&signal, &payload)?;
        self.record(Fact::Resumed { step, signal, payload, by });
        Ok(())
    }

    fn fits(&self, signal: &str, payload: &Value) -> Result<(), Rejection> {
        let (size, left) = (size(payload), self.compiled.bounds.results.saturating_sub(self.progress.kept));
        if size > left {
            return Err(Rejection::TooLarge { signal: signal.to_owned(), size, left });
        }
        Ok(())
    }

    fn shaped(&self, step: &str, signal: &str, payload: Value) -> Result<Value, Rejection> {
        match self.compiled.definition.steps.get(step) {
            Some(Step { kind: Kind::Suspend { shape: Some(shape), .. }, .. }) => {
                // Whoever sends a signal and nothing else sends an empty payload.
                let payload = if payload.is_null() { Value::Object(serde_json::Map::new()) } else { payload };
                let checked = check_fields(shape, &payload);
                let wrong = |mistakes| Rejection::WrongShape { signal: signal.to_owned(), mistakes };
                checked.map(Value::Object).map_err(wrong)
            }
            _ => Ok(payload),
        }
    }

    pub(super) fn retry(&mut self, only: Option<&str>, by: Option<String>) -> Result<(), Rejection> {
        if self.progress.held.is_some() {
            return Err(self.not_now(Verb::Retry));
        }
        let meant = |step: &str| only.is_none_or(|only| only == step);
        let undos = self.progress.ledger.iter().filter(|entry| meant(&entry.step) && is_stopped(&entry.undo));
        let undos: Vec<_> = undos.map(|entry| (entry.step.clone(), entry.item, entry.run)).collect();
        let notices = self.progress.notices.iter().filter(|(step, notice)| meant(step) && is_stopped(notice));
        let mut notices: Vec<String> = notices.map(|(step, _)| step.clone()).collect();
        let steps = self.progress.steps.iter().filter(|(step, _)| meant(step));
        let mut stopped: Vec<(String, Option<u32>)> =
            steps.flat_map(|(step, state)| stopped_parts(state).into_iter().map(|item| (step.clone(), item))).collect();
        if self.progress.undoing.is_some() {
            notices.clear();
            stopped.clear();
        }
        if stopped.is_empty() && undos.is_empty() && notices.is_empty() {
            return Err(Rejection::NothingToRetry);
        }
        let named = stopped.iter().map(|(step, _)| step).chain(undos.iter().map(|(step, ..)| step)).chain(&notices);
        let named: BTreeSet<String> = named.cloned().collect();
        named.into_iter().for_each(|step| self.record(Fact::Retried { step, by: by.clone() }));
        stopped.iter().for_each(|(step, item)| self.start(step, *item, 1));
        undos.iter().for_each(|(step, item, run)| self.start_undo(step, *item, *run, 1));
        notices.iter().for_each(|step| self.tell(step, 1));
        Ok(())
    }

    pub(super) fn cancel(&mut self, by: Option<String>, reason: String) -> Result<(), Rejection> {
        if self.progress.undoing.is_some() {
            return Err(self.not_now(Verb::Cancel));
        }
        self.end_with(Why::Cancelled { by, reason });
        Ok(())
    }

    pub(super) fn kill(&mut self, by: Option<String>, reason: String) {
        let left = self.progress.ledger.iter().filter(|entry| !entry.undo.over()).count();
        self.record(Fact::FlowKilled { by, reason, left: u32::try_from(left).unwrap_or(u32::MAX) });
    }

    pub(super) fn pause(&mut self, by: Option<String>) -> Result<(), Rejection> {
        if self.progress.held.is_some() {
            return Err(self.not_now(Verb::Pause));
        }
        self.record(Fact::Paused { by });
        Ok(())
    }

    /// What became due in the meantime begins now.
    pub(super) fn go_on(&mut self, by: Option<String>) -> Result<(), Rejection> {
        if self.progress.held.is_none() {
            return Err(self.not_now(Verb::Continue));
        }
        self.record(Fact::Continued { by });
        let now = self.at.now;
        if self.progress.undoing.is_none() {
            for (step, item, attempt) in due_steps(&self.progress, now) {
                self.start(&step, item, attempt + 1);
            }
            let due = self.progress.notices.iter().filter_map(|(step, notice)| Some((step.clone(), due(notice, now)?)));
            for (step, attempt) in due.collect::<Vec<_>>() {
                self.tell(&step, attempt + 1);
            }
        }
        let due = self
            .progress
            .ledger
            .iter()
            .filter_map(|entry| Some((entry.step.clone(), entry.item, entry.run, due(&entry.undo, now)?)));
        for (step, item, run, attempt) in due.collect::<Vec<_>>() {
            self.start_undo(&step, item, run, attempt + 1);
        }
        Ok(())
    }

    /// These steps have not had their turn any more: the one named, what has been taken back, what failed, what an end
    /// left unfinished; and all behind them.
    pub(super) fn restart(&mut self, from: String, input: Option<Value>, by: Option<String>) -> Result<(), Rejection> {
        let steps = &self.compiled.definition.steps;
        if !steps.contains_key(&from) {
            return Err(Rejection::NoStep { step: from, known: steps.keys().cloned().collect() });
        }
        if self.progress.undoing.is_some() {
            return Err(self.not_now(Verb::Restart));
        }
        let mut cleared: BTreeSet<String> = BTreeSet::from([from.clone()]);
        let undone = self.progress.ledger.iter().filter(|entry| entry.undo == Side::Done);
        cleared.extend(undone.filter(|it| it.run == self.progress.run_of(&it.step)).map(|it| it.step.clone()));
        if self.progress.end.is_some() {
            let unfinished = self.progress.steps.iter().filter(|(name, state)| self.is_unfinished(name, state));
            cleared.extend(unfinished.map(|(name, _)| name.clone()));
        }
        for name in &self.compiled.order {
            if self.compiled.steps[name].ways.iter().any(|way| cleared.contains(&way.from)) {
                cleared.insert(name.clone());
            }
        }
        cleared.retain(|name| self.progress.steps.contains_key(name) || *name == from);
        let under_way = |name: &&String| self.progress.steps.get(*name).is_some_and(is_under_way);
        if self.progress.end.is_none() {
            let under_way: Vec<String> = cleared.iter().filter(under_way).map(|it| format!("`{it}` is")).collect();
            if !under_way.is_empty() {
                return Err(Rejection::UnderWay(under_way));
            }
        }
        let cleared = cleared.into_iter().collect();
        self.record(Fact::Restarted { step: from, run: self.progress.run + 1, cleared, input, by });
        Ok(())
    }

    fn is_unfinished(&self, name: &str, state: &StepState) -> bool {
        let failed = matches!(state, StepState::Failed { .. }) && !self.collects(name, None);
        let timed_out = matches!(state, StepState::TimedOut)
            && self.compiled.definition.steps.get(name).is_some_and(|step| {
                step.kind.otherwise().is_none_or(|otherwise| *otherwise == super::definition::Otherwise::Fail)
            });
        failed || timed_out || !state.settled()
    }

    /// The stuck or retrying undo of a step, the latest first.
    fn stopped_undo(&self, step: &str, item: Option<u32>) -> Option<u32> {
        let ledger = self.progress.ledger.iter().rev();
        let mut stopped = ledger.filter(|entry| entry.step == step && entry.item == item && is_stopped(&entry.undo));
        stopped.next().map(|entry| entry.run)
    }

    /// The key stays: a receiver that did it already does not do it again with the other input.
    pub(super) fn edit(
        &mut self,
        step: String,
        item: Option<u32>,
        input: Value,
        by: Option<String>,
    ) -> Result<(), Rejection> {
        self.known(&step)?;
        let undo = self.stopped_undo(&step, item);
        let stopped = self.progress.undoing.is_none()
            && self.progress.steps.get(&step).is_some_and(|state| stopped_parts(state).contains(&item));
        if undo.is_none() && !stopped {
            return Err(self.not_stopped(Verb::Edit, step));
        }
        self.record(Fact::Edited { step, item, undo, input, by });
        Ok(())
    }

    pub(super) fn skip(
        &mut self,
        step: String,
        item: Option<u32>,
        result: Value,
        by: Option<String>,
    ) -> Result<(), Rejection> {
        self.known(&step)?;
        if let Some(run) = self.stopped_undo(&step, item) {
            self.record(Fact::UndoSkipped { step, item, run, by });
            return Ok(());
        }
        let state = self.progress.steps.get(&step);
        let stopped =
            state.is_some_and(|state| stopped_parts(state).contains(&item) || (item.is_none() && can_pass(state)));
        if !stopped || self.progress.undoing.is_some() {
            return Err(self.not_stopped(Verb::Skip, step));
        }
        self.fits("skip", &result)?;
        self.record(Fact::Passed { step, item, result, by });
        Ok(())
    }

    fn known(&self, step: &str) -> Result<(), Rejection> {
        let steps = &self.compiled.definition.steps;
        if steps.contains_key(step) {
            return Ok(());
        }
        Err(Rejection::NoStep { step: step.to_owned(), known: steps.keys().cloned().collect() })
    }

    fn not_stopped(&self, verb: Verb, step: String) -> Rejection {
        let state = self.progress.steps.get(&step).map_or("not begun", StepState::word).to_owned();
        Rejection::NotStopped { verb, step, state, possible: possible(&self.progress) }
    }
}

fn is_stopped(side: &Side) -> bool {
    matches!(side, Side::Stuck { .. } | Side::Retrying { .. })
}

fn due(side: &Side, now: crate::clock::Time) -> Option<u32> {
    match side {
        Side::Retrying { attempt, at, .. } if *at <= now => Some(*attempt),
        _ => None,
    }
}

/// What of a step has stopped: itself, or elements.
fn stopped_parts(state: &StepState) -> Vec<Option<u32>> {
    let is_stopped = |state: &ItemState| matches!(state, ItemState::Retrying { .. } | ItemState::Paused { .. });
    match state {
        StepState::Retrying { .. } | StepState::Paused { .. } => vec![None],
        StepState::Each { states, .. } => {
            (0..).zip(states).filter(|(_, state)| is_stopped(state)).map(|(item, _)| Some(item)).collect()
        }
        _ => Vec::new(),
    }
}

/// It only waits, so that a result from somebody does for what it waits for.
fn can_pass(state: &StepState) -> bool {
    matches!(
        state,
        StepState::Waiting { .. }
            | StepState::Sleeping { .. }
            | StepState::Awaiting { .. }
            | StepState::Running { asked: true, .. }
    )
}

fn is_under_way(state: &StepState) -> bool {
    match state {
        StepState::Running { .. } => true,
        StepState::Each { states, .. } => states.iter().any(|state| matches!(state, ItemState::Running { .. })),
        _ => false,
    }
}

fn due_steps(progress: &Progress, now: crate::clock::Time) -> Vec<(String, Option<u32>, u32)> {
    let mut due = Vec::new();
    for (name, state) in &progress.steps {
        match state {
            StepState::Retrying { attempt, at, .. } if *at <= now => due.push((name.clone(), None, *attempt)),
            StepState::Each { states, .. } => {
                for (item, state) in (0..).zip(states) {
                    if let ItemState::Retrying { attempt, at, .. } = state
                        && *at <= now
                    {
                        due.push((name.clone(), Some(item), *attempt));
                    }
                }
            }
            _ => {}
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::progress::{End, Phase};

    #[test]
    fn an_instance_that_ended_can_be_restarted_and_any_other_killed() {
        let mut progress = Progress::new("f");
        assert!(possible(&progress).contains(&Verb::Kill));
        progress.end = Some(End::Done { result: Value::Null });
        assert_eq!((possible(&progress), progress.phase()), (vec![Verb::Restart], Phase::Done));
    }
}
