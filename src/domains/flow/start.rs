//! Starting what leaves an instance: what a step is given, and until when it may take.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check::CompiledStep;
use super::definition::{Kind, Notify, Step};
use super::expr::{EvaluationError, Scope};
use super::fact::{AfterFailure, Fact};
use super::progress::StepState;
use super::spot::{Role, Spot, part};
use super::stepper::Stepper;
use super::with;
use crate::hex::hex;

impl Stepper<'_> {
    pub(super) fn start(&mut self, name: &str, item: Option<u32>, attempt: u32) {
        if let Err(reason) = self.room_to_start() {
            return self.fail(name, item, reason);
        }
        let compiled = self.compiled;
        let known = compiled.definition.steps.get(name).zip(compiled.steps.get(name));
        let Some((declared, ready)) = known else { return };
        let callback = self.callback(name, declared);
        match self.given(name, item, declared, ready, callback.as_deref()) {
            Ok(input) => {
                let (step, effect) = (name.to_owned(), effect_of(declared).to_owned());
                let key = self.progress.key(name, item);
                let (undo, until) = (declared.undo().is_some(), self.until(declared));
                self.record(Fact::StepStarted { step, item, attempt, key, effect, input, undo, until, callback });
            }
            Err(error) => self.cannot_compute(name, item, &error),
        }
    }

    /// What its effect is given: what somebody put there, or what its expressions say.
    fn given(
        &self,
        name: &str,
        item: Option<u32>,
        declared: &Step,
        ready: &CompiledStep,
        callback: Option<&str>,
    ) -> Result<Value, EvaluationError> {
        if let Some(edited) = self.progress.edited.get(&part(name, item)) {
            return Ok(Value::clone(edited));
        }
        let url = callback.map(|token| format!("{}/flow/callback/{}/{token}", self.at.base, self.progress.flow));
        let scope = self.scope(Some(ready), self.element(name, item));
        let scope = Scope { callback_url: url.as_deref(), ..scope };
        let mut input = with::fill(ready.request.as_ref().unwrap_or(&ready.with), &scope)?;
        if let Kind::Ask { verb, .. } = &declared.kind {
            input["verb"] = verb.as_str().into();
        }
        Ok(input)
    }

    /// The name of the callback of a request, the same for every try.
    fn callback(&self, name: &str, declared: &Step) -> Option<String> {
        let Kind::Http(http) = &declared.kind else { return None };
        http.callback.as_ref()?;
        let drawn = || {
            let digest = Sha256::new().chain_update(self.at.random).chain_update(name).finalize();
            hex(&digest[..16])
        };
        Some(self.progress.callbacks.get(name).cloned().unwrap_or_else(drawn))
    }

    /// A request has its time with it, so that a node that was away does not count as a service that was silent.
    fn until(&self, declared: &Step) -> Option<crate::clock::Time> {
        let millis = match &declared.kind {
            Kind::Call { deadline, .. } | Kind::Ask { deadline, .. } => deadline.timeout,
            Kind::Http(_) => None,
            _ => declared.timeout,
        };
        millis.map(|millis| self.at.now.plus(Duration::from_millis(millis)))
    }

    /// Lets people know that a step waits for them.
    pub(super) fn tell(&mut self, name: &str, attempt: u32) {
        let compiled = self.compiled;
        let known = compiled.definition.steps.get(name).zip(compiled.steps.get(name));
        let Some((Step { kind: Kind::Suspend { notify: Some(notify), .. }, .. }, ready)) = known else { return };
        let key = self.progress.key_of(&Spot::new(name, None, self.progress.run_of(name), Role::Notify));
        let (effect, input) = match notify {
            Notify::Webhook(url) => ("webhook", Ok(json!({ "url": url, "body": self.waits(name) }))),
            Notify::Effect(call) => (call.effect.as_str(), self.told(ready, &ready.notify)),
        };
        let (step, effect) = (name.to_owned(), effect.to_owned());
        match input {
            Ok(input) => self.record(Fact::NotifyStarted { step, attempt, key, effect, input }),
            Err(error) => {
                let (reason, next) = (error.to_string(), AfterFailure::Pause);
                self.record(Fact::NotifyFailed { step, attempt, reason, next });
            }
        }
    }

    fn told(&self, ready: &CompiledStep, with: &BTreeMap<String, with::Template>) -> Result<Value, EvaluationError> {
        with::fill(with, &self.scope(Some(ready), None))
    }

    /// What a webhook is posted about a step that waits.
    fn waits(&self, name: &str) -> Value {
        let mut waits = json!({
            "flow": self.progress.flow,
            "name": self.compiled.definition.name,
            "step": name,
            "url": format!("{}/flows/{}", self.at.base, self.progress.flow),
        });
        if let Some(StepState::Waiting { signal, until, assignee }) = self.progress.steps.get(name) {
            waits["signal"] = signal.as_str().into();
            waits["until"] = until.map(|until| until.to_string()).into();
            waits["assignee"] = assignee.clone().into();
        }
        waits
    }
}

/// What a fact names as the effect: its own name, or the kind of a step that has none.
pub(super) fn effect_of(step: &Step) -> &str {
    step.kind.call().map_or(step.kind.word(), |call| call.effect.as_str())
}
