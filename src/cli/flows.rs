//! `quickbeam flows`: sees, starts and moves flows, one or all that a filter means.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::client::{Ask, Client, Door, segment};
use super::context::Context;
use super::fields;
use super::list;
use crate::domains::flow::progress::Phase;

mod shown;
mod telling;

use telling::Tell;

/// A node lets nobody wait longer.
const WAIT_MAX: i64 = 60;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state
    #[arg(long, value_parser = PossibleValuesParser::new(Phase::ALL.map(Phase::word)))]
    state: Option<String>,
    /// Only those of this flow
    #[arg(long)]
    name: Option<String>,
    /// Only those of which this is true: name, state, type, key, object, definition, since, until, older_than, or a
    /// field that a flow declares under `search`
    #[arg(long = "where", value_name = "WORD=VALUE", value_parser = telling::word)]
    filter: Vec<(String, String)>,
    #[command(flatten)]
    paging: list::Paging,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All instances, the newest first
    List(Box<List>),
    /// One instance: its steps, what it waits for and what would move it, what came of it, what happened
    Show { id: String },
    /// What runs on which definition
    Versions,
    /// Start a flow by hand
    Start {
        name: String,
        /// Its input as JSON, from a file or from standard input with -
        #[arg(long, value_name = "FILE")]
        input: Option<String>,
        /// Wait until it comes to rest, at most so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(0..=WAIT_MAX), default_value = "10")]
        wait: u8,
    },
    /// Everything that is kept of one, as one JSON document
    Export {
        id: String,
        /// Standard output without it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    #[command(flatten)]
    Tell(Tell),
    /// Who runs the flows of this node, in their order: what each can do, and what is wrong with it
    Runners,
    /// The limits of flows by key: who is in, and who waits in which order
    Queues(super::queues::Args),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let list = match &args.verb {
        None => &args.list,
        Some(Verb::List(list)) => list,
        Some(Verb::Tell(tell)) => return telling::run(tell, &client, context),
        Some(Verb::Runners) => return super::runners::run(context, &client),
        Some(Verb::Queues(args)) => return super::queues::run(args, context, &client),
        Some(Verb::Versions) => {
            let answer = client.ask(&Ask::get(Door::Public, "/flows/versions"))?;
            context.print(&answer, shown::versions);
            return Ok(());
        }
        Some(Verb::Export { id, output }) => return export(&client, id, output.as_deref(), context),
        Some(verb) => return show(&client, &ask(verb, context)?, context),
    };
    let ask = Ask::get(Door::Public, "/flows");
    let named = [("state", &list.state), ("name", &list.name)].into_iter();
    let ask = named
        .filter_map(|(word, value)| Some((word, value.as_ref()?)))
        .fold(ask, |ask, (word, value)| ask.query(word, value));
    let ask = list.filter.iter().fold(ask, |ask, (word, value)| ask.query(word, value));
    let answer = list::fetch(&client, &ask, &list.paging)?;
    context.print(&answer, |answer| shown::list(answer, context.clock.now()));
    Ok(())
}

/// Asks, and shows where the instance stands.
fn show(client: &Client, ask: &Ask, context: &Context) -> anyhow::Result<()> {
    let answer = instance(client, client.ask(ask)?)?;
    context.print(&answer, |answer| shown::one(answer, context.clock.now()));
    Ok(())
}

/// The document as the node gives it, to a file or to whatever reads the output.
fn export(client: &Client, id: &str, output: Option<&Path>, context: &Context) -> anyhow::Result<()> {
    let answer = client.ask(&Ask::get(Door::Public, format!("/flows/{}/export", segment(id))))?;
    let text = serde_json::to_string_pretty(&answer)?;
    let Some(file) = output else {
        context.print(&answer, |_| text.clone());
        return Ok(());
    };
    std::fs::write(file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))?;
    let told = json!({ "id": id, "file": file, "events": answer["events"].as_array().map(Vec::len) });
    context.print(&told, |told| format!("{}: {} events of {id}", file.display(), told["events"]));
    Ok(())
}

/// The request of a verb for one instance.
fn ask(verb: &Verb, context: &Context) -> anyhow::Result<Ask> {
    let change = |path: String| Ask::change(Door::Public, "POST", path, context.key());
    Ok(match verb {
        Verb::Show { id } => Ask::get(Door::Public, format!("/flow/{}", segment(id))),
        Verb::Start { name, input, wait } => {
            let input = input.as_deref().map(fields::read_json).transpose()?.unwrap_or_else(|| json!({}));
            change(format!("/flow/start/{}", segment(name))).json(&input).header("prefer", format!("wait={wait}"))
        }
        Verb::List(_) | Verb::Versions | Verb::Runners | Verb::Queues(_) | Verb::Tell(_) | Verb::Export { .. } => {
            unreachable!("these show something else")
        }
    })
}

/// What a verb answers is the instance without what happened to it, or its name only: it is asked for, so that one command
/// shows where it stands.
fn instance(client: &Client, answer: Value) -> anyhow::Result<Value> {
    match answer["id"].as_str() {
        Some(id) if answer["timeline"].is_null() => {
            Ok(client.ask(&Ask::get(Door::Public, format!("/flow/{}", segment(id))))?)
        }
        _ => Ok(answer),
    }
}
