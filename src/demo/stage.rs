//! Where the story is played: both nodes, asking them until they show what they should, and what it means if they do not.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::domain::{Domain, DomainError, Role};
use super::transcript::Transcript;
use crate::cli::client::{Answer, Ask, ClientError, Door};
use crate::clock::{SharedClock, ulid};

/// Everything in the story takes well under this, also on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(50);
/// Of an answer that was not the right one, so much is shown.
const SHOWN_MAX: usize = 1_500;

pub(super) struct Stage {
    pub(super) blog: Domain,
    pub(super) events: Domain,
    pub(super) transcript: Transcript,
    pub(super) clock: SharedClock,
}

/// A step that was not proven.
#[derive(Debug, thiserror::Error)]
pub struct Unproven {
    step: String,
    asked: String,
    wanted: String,
    came: String,
}

impl fmt::Display for Unproven {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, asked, wanted, came } = self;
        write!(out, "not proven: {step}\n  asked:     {asked}\n  wanted:    {wanted}\n  came back: {came}")
    }
}

impl Stage {
    pub(super) fn domain(&self, role: Role) -> &Domain {
        match role {
            Role::Blog => &self.blog,
            Role::Events => &self.events,
        }
    }

    /// Asks once for something that must be so by now.
    pub(super) fn ask<T>(
        &self,
        role: Role,
        ask: &Ask,
        wanted: &str,
        fits: impl Fn(&Answer) -> Option<T>,
    ) -> Result<T, Unproven> {
        let came = self.domain(role).send(ask);
        came.as_ref().ok().and_then(&fits).ok_or_else(|| self.unproven(role, ask, wanted, &came))
    }

    /// Asks again and again for something that will be so in a moment.
    pub(super) fn until<T>(
        &self,
        role: Role,
        ask: &Ask,
        wanted: &str,
        fits: impl Fn(&Answer) -> Option<T>,
    ) -> Result<T, Unproven> {
        let end = self.clock.monotonic() + PATIENCE;
        loop {
            let came = self.domain(role).send(ask);
            if let Some(found) = came.as_ref().ok().and_then(&fits) {
                return Ok(found);
            }
            if self.clock.monotonic() >= end {
                return Err(self.unproven(role, ask, wanted, &came));
            }
            self.domain(role).pause(LOOK);
        }
    }

    /// A new key for something that is to be done once.
    pub(super) fn key(&self) -> String {
        ulid(self.clock.now(), self.clock.random())
    }

    /// What the log of each node says.
    pub(super) fn logs(&self) -> String {
        format!("{}\n\n{}", self.blog.log_tail(), self.events.log_tail())
    }

    /// Kills a node as a power cut does.
    pub(super) fn kill(&mut self, role: Role) {
        match role {
            Role::Blog => self.blog.kill(),
            Role::Events => self.events.kill(),
        }
    }

    /// Starts a node that was killed.
    pub(super) fn restart(&mut self, role: Role) -> Result<(), Unproven> {
        let clock = self.clock.clone();
        let started = match role {
            Role::Blog => self.blog.start(&clock),
            Role::Events => self.events.start(&clock),
        };
        started.map_err(|error: DomainError| Unproven {
            step: self.transcript.title(),
            asked: format!("{} to start again", role.name()),
            wanted: "a node that is ready".into(),
            came: error.to_string(),
        })
    }

    /// A fact that was measured and not asked for.
    pub(super) fn measured(&self, holds: bool, wanted: &str, came: String) -> Result<(), Unproven> {
        if holds {
            return Ok(());
        }
        let asked = "the time that it took".to_owned();
        Err(Unproven { step: self.transcript.title(), asked, wanted: wanted.into(), came })
    }

    /// Where everything is, for whoever stays to look at it.
    pub(super) fn say_where(&self) {
        let lines = [Role::Blog, Role::Events].map(|role| {
            let domain = self.domain(role);
            let config = domain.config_file().display();
            format!(
                "{:<7} {}/activities   token {}\n        quickbeam --config {config} status",
                role.name(),
                domain.base,
                domain.token
            )
        });
        self.transcript.say(&format!("\n{}\n\nBoth stay up until Ctrl-C.", lines.join("\n")));
    }

    fn unproven(&self, role: Role, ask: &Ask, wanted: &str, came: &Result<Answer, ClientError>) -> Unproven {
        let door = if ask.door == Door::Admin { " (administration)" } else { "" };
        let asked = format!("{} {}{}{door}", ask.method, self.domain(role).base, ask.target());
        let came = match came {
            Ok(answer) => short(&format!("{} {}", answer.status, answer.body)),
            Err(error) => error.to_string(),
        };
        Unproven { step: self.transcript.title(), asked, wanted: wanted.to_owned(), came }
    }
}

/// The answer, when it is a yes and holds what `find` looks for.
pub(super) fn ok<T>(find: impl Fn(&Value) -> Option<T>) -> impl Fn(&Answer) -> Option<T> {
    move |answer| if (200..300).contains(&answer.status) { find(&answer.body) } else { None }
}

/// The elements of a list, whatever it is called.
pub(super) fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}
