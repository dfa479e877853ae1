//! The log on disk: what a tear, a flipped bit, a lost file or a file of another store come to.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use quickbeam::store::disk::{Disk, Folder};
use quickbeam::store::redb::inspect::{self, LogFrame};
use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Engine, Failure, Outcome, RedbEngine};

use crate::disk::{Faults, SimulatedDisk};
use crate::subject::{Words, batch, block_on, committed, cramped, everything, value};

const SECTOR: u64 = 512;
const SEGMENT: &str = "log.000001";

fn open(disk: &SimulatedDisk) -> Result<RedbEngine, OpenError> {
    RedbEngine::open_on(disk.shared(), Options::default())
}

/// What is wrong with the store, as opening says it.
fn damage(opened: Result<RedbEngine, OpenError>) -> String {
    match opened.unwrap_err() {
        OpenError::Failed { source: Failure::Damaged { what, .. }, .. } => what,
        other => panic!("{other:?}"),
    }
}

fn read(disk: &SimulatedDisk, name: &str, offset: u64, bytes: u64) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(bytes).unwrap()];
    disk.shared().open(name).unwrap().read(offset, &mut out).unwrap();
    out
}

fn write(disk: &SimulatedDisk, name: &str, offset: u64, bytes: &[u8]) {
    let file = disk.shared().open(name).unwrap();
    file.write(offset, bytes).unwrap();
    file.sync().unwrap();
}

fn frames(disk: &dyn Disk) -> Vec<LogFrame> {
    let mut frames = Vec::new();
    let shown = inspect::frames(disk, |frame| {
        frames.push(frame);
        ControlFlow::Continue(())
    });
    shown.unwrap();
    frames
}

/// Rows `a`, `b` and `c`, the last one in a frame of five sectors.
fn three_rows() -> (SimulatedDisk, Vec<LogFrame>) {
    let disk = SimulatedDisk::default();
    let engine = open(&disk).unwrap();
    committed(&engine, batch().put("a", "1"));
    committed(&engine, batch().put("b", "1"));
    committed(&engine, batch().put("c", &"x".repeat(2_000)));
    drop(engine);
    let frames = frames(&*disk.shared());
    assert_eq!(frames.len(), 3);
    (disk, frames)
}

#[test]
fn whatever_part_of_the_last_write_reached_the_disk_the_rest_is_there() {
    let (disk, frames) = three_rows();
    let LogFrame { offset, bytes, .. } = frames[2];
    assert_eq!(bytes, 5 * SECTOR);
    for kept in 0..1_u32 << 5 {
        let torn = disk.after_power_cut();
        for sector in (0..5).filter(|sector| kept & (1 << sector) == 0) {
            write(&torn, SEGMENT, offset + sector * SECTOR, &[0; 512]);
        }
        let engine = open(&torn).unwrap();
        let rows = everything(&engine);
        assert_eq!(rows.len(), if kept == 31 { 3 } else { 2 }, "{kept:05b}");
        assert_eq!(rows[..2], ["a=1", "b=1"]);
        // The next frame takes the number and the place of the torn one.
        committed(&engine, batch().put("d", "1"));
        drop(engine);
        assert_eq!(everything(&open(&torn).unwrap()).last().unwrap(), "d=1", "{kept:05b}");
    }
}

#[test]
fn the_pieces_of_two_attempts_at_a_frame_do_not_make_one() {
    let (disk, frames) = three_rows();
    let LogFrame { offset, .. } = frames[2];
    let torn = disk.after_power_cut();
    write(&torn, SEGMENT, offset, &[0; 512]);
    let engine = open(&torn).unwrap();
    committed(&engine, batch().put("c", &"y".repeat(2_000)));
    drop(engine);
    // The head of the second attempt, and the second sector of the first.
    let first = read(&disk, SEGMENT, offset + SECTOR, SECTOR);
    assert_ne!(first, read(&torn, SEGMENT, offset + SECTOR, SECTOR));
    write(&torn, SEGMENT, offset + SECTOR, &first);
    assert_eq!(everything(&open(&torn).unwrap()), ["a=1", "b=1"]);
}

#[test]
fn a_flipped_bit_anywhere_in_the_log_is_refused_and_its_frame_is_named() {
    let (disk, frames) = three_rows();
    let end = frames[2].offset + frames[2].bytes;
    for offset in (0..end).step_by(37) {
        let flipped = disk.after_power_cut();
        let mut byte = read(&flipped, SEGMENT, offset, 1);
        byte[0] ^= 1 << (offset % 8);
        write(&flipped, SEGMENT, offset, &byte);
        let what = damage(open(&flipped));
        assert!(what.starts_with("log.000001 at byte "), "{what}");
        if let Some(frame) = frames.iter().find(|frame| (frame.offset..frame.offset + frame.bytes).contains(&offset)) {
            assert!(what.contains(&format!("frame {}", frame.number)), "{what}");
        }
    }
}

#[test]
fn a_frame_that_is_gone_before_another_is_damage_and_never_cut_off() {
    let (disk, frames) = three_rows();
    for frame in &frames[..2] {
        let holed = disk.after_power_cut();
        write(&holed, SEGMENT, frame.offset, &[0; 512]);
        let what = damage(open(&holed));
        assert!(what.contains(&format!("frame {} is lost", frame.number)), "{what}");
    }
    let cut = disk.after_power_cut();
    let file = cut.shared().open(SEGMENT).unwrap();
    file.set_len(frames[2].offset + SECTOR).unwrap();
    file.sync().unwrap();
    assert!(damage(open(&cut)).contains("cut short"));
}

/// The sizes of the files of the log.
fn files(disk: &SimulatedDisk) -> Vec<u64> {
    inspect::files(&*disk.shared()).unwrap().into_iter().map(|file| file.bytes).collect()
}

#[test]
fn files_are_used_again_and_what_they_held_before_is_never_taken_for_new() {
    let disk = SimulatedDisk::default();
    let mut grown = Vec::new();
    for round in 0..12 {
        let engine = RedbEngine::open_on(disk.shared(), cramped()).unwrap();
        for number in 0..40 {
            committed(&engine, batch().put(&format!("{number:02}"), &format!("{round} {}", "x".repeat(number * 17))));
        }
        let shown = everything(&engine);
        drop(engine);
        let crashed = RedbEngine::open_on(disk.after_power_cut().shared(), cramped()).unwrap();
        assert_eq!(everything(&crashed), shown);
        if round == 5 {
            grown = files(&disk);
        }
    }
    assert!(files(&disk).len() <= grown.len() + 1, "{:?} after {grown:?}", files(&disk));
    let turns: Vec<u64> = inspect::files(&*disk.shared()).unwrap().into_iter().map(|file| file.turn).collect();
    assert!(turns.is_sorted() && *turns.last().unwrap() > 20, "{turns:?}");
}

#[test]
fn a_log_that_has_grown_large_is_small_again_with_a_smaller_bound() {
    let folder = tempfile::tempdir().unwrap();
    let filled = |overlay_bytes_max, rows: u64| {
        let options = Options { overlay_bytes_max, ..Options::default() };
        let engine = RedbEngine::open(folder.path(), options).unwrap();
        for number in 0..rows {
            committed(&engine, batch().put(&format!("{}", number % 10), &"x".repeat(10_000)));
        }
        engine.stats().log.bytes
    };
    let large = filled(4 << 20, 300);
    assert!(large > 2_000_000, "{large}");
    let small = filled(100_000, 300);
    assert!(small < large / 4, "{small} after {large}");
}

#[test]
fn a_new_store_is_small_and_a_large_batch_finds_room() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk).unwrap();
    committed(&engine, batch().put("a", "1"));
    assert!(engine.stats().log.bytes <= 64 << 10);
    let large = "x".repeat(20 << 20);
    committed(&engine, batch().put("b", &large));
    committed(&engine, batch().put("c", "1"));
    drop(engine);
    let engine = open(&disk.after_power_cut()).unwrap();
    assert_eq!(value(&engine, "b").unwrap(), large);
    assert_eq!(value(&engine, "c").as_deref(), Some("1"));
}

#[test]
fn a_log_that_is_gone_or_garbled_or_of_another_store_is_refused() {
    for loss in [lose, empty, garble, exchange] {
        let folder = tempfile::tempdir().unwrap();
        drop(RedbEngine::open(folder.path(), Options::default()).unwrap());
        loss(&folder.path().join(SEGMENT)).unwrap();
        let what = damage(RedbEngine::open(folder.path(), Options::default()));
        assert!(what.contains("log"), "{what}");
    }
}

fn lose(log: &Path) -> io::Result<()> {
    std::fs::remove_file(log)
}

fn empty(log: &Path) -> io::Result<()> {
    std::fs::write(log, b"")
}

fn garble(log: &Path) -> io::Result<()> {
    std::fs::write(log, vec![0x55; 4096])
}

fn exchange(log: &Path) -> io::Result<()> {
    let other = tempfile::tempdir()?;
    drop(RedbEngine::open(other.path(), Options::default()).unwrap());
    std::fs::copy(other.path().join(SEGMENT), log).map(drop)
}

#[test]
fn a_table_that_is_gone_is_not_made_anew_beside_its_log() {
    let folder = tempfile::tempdir().unwrap();
    drop(RedbEngine::open(folder.path(), Options::default()).unwrap());
    std::fs::remove_file(folder.path().join("table.redb")).unwrap();
    damage(RedbEngine::open(folder.path(), Options::default()));
    assert!(folder.path().join(SEGMENT).exists(), "what is left can still be read");
}

#[test]
fn a_log_that_was_put_back_in_an_older_state_is_refused() {
    let disk = SimulatedDisk::default();
    drop(open(&disk).unwrap());
    let older = read(&disk, SEGMENT, 0, 4096);
    let engine = open(&disk).unwrap();
    committed(&engine, batch().put("a", "1"));
    block_on(engine.checkpoint()).unwrap();
    drop(engine);
    write(&disk, SEGMENT, 0, &older);
    assert!(damage(open(&disk)).contains("the log ends before frame 1"));
}

#[test]
fn a_newer_segment_is_refused_and_left_alone() {
    let disk = SimulatedDisk::default();
    drop(open(&disk).unwrap());
    let mut header = read(&disk, SEGMENT, 0, SECTOR);
    header[8] = 3;
    let crc = crc32fast::hash(&[&header[..12], &header[16..]].concat());
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    write(&disk, SEGMENT, 0, &header);
    let refusal = open(&disk).unwrap_err();
    assert!(matches!(refusal, OpenError::Newer { file: "log", found: 3, known: 2 }), "{refusal}");
    assert_eq!(read(&disk, SEGMENT, 0, SECTOR), header);
}

#[test]
fn one_group_is_one_write_and_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    // Past the first steps, in which the file grows.
    committed(&engine, batch().put("a", &"x".repeat(5_000)));
    committed(&engine, batch().put("a", &"x".repeat(4_000)));
    let before = engine.stats().log;
    for number in 0..8 {
        committed(&engine, batch().put(&format!("b{number}"), "1"));
    }
    let after = engine.stats().log;
    assert_eq!((after.syncs - before.syncs, after.bytes_written - before.bytes_written), (8, 8 * SECTOR));
    assert_eq!(after.bytes, before.bytes);
}

#[test]
fn a_full_disk_fails_before_anything_of_the_batch_is_written() {
    let disk = SimulatedDisk::default();
    let engine = open(&disk).unwrap();
    disk.set(Faults { bytes_max: Some(4096), ..Faults::default() });
    let outcome = block_on(engine.commit(batch().put("a", &"x".repeat(10_000))));
    assert!(matches!(&outcome, Outcome::Failed(failure) if matches!(**failure, Failure::Full(_))), "{outcome:?}");
    disk.set(Faults::default());
    committed(&engine, batch().epoch(1).put("b", "1"));
    drop(engine);
    assert_eq!(everything(&open(&disk).unwrap()), ["b=1"]);
}

#[test]
fn a_log_shows_its_frames_and_their_batches() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    committed(&engine, batch().epoch(4).put("a", "1").put("b", "2"));
    committed(&engine, batch().epoch(5).delete("a"));
    let frames = frames(&Folder::new(folder.path()).unwrap());
    let shown: Vec<_> = frames.iter().map(|frame| (frame.number, frame.offset, frame.bytes)).collect();
    assert_eq!(shown, [(1, 512, 512), (2, 1024, 512)]);
    let batches: Vec<_> = frames.iter().flat_map(|frame| &frame.batches).collect();
    assert_eq!((batches[0].puts, batches[0].deletes, batches[0].value_bytes), (2, 0, 2));
    assert_eq!((batches[1].puts, batches[1].deletes, batches[1].fence.epoch.0), (0, 1, 5));
}
