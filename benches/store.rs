//! The store beside a plain file with one fdatasync per group and beside redb used plainly, in one run: `cargo bench --bench store`.
//!
//! Arguments after `--`: `--seconds` of each measurement (2), `--records` in the store that is opened after kill -9
//! (1,000,000), `--only group`, `streams`, `read` or `reopen`, `--writers` (1, 32, 256 and 1024); and what one commit of a
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
        let sustained = writers.map(|writers| group::compare(span, writers)).fold(0.0, f64::max);
        let [plain, quick] = [false, true].map(|quick_repair| keyed::run(span, quick_repair));
        println!("\nrecords under keys in redb, 1,000 to a commit: {plain:.0}/s, with quick repair {quick:.0}/s");
        println!(
            "  ours, checkpoints included: {sustained:.0}/s, {:.1} and {:.1} times that",
            sustained / plain,
            sustained / quick
        );
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
