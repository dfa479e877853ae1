//! `quickbeam peers`: what waits for whom, since when and why; and the verbs that move it.

use anyhow::bail;
use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Client, Door, segment};
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
    /// Try each step of the way to a peer, and say what works and what does not; exit 1 when something does not
    Check {
        /// A name in [peers], an authority, an actor URL, or an account such as @gigs@events.example
        peer: String,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let told = |verb: &str, authority: &String| {
        let path = format!("/admin/peers/{}/{verb}", segment(authority));
        let answer = client.ask(&Ask::change(Door::Admin, "POST", path, context.key()))?;
        context.print(&answer, |_| format!("{verb}: {authority}"));
        Ok(())
    };
    match &args.verb {
        None => listed(&client, &args.list, context),
        Some(Verb::List(list)) => listed(&client, list, context),
        Some(Verb::Retry { authority }) => told("retry", authority),
        Some(Verb::Pause { authority }) => told("pause", authority),
        Some(Verb::Continue { authority }) => told("continue", authority),
        Some(Verb::Forget { authority }) => told("forget", authority),
        Some(Verb::Check { peer }) => check(&client, peer, context),
    }
}

fn listed(client: &Client, list: &list::Paging, context: &Context) -> anyhow::Result<()> {
    let answer = list::fetch(client, &Ask::get(Door::Admin, "/admin/peers"), list)?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn check(client: &Client, peer: &str, context: &Context) -> anyhow::Result<()> {
    let answer = client.ask(&Ask::change(Door::Admin, "POST", "/admin/check", context.key()).query("peer", peer))?;
    context.print(&answer, walked);
    match answer["verdict"].as_str() {
        Some("bad") => bail!("this node and {peer} cannot speak with one another as it is"),
        _ => Ok(()),
    }
}

fn walked(answer: &Value) -> String {
    let line = |step: &Value| {
        let mark = match step["verdict"].as_str() {
            Some("good") => "ok  ",
            Some("unsure") => "?   ",
            _ => "no  ",
        };
        let remedy = step["remedy"].as_str().map(|remedy| format!("\n                {remedy}")).unwrap_or_default();
        format!("{mark}{:12}{}{remedy}", text(step, "step"), text(step, "what"))
    };
    answer["steps"].as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
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
