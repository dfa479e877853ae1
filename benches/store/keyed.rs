//! A thousand records to a commit under (stream, sequence) keys: the store, and redb used plainly.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::store::{Batch, Engine, Key, Outcome, RedbEngine};
use redb::{Database, TableDefinition};

use crate::group::{self, RECORD_BYTES, STREAMS};
use crate::rig::folder;

const ROWS: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("rows");
const BATCH: usize = 1_000;

/// Records a second; with `quick_repair` opening after a crash takes no time, as with ours.
pub(crate) fn run(span: Duration, quick_repair: bool) -> f64 {
    let folder = folder();
    let database = Database::create(folder.path().join("plain.redb")).unwrap();
    let clock = SystemClock::default();
    let started = clock.monotonic();
    let mut written = 0;
    while clock.monotonic() - started < span {
        let mut transaction = database.begin_write().unwrap();
        transaction.set_quick_repair(quick_repair);
        let mut rows = transaction.open_table(ROWS).unwrap();
        for number in written..written + BATCH {
            let key = ((number % STREAMS) as u64, (number / STREAMS) as u64);
            rows.insert(key, [7; RECORD_BYTES].as_slice()).unwrap();
        }
        drop(rows);
        transaction.commit().unwrap();
        written += BATCH;
    }
    written as f64 / (clock.monotonic() - started).as_secs_f64()
}

/// The store fed in the same way, checkpoints included, and the last one too: records a second that are in the table. So
/// many commits are waited for at a time.
pub(crate) fn ours(span: Duration, at_once: usize) -> f64 {
    let folder = folder();
    let engine = RedbEngine::open(folder.path(), group::options()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let clock = SystemClock::default();
    let started = clock.monotonic();
    let mut written = 0;
    runtime.block_on(async {
        let mut waiting = FuturesUnordered::new();
        while clock.monotonic() - started < span {
            waiting.push(engine.commit(batch(written)));
            written += BATCH;
            while waiting.len() >= at_once {
                assert!(matches!(waiting.next().await, Some(Outcome::Committed(_))));
            }
        }
        while let Some(outcome) = waiting.next().await {
            assert!(matches!(outcome, Outcome::Committed(_)));
        }
        engine.checkpoint().await.unwrap();
    });
    written as f64 / (clock.monotonic() - started).as_secs_f64()
}

fn batch(first: usize) -> Batch {
    let put = |number: usize| {
        let key = Key::build().text("stream").number((number % STREAMS) as u64).number((number / STREAMS) as u64);
        (key.done(), vec![7; RECORD_BYTES].into())
    };
    Batch { puts: (first..first + BATCH).map(put).collect(), ..Batch::default() }
}
