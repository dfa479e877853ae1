//! Many `wait` steps that are over at the same moment: how late the last of them goes on.

use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock, Time};
use serde_json::json;

use crate::contest::Bench;
use crate::instances::{self, wait_until_none};
use crate::rig::node::free_port;
use crate::rig::{self, argument};
use crate::settings;

/// Instances that are started in a second, at least: the moment is that far away.
const STARTED_PER_SECOND: u64 = 1_000;
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) fn run(bench: &mut Bench) {
    let (count, clock): (u64, _) = (argument("--timers", 10_000), SystemClock::default());
    let folder = rig::folder();
    let node = settings::recipe(folder.path(), "notify", free_port()).start();
    let due = clock.now().plus(Duration::from_secs(count / STARTED_PER_SECOND) + MARGIN);
    instances::start(&node, "nap", &json!({ "until": due.to_string() }).to_string(), count, &folder.path().join("ids"));
    assert!(clock.now() < due, "the machine is too slow: the moment came before all of them waited for it");
    std::thread::sleep(due.since(clock.now()));
    wait_until_none(&node, &["suspended", "running"]);
    let seen = clock.now().since(due).as_secs_f64();
    let done = instances::all(&node, "/flows?state=done");
    assert_eq!(done.len() as u64, count, "none is lost");
    let mut late: Vec<f64> = done.iter().map(|flow| lateness(flow["updated"].as_str().unwrap(), due)).collect();
    late.sort_unstable_by(f64::total_cmp);
    assert!(late[0] >= 0.0, "none is early");
    let (middle, last) = (late[late.len() / 2], late[late.len() - 1]);
    bench.report.say(&format!(
        "{count} timers due at the same moment: the middle one {middle:.3} s late, the last {last:.3} s; the lists showed all done after {seen:.3} s"
    ));
    bench.report.note(json!({ "timers": count, "middle_s": middle, "last_s": last, "seen_s": seen }));
}

fn lateness(updated: &str, due: Time) -> f64 {
    let updated: jiff::Timestamp = updated.parse().unwrap();
    (updated.as_millisecond() - i64::try_from(due.0).unwrap()) as f64 / 1e3
}
