//! What waits to be said to another node: rows in their order, one request at a time, said again until it is heard.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errands::Report;
use super::rows::{Reads, RowKey, Rows, part, parts};
use crate::clock::Time;
use crate::store::Key;

/// Rows that one request takes along.
pub(super) const PAGE: usize = 32;
/// Bytes of JSON that one request takes along, well within what a node takes as a body.
const BYTES: usize = 512 * 1024;
/// The first and the longest pause before something is said again.
const DELAY: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(300);

/// How far one node is with what it says to another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Rows ever made; the next one gets the number behind.
    pub made: u64,
    /// Rows that the other node has.
    pub heard: u64,
    /// A request is under way.
    #[serde(default)]
    pub flying: bool,
    /// Requests in a row that came to nothing.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// Why the other node does not hear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub what: String,
    pub since: Time,
    /// When it is tried again.
    pub until: Time,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Made {
        count: u64,
    },
    Sent,
    Heard {
        upto: u64,
    },
    Unheard {
        what: String,
        at: Time,
        until: Time,
    },
    /// Somebody else is told from here on: what is behind this is said again.
    Rewound {
        heard: u64,
    },
}

/// What a request was that went to another node, so that its answer can be understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Would it run this instance?
    Offer { at: String, hold: u32 },
    /// What the instance is told.
    Words { hold: u32, upto: u64 },
    /// What the instance did.
    Turns { upto: u64 },
    /// It is not wanted there any more.
    Release { at: String, instance: String, hold: u32, tries: u32 },
}

/// What came of a request.
pub(super) enum Outcome {
    Taken(Value),
    /// The other node says no: the status, the last word of its problem's type, and why.
    Refused {
        status: u16,
        kind: String,
        why: String,
    },
    Away(String),
    /// It can never be asked, as things are set.
    Never(String),
}

impl Line {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Made { count } => self.made += count,
            Event::Sent => self.flying = true,
            Event::Heard { upto } => {
                self.heard = self.heard.max(*upto);
                (self.flying, self.failures, self.trouble) = (false, 0, None);
            }
            Event::Unheard { what, at, until } => {
                self.flying = false;
                self.failures += 1;
                let since = self.trouble.as_ref().map_or(*at, |trouble| trouble.since);
                self.trouble = Some(Trouble { what: what.clone(), since, until: *until });
            }
            Event::Rewound { heard } => {
                self.heard = *heard;
                (self.flying, self.failures, self.trouble) = (false, 0, None);
            }
        }
    }

    /// Nothing is under way and nothing failed, so that something new can go at once.
    pub(super) fn is_quiet(&self) -> bool {
        !self.flying && self.failures == 0
    }

    /// The event of a failure now, which doubles the pause.
    pub(super) fn unheard(&self, what: String, at: Time, random: u8) -> Event {
        Event::Unheard { what, at, until: at.plus(delay(self.failures, random)) }
    }
}

/// The pause after so many failures before this one, shortened by up to a quarter so that not all come at once.
pub(super) fn delay(failures: u32, random: u8) -> Duration {
    let whole = DELAY.saturating_mul(1 << failures.min(16)).min(DELAY_MAX);
    whole - whole.mul_f64(f64::from(random) / 1_024.0)
}

pub(super) fn row(name: &str, number: u64) -> RowKey {
    RowKey::Own(part().text(name).number(number).done())
}

/// The rows behind a number.
pub(super) fn reads(name: &'static str, after: u64, limit: usize) -> Reads {
    let behind: Option<Key> = (after > 0).then(|| part().number(after).done());
    Reads::none().own_page(name, parts([name]), behind, limit)
}

/// As many rows as one request takes along, and at least one.
pub(super) fn fitting<T: Serialize>(rows: impl Iterator<Item = (u64, T)>) -> Vec<(u64, T)> {
    let mut bytes = 0;
    let fits = |(_, row): &(u64, T)| {
        let first = bytes == 0;
        bytes += serde_json::to_vec(row).map_or(0, |json| json.len());
        first || bytes <= BYTES
    };
    rows.take(PAGE).take_while(fits).collect()
}

/// The rows found, each with its number.
pub(super) fn found<T: DeserializeOwned>(rows: &Rows, name: &str) -> Vec<(u64, T)> {
    rows.page(name).iter().filter_map(super::rows::Found::read).collect()
}

pub(super) fn outcome(report: Report) -> Outcome {
    let of = |status: u16, body: Value, why: String| match status {
        200..=299 => Outcome::Taken(body),
        408 | 421 | 425 | 429 | 500..=599 => Outcome::Away(format!("it answered {status}: {why}")),
        _ => {
            let kind = body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default().to_owned();
            Outcome::Refused { status, kind, why }
        }
    };
    match report {
        Report::Replied { status, body } => {
            let why = body["detail"].as_str().map_or_else(|| body.to_string(), str::to_owned);
            of(status, body, why.chars().take(500).collect())
        }
        Report::Answered { status, detail, .. } => of(status, Value::Null, detail),
        Report::Unreachable { reason } | Report::TimedOut { reason } => Outcome::Away(reason),
        Report::Impossible { reason } | Report::Unusable { reason } => Outcome::Never(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_most_and_one_answer_forgets_them() {
        let mut line = Line::default();
        line.apply(&Event::Made { count: 2 });
        line.apply(&Event::Sent);
        for at in [10, 20] {
            let failed = line.unheard("down".into(), Time(at), 0);
            line.apply(&failed);
        }
        let trouble = line.trouble.clone().unwrap();
        assert_eq!((trouble.since, trouble.until, line.failures), (Time(10), Time(20 + 1_000), 2));
        assert_eq!(delay(40, 0), DELAY_MAX);
        assert!(delay(0, 255) >= DELAY.mul_f64(0.75));
        line.apply(&Event::Heard { upto: 1 });
        assert!(line.is_quiet() && line.trouble.is_none() && line.heard == 1);
    }
}
