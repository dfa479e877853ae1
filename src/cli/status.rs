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

fn shown(answer: &Value) -> String {
    let ready = if answer["ready"] == true { "yes".to_owned() } else { format!("no: {}", text(answer, "reason")) };
    let mut facts = vec![("name", text(answer, "name")), ("base", text(answer, "base"))];
    facts.extend([("version", text(answer, "version")), ("start", text(answer, "incarnation")), ("ready", ready)]);
    facts.push(("active", text(answer, "active")));
    for part in ["counters", "store"] {
        let figures = answer[part].as_object().into_iter().flatten();
        facts.extend(figures.map(|(name, value)| (name.as_str(), value.to_string())));
    }
    pairs(&facts)
}
