//! Carrying out what the steps of an instance ask for: messages to streams and flows, errands, and timers.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::entity::Turn;
use super::errands::Errand;
use super::family;
use super::flow::{Command, Place};
use super::gate::{self, Gate};
use super::moves::Moves;
use super::offers;
use super::stream::{self, Stream};
use super::takeback;
use crate::clock::ulid;
use crate::domains::effects::Plan;
use crate::domains::flow::alarm::{Alarm, Ring, alarms};
use crate::domains::flow::fact::Fact;
use crate::domains::flow::spot::done_of;
use crate::domains::flow::step::{self, Cure};
use crate::domains::flow::turn::PlannedCall;

impl Moves<'_> {
    /// What goes on by itself is a timer; what has been answered has none any more.
    pub(super) fn set_timers(&mut self, fact: &Fact) {
        let set = self.turn.timed || self.has_set_timers();
        for alarm in alarms(&self.compiled.definition, &self.progress, fact, set) {
            self.set_alarm(alarm);
        }
    }

    pub(super) fn set_alarm(&mut self, alarm: Alarm) {
        self.change(|decision| match alarm {
            Alarm::Set { name, at, ring } => decision.timer(&name, at, &Command::from(ring)),
            Alarm::Cancel { name } => decision.cancel(&name),
        });
    }

    /// Asks at the gates of its limits, and leaves them when it ends, in the turn in which that comes true.
    pub(super) fn pass_gates(&mut self, fact: &Fact) {
        let (flow, ticket) = (self.turn.me.key.to_string(), self.ends);
        match fact {
            Fact::Queued { limit, key } => {
                let Some((max, per)) = limit.of(&self.compiled.definition) else { return };
                let name = self.start.name.clone();
                let gate = gate::id(&name, *limit, key);
                let about = gate::About { flow: name, limit: *limit, key: key.clone(), max, per };
                let ask = gate::Command::Ask { flow, ticket, about };
                self.gates.push(gate.clone());
                self.change(|decision| decision.tell::<Gate>(gate, &ask));
            }
            Fact::FlowDone { .. } | Fact::FlowFailed { .. } | Fact::FlowCancelled { .. } | Fact::FlowKilled { .. } => {
                for gate in std::mem::take(&mut self.gates) {
                    let leave = gate::Command::Leave { flow: flow.clone(), ticket };
                    self.change(|decision| decision.tell::<Gate>(gate, &leave));
                }
            }
            _ => {}
        }
    }

    /// Sets an effect going; one that needs nobody else is done at once, and gives what came of it.
    pub(super) fn set_out(&mut self, call: PlannedCall) -> Option<step::Event> {
        let PlannedCall { step, item, attempt, key, plan } = call;
        let undo = self.compiled.definition.steps.get(&step).is_some_and(|step| step.undo.is_some());
        let place = Place { step, item, attempt, key };
        let span = self.span.of_try(&place.key, attempt);
        self.go_within(span);
        let outcome = self.go(place, undo, plan);
        self.go_within(self.span.clone());
        outcome
    }

    fn go(&mut self, place: Place, undo: bool, plan: Plan) -> Option<step::Event> {
        let flow = self.turn.me.key.to_string();
        match plan {
            Plan::Stream { stream, op } => {
                let to = self.turn.world.stream(&stream, &op, || self.fresh(&place.key));
                let command = stream::Command::Effect { flow, place, op, tries: 0, undo };
                self.change(|decision| decision.tell::<Stream>(to, &command));
                None
            }
            Plan::Webhook { url, body } => {
                self.change(|decision| decision.errand(Errand::Webhook { url, body, place }));
                None
            }
            Plan::Http(request) => {
                self.change(|decision| decision.errand(Errand::Http { request, place }));
                None
            }
            Plan::Validate { object_type, object } => Some(validated(self.turn, place, &object_type, &object)),
            Plan::Call { flow: name, input } => family::call(self, place, &name, input),
            Plan::Ask { object, target, to, .. } => self.ask(flow, place, &object, &target, &to),
            Plan::Undo { of, result } => self.take_back(flow, place, *of, result),
        }
    }

    /// What its receiver knows to take back, is told by the same way that the doing went.
    fn take_back(&mut self, flow: String, place: Place, plan: Plan, result: Option<Value>) -> Option<step::Event> {
        let of = done_of(&place.key);
        match plan {
            Plan::Stream { stream, op } => {
                let first = || self.turn.world.stream(&stream, &op, || self.fresh(&of));
                let to = takeback::stream_of(self.turn.world, &op, result.as_ref()).unwrap_or_else(first);
                let undo = stream::Undo { flow, place, op, result };
                self.change(|decision| decision.tell::<Stream>(to, &stream::Command::Undo(Box::new(undo))));
                None
            }
            Plan::Call { .. } => {
                let reason = match &self.progress.undoing {
                    Some(_) => format!("the flow {flow} that called it takes back what it did"),
                    None => format!("the flow {flow} that called it waited long enough"),
                };
                let undo = Box::new(super::flow::UndoFor { flow, place, reason });
                let child = family::child_id(&of);
                self.change(|decision| decision.tell::<super::flow::Flow>(child, &Command::Undo(undo)));
                None
            }
            Plan::Ask { object, .. } => {
                let to = stream::object_stream(&self.turn.world.object_path(&object));
                self.change(|decision| decision.tell::<Stream>(to, &stream::Command::Unask { flow, place }));
                None
            }
            // Nothing that these do stays anywhere, or nobody knows how to take it back: the check says so at the start.
            Plan::Validate { .. } | Plan::Webhook { .. } | Plan::Http(_) | Plan::Undo { .. } => {
                Some(step::Event::Done { spot: place.spot(), result: Value::Null })
            }
        }
    }

    fn ask(&mut self, flow: String, place: Place, object: &str, target: &str, to: &str) -> Option<step::Event> {
        let (target, to) = match (offers::iri_of(target), offers::iri_of(to)) {
            (Ok(target), Ok(to)) => (target, to),
            (Err(reason), _) | (_, Err(reason)) => return Some(refused(place, reason)),
        };
        let stream = stream::object_stream(&self.turn.world.object_path(object));
        let command = stream::Command::Ask { flow, place, target, to };
        self.change(|decision| decision.tell::<Stream>(stream, &command));
        None
    }

    /// A name for what has none, the same for every try of an effect.
    fn fresh(&self, key: &str) -> String {
        let digest = Sha256::digest(key.as_bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&digest[..16]);
        ulid(self.began.unwrap_or(self.turn.now), random)
    }
}

impl From<Ring> for Command {
    fn from(ring: Ring) -> Self {
        match ring {
            Ring::Retry { step, item, attempt, key } => Self::RetryDue { step, item, attempt, key },
            Ring::TryTimedOut { step, item, attempt } => Self::TryTimedOut { step, item, attempt },
            Ring::TimedOut { step } => Self::TimedOut { step },
            Ring::UndoTimedOut { step, item, attempt, key } => Self::UndoTimedOut { step, item, attempt, key },
            Ring::WaitOver { step } => Self::WaitOver { step },
        }
    }
}

pub(super) fn refused(place: Place, reason: String) -> step::Event {
    let (spot, attempt) = (place.spot(), place.attempt);
    step::Event::Failed { spot, attempt, reason, cure: Cure::Nothing, trouble: None }
}

fn validated(turn: &Turn<'_>, place: Place, object_type: &str, object: &Value) -> step::Event {
    let checked = match turn.world.catalog.object_type(object_type) {
        Some(declared) => {
            declared.validate(object).map_err(|mistakes| stream::Rejection::Invalid(mistakes).to_string())
        }
        None => Err(stream::Rejection::UnknownType(object_type.to_owned()).to_string()),
    };
    match checked {
        Ok(object) => step::Event::Done { spot: place.spot(), result: Value::Object(object) },
        Err(reason) => refused(place, reason),
    }
}
