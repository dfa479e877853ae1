//! What the files of the redb engine promise: one process, known formats, damage noticed, reads that need no thread.

use std::path::Path;

use futures_util::FutureExt;
use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Engine, Failure, Key, Outcome, RedbEngine, Span, around};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::subject::{Subject, Words, batch, block_on, committed, cramped, everything, is_lost, key, table, value};

const BLOCKS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

fn open(folder: &Path) -> RedbEngine {
    RedbEngine::open(folder, Options::default()).unwrap()
}

fn refusal(folder: &Path) -> OpenError {
    RedbEngine::open(folder, Options::default()).unwrap_err()
}

fn edit(folder: &Path, work: impl FnOnce(&redb::WriteTransaction)) {
    let database = table(folder);
    let mut transaction = database.begin_write().unwrap();
    transaction.set_quick_repair(true);
    work(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_second_opener_is_refused_and_told_who_holds_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    match refusal(folder.path()) {
        OpenError::Held { holder } => assert_eq!(holder, std::process::id().to_string()),
        other => panic!("{other}"),
    }
    engine.close();
    open(folder.path());
}

#[test]
fn a_newer_table_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    edit(folder.path(), |transaction| {
        let newer = 5_u32.to_le_bytes();
        transaction.open_table(META).unwrap().insert("format", newer.as_slice()).unwrap();
    });
    let refusal = refusal(folder.path());
    assert!(matches!(refusal, OpenError::Newer { file: "table.redb", found: 5, known: 4 }), "{refusal}");
}

#[test]
fn a_store_that_was_killed_has_everything_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..50 {
        committed(&engine, batch().put(&format!("{number:02}"), "1"));
        if number == 25 {
            block_on(engine.checkpoint()).unwrap();
        }
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["table.redb", "log.000001"] {
        std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    assert_eq!(everything(&open(copy.path())), everything(&engine));
    drop(engine);
    assert_eq!(everything(&open(folder.path())).len(), 50);
}

#[test]
fn what_an_interrupted_creation_left_behind_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["table.redb.new", "log.000001.new"] {
        std::fs::write(folder.path().join(file), b"half a file").unwrap();
    }
    committed(&open(folder.path()), batch().put("a", "1"));
    assert_eq!(value(&open(folder.path()), "a").as_deref(), Some("1"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

/// A store whose rows `a` to `c` are in the table alone, changed behind its back.
fn with_changed_table(work: impl FnOnce(&redb::WriteTransaction)) -> (tempfile::TempDir, RedbEngine) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    committed(&engine, batch().put("a", "1").put("b", "1").put("c", "1"));
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    edit(folder.path(), work);
    let engine = open(folder.path());
    (folder, engine)
}

#[test]
fn a_flipped_bit_is_never_served() {
    let (_folder, engine) = with_changed_table(|transaction| {
        let mut blocks = transaction.open_table(BLOCKS).unwrap();
        let mut stored = blocks.get(&[][..]).unwrap().unwrap().value().to_vec();
        // Of a key is written what the one before it does not have, then the value.
        let at = stored.windows(3).position(|window| window == b"b\x001").unwrap();
        stored[at + 2] ^= 1;
        blocks.insert(&[][..], stored.as_slice()).unwrap();
    });
    let damaged = |failure: &Failure| is_lost(failure, "b");
    assert!(damaged(&block_on(engine.get(&key("b"))).unwrap_err()));
    assert!(damaged(&block_on(engine.range(Span::prefix(&Key::default(), 9))).unwrap_err()));
    assert_eq!(value(&engine, "a").as_deref(), Some("1"), "the others go on");
    let failed = block_on(engine.commit(batch().absent("b").put("d", "1")));
    assert!(matches!(&failed, Outcome::Failed(failure) if damaged(failure)), "{failed:?}");
    committed(&engine, batch().epoch(1).put("d", "1"));
    let scrub = block_on(engine.scrub()).unwrap();
    assert_eq!((scrub.rows, scrub.damages), (2, 2), "the row and the tally: {:?}", scrub.listed);
}

#[test]
fn a_table_that_was_cut_short_is_refused_and_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..200 {
        committed(&engine, batch().put(&number.to_string(), &"1".repeat(1_000)));
    }
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    let path = folder.path().join("table.redb");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 100, 4_096, 8_192, 12_288, whole.len() / 2, whole.len() - 4_096] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let refusal = refusal(folder.path());
        let damaged = matches!(refusal, OpenError::Failed { file: "table.redb", source: Failure::Damaged { .. } });
        assert!(damaged, "{length} of {} bytes: {refusal}", whole.len());
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(everything(&open(folder.path())).len(), 200);
}

#[test]
fn of_a_page_that_is_not_what_was_written_the_sound_rows_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    committed(&engine, batch().put("a", "1").put("b", "damaged").put("c", "1"));
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    let path = folder.path().join("table.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> =
        bytes.windows(7).enumerate().filter(|(_, bytes)| bytes == b"damaged").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    std::fs::write(&path, bytes).unwrap();
    let engine = open(folder.path());
    for round in ["1", "2"] {
        assert_eq!((value(&engine, "a").as_deref(), value(&engine, "c").as_deref()), (Some(round), Some("1")));
        let failure = block_on(engine.get(&key("b"))).unwrap_err();
        assert!(is_lost(&failure, "b"), "{failure:?}");
        committed(&engine, batch().put("a", "2"));
        block_on(engine.checkpoint()).unwrap();
    }
    committed(&engine, batch().put("b", "whole"));
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(value(&engine, "b").as_deref(), Some("whole"));
}

/// Where keys of more than one byte lie in the pages of a table, as redb writes them.
fn keys_in_pages(table: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
    let pages = (0..table.len()).step_by(4_096).filter(|at| table[*at..at + 2] == [1, 0]);
    let keys = pages.flat_map(|page| {
        let pairs = usize::from(u16::from_le_bytes([table[page + 2], table[page + 3]]));
        let ends = (0..pairs).map(move |pair| page + number(page + 4 + 4 * pair));
        std::iter::once(page + 4 + 8 * pairs).chain(ends.clone()).zip(ends)
    });
    keys.map(|(from, to)| from..to).filter(|key| key.len() > 1 && key.end <= table.len()).collect()
}

#[test]
fn a_page_whose_keys_are_out_of_order_leads_no_writer_astray() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), cramped()).unwrap();
    let names: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    let put = |value: &str| names.iter().fold(batch().epoch(1), |batch, name| batch.put(name, value));
    committed(&engine, put("1"));
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    let (sound, _) = files.iter().find(|(_, path)| path.ends_with("table.redb")).unwrap();
    let keys = keys_in_pages(sound);
    assert!(keys.len() > 10, "{}", keys.len());
    for key in keys.into_iter().step_by(4) {
        for last in [0, 0xff] {
            let mut damaged = sound.clone();
            damaged[key.end - 1] = last;
            damaged[key.start + 1] = last;
            let copy = tempfile::tempdir().unwrap();
            for (content, path) in &files {
                std::fs::write(copy.path().join(path.file_name().unwrap()), content).unwrap();
            }
            std::fs::write(copy.path().join("table.redb"), &damaged).unwrap();
            let Ok(engine) = RedbEngine::open(copy.path(), cramped()) else { continue };
            committed(&engine, put("2"));
            let written = block_on(engine.checkpoint()).is_ok();
            for name in &names {
                match block_on(engine.get(&crate::subject::key(name))) {
                    Ok(found) => assert_eq!(found.unwrap().value, "2", "{name}, written: {written}"),
                    Err(failure) => assert!(matches!(*failure, Failure::Damaged { .. }), "{failure}"),
                }
            }
        }
    }
}

/// The separators of the blocks, from the second on.
fn separators(folder: &Path) -> Vec<Vec<u8>> {
    let blocks = table(folder).begin_read().unwrap().open_table(BLOCKS).unwrap();
    let separators: Vec<_> = blocks.iter().unwrap().map(|block| block.unwrap().0.value().to_vec()).collect();
    separators[1..].to_vec()
}

#[test]
fn a_block_that_vanishes_is_missed_by_every_read_and_only_its_rows_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), cramped()).unwrap();
    let names: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    for name in &names {
        committed(&engine, batch().put(name, "1"));
    }
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    let all = separators(folder.path());
    assert!(all.len() > 4, "{}", all.len());
    let (gone, next) = (all[2].clone(), all[3].clone());
    edit(folder.path(), |transaction| {
        transaction.open_table(BLOCKS).unwrap().remove(gone.as_slice()).unwrap();
    });
    let engine = RedbEngine::open(folder.path(), cramped()).unwrap();
    let is_lost = |name: &String| (gone.as_slice()..next.as_slice()).contains(&key(name).as_bytes());
    let (lost, left): (Vec<_>, Vec<_>) = names.iter().partition(|name| is_lost(name));
    assert!(!lost.is_empty());
    assert!(left.iter().all(|name| value(&engine, name).is_some()));
    for name in &lost {
        assert!(matches!(*block_on(engine.get(&key(name))).unwrap_err(), Failure::Damaged { .. }), "{name}");
    }
    let whole = Span::prefix(&Key::default(), 1_000);
    for span in [whole.clone(), whole.clone().backward()] {
        assert!(matches!(*block_on(engine.range(span)).unwrap_err(), Failure::Damaged { .. }));
    }
    let around = block_on(around::range(&engine, whole)).unwrap();
    assert_eq!((around.rows.len(), around.unread.len()), (left.len(), 1));
    let scrub = block_on(engine.scrub()).unwrap();
    assert_eq!((scrub.rows as usize, scrub.damages), (left.len(), 2), "the stretch and the tally: {:?}", scrub.listed);
    // What is written into the hole is known again, and what is not stays unknown.
    committed(&engine, batch().put(lost[0], "2"));
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(value(&engine, lost[0]).as_deref(), Some("2"));
    assert!(lost[1..].iter().all(|name| block_on(engine.get(&key(name))).is_err()));
    assert!(left.iter().all(|name| value(&engine, name).is_some()));
}

#[test]
fn a_block_put_back_in_an_older_version_is_found_by_the_scrub() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let stored = |folder: &Path| {
        let blocks = table(folder).begin_read().unwrap().open_table(BLOCKS).unwrap();
        blocks.get(&[][..]).unwrap().unwrap().value().to_vec()
    };
    committed(&engine, batch().put("a", "1"));
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    let older = stored(folder.path());
    let engine = open(folder.path());
    committed(&engine, batch().put("a", "2"));
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(block_on(engine.scrub()).unwrap().damages, 0);
    drop(engine);
    edit(folder.path(), |transaction| {
        transaction.open_table(BLOCKS).unwrap().insert(&[][..], older.as_slice()).unwrap();
    });
    assert_eq!(block_on(open(folder.path()).scrub()).unwrap().damages, 1);
}

#[test]
fn what_memory_knows_is_answered_without_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    let near = |name: &str| engine.get(&key(name)).now_or_never().expect("an answer at once").unwrap();
    let near_range = |name: &str| {
        let prefix = Key::build().text(name).done();
        engine.range(Span::prefix(&prefix, 9)).now_or_never().expect("an answer at once").unwrap().len()
    };
    assert_eq!((near("a"), near_range("row")), (None, 0), "the table is empty");
    committed(&engine, batch().put("a", "1").put("b", "1"));
    assert!(near("a").is_some());
    block_on(engine.checkpoint()).unwrap();
    committed(&engine, batch().delete("a"));
    assert_eq!(near("a"), None, "deleted above the table");
    assert_eq!(near("never"), None, "the filter knows");
    assert_eq!(near_range("never"), 0, "the filter knows");
    let before = engine.stats().reads_far;
    assert_eq!(value(&engine, "b").as_deref(), Some("1"));
    assert_eq!(engine.stats().reads_far, before + 1);
}

#[test]
fn rows_that_come_and_go_never_reach_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    for number in 0..100 {
        committed(&engine, batch().put(&format!("{number}"), "1"));
        committed(&engine, batch().delete(&format!("{number}")));
    }
    assert_eq!(engine.stats().overlay_rows, 0);
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(block_on(engine.scrub()).unwrap().rows, 0);
}

#[test]
fn a_closed_store_says_so() {
    let mut subject = Subject::redb(Options::default());
    let engine = subject.on_disk();
    committed(&*subject.engine(), batch().put("a", "1"));
    block_on(engine.checkpoint()).unwrap();
    engine.close();
    engine.close();
    let outcome = block_on(engine.commit(batch()));
    assert!(matches!(&outcome, Outcome::Failed(failure) if matches!(**failure, Failure::Closed)), "{outcome:?}");
    assert!(matches!(*block_on(engine.get(&key("a"))).unwrap_err(), Failure::Closed));
    assert!(matches!(*block_on(engine.checkpoint()).unwrap_err(), Failure::Closed));
}
