//! The demo: a blog and an events site as two processes on this machine, and a story that they play and prove.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::clock::SharedClock;

mod domain;
mod folder;
mod forgery;
mod ports;
mod stage;
mod story;
mod transcript;
mod trouble;

use domain::{Domain, DomainError, Role};
use folder::{Folder, FolderError};
use ports::{Ports, PortsError};
use stage::{Stage, Unproven};
use transcript::Transcript;

/// How often a child is looked at while the demo stays up.
const LOOK: Duration = Duration::from_millis(500);

/// What was asked for on the command line.
pub struct Options {
    pub port_base: Option<u16>,
    pub data: Option<PathBuf>,
    pub keep: bool,
    pub once: bool,
    pub json: bool,
    pub clock: SharedClock,
}

/// Why the demo ended before it should.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Ports(#[from] PortsError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error("{unproven}\n\n{logs}")]
    Story { unproven: Unproven, logs: String },
    #[error("{name} ended by itself\n\n{log}")]
    Ended { name: &'static str, log: String },
    #[error("signals cannot be heard: {0}")]
    Signals(#[source] std::io::Error),
}

/// Plays the story; with `once` that is all, else both nodes stay up until Ctrl-C.
///
/// # Errors
/// Ports or folder in use, a node that does not start, or a step that was not proven.
pub fn run(options: &Options) -> Result<(), DemoError> {
    let folder = Folder::open(options.data.clone(), options.keep, options.once, &options.clock)?;
    let ports = match folder.kept_ports() {
        Some(base) => Ports::again(base, options.port_base)?,
        None => Ports::choose(options.port_base, options.once, &options.clock)?,
    };
    let is_kept = folder.kept_ports().is_some();
    if !is_kept {
        folder.clear()?;
    }
    let domains = [Role::Blog, Role::Events].map(|role| Domain::prepare(role, &folder, ports, &options.clock));
    let [blog, events] = domains;
    let (blog, events) = (blog?, events?);
    folder.mark(ports.base)?;
    let mut stage = Stage { blog, events, transcript: Transcript::new(options.json), clock: options.clock.clone() };
    let played = start(&mut stage).and_then(|()| if is_kept { Ok(()) } else { play(&mut stage) });
    stage.transcript.end(played.is_ok());
    if let Err(error) = played {
        // Whoever wants to know why finds the logs there.
        folder.keep();
        return Err(error);
    }
    let stayed = if options.once { Ok(()) } else { stay(&mut stage) };
    stage.blog.stop(&stage.clock);
    stage.events.stop(&stage.clock);
    stayed
}

fn start(stage: &mut Stage) -> Result<(), DemoError> {
    stage.blog.start(&stage.clock)?;
    Ok(stage.events.start(&stage.clock)?)
}

fn play(stage: &mut Stage) -> Result<(), DemoError> {
    story::play(stage).map_err(|unproven| DemoError::Story { unproven, logs: stage.logs() })
}

/// Until Ctrl-C or SIGTERM, or until a node ends by itself.
fn stay(stage: &mut Stage) -> Result<(), DemoError> {
    stage.say_where();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Signals)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signals)?;
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = stage.clock.sleep(LOOK) => {}
            }
            for domain in [&mut stage.blog, &mut stage.events] {
                if !domain.is_running() {
                    return Err(DemoError::Ended { name: domain.role.name(), log: domain.log_tail() });
                }
            }
        }
    })
}
