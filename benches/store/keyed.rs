//! redb used plainly: records under (stream, sequence) keys, a thousand to a commit.

use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use redb::{Database, TableDefinition};

use crate::group::{RECORD_BYTES, STREAMS};
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
