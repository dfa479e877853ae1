//! The `quickbeam` binary.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve {
        #[arg(long, env = "QUICKBEAM_CONFIG", default_value = "quickbeam.toml")]
        config: PathBuf,
        #[arg(long)]
        exit_with_stdin: bool,
    },
}

fn main() -> ExitCode {
    let Words { command: Command::Serve { config, exit_with_stdin } } = Words::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let loaded = quickbeam::domains::catalog::load(&config, std::env::vars(), &quickbeam::domains::all_effects());
    let (config, catalog) = match loaded {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return ExitCode::FAILURE;
        }
    };
    match quickbeam::node::run(config, catalog, quickbeam::node::Options { exit_with_stdin }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
