//! Pages of 50 out of a long list of instances, with the filters that people use.

use serde_json::{Value, json};

use crate::contest::Bench;
use crate::instances::{self, CITIES};
use crate::rig::caller::Call;
use crate::rig::node::{Node, free_port};
use crate::rig::{self, argument};
use crate::settings;

const CALLERS: [usize; 2] = [1, 8];
/// Pages that are turned before a page deep in the list is measured.
const TURNED: usize = 40;

pub(crate) fn run(bench: &mut Bench) {
    let count: u64 = argument("--instances", 50_000);
    let folder = rig::folder();
    let node = settings::recipe(folder.path(), "notify", free_port()).start();
    let body = r#"{"n": {n}, "city": "city-{key}"}"#;
    let started = instances::start(&node, "room", body, count, &folder.path().join("ids"));
    bench.report.say(&format!("{count} instances, started at {:.0}/s", started.rate()));
    let deep = format!("/flows?state=suspended&limit=50&after={}", deep(&node));
    let asked = [
        ("all", "/flows?limit=50"),
        ("by state", "/flows?state=suspended&limit=50"),
        ("by flow", "/flows?name=room&limit=50"),
        ("by flow and state", "/flows?name=room&state=suspended&limit=50"),
        ("by a declared field", "/flows?city=city-{key}&limit=50"),
        ("by a declared field and state", "/flows?city=city-{key}&state=suspended&limit=50"),
        ("by state, deep in the list", deep.as_str()),
    ];
    for (what, path) in asked {
        for callers in CALLERS {
            page(bench, &settings::get(&node, path), what, callers);
        }
    }
}

fn page(bench: &mut Bench, call: &Call, what: &str, callers: usize) {
    let seconds = bench.span.as_secs_f64();
    let found = Call { connections: callers, keys: CITIES, seconds, expect: "room".into(), ..call.clone() }.send();
    bench.report.say(&format!(
        "  {what:30} {callers} callers  {:>6.0}/s  p50 {:6.2} ms  p99 {:6.2} ms  longest {:6.2} ms",
        found.rate(),
        found.p50,
        found.p99,
        found.longest,
    ));
    bench.report.note(json!({ "what": what, "callers": callers, "rate": found.rate(), "found": found }));
}

/// Where a page deep in the list begins.
fn deep(node: &Node) -> String {
    let mut after = String::new();
    for _ in 0..TURNED {
        let page = node.public.must("GET", &format!("/flows?state=suspended&limit=200{after}"), &Value::Null);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    after.trim_start_matches("&after=").to_owned()
}
