//! What the benchmarks share: children and what they cost, a disk probe, peers that sign, and load from many connections.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![allow(dead_code, reason = "each benchmark takes a part of this")]

use std::os::unix::fs::MetadataExt;

pub(crate) mod caller;
pub(crate) mod counts;
pub(crate) mod crowd;
pub(crate) mod disk;
pub(crate) mod floor;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod node;
pub(crate) mod peers;
pub(crate) mod plain;
pub(crate) mod process;
pub(crate) mod runtime;
pub(crate) mod server;

/// In which the system counts what a file takes.
const BLOCK: u64 = 512;

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What the files of a node's store take on the disk: of a table that has grown ahead not what is still a hole.
pub(crate) fn disk_use(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder.join("data/store")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * BLOCK).sum()
}

/// Beside the build, so that it is the disk under the source and not one in memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let here = std::env::current_exe().unwrap();
    tempfile::tempdir_in(here.parent().unwrap()).unwrap()
}

/// The argument behind `name`, or what is usual.
pub(crate) fn argument<T: std::str::FromStr>(name: &str, usual: T) -> T {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    match arguments.next() {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{text} is no value of {name}")),
        None => usual,
    }
}
