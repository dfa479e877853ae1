//! Opening after kill -9: one child fills a store and is killed, another opens it and says what that took.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::store::redb::Options;
use quickbeam::store::{Batch, Engine, Key, Outcome, RedbEngine};

use crate::group::{RECORD_BYTES, STREAMS};
use crate::rig::folder;

const BATCH: u64 = 100;
const AT_ONCE: u64 = 20;

/// Prints what opening a store of so many records takes.
pub(crate) fn run(records: u64) {
    let folder = folder();
    println!("\nopening after kill -9 with {records} records");
    let mut filling = child(&["--fill", &records.to_string()], folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(filling.stdout.take().unwrap()).lines().next();
    assert_eq!(said.unwrap().unwrap(), "filled");
    filling.kill().unwrap();
    filling.wait().unwrap();
    assert!(child(&["--open"], folder.path()).status().unwrap().success());
}

fn child(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env("STORE_BENCH_FOLDER", folder);
    command
}

/// What a child was started for, if this is one.
pub(crate) fn serve() -> bool {
    let Some(folder) = std::env::var_os("STORE_BENCH_FOLDER") else { return false };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--fill", records] => fill(Path::new(&folder), records.parse().unwrap()),
        _ => open(Path::new(&folder)),
    }
    true
}

fn fill(folder: &Path, records: u64) {
    let engine = RedbEngine::open(folder, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let put = |number: u64| {
        let key = Key::build().text("stream").number(number % STREAMS as u64).number(number / STREAMS as u64);
        (key.done(), vec![7; RECORD_BYTES].into())
    };
    for first in (0..records).step_by(usize::try_from(BATCH * AT_ONCE).unwrap()) {
        let batches = (0..AT_ONCE).map(|index| first + index * BATCH).filter(|&first| first < records);
        let batches = batches.map(|first| {
            let puts = (first..(first + BATCH).min(records)).map(put).collect();
            engine.commit(Batch { puts, ..Batch::default() })
        });
        let outcomes = runtime.block_on(join_all(batches));
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))));
    }
    println!("filled");
    // Until it is killed.
    runtime.block_on(std::future::pending())
}

fn open(folder: &Path) {
    let clock = SystemClock::default();
    let before = clock.monotonic();
    let engine = RedbEngine::open(folder, Options::default()).unwrap();
    let took = clock.monotonic() - before;
    let stats = engine.stats();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(matches!(runtime.block_on(engine.commit(Batch::default())), Outcome::Committed(_)));
    println!(
        "  {:.3} s, {} rows replayed; memory {}, at most {}; log {} MiB, table {} MiB",
        took.as_secs_f64(),
        stats.overlay_rows,
        memory("VmRSS:"),
        memory("VmHWM:"),
        stats.log.bytes >> 20,
        stats.table.bytes >> 20,
    );
}

fn memory(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kib: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    format!("{} MiB", kib >> 10)
}
