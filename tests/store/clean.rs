//! A disk whose failed sync takes what was not written for clean, as kernels do: the next sync succeeds without it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use quickbeam::store::disk::{Disk, File, Guard, LockError};
use quickbeam::store::redb::Options;
use quickbeam::store::{Engine, Outcome, RedbEngine};

use crate::subject::{Words, batch, block_on, committed, everything};

#[derive(Debug, Default, Clone)]
struct Forgetful(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Image>,
    syncs_fail: bool,
}

/// What reads see, what is on disk, and what the next sync would bring there.
#[derive(Debug, Default, Clone)]
struct Image {
    now: Vec<u8>,
    synced: Vec<u8>,
    dirty: Vec<Range<usize>>,
}

impl Forgetful {
    fn after_power_cut(&self) -> Self {
        let files = self.0.lock().files.clone().into_iter();
        let lost = files.map(|(name, image)| {
            let synced = image.synced;
            (name, Image { now: synced.clone(), synced, dirty: Vec::new() })
        });
        Self(Arc::new(Mutex::new(State { files: lost.collect(), syncs_fail: false })))
    }

    fn open(&self) -> RedbEngine {
        RedbEngine::open_on(Arc::new(self.clone()), Options::default()).unwrap()
    }
}

impl Disk for Forgetful {
    fn lock(&self) -> Result<Guard, LockError> {
        Ok(Box::new(()))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.0.lock().files.contains_key(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.0.lock().files.entry(name.to_owned()).or_default();
        Ok(Box::new(Opened { disk: self.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let image = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), image);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct Opened {
    disk: Forgetful,
    name: String,
}

impl Opened {
    fn image<T>(&self, work: impl FnOnce(&mut Image) -> T) -> T {
        work(self.disk.0.lock().files.get_mut(&self.name).expect("an open file is not removed"))
    }
}

impl File for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image(|image| image.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.image(|image| {
            out.copy_from_slice(image.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset).unwrap() + data.len();
        self.image(|image| {
            image.now.resize(image.now.len().max(range.end), 0);
            image.now[range.clone()].copy_from_slice(data);
            image.dirty.push(range);
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.image(|image| image.now.resize(usize::try_from(len).unwrap(), 0));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let fails = self.disk.0.lock().syncs_fail;
        self.image(|image| {
            let dirty = std::mem::take(&mut image.dirty);
            if fails {
                return Err(io::Error::other("simulated sync"));
            }
            image.synced.resize(image.now.len(), 0);
            for range in dirty.into_iter().filter(|range| range.end <= image.now.len()) {
                image.synced[range.clone()].copy_from_slice(&image.now[range]);
            }
            Ok(())
        })
    }
}

#[test]
fn what_a_failed_sync_left_in_the_air_is_written_again_before_anything_rests_on_it() {
    let disk = Forgetful::default();
    let engine = disk.open();
    committed(&engine, batch().put("a", "1"));
    disk.0.lock().syncs_fail = true;
    let outcome = block_on(engine.commit(batch().put("b", &"x".repeat(1_000))));
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    disk.0.lock().syncs_fail = false;
    committed(&engine, batch().epoch(1).put("c", "1"));
    let shown = everything(&engine);
    assert_eq!(shown.len(), 3, "the page cache has it: {shown:?}");
    assert_eq!(everything(&disk.after_power_cut().open()), shown);
}

#[test]
fn what_was_never_synced_is_on_disk_once_a_store_was_opened_over_it() {
    let disk = Forgetful::default();
    let engine = disk.open();
    committed(&engine, batch().put("a", "1"));
    disk.0.lock().syncs_fail = true;
    let outcome = block_on(engine.commit(batch().put("b", &"x".repeat(1_000))));
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    drop(engine);
    disk.0.lock().syncs_fail = false;
    // As a new process finds it.
    let shown = everything(&disk.open());
    assert_eq!(shown.len(), 2);
    assert_eq!(everything(&disk.after_power_cut().open()), shown);
}
