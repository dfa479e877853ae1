//! An instance in one word.

use serde::{Deserialize, Serialize};

/// The instance in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits to be let in by a limit of its flow.
    Queued,
    /// Something is under way, or due by itself.
    Running,
    /// Only signals, callbacks and times are waited for.
    Suspended,
    /// A step used up its tries, or somebody holds it.
    Paused,
    Done,
    Failed,
    Cancelled,
    /// What it did is being taken back.
    Undoing,
    /// Something could not be taken back.
    Stuck,
    /// Ended by somebody, and nothing was taken back.
    Killed,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Running,
        Self::Suspended,
        Self::Paused,
        Self::Undoing,
        Self::Stuck,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Killed,
    ];

    /// The phase as it is written in lists and stored in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Undoing => "undoing",
            Self::Stuck => "stuck",
            Self::Killed => "killed",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.word() == word)
    }

    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Killed)
    }
}
