//! `quickbeam flows`: sees, starts, resumes, cancels and retries flows.

use serde_json::{Value, json};

use super::ago::ago;
use super::client::{Ask, Client, Door, segment};
use super::context::Context;
use super::fields;
use super::list::{self, items, more, text};
use super::table::{pairs, table};
use crate::clock::Time;

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
    #[arg(long, value_parser = ["running", "suspended", "paused", "done", "failed", "cancelled"])]
    state: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All instances, the newest first
    List(List),
    /// One instance: its steps, what it waits for, what came of it
    Show { id: String },
    /// Start a flow by hand
    Start {
        name: String,
        /// Its input as JSON, from a file or from standard input with -
        #[arg(long, value_name = "FILE")]
        input: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let a waiting one go on
    Resume {
        id: String,
        /// What it waits for, when that is more than one thing
        signal: Option<String>,
        /// What the steps behind see as `payload`: JSON
        #[arg(long, value_name = "JSON", value_parser = fields::json)]
        payload: Option<Value>,
        #[command(flatten)]
        wait: Wait,
    },
    /// End one; what it began is undone
    Cancel {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// The limits of flows by key: who is in, and who waits in which order
    Queues(super::queues::Args),
    /// Try a paused one again
    Retry { id: String },
}

#[derive(Debug, clap::Args)]
struct Wait {
    /// Wait until it comes to rest, at most so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(0..=60), default_value = "10")]
    wait: u8,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    if let Some(Verb::Queues(args)) = &args.verb {
        return super::queues::run(args, context, &client);
    }
    let Some(ask) = ask(args, context)? else {
        let list = match &args.verb {
            Some(Verb::List(list)) => list,
            _ => &args.list,
        };
        let ask = Ask::get(Door::Public, "/flows");
        let ask = list.state.iter().fold(ask, |ask, state| ask.query("state", state));
        let answer = list::fetch(&client, &ask, &list.paging)?;
        context.print(&answer, |answer| shown_list(answer, context.clock.now()));
        return Ok(());
    };
    let answer = instance(&client, client.ask(&ask)?)?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn shown_list(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["id", "name", "phase", "waits_for"].map(|name| text(item, name));
        [cells.to_vec(), vec![ago(&item["updated"], now), text(item, "object")]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["id", "flow", "phase", "waits for", "moved", "about"], &rows, "no flows") + &more(answer)
}

fn shown(answer: &Value, now: Time) -> String {
    let mut facts: Vec<_> =
        ["id", "name", "phase", "waits_for", "result", "reason"].map(|name| (name, text(answer, name))).to_vec();
    facts.push(("started", ago(&answer["started"], now)));
    facts.push(("moved", ago(&answer["updated"], now)));
    let steps = answer["steps"].as_object().into_iter().flatten();
    let rows: Vec<_> = steps.map(|(name, step)| vec![name.clone(), step_state(step), step.to_string()]).collect();
    format!("{}\n\n{}", pairs(&facts), table(&["step", "state", "more"], &rows, "no step has begun"))
}

/// The request of every verb but the list.
fn ask(args: &Args, context: &Context) -> anyhow::Result<Option<Ask>> {
    let change = |path: String| Ask::change(Door::Public, "POST", path, context.key());
    let prefer = |wait: &Wait| format!("wait={}", wait.wait);
    Ok(Some(match &args.verb {
        None | Some(Verb::List(_) | Verb::Queues(_)) => return Ok(None),
        Some(Verb::Show { id }) => Ask::get(Door::Public, format!("/flow/{}", segment(id))),
        Some(Verb::Start { name, input, wait }) => {
            let input = input.as_deref().map(fields::read_json).transpose()?.unwrap_or_else(|| json!({}));
            change(format!("/flow/start/{}", segment(name))).json(&input).header("prefer", prefer(wait))
        }
        Some(Verb::Resume { id, signal, payload, wait }) => {
            let mut body = json!({});
            if let Some(signal) = signal {
                body["signal"] = signal.as_str().into();
            }
            if let Some(payload) = payload {
                body["payload"] = payload.clone();
            }
            change(format!("/flow/resume/{}", segment(id))).json(&body).header("prefer", prefer(wait))
        }
        Some(Verb::Cancel { id, reason }) => {
            let body = reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            change(format!("/flows/{}/cancel", segment(id))).json(&body)
        }
        Some(Verb::Retry { id }) => change(format!("/flows/{}/retry", segment(id))).json(&json!({})),
    }))
}

/// An answer of 202 names the instance only: it is asked for, so that one command shows where it stands.
fn instance(client: &Client, answer: Value) -> anyhow::Result<Value> {
    match answer["id"].as_str() {
        Some(id) if answer["phase"].is_null() => {
            Ok(client.ask(&Ask::get(Door::Public, format!("/flow/{}", segment(id))))?)
        }
        _ => Ok(answer),
    }
}

/// The step's state: its own word, or the name of the one variant that it is.
fn step_state(step: &Value) -> String {
    let tagged = ["state", "status", "phase"].into_iter().find_map(|name| step[name].as_str());
    let variant = || step.as_str().or_else(|| step.as_object()?.keys().next().map(String::as_str));
    tagged.or_else(variant).unwrap_or_default().to_owned()
}
