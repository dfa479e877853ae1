//! Group commit: many writers, each of whom waits for its record, over the store and over a plain file.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::store::redb::{Options, Stats};
use quickbeam::store::{Batch, Engine, Key, Outcome, RedbEngine};
use tokio::sync::oneshot;

use crate::rig::{argument, folder};

pub(crate) const RECORD_BYTES: usize = 256;
pub(crate) const STREAMS: usize = 256;

/// What one measurement found.
pub(crate) struct Found {
    pub(crate) per_second: f64,
    latencies: Vec<Duration>,
}

impl Found {
    fn quantile(&self, share: f64) -> f64 {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len() - 1)).unwrap().as_secs_f64() * 1e3
    }

    /// Prints a line, with the share of `plain` records a second.
    pub(crate) fn show(&self, name: &str, plain: f64) {
        let [middle, most, longest] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        println!(
            "  {name:22} {:>9.0}/s  share {:4.2}  p50 {middle:7.3} ms  p99 {most:7.3} ms  longest {longest:7.3} ms",
            self.per_second,
            self.per_second / plain,
        );
    }
}

/// As usual, unless an argument says otherwise.
pub(crate) fn options() -> Options {
    let usual = Options::default();
    Options {
        checkpoint_rows_max: argument("--checkpoint-rows", usual.checkpoint_rows_max),
        checkpoint_bytes_max: argument("--checkpoint-bytes", usual.checkpoint_bytes_max),
        ..usual
    }
}

/// What the store did with many writers, without and with checkpoints.
pub(crate) fn compare(span: Duration, writers: usize) {
    // The plain file before and after, so that a disk which changes its mind does not decide.
    let before = plain(span, writers);
    let (within, _) = store(span, writers, Options { overlay_bytes_max: 4 << 30, ..options() });
    let (whole, stats) = store(span, writers, options());
    let beside = beside_a_table(span, writers, stats.table.bytes_written as f64 / span.as_secs_f64());
    let after = plain(span, writers);
    let middle = (before.per_second + after.per_second) / 2.0;
    println!("\n{writers} writers");
    before.show("plain file", middle);
    after.show("plain file again", middle);
    within.show("store within overlay", middle);
    whole.show("store, checkpoints", middle);
    beside.show("plain file, as above", middle);
    println!(
        "  {:.2} with checkpoints : without; of the plain file {:.2}",
        whole.per_second / within.per_second,
        beside.per_second / middle
    );
    explain(&stats, RECORD_BYTES);
}

/// Where the bytes went.
pub(crate) fn explain(stats: &Stats, record_bytes: usize) {
    let payload = (stats.committed * record_bytes as u64) as f64;
    let [log, table] = [stats.log.bytes_written, stats.table.bytes_written].map(|bytes| bytes as f64 / payload);
    println!(
        "  {:.1} records and {:.2} syncs a group; {} checkpoints, {} waits; written {:.1} x payload: {log:.1} by the log, {table:.1} by the table",
        stats.committed as f64 / stats.groups as f64,
        stats.log.syncs as f64 / stats.groups as f64,
        stats.checkpoints,
        stats.waits,
        log + table,
    );
}

fn store(span: Duration, writers: usize, options: Options) -> (Found, Stats) {
    let folder = folder();
    let engine = RedbEngine::open(folder.path(), options).unwrap();
    let found = run(span, writers, |writer, number| {
        let key = Key::build().text("stream").number((writer % STREAMS) as u64).number(writer as u64);
        let put = (key.number(number).done(), vec![7; RECORD_BYTES].into());
        let outcome = engine.commit(Batch { puts: vec![put], ..Batch::default() });
        Box::pin(async move { assert!(matches!(outcome.await, Outcome::Committed(_))) })
    });
    let stats = engine.stats();
    engine.close();
    (found, stats)
}

/// The plain file while as many bytes as the checkpoints wrote go to scattered pages of another file: what is left of
/// the disk for whoever appends.
fn beside_a_table(span: Duration, writers: usize, bytes_per_second: f64) -> Found {
    const PAGE_BYTES: usize = 4_096;
    const PAGES: u64 = 50_000;
    /// About what one commit of a checkpoint writes.
    const PAGES_AT_ONCE: u64 = 500;
    let folder = folder();
    let table = std::fs::File::create(folder.path().join("table")).unwrap();
    table.write_all_at(&vec![1; PAGE_BYTES * PAGES as usize], 0).unwrap();
    table.sync_data().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let clock = SystemClock::default();
            let (started, mut written) = (clock.monotonic(), 0);
            while !ended.load(Ordering::Relaxed) {
                for page in written..written + PAGES_AT_ONCE {
                    let place = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PAGES;
                    table.write_all_at(&[2; PAGE_BYTES], place * PAGE_BYTES as u64).unwrap();
                }
                // As redb does: what is new, and then the page that leads to it.
                table.sync_data().unwrap();
                table.write_all_at(&[3; PAGE_BYTES], 0).unwrap();
                table.sync_data().unwrap();
                written += PAGES_AT_ONCE;
                let due = Duration::from_secs_f64((written * PAGE_BYTES as u64) as f64 / bytes_per_second);
                std::thread::sleep(due.saturating_sub(clock.monotonic() - started));
            }
        });
        let found = plain(span, writers);
        ended.store(true, Ordering::Relaxed);
        found
    })
}

fn plain(span: Duration, writers: usize) -> Found {
    let folder = folder();
    let (queue, queued) = mpsc::channel();
    let path = folder.path().join("plain");
    let thread = std::thread::spawn(move || append(&path, &queued));
    let found = run(span, writers, |_, _| {
        let (answer, answered) = oneshot::channel();
        queue.send((vec![7_u8; RECORD_BYTES], answer)).unwrap();
        Box::pin(async move { answered.await.unwrap() })
    });
    drop(queue);
    thread.join().unwrap();
    found
}

/// Every writer waits for its record before it writes the next.
pub(crate) fn run<'a>(span: Duration, writers: usize, write: impl Fn(usize, u64) -> BoxFuture<'a, ()>) -> Found {
    let clock = Arc::new(SystemClock::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let started = clock.monotonic();
    let writer = async |writer| {
        let mut latencies = Vec::new();
        for number in 0.. {
            let before = clock.monotonic();
            if before - started > span {
                break;
            }
            write(writer, number).await;
            latencies.push(clock.monotonic() - before);
        }
        latencies
    };
    let latencies = runtime.block_on(join_all((0..writers).map(writer)));
    let took = clock.monotonic() - started;
    let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Found { per_second: latencies.len() as f64 / took.as_secs_f64(), latencies }
}

type Queued = (Vec<u8>, oneshot::Sender<()>);

/// The simplest journal there is: everything queued is appended and synced at once.
fn append(path: &Path, queue: &mpsc::Receiver<Queued>) {
    let mut file = std::fs::File::create(path).unwrap();
    while let Ok(first) = queue.recv() {
        let group: Vec<Queued> = std::iter::once(first).chain(queue.try_iter()).collect();
        let bytes: Vec<u8> = group.iter().flat_map(|(record, _)| record).copied().collect();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        group.into_iter().for_each(|(_, answer)| answer.send(()).unwrap());
    }
}
