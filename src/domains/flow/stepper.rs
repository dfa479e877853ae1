//! Goes on with an instance as far as it can: the walk over its steps that [`super::step::decide`] ends with.

use std::time::Duration;

use serde_json::Value;

use super::check::{Compiled, CompiledStep};
use super::definition::{Failures, Kind, Step};
use super::expr::{EvaluationError, Input, Scope};
use super::fact::{AfterFailure, Fact, Skip};
use super::graph::By;
use super::progress::{ItemState, Progress, StepState, size};
use super::with;
use crate::clock::Time;

/// Collects facts, each applied at once so that the next one is decided on it.
pub(super) struct Stepper<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) input: &'a Input,
    pub(super) now: Time,
    pub(super) progress: Progress,
    pub(super) facts: Vec<Fact>,
}

impl Stepper<'_> {
    pub(super) fn record(&mut self, fact: Fact) {
        self.progress.apply(&fact);
        self.facts.push(fact);
    }

    /// One pass in order is enough: whatever settles at once settles before the steps behind it are looked at.
    pub(super) fn advance(&mut self) {
        for name in &self.compiled.order {
            if self.progress.end.is_some() {
                return;
            }
            match self.progress.steps.get(name) {
                None => self.enter(name),
                Some(StepState::Each { .. }) => self.go_on_with_each(name),
                Some(_) => {}
            }
        }
        let settled = |name: &String| self.progress.steps.get(name).is_some_and(StepState::settled);
        if self.progress.end.is_none() && self.compiled.order.iter().all(settled) {
            self.finish();
        }
    }

    fn enter(&mut self, name: &str) {
        let compiled = self.compiled;
        let (Some(step), Some(ready)) = (compiled.definition.steps.get(name), compiled.steps.get(name)) else { return };
        match self.led_to(ready) {
            None => return,
            Some(false) => {
                return self.record(Fact::StepSkipped { step: name.to_owned(), why: Skip::NotReached });
            }
            Some(true) => {}
        }
        if let Some(condition) = &ready.condition {
            match condition.evaluate_bool(&self.scope(Some(ready), None)) {
                Ok(true) => {}
                Ok(false) => return self.record(Fact::StepSkipped { step: name.to_owned(), why: Skip::Condition }),
                Err(error) => return self.cannot_compute(name, None, &error),
            }
        }
        self.begin(name, step, ready);
    }

    /// Whether a way into the step is open; `None` while any of them can still open.
    fn led_to(&self, ready: &CompiledStep) -> Option<bool> {
        let mut open = ready.ways.is_empty();
        for way in &ready.ways {
            let state = self.progress.steps.get(&way.from).filter(|state| state.settled())?;
            open |= match state {
                StepState::Skipped { why } => *why == Skip::Condition && way.by == By::After,
                StepState::TimedOut => way.by == By::TimeOut,
                StepState::Branched { taken } => match way.by {
                    By::After => true,
                    By::Then => **taken == Value::Bool(true),
                    By::Else => **taken == Value::Bool(false),
                    By::TimeOut => false,
                },
                _ => way.by == By::After,
            };
        }
        Some(open)
    }

    fn begin(&mut self, name: &str, step: &Step, ready: &CompiledStep) {
        if let Err(reason) = self.room_to_start() {
            return self.fail(name, None, reason);
        }
        match (&step.kind, &ready.subject) {
            (Kind::Effect(_), _) => self.start(name, None, 1),
            (Kind::Branch { .. }, Some(on)) => match on.evaluate_bool(&self.scope(Some(ready), None)) {
                Ok(taken) => self.record(Fact::BranchTaken { step: name.to_owned(), taken }),
                Err(error) => self.cannot_compute(name, None, &error),
            },
            (Kind::Each { .. }, Some(list)) => match list.evaluate_list(&self.scope(Some(ready), None)) {
                Ok(items) => self.begin_each(name, items),
                Err(error) => self.cannot_compute(name, None, &error),
            },
            (Kind::Suspend { signal, timeout, .. }, _) => {
                let until = timeout.map(|millis| self.now.plus(Duration::from_millis(millis)));
                self.record(Fact::Suspended { step: name.to_owned(), signal: signal.clone(), until });
            }
            (Kind::Branch { .. } | Kind::Each { .. }, None) => {
                self.fail(name, None, "its expression is missing from the definition".into());
            }
        }
    }

    fn begin_each(&mut self, name: &str, items: Vec<Value>) {
        if let Err(reason) = self.room_for(items.iter().map(size).sum()) {
            return self.fail(name, None, reason);
        }
        self.record(Fact::EachStarted { step: name.to_owned(), items });
        self.go_on_with_each(name);
    }

    /// Starts elements up to `parallel`, none while one is paused, and gathers the results when all are settled.
    fn go_on_with_each(&mut self, name: &str) {
        let Some(Kind::Each { parallel, .. }) = self.compiled.definition.steps.get(name).map(|step| &step.kind) else {
            return;
        };
        let Some(StepState::Each { items, states }) = self.progress.steps.get(name) else { return };
        let (count, mut begun) = (items.len(), states.len());
        let mut under_way = states.iter().filter(|state| !is_settled(state)).count();
        let paused = states.iter().any(|state| matches!(state, ItemState::Paused { .. }));
        while begun < count && under_way < *parallel as usize && !paused {
            self.start(name, u32::try_from(begun).ok(), 1);
            if self.progress.end.is_some() {
                return;
            }
            // An element whose parameters cannot be computed is settled at once.
            under_way += usize::from(!self.element_settled(name, begun));
            begun += 1;
        }
        if begun == count && under_way == 0 {
            self.record(Fact::EachDone { step: name.to_owned() });
        }
    }

    pub(super) fn start(&mut self, name: &str, item: Option<u32>, attempt: u32) {
        if let Err(reason) = self.room_to_start() {
            return self.fail(name, item, reason);
        }
        let compiled = self.compiled;
        let known = (compiled.definition.steps.get(name), compiled.steps.get(name));
        let (Some(Step { kind: Kind::Effect(call) | Kind::Each { call, .. }, .. }), Some(ready)) = known else {
            return;
        };
        match with::fill(&ready.with, &self.scope(Some(ready), self.element(name, item))) {
            Ok(input) => {
                let (step, effect) = (name.to_owned(), call.effect.clone());
                let key = self.progress.key(name, item);
                self.record(Fact::StepStarted { step, item, attempt, key, effect, input });
            }
            Err(error) => self.cannot_compute(name, item, &error),
        }
    }

    fn finish(&mut self) {
        let most = self.compiled.bounds.results;
        let result = self.compiled.result.as_ref().map_or(Ok(Value::Null), |it| it.evaluate(&self.scope(None, None)));
        let fact = match result {
            Ok(result) if size(&result) > most => {
                let reason = format!("the flow's result has {} bytes, at most {most} are kept", size(&result));
                Fact::FlowFailed { step: None, reason }
            }
            Ok(result) => Fact::FlowDone { result },
            Err(error) => Fact::FlowFailed { step: None, reason: format!("the flow's result: {error}") },
        };
        self.record(fact);
    }

    fn cannot_compute(&mut self, name: &str, item: Option<u32>, error: &EvaluationError) {
        let step = self.compiled.definition.steps.get(name);
        let collects = matches!(step, Some(Step { kind: Kind::Each { failures: Failures::Collect, .. }, .. }));
        if item.is_none() || !collects {
            return self.fail(name, item, error.to_string());
        }
        let (step, reason) = (name.to_owned(), error.to_string());
        self.record(Fact::StepFailed { step, item, attempt: 0, reason, next: AfterFailure::Collect });
    }

    /// The step fails, and the flow with it.
    pub(super) fn fail(&mut self, name: &str, item: Option<u32>, reason: String) {
        let whole = format!("step `{name}`: {reason}");
        let step = name.to_owned();
        self.record(Fact::StepFailed { step: step.clone(), item, attempt: 0, reason, next: AfterFailure::Fail });
        self.record(Fact::FlowFailed { step: Some(step), reason: whole });
    }

    // What is known

    pub(super) fn room_for(&self, bytes: u64) -> Result<(), String> {
        let most = self.compiled.bounds.results;
        if self.progress.kept + bytes <= most {
            return Ok(());
        }
        Err(format!("{bytes} bytes more would be above the {most} that a flow may keep in results: keep less of them"))
    }

    fn room_to_start(&self) -> Result<(), String> {
        let most = self.compiled.bounds.steps;
        if self.progress.started < most {
            return Ok(());
        }
        Err(format!("the flow has started {most} steps, elements and tries, the most that one instance may"))
    }

    fn scope<'s>(&'s self, ready: Option<&CompiledStep>, item: Option<(&'s Value, u32)>) -> Scope<'s> {
        let suspend = ready.and_then(|ready| ready.payload.as_ref());
        let payload = suspend.and_then(|step| self.progress.result(step));
        Scope { input: self.input, progress: &self.progress, item, payload }
    }

    fn element(&self, step: &str, item: Option<u32>) -> Option<(&Value, u32)> {
        match self.progress.steps.get(step) {
            Some(StepState::Each { items, .. }) => Some((items.get(item? as usize)?, item?)),
            _ => None,
        }
    }

    fn element_settled(&self, step: &str, item: usize) -> bool {
        match self.progress.steps.get(step) {
            Some(StepState::Each { states, .. }) => states.get(item).is_some_and(is_settled),
            _ => true,
        }
    }
}

fn is_settled(state: &ItemState) -> bool {
    matches!(state, ItemState::Done { .. } | ItemState::Failed { .. })
}
