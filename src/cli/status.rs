//! `quickbeam status`: whether the node is well, and its counters.

use serde_json::Value;

use super::client::{Ask, Door};
use super::context::Context;
use super::list::text;
use super::table::pairs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> anyhow::Result<()> {
    let answer = context.client()?.ask(&Ask::get(Door::Admin, "/admin/status"))?;
    context.print(&answer, shown);
    Ok(())
}

fn backup(last: &Value) -> String {
    match (last["at"].as_str(), last["failed"].as_str()) {
        (None, _) => "never, while the node ran".to_owned(),
        (Some(at), None) => format!("{at}, {} rows", last["rows"]),
        (Some(at), Some(failed)) => {
            let good = last["good"].as_str().unwrap_or("never, while the node ran");
            format!("{at}, FAILED: {failed}; the last good one: {good}")
        }
    }
}

fn scrub(scrub: &Value) -> String {
    let last = &scrub["last"];
    if scrub["running"] == true {
        return format!("under way, {} rows so far", scrub["rows"]);
    }
    match (last["at"].as_str(), last["failed"].as_str(), last["damages"].as_u64().unwrap_or(0)) {
        (None, ..) => "never".to_owned(),
        (Some(at), Some(failed), _) => format!("{at}, failed: {failed}"),
        (Some(at), None, 0) => format!("{at}, {} rows, nothing is damaged", last["rows"]),
        (Some(at), None, damages) => format!("{at}, {damages} THINGS ARE DAMAGED: see `quickbeam journal verify`"),
    }
}

fn shown(answer: &Value) -> String {
    let ready = if answer["ready"] == true { "yes".to_owned() } else { format!("no: {}", text(answer, "reason")) };
    let mut facts = vec![("name", text(answer, "name")), ("base", text(answer, "base"))];
    facts.extend([("version", text(answer, "version")), ("start", text(answer, "incarnation")), ("ready", ready)]);
    if answer["held"] == true {
        facts.push(("held", "sends and fires nothing: see `quickbeam continue --dry-run`".to_owned()));
    }
    facts.push(("active", text(answer, "active")));
    if answer["failed"].as_u64().is_some_and(|failed| failed > 0) {
        facts.push(("failed actors", format!("{}: see `quickbeam actors --state failed`", answer["failed"])));
    }
    facts.extend([("last backup", backup(&answer["last_backup"])), ("last scrub", scrub(&answer["scrub"]))]);
    for part in ["counters", "store"] {
        let figures = answer[part].as_object().into_iter().flatten();
        facts.extend(figures.map(|(name, value)| (name.as_str(), value.to_string())));
    }
    pairs(&facts)
}
