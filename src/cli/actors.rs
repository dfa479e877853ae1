//! `quickbeam actors`: every actor, whether it is in memory or not.

use serde_json::Value;

use super::client::{Ask, Door};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this kind
    #[arg(long, value_parser = ["inbox", "follower", "following", "outbox", "flow", "stream"])]
    kind: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["active", "passive", "suspended", "failed"])]
    state: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let mut ask = Ask::get(Door::Admin, "/admin/actors");
    for (name, value) in [("kind", &args.kind), ("state", &args.state)] {
        if let Some(value) = value {
            ask = ask.query(name, value);
        }
    }
    let answer = list::fetch(&context.client()?, &ask, &args.paging)?;
    context.print(&answer, shown);
    Ok(())
}

fn shown(answer: &Value) -> String {
    let row = |item: &Value| {
        let stands_at = if item["state"] == "failed" { "failed" } else { "label" };
        ["id", "state", "depth", "sequence", "restarts", stands_at].map(|name| text(item, name)).to_vec()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["actor", "state", "mailbox", "sequence", "restarts", "stands at"], &rows, "no such actors") + &more(answer)
}
