//! `quickbeam peers`: what waits for whom, since when and why; and the verbs that move it.

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
    /// All peers
    List(list::Paging),
    /// Try now what waits
    Retry { authority: String },
    /// Send nothing until `continue`
    Pause { authority: String },
    /// Send again
    Continue { authority: String },
    /// Drop what waits, which becomes dead letters
    Forget { authority: String },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let list = match &args.verb {
        Some(Verb::List(list)) => list,
        _ => &args.list,
    };
    let (verb, authority) = match &args.verb {
        None | Some(Verb::List(_)) => {
            let answer = list::fetch(&client, &Ask::get(Door::Admin, "/admin/peers"), list)?;
            context.print(&answer, |answer| shown(answer, context.clock.now()));
            return Ok(());
        }
        Some(Verb::Retry { authority }) => ("retry", authority),
        Some(Verb::Pause { authority }) => ("pause", authority),
        Some(Verb::Continue { authority }) => ("continue", authority),
        Some(Verb::Forget { authority }) => ("forget", authority),
    };
    let path = format!("/admin/peers/{}/{verb}", segment(authority));
    let answer = client.ask(&Ask::change(Door::Admin, "POST", path, context.key()))?;
    context.print(&answer, |_| format!("{verb}: {authority}"));
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let error = match &item["last_error"] {
            Value::Object(error) => error.get("what").and_then(Value::as_str).unwrap_or_default().to_owned(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let counts = ["authority", "state", "queued", "in_flight", "delivered", "dead"].map(|name| text(item, name));
        [counts.to_vec(), vec![ago(&item["oldest"], now), ago(&item["retry_at"], now), error]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let heads = ["peer", "state", "waiting", "in flight", "delivered", "dead", "oldest", "next try", "last error"];
    table(&heads, &rows, "nothing was ever sent to a peer") + &more(answer)
}
