//! `quickbeam followers`: who follows this node, and the answer to those who asked.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Door};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::table;
use crate::clock::Time;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those who stand so
    #[arg(long, value_parser = ["asked", "accepted", "rejected"])]
    status: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All followers
    List(List),
    /// Let somebody follow who asked
    Accept { peer: String },
    /// Refuse somebody, or end it
    Reject { peer: String },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let list = match &args.verb {
        Some(Verb::List(list)) => list,
        _ => &args.list,
    };
    let (verb, peer) = match &args.verb {
        None | Some(Verb::List(_)) => {
            let ask = Ask::get(Door::Admin, "/admin/followers");
            let ask = list.status.iter().fold(ask, |ask, status| ask.query("status", status));
            let answer = list::fetch(&client, &ask, &list.paging)?;
            context.print(&answer, |answer| shown(answer, context.clock.now()));
            return Ok(());
        }
        Some(Verb::Accept { peer }) => ("accept", peer),
        Some(Verb::Reject { peer }) => ("reject", peer),
    };
    let ask = Ask::change(Door::Admin, "POST", format!("/admin/followers/{verb}"), context.key());
    let answer = client.ask(&ask.query("actor", peer))?;
    context.print(&answer, |answer| format!("{}: {}", text(answer, "actor"), text(answer, "status")));
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| vec![text(item, "actor"), text(item, "status"), ago(&item["since"], now)];
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["follower", "status", "since"], &rows, "no followers") + &more(answer)
}
