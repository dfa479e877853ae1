//! `quickbeam retention`: how long what is kept for, what would be removed now, and a pass at once.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Door};
use super::context::Context;
use super::list::text;
use super::table::pairs;
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What is kept for how long, and what was removed since the node started
    Show,
    /// Remove now what was kept long enough
    Run {
        /// Only say how much that would be
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    match args.verb {
        None | Some(Verb::Show) => {
            let answer = client.ask(&Ask::get(Door::Admin, "/admin/retention"))?;
            context.print(&answer, |answer| shown(answer, context.clock.now()));
        }
        Some(Verb::Run { dry_run }) => {
            let path = format!("/admin/retention?dry_run={dry_run}");
            let answer = client.ask(&Ask::change(Door::Admin, "POST", path, context.key()))?;
            context.print(&answer, removed);
        }
    }
    Ok(())
}

/// What each figure counts, in the order of the answer.
const NAMES: [(&str, &str); 6] = [
    ("flows", "finished flows"),
    ("received", "activities that came"),
    ("deliveries", "what became of deliveries"),
    ("answers", "answers to idempotency keys"),
    ("ids", "ids of activities, for repeats"),
    ("effects", "keys of effects of flows that are gone"),
];

fn shown(answer: &Value, now: Time) -> String {
    let span = |name: &str| {
        answer["keeps"].get(name).map_or_else(|| "as long as its flow".to_owned(), |_| text(&answer["keeps"], name))
    };
    let kept = |(name, label): (&str, &'static str)| {
        (label, format!("kept {}, {} removed", span(name), answer["removed"][name]))
    };
    let mut facts: Vec<_> = NAMES.into_iter().map(kept).collect();
    let last = if answer["last"].is_null() { "not yet".to_owned() } else { ago(&answer["last"], now) };
    facts.push(("last pass", last));
    pairs(&facts)
}

fn removed(answer: &Value) -> String {
    let verb = if answer["dry_run"] == true { "would be removed" } else { "removed" };
    let counted = |(name, label): (&str, &'static str)| (label, format!("{} {verb}", answer["removed"][name]));
    pairs(&NAMES.into_iter().map(counted).collect::<Vec<_>>())
}
