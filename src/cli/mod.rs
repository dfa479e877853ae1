//! The command line: its words, what all commands share, and how they end. One file for each command.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::config;

mod activities;
mod actors;
mod ago;
mod allocate;
mod backup;
mod blocks;
mod check;
pub(crate) mod client;
mod context;
mod continuing;
mod dead_letters;
mod demo;
mod fields;
mod flow;
mod flows;
mod follow;
mod followers;
mod help;
pub(crate) mod init;
mod inspect;
mod journal;
mod key;
mod list;
mod peers;
mod progress;
mod publish;
mod queues;
mod restore;
mod retention;
mod runners;
mod schedules;
mod serve;
mod status;
mod store;
mod table;
mod token;
mod unfollow;
mod verify;

use client::ClientError;
use context::{Context, Mistakes};

/// The heading of options that every command takes.
const EVERYWHERE: &str = "For every command";

/// Durable workflows between domains: one node for each.
#[derive(Debug, Parser)]
#[command(name = "quickbeam", version, max_term_width = 120, arg_required_else_help = true)]
#[command(help_template = help::template(), after_help = "Exit status: 0 done, 1 refused or failed, 2 wrong words.\n\
    Try `quickbeam demo` first: two nodes on this machine play a whole story.")]
pub struct Cli {
    /// The configuration of the node [default: ./quickbeam.toml]
    #[arg(long, global = true, value_name = "FILE", env = "QUICKBEAM_CONFIG", help_heading = EVERYWHERE)]
    config: Option<std::path::PathBuf>,
    /// Print JSON instead of text for people
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// The Idempotency-Key of what is asked, to repeat something whose outcome is unknown [default: a new one]
    #[arg(long = "key", global = true, value_name = "KEY", help_heading = EVERYWHERE)]
    idempotency_key: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start two nodes on this machine and play a whole story on them
    Demo(demo::Args),
    /// Make the configuration, keys and tokens of a new node
    Init(init::Args),
    /// Run the node
    Serve(serve::Args),
    /// Name every mistake in the configuration, with its line and what to do
    Check(check::Args),
    /// Make, list and revoke the tokens of programs and people
    #[command(subcommand)]
    Token(token::Args),
    /// What the node signs with; new keys in the place of the old ones
    #[command(alias = "keys")]
    Key(key::Args),
    /// Follow a peer
    Follow(follow::Args),
    /// Follow a peer no longer
    Unfollow(unfollow::Args),
    /// Write, change or delete an object, and publish that
    Publish(publish::Args),
    /// Offer an object to a calendar of a peer
    Allocate(allocate::Args),
    /// What came in and went out, the newest first
    #[command(alias = "activity")]
    Activities(activities::Args),
    /// Try flows of the configuration without a node
    #[command(subcommand)]
    Flow(flow::Args),
    /// See and start flows, and move them: one, or all that a filter means
    Flows(flows::Args),
    /// See what begins by itself and when, hold it, or fire it now
    #[command(alias = "schedule")]
    Schedules(schedules::Args),
    /// Every actor: state, mailbox, last sequence, restarts
    #[command(alias = "actor")]
    Actors(actors::Args),
    /// One actor: its state, mailbox, last journal records, timers and errands
    Inspect(inspect::Args),
    /// What waits for whom, since when and why; and the verbs that move it
    #[command(alias = "peer")]
    Peers(peers::Args),
    /// The domains that this node has nothing to do with: block, unblock, import a list
    #[command(alias = "block")]
    Blocks(blocks::Args),
    /// Who follows this node, and who asked to
    #[command(alias = "follower")]
    Followers(followers::Args),
    /// What could not be delivered or understood: retry it or discard it
    #[command(alias = "dead-letter")]
    DeadLetters(dead_letters::Args),
    /// What is kept for how long, and removing now what was kept long enough
    Retention(retention::Args),
    /// Judge a captured request as an inbox would, and show what its signature has to be made over
    Verify(verify::Args),
    /// Whether the node is well, and its counters
    Status(status::Args),
    /// Streams, values and blobs of programs: append, read, follow, put, get, list
    #[command(subcommand)]
    Store(store::Args),
    /// Copy everything of the node into one file, also while it runs
    Backup(backup::Args),
    /// Make the data of a node of a backup; it starts held
    Restore(restore::Args),
    /// Let a restored node send and fire again
    Continue(continuing::Args),
    /// Look into the store: verify, dump, stats, compact
    #[command(subcommand)]
    Journal(journal::Args),
}

/// Sets up the log of a process that has one.
pub type StartLog = fn(&config::Log);

/// Says what is wrong with the words of a command line, as JSON where one of them asks for it; 2, or 0 for help.
pub fn wrong_words(error: &clap::Error, words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut options = words.take_while(|word| word != "--");
    if !error.use_stderr() || !options.any(|word| word == "--json") {
        error.exit()
    }
    let told = error.render().to_string();
    let detail = told.trim().trim_start_matches("error: ");
    let _ = writeln!(std::io::stderr(), "{:#}", json!({ "title": "wrong words", "detail": detail }));
    ExitCode::from(2)
}

/// Does what the words say; 0 when it is done, 1 when it was refused or failed.
pub fn run(cli: Cli, start_log: StartLog) -> ExitCode {
    let context = Context::new(cli.config, cli.json, cli.idempotency_key, start_log);
    let done = match &cli.command {
        Command::Demo(args) => demo::run(args, &context),
        Command::Init(args) => init::run(args, &context),
        Command::Serve(args) => serve::run(args, &context),
        Command::Check(args) => check::run(args, &context),
        Command::Token(args) => token::run(args, &context),
        Command::Key(args) => key::run(args, &context),
        Command::Follow(args) => follow::run(args, &context),
        Command::Unfollow(args) => unfollow::run(args, &context),
        Command::Publish(args) => publish::run(args, &context),
        Command::Allocate(args) => allocate::run(args, &context),
        Command::Activities(args) => activities::run(args, &context),
        Command::Flow(args) => flow::run(args, &context),
        Command::Flows(args) => flows::run(args, &context),
        Command::Schedules(args) => schedules::run(args, &context),
        Command::Actors(args) => actors::run(args, &context),
        Command::Inspect(args) => inspect::run(args, &context),
        Command::Peers(args) => peers::run(args, &context),
        Command::Blocks(args) => blocks::run(args, &context),
        Command::Followers(args) => followers::run(args, &context),
        Command::DeadLetters(args) => dead_letters::run(args, &context),
        Command::Retention(args) => retention::run(args, &context),
        Command::Verify(args) => verify::run(args, &context),
        Command::Status(args) => status::run(args, &context),
        Command::Store(args) => store::run(args, &context),
        Command::Backup(args) => backup::run(args, &context),
        Command::Restore(args) => restore::run(args, &context),
        Command::Continue(args) => continuing::run(args, &context),
        Command::Journal(args) => journal::run(args, &context),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = if context.json { told_as_json(&error) } else { told(&error) };
            // Whoever closed the other end of the pipe does not want to hear it.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(if error.is::<flow::WrongFile>() { 2 } else { 1 })
        }
    }
}

/// What is wrong with a configuration, or with a file of the same kind.
fn mistakes(error: &anyhow::Error) -> Option<&Mistakes> {
    error.downcast_ref::<Mistakes>().or_else(|| error.downcast_ref::<flow::WrongFile>().map(|wrong| &wrong.0))
}

/// What went wrong, for people.
fn told(error: &anyhow::Error) -> String {
    if let Some(mistakes) = mistakes(error) {
        return mistakes.to_string();
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(problem)) => problem.told(),
        _ => with_causes(error),
    }
}

/// An error and what is behind it, once each: some name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}

/// The same as a problem, for programs.
fn told_as_json(error: &anyhow::Error) -> String {
    let problem = match (error.downcast_ref::<ClientError>(), mistakes(error)) {
        (Some(ClientError::Refused(problem)), _) => problem.json.clone(),
        (_, Some(mistakes)) => {
            json!({ "title": "mistakes in the configuration", "detail": mistakes.to_string(), "mistakes": mistakes.json() })
        }
        _ => json!({ "title": "failed", "detail": with_causes(error) }),
    };
    format!("{problem:#}")
}
