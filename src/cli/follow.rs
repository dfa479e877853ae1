//! `quickbeam follow`: asks a peer for what it publishes.

use serde_json::{Value, json};

use super::client::{Ask, Door};
use super::context::Context;
use super::list::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name in [peers], an authority such as events.example, an actor URL, or an account such as @gigs@events.example
    peer: String,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let ask = Ask::change(Door::Public, "POST", "/api/follow", context.key()).json(&json!({ "peer": args.peer }));
    let answer = context.client()?.ask(&ask)?;
    context.print(&answer, |answer| shown(args, answer));
    Ok(())
}

fn shown(args: &Args, answer: &Value) -> String {
    match text(answer, "status").as_str() {
        "accepted" => format!("this node follows {}", args.peer),
        "asked" => format!("asked {}; `quickbeam activities` shows its answer", args.peer),
        status => format!("{}: {status}", args.peer),
    }
}
