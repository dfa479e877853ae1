//! Group commit of the store beside a plain file with one fdatasync per group, in the same run: `cargo bench --bench store`.
//!
//! Arguments after `--`: seconds for each measurement (2), and the writers at once (1 32 256 1024).

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::store::redb::{Options, Stats};
use quickbeam::store::{Batch, Engine, Key, Outcome, RedbEngine};
use tokio::sync::oneshot;

const RECORD_BYTES: usize = 256;
const STREAMS: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let seconds = arguments.next().map_or(2.0, |text| text.parse().unwrap());
    let mut writers: Vec<usize> = arguments.map(|text| text.parse().unwrap()).collect();
    if writers.is_empty() {
        writers = vec![1, 32, 256, 1024];
    }
    let bench = Bench { clock: Arc::new(SystemClock::default()), span: Duration::from_secs_f64(seconds) };
    println!(
        "{RECORD_BYTES}-byte records, {STREAMS} streams, {seconds} s each; share = records/s of the store : plain file"
    );
    for writers in writers {
        bench.compare(writers);
    }
}

struct Bench {
    clock: Arc<SystemClock>,
    span: Duration,
}

/// What one measurement found.
struct Found {
    per_second: f64,
    latencies: Vec<Duration>,
}

impl Found {
    fn quantile(&self, share: f64) -> f64 {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len() - 1)).unwrap().as_secs_f64() * 1e3
    }
}

impl Bench {
    /// The plain file before and after, so that a disk which changes its mind does not decide.
    fn compare(&self, writers: usize) {
        let before = self.plain(writers);
        let (quiet, _) = self.store(writers, Options { overlay_bytes_max: 4 << 30, ..Options::default() });
        let (whole, stats) = self.store(writers, Options::default());
        let after = self.plain(writers);
        let plain = (before.per_second + after.per_second) / 2.0;
        println!("\n{writers} writers");
        show("plain file", &before, plain);
        show("plain file again", &after, plain);
        show("store within overlay", &quiet, plain);
        show("store, checkpoints", &whole, plain);
        explain(&stats);
    }

    fn store(&self, writers: usize, options: Options) -> (Found, Stats) {
        let folder = tempfile::tempdir_in(target()).unwrap();
        let engine = RedbEngine::open(folder.path(), options).unwrap();
        let found = self.run(writers, |writer, number| {
            let key = Key::build().text("stream").number((writer % STREAMS) as u64).number(writer as u64);
            let put = (Key::build().raw(key.done().as_bytes()).number(number).done(), vec![7; RECORD_BYTES].into());
            let outcome = engine.commit(Batch { puts: vec![put], ..Batch::default() });
            Box::pin(async move { assert!(matches!(outcome.await, Outcome::Committed(_))) })
        });
        let stats = engine.stats();
        engine.close();
        (found, stats)
    }

    fn plain(&self, writers: usize) -> Found {
        let folder = tempfile::tempdir_in(target()).unwrap();
        let (queue, queued) = mpsc::channel();
        let path = folder.path().join("plain");
        let thread = std::thread::spawn(move || append(&path, &queued));
        let found = self.run(writers, |_, _| {
            let (answer, answered) = oneshot::channel();
            queue.send((vec![7_u8; RECORD_BYTES], answer)).unwrap();
            Box::pin(async move { answered.await.unwrap() })
        });
        drop(queue);
        thread.join().unwrap();
        found
    }

    /// Every writer waits for its record before it writes the next.
    fn run(&self, writers: usize, write: impl Fn(usize, u64) -> BoxFuture<'static, ()>) -> Found {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let started = self.clock.monotonic();
        let writer = async |writer| {
            let mut latencies = Vec::new();
            for number in 0.. {
                let before = self.clock.monotonic();
                if before - started > self.span {
                    break;
                }
                write(writer, number).await;
                latencies.push(self.clock.monotonic() - before);
            }
            latencies
        };
        let latencies = runtime.block_on(join_all((0..writers).map(writer)));
        let took = self.clock.monotonic() - started;
        let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
        latencies.sort_unstable();
        Found { per_second: latencies.len() as f64 / took.as_secs_f64(), latencies }
    }
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

/// Beside the build, so that it is the disk under the source and not one in memory.
fn target() -> std::path::PathBuf {
    let folder = std::env::current_exe().unwrap();
    folder.parent().unwrap().to_path_buf()
}

fn show(name: &str, found: &Found, plain: f64) {
    let (share, rate) = (found.per_second / plain, found.per_second);
    let [middle, most, longest] = [0.5, 0.99, 1.0].map(|share| found.quantile(share));
    println!(
        "  {name:22} {rate:>9.0}/s  share {share:4.2}  p50 {middle:7.3} ms  p99 {most:7.3} ms  longest {longest:7.3} ms"
    );
}

fn explain(stats: &Stats) {
    let payload = (stats.committed * RECORD_BYTES as u64) as f64;
    let [log, table] = [stats.log.bytes_written, stats.table.bytes_written].map(|bytes| bytes as f64 / payload);
    println!(
        "  {:.1} records and {:.1} syncs a group; {} checkpoints, {} waits; written {log:.1} x payload by the log, {table:.1} x by the table",
        stats.committed as f64 / stats.groups as f64,
        stats.log.syncs as f64 / stats.groups as f64,
        stats.checkpoints,
        stats.waits,
    );
}
