//! What every command works with: where the configuration is, how to print, the clock.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::StartLog;
use super::client::{Client, ClientError};
use crate::clock::{SharedClock, SystemClock, ulid};
use crate::config::{Config, Mistake};
use crate::domains::catalog::{self, Catalog};

/// Where the configuration is when nobody says so.
pub(super) const FILE: &str = "quickbeam.toml";

pub(super) struct Context {
    pub(super) file: PathBuf,
    pub(super) json: bool,
    pub(super) clock: SharedClock,
    pub(super) start_log: StartLog,
    key: Option<String>,
}

/// A configuration cannot be used: everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(super) struct Mistakes(pub(super) Vec<Mistake>);

impl Context {
    pub(super) fn new(file: Option<PathBuf>, json: bool, key: Option<String>, start_log: StartLog) -> Self {
        Self { file: file.unwrap_or_else(|| FILE.into()), json, clock: SystemClock::shared(), start_log, key }
    }

    /// The settings, without what they declare: enough to speak to a node.
    pub(super) fn config(&self) -> Result<Config, Mistakes> {
        Config::load(&self.file, std::env::vars()).map_err(Mistakes)
    }

    /// All of it, checked as the node does before it starts.
    pub(super) fn catalog(&self) -> Result<(Config, Catalog), Mistakes> {
        catalog::load(&self.file, std::env::vars(), &crate::domains::all_effects()).map_err(Mistakes)
    }

    /// The running node.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(self.client_of(&self.config()?)?)
    }

    pub(super) fn client_of(&self, config: &Config) -> Result<Client, ClientError> {
        Client::of(config, self.clock.clone())
    }

    /// The key under which the node does this once, however often it is asked.
    pub(super) fn key(&self) -> String {
        self.key.clone().unwrap_or_else(|| ulid(self.clock.now(), self.clock.random()))
    }

    /// 32 random bytes, for keys and tokens.
    pub(super) fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.clock.random());
        seed[16..].copy_from_slice(&self.clock.random());
        seed
    }

    /// Prints an answer: as it is for programs, or as `text` makes it for people.
    pub(super) fn print(&self, answer: &Value, text: impl FnOnce(&Value) -> String) {
        let text = if self.json { format!("{answer:#}") } else { text(answer) };
        if !text.is_empty() {
            // A reader such as `head` may have gone; that is no failure of the command.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        }
    }
}

/// The command that starts the node of this configuration.
pub(crate) fn serve_command(file: &Path) -> String {
    if file == Path::new(FILE) {
        return "quickbeam serve".into();
    }
    format!("quickbeam serve --config {}", file.display())
}

impl Mistakes {
    pub(super) fn json(&self) -> Value {
        let one = |mistake: &Mistake| {
            json!({
                "file": mistake.file, "line": mistake.line, "column": mistake.column, "path": mistake.path,
                "what": mistake.what, "remedy": mistake.remedy,
            })
        };
        self.0.iter().map(one).collect()
    }
}

/// One line for each.
impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        out.write_str(&lines.join("\n"))
    }
}
