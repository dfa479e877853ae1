//! A disk in memory that can fail, fill up, hold a sync back, and lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quickbeam::store::disk::{Disk, File, Guard, LockError};

#[derive(Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Image>,
    locked: bool,
    calls: u64,
    faults: Faults,
    /// Syncs of this file wait.
    held_back: Option<String>,
}

/// What goes wrong, counted in calls that change the disk.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Faults {
    /// From this call on, or only this one.
    pub(crate) fail_from: Option<u64>,
    pub(crate) only_once: bool,
    pub(crate) syncs_fail: bool,
    /// That many syncs more, and then none.
    pub(crate) syncs_left: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
}

#[derive(Debug, Default, Clone)]
struct Image {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl SimulatedDisk {
    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(Self(self.0.clone()))
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.state.lock().calls
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.state.lock().files.values().map(|image| image.now.len() as u64).sum()
    }

    pub(crate) fn hold_back(&self, name: Option<&str>) {
        self.0.state.lock().held_back = name.map(str::to_owned);
        self.0.released.notify_all();
    }

    /// What a power cut at this moment leaves.
    pub(crate) fn after_power_cut(&self) -> Self {
        let files = self.0.state.lock().files.clone();
        let lost = |(name, image): (String, Image)| (name, Image { now: image.synced.clone(), synced: image.synced });
        let state = State { files: files.into_iter().map(lost).collect(), ..State::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), released: Condvar::new() }))
    }
}

impl State {
    fn changing(&mut self) -> io::Result<()> {
        self.calls += 1;
        let Faults { fail_from, only_once, .. } = self.faults;
        match fail_from {
            Some(from) if self.calls == from || (self.calls > from && !only_once) => Err(io::Error::other("simulated")),
            _ => Ok(()),
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
        Ok(self.0.state.lock().files.contains_key(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.0.state.lock().files.entry(name.to_owned()).or_default();
        Ok(Box::new(Opened { disk: self.0.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.changing()?;
        let image = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), image);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.changing()?;
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
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
}

impl Opened {
    fn image<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut state = self.disk.state.lock();
        work(&mut state.files.get_mut(&self.name).expect("an open file is not removed").now)
    }
}

impl File for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image(|image| image.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.image(|image| {
            let bytes = image.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.state.lock().changing()?;
        let from = usize::try_from(offset).unwrap();
        self.image(|image| {
            image.resize(image.len().max(from + data.len()), 0);
            image[from..from + data.len()].copy_from_slice(data);
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.changing()?;
        if state.faults.bytes_max.is_some_and(|most| len > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        drop(state);
        self.image(|image| image.resize(usize::try_from(len).unwrap(), 0));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        while state.held_back.as_ref() == Some(&self.name) {
            self.disk.released.wait(&mut state);
        }
        state.changing()?;
        if state.faults.syncs_left == Some(0) {
            state.faults.syncs_fail = true;
        }
        state.faults.syncs_left = state.faults.syncs_left.and_then(|left| left.checked_sub(1));
        if state.faults.syncs_fail {
            return Err(io::Error::other("simulated sync"));
        }
        let image = state.files.get_mut(&self.name).expect("an open file is not removed");
        image.synced.clone_from(&image.now);
        Ok(())
    }
}
