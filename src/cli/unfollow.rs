//! `quickbeam unfollow`: takes a Follow back.

use serde_json::Value;

use super::client::{Ask, Door};
use super::context::Context;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name in [peers], an authority such as events.example, an actor URL, or an account such as @gigs@events.example
    peer: String,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let ask = Ask::change(Door::Public, "DELETE", "/api/follow", context.key()).query("peer", &args.peer);
    let answer = context.client()?.ask(&ask)?;
    context.print(&answer, |answer| shown(args, answer));
    Ok(())
}

fn shown(args: &Args, _: &Value) -> String {
    format!("this node no longer follows {}", args.peer)
}
