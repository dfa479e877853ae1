//! The folder of a demo: known by its marker, and wiped only because of it.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::clock::{SharedClock, ulid};
use crate::private::{self, PrivateError};

const DEFAULT: &str = "data/demo";
/// Its text is the base of the ports, once both nodes are made.
const MARKER: &str = ".quickbeam-demo";

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as the demo runs.
    marker: File,
    kept: Option<u16>,
    temporary: Cell<bool>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{} holds something else than a demo and is left alone: give another folder with --data", .0.display())]
    Foreign(PathBuf),
    #[error("another demo runs in {}: stop it, or give another folder with --data", .0.display())]
    InUse(PathBuf),
    #[error("{} cannot be used: {source}; give another folder with --data", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Private(#[from] PrivateError),
}

impl Folder {
    /// Takes a folder for this demo alone.
    pub(super) fn open(
        asked: Option<PathBuf>,
        keep: bool,
        once: bool,
        clock: &SharedClock,
    ) -> Result<Self, FolderError> {
        let temporary = once && asked.is_none();
        let path = match asked {
            Some(path) => path,
            None if once => std::env::temp_dir().join(format!("quickbeam-demo-{}", ulid(clock.now(), clock.random()))),
            None => DEFAULT.into(),
        };
        private::make_folder(&path)?;
        let failed = |source| FolderError::Io { path: path.clone(), source };
        let is_empty = fs::read_dir(&path).map_err(failed)?.next().is_none();
        if !is_empty && !path.join(MARKER).is_file() {
            return Err(FolderError::Foreign(path));
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut marker = options.open(path.join(MARKER)).map_err(failed)?;
        marker.try_lock().map_err(|_| FolderError::InUse(path.clone()))?;
        let mut text = String::new();
        marker.read_to_string(&mut text).map_err(failed)?;
        let kept = text.trim().parse().ok().filter(|_| keep);
        Ok(Self { path, marker, kept, temporary: Cell::new(temporary) })
    }

    /// The base of the ports of the demo that goes on here.
    pub(super) fn kept_ports(&self) -> Option<u16> {
        self.kept
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes away what an earlier demo left.
    pub(super) fn clear(&self) -> Result<(), FolderError> {
        self.write_marker("").and_then(|()| self.remove_all()).map_err(|source| self.failed(source))
    }

    /// Says that there is a whole demo here.
    pub(super) fn mark(&self, port_base: u16) -> Result<(), FolderError> {
        self.write_marker(&format!("{port_base}\n")).map_err(|source| self.failed(source))
    }

    /// Keeps a temporary folder.
    pub(super) fn keep(&self) {
        self.temporary.set(false);
    }

    fn write_marker(&self, text: &str) -> io::Result<()> {
        let mut marker = &self.marker;
        marker.set_len(0)?;
        marker.rewind()?;
        marker.write_all(text.as_bytes())?;
        marker.sync_all()
    }

    fn remove_all(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == MARKER {
                continue;
            }
            // A link is taken away, and what it leads to stays.
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> FolderError {
        FolderError::Io { path: self.path.clone(), source }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary.get() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn open(path: &Path, keep: bool) -> Result<Folder, FolderError> {
        Folder::open(Some(path.into()), keep, false, &SystemClock::shared())
    }

    #[test]
    fn only_the_folder_of_a_demo_is_wiped() {
        let outer = tempfile::tempdir().unwrap();
        let mine = outer.path().join("mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("letter"), "dear").unwrap();
        assert!(matches!(open(&mine, false), Err(FolderError::Foreign(_))));
        assert_eq!(fs::read_to_string(mine.join("letter")).unwrap(), "dear");

        let demo = outer.path().join("a/demo");
        let folder = open(&demo, false).unwrap();
        fs::create_dir(demo.join("blog")).unwrap();
        fs::write(demo.join("blog/x"), "x").unwrap();
        std::os::unix::fs::symlink(&mine, demo.join("link")).unwrap();
        folder.clear().unwrap();
        assert_eq!(fs::read_dir(&demo).unwrap().count(), 1, "the marker stays");
        assert_eq!(fs::read_to_string(mine.join("letter")).unwrap(), "dear", "links are not followed");
    }

    #[test]
    fn a_second_demo_in_the_same_folder_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let first = open(&outer.path().join("demo"), false).unwrap();
        assert!(matches!(open(first.path(), false), Err(FolderError::InUse(_))));
        let path = first.path().to_owned();
        drop(first);
        assert!(open(&path, false).is_ok());
    }

    #[test]
    fn only_a_whole_demo_is_kept_and_only_when_asked() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("demo");
        assert_eq!(open(&path, true).unwrap().kept_ports(), None);
        open(&path, false).unwrap().mark(8_001).unwrap();
        assert_eq!(open(&path, true).unwrap().kept_ports(), Some(8_001));
        assert_eq!(open(&path, false).unwrap().kept_ports(), None);
        open(&path, false).unwrap().clear().unwrap();
        assert_eq!(open(&path, true).unwrap().kept_ports(), None, "cleared, and not made again");
    }

    #[test]
    fn a_temporary_folder_goes_unless_it_is_kept() {
        let clock = SystemClock::shared();
        let folder = Folder::open(None, false, true, &clock).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
        let folder = Folder::open(None, false, true, &clock).unwrap();
        let path = folder.path().to_owned();
        folder.keep();
        drop(folder);
        assert!(path.is_dir());
        fs::remove_dir_all(path).unwrap();
    }
}
