//! Blobs as files: `ab/abcdef…`, written beside and renamed, with the time of the last put as their modification time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::{Blob, BlobError, BlobHash, BlobWriter, Blobs, Hold, Stored};
use crate::clock::{SharedClock, Time};

const UNFINISHED: &str = "unfinished";
const CHUNK_BYTES: usize = 256 * 1024;

/// A folder of blobs. Its calls need a tokio runtime, whose blocking threads do the work.
#[derive(Clone)]
pub struct FileBlobs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    bytes_max: u64,
    clock: SharedClock,
    unfinished: AtomicU64,
    /// Locked while a blob gets its name or loses it, so that one is never renewed and removed at once.
    holds: Mutex<usize>,
}

impl FileBlobs {
    /// Opens the folder, or creates it, and throws away what was not finished. Blocks.
    pub fn open(folder: &Path, bytes_max: u64, clock: SharedClock) -> Result<Self, BlobError> {
        let unfinished = folder.join(UNFINISHED);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(failed("clearing unfinished blobs"))?;
        }
        std::fs::create_dir_all(&unfinished).map_err(failed("creating the folder of blobs"))?;
        sync_folder(folder).map_err(failed("creating the folder of blobs"))?;
        let folder = folder.to_path_buf();
        let inner = Inner { folder, bytes_max, clock, unfinished: AtomicU64::new(0), holds: Mutex::new(0) };
        Ok(Self(Arc::new(inner)))
    }

    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, BlobError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, BlobError>> {
        let inner = self.0.clone();
        async move { spawn_blocking(move || work(&inner)).await.unwrap_or(Err(BlobError::Stopped)) }.boxed()
    }

    fn chunks(self, file: File) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let next = move |file: Option<File>| {
            let read = file.map(|mut file| self.work(move |_| Ok((read_chunk(&mut file)?, file))));
            async move {
                match read?.await {
                    Ok((chunk, file)) => chunk.map(|chunk| (Ok(chunk), Some(file))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        };
        stream::unfold(Some(file), next).boxed()
    }
}

impl Blobs for FileBlobs {
    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, BlobError>> {
        let to = self.clone();
        let begun = self.work(|inner| inner.begin());
        async move {
            let writer: Box<dyn BlobWriter> = Box::new(Writer { to, unfinished: Some(begun.await?) });
            Ok(writer)
        }
        .boxed()
    }

    fn get(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<Blob>, BlobError>> {
        let checked = self.work(move |inner| inner.checked(hash));
        let blobs = self.clone();
        async move { Ok(checked.await?.map(|(file, bytes)| Blob { bytes, chunks: blobs.chunks(file) })) }.boxed()
    }

    fn has(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<u64>, BlobError>> {
        self.work(move |inner| Ok(inner.open(hash)?.map(|(_, bytes)| bytes)))
    }

    fn put_before(
        &self,
        time: Time,
        after: Option<BlobHash>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<BlobHash>, BlobError>> {
        self.work(move |inner| inner.put_before(time, after, limit).map_err(failed("listing blobs")))
    }

    fn remove(&self, hash: BlobHash, put_before: Time) -> BoxFuture<'static, Result<bool, BlobError>> {
        self.work(move |inner| inner.remove(hash, put_before).map_err(failed("removing a blob")))
    }

    fn hold(&self) -> Hold {
        *self.0.holds.lock() += 1;
        let inner = self.0.clone();
        Hold(Some(Box::new(move || *inner.holds.lock() -= 1)))
    }
}

/// Each chunk is a piece of work of its own, so that a slow sender or receiver keeps no thread busy.
struct Writer {
    to: FileBlobs,
    /// `None` while a chunk is being written, and for ever when that was broken off or failed.
    unfinished: Option<Unfinished>,
}

impl BlobWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        async move {
            let mut unfinished = self.unfinished.take().ok_or(BlobError::Stopped)?;
            let written = self.to.work(move |inner| unfinished.write(&chunk, inner.bytes_max).map(|()| unfinished));
            self.unfinished = Some(written.await?);
            Ok(())
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<Stored, BlobError>> {
        match self.unfinished.take() {
            Some(unfinished) => self.to.work(move |inner| inner.finish(unfinished)),
            None => std::future::ready(Err(BlobError::Stopped)).boxed(),
        }
    }
}

struct Unfinished {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    bytes: u64,
    named: bool,
}

impl Unfinished {
    fn write(&mut self, chunk: &[u8], bytes_max: u64) -> Result<(), BlobError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > bytes_max {
            return Err(BlobError::TooLarge { bytes_max });
        }
        self.hasher.update(chunk);
        self.file.write_all(chunk).map_err(failed("writing a blob"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.named {
            return;
        }
        let path = std::mem::take(&mut self.path);
        // The next opening throws it away if this does not.
        let remove = move || drop(std::fs::remove_file(path));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl Inner {
    fn begin(&self) -> Result<Unfinished, BlobError> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(UNFINISHED).join(number.to_string());
        let file = File::create_new(&path).map_err(failed("creating a blob"))?;
        Ok(Unfinished { file, path, hasher: Sha256::new(), bytes: 0, named: false })
    }

    fn finish(&self, mut unfinished: Unfinished) -> Result<Stored, BlobError> {
        let hash = BlobHash(std::mem::take(&mut unfinished.hasher).finalize().into());
        self.name(&unfinished.path, &unfinished.file, hash).map_err(failed("naming a blob"))?;
        unfinished.named = true;
        Ok(Stored { hash, bytes: unfinished.bytes })
    }

    /// Brings a written file to disk and to its name. One that has the name already is replaced, which renews its age
    /// and heals it if it was damaged.
    fn name(&self, path: &Path, file: &File, hash: BlobHash) -> io::Result<()> {
        let named = self.path(hash);
        let shelf = named.parent().expect("a blob stands in a folder of its first digits");
        file.set_modified(system_time(self.clock.now()))?;
        file.sync_all()?;
        if !shelf.exists() {
            std::fs::create_dir_all(shelf)?;
            sync_folder(&self.folder)?;
        }
        let guard = self.holds.lock();
        std::fs::rename(path, &named)?;
        drop(guard);
        sync_folder(shelf)
    }

    fn open(&self, hash: BlobHash) -> Result<Option<(File, u64)>, BlobError> {
        match File::open(self.path(hash)).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((bytes, file)) => Ok(Some((file, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("opening a blob")(error)),
        }
    }

    /// Opens a blob and reads it through once, so that no byte of a damaged one is ever served.
    fn checked(&self, hash: BlobHash) -> Result<Option<(File, u64)>, BlobError> {
        let Some((mut file, bytes)) = self.open(hash)? else { return Ok(None) };
        let mut hasher = Sha256::new();
        while let Some(chunk) = read_chunk(&mut file)? {
            hasher.update(&chunk);
        }
        if hasher.finalize()[..] != hash.0 {
            return Err(BlobError::Damaged(hash));
        }
        file.rewind().map_err(failed("reading a blob"))?;
        Ok(Some((file, bytes)))
    }

    fn put_before(&self, time: Time, after: Option<BlobHash>, limit: usize) -> io::Result<Vec<BlobHash>> {
        let mut found = Vec::new();
        for first in after.map_or(0, |hash| hash.0[0])..=u8::MAX {
            let mut shelf = self.shelf(first)?;
            shelf.sort_unstable();
            for hash in shelf.into_iter().filter(|&hash| Some(hash) > after) {
                if self.put_at(hash)?.is_some_and(|put| put < system_time(time)) {
                    found.push(hash);
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn shelf(&self, first: u8) -> io::Result<Vec<BlobHash>> {
        let folder = self.folder.join(format!("{first:02x}"));
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let named = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).transpose()
        };
        std::fs::read_dir(folder)?.filter_map(named).collect()
    }

    fn put_at(&self, hash: BlobHash) -> io::Result<Option<SystemTime>> {
        match std::fs::metadata(self.path(hash)) {
            Ok(metadata) => metadata.modified().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, hash: BlobHash, put_before: Time) -> io::Result<bool> {
        let holds = self.holds.lock();
        let old = self.put_at(hash)?.is_some_and(|put| put < system_time(put_before));
        if old && *holds == 0 {
            std::fs::remove_file(self.path(hash))?;
        }
        Ok(old && *holds == 0)
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }
}

fn read_chunk(file: &mut File) -> Result<Option<Bytes>, BlobError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let read = file.read(&mut chunk).map_err(failed("reading a blob"))?;
    chunk.truncate(read);
    Ok((read > 0).then(|| chunk.into()))
}

fn system_time(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.0)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(folder)?.sync_all()
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> BlobError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full(source),
        _ => BlobError::Io { doing, source },
    }
}
