//! Many small trials on two threads, and no more of them once one has failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Calls `trial` with 0, 1, 2 and so on until one says that it was the last.
pub(crate) fn on_two_threads(trial: impl Fn(u64) -> bool + Sync) {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let life = || {
        let _failing = Failing(&failed);
        let mut goes_on = true;
        while goes_on && !failed.load(Ordering::Relaxed) {
            goes_on = trial(next.fetch_add(1, Ordering::Relaxed));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(life);
        scope.spawn(life);
    });
}

struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(std::thread::panicking(), Ordering::Relaxed);
    }
}
