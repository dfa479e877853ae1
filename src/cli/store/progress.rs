//! How far a large blob is, on a line of its own that is written over; only where somebody looks.

use std::io::{IsTerminal as _, Write as _};

use crate::config::reader::show_bytes;

/// Smaller content is there before anybody could read how far it is.
const SHOWN_FROM: u64 = 4 << 20;
/// Bytes between two lines.
const STEP: u64 = 1 << 20;

pub(super) struct Progress {
    whole: Option<u64>,
    shown: u64,
    seen: bool,
}

impl Progress {
    pub(super) fn new(whole: Option<u64>) -> Self {
        let large = whole.is_none_or(|bytes| bytes >= SHOWN_FROM);
        Self { whole, shown: 0, seen: large && std::io::stderr().is_terminal() }
    }

    pub(super) fn at(&mut self, bytes: u64) {
        let ended = self.whole == Some(bytes);
        if !self.seen || (bytes < self.shown + STEP && !ended) {
            return;
        }
        self.shown = bytes;
        let mib = |bytes: u64| show_bytes(bytes >> 20 << 20);
        let whole = self.whole.map(|whole| format!(" of {}", mib(whole))).unwrap_or_default();
        let end = if ended { "\n" } else { "" };
        // That nobody reads it is no reason to stop.
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{}{whole}{end}", mib(bytes));
    }
}
