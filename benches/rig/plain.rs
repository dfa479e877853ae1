//! The limit of the machine: a plain file to which everything queued is appended, with one fdatasync for all of it.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use tokio::sync::oneshot;

type Queued = (Vec<u8>, oneshot::Sender<()>);

/// Records of that size appended per second by so many who each wait for their record before they write the next.
pub(crate) fn rate(bytes: usize, writers: usize, span: Duration) -> f64 {
    let folder = super::folder();
    let mut file = std::fs::File::create(folder.path().join("plain")).unwrap();
    let (queue, queued) = mpsc::channel::<Queued>();
    let thread = std::thread::spawn(move || {
        while let Ok(first) = queued.recv() {
            let group: Vec<Queued> = std::iter::once(first).chain(queued.try_iter()).collect();
            let bytes: Vec<u8> = group.iter().flat_map(|(record, _)| record).copied().collect();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            group.into_iter().for_each(|(_, answer)| answer.send(()).unwrap());
        }
    });
    let clock = SystemClock::default();
    let start = clock.monotonic();
    let writer = async |_| {
        let mut count = 0_u64;
        while clock.monotonic() - start < span {
            let (answer, answered) = oneshot::channel();
            queue.send((vec![7; bytes], answer)).unwrap();
            answered.await.unwrap();
            count += 1;
        }
        count
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let written: u64 = runtime.block_on(futures_util::future::join_all((0..writers).map(writer))).into_iter().sum();
    let took = clock.monotonic() - start;
    drop(queue);
    thread.join().unwrap();
    written as f64 / took.as_secs_f64()
}
