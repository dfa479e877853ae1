//! How fast this disk is at this moment: 4 KiB appended and synced, again and again.

use std::fs::File;
use std::io::Write;

use quickbeam::clock::{Clock, SystemClock};

const PROBES: usize = 300;

/// What it does in a second, and how long one takes in milliseconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Speed {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl std::fmt::Display for Speed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, p50, p99 } = self;
        write!(out, "disk: 4 KiB append + fdatasync {rate:.0}/s, p50 {p50:.3} ms, p99 {p99:.3} ms")
    }
}

/// Prints the rate, with the middle and the slow end.
pub(crate) fn probe() {
    println!("{}", measure());
}

pub(crate) fn measure() -> Speed {
    let (folder, clock) = (super::folder(), SystemClock::default());
    let mut file = File::create(folder.path().join("probe")).unwrap();
    let mut took: Vec<f64> = (0..PROBES)
        .map(|_| {
            let before = clock.monotonic();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            (clock.monotonic() - before).as_secs_f64()
        })
        .collect();
    took.sort_unstable_by(f64::total_cmp);
    let rate = PROBES as f64 / took.iter().sum::<f64>();
    let [p50, p99] = [PROBES / 2, PROBES * 99 / 100].map(|at| took[at] * 1e3);
    Speed { rate, p50, p99 }
}
