//! `quickbeam blocks`: the domains that this node has nothing to do with.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

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
    /// All blocked domains
    List(list::Paging),
    /// Block a domain with all that is below it: nothing comes from there, nothing goes there, nobody there follows
    Add {
        /// A host, like bad.example
        domain: String,
        /// Why, for whoever operates this node
        #[arg(long)]
        reason: Option<String>,
    },
    /// Have to do with it again; who followed has to follow anew
    Remove { domain: String },
    /// Block what a list says: the CSV that Mastodon exports, or one domain a line
    Import {
        file: PathBuf,
        /// Only say what would be blocked
        #[arg(long)]
        dry_run: bool,
    },
    /// The list as CSV for Mastodon and others, on standard output
    Export,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let change = |method, path: String| Ask::change(Door::Admin, method, path, context.key());
    let list = match &args.verb {
        Some(Verb::List(list)) => list,
        _ => &args.list,
    };
    match &args.verb {
        None | Some(Verb::List(_)) => {
            let answer = list::fetch(&client, &Ask::get(Door::Admin, "/admin/blocks"), list)?;
            context.print(&answer, |answer| shown(answer, context.clock.now()));
        }
        Some(Verb::Add { domain, reason }) => {
            let body = json!({ "domain": domain, "reason": reason });
            let answer = client.ask(&change("POST", "/admin/blocks".to_owned()).json(&body))?;
            context.print(&answer, |answer| format!("blocked: {}", text(answer, "domain")));
        }
        Some(Verb::Remove { domain }) => {
            let answer = client.ask(&change("DELETE", format!("/admin/blocks/{}", segment(domain))))?;
            context.print(&answer, |_| format!("not blocked any more: {domain}"));
        }
        Some(Verb::Import { file, dry_run }) => {
            let list = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let ask = change("POST", "/admin/blocks/import".to_owned()).query("dry_run", dry_run.to_string());
            let answer = client.ask(&ask.text("text/csv", list))?;
            context.print(&answer, imported);
        }
        Some(Verb::Export) => {
            let mut out = std::io::stdout().lock();
            client.download(&Ask::get(Door::Admin, "/admin/blocks/export"), |piece| out.write_all(piece))?;
        }
    }
    Ok(())
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| vec![text(item, "domain"), ago(&item["at"], now), text(item, "reason")];
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let only: Vec<String> = answer["allow_only"].as_array().into_iter().flatten().map(text_of).collect();
    let only = match answer["allow_only"].is_null() {
        true => String::new(),
        false => format!("\nonly these are let in, by [federation] allow_only: {}", only.join(", ")),
    };
    table(&["domain", "blocked", "reason"], &rows, "no blocked domains") + &more(answer) + &only
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn imported(answer: &Value) -> String {
    let verb = if answer["dry_run"] == true { "would be blocked" } else { "blocked" };
    let first = format!("{} {verb}, {} were already, {} left out", answer["added"], answer["known"], answer["skipped"]);
    let left = answer["listed"].as_array().into_iter().flatten();
    let lines = left.map(|line| format!("left out: {}: {}", text(line, "domain"), text(line, "why")));
    std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n")
}
