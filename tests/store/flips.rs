//! One flipped bit anywhere in the files of a store: no wrong value is served, damage is named, vanished rows are found.
//!
//! `QUICKBEAM_TESTS_LONG=1` flips 10,000 bits, `QUICKBEAM_TESTS_FLIPS` as many as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Engine, Failure, Key, Outcome, ReadError, RedbEngine, Row, Span, Versioned};

use crate::dice::{Dice, count, seed};
use crate::disk::SimulatedDisk;
use crate::history::all;
use crate::life::tiny;
use crate::subject::{Words, batch, block_on};
use crate::threads::on_two_threads;

const PROGRESS: u64 = 2_000;
const PAGE_BYTES: usize = 4_096;
const KEYS: u64 = 900;
/// One in so many keys is read by itself, others with each flip.
const STRIDE: u64 = 30;

/// A store at rest, and what it holds.
struct Sound {
    what: &'static str,
    disk: SimulatedDisk,
    rows: BTreeMap<Key, Row>,
}

/// What became of the flips.
#[derive(Debug, Default)]
struct Met {
    flips: AtomicU64,
    /// The bit was in space that nothing uses.
    unnoticed: AtomicU64,
    would_not_open: AtomicU64,
    /// Some reads said that the data is damaged.
    named: AtomicU64,
    /// No read said so, but rows were missing.
    vanished: AtomicU64,
    /// Of those, the ones that the scrub finds.
    vanished_found: AtomicU64,
    writes_failed: AtomicU64,
    /// What was committed could not be brought into the table.
    not_writable: AtomicU64,
}

fn note(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// Rows in several areas, some overwritten and some deleted; a killed one has as much again in its log.
fn sound(what: &'static str, seed: u64, is_closed: bool) -> Sound {
    let mut dice = Dice::of(seed);
    let disk = SimulatedDisk::seeded(seed);
    let engine = RedbEngine::open_on(disk.shared(), Options { overlay_bytes_max: 8 << 20, ..tiny() }).unwrap();
    fill(&engine, &mut dice);
    block_on(engine.checkpoint()).unwrap();
    if !is_closed {
        fill(&engine, &mut dice);
    }
    let rows = block_on(engine.range(all())).unwrap();
    if is_closed {
        engine.close();
    }
    let rows = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    Sound { what, disk: disk.after_kill(), rows }
}

fn fill(engine: &RedbEngine, dice: &mut Dice) {
    let batches = (0..60).map(|_| {
        let mut batch = batch();
        let keys: BTreeSet<u64> = (0..20).map(|_| dice.below(KEYS)).collect();
        for number in keys {
            match dice.below(6) {
                0 => batch.deletes.push(key(number)),
                _ => batch.puts.push((key(number), number.to_le_bytes().repeat(1 + dice.scale(64) as usize).into())),
            }
        }
        engine.commit(batch)
    });
    let outcomes = block_on(join_all(batches.collect::<Vec<_>>()));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))));
}

fn key(number: u64) -> Key {
    Key::build().text(["east", "north", "west"][usize::try_from(number % 3).unwrap()]).number(number).done()
}

#[test]
fn a_flipped_bit_is_never_served_whatever_it_hits() {
    let (wanted, seed) = (count("QUICKBEAM_TESTS_FLIPS", 300, 10_000), seed("flips"));
    let stores = [sound("closed", seed, true), sound("killed", seed, false)];
    let met = Met::default();
    let files = stores.each_ref().map(|store| store.disk.files());
    on_two_threads(|number| {
        let mut dice = Dice::of(seed.wrapping_add(number));
        let which = usize::from(dice.one_in(2));
        let (file, bit) = place(&mut dice, &files[which]);
        Flip { store: &stores[which], file: &file, bit, met: &met }.check();
        let flips = note(&met.flips);
        if flips.is_multiple_of(PROGRESS) {
            println!("{flips} flips");
        }
        flips < wanted
    });
    println!("{met:?}: no wrong value served");
    assert!(met.named.into_inner() + met.would_not_open.into_inner() > 0, "no flip was noticed at all");
}

/// The first written bit of each page, so that redb meets every page that can be damaged in each of its roles.
#[test]
fn no_damaged_page_of_the_table_is_followed() {
    let seed = seed("pages");
    let met = Met::default();
    let places: Vec<_> = [sound("closed", seed, true), sound("killed", seed, false)]
        .into_iter()
        .flat_map(|store| {
            let files = store.disk.files();
            let (file, content) = files.into_iter().find(|(name, _)| name.starts_with("table")).unwrap();
            let store = Arc::new(store);
            let pages = content.chunks(PAGE_BYTES).zip((0..).step_by(PAGE_BYTES * 8));
            let bits = pages.filter_map(|(page, at)| Some(at + page.iter().position(|byte| *byte != 0)? * 8));
            bits.map(move |bit| (store.clone(), file.clone(), bit)).collect::<Vec<_>>()
        })
        .collect();
    let next = AtomicU64::new(0);
    on_two_threads(|_| {
        let Some((store, file, bit)) = places.get(usize::try_from(note(&next)).unwrap() - 1) else { return false };
        note(&met.flips);
        Flip { store, file, bit: *bit, met: &met }.check();
        true
    });
    println!("{met:?}: no page followed");
    assert_eq!(met.flips.into_inner(), places.len() as u64);
    assert!(places.len() > 50, "{}", places.len());
}

/// Anywhere in a file, of which each has the same chance; mostly where something is written, for much is free, and often
/// where the table says what is where.
fn place(dice: &mut Dice, files: &[(String, Vec<u8>)]) -> (String, usize) {
    if dice.one_in(4) {
        let (file, content) = files.iter().find(|(name, _)| name.starts_with("table")).unwrap();
        let pages = content.chunks_exact(PAGE_BYTES).zip((0..).step_by(PAGE_BYTES));
        let places: Vec<_> = pages.filter_map(|(page, at)| Some(at..at + keys_end(page)?)).collect();
        let place = places[usize::try_from(dice.below(places.len() as u64)).unwrap()].clone();
        return (file.clone(), place.start * 8 + usize::try_from(dice.below(place.len() as u64 * 8)).unwrap());
    }
    let (file, content) = &files[usize::try_from(dice.below(files.len() as u64)).unwrap()];
    let tries = if dice.one_in(4) { 1 } else { 1_000 };
    let mut bits = (0..tries).map(|_| usize::try_from(dice.below(content.len() as u64 * 8)).unwrap());
    let first = bits.next().unwrap();
    (file.clone(), bits.find(|bit| content[bit / 8] != 0).unwrap_or(first))
}

/// Where the keys end in a page that begins as one of keys and values does.
fn keys_end(page: &[u8]) -> Option<usize> {
    let pairs = usize::from(u16::from_le_bytes([page[2], page[3]]));
    let last = 4 * pairs;
    let end = page.get(last..last + 4).filter(|_| page[..2] == [1, 0] && pairs > 0)?;
    let end = u32::from_le_bytes(end.try_into().unwrap()) as usize;
    (end <= page.len()).then_some(end)
}

struct Flip<'a> {
    store: &'a Sound,
    file: &'a str,
    bit: usize,
    met: &'a Met,
}

impl Flip<'_> {
    fn check(&self) {
        let disk = self.store.disk.with_flipped(self.file, self.bit);
        match RedbEngine::open_on(disk.shared(), tiny()) {
            Ok(engine) => self.read(&engine),
            Err(OpenError::Newer { .. } | OpenError::Failed { source: Failure::Damaged { .. }, .. }) => {
                note(&self.met.would_not_open);
            }
            Err(error) => self.fail(&format!("{error:?}")),
        }
    }

    fn read(&self, engine: &RedbEngine) {
        let (mut missing, mut named) = (0, 0);
        for number in (self.bit as u64 % STRIDE..KEYS).step_by(STRIDE as usize) {
            let key = key(number);
            let answer = block_on(engine.get(&key))
                .map(|row| row.map(|Versioned { version, value }| Row { key: key.clone(), version, value }));
            let expected = self.store.rows.get(&key);
            match self.judge(answer) {
                None => named += 1,
                Some(None) => missing += usize::from(expected.is_some()),
                Some(Some(row)) if Some(&row) == expected => {}
                Some(Some(row)) => self.fail(&format!("{row:?} instead of {expected:?}")),
            }
        }
        for area in ["east", "north", "west"] {
            let prefix = Key::build().text(area).done();
            match self.judge(block_on(engine.range(Span::prefix(&prefix, usize::MAX)))) {
                None => named += 1,
                Some(rows) => {
                    let expected = self.store.rows.keys().filter(|key| key.starts_with(&prefix)).count();
                    missing += expected.saturating_sub(rows.len());
                    if let Some(row) = rows.iter().find(|row| self.store.rows.get(&row.key) != Some(row)) {
                        self.fail(&format!("{row:?} was never written"));
                    }
                }
            }
        }
        match (named, missing) {
            (0, 0) => drop(note(&self.met.unnoticed)),
            (0, _) => self.vanished(engine),
            _ => self.named(engine),
        }
        self.write(engine);
    }

    /// The answer, or that it was damage.
    fn judge<T>(&self, answer: Result<T, ReadError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) if matches!(&*error, Failure::Damaged { what, .. } if !what.contains("order")) => None,
            Err(error) => self.fail(&format!("{error:?}")),
        }
    }

    /// Whatever a reader stumbles over, the scrub has to find too.
    fn named(&self, engine: &RedbEngine) {
        note(&self.met.named);
        if self.file.starts_with("table") && !self.is_found(engine) {
            self.fail("reads name damage that the scrub does not find");
        }
    }

    fn is_found(&self, engine: &RedbEngine) -> bool {
        let scrub = block_on(async {
            engine.checkpoint().await?;
            engine.scrub().await
        });
        scrub.is_err() || scrub.is_ok_and(|scrub| scrub.damages > 0)
    }

    fn vanished(&self, engine: &RedbEngine) {
        note(&self.met.vanished);
        if self.is_found(engine) {
            note(&self.met.vanished_found);
        } else if self.file.starts_with("table") {
            self.fail("rows vanished, and the scrub does not find that");
        } else {
            println!("{}: rows vanished with bit {} of {} and nothing tells", self.store.what, self.bit, self.file);
        }
    }

    /// Whatever is damaged, a write is answered, and its value is right.
    fn write(&self, engine: &RedbEngine) {
        match block_on(engine.commit(batch().epoch(1_000).put("new", "1"))) {
            Outcome::Committed(_) => {
                let taken = block_on(engine.checkpoint());
                let new = self.judge(block_on(engine.get(&crate::subject::key("new"))));
                if new.is_some_and(|new| new.is_none_or(|row| row.value != "1")) {
                    self.fail("what was committed just now is not there");
                }
                if taken.is_err_and(|failure| matches!(*failure, Failure::Damaged { .. })) {
                    note(&self.met.not_writable);
                    self.is_seen_at_rest();
                }
            }
            Outcome::Failed(_) | Outcome::Unknown(_) => drop(note(&self.met.writes_failed)),
            Outcome::Refused(refusal) => self.fail(&refusal.to_string()),
        }
        if let Outcome::Failed(failure) = block_on(engine.commit(batch().epoch(1_001)))
            && matches!(*failure, Failure::Closed)
        {
            self.fail("a thread of the engine has ended");
        }
    }

    /// Whatever stops a checkpoint is found in the store at rest, before anybody writes to it.
    fn is_seen_at_rest(&self) {
        let disk = self.store.disk.with_flipped(self.file, self.bit);
        let Ok(engine) = RedbEngine::look_on(disk.shared(), tiny()) else { return };
        let scrub = block_on(engine.scrub());
        engine.close();
        let rows_are_sound = scrub.is_ok_and(|scrub| scrub.damages == 0);
        if rows_are_sound && RedbEngine::is_whole(disk.shared()).unwrap() {
            self.fail("a checkpoint names damage that looking at the store does not find");
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("bit {} of {} of the {} store: {what}", self.bit, self.file, self.store.what);
    }
}
