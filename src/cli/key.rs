//! `quickbeam key`: what the node signs with, and new keys in the place of the old ones.

use serde_json::{Value, json};

use super::ago::ago;
use super::client::{Ask, Door};
use super::context::Context;
use super::list::{items, text};
use super::table::table;
use crate::clock::Time;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All keys: which sign, and until when the old ones are published
    List,
    /// Sign with new keys from now on, and tell all followers
    Rotate {
        /// How long the old ones stay published: 12h, 2d [default: 2d]
        #[arg(long, value_name = "SPAN", conflicts_with = "now")]
        overlap: Option<String>,
        /// Take all old ones out at once, because somebody else may have them
        #[arg(long)]
        now: bool,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    match &args.verb {
        None | Some(Verb::List) => {
            let answer = client.ask(&Ask::get(Door::Admin, "/admin/keys"))?;
            context.print(&answer, |answer| listed(answer, context.clock.now()));
        }
        Some(Verb::Rotate { overlap, now }) => {
            let mut body = json!({ "now": now });
            if let Some(overlap) = overlap {
                body["overlap"] = overlap.as_str().into();
            }
            let ask = Ask::change(Door::Admin, "POST", "/admin/keys/rotate", context.key()).json(&body);
            let answer = client.ask(&ask)?;
            context.print(&answer, |answer| rotated(answer, context.clock.now()));
        }
    }
    Ok(())
}

fn listed(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let does = match (item["signs"] == true, item["published"] == true) {
            (true, _) => "signs",
            (false, true) => "published",
            (false, false) => "kept",
        };
        let since = if item["since"].is_null() { "the beginning".to_owned() } else { ago(&item["since"], now) };
        vec![text(item, "id"), text(item, "kind"), does.to_owned(), since, ago(&item["until"], now)]
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["key", "kind", "does", "since", "ends"], &rows, "no keys")
}

fn rotated(answer: &Value, now: Time) -> String {
    let ends = items(answer).iter().find_map(|item| item["until"].as_str().map(|_| ago(&item["until"], now)));
    let first = match ends {
        Some(ends) => format!("the node signs with new keys; the old ones end {ends}"),
        None => "the node signs with new keys; the old ones are gone".to_owned(),
    };
    let update = text(&answer["rotation"], "update");
    let told = match answer["rotation"]["logged"] == true {
        true => format!("followers are told by {update}"),
        false => format!("followers are told by {update} as soon as the store takes it"),
    };
    format!("{first}\n{told}\n\n{}", listed(answer, now))
}
