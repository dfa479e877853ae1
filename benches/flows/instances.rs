//! Many instances at once: starting them, waiting for them, and looking at the lists.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::caller::{Call, Found};
use crate::rig::node::Node;
use crate::settings;

/// Callers when it is the number of instances that counts.
pub(crate) const CALLERS: usize = 64;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Distinct values of what instances are searched by.
pub(crate) const CITIES: u64 = 50;

/// Starts so many of a flow, numbered from 0, and keeps their ids in a file, one to a line.
pub(crate) fn start(node: &Node, flow: &str, body: &str, count: u64, ids: &Path) -> Found {
    let call = settings::post(node, &format!("/flow/start/{flow}"), body);
    let found = Call { connections: CALLERS, count, keys: CITIES, collect: Some(ids.to_owned()), ..call }.send();
    assert_eq!(found.answered, count);
    node.wait_until_quiet();
    found
}

/// Whether the list of this state has anything.
pub(crate) fn any(node: &Node, state: &str) -> bool {
    let page = node.public.must("GET", &format!("/flows?state={state}&limit=1"), &Value::Null);
    page["items"].as_array().is_some_and(|items| !items.is_empty())
}

/// Returns when no instance stands in any of these states.
pub(crate) fn wait_until_none(node: &Node, states: &[&str]) {
    while states.iter().any(|state| any(node, state)) {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// All entries of a list, page by page.
pub(crate) fn all(node: &Node, path: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = node.public.must("GET", &format!("{path}{join}limit=200{after}"), &Value::Null);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return items };
        after = format!("&after={next}");
    }
}
