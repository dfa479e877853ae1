//! The `quickbeam` binary: reads the words, sets up the log, and leaves the rest to the library.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use quickbeam::cli::{self, Cli};
use quickbeam::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// A flow is a thousand small things that live briefly, often made on one thread and freed on another. Without huge pages:
/// they would have an idle node take twice its memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli::run(cli, start_log),
        Err(error) => cli::wrong_words(&error, std::env::args_os()),
    }
}

/// Lines to standard error, as text or JSON. The environment says what is in them before the configuration does.
fn start_log(settings: &Log) {
    let wanted = ["QUICKBEAM_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok());
    let filter = EnvFilter::new(wanted.as_deref().unwrap_or(&settings.filter));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().init(),
    }
}
