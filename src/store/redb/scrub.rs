//! Looks at every row of the table, and for rows that ought to be there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::table::{self, Tally, View};
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
}

impl Scrub {
    fn note(&mut self, damage: impl FnOnce() -> String) {
        self.damages += 1;
        if self.listed.len() < DAMAGE_LISTED_MAX {
            self.listed.push(damage());
        }
    }
}

/// Checks the rows one by one, and what they sum up to against what was written.
pub(super) fn run(view: &View) -> Result<Scrub, Failure> {
    let mut scrub = Scrub::default();
    let mut found = BTreeMap::<Vec<u8>, Tally>::new();
    view.walk(|key, stored| {
        scrub.rows += 1;
        if let Err(error) = table::decode(key, stored) {
            scrub.note(|| error.to_string());
        }
        // A page above it may lead elsewhere: then it is counted here, and nobody who asks for it gets it.
        if !view.finds(key) {
            scrub.note(|| format!("the row {} is there and not found by its key", key.escape_ascii()));
        }
        let area = table::area(key);
        match found.get_mut(area) {
            Some(tally) => tally.add(stored),
            None => found.entry(area.to_vec()).or_default().add(stored),
        }
        ControlFlow::Continue(())
    })?;
    for (area, written) in view.tallies()? {
        let found = found.remove(&area).unwrap_or_default();
        compare(&mut scrub, Key::from_bytes(area), found, written);
    }
    for (area, found) in found {
        compare(&mut scrub, Key::from_bytes(area), found, Some(Tally::default()));
    }
    Ok(scrub)
}

fn compare(scrub: &mut Scrub, area: Key, found: Tally, written: Option<Tally>) {
    match written {
        None => scrub.note(|| format!("the tally of {area:?} cannot be read")),
        Some(written) if written == found => {}
        Some(Tally { count, .. }) if count != found.count => {
            scrub.note(|| format!("{area:?} has {} rows, {count} were written", found.count));
        }
        Some(_) => scrub.note(|| format!("the rows of {area:?} are not those that were written")),
    }
}
