//! `quickbeam allocate`: offers an object of this node to a calendar of a peer.

use serde_json::Value;

use super::client::{Ask, Door, segment};
use super::context::Context;
use super::list::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The object
    slug: String,
    /// The calendar: its slug at the peer, or its id
    #[arg(long, value_name = "ID")]
    calendar: String,
    /// A name in [peers], an authority such as events.example, or an actor URL
    #[arg(long, value_name = "PEER")]
    to: String,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let path = format!("/{}/allocate", segment(&args.slug));
    let ask = Ask::change(Door::Public, "POST", path, context.key());
    let answer = context.client()?.ask(&ask.query("calendar", &args.calendar).query("to", &args.to))?;
    context.print(&answer, |answer| shown(args, answer));
    Ok(())
}

fn shown(args: &Args, answer: &Value) -> String {
    let Args { slug, calendar, to } = args;
    let activity = text(answer, "activity");
    format!("offered {slug} to {calendar} of {to}: {activity}\nIts answer will stand with the object, at /{slug}.")
}
