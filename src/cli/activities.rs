//! `quickbeam activities`: what came in and went out, the newest first.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Door};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::table;
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    paging: list::Paging,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let answer = list::fetch(&context.client()?, &Ask::get(Door::Public, "/activities"), &args.paging)?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let way = if item["way"] == "received" { "in" } else { "out" };
        let cells = ["verb", "actor", "object", "target"].map(|name| text(item, name));
        [vec![ago(&item["at"], now), way.to_owned()], cells.to_vec()].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["when", "", "what", "who", "about", "where to"], &rows, "no activities yet") + &more(answer)
}
