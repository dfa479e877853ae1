//! `quickbeam flows runners`: who runs the flows of a node, in the order in which they are asked.

use serde_json::Value;

use super::client::{Ask, Client, Door};
use super::context::Context;
use super::list::{items, text};
use super::table::table;

pub(super) fn run(context: &Context, client: &Client) -> anyhow::Result<()> {
    let answer = client.ask(&Ask::get(Door::Public, "/flows/runners"))?;
    context.print(&answer, shown);
    Ok(())
}

fn shown(answer: &Value) -> String {
    let row = |item: &Value| ["url", "state", "protocol", "kinds", "error"].map(|name| text(item, name)).to_vec();
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    let runners = table(&["runner", "is", "speaks", "does", "trouble"], &rows, "nobody runs flows");
    let allowed: Vec<&str> =
        answer["kernel"]["allow"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match allowed.is_empty() {
        true => runners,
        false => format!("{runners}\n\nruns flows of {}", allowed.join(", ")),
    }
}
