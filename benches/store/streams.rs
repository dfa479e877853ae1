//! Streams: many that are appended to at once, and one that is read.

use std::time::Duration;

use bytes::Bytes;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::store::redb::Options;
use quickbeam::store::streams::{Expected, Streams};
use quickbeam::store::{Direction, Engine, Fence, Key, RedbEngine};

use crate::group::{self, RECORD_BYTES, STREAMS};
use crate::rig::folder;

const READ_RECORDS: u64 = 100_000;
const PAGE: usize = 1_000;
const ROUNDS: u32 = 5;

fn streams() -> Streams {
    Streams::under(Key::build().text("program").text("bench").done(), Fence::default())
}

/// Every stream has one appender that waits for its record; what is left in the overlay goes to the table at the end.
pub(crate) fn append(span: Duration) {
    let folder = folder();
    let engine = RedbEngine::open(folder.path(), group::options()).unwrap();
    let streams = streams();
    let value = Bytes::from(vec![7; RECORD_BYTES]);
    let found = group::run(span, STREAMS, |writer, _| {
        let (streams, engine, value) = (&streams, &engine, value.clone());
        Box::pin(async move {
            let name = format!("stream-{writer}");
            streams.append(engine, &name, Expected::Any, vec![value]).await.unwrap();
        })
    });
    println!("\n{STREAMS} appending streams, a record and a counter each");
    found.show("store, checkpoints", found.per_second);
    group::explain(&engine.stats(), RECORD_BYTES);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.checkpoint()).unwrap();
    println!("  with a last checkpoint, after which the table has it all:");
    group::explain(&engine.stats(), RECORD_BYTES);
}

/// One stream, page by page, all of it in the cache.
pub(crate) fn read() {
    let folder = folder();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    let streams = streams();
    let clock = SystemClock::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("\none stream of {READ_RECORDS} records, read in pages of {PAGE}");
    runtime.block_on(async {
        for _ in 0..READ_RECORDS / PAGE as u64 {
            let values = vec![Bytes::from(vec![7; RECORD_BYTES]); PAGE];
            streams.append(&engine, "one", Expected::Any, values).await.unwrap();
        }
        let rate = best(&clock, &streams, &engine).await;
        println!("  from the overlay {rate:>9.0} records/s");
        engine.checkpoint().await.unwrap();
        let rate = best(&clock, &streams, &engine).await;
        println!("  from the table   {rate:>9.0} records/s");
    });
}

async fn best(clock: &SystemClock, streams: &Streams, engine: &dyn Engine) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        let before = clock.monotonic();
        let mut next = 1;
        while next <= READ_RECORDS {
            let page = streams.read(engine, "one", next..=READ_RECORDS, PAGE, Direction::Forward).await.unwrap();
            next += page.len() as u64;
        }
        best = best.max(READ_RECORDS as f64 / (clock.monotonic() - before).as_secs_f64());
    }
    best
}
