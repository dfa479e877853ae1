//! The verbs of `quickbeam flows` that move one instance, or all that a filter means.

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::WAIT_MAX;
use crate::cli::ago::ago;
use crate::cli::client::{Ask, Client, ClientError, Door, segment};
use crate::cli::context::Context;
use crate::cli::fields;
use crate::cli::list::text;
use crate::cli::progress::Progress;
use crate::cli::table::table;
use crate::clock::Time;

/// Named to people after a walk over many pages; the rest are counted.
const NAMED: usize = 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Tell {
    /// Let a waiting one go on
    Resume {
        #[command(flatten)]
        whom: Whom,
        /// What it waits for, when that is more than one thing
        #[arg(conflicts_with_all = ["filter", "awaited"])]
        signal: Option<String>,
        /// The same; with --where only those are moved that wait for it
        #[arg(id = "awaited", long = "signal", value_name = "SIGNAL")]
        awaited: Option<String>,
        /// What the steps behind see as `payload`: JSON
        #[arg(long, value_name = "JSON", value_parser = fields::json)]
        payload: Option<Value>,
        /// Wait until it comes to rest, at most so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(0..=WAIT_MAX), default_value = "10", conflicts_with = "filter")]
        wait: u8,
    },
    /// Hold it: no step and no try begins
    Pause {
        #[command(flatten)]
        whom: Whom,
    },
    /// Let one that is held go on
    Continue {
        #[command(flatten)]
        whom: Whom,
    },
    /// End it; what it began is undone
    Cancel {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        reason: Option<String>,
    },
    /// End it, and undo nothing
    Kill {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Try now what is paused, stuck or waits for its next try
    Retry {
        #[command(flatten)]
        whom: Whom,
        /// Only this step
        #[arg(long)]
        step: Option<String>,
    },
    /// Begin again from a step
    Restart {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        step: String,
        /// Another input of the instance: JSON
        #[arg(long, value_name = "JSON", value_parser = fields::json)]
        input: Option<Value>,
    },
    /// Change what the next try of a step that stopped is given
    Edit {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        step: String,
        /// Which element, counted from 0
        #[arg(long)]
        item: Option<u32>,
        #[arg(long, value_name = "JSON", value_parser = fields::json)]
        input: Value,
    },
    /// Give a step that stopped or waits a result, or leave an undo that is stuck
    Skip {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        step: String,
        /// Which element, counted from 0
        #[arg(long)]
        item: Option<u32>,
        #[arg(long, value_name = "JSON", value_parser = fields::json)]
        result: Option<Value>,
    },
}

/// One instance, or all that a filter means.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    id: Option<String>,
    /// All of which this is true, such as state=paused, name=order or older_than=7d; several must all be true
    #[arg(long = "where", value_name = "WORD=VALUE", value_parser = word)]
    filter: Vec<(String, String)>,
    /// Only say what it would touch
    #[arg(long, requires = "filter", conflicts_with = "id")]
    dry_run: bool,
}

/// What a filter says.
pub(super) fn word(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((word, value)) if !word.is_empty() && !value.is_empty() => Ok((word.to_owned(), value.to_owned())),
        _ => Err("write WORD=VALUE, for example state=paused".to_owned()),
    }
}

impl Tell {
    /// Who is meant, the word of the verb, and what is given to it.
    fn parts(&self) -> (&Whom, &'static str, Value) {
        let (whom, verb, given) = match self {
            Self::Resume { whom, signal, awaited, payload, wait: _ } => {
                let signal = signal.as_ref().or(awaited.as_ref()).cloned().map(Value::from);
                (whom, "resume", vec![("signal", signal), ("payload", payload.clone())])
            }
            Self::Pause { whom } => (whom, "pause", vec![]),
            Self::Continue { whom } => (whom, "continue", vec![]),
            Self::Cancel { whom, reason } => (whom, "cancel", vec![("reason", reason.clone().map(Value::from))]),
            Self::Kill { whom, reason } => (whom, "kill", vec![("reason", reason.clone().map(Value::from))]),
            Self::Retry { whom, step } => (whom, "retry", vec![("step", step.clone().map(Value::from))]),
            Self::Restart { whom, step, input } => {
                (whom, "restart", vec![("step", Some(step.as_str().into())), ("input", input.clone())])
            }
            Self::Edit { whom, step, item, input } => {
                let item = item.map(Value::from);
                (
                    whom,
                    "edit",
                    vec![("step", Some(step.as_str().into())), ("item", item), ("input", Some(input.clone()))],
                )
            }
            Self::Skip { whom, step, item, result } => {
                let item = item.map(Value::from);
                (whom, "skip", vec![("step", Some(step.as_str().into())), ("item", item), ("result", result.clone())])
            }
        };
        let given = given.into_iter().filter_map(|(word, value)| Some((word.to_owned(), value?)));
        (whom, verb, Value::Object(given.collect()))
    }

    /// Seconds to wait for what comes of it: a resume sets more going than its own turn.
    fn wait(&self) -> Option<u8> {
        match self {
            Self::Resume { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}

pub(super) fn run(tell: &Tell, client: &Client, context: &Context) -> anyhow::Result<()> {
    let (whom, verb, given) = tell.parts();
    if let Some(id) = &whom.id {
        let ask = Ask::change(Door::Public, "POST", format!("/flows/{}/{verb}", segment(id)), context.key());
        let ask = tell.wait().into_iter().fold(ask, |ask, wait| ask.header("prefer", format!("wait={wait}")));
        return super::show(client, &ask.json(&given), context);
    }
    let mut filter = Map::new();
    for (word, value) in &whom.filter {
        if filter.insert(word.clone(), value.as_str().into()).is_some() {
            bail!("{word} is said twice, and one instance cannot have both");
        }
    }
    let body = json!({ "verb": verb, "filter": filter, "with": given, "dry_run": whom.dry_run });
    let answer = all(client, context, body)?;
    context.print(&answer, |answer| shown(answer, context.clock.now()));
    Ok(())
}

/// Page after page, each under a key of its own, so that the whole can be repeated with the same `--key`.
fn all(client: &Client, context: &Context, mut body: Value) -> Result<Value, ClientError> {
    let (key, mut progress) = (context.key(), Progress::new(context));
    let (mut moved, mut refused, mut left) = (0, 0, None);
    let (mut items, mut refusals) = (Vec::new(), Vec::new());
    for page in 0.. {
        let ask = Ask::change(Door::Public, "POST", "/flows/bulk", format!("{key}/{page}"));
        let mut answer = client.ask(&ask.json(&body))?;
        moved += answer["moved"].as_u64().unwrap_or(0);
        refused += answer["refused"].as_u64().unwrap_or(0);
        left = answer["left"].as_u64().map(|more| left.unwrap_or(0) + more).or(left);
        items.append(answer["items"].as_array_mut().unwrap_or(&mut Vec::new()));
        refusals.append(answer["refusals"].as_array_mut().unwrap_or(&mut Vec::new()));
        items.truncate(NAMED);
        refusals.truncate(NAMED);
        progress.told(&format!("{moved} done, {refused} refused"), &json!({ "moved": moved, "refused": refused }));
        let next = answer["next"].take();
        // A list that gives its own place again would never end.
        if next.is_null() || next == body["after"] {
            break;
        }
        body["after"] = next;
    }
    progress.done();
    let mut told = json!({
        "verb": body["verb"], "dry_run": body["dry_run"], "moved": moved, "refused": refused, "items": items,
        "refusals": refusals,
    });
    if let Some(left) = left {
        told["left"] = left.into();
    }
    Ok(told)
}

fn shown(answer: &Value, now: Time) -> String {
    let row = |item: &Value| {
        let cells = ["id", "name", "phase", "object"].map(|name| text(item, name));
        [cells.to_vec(), vec![ago(&item["started"], now)]].concat()
    };
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let rows: Vec<_> = list("items").iter().map(row).collect();
    let (verb, moved, refused) = (text(answer, "verb"), &answer["moved"], &answer["refused"]);
    let would = if answer["dry_run"] == true { "would be told" } else { "told" };
    let left = answer["left"].as_u64().map(|left| format!("; things not taken back: {left}")).unwrap_or_default();
    let mut lines = vec![format!("{moved} {would} to {verb}, {refused} refused{left}")];
    if !rows.is_empty() {
        lines.push(table(&["id", "flow", "was", "about", "started"], &rows, ""));
    }
    let refusals: Vec<_> =
        list("refusals").iter().map(|it| ["id", "name", "why"].map(|name| text(it, name)).to_vec()).collect();
    if !refusals.is_empty() {
        lines.push(table(&["refused", "flow", "why"], &refusals, ""));
    }
    lines.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_filter_has_a_value() {
        assert_eq!(word("city=Bern=3"), Ok(("city".into(), "Bern=3".into())));
        for wrong in ["city", "=x", "city=", ""] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }
}
