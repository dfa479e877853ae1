//! What stands on the simulated disk: files with what is not synced yet, their names, and what of it a crash leaves.

use std::collections::{BTreeMap, BTreeSet};

use crate::dice::Dice;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// What a file system gives to a file at a time.
const BLOCK: u64 = 4096;

/// One file: what readers see, what is surely on the disk, and what was written in between.
#[derive(Debug, Default, Clone)]
pub(crate) struct Image {
    pub(crate) now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    blocks: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// How much of what is not synced a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// As after a power cut of a disk that had begun nothing.
    Nothing,
    /// As when only the process was killed.
    Everything,
    /// What came before a moment, and of the write at that moment some sectors.
    Beginning,
    /// Each sector of each write with this chance in a hundred, in whatever order.
    Some(u64),
}

impl Leaves {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Beginning,
            4 => Self::Some(5),
            5 => Self::Some(95),
            _ => Self::Some(50),
        }
    }
}

impl Image {
    pub(crate) fn of(content: Vec<u8>) -> Self {
        let blocks = (0..(content.len() as u64).div_ceil(BLOCK)).collect();
        Self { synced: content.clone(), now: content, unsynced: Vec::new(), blocks }
    }

    pub(crate) fn write(&mut self, from: usize, data: &[u8]) {
        self.blocks.extend(blocks(from, data.len()));
        put(&mut self.now, from, data);
        self.unsynced.push(Change::Write(from, data.to_vec()));
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        self.now.resize(len, 0);
        self.blocks.retain(|&block| block * BLOCK < len as u64);
        self.unsynced.push(Change::Length(len));
    }

    /// Blocks that this write would need and the file does not have.
    pub(crate) fn blocks_missing(&self, from: usize, len: usize) -> u64 {
        blocks(from, len).filter(|block| !self.blocks.contains(block)).count() as u64
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.synced);
        }
    }

    /// As kernels do it: what could not be written counts as written from now on, and readers go on seeing it.
    pub(crate) fn sync_and_fail(&mut self, dice: &mut Dice) {
        let leaves = Leaves::any(dice);
        self.synced = self.left(leaves, dice);
        self.unsynced.clear();
    }

    /// The content after a crash.
    pub(crate) fn left(&self, leaves: Leaves, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.synced.clone();
        let cut = usize::try_from(dice.below(self.unsynced.len() as u64 + 1)).unwrap();
        for (index, change) in self.unsynced.iter().enumerate() {
            let percent = match leaves {
                Leaves::Nothing => 0,
                Leaves::Everything => 100,
                Leaves::Beginning if index < cut => 100,
                Leaves::Beginning if index == cut => 50,
                Leaves::Beginning => 0,
                Leaves::Some(percent) => percent,
            };
            change.apply_some(&mut content, percent, dice);
        }
        content
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write(from, data) => put(content, from, &data),
            Self::Length(len) => content.resize(len, 0),
        }
    }

    fn apply_some(&self, content: &mut Vec<u8>, percent: u64, dice: &mut Dice) {
        match self {
            Self::Length(len) if dice.percent(percent) => content.resize(*len, 0),
            Self::Length(_) => {}
            Self::Write(from, data) => {
                for (at, piece) in sectors(*from, data) {
                    if dice.percent(percent) {
                        put(content, at, piece);
                    }
                }
            }
        }
    }
}

/// The names of files: as they are seen, and as they surely are on the disk.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(crate) now: BTreeMap<String, u64>,
    synced: BTreeMap<String, u64>,
    unsynced: Vec<Naming>,
}

#[derive(Debug, Clone)]
enum Naming {
    Created(String, u64),
    Removed(String),
    /// In one go: the file has the old name or the new one.
    Renamed(String, String, u64),
}

impl Names {
    pub(crate) fn of(names: BTreeMap<String, u64>) -> Self {
        Self { synced: names.clone(), now: names, unsynced: Vec::new() }
    }

    pub(crate) fn create(&mut self, name: &str, file: u64) {
        self.note(Naming::Created(name.to_owned(), file));
    }

    /// False when there is no such name.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let found = self.now.contains_key(name);
        if found {
            self.note(Naming::Removed(name.to_owned()));
        }
        found
    }

    /// False when there is no such name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        let file = self.now.get(from).copied();
        if let Some(file) = file {
            self.note(Naming::Renamed(from.to_owned(), to.to_owned(), file));
        }
        file.is_some()
    }

    /// The folder is synced.
    pub(crate) fn sync(&mut self) {
        self.unsynced.clear();
        self.synced = self.now.clone();
    }

    /// The names after a crash.
    pub(crate) fn left(&self, leaves: Leaves, dice: &mut Dice) -> BTreeMap<String, u64> {
        let mut names = self.synced.clone();
        for naming in &self.unsynced {
            let percent = match leaves {
                Leaves::Nothing => 0,
                Leaves::Everything => 100,
                Leaves::Beginning => 50,
                Leaves::Some(percent) => percent,
            };
            if dice.percent(percent) {
                naming.apply(&mut names);
            }
        }
        names
    }

    fn note(&mut self, naming: Naming) {
        naming.apply(&mut self.now);
        self.unsynced.push(naming);
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Created(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Removed(name) => drop(names.remove(name)),
            Self::Renamed(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, from: usize, data: &[u8]) {
    content.resize(content.len().max(from + data.len()), 0);
    content[from..from + data.len()].copy_from_slice(data);
}

fn blocks(from: usize, len: usize) -> std::ops::Range<u64> {
    from as u64 / BLOCK..((from + len) as u64).div_ceil(BLOCK)
}

/// The parts of a write that each fall into one sector.
fn sectors(from: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = from;
    let mut rest = data;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
        let found = (at, piece);
        (at, rest) = (at + piece.len(), after);
        (!piece.is_empty()).then_some(found)
    })
}
