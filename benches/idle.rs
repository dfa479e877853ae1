//! What a node costs that does nothing, and how soon it works again after kill -9: `cargo bench --bench idle`.
//!
//! Arguments after `--`: `--flows` that wait (50000), `--actors` in memory (10000), `--starts` after kill -9 (5).

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::runtime::Limits;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::config::template::Template;
use serde_json::{Value, json};

mod rig;

use rig::load::Load;
use rig::node::{Node, Recipe};
use rig::runtime::{Command as Order, Counter, Rig};
use rig::{argument, disk, disk_use, median};

const MIB: f64 = 1024.0 * 1024.0;
/// Long enough for what a start leaves to be done.
const REST: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 64;
const LOAD_MAX: Duration = Duration::from_secs(600);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let actors = argument("--actors", 10_000);
    if let Some(at) = arguments.iter().position(|argument| argument == "awake") {
        return awake(Path::new(&arguments[at + 1]), actors);
    }
    disk::probe();
    active_actors(actors);
    suspended_flows(argument("--flows", 50_000), argument("--starts", 5));
    disk::probe();
}

/// Actors that have something stored and nothing to do: woken in a process of its own, where nothing else is.
fn active_actors(actors: usize) {
    let folder = rig::folder();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.arg("awake").arg(folder.path()).arg("--actors").arg(actors.to_string());
    // The first run makes them, the second finds them passive.
    for _ in 0..2 {
        let done = child.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        if let Some(line) = text.lines().find(|line| line.starts_with("active")) {
            println!("{line}");
        }
    }
}

fn awake(folder: &Path, actors: usize) {
    let limits = Limits { idle: Duration::from_secs(3_600), ..Limits::default() };
    actix_rt::System::new().block_on(async {
        let rig = Rig::start(folder, limits, Template::Empty, Kinds::default().with::<Counter>()).await;
        let (look, found) = (rig.ask("counter-0", Order::Look).await > 0, own_memory());
        for actor in 0..actors {
            rig.ask(&format!("counter-{actor}"), if look { Order::Look } else { Order::Count }).await;
        }
        if look {
            let each = (own_memory() - found) / actors as f64;
            println!("active actors: {each:.0} bytes of memory each ({actors} of them, a state of 8 bytes)");
        }
        rig.engine.checkpoint().await.unwrap();
        rig.engine.close();
    });
}

fn own_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

fn suspended_flows(flows: usize, starts: usize) {
    let folder = rig::folder();
    let recipe = Recipe::write(folder.path(), Template::Blog, Vec::new(), "");
    let node = recipe.start();
    std::thread::sleep(REST);
    let empty = node.process.resident();
    println!("an idle node: {:.1} MiB", empty as f64 / MIB);
    let before = disk_use(folder.path());
    start_flows(&recipe, &node, flows);
    let after = disk_use(folder.path());
    println!(
        "suspended flows: {:.0} bytes on disk each ({flows} of them), {:.1} MiB of memory in all just after they were started",
        (after - before) as f64 / flows as f64,
        node.process.resident() as f64 / MIB,
    );
    node.process.kill();
    starts_after_kill(&recipe, flows, starts, empty);
}

fn starts_after_kill(recipe: &Recipe, flows: usize, starts: usize, empty: u64) {
    let (clock, mut took) = (SystemClock::default(), Vec::new());
    for number in 0..starts {
        let start = clock.monotonic();
        let node = recipe.launch();
        let work = json!({ "object": { "category": "newsletter", "title": format!("again {number}") } });
        while !matches!(node.public.ask("POST", "/flow/start/digest", &work), Some((200..=299, _))) {
            std::thread::sleep(Duration::from_millis(1));
        }
        took.push((clock.monotonic() - start).as_secs_f64());
        std::thread::sleep(REST);
        let resident = node.process.resident();
        let each = resident.saturating_sub(empty) as f64 / flows as f64;
        println!(
            "start after kill -9 with {flows} suspended flows: first accepted work after {:.3} s, then {:.1} MiB ({each:.0} bytes more for each flow than an empty node)",
            took[number],
            resident as f64 / MIB,
        );
        node.process.kill();
    }
    println!("median {:.3} s", median(took));
}

fn start_flows(recipe: &Recipe, node: &Node, flows: usize) {
    let mut load = Load::default();
    for number in 0..flows {
        let body = json!({ "object": { "category": "newsletter", "title": format!("letter {number}") } }).to_string();
        let request = format!(
            "POST /flow/start/digest HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nidempotency-key: {number}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            recipe.public,
            node.public.token,
            body.len()
        );
        load.push(request.as_bytes());
    }
    let found = load.send(recipe.public, CONNECTIONS, LOAD_MAX);
    assert_eq!((found.answered, found.refusal.as_deref()), (flows, None));
    let one = node.public.must("GET", "/flows?state=suspended&limit=1", &Value::Null);
    assert_eq!(one["items"][0]["phase"], "suspended");
    println!("{flows} flows started at {:.0}/s over {CONNECTIONS} connections", found.rate());
}
