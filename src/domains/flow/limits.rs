//! Limits of a flow: an instance asks at the gate of its key before its first step, and begins when it is let in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::Compiled;
use super::definition::Definition;
use super::expr::{EvaluationError, Input, Scope};
use super::fact::{Fact, Why};
use super::progress::Progress;
use super::stepper::Stepper;

/// What keeps instances of a flow apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// How many run at the same time.
    Concurrency,
    /// How many begin in a span of time. Asked last, so that nobody is counted who cannot begin yet.
    Rate,
}

/// Where an instance stands at a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    pub key: Value,
    /// It has been let in.
    #[serde(default)]
    pub entered: bool,
}

impl Limit {
    pub const ALL: [Self; 2] = [Self::Concurrency, Self::Rate];

    pub fn word(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Rate => "rate",
        }
    }

    /// How many, and in how many milliseconds.
    pub fn of(self, definition: &Definition) -> Option<(u32, Option<u64>)> {
        match self {
            Self::Concurrency => definition.concurrency.as_ref().map(|bound| (bound.max, None)),
            Self::Rate => definition.rate.as_ref().map(|rate| (rate.max, Some(rate.per))),
        }
    }

    /// The key that an instance has at it: `null` where all share one. `None` for a flow without this limit.
    pub fn key(
        self,
        compiled: &Compiled,
        input: &Input,
        progress: &Progress,
    ) -> Option<Result<Value, EvaluationError>> {
        self.of(&compiled.definition)?;
        let key = match self {
            Self::Concurrency => compiled.concurrency.as_ref(),
            Self::Rate => compiled.rate.as_ref(),
        };
        Some(key.map_or(Ok(Value::Null), |key| key.evaluate(&Scope::of(input, progress))))
    }
}

impl Stepper<'_> {
    /// Asks at the first gate that it has not passed.
    pub(super) fn queue(&mut self) {
        let open = Limit::ALL.into_iter().filter(|limit| !self.progress.gates.contains_key(limit));
        let next = open.into_iter().find_map(|limit| {
            let key = limit.key(self.compiled, self.input, &self.progress)?;
            Some((limit, key))
        });
        let Some((limit, key)) = next else { return };
        match key {
            Ok(key) => self.record(Fact::Queued { limit, key }),
            Err(error) => {
                let reason = format!("the key of its {} cannot be computed: {error}", limit.word());
                self.end_with(Why::Failed { step: None, reason });
            }
        }
    }

    /// A word for an earlier life, or one that has come already, changes nothing.
    pub(super) fn admitted(&mut self, limit: Limit, ticket: u32) {
        let waits = self.progress.gates.get(&limit).is_some_and(|gated| !gated.entered);
        if waits && ticket == self.progress.ends {
            self.record(Fact::Admitted { limit });
            if self.progress.undoing.is_none() {
                self.queue();
            }
        }
    }
}
