//! Goes on with an instance as far as it can: the walk over its steps that [`super::step::decide`] ends with.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::check::{Compiled, CompiledStep};
use super::definition::{Kind, Step, Until};
use super::expr::{EvaluationError, Expression, Input, Scope};
use super::fact::{AfterFailure, Fact, Skip, Why};
use super::graph::By;
use super::progress::{ItemState, Progress, StepState, size};
use super::step::Moment;
use super::until;

/// Collects facts, each applied at once so that the next one is decided on it.
pub(super) struct Stepper<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) input: &'a Input,
    pub(super) at: Moment<'a>,
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
            if self.is_ending() {
                return;
            }
            match self.progress.steps.get(name) {
                None => self.enter(name),
                Some(StepState::Each { .. }) => self.go_on_with_each(name),
                Some(_) => {}
            }
        }
        let settled = |name: &String| self.progress.steps.get(name).is_some_and(StepState::settled);
        // What a time-out left behind is taken back before the end.
        let taken_back = !self.progress.ledger.iter().any(|entry| entry.undo.under_way());
        if !self.is_ending() && taken_back && self.compiled.order.iter().all(settled) {
            self.finish();
        }
    }

    fn enter(&mut self, name: &str) {
        let compiled = self.compiled;
        let (Some(step), Some(ready)) = (compiled.definition.steps.get(name), compiled.steps.get(name)) else { return };
        match self.led_to(ready) {
            None => return,
            Some(false) => {
                let why = if self.after_a_failure(ready) { Skip::Failed } else { Skip::NotReached };
                return self.record(Fact::StepSkipped { step: name.to_owned(), why });
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
                StepState::Skipped { why: Skip::Condition } => matches!(way.by, By::After | By::Join),
                StepState::Skipped { why: Skip::Failed } | StepState::Failed { .. } => way.by == By::Join,
                StepState::Skipped { why: Skip::NotReached } => false,
                StepState::TimedOut => way.by == By::TimeOut,
                StepState::Branched { taken } => match way.by {
                    By::After | By::Join => true,
                    By::Then => **taken == Value::Bool(true),
                    By::Else => **taken == Value::Bool(false),
                    By::TimeOut => false,
                },
                _ => matches!(way.by, By::After | By::Join),
            };
        }
        Some(open)
    }

    fn after_a_failure(&self, ready: &CompiledStep) -> bool {
        ready.ways.iter().any(|way| {
            let state = self.progress.steps.get(&way.from);
            matches!(state, Some(StepState::Failed { .. } | StepState::Skipped { why: Skip::Failed }))
        })
    }

    fn begin(&mut self, name: &str, step: &Step, ready: &CompiledStep) {
        if let Err(reason) = self.room_to_start() {
            return self.fail(name, None, reason);
        }
        match &step.kind {
            Kind::Effect(_) | Kind::Call { .. } | Kind::Http(_) | Kind::Ask { .. } => self.start(name, None, 1),
            Kind::Branch { .. } => match self.subject(ready, Expression::evaluate_bool) {
                Ok(taken) => self.record(Fact::BranchTaken { step: name.to_owned(), taken }),
                Err(error) => self.cannot_compute(name, None, &error),
            },
            Kind::Each { .. } => match self.subject(ready, Expression::evaluate_list) {
                Ok(items) => self.begin_each(name, items),
                Err(error) => self.cannot_compute(name, None, &error),
            },
            Kind::Suspend { .. } => self.suspend(name, step, ready),
            Kind::Wait(until) => self.sleep(name, until, ready),
            Kind::All { of, .. } => self.join(name, of),
        }
    }

    fn subject<T>(
        &self,
        ready: &CompiledStep,
        evaluate: fn(&Expression, &Scope<'_>) -> Result<T, EvaluationError>,
    ) -> Result<T, EvaluationError> {
        let missing =
            || EvaluationError { source_text: String::new(), what: "it is missing from the definition".into() };
        evaluate(ready.subject.as_ref().ok_or_else(missing)?, &self.scope(Some(ready), None))
    }

    fn suspend(&mut self, name: &str, step: &Step, ready: &CompiledStep) {
        let Kind::Suspend { signal, timeout, notify, .. } = &step.kind else { return };
        let assignee = match ready.assignee.as_ref().map(|it| it.evaluate(&self.scope(Some(ready), None))).transpose() {
            Ok(assignee) => assignee.filter(|it| !it.is_null()),
            Err(error) => return self.cannot_compute(name, None, &error),
        };
        let assignee = assignee.map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
        let until = timeout.map(|millis| self.at.now.plus(Duration::from_millis(millis)));
        self.record(Fact::Suspended { step: name.to_owned(), signal: signal.clone(), until, assignee });
        if notify.is_some() {
            self.tell(name, 1);
        }
    }

    fn sleep(&mut self, name: &str, until: &Until, ready: &CompiledStep) {
        let until = match until {
            Until::Span(millis) => Ok(self.at.now.plus(Duration::from_millis(*millis))),
            Until::At { cel, zone } => self.subject(ready, Expression::evaluate).and_then(|value| {
                let wrong = |what| EvaluationError { source_text: cel.clone(), what };
                until::moment(&value, zone.as_deref(), self.at.now).map_err(wrong)
            }),
        };
        let step = name.to_owned();
        match until {
            Ok(until) if until > self.at.now => self.record(Fact::Sleeping { step, until }),
            Ok(_) => self.record(Fact::Woken { step }),
            Err(error) => self.cannot_compute(name, None, &error),
        }
    }

    /// The results by name; of what failed the reason, of what was not done nothing.
    fn join(&mut self, name: &str, of: &[String]) {
        let result: Map<String, Value> = of.iter().map(|step| (step.clone(), self.part_of_join(step))).collect();
        let result = Value::Object(result);
        match self.room_for(size(&result)) {
            Ok(()) => self.record(Fact::Joined { step: name.to_owned(), result }),
            Err(reason) => self.fail(name, None, reason),
        }
    }

    fn part_of_join(&self, step: &str) -> Value {
        match self.progress.steps.get(step) {
            Some(StepState::Failed { reason }) => json!({ "failed": reason }),
            Some(StepState::Skipped { why: Skip::Failed }) => {
                let ways = self.compiled.steps.get(step).map(|ready| ready.ways.as_slice()).unwrap_or_default();
                let parts = ways.iter().map(|way| self.part_of_join(&way.from));
                parts.into_iter().find(|part| part.get("failed").is_some()).unwrap_or_default()
            }
            _ => self.progress.result(step).cloned().unwrap_or_default(),
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
            if self.is_ending() {
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
        match fact {
            Fact::FlowFailed { step, reason } => self.end_with(Why::Failed { step, reason }),
            done => self.record(done),
        }
    }

    pub(super) fn cannot_compute(&mut self, name: &str, item: Option<u32>, error: &EvaluationError) {
        if !self.collects(name, item) {
            return self.fail(name, item, error.to_string());
        }
        let (step, reason, next) = (name.to_owned(), error.to_string(), AfterFailure::Collect);
        self.record(Fact::StepFailed { step, item, attempt: 0, reason, next, refused: false });
    }

    /// The step fails, and the flow with it.
    pub(super) fn fail(&mut self, name: &str, item: Option<u32>, reason: String) {
        let whole = format!("step `{name}`: {reason}");
        let (step, next) = (name.to_owned(), AfterFailure::Fail);
        self.record(Fact::StepFailed { step: step.clone(), item, attempt: 0, reason, next, refused: false });
        if !self.is_ending() {
            self.end_with(Why::Failed { step: Some(step), reason: whole });
        }
    }

    // What is known

    pub(super) fn room_for(&self, bytes: u64) -> Result<(), String> {
        let most = self.compiled.bounds.results;
        if self.progress.kept + bytes <= most {
            return Ok(());
        }
        Err(format!("{bytes} bytes more would be above the {most} that a flow may keep in results: keep less of them"))
    }

    pub(super) fn room_to_start(&self) -> Result<(), String> {
        let most = self.compiled.bounds.steps;
        if self.progress.started < most {
            return Ok(());
        }
        Err(format!("the flow has started {most} steps, elements and tries, the most that one instance may"))
    }

    pub(super) fn scope<'s>(&'s self, ready: Option<&CompiledStep>, item: Option<(&'s Value, u32)>) -> Scope<'s> {
        let suspend = ready.and_then(|ready| ready.payload.as_ref());
        let payload = suspend.and_then(|step| self.progress.result(step));
        Scope { item, payload, ..Scope::of(self.input, &self.progress) }
    }

    pub(super) fn element(&self, step: &str, item: Option<u32>) -> Option<(&Value, u32)> {
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
