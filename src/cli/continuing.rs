//! `quickbeam continue`: lets a restored node send and fire again; or says what it would.

use serde_json::{Value, json};

use super::ago::ago;
use super::client::{Ask, Door};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::{pairs, table};
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run, these one by one
    #[arg(long, value_name = "LIST", requires = "dry_run", value_parser = ["messages", "timers", "errands", "flows"])]
    list: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let ask = Ask::get(Door::Admin, "/admin/held");
    if let Some(word) = &args.list {
        let answer = list::fetch(&client, &ask.query("list", word), &args.paging)?;
        context.print(&answer, |answer| listed(answer, context.clock.now()));
        return Ok(());
    }
    let before = client.ask(&ask)?;
    if args.dry_run {
        context.print(&before, |answer| shown(answer, context.clock.now()));
        return Ok(());
    }
    client.ask(&Ask::change(Door::Admin, "POST", "/admin/continue", context.key()))?;
    let answer = json!({ "held": false, "let_go": before["pending"] });
    context.print(&answer, |answer| {
        format!("the node goes on; what waited goes out now:\n{}", pending_shown(&answer["let_go"], None))
    });
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let pending = pending_shown(&answer["pending"], Some(now));
    if answer["held"] != true {
        return format!("the node is not held; what waits goes out as it is due:\n{pending}");
    }
    let facts = [("restored", ago(&answer["since"], now)), ("from", text(answer, "backup"))];
    let made = [("backup made", ago(&answer["backup_made"], now)), ("incarnation", text(answer, "incarnation"))];
    let facts = pairs(&[facts, made].concat());
    format!(
        "the node is held\n{facts}\n\nIt would send and fire:\n{pending}\n\nWhat the original did since the backup is \
         not known here, and would be done again. If it still\nruns elsewhere, stop it first. Then: quickbeam continue"
    )
}

/// What waits, for people.
pub(super) fn pending_shown(pending: &Value, now: Option<Time>) -> String {
    let mut facts: Vec<(String, String)> = Vec::new();
    for (peer, queued) in pending["outboxes"].as_object().into_iter().flatten() {
        let since = match now {
            Some(now) => ago(&queued["oldest"], now),
            None => text(queued, "oldest"),
        };
        facts.push((format!("to {peer}"), format!("{} activities, the oldest of {since}", text(queued, "entries"))));
    }
    let counted = [
        ("messages", "between actors"),
        ("errands", "deliveries and calls under way"),
        ("timers_due", "timers that are due"),
        ("timers_later", "timers that are due later"),
        ("flows", "flows that run on"),
    ];
    let counted = counted.into_iter().filter(|(name, _)| pending[name].as_u64() > Some(0));
    facts.extend(counted.map(|(name, what)| (name.replace('_', " "), format!("{} {what}", text(pending, name)))));
    if facts.is_empty() {
        return "nothing".to_owned();
    }
    pairs(&facts.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>())
}

fn listed(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let who = if item["actor"].is_null() { text(item, "to") } else { text(item, "actor") };
        vec![who, text(item, "from") + &text(item, "name"), ago(&item["due"], now)]
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["actor", "from", "due"], &rows, "nothing") + &more(answer)
}
