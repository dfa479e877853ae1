//! Plays a rehearsal: the stepping that a node does, with answers from the script and a clock that jumps to what is due.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::script::{Act, Answer, Answers, Deed, Said, Script};
use crate::clock::Time;
use crate::domains::catalog::Catalog;
use crate::domains::effects::{Effects, Plan};
use crate::domains::flow::alarm::{Alarm, Ring, alarms};
use crate::domains::flow::check::Compiled;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::progress::{End, Progress};
use crate::domains::flow::spot::{Role, Spot, part};
use crate::domains::flow::step::{Cure, Event, Moment, Rejection};
use crate::domains::flow::told::told;
use crate::domains::flow::turn::{self, PlannedCall};

/// The id of a played instance, as keys of effects show it.
const ID: &str = "test";

/// What came of a rehearsal.
#[derive(Debug)]
pub struct Played {
    pub path: Vec<Line>,
    pub progress: Progress,
    /// What went otherwise than the script says, before anything is compared with what it expects.
    pub surprises: Vec<String>,
}

/// One line of the path.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Since the begin.
    pub after: Duration,
    pub text: String,
    /// Absent for what somebody did.
    pub fact: Option<Fact>,
}

impl Played {
    pub fn result(&self) -> Option<&Value> {
        match &self.progress.end {
            Some(End::Done { result }) => Some(result),
            _ => None,
        }
    }

    /// The lines that say what came true.
    pub fn facts(&self) -> Vec<&str> {
        self.path.iter().filter(|line| line.fact.is_some()).map(|line| line.text.as_str()).collect()
    }
}

/// Plays a script on a flow.
pub fn play(script: &Script, compiled: &Compiled, catalog: &Catalog, effects: &Effects) -> Played {
    let mut stage = Stage {
        script,
        compiled,
        catalog,
        effects,
        now: script.at,
        turns: 0,
        progress: Progress::new(ID),
        alarms: BTreeMap::new(),
        answers: BTreeMap::new(),
        tries: BTreeMap::new(),
        path: Vec::new(),
        surprises: Vec::new(),
    };
    let _ = stage.happens(Event::Start);
    let mut clock = script.at;
    for act in &script.story {
        clock = clock.plus(act.after);
        stage.pass_until(clock);
        stage.acted(act);
    }
    stage.pass_until(script.lasts.map_or(Time(u64::MAX), |lasts| script.at.plus(lasts)));
    Played { path: stage.path, progress: stage.progress, surprises: stage.surprises }
}

/// A span with all its parts: `2d 1s`.
pub fn elapsed(span: Duration) -> String {
    let (mut left, mut parts) = (u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Vec::new());
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

struct Stage<'a> {
    script: &'a Script,
    compiled: &'a Compiled,
    catalog: &'a Catalog,
    effects: &'a Effects,
    now: Time,
    turns: u64,
    progress: Progress,
    alarms: BTreeMap<String, (Time, Ring)>,
    /// On their way, by when they come; the turn and place keep those of one moment in order.
    answers: BTreeMap<(Time, u64, usize), Event>,
    /// Tries answered so far, of each step and element, doing and undoing.
    tries: BTreeMap<(Role, String), usize>,
    path: Vec<Line>,
    surprises: Vec<String>,
}

impl Stage<'_> {
    fn happens(&mut self, event: Event) -> Result<(), Rejection> {
        self.turns += 1;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.turns.to_be_bytes());
        let moment = Moment { now: self.now, random, base: "https://test.example" };
        let progress = self.progress.clone();
        let taken = turn::advance(self.compiled, self.effects, progress, &self.script.input, event, moment)?;
        let (turn, progress) = taken;
        self.progress = progress;
        for fact in turn.facts {
            for alarm in alarms(&self.compiled.definition, &self.progress, &fact, true) {
                match alarm {
                    Alarm::Set { name, at, ring } => drop(self.alarms.insert(name, (at, ring))),
                    Alarm::Cancel { name } => drop(self.alarms.remove(&name)),
                }
            }
            if let Fact::Queued { limit, .. } = &fact {
                // Nobody else is there who could be before it.
                let (limit, ticket) = (*limit, self.progress.ends);
                self.answers.insert((self.now, self.turns, 0), Event::Admitted { limit, ticket });
            }
            let text = told(&fact, self.now);
            self.path.push(Line { after: self.now.since(self.script.at), text, fact: Some(fact) });
        }
        for (place, call) in turn.calls.iter().enumerate() {
            if let Some((at, event)) = self.answer(call) {
                self.answers.insert((at, self.turns, place), event);
            }
        }
        Ok(())
    }

    /// Lets come what is due until then: answers before times that are over in the same moment.
    fn pass_until(&mut self, until: Time) {
        loop {
            let answer = self.answers.keys().next().copied();
            let alarm = self.alarms.iter().min_by_key(|(_, (at, _))| *at).map(|(name, (at, _))| (*at, name.clone()));
            let at = answer.map(|(at, ..)| at).into_iter().chain(alarm.iter().map(|(at, _)| *at)).min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            let event = match (answer.filter(|(due, ..)| *due == at), alarm) {
                (Some(key), _) => self.answers.remove(&key),
                (None, Some((_, name))) => self.alarms.remove(&name).map(|(_, ring)| Event::from(ring)),
                (None, None) => None,
            };
            // Answers and alarms are nothing that a flow refuses: what comes too late changes nothing.
            let _ = event.map(|event| self.happens(event));
        }
        if until.0 < u64::MAX {
            self.now = self.now.max(until);
        }
    }

    fn answer(&mut self, call: &PlannedCall) -> Option<(Time, Event)> {
        let spot = Spot::from_key(&call.key, &call.step, call.item);
        let name = part(&call.step, call.item);
        let of = |all: &BTreeMap<String, Answers>| all.get(&name).or_else(|| all.get(&call.step)).cloned();
        let given = match spot.role {
            Role::Do => of(&self.script.answers),
            Role::Undo => of(&self.script.undos),
            Role::Notify => None,
        };
        let count = self.tries.entry((spot.role, name.clone())).or_default();
        let nth = *count;
        *count += 1;
        let given = given.and_then(|given| given.list.get(nth).or(given.list.last()).cloned());
        let Answer { takes, said } = match (given, spot.role) {
            (Some(answer), _) => answer,
            (None, Role::Do) => Answer { takes: Duration::ZERO, said: self.own_answer(call, &name)? },
            // Who says nothing about undoing and telling lets both be done.
            (None, _) => Answer { takes: Duration::ZERO, said: Said::Result(Value::Null) },
        };
        let event = match said {
            Said::Result(result) => Event::Done { spot, result },
            Said::Fails { reason, trouble } => {
                Event::Failed { spot, attempt: call.attempt, reason, cure: Cure::Time, trouble }
            }
            Said::Refused { reason } => {
                Event::Failed { spot, attempt: call.attempt, reason, cure: Cure::Nothing, trouble: None }
            }
            Said::Silence => return None,
        };
        Some((self.now.plus(takes), event))
    }

    /// A check of fields needs nobody else; anything else that the script is silent about is a surprise.
    fn own_answer(&mut self, call: &PlannedCall, name: &str) -> Option<Said> {
        let Plan::Validate { object_type, object } = &call.plan else {
            let what = format!("{name} began, and nothing says what it is answered");
            self.surprises.push(format!("{what}: add answers.{} = {{ result = … }}", call.step));
            return None;
        };
        Some(match self.catalog.object_type(object_type) {
            None => Said::Refused { reason: format!("this node has no type `{object_type}`") },
            Some(declared) => match declared.validate(object) {
                Ok(object) => Said::Result(Value::Object(object)),
                Err(mistakes) => {
                    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    Said::Refused { reason: mistakes.join("; ") }
                }
            },
        })
    }

    fn acted(&mut self, act: &Act) {
        let Some((text, event)) = self.deed(act) else { return };
        let after = self.now.since(self.script.at);
        self.path.push(Line { after, text: text.clone(), fact: None });
        let when = elapsed(after);
        match (self.happens(event), &act.refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => self.surprises.push(format!("`{text}` after {when} should be refused, and was done")),
            (Err(why), Some(part)) if why.to_string().contains(part.as_str()) => {}
            (Err(why), Some(part)) => {
                let what = format!("`{text}` after {when} should be refused for `{part}`");
                self.surprises.push(format!("{what}, and was refused because {why}"));
            }
            (Err(why), None) => self.surprises.push(format!("`{text}` after {when} was refused: {why}")),
        }
    }

    fn deed(&self, act: &Act) -> Option<(String, Event)> {
        let by = act.by.clone();
        Some(match act.deed.clone() {
            Deed::Nothing => return None,
            Deed::Signal { signal, payload } => (format!("signal {signal}"), Event::Resume { signal, payload, by }),
            Deed::Callback { step, payload } => {
                let token = self.progress.callbacks.get(&step).cloned().unwrap_or_default();
                (format!("callback {step}"), Event::Callback { token, payload })
            }
            Deed::Cancel { reason } => ("cancel".into(), Event::Cancel { by, reason }),
            Deed::Kill { reason } => ("kill".into(), Event::Kill { by, reason }),
            Deed::Retry { step } => ("retry".into(), Event::Retry { step, by }),
            Deed::Skip { step, result } => (format!("skip {step}"), Event::Skip { step, item: None, result, by }),
            Deed::Restart { step, input } => (format!("restart {step}"), Event::Restart { step, input, by }),
            Deed::Pause => ("pause".into(), Event::Pause { by }),
            Deed::Continue => ("continue".into(), Event::Continue { by }),
        })
    }
}
