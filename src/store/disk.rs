//! Where an engine's files live: a port, so that a simulated disk can stand under them, and the real folder.

use std::fmt::Debug;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const PIECE_BYTES: usize = 1 << 20;

/// A flat folder of files that survive the process.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Keeps every other process out for as long as the guard lives.
    fn lock(&self) -> Result<Guard, LockError>;

    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Opens a file for reading and writing, empty when it did not exist. A name may stand in a folder: `copies/name`.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Durable once it has returned, also when both names are the same.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One open file.
pub trait File: Debug + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out`, or fails when the file ends before that.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// New bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Everything written so far is on disk once this has returned.
    fn sync(&self) -> io::Result<()>;
}

/// Shows what a file holds, one piece after the other, each with the place where it begins; gives how long the file is.
pub(crate) fn pieces(file: &dyn File, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<u64> {
    let length = file.len()?;
    let mut piece = vec![0; PIECE_BYTES];
    for at in (0..length).step_by(PIECE_BYTES) {
        let bytes = usize::try_from(length - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        file.read(at, &mut piece[..bytes])?;
        each(at, &piece[..bytes])?;
    }
    Ok(length)
}

/// The name under which a file is made before it takes its place. Nothing stands there any more.
pub(crate) fn fresh(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let fresh = format!("{name}.new");
    if disk.exists(&fresh)? {
        disk.remove(&fresh)?;
    }
    Ok(fresh)
}

/// Whatever has to stay alive while a disk is locked.
pub type Guard = Box<dyn Send + Sync>;

/// Why a disk could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("in use by process {holder}")]
    Held { holder: String },
    #[error("the lock file could not be used")]
    Io(#[from] io::Error),
}

/// A folder of the operating system.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates the folder when it is not there.
    pub fn new(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self(path.to_path_buf()))
    }
}

fn note_holder(file: &std::fs::File) -> io::Result<()> {
    let holder = format!("{}\n", std::process::id());
    file.write_all_at(holder.as_bytes(), 0)?;
    file.set_len(holder.len() as u64)
}

impl Disk for Folder {
    fn lock(&self) -> Result<Guard, LockError> {
        let path = self.0.join(LOCK);
        let file = std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&path)?.lines().next().unwrap_or("unknown").to_owned();
                return Err(LockError::Held { holder });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        // The number is for people; what keeps others out is the lock, which the kernel drops with the process. A full
        // disk has no room for it.
        drop(note_holder(&file));
        Ok(Box::new(file))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.0.join(name).try_exists()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let path = self.0.join(name);
        if name.contains('/')
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder)?;
        }
        let file = std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Box::new(OnDisk(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.0.join(to);
        std::fs::rename(self.0.join(from), &to)?;
        match to.parent() {
            Some(folder) if folder != self.0 => std::fs::File::open(folder)?.sync_all()?,
            _ => {}
        }
        std::fs::File::open(&self.0)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }
}

#[derive(Debug)]
struct OnDisk(std::fs::File);

impl File for OnDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
