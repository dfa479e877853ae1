//! A store of format 1, whose log was a redb file, of format 2, whose rows each stood by themselves, or of format 3, whose
//! pages had no checksums: brought up to this version, whatever interrupts that.

use std::path::Path;

use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Engine, Epoch, Failure, Key, Outcome, Position, RedbEngine, Refusal, Span, around};
use redb::{Database, StorageBackend, TableDefinition, WriteTransaction};

use crate::disk::{Faults, SimulatedDisk};
use crate::subject::{Words, batch, block_on, committed, cramped, everything, is_lost, key, pages, refused};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
const BLOCKS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("blocks");
const TALLIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("tallies");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");

/// How format 1 wrote: rows of the log are numbered from 1, a frame takes one or more.
struct Old {
    log: Vec<(u64, Vec<u8>)>,
    position: u64,
}

impl Old {
    /// One batch of epoch 7 as a frame, cut into this many rows.
    fn frame(&mut self, rows: u32, puts: &[(&str, String)], deletes: &[&str]) {
        self.position += 1;
        let mut frame = Vec::new();
        frame.extend_from_slice(&self.position.to_le_bytes());
        frame.extend_from_slice(&0_u32.to_le_bytes());
        frame.extend_from_slice(&7_u64.to_le_bytes());
        let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        frame.extend([length(puts.len()), length(deletes.len())].concat());
        for (name, value) in puts {
            let name = key(name);
            frame.extend([length(name.as_bytes().len()), length(value.len())].concat());
            frame.extend([name.as_bytes(), value.as_bytes()].concat());
        }
        for name in deletes {
            let name = key(name);
            frame.extend([length(name.as_bytes().len()).as_slice(), name.as_bytes()].concat());
        }
        let pieces = frame.chunks(frame.len().div_ceil(rows as usize));
        for (index, piece) in (0_u32..).zip(pieces) {
            let number = self.log.last().map_or(1, |(number, _)| number + 1);
            let rest = [&[1], &index.to_le_bytes()[..], &rows.to_le_bytes(), piece].concat();
            let crc = crc32fast::hash(&[&number.to_le_bytes(), rest.as_slice()].concat());
            self.log.push((number, [&crc.to_le_bytes(), rest.as_slice()].concat()));
        }
    }
}

fn sealed(key: &[u8], rest: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[&(key.len() as u64).to_le_bytes(), key, rest].concat());
    [&crc.to_le_bytes(), rest].concat()
}

fn tally(rows: &[Vec<u8>]) -> Vec<u8> {
    let hash = |stored: &Vec<u8>| {
        let crc = u64::from(u32::from_le_bytes(*stored.first_chunk().unwrap()));
        (crc | (stored.len() as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    let sum = rows.iter().map(hash).fold(0_u64, u64::wrapping_add);
    sealed(b"row\0", &[(rows.len() as u64).to_le_bytes(), sum.to_le_bytes()].concat())
}

fn write(path: &Path, work: impl FnOnce(&WriteTransaction)) {
    write_to(path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", 1_u32.to_le_bytes().as_slice()).unwrap();
        work(transaction);
    });
}

fn write_to(path: &Path, work: impl FnOnce(&WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let mut transaction = database.begin_write().unwrap();
    transaction.set_quick_repair(true);
    work(&transaction);
    transaction.commit().unwrap();
}

/// A folder whose table holds `a` and `b` as the first batch wrote them, and whose log goes on from there.
fn old_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut old = Old { log: Vec::new(), position: 0 };
    old.frame(1, &[("a", "1".to_owned()), ("b", "1".to_owned())], &[]);
    old.frame(3, &[("c", "x".repeat(3_000)), ("a", "2".to_owned())], &[]);
    for number in 0..20 {
        old.frame(1, &[(&format!("d{number:02}"), number.to_string())], &["b"]);
    }
    write(&folder.path().join("log.redb"), |transaction| {
        let mut rows = transaction.open_table(LOG).unwrap();
        old.log.iter().for_each(|(number, row)| drop(rows.insert(number, row.as_slice()).unwrap()));
    });
    write(&folder.path().join("table.redb"), |transaction| {
        old_rows(transaction);
        let held = [1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
        let held = sealed(b"held", &[&held[..], &0_u32.to_le_bytes(), &7_u64.to_le_bytes()].concat());
        transaction.open_table(STATE).unwrap().insert("held", held.as_slice()).unwrap();
    });
    folder
}

/// What both hold of rows in the table, as formats 1 and 2 wrote it.
fn old_rows(transaction: &WriteTransaction) {
    let mut rows = transaction.open_table(ROWS).unwrap();
    let stored = ["a", "b"].map(|name| sealed(key(name).as_bytes(), &[&1_u64.to_le_bytes(), &b"1"[..]].concat()));
    for (name, stored) in ["a", "b"].iter().zip(&stored) {
        rows.insert(key(name).as_bytes(), stored.as_slice()).unwrap();
    }
    transaction.open_table(TALLIES).unwrap().insert(&b"row\0"[..], tally(&stored).as_slice()).unwrap();
}

/// The same as format 3 had it: a log as it is now, beside a table that redb wrote by itself.
fn folder_of_format_3() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    committed(&engine, batch().epoch(7).put("a", "1").put("b", "1"));
    block_on(engine.checkpoint()).unwrap();
    committed(&engine, batch().epoch(7).put("c", &"x".repeat(3_000)).put("a", "2"));
    for number in 0..20 {
        committed(&engine, batch().epoch(7).put(&format!("d{number:02}"), &number.to_string()).delete("b"));
    }
    drop(engine);
    let pages = pages(folder.path());
    let mut bare = vec![0; usize::try_from(pages.len().unwrap()).unwrap()];
    pages.read(0, &mut bare).unwrap();
    let path = folder.path().join("table.redb");
    std::fs::write(&path, bare).unwrap();
    write_to(&path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", 3_u32.to_le_bytes().as_slice()).unwrap();
    });
    folder
}

/// The same as format 2 had it, with the rows of the table made what they were.
fn folder_of_format_2() -> tempfile::TempDir {
    let folder = folder_of_format_3();
    write_to(&folder.path().join("table.redb"), |transaction| {
        transaction.delete_table(BLOCKS).unwrap();
        transaction.delete_table(TALLIES).unwrap();
        transaction.open_table(META).unwrap().insert("format", 2_u32.to_le_bytes().as_slice()).unwrap();
        old_rows(transaction);
    });
    folder
}

fn check(engine: &RedbEngine) {
    let rows = everything(engine);
    assert_eq!(rows.len(), 22);
    assert_eq!(rows[0], "a=2");
    assert_eq!(rows[1], format!("c={}", "x".repeat(3_000)));
    assert_eq!(rows[21], "d19=19");
    let late = refused(block_on(engine.commit(batch().epoch(6))));
    assert_eq!(late, Refusal::Fenced { current: Epoch(7) });
    block_on(engine.checkpoint()).unwrap();
    let scrub = block_on(engine.scrub()).unwrap();
    assert_eq!((scrub.rows, scrub.damages), (22, 0), "{:?}", scrub.listed);
}

/// Opened twice it has everything, and so have the copies: a store that the version which wrote it can open.
fn keeps_everything(folder: &Path) {
    let engine = RedbEngine::open(folder, Options::default()).unwrap();
    check(&engine);
    assert_eq!(committed(&engine, batch().epoch(7).put("e", "1")), Position(23));
    drop(engine);
    let engine = RedbEngine::open(folder, Options::default()).unwrap();
    assert_eq!(everything(&engine).len(), 23);
    assert!(!folder.join("log.redb").exists());
    let copies = folder.join("before-format-4");
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 2);
    check(&RedbEngine::open(&copies, Options::default()).unwrap());
}

#[test]
fn a_store_of_format_1_keeps_all_of_it_and_a_copy_of_what_it_was() {
    keeps_everything(old_folder().path());
}

#[test]
fn a_store_of_format_2_keeps_all_of_it_and_a_copy_of_what_it_was() {
    keeps_everything(folder_of_format_2().path());
}

#[test]
fn a_store_of_format_3_keeps_all_of_it_and_a_copy_of_what_it_was() {
    keeps_everything(folder_of_format_3().path());
}

#[test]
fn a_row_that_was_damaged_before_is_known_to_be_lost_and_the_others_are_kept() {
    let folder = folder_of_format_2();
    write_to(&folder.path().join("table.redb"), |transaction| {
        let mut rows = transaction.open_table(ROWS).unwrap();
        rows.insert(key("bb").as_bytes(), &b"damaged"[..]).unwrap();
    });
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    let failure = block_on(engine.get(&key("bb"))).unwrap_err();
    assert!(is_lost(&failure, "bb"), "{failure:?}");
    let failure = block_on(engine.range(Span::prefix(&Key::default(), 100))).unwrap_err();
    assert!(matches!(&*failure, Failure::Damaged { .. }), "{failure}");
    assert_eq!(block_on(around::range(&engine, Span::prefix(&Key::default(), 100))).unwrap().rows.len(), 22);
}

/// The files of an old folder on a disk that can fail.
fn old_disk(folder: &tempfile::TempDir) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    for name in files.filter(|name| name != "lock").collect::<Vec<_>>() {
        let name = name.as_str();
        let file = disk.shared().open(name).unwrap();
        file.write(0, &std::fs::read(folder.path().join(name)).unwrap()).unwrap();
        file.sync().unwrap();
        // Brings its name to disk too.
        disk.shared().rename(name, name).unwrap();
    }
    disk
}

#[test]
fn a_crash_at_any_step_is_made_good_by_the_next_opening() {
    for folder in [old_folder(), folder_of_format_2(), folder_of_format_3()] {
        crash_at_any_step(&folder);
    }
}

fn crash_at_any_step(folder: &tempfile::TempDir) {
    let disk = old_disk(folder);
    let before = disk.calls();
    let engine = RedbEngine::open_on(disk.shared(), cramped()).unwrap();
    let calls = disk.calls() - before;
    check(&engine);
    drop(engine);
    assert!(calls > 20, "{calls}");
    let step = if std::env::var_os("QUICKBEAM_TESTS_LONG").is_some() { 1 } else { (calls / 40) | 1 };
    for call in (1..calls).step_by(usize::try_from(step).unwrap()) {
        let disk = old_disk(folder);
        let fail_from = Some(disk.calls() + call);
        disk.set(Faults { fail_from, ..Faults::default() });
        // The last calls are those of a thread that only fills the filter.
        drop(RedbEngine::open_on(disk.shared(), cramped()));
        check(&RedbEngine::open_on(disk.after_power_cut().shared(), cramped()).unwrap());
        disk.set(Faults::default());
        check(&RedbEngine::open_on(disk.shared(), cramped()).unwrap());
    }
}

#[test]
fn an_old_log_that_is_gone_or_damaged_leaves_everything_as_it_was() {
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let drop_row = |path: &Path| {
        write(path, |transaction| drop(transaction.open_table(LOG).unwrap().remove(5).unwrap()));
    };
    for loss in [remove as fn(&Path), drop_row] {
        let folder = old_folder();
        loss(&folder.path().join("log.redb"));
        for _ in 0..2 {
            match RedbEngine::open(folder.path(), Options::default()).unwrap_err() {
                OpenError::Failed { file: "log.redb", source: Failure::Damaged { .. } } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_old_table_beside_a_newer_log_is_refused() {
    let folder = old_folder();
    drop(RedbEngine::open(folder.path(), Options::default()).unwrap());
    let copy = folder.path().join("before-format-4/table.redb");
    std::fs::copy(copy, folder.path().join("table.redb")).unwrap();
    let refusal = RedbEngine::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(refusal, OpenError::Failed { file: "table.redb", source: Failure::Damaged { .. } }), "{refusal}");
}

#[test]
fn an_old_store_that_never_held_anything_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("table.redb"), |transaction| {
        transaction.open_table(ROWS).unwrap();
        transaction.open_table(TALLIES).unwrap();
        let held = sealed(b"held", &[0; 16]);
        transaction.open_table(STATE).unwrap().insert("held", held.as_slice()).unwrap();
    });
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    let outcome = block_on(engine.commit(batch().put("a", "1")));
    assert!(matches!(outcome, Outcome::Committed(Position(1))), "{outcome:?}");
}
