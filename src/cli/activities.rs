//! `quickbeam activities`: what came in and went out, the newest first.

use serde_json::Value;

use super::ago::ago;
use super::client::{Ask, Client, ClientError, Door, segment};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::{pairs, table};
use crate::actors::deliveries::State;
use crate::clock::Time;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    paging: list::Paging,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All of them
    List(list::Paging),
    /// One with all that is known of it: its signature, what it set off, who has it
    Show {
        /// Its id, or its ulid in the log of this node
        activity: String,
    },
    /// Who has one that this node sent, who waits for it, who refused it and why
    Deliveries(Deliveries),
}

#[derive(Debug, clap::Args)]
struct Deliveries {
    /// Its id, or the end of that
    activity: String,
    /// Only those that stand so
    #[arg(long, value_parser = State::WORDS)]
    state: Option<String>,
    #[command(flatten)]
    paging: list::Paging,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    match &args.verb {
        Some(Verb::Deliveries(Deliveries { activity, state, paging })) => {
            let ulid = activity.rsplit('/').next().unwrap_or_default();
            let ask = Ask::get(Door::Public, format!("/activities/{}/deliveries", segment(ulid)));
            let ask = state.iter().fold(ask, |ask, state| ask.query("state", state));
            let answer = list::fetch(&client, &ask, paging)?;
            context.print(&answer, |answer| went(answer, context.clock.now()));
        }
        Some(Verb::Show { activity }) => {
            let answer = client.ask(&Ask::get(Door::Admin, "/admin/activity").query("id", activity))?;
            context.print(&answer, |answer| one(answer, context.clock.now()));
        }
        Some(Verb::List(paging)) => listed(&client, paging, context)?,
        None => listed(&client, &args.paging, context)?,
    }
    Ok(())
}

fn listed(client: &Client, paging: &list::Paging, context: &Context) -> Result<(), ClientError> {
    let answer = list::fetch(client, &Ask::get(Door::Public, "/activities"), paging)?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

fn one(answer: &Value, now: Time) -> String {
    let way = if answer["way"] == "received" { "came" } else { "went out" };
    let mut facts = vec![("activity", text(answer, "id")), (way, ago(&answer["at"], now))];
    facts.extend(["verb", "actor", "object", "target"].map(|name| (name, text(answer, name))));
    if let Some(signed) = answer["signed"].as_object() {
        let word = |name: &str| signed.get(name).and_then(Value::as_str).unwrap_or_default();
        facts.push(("signed", format!("{} with {}, key {}", word("form"), word("algorithm"), word("key_id"))));
    }
    if let Some(flow) = answer["flow"].as_str() {
        facts.push(("set off", format!("flow {flow}: `quickbeam flows show {flow}`")));
    }
    if let Some(counts) = answer["deliveries"].as_object() {
        let count = |name: &str| counts.get(name).map(ToString::to_string).unwrap_or_default();
        let (delivered, waiting, given_up) = (count("delivered"), count("waiting"), count("given_up"));
        facts.push(("deliveries", format!("{delivered} have it, {waiting} wait for it, {given_up} were given up")));
    }
    let facts: Vec<_> = facts.into_iter().filter(|(_, fact)| !fact.is_empty()).collect();
    format!("{}\n\n{:#}", pairs(&facts), answer["activity"])
}

fn went(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["to", "state", "attempts"].map(|name| text(item, name));
        [cells.to_vec(), vec![ago(&item["since"], now), ago(&item["at"], now), text(item, "why")]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let counts = &answer["counts"];
    let first = format!(
        "{} of {}: {} have it, {} wait for it, {} were given up\n\n",
        text(answer, "verb"),
        text(answer, "object"),
        counts["delivered"],
        counts["waiting"],
        counts["given_up"]
    );
    let heads = ["to", "state", "tries", "queued", "done", "why not"];
    first + &table(&heads, &rows, "it goes to nobody, or what became of it was forgotten") + &more(answer)
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let way = if item["way"] == "received" { "in" } else { "out" };
        let cells = ["verb", "actor", "object", "target"].map(|name| text(item, name));
        [vec![ago(&item["at"], now), way.to_owned()], cells.to_vec()].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    table(&["when", "", "what", "who", "about", "where to"], &rows, "no activities yet") + &more(answer)
}
