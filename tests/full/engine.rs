//! The store on a full disk: it says so, keeps what it had, serves reads, and goes on once there is room.

use std::future::Future;

use quickbeam::store::redb::Options;
use quickbeam::store::{Batch, Engine, Epoch, Failure, Fence, Key, Outcome, RedbEngine, Shard, Span};

use crate::tmpfs::{Ballast, on_small_disk};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn put(number: u64, epoch: u64) -> Batch {
    let key = Key::build().text("row").number(number).done();
    let fence = Fence { shard: Shard(0), epoch: Epoch(epoch) };
    Batch { fence, puts: vec![(key, vec![7; 50_000].into())], ..Batch::default() }
}

fn rows(engine: &RedbEngine) -> Vec<u64> {
    let prefix = Key::build().text("row").done();
    let number = |key: &Key| {
        let mut parts = key.parts();
        parts.text();
        parts.number().unwrap()
    };
    block_on(engine.range(Span::prefix(&prefix, usize::MAX))).unwrap().iter().map(|row| number(&row.key)).collect()
}

fn is_full(failure: &Failure) -> bool {
    matches!(failure, Failure::Full(_))
}

#[test]
fn a_store_on_a_full_disk_acknowledges_nothing_and_goes_on_once_there_is_room() {
    on_small_disk(
        "engine::a_store_on_a_full_disk_acknowledges_nothing_and_goes_on_once_there_is_room",
        "48m",
        |disk| {
            let folder = disk.join("store");
            let options = Options { overlay_bytes_max: 4 << 20, ..Options::default() };
            let engine = RedbEngine::open(&folder, options).unwrap();
            let mut acknowledged: Vec<u64> = Vec::new();
            let mut unknown = Vec::new();
            let mut numbers = 0..;
            for epoch in [1, 4, 7] {
                fill(&engine, disk, epoch, &mut numbers, &mut acknowledged, &mut unknown);
            }
            let found = rows(&engine);
            engine.close();
            drop(engine);
            let engine = RedbEngine::open(&folder, options).unwrap();
            assert_eq!(rows(&engine), found);
            let scrub = block_on(async {
                engine.checkpoint().await.unwrap();
                engine.scrub().await.unwrap()
            });
            assert_eq!(scrub.listed, Vec::<String>::new());
        },
    );
}

/// Writes until the disk is full, frees it, and sees the store go on with nothing lost.
fn fill(
    engine: &RedbEngine,
    disk: &std::path::Path,
    epoch: u64,
    numbers: &mut impl Iterator<Item = u64>,
    acknowledged: &mut Vec<u64>,
    unknown: &mut Vec<u64>,
) {
    for number in numbers.by_ref().take(40) {
        assert!(matches!(block_on(engine.commit(put(number, epoch))), Outcome::Committed(_)));
        acknowledged.push(number);
    }
    let ballast = Ballast::fill(disk);
    let failure = loop {
        let number = numbers.next().unwrap();
        match block_on(engine.commit(put(number, epoch))) {
            Outcome::Committed(_) => acknowledged.push(number),
            Outcome::Failed(failure) => break failure,
            Outcome::Unknown(failure) => {
                unknown.push(number);
                break failure;
            }
            Outcome::Refused(refusal) => panic!("{refusal}"),
        }
        assert!(number < 5_000, "the disk never became full");
    };
    // A checkpoint that met the full disk first leaves the commit behind it poisoned.
    assert!(is_full(&failure) || matches!(*failure, Failure::Poisoned), "{failure:?}");
    let ill = engine.health().unwrap_err();
    assert!(is_full(&ill), "{ill:?}");
    assert!(ill.to_string().contains("free some space"), "{ill}");
    // What the failed write gave back may be enough for some more.
    let failure = loop {
        Ballast::fill(disk);
        let number = numbers.next().unwrap();
        match block_on(engine.commit(put(number, epoch + 1))) {
            Outcome::Committed(_) => acknowledged.push(number),
            Outcome::Failed(failure) => break failure,
            Outcome::Unknown(failure) => {
                unknown.push(number);
                break failure;
            }
            Outcome::Refused(refusal) => panic!("{refusal}"),
        }
    };
    assert!(is_full(&failure) || matches!(*failure, Failure::Poisoned), "{failure:?}");
    assert!(is_full(&engine.health().unwrap_err()));
    check(engine, acknowledged, unknown);
    ballast.remove();
    let number = numbers.next().unwrap();
    // The try before may have opened the files and failed behind that, which asks for one more.
    let back = block_on(engine.commit(put(number, epoch + 2)));
    assert!(matches!(back, Outcome::Committed(_)), "{back:?}");
    acknowledged.push(number);
    engine.health().unwrap();
    check(engine, acknowledged, unknown);
    println!("{} rows acknowledged, {} unknown", acknowledged.len(), unknown.len());
}

fn check(engine: &RedbEngine, acknowledged: &[u64], unknown: &[u64]) {
    let mut found = rows(engine);
    found.retain(|number| acknowledged.contains(number) || !unknown.contains(number));
    assert_eq!(found, acknowledged);
}
