//! Looking at a store: it shows all that there is, and changes nothing.

use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Engine, RedbEngine};

use crate::disk::{Faults, SOUND, SimulatedDisk};
use crate::subject::{Words, batch, block_on, committed, everything, key};

/// A store that was killed, with rows in its table and others in its log only.
fn killed() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let engine = RedbEngine::open_on(disk.shared(), Options::default()).unwrap();
    for number in 0..40_u64 {
        committed(&engine, batch().epoch(number).put(&number.to_string(), &"1".repeat(9_000)));
        if number == 20 {
            block_on(engine.checkpoint()).unwrap();
        }
    }
    disk.after_kill()
}

#[test]
fn a_store_is_looked_at_on_a_full_disk_and_stays_as_it_is() {
    let disk = killed();
    let before = disk.files();
    disk.set(Faults { bytes_max: Some(0), blocks_max: Some(0), ..SOUND });
    let engine = RedbEngine::look_on(disk.shared(), Options::default()).unwrap();
    assert_eq!(everything(&engine).len(), 40);
    // What is written all the same is seen by whoever looks, and by nobody else.
    block_on(engine.checkpoint()).unwrap();
    committed(&engine, batch().epoch(100).put("new", "1"));
    assert_eq!(everything(&engine).len(), 41);
    assert_eq!(block_on(engine.scrub()).unwrap().listed, Vec::<String>::new());
    engine.close();
    assert!(RedbEngine::is_whole(disk.shared()).unwrap());
    assert!(disk.files() == before, "looking has changed the files");
    disk.set(SOUND);
    let engine = RedbEngine::open_on(disk.shared(), Options::default()).unwrap();
    assert_eq!(everything(&engine).len(), 40);
    assert!(block_on(engine.get(&key("new"))).unwrap().is_none());
}

#[test]
fn nobody_looks_at_a_store_that_is_in_use() {
    let disk = SimulatedDisk::default();
    let engine = RedbEngine::open_on(disk.shared(), Options::default()).unwrap();
    let in_use = |error| matches!(error, OpenError::Held { .. });
    assert!(RedbEngine::look_on(disk.shared(), Options::default()).is_err_and(in_use));
    assert!(RedbEngine::is_whole(disk.shared()).is_err_and(in_use));
    engine.close();
    let looking = RedbEngine::look_on(disk.shared(), Options::default()).unwrap();
    assert!(RedbEngine::open_on(disk.shared(), Options::default()).is_err_and(in_use));
    looking.close();
}

/// A page is sound and its checksum is not: no row is lost, and the next checkpoint may need that page.
#[test]
fn a_table_that_cannot_be_written_any_more_is_known_by_looking() {
    let disk = killed();
    let (table, content) = disk.files().into_iter().find(|(name, _)| name.starts_with("table")).unwrap();
    let sums = content[4..4_096].chunks(4).enumerate().filter(|(_, sum)| sum.iter().any(|byte| *byte != 0));
    let sums: Vec<usize> = sums.map(|(number, _)| number + 1).collect();
    let mut only_by_pages = 0;
    for page in sums {
        let flipped = disk.with_flipped(&table, page * 32);
        let Ok(engine) = RedbEngine::look_on(flipped.shared(), Options::default()) else { continue };
        let rows_are_sound = block_on(engine.scrub()).is_ok_and(|scrub| scrub.damages == 0);
        engine.close();
        if rows_are_sound && !RedbEngine::is_whole(flipped.shared()).unwrap() {
            only_by_pages += 1;
        }
    }
    assert!(only_by_pages > 0, "every page with a checksum holds rows or nothing");
}
