//! `quickbeam serve`: runs the node until it is told to stop.

use anyhow::Context as _;

use super::context::Context;
use crate::node;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Stop when standard input closes, as children of a demo or a test do
    #[arg(long)]
    exit_with_stdin: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let (config, catalog) = context.catalog()?;
    (context.start_log)(&config.log);
    let name = config.node.name.clone();
    let options = node::Options { exit_with_stdin: args.exit_with_stdin };
    node::run(config, catalog, options).with_context(|| format!("the node {name} cannot run"))
}
