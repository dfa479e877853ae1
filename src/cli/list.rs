//! Lists of a node: one page, or all of them.

use serde_json::Value;

use super::client::{Ask, Client, ClientError};

/// What every list takes.
#[derive(Debug, clap::Args)]
pub(super) struct Paging {
    /// All of it, page after page
    #[arg(long, conflicts_with_all = ["after", "limit"])]
    all: bool,
    /// How many, at most 200
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: Option<u16>,
    /// Where to go on: the `next` of the page before
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
}

/// Items of a page as the node gives them, with `next` when there are more, and whatever else it says of the list.
pub(super) fn fetch(client: &Client, ask: &Ask, paging: &Paging) -> Result<Value, ClientError> {
    let limit = paging.limit.map(|limit| limit.to_string()).or_else(|| paging.all.then(|| "200".to_owned()));
    let mut after = paging.after.clone();
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    loop {
        let mut page = ask.clone();
        page.query.extend(limit.iter().map(|limit| ("limit".to_owned(), limit.clone())));
        page.query.extend(after.iter().map(|after| ("after".to_owned(), after.clone())));
        let mut answer = client.ask(&page)?;
        items.extend(answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        left_out.extend(answer["left_out"].as_array_mut().map(std::mem::take).unwrap_or_default());
        let next = answer["next"].as_str().map(str::to_owned);
        match next {
            // A list that gives its own place again would never end.
            Some(next) if paging.all && after.as_deref() != Some(&next) => after = Some(next),
            next => {
                let next = next.filter(|_| !paging.all);
                let left_out = Some(Value::from(left_out)).filter(|left_out| left_out.as_array() != Some(&Vec::new()));
                let whole = [("items", Some(items.into())), ("next", next.map(Value::from)), ("left_out", left_out)];
                for (name, value) in whole {
                    match (answer.as_object_mut(), value) {
                        (Some(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
                        (Some(fields), None) => drop(fields.remove(name)),
                        (None, _) => {}
                    }
                }
                return Ok(answer);
            }
        }
    }
}

/// The items of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Lines for people: what the list lacks, and that there is more.
pub(super) fn more(list: &Value) -> String {
    let lost = |one: &Value| format!("\n\nleft out: {}: {}", text(one, "what"), text(one, "reason"));
    let left_out: String = list["left_out"].as_array().into_iter().flatten().map(lost).collect();
    let next = list["next"].as_str().map(|next| format!("\n\nmore: --after {next}, or --all"));
    left_out + &next.unwrap_or_default()
}

/// A text of an item, empty when it has none.
pub(super) fn text(item: &Value, name: &str) -> String {
    match &item[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}
