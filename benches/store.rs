//! The store beside a plain file with one fdatasync per group and beside redb used plainly, in one run: `cargo bench --bench store`.
//!
//! Arguments after `--`: `--seconds` of each measurement (2), `--records` in the store that is opened after kill -9
//! (1,000,000), `--only group`, `sustained`, `streams`, `read` or `reopen`, `--writers` (1, 32, 256 and 1024); and what one commit of a
//! checkpoint writes: `--checkpoint-rows`, `--checkpoint-bytes`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::time::Duration;

mod rig;

#[path = "store/group.rs"]
mod group;
#[path = "store/keyed.rs"]
mod keyed;
#[path = "store/reopen.rs"]
mod reopen;
#[path = "store/streams.rs"]
mod streams;

use rig::{argument, disk};

/// Longer than the overlay can hide the table.
const SUSTAINED: u32 = 3;
const ROUNDS: usize = 3;
const WRITERS: [usize; 4] = [1, 32, 256, 1024];

fn main() {
    if reopen::serve() {
        return;
    }
    let span = Duration::from_secs_f64(argument("--seconds", 2.0));
    let only: String = argument("--only", String::new());
    let wanted = |name| only.is_empty() || only == name;
    disk::probe();
    println!(
        "{}-byte records, {} streams, {span:?} each; share = records/s : plain file",
        group::RECORD_BYTES,
        group::STREAMS
    );
    if wanted("group") {
        let only = argument("--writers", 0);
        let writers = WRITERS.into_iter().filter(|&writers| only == 0 || only == writers);
        writers.for_each(|writers| group::compare(span, writers));
    }
    if wanted("sustained") {
        sustained(span);
    }
    if wanted("streams") {
        streams::append(span);
    }
    if wanted("read") {
        streams::read();
    }
    if wanted("reopen") {
        reopen::run(argument("--records", 1_000_000));
    }
    disk::probe();
}

/// In rounds, since the disk changes its mind.
fn sustained(span: Duration) {
    println!("\na thousand records to a commit, until the table has them all");
    for _ in 0..ROUNDS {
        let plain = keyed::run(SUSTAINED * span, false);
        let [one, four] = [1, 4].map(|at_once| keyed::ours(SUSTAINED * span, at_once));
        println!(
            "  redb {plain:.0}/s; ours {one:.0}/s one commit at a time, {four:.0}/s four: {:.1} and {:.1} times that",
            one / plain,
            four / plain
        );
    }
}
