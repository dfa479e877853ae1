//! `quickbeam demo`: two nodes on this machine play a whole story.

use std::path::PathBuf;

use super::context::Context;
use crate::demo::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ports: this and the next for the nodes, 1000 higher for their administration [default: 8001; free ones with --once]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=64_534))]
    port_base: Option<u16>,
    /// Where the nodes keep their data [default: data/demo; a temporary folder with --once]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Go on with the data of last time
    #[arg(long, conflicts_with = "once")]
    keep: bool,
    /// Play the story, prove each step by asking the nodes, and end: 0 when all is proven, 1 if not
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let options = Options {
        port_base: args.port_base,
        data: args.data.clone(),
        keep: args.keep,
        once: args.once,
        json: context.json,
        clock: context.clock.clone(),
    };
    Ok(demo::run(&options)?)
}
