//! Looks at every row of the table, and for rows that ought to be there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::table::View;
use super::tally::{self, Tally};
use super::walk::Passed;
use crate::store::{Failure, Key};

/// Damage listed by name; more would only fill memory.
const DAMAGE_LISTED_MAX: usize = 1_000;

/// What a scrub has found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Scrub {
    pub rows: u64,
    /// How many things are wrong, and the first thousand of them in words.
    pub damages: u64,
    pub listed: Vec<String>,
    /// The keys of damaged rows, and the first parts of those of areas whose rows are not what was written.
    #[serde(skip)]
    pub keys: Vec<Key>,
}

impl Scrub {
    pub(crate) fn note(&mut self, damage: impl FnOnce() -> String) {
        self.damages += 1;
        if self.listed.len() < DAMAGE_LISTED_MAX {
            self.listed.push(damage());
        }
    }

    fn name(&mut self, key: Key) {
        if self.keys.len() < DAMAGE_LISTED_MAX {
            self.keys.push(key);
        }
    }
}

/// What the rows looked at so far sum up to, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Tallied {
    scrub: Scrub,
    found: BTreeMap<Vec<u8>, Tally>,
}

impl Tallied {
    /// Takes in what a walk passes.
    pub(super) fn see(&mut self, passed: &Passed<'_>) {
        match *passed {
            Passed::Row(key, row) => {
                self.scrub.rows += 1;
                let area = tally::area(key);
                match self.found.get_mut(area) {
                    Some(tally) => tally.add(row),
                    None => self.found.entry(area.to_vec()).or_default().add(row),
                }
            }
            Passed::Lost(from, to) => {
                self.scrub.note(|| named(from, to));
                self.scrub.name(Key::from_bytes(from.to_vec()));
            }
            Passed::Unsealed(separator) => {
                let separator = separator.escape_ascii();
                self.scrub.note(|| format!("the block at {separator} does not match its checksum, its rows do"));
            }
        }
    }

    /// A page above a row may lead elsewhere: then it is counted in a walk, and nobody who asks for it gets it.
    pub(super) fn find(&mut self, view: &View, key: &[u8]) {
        if !view.finds(key) {
            self.scrub.note(|| format!("the row {} is there and not found by its key", key.escape_ascii()));
            self.scrub.name(Key::from_bytes(key.to_vec()));
        }
    }

    pub(super) fn so_far(&self) -> &Scrub {
        &self.scrub
    }

    /// When all rows were seen: what they sum up to against what was written.
    pub(super) fn compare(self, view: &View) -> Result<Scrub, Failure> {
        let Self { mut scrub, mut found } = self;
        for (area, written) in view.tallies()? {
            let found = found.remove(&area).unwrap_or_default();
            compare(&mut scrub, Key::from_bytes(area), found, written);
        }
        for (area, found) in found {
            compare(&mut scrub, Key::from_bytes(area), found, Some(Tally::default()));
        }
        Ok(scrub)
    }
}

/// Checks the rows one by one, and what they sum up to against what was written.
pub(super) fn run(view: &View) -> Result<Scrub, Failure> {
    let mut tallied = Tallied::default();
    view.walk(|passed| {
        tallied.see(&passed);
        if let Passed::Row(key, _) = passed {
            tallied.find(view, key);
        }
        ControlFlow::Continue(())
    })?;
    tallied.compare(view)
}

/// Damage with its keys, for whoever looks into the store itself.
fn named(from: &[u8], to: &[u8]) -> String {
    match to {
        [most @ .., 0] if most == from => format!("the row {} does not match its checksum", from.escape_ascii()),
        [] => format!("what stands from {} on cannot be told", from.escape_ascii()),
        _ => format!("what stands from {} up to {} cannot be told", from.escape_ascii(), to.escape_ascii()),
    }
}

fn compare(scrub: &mut Scrub, area: Key, found: Tally, written: Option<Tally>) {
    if written != Some(found) {
        scrub.name(area.clone());
    }
    match written {
        None => scrub.note(|| format!("the tally of {area:?} cannot be read")),
        Some(written) if written == found => {}
        Some(Tally { count, .. }) if count != found.count => {
            scrub.note(|| format!("{area:?} has {} rows, {count} were written", found.count));
        }
        Some(_) => scrub.note(|| format!("the rows of {area:?} are not those that were written")),
    }
}
