//! Instances that wait for a signal: what each takes on disk and in memory, how soon a killed node works again, and how
//! fast all of them go on, one by one and in bulk, with another kill in the middle; then every one is counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::contest::Bench;
use crate::instances::{self, CALLERS};
use crate::rig::caller::Call;
use crate::rig::node::{Node, Recipe, free_port};
use crate::rig::{self, argument, disk_use};
use crate::settings;

const MIB: f64 = 1024.0 * 1024.0;
/// Long enough for what a start leaves to be done.
const REST: Duration = Duration::from_secs(3);
const SIGNAL: &str = "{\"signal\": \"go\"}";
const BULK_PAGE: u64 = 200;

pub(crate) fn run(bench: &mut Bench) {
    let count: u64 = argument("--instances", 50_000);
    let folder = rig::folder();
    let recipe = settings::recipe(folder.path(), "notify", free_port());
    let node = recipe.start();
    std::thread::sleep(REST);
    let (empty, files) = (node.process.resident(), disk_use(folder.path()));
    let ids = folder.path().join("ids");
    let started = instances::start(&node, "gate", r#"{"n": {n}}"#, count, &ids);
    let each = (disk_use(folder.path()) - files) as f64 / count as f64;
    let busy = node.process.resident();
    bench.report.say(&format!(
        "{count} suspended, started at {:.0}/s with {CALLERS} callers: {each:.0} bytes of disk each; {:.1} MiB of memory, {:.1} before",
        started.rate(), busy as f64 / MIB, empty as f64 / MIB,
    ));
    bench.report.note(json!({
        "instances": count, "started_per_s": started.rate(), "disk_bytes_each": each,
        "memory_bytes_empty": empty, "memory_bytes_started": busy,
    }));
    node.process.kill();

    let lines = std::fs::read_to_string(&ids).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let (node, took) = first_work(&recipe, lines[0]);
    std::thread::sleep(REST);
    let memory = node.process.resident();
    bench.report.say(&format!(
        "after kill -9: first resume accepted after {took:.3} s; {:.1} MiB of memory {} s later",
        memory as f64 / MIB,
        REST.as_secs()
    ));
    bench.report.note(json!({ "first_work_after_kill_s": took, "memory_bytes_after_start": memory }));
    resume_all(bench, &recipe, node, &lines, folder.path());
    the_peer(bench, count);
}

/// A new process, and how long it takes until it has accepted a signal for this instance.
fn first_work(recipe: &Recipe, id: &str) -> (Node, f64) {
    let clock = SystemClock::default();
    let node = recipe.launch();
    let signal = json!({ "signal": "go" });
    while !matches!(node.public.ask("POST", &format!("/flow/resume/{id}"), &signal), Some((200..=299, _))) {
        std::thread::sleep(Duration::from_millis(1));
    }
    (node, clock.monotonic().as_secs_f64())
}

fn resume_all(bench: &mut Bench, recipe: &Recipe, node: Node, ids: &[&str], folder: &Path) {
    let (half, file) = (ids.len() / 2, folder.join("some"));
    std::fs::write(&file, ids[1..half].join("\n")).unwrap();
    let call = settings::post(&node, "/flow/resume/{id}", SIGNAL);
    let single = Call { connections: CALLERS, ids: Some(file), ..call }.send();
    assert_eq!(single.answered as usize, half - 1);
    let mut most = node.process.resident_at_most();
    // What was accepted a moment ago has to go on all the same.
    node.process.kill();
    let node = recipe.start();
    let (clock, rest) = (SystemClock::default(), ids.len() - half);
    let moved = bulk(&node);
    assert_eq!(moved as usize, rest, "every one that was left was told");
    let told = clock.monotonic().as_secs_f64();
    instances::wait_until_none(&node, &["suspended", "running"]);
    let done = clock.monotonic().as_secs_f64();
    most = most.max(node.process.resident_at_most());
    let (lost, twice) = counted(&node, ids.len());
    let all = ids.len() as f64 / (half as f64 / single.rate() + done);
    bench.report.say(&format!(
        "resumed one by one at {:.0}/s (p99 {:.1} ms), in bulk at {:.0}/s, done at {:.0}/s, all at {all:.0}/s; of {} lost {lost}, done twice {twice}; at most {:.1} MiB of memory",
        single.rate(), single.p99, moved as f64 / told, rest as f64 / done, ids.len(), most as f64 / MIB,
    ));
    bench.report.note(json!({
        "one_by_one_per_s": single.rate(), "one_by_one_p99_ms": single.p99, "bulk_per_s": moved as f64 / told,
        "bulk_done_per_s": rest as f64 / done, "all_per_s": all, "lost": lost, "twice": twice, "memory_bytes_most": most,
    }));
    assert_eq!((lost, twice), (0, 0));
}

/// Tells all that still wait, page after page.
fn bulk(node: &Node) -> u64 {
    let mut body = json!({
        "verb": "resume", "filter": { "name": "gate", "state": "suspended" }, "with": { "signal": "go" }, "limit": BULK_PAGE,
    });
    let mut moved = 0;
    loop {
        let answer = node.public.must("POST", "/flows/bulk", &body);
        assert_eq!(answer["refused"], 0, "{answer}");
        moved += answer["moved"].as_u64().unwrap();
        match answer["next"].as_str() {
            Some(next) => body["after"] = next.into(),
            None => return moved,
        }
    }
}

/// How many numbers no notice names, and how many more than one.
fn counted(node: &Node, count: usize) -> (usize, usize) {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for notice in instances::all(node, "/api/streams/notices") {
        let number = |value: &Value| value["text"].as_str().unwrap().parse().unwrap();
        *seen.entry(number(&notice["value"])).or_default() += 1;
    }
    let lost = (0..count).filter(|number| !seen.contains_key(number)).count();
    (lost, seen.values().filter(|times| **times > 1).count())
}

/// How fast the other side accepts as many, and the signals for them.
fn the_peer(bench: &mut Bench, count: u64) {
    let Some(peer) = &bench.peer else { return };
    let first = SystemClock::default().now().0;
    let all = |call: Call| Call { connections: CALLERS, count, first, ..call }.send();
    let (begun, resumed) = (all(peer.suspend()), all(peer.resume()));
    bench.report.say(&format!("peer: begun at {:.0}/s, signals accepted at {:.0}/s", begun.rate(), resumed.rate()));
    bench.report.note(json!({ "peer_started_per_s": begun.rate(), "peer_resumed_per_s": resumed.rate() }));
}
