//! `quickbeam dead-letters`: what could not be delivered or understood.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Door, segment};
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
    list: list::Paging,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All of them
    List(list::Paging),
    /// Try it once more
    Retry { id: String },
    /// Take it away for ever
    Discard { id: String },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let list = match &args.verb {
        Some(Verb::List(list)) => list,
        _ => &args.list,
    };
    let (verb, id) = match &args.verb {
        None | Some(Verb::List(_)) => {
            let answer = list::fetch(&client, &Ask::get(Door::Admin, "/admin/dead-letters"), list)?;
            context.print(&answer, |answer| shown(answer, context.clock.now()));
            return Ok(());
        }
        Some(Verb::Retry { id }) => ("retry", id),
        Some(Verb::Discard { id }) => ("discard", id),
    };
    let path = format!("/admin/dead-letters/{}/{verb}", segment(id));
    let answer = client.ask(&Ask::change(Door::Admin, "POST", path, context.key()))?;
    context.print(&answer, |_| format!("{verb}: {id}"));
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["kind", "to", "activity", "reason"].map(|name| text(item, name));
        [vec![text(item, "id"), ago(&item["at"], now)], cells.to_vec()].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["id", "when", "kind", "to", "activity", "why"], &rows, "no dead letters") + &more(answer)
}
