//! One node of the demo: its folder and configuration, its process, and the way to ask it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::folder::Folder;
use super::ports::Ports;
use crate::cli::client::{Answer, Ask, Client, ClientError, Door};
use crate::cli::init::{self, InitError, New};
use crate::clock::SharedClock;
use crate::config::template::{Answers, PeerAnswer, Template};
use crate::config::{Config, Mistake};
use crate::private::{self, PrivateError};

/// A node starts in well under a second; a machine with much to do may take longer.
const READY: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(30);
const LOG_LINES: usize = 25;

/// Short waits, so that nobody watches nothing happen.
const SETTINGS: &str = "\n# --- For the demo ------------------------------------------------------------------------------\n\n\
    [tick]\nevery = \"1s\"\n\n[limits]\ndelivery_delay = \"300ms\"\ndelivery_delay_max = \"2s\"\n";

/// What a node is in the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Blog,
    Events,
}

pub(super) struct Domain {
    pub(super) role: Role,
    pub(super) base: String,
    /// What the story does is done with this one, and what it proves is seen with it.
    pub(super) token: String,
    file: PathBuf,
    log: PathBuf,
    client: Client,
    child: Option<Child>,
    /// An earlier demo's node may still be ending on this data.
    is_kept: bool,
}

/// Why a node of the demo is not there.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    #[error("{name} cannot be made: {why}")]
    Made { name: &'static str, why: String },
    #[error("{name} cannot be started: {source}")]
    Spawn {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{name} ended while it started\n\n{log}")]
    Ended { name: &'static str, log: String },
    #[error("{name} was not ready after {} s: {last}\n\n{log}", READY.as_secs())]
    NotReady { name: &'static str, last: String, log: String },
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blog => "blog",
            Self::Events => "events",
        }
    }

    fn nth(self) -> u16 {
        match self {
            Self::Blog => 0,
            Self::Events => 1,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Blog => Self::Events,
            Self::Events => Self::Blog,
        }
    }

    fn template(self) -> Template {
        match self {
            Self::Blog => Template::Blog,
            Self::Events => Template::Events,
        }
    }
}

impl Domain {
    /// The node of this role in the folder, made unless it is kept.
    pub(super) fn prepare(role: Role, folder: &Folder, ports: Ports, clock: &SharedClock) -> Result<Self, DomainError> {
        let own = folder.path().join(role.name());
        let token_file = own.join("first.token");
        let failed = |why: String| DomainError::Made { name: role.name(), why };
        let is_kept = folder.kept_ports().is_some();
        if !is_kept {
            let made = make(role, &own, ports, clock).map_err(|error| failed(error.to_string()))?;
            private::create(&token_file, made.as_bytes()).map_err(|error| failed(error.to_string()))?;
        }
        let token = private::read_text(&token_file).map_err(|error: PrivateError| failed(error.to_string()))?;
        let file = own.join("quickbeam.toml");
        let config = Config::load(&file, std::iter::empty()).map_err(|mistakes| failed(joined(&mistakes)))?;
        let client = Client::of(&config, clock.clone()).map_err(|error| failed(error.to_string()))?;
        Ok(Self { role, base: config.node.base, token, log: own.join("log"), file, client, child: None, is_kept })
    }

    /// Starts the process, and waits until it takes work.
    pub(super) fn start(&mut self, clock: &SharedClock) -> Result<(), DomainError> {
        let name = self.role.name();
        self.child = Some(self.spawn().map_err(|source| DomainError::Spawn { name, source })?);
        let (end, ended) = (clock.monotonic() + READY, clock.monotonic() + STOP);
        loop {
            let last = match self.client.send(&Ask::get(Door::Public, "/ready").without_token()) {
                Ok(Answer { status: 200, .. }) => return Ok(()),
                Ok(answer) => format!("{} {}", answer.status, answer.body),
                Err(error) => error.to_string(),
            };
            if !self.is_running() && self.is_kept && clock.monotonic() < ended {
                self.child = Some(self.spawn().map_err(|source| DomainError::Spawn { name, source })?);
            } else if !self.is_running() {
                return Err(DomainError::Ended { name, log: self.log_tail() });
            }
            if clock.monotonic() >= end {
                return Err(DomainError::NotReady { name, last, log: self.log_tail() });
            }
            self.client.pause(LOOK);
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").arg(&self.file).arg("--exit-with-stdin");
        // Settings of whoever runs the demo belong to another node.
        for (name, _) in std::env::vars_os() {
            let is_setting =
                name.to_str().is_some_and(|name| name.starts_with("QUICKBEAM_") && name != "QUICKBEAM_LOG");
            if is_setting {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Asks with the first token, or for the administration with its own.
    pub(super) fn send(&self, ask: &Ask) -> Result<Answer, ClientError> {
        if ask.door == Door::Admin || !ask.with_token {
            return self.client.send(ask);
        }
        let bearer = format!("Bearer {}", self.token);
        self.client.send(&ask.clone().without_token().header("authorization", bearer))
    }

    pub(super) fn pause(&self, span: Duration) {
        self.client.pause(span);
    }

    /// Ends it at once, as a power cut does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it end by itself, as its standard input closes.
    pub(super) fn stop(&mut self, clock: &SharedClock) {
        let Some(child) = &mut self.child else { return };
        drop(child.stdin.take());
        let end = clock.monotonic() + STOP;
        while matches!(child.try_wait(), Ok(None)) && clock.monotonic() < end {
            self.client.pause(LOOK);
        }
        self.kill();
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn authority(&self) -> &str {
        self.base.split_once("://").map_or(&self.base, |(_, authority)| authority)
    }

    pub(super) fn config_file(&self) -> &Path {
        &self.file
    }

    /// The last lines that it wrote.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("the last lines of {}:\n  {}", self.log.display(), last.join("\n  "))
    }
}

/// A child must not outlive the demo, however that ends.
impl Drop for Domain {
    fn drop(&mut self) {
        self.kill();
    }
}

fn make(role: Role, folder: &Path, ports: Ports, clock: &SharedClock) -> Result<String, InitError> {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let other = role.other();
    let peer = PeerAnswer {
        name: other.name().into(),
        actor: format!("http://{}/actor", at(ports.public(other.nth()))),
        secret_file: None,
    };
    let answers = Answers {
        name: role.name().into(),
        base: format!("http://{}", at(ports.public(role.nth()))),
        data: None,
        listen: Some(at(ports.public(role.nth()))),
        admin_listen: Some(at(ports.admin(role.nth()))),
        fetch_allow: vec![at(ports.public(other.nth()))],
        follow_at_start: if role == Role::Events { vec![other.name().into()] } else { Vec::new() },
        peers: vec![peer],
    };
    let seed = || {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&clock.random());
        seed[16..].copy_from_slice(&clock.random());
        seed
    };
    let new = New {
        folder: folder.to_owned(),
        template: role.template(),
        answers,
        more: SETTINGS.into(),
        now: clock.now(),
        seeds: [seed(), seed(), seed()],
    };
    init::make(&new).map(|made| made.token)
}

fn joined(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
