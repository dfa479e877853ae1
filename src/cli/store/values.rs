//! `quickbeam store kv`: named JSON values with versions.

use serde_json::Value;

use super::super::client::{Ask, Door};
use super::super::context::Context;
use super::super::list::{self, items, more, text};
use super::super::table::named;
use super::{Listing, expected_number, expecting, json, name, stdin};
use crate::programs::Name;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Args {
    /// Print a value as it was written
    Get {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Set a value
    Put {
        #[arg(value_parser = name)]
        name: Name,
        /// JSON; standard input without it or with -
        #[arg(allow_negative_numbers = true)]
        value: Option<String>,
        /// Only if it is at this version, or `none` if it is not there
        #[arg(long, value_name = "VERSION", value_parser = expected_number)]
        expect: Option<String>,
    },
    /// Remove a value
    Delete {
        #[arg(value_parser = name)]
        name: Name,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION", value_parser = expected_number)]
        expect: Option<String>,
    },
    /// Names and versions
    List(Listing),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let change = |method, name: &Name| Ask::change(Door::Public, method, address(name), context.key());
    match args {
        Args::Get { name } => {
            let (head, value) = client.whole(&Ask::get(Door::Public, address(name)))?;
            let value = String::from_utf8_lossy(&value);
            let version = head.header("etag").unwrap_or_default().trim_matches('"');
            if context.json {
                // Put together as text: a number of the value may be larger than any that could be read.
                println!("{{\"name\":\"{name}\",\"version\":{version},\"value\":{value}}}");
            } else {
                println!("{value}");
            }
        }
        Args::Put { name, value, expect } => {
            let value = match value.as_deref() {
                None | Some("-") => json(&stdin()?, "standard input")?,
                Some(word) => json(word.as_bytes(), "the value")?,
            };
            let mut ask = expecting(change("PUT", name), expect.as_deref()).header("content-type", "application/json");
            ask.body = value.into_bytes().to_vec();
            let answer = client.ask(&ask)?;
            context.print(&answer, |answer| format!("{name} is at version {}", text(answer, "version")));
        }
        Args::Delete { name, expect } => {
            let answer = client.ask(&expecting(change("DELETE", name), expect.as_deref()))?;
            context.print(&answer, |_| format!("{name} is not there any more"));
        }
        Args::List(listing) => {
            let ask = listing.of(Ask::get(Door::Public, "/store/kv"));
            let answer = list::fetch(&client, &ask, &listing.paging)?;
            context.print(&answer, shown);
        }
    }
    Ok(())
}

fn shown(answer: &Value) -> String {
    let rows: Vec<_> = items(answer).iter().map(|item| vec![text(item, "name"), text(item, "version")]).collect();
    named(&["name", "version"], &rows, "no values") + &more(answer)
}

fn address(name: &Name) -> String {
    format!("/store/kv/{name}")
}
