//! Where something is done: the step, the element, the run, and whether it is the doing, the undoing or the telling.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What of a step an effect belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    Do,
    Undo,
    /// Telling somebody that the step waits for them.
    Notify,
}

/// Where an effect belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub step: String,
    pub item: Option<u32>,
    /// `None` means the run that is under way: what was stored before runs were told apart.
    pub run: Option<u32>,
    pub role: Role,
}

impl Spot {
    pub fn new(step: &str, item: Option<u32>, run: u32, role: Role) -> Self {
        Self { step: step.to_owned(), item, run: Some(run), role }
    }

    /// What the step itself does, in the run that is under way.
    pub fn of(step: impl Into<String>, item: Option<u32>) -> Self {
        Self { step: step.into(), item, run: None, role: Role::Do }
    }

    /// The key of its effect, the same for every try: flow, run, step, item, do or undo.
    pub fn key(&self, flow: &str) -> String {
        let item = self.item.map_or_else(|| "-".to_owned(), |item| item.to_string());
        format!("{flow}/{}/{}/{item}/{}", self.run.unwrap_or(1), self.step, self.role)
    }

    /// What a key says; of one that says nothing, the step itself in the run that is under way.
    pub fn from_key(key: &str, step: &str, item: Option<u32>) -> Self {
        let mut parts = key.rsplit('/');
        let role = match parts.next() {
            Some("undo") => Role::Undo,
            Some("notify") => Role::Notify,
            _ => Role::Do,
        };
        let run = parts.nth(2).and_then(|run| run.parse().ok());
        Self { step: step.to_owned(), item, run, role }
    }
}

/// The key of what an undo takes back.
pub fn done_of(undo: &str) -> String {
    undo.strip_suffix("/undo").map_or_else(|| undo.to_owned(), |stem| format!("{stem}/do"))
}

/// A step, or one element of it, in one text.
pub fn part(step: &str, item: Option<u32>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}/{item}"))
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Do => "do",
            Self::Undo => "undo",
            Self::Notify => "notify",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_it_belongs() {
        for spot in [
            Spot::new("a", None, 3, Role::Do),
            Spot::new("a", Some(7), 1, Role::Undo),
            Spot::new("w", None, 12, Role::Notify),
        ] {
            assert_eq!(Spot::from_key(&spot.key("flow-1"), &spot.step, spot.item), spot);
        }
        assert_eq!(Spot::from_key("", "a", None), Spot::of("a", None));
        assert_eq!(done_of("f/1/a/-/undo"), "f/1/a/-/do");
    }
}
