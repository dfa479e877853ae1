//! `quickbeam schedules`: what begins by itself, when it did and will, and the verbs that move it.

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use super::ago::ago;
use super::client::{Ask, Door, segment};
use super::context::Context;
use super::list::{self, items, more, text};
use super::table::{pairs, table};
use crate::clock::Time;
use crate::domains::schedule::Overlap;

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
    /// All schedules, by name
    List(list::Paging),
    /// One schedule: its next ticks, and what it began, the newest first
    Show {
        name: String,
        #[command(flatten)]
        paging: list::Paging,
    },
    /// Begin nothing until `continue`; ticks of that time are not made up for
    Pause {
        name: String,
        /// Why, for others to see
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a paused one go on
    Continue { name: String },
    /// Begin an instance now, whenever the next tick is and also while it is paused
    Fire {
        name: String,
        /// What to do when an earlier one has not ended, unless it is to be as declared
        #[arg(long, value_parser = PossibleValuesParser::new(Overlap::ALL.map(Overlap::word)))]
        overlap: Option<String>,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let now = || context.clock.now();
    let paging = match &args.verb {
        None => &args.list,
        Some(Verb::List(paging)) => paging,
        Some(Verb::Show { name, paging }) => {
            let ask = Ask::get(Door::Public, format!("/flows/schedules/{}", segment(name)));
            let mut answer = client.ask(&ask)?;
            let runs = list::fetch(&client, &ask, paging)?;
            (answer["items"], answer["next"]) = (runs["items"].clone(), runs["next"].clone());
            answer["left_out"] = runs["left_out"].clone();
            context.print(&answer, |answer| shown(answer, now()));
            return Ok(());
        }
        Some(Verb::Pause { name, reason }) => return tell(name, "pause", ("reason", reason), context),
        Some(Verb::Continue { name }) => return tell(name, "continue", ("reason", &None), context),
        Some(Verb::Fire { name, overlap }) => return tell(name, "fire", ("overlap", overlap), context),
    };
    let answer = list::fetch(&client, &Ask::get(Door::Public, "/flows/schedules"), paging)?;
    context.print(&answer, |answer| shown_list(answer, now()));
    Ok(())
}

fn tell(name: &str, verb: &str, (word, value): (&str, &Option<String>), context: &Context) -> anyhow::Result<()> {
    let body: Map<String, Value> = value.iter().map(|value| (word.to_owned(), value.as_str().into())).collect();
    let path = format!("/flows/schedules/{}/{verb}", segment(name));
    let ask = Ask::change(Door::Public, "POST", path, context.key()).json(&Value::Object(body));
    let answer = context.client()?.ask(&ask)?;
    context.print(&answer, |answer| match &answer["fired"] {
        Value::Null => shown(answer, context.clock.now()),
        fired if fired["waits"] == true => format!("{} begins when those before it have ended", text(fired, "flow")),
        fired => format!("{} has begun; `quickbeam flows show {0}` says how it goes", text(fired, "flow")),
    });
    Ok(())
}

fn shown_list(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["name", "flow", "when"].map(|name| text(item, name)).to_vec();
        let counts = vec![text(item, "running"), text(item, "begun"), missed(item), text(item, "skipped")];
        [cells, vec![next(item, now), ago(&item["last"], now)], counts].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let head = ["schedule", "flow", "when", "next", "last", "running", "begun", "missed", "skipped"];
    table(&head, &rows, "no schedule is declared") + &more(answer)
}

fn next(item: &Value, now: Time) -> String {
    if item["paused"].is_null() { ago(&item["due"], now) } else { "paused".to_owned() }
}

fn missed(item: &Value) -> String {
    text(item, "missed") + if item["missed_more"] == true { "+" } else { "" }
}

fn shown(answer: &Value, now: Time) -> String {
    let mut facts: Vec<_> = ["name", "flow", "when", "overlap"].map(|name| (name, text(answer, name))).to_vec();
    let paused = &answer["paused"];
    if !paused.is_null() {
        let by = paused["by"].as_str().unwrap_or("the configuration");
        let reason = paused["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        facts.push(("paused", format!("{} by {by}{reason}", ago(&paused["at"], now))));
    }
    facts.push(("next", text(answer, "times")));
    if !answer["waiting"].is_null() {
        facts.push(("waits", format!("the tick of {}", text(&answer["waiting"], "due"))));
    }
    facts.push(("running", text(answer, "running")));
    facts.push(("begun", text(answer, "begun")));
    facts.push(("missed", missed(answer)));
    facts.push(("skipped", text(answer, "skipped")));
    facts.push(("input", answer["input"].to_string()));
    let row = |run: &Value| {
        let cells = ["due", "flow", "phase"].map(|name| text(run, name)).to_vec();
        [cells, vec![ago(&run["at"], now), missed(run), text(run, "by")]].concat()
    };
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let head = ["due", "instance", "state", "begun", "missed", "by"];
    format!("{}\n\n{}", pairs(&facts), table(&head, &rows, "it has begun nothing yet")) + &more(answer)
}
