//! `quickbeam inspect`: everything there is to see of one actor.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Door, segment};
use super::context::Context;
use super::list::text;
use super::table::{pairs, table};
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// KIND/KEY as `quickbeam actors` lists it, or the kind alone before the key
    #[arg(value_name = "KIND/KEY")]
    actor: String,
    /// The key, when the first word is the kind alone
    key: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let (kind, key) = named(args)?;
    let path = format!("/admin/actors/{}/{}", segment(kind), segment(key));
    let answer = context.client()?.ask(&Ask::get(Door::Admin, path))?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let names = ["state", "label", "sequence", "depth", "messages", "restarts", "failed"];
    let facts: Vec<_> = names.into_iter().map(|name| (name, text(answer, name))).collect();
    let mut parts = vec![text(answer, "id"), pairs(&facts), format!("{:#}", answer["value"])];
    let of = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let journal = of("journal").into_iter().map(|entry| {
        vec![text(&entry, "turn"), ago(&entry["at"], now), plain(&entry["cause"]), plain(&entry["events"])]
    });
    parts.push(table(&["turn", "when", "cause", "events"], &journal.collect::<Vec<_>>(), ""));
    let timers = of("timers").into_iter().map(|timer| vec![text(&timer, "name"), ago(&timer["due"], now)]);
    parts.push(table(&["timer", "due"], &timers.collect::<Vec<_>>(), ""));
    let errands = of("errands")
        .into_iter()
        .map(|one| vec![format!("{}.{}", one["turn"], one["nth"]), ago(&one["due"], now), plain(&one["errand"])]);
    parts.push(table(&["errand", "due", "what"], &errands.collect::<Vec<_>>(), ""));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn named(args: &Args) -> anyhow::Result<(&str, &str)> {
    match (&args.key, args.actor.split_once('/')) {
        (Some(key), _) => Ok((&args.actor, key)),
        (None, Some(named)) => Ok(named),
        (None, None) => {
            anyhow::bail!("{:?} is a kind without a key: write KIND/KEY as `quickbeam actors` lists it", args.actor)
        }
    }
}
