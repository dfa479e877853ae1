//! How far something long is: one line that changes for people at a terminal, lines of JSON for programs.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::json;

use super::context::Context;
use crate::clock::SharedClock;

/// More often nobody can read it.
const EVERY: Duration = Duration::from_millis(250);

/// Told on standard error, so that what a command prints stays what it is.
pub(super) struct Progress {
    clock: SharedClock,
    json: bool,
    terminal: bool,
    last: Option<Duration>,
    shown: bool,
}

impl Progress {
    pub(super) fn new(context: &Context) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { clock: context.clock.clone(), json: context.json, terminal, last: None, shown: false }
    }

    /// Tells it, unless that was done a moment ago. `of` is about how many rows there will be.
    pub(super) fn at(&mut self, rows: u64, of: u64, bytes: u64) {
        let now = self.clock.monotonic();
        if self.last.is_some_and(|last| now.saturating_sub(last) < EVERY) {
            return;
        }
        self.last = Some(now);
        let mut out = std::io::stderr();
        // Nobody may be reading; that does not stop the work.
        if self.json {
            let line = json!({ "progress": { "rows": rows, "rows_about": of, "bytes": bytes } });
            let _ = writeln!(out, "{line}");
        } else if self.terminal {
            let _ = write!(out, "\r{rows} of about {of} rows, {}      ", bytes_shown(bytes));
            let _ = out.flush();
            self.shown = true;
        }
    }

    /// Tells how much of a content has flowed. Of one that comes in one piece there is nothing to tell.
    pub(super) fn flowed(&mut self, bytes: u64, whole: Option<u64>) {
        let now = self.clock.monotonic();
        if whole == Some(bytes) {
            return self.done();
        }
        if self.last.is_some_and(|last| now.saturating_sub(last) < EVERY) {
            return;
        }
        self.last = Some(now);
        let of = whole.map(|whole| format!(" of {}", bytes_shown(whole))).unwrap_or_default();
        self.told(&format!("{}{of}", bytes_shown(bytes)), &json!({ "bytes": bytes, "bytes_whole": whole }));
    }

    /// Tells something else in the same way: as `text` to people, as `told` to programs.
    pub(super) fn told(&mut self, text: &str, told: &serde_json::Value) {
        let mut out = std::io::stderr();
        if self.json {
            let _ = writeln!(out, "{}", json!({ "progress": told }));
        } else if self.terminal {
            let _ = write!(out, "\r{text:60}");
            let _ = out.flush();
            self.shown = true;
        }
    }

    /// Leaves the line as it was before.
    pub(super) fn done(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

/// Bytes as people say them.
pub(super) fn bytes_shown(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_shown;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_they_fill() {
        assert_eq!([0, 1023, 1536].map(bytes_shown), ["0 bytes", "1023 bytes", "1.5 KiB"]);
        assert_eq!([5 << 20, (1 << 30) + (1 << 29)].map(bytes_shown), ["5.0 MiB", "1.5 GiB"]);
    }
}
