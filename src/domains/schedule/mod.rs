//! Schedules: flows that begin by themselves, at times that a configuration declares.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::times::When;
use crate::clock::Time;
use crate::config::reader::show_span;

pub mod declare;
pub mod times;

/// What an instance finds in its input besides what the configuration gives it.
pub const GIVEN: &str = "schedule";

/// A declared schedule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub name: String,
    pub flow: String,
    pub when: When,
    pub input: Map<String, Value>,
    pub overlap: Overlap,
    /// Whether it is paused until somebody lets it go on.
    pub paused: bool,
}

/// What a tick does when an instance that the schedule began earlier has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing; it is counted.
    #[default]
    Skip,
    /// Begins another beside it.
    Allow,
    /// Waits until all have ended. One waits at most.
    Queue,
    /// Cancels them, and begins when they have ended: what they did is taken back by then.
    Cancel,
}

impl Overlap {
    pub const ALL: [Self; 4] = [Self::Skip, Self::Allow, Self::Queue, Self::Cancel];

    pub fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
            Self::Queue => "queue",
            Self::Cancel => "cancel",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|overlap| overlap.word() == word)
    }
}

impl Schedule {
    /// When it has ticks, in one line: `every 15m`, `0 9 * * 1-5 Europe/Berlin`. Two that are alike have the same ticks.
    pub fn told(&self) -> String {
        match &self.when {
            When::Every(span) => format!("every {}", show_span(*span)),
            When::Wall(wall) => format!("{} {}", wall.pattern(), wall.zone()),
        }
    }

    /// The input of the instance that one tick begins.
    pub fn input_at(&self, due: Time, missed: u64) -> Value {
        let mut input = self.input.clone();
        let given = json!({ "name": self.name, "due": due.to_string(), "missed": missed });
        input.insert(GIVEN.to_owned(), given);
        Value::Object(input)
    }
}
