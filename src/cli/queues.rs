//! `quickbeam flows queues`: the limits of flows by key, who is in, and who waits in which order.

use serde_json::{Value, json};

use super::ago::ago;
use super::client::{Ask, Client, Door, segment};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::{pairs, table};
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One queue, as the list names it: who is in, and who waits
    gate: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Count an instance that is in no more, so that the next is let in; it is not ended by that
    Release { flow: String },
}

pub(super) fn run(args: &Args, context: &Context, client: &Client) -> anyhow::Result<()> {
    let Some(gate) = &args.gate else {
        let answer = list::fetch(client, &Ask::get(Door::Public, "/flows/queues"), &args.paging)?;
        context.print(&answer, shown_list);
        return Ok(());
    };
    if let Some(Verb::Release { flow }) = &args.verb {
        let path = format!("/flows/queues/{}/release", segment(gate));
        let ask = Ask::change(Door::Public, "POST", path, context.key()).json(&json!({ "flow": flow }));
        context.print(&client.ask(&ask)?, released);
        return Ok(());
    }
    let ask = Ask::get(Door::Public, format!("/flows/queues/{}", segment(gate)));
    let mut answer = client.ask(&ask)?;
    let waiting = list::fetch(client, &ask, &args.paging)?;
    answer["items"] = waiting["items"].clone();
    answer["next"] = waiting["next"].clone();
    answer["left_out"] = waiting["left_out"].clone();
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn released(answer: &Value) -> String {
    let [flow, gate, inside, waiting] = ["released", "gate", "inside", "waiting"].map(|name| text(answer, name));
    format!("{flow} counts no more in {gate}: {inside} in, {waiting} waiting")
}

fn shown_list(answer: &Value) -> String {
    let row = |item: &Value| {
        let cells = ["gate", "flow", "limit", "key"].map(|name| text(item, name)).to_vec();
        [cells, vec![bound(item), text(item, "inside"), text(item, "waiting")]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let head = ["queue", "flow", "limit", "key", "at most", "in", "waiting"];
    table(&head, &rows, "nobody is in and nobody waits") + &more(answer)
}

fn shown(answer: &Value, now: Time) -> String {
    let mut facts: Vec<_> = ["gate", "flow", "limit", "key"].map(|name| (name, text(answer, name))).to_vec();
    facts.push(("at most", bound(answer)));
    let holders = answer["holders"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = holders.map(|it| vec!["in".to_owned(), text(it, "flow"), ago(&it["since"], now)]).collect();
    rows.extend(items(answer).iter().map(|it| vec![text(it, "place"), text(it, "flow"), ago(&it["since"], now)]));
    format!("{}\n\n{}", pairs(&facts), table(&["place", "instance", "since"], &rows, "nobody is in and nobody waits"))
        + &more(answer)
}

/// `3`, or `3 in 10m`.
fn bound(item: &Value) -> String {
    let max = text(item, "max");
    item["per"].as_str().map_or_else(|| max.clone(), |per| format!("{max} in {per}"))
}
