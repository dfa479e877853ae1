//! An instance that another node runs, as its home knows it: who has it, how far it is, and what it is to be told.
//!
//! ```text
//! at its gates ──let in──▶ offered ──taken──▶ held ──its end──▶ over
//!                   ▲        │ └─nobody can──▶ nobody (paused) ──continue──▶ offered
//!                   │        ├─all are away──▶ waiting ──in time──▶ offered
//!                   │        └─here is next──▶ coming home ──▶ run here
//!                   └──── lost: the runner forgot it, or said what cannot be ◀── held
//! ```
//! Each offer has a number. What comes from a runner counts only with the number of the last one, so that there is
//! never more than one whose words count, and runners begin nothing outside before their words were taken here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::line::{self, Line};
use crate::clock::Time;

/// Where an instance is that goes to another node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Away {
    #[serde(default)]
    pub stage: Stage,
    /// Offers so far: the number of the last one.
    #[serde(default)]
    pub hold: u32,
    /// The base of the node that it was offered to last.
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub since: Time,
    /// Who said no, or nothing, in this round of offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
    /// Rounds in a row in which nobody took it.
    #[serde(default)]
    pub rounds: u32,
    /// Turns of its runner that are taken over.
    #[serde(default)]
    pub said: u64,
    /// Words whose consequences are taken over, so that nobody needs to hear them again.
    #[serde(default)]
    pub covered: u64,
    /// Looks in a row at a runner that had nothing to say.
    #[serde(default)]
    pub looks: u32,
    #[serde(default)]
    pub line: Line,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits to be let in by limits of its flow, or somebody holds it before it begins.
    #[default]
    Gates,
    Offered,
    /// All who can run it are away.
    Waiting {
        until: Time,
    },
    /// Nobody can run it: it is paused.
    Nobody,
    Held {
        instance: String,
    },
    /// This node runs it from here on, once it has read what the instance was told meanwhile.
    ComingHome,
}

/// One who did not take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    pub by: String,
    pub why: String,
    /// Asking again will not help as things are.
    pub for_good: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Begun,
    Offered {
        to: String,
        hold: u32,
        at: Time,
    },
    Declined(Declined),
    /// Everybody is asked again then.
    Waits {
        until: Time,
    },
    Nobody,
    Taken {
        instance: String,
        at: Time,
    },
    /// Turns of the runner were taken over, with what they follow from.
    Said {
        upto: u64,
        heard: u64,
    },
    Looked,
    Line(line::Event),
    /// It is with nobody any more.
    Lost {
        why: String,
    },
    ComesHome,
    /// It is run here from now on.
    Home,
    Over,
}

impl Away {
    /// Takes over what an event says; `false` when it is not away any more.
    pub fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Begun => {}
            Event::Offered { to, hold, at } => {
                (self.stage, self.at, self.hold, self.since) = (Stage::Offered, to.clone(), *hold, *at);
                self.said = 0;
                self.line.apply(&line::Event::Rewound { heard: self.covered });
            }
            Event::Declined(declined) => self.declined.push(declined.clone()),
            Event::Waits { until } => {
                self.stage = Stage::Waiting { until: *until };
                self.rounds += 1;
            }
            Event::Nobody => self.stage = Stage::Nobody,
            Event::Taken { instance, at } => {
                (self.stage, self.since) = (Stage::Held { instance: instance.clone() }, *at);
                (self.rounds, self.looks) = (0, 0);
                self.declined.clear();
            }
            Event::Said { upto, heard } => {
                (self.said, self.covered) = (*upto, *heard);
                self.line.heard = self.line.heard.max(*heard);
                self.looks = 0;
            }
            Event::Looked => self.looks += 1,
            Event::Line(event) => self.line.apply(event),
            Event::Lost { .. } => {
                self.stage = Stage::Gates;
                self.declined.clear();
            }
            Event::ComesHome => self.stage = Stage::ComingHome,
            Event::Home | Event::Over => return false,
        }
        true
    }

    /// The instance at the runner that has it.
    pub fn instance(&self) -> Option<&str> {
        match &self.stage {
            Stage::Held { instance } => Some(instance),
            _ => None,
        }
    }

    /// Whoever runs it, or shall, is away.
    pub fn is_in_trouble(&self) -> bool {
        match self.stage {
            Stage::Held { .. } => self.line.failures > 0,
            Stage::Waiting { .. } | Stage::Nobody => true,
            Stage::Gates | Stage::Offered | Stage::ComingHome => false,
        }
    }

    /// As programs and people see it.
    pub fn view(&self) -> Value {
        let stage = match &self.stage {
            Stage::Gates => "before its limits",
            Stage::Offered => "offered",
            Stage::Waiting { .. } => "waiting",
            Stage::Nobody => "nobody",
            Stage::Held { .. } => "held",
            Stage::ComingHome => "coming home",
        };
        let declined = |it: &Declined| json!({ "by": it.by, "why": it.why, "for_good": it.for_good });
        let trouble = self
            .line
            .trouble
            .as_ref()
            .map(|it| json!({ "what": it.what, "since": it.since.to_string(), "next_try": it.until.to_string() }));
        json!({
            "stage": stage,
            "at": (!self.at.is_empty()).then_some(&self.at),
            "instance": self.instance(),
            "since": self.since.to_string(),
            "unheard": self.line.made - self.covered,
            "trouble": trouble,
            "declined": self.declined.iter().map(declined).collect::<Vec<_>>(),
        })
    }

    /// Why it does not go on, if that is so for who runs it.
    pub fn why(&self) -> Vec<String> {
        let mut why: Vec<String> =
            self.declined.iter().map(|it| format!("{} does not run it: {}", it.by, it.why)).collect();
        match &self.stage {
            Stage::Gates | Stage::ComingHome => {}
            Stage::Offered => why.push(format!("it is offered to {}", self.at)),
            Stage::Waiting { until } => why.push(format!("whoever can run it is away; all are asked again at {until}")),
            Stage::Nobody => why.push("nobody can run it: change [[runner]], then tell it to continue".to_owned()),
            Stage::Held { .. } => {
                if let Some(trouble) = &self.line.trouble {
                    why.push(format!(
                        "{} runs it and is away since {}: {}; asked again at {}",
                        self.at, trouble.since, trouble.what, trouble.until
                    ));
                }
            }
        }
        why
    }
}
