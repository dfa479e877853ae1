//! A disk in memory that can fail at any call, fill up, hold a sync back, and lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quickbeam::store::disk::{Disk, File, Guard, LockError};

use crate::dice::Dice;
use crate::image::{Image, Leaves, Names, SECTOR};

#[derive(Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    names: Names,
    files: BTreeMap<u64, Image>,
    locked: bool,
    calls: u64,
    faults: Faults,
    /// Syncs of files whose names begin like this wait.
    held_back: Option<String>,
    crash_at: Option<u64>,
    /// What the crash has left; from then on every call fails.
    crashed: Option<Contents>,
    dice: Dice,
}

pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// What goes wrong. Calls are counted from the first: opening, asking for a length, reading, writing, setting a length,
/// syncing, renaming and removing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// From this call on, or only this one.
    pub(crate) fail_from: Option<u64>,
    pub(crate) only_once: bool,
    pub(crate) syncs_fail: bool,
    /// That many syncs more, and then none.
    pub(crate) syncs_left: Option<u64>,
    /// No file may be set to more than this: a file system that reserves what a file is long.
    pub(crate) bytes_max: Option<u64>,
    /// No more blocks than this are written: a file system that notices only then.
    pub(crate) blocks_max: Option<u64>,
}

/// A disk on which nothing goes wrong.
pub(crate) const SOUND: Faults = Faults {
    fail_from: None,
    only_once: false,
    syncs_fail: false,
    syncs_left: None,
    bytes_max: None,
    blocks_max: None,
};

impl SimulatedDisk {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::holding(Contents::new(), Dice::of(seed))
    }

    pub(crate) fn holding(contents: Contents, dice: Dice) -> Self {
        let mut state = State { dice, ..State::default() };
        let mut names = BTreeMap::new();
        for ((name, content), number) in contents.into_iter().zip(0..) {
            names.insert(name, number);
            state.files.insert(number, Image::of(content));
        }
        state.names = Names::of(names);
        Self(Arc::new(Inner { state: Mutex::new(state), released: Condvar::new() }))
    }

    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(Self(self.0.clone()))
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.state.lock().calls
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.0.state.lock().faults != SOUND
    }

    /// The longest file.
    pub(crate) fn bytes_longest(&self) -> u64 {
        self.0.state.lock().named().map(|(_, image)| image.now.len() as u64).max().unwrap_or_default()
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.0.state.lock().blocks()
    }

    /// Holds back the syncs of files whose names begin like this, or none any more.
    pub(crate) fn hold_back(&self, name: Option<&str>) {
        self.0.state.lock().held_back = name.map(str::to_owned);
        self.0.released.notify_all();
    }

    /// The power fails at that call, counted from the first.
    pub(crate) fn crash_at(&self, call: u64) {
        self.0.state.lock().crash_at = Some(call);
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.0.state.lock().crashed.is_some()
    }

    /// The disk after the crash, which comes now if it did not come yet.
    pub(crate) fn after_crash(&self) -> Self {
        let mut state = self.0.state.lock();
        state.crash();
        let contents = state.crashed.clone().expect("it has just crashed");
        let dice = Dice::of(state.dice.next());
        drop(state);
        self.0.released.notify_all();
        Self::holding(contents, dice)
    }

    /// What a power cut at this moment leaves when nothing unsynced survives.
    pub(crate) fn after_power_cut(&self) -> Self {
        self.left(Leaves::Nothing)
    }

    /// What is there when the process is killed at this moment.
    pub(crate) fn after_kill(&self) -> Self {
        self.left(Leaves::Everything)
    }

    fn left(&self, leaves: Leaves) -> Self {
        let mut state = self.0.state.lock();
        let contents = state.left(leaves);
        Self::holding(contents, state.dice.clone())
    }

    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.0.state.lock();
        state
            .named()
            .filter(|(_, image)| !image.now.is_empty())
            .map(|(name, image)| (name.clone(), image.now.clone()))
            .collect()
    }

    /// A copy of this disk on which one bit of a file is another.
    pub(crate) fn with_flipped(&self, name: &str, bit: usize) -> Self {
        let mut state = self.0.state.lock();
        let mut contents = state.left(Leaves::Everything);
        contents.get_mut(name).expect("a file that is there")[bit / 8] ^= 1 << (bit % 8);
        Self::holding(contents, state.dice.clone())
    }
}

impl State {
    fn named(&self) -> impl Iterator<Item = (&String, &Image)> {
        self.names.now.iter().map(|(name, file)| (name, &self.files[file]))
    }

    fn blocks(&self) -> u64 {
        self.named().map(|(_, image)| image.blocks()).sum()
    }

    fn left(&mut self, leaves: Leaves) -> Contents {
        let names = self.names.left(leaves, &mut self.dice);
        names.into_iter().map(|(name, file)| (name, self.files[&file].left(leaves, &mut self.dice))).collect()
    }

    fn crash(&mut self) {
        if self.crashed.is_none() {
            let leaves = Leaves::any(&mut self.dice);
            self.crashed = Some(self.left(leaves));
            self.held_back = None;
        }
    }

    /// Counts a call, and says whether it fails.
    fn called(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.crash_at == Some(self.calls) {
            self.crash();
        }
        let Faults { fail_from, only_once, .. } = self.faults;
        match fail_from {
            _ if self.crashed.is_some() => Err(io::Error::other("the power is gone")),
            Some(from) if self.calls == from || (self.calls > from && !only_once) => Err(io::Error::other("simulated")),
            _ => Ok(()),
        }
    }

    fn is_full(&self, file: u64, from: usize, len: usize) -> bool {
        let missing = self.files[&file].blocks_missing(from, len);
        self.faults.blocks_max.is_some_and(|most| missing > 0 && self.blocks() + missing > most)
    }

    fn sync_fails(&mut self) -> bool {
        if self.faults.syncs_left == Some(0) {
            self.faults.syncs_fail = true;
        }
        self.faults.syncs_left = self.faults.syncs_left.and_then(|left| left.checked_sub(1));
        self.faults.syncs_fail
    }

    fn sync_and_fail(&mut self, file: u64) {
        if self.crashed.is_none() {
            let image = self.files.get_mut(&file).expect("files are never forgotten");
            image.sync_and_fail(&mut self.dice);
        }
    }
}

impl Disk for SimulatedDisk {
    fn lock(&self) -> Result<Guard, LockError> {
        let mut state = self.0.state.lock();
        if std::mem::replace(&mut state.locked, true) {
            return Err(LockError::Held { holder: "1".to_owned() });
        }
        Ok(Box::new(Unlock(self.0.clone())))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let mut state = self.0.state.lock();
        state.called()?;
        Ok(state.names.now.contains_key(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.0.state.lock();
        state.called()?;
        let file = state.names.now.get(name).copied().unwrap_or_else(|| {
            let fresh = state.files.keys().last().map_or(0, |last| last + 1);
            state.files.insert(fresh, Image::default());
            state.names.create(name, fresh);
            fresh
        });
        Ok(Box::new(Opened { disk: self.0.clone(), name: name.to_owned(), file }))
    }

    /// One that fails, or in which the power goes, may have happened, but is not durable then.
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let early = state.crashed.is_none() && (state.faults.fail_from.is_none() || state.dice.one_in(2));
        let found = if early { state.names.rename(from, to) } else { state.names.now.contains_key(from) };
        state.called()?;
        if !found {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !early {
            state.names.rename(from, to);
        }
        state.names.sync();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.called()?;
        if state.names.remove(name) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

struct Unlock(Arc<Inner>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.state.lock().locked = false;
    }
}

#[derive(Debug)]
struct Opened {
    disk: Arc<Inner>,
    name: String,
    file: u64,
}

impl Opened {
    fn image<T>(&self, state: &mut State, work: impl FnOnce(&mut Image) -> T) -> T {
        work(state.files.get_mut(&self.file).expect("files are never forgotten"))
    }
}

impl File for Opened {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        state.called()?;
        Ok(self.image(&mut state, |image| image.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let mut state = self.disk.state.lock();
        state.called()?;
        self.image(&mut state, |image| {
            let bytes = image.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// One that fails may have written a beginning, in whole sectors.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let mut state = self.disk.state.lock();
        let mut called = state.called();
        if called.is_ok() && state.is_full(self.file, from, data.len()) {
            called = Err(io::ErrorKind::StorageFull.into());
        }
        let written = match called {
            Ok(()) => data.len(),
            Err(_) => {
                let end = from + usize::try_from(state.dice.below(data.len() as u64)).unwrap();
                (end / SECTOR * SECTOR).saturating_sub(from)
            }
        };
        self.image(&mut state, |image| image.write(from, &data[..written]));
        called
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.called()?;
        if state.faults.bytes_max.is_some_and(|most| len > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.image(&mut state, |image| image.set_len(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        while state.held_back.as_ref().is_some_and(|start| self.name.starts_with(start)) {
            self.disk.released.wait(&mut state);
        }
        if let Err(error) = state.called() {
            state.sync_and_fail(self.file);
            return Err(error);
        }
        if state.sync_fails() {
            state.sync_and_fail(self.file);
            return Err(io::Error::other("simulated sync"));
        }
        self.image(&mut state, Image::sync);
        Ok(())
    }
}
