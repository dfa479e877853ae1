//! Making a data folder of a backup: built under another name, checked, and only then put in its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::backup::stamp;
use super::format::{Head, Manifest, Role};
use super::proof::{self, Proved, Taker};
use super::target::{Target, TargetError};
use super::{BLOBS_FOLDER, STORE_FOLDER, notes};
use crate::actors::held::{self, Pending};
use crate::actors::{layout, record};
use crate::clock::{SharedClock, Time};
use crate::private::{self, PrivateError};
use crate::store::blob::{BlobError, BlobHash, BlobWriter, Blobs, FileBlobs};
use crate::store::disk::{Disk, Folder, Guard, LockError};
use crate::store::redb::{Loader, OpenError, Options as StoreOptions, RedbEngine, Step};
use crate::store::{Failure, Position, Row};

/// Positions left out by a restore: more than the original can have written since, so that a version of a value which
/// somebody remembers from there never fits another value here.
const POSITIONS_SKIPPED: u64 = 1 << 40;
const STEP: Step = Step { rows_max: 20_000, bytes_max: 8 << 20 };

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{} cannot be opened: {source}; name a file that `quickbeam backup` made and that you may read", file.display())]
    Open { file: PathBuf, source: io::Error },
    #[error("{} is a folder: name the file in it that `quickbeam backup` made", file.display())]
    Folder { file: PathBuf },
    #[error("{} cannot be restored: {source}", file.display())]
    Archive { file: PathBuf, source: ArchiveError },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{} holds the data of a node: `--replace` restores all the same, and keeps them as a safety copy", data.display())]
    Occupied { data: PathBuf },
    #[error("the node runs as process {holder} on {}: stop it first, or restore to another folder with --to", data.display())]
    Running { data: PathBuf, holder: String },
    #[error("{0}; name a folder that you may write to with --to")]
    Place(#[source] PrivateError),
    #[error("{} cannot be {verb}: {source}", path.display())]
    Io { path: PathBuf, verb: &'static str, source: io::Error },
    #[error(transparent)]
    Private(#[from] PrivateError),
    #[error("the store cannot be made: {0}")]
    Create(#[from] OpenError),
    #[error("the store cannot be written: {0}")]
    Store(#[from] Failure),
    #[error("a blob cannot be written: {0}")]
    Blob(#[from] BlobError),
    #[error("what was written does not read back as it was: {0}; the disk may be failing")]
    Unequal(String),
    #[error("files cannot be written: {0}")]
    Runtime(io::Error),
}

/// A backup that was read through.
#[derive(Debug, Clone)]
pub struct Checked {
    pub file: PathBuf,
    pub head: Head,
    pub manifest: Manifest,
    /// What the node would send and fire once it is let go.
    pub pending: Pending,
    files: Vec<(String, Vec<u8>)>,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Restored {
    pub incarnation: u64,
    pub safety_copy: Option<PathBuf>,
}

impl Checked {
    /// The content of a file of the backup.
    pub fn content(&self, part: &str) -> Option<&[u8]> {
        self.files.iter().find(|(name, _)| name == part).map(|(_, content)| content.as_slice())
    }
}

/// Reads a backup through, and counts what waits in it.
///
/// # Errors
/// When it is not there, damaged, unfinished or newer.
pub fn check(file: &Path, now: Time) -> Result<Checked, RestoreError> {
    struct Counting(Pending, Vec<(String, Vec<u8>)>, Time);
    impl Taker for Counting {
        fn row(&mut self, row: Row) -> io::Result<()> {
            self.0.see(&row.key, &row.value, self.2);
            Ok(())
        }
        fn file(&mut self, part: &str, content: &[u8]) -> io::Result<()> {
            self.1.push((part.to_owned(), content.to_vec()));
            Ok(())
        }
    }
    let mut counting = Counting(Pending::default(), Vec::new(), now);
    let Proved { head, manifest } = read(file, &mut counting)?;
    Ok(Checked { file: file.into(), head, manifest, pending: counting.0, files: counting.1 })
}

fn read(file: &Path, taker: &mut dyn Taker) -> Result<Proved, RestoreError> {
    let input = fs::File::open(file).map_err(|source| RestoreError::Open { file: file.into(), source })?;
    if file.is_dir() {
        return Err(RestoreError::Folder { file: file.into() });
    }
    let input = io::BufReader::with_capacity(1 << 20, input);
    proof::read(input, taker).map_err(|source| RestoreError::Archive { file: file.into(), source })
}

/// Refuses a target that is in use. The guard keeps it unused; `None` when there is no store.
///
/// # Errors
/// When a process has it, or it holds a store and `replace` is not said.
pub fn admit(target: &Target, replace: bool) -> Result<Option<Guard>, RestoreError> {
    let store = target.data.join(STORE_FOLDER);
    if !store.exists() {
        return Ok(None);
    }
    let failed = |source| RestoreError::Io { path: store.clone(), verb: "locked", source };
    let guard = Folder::new(&store).map_err(failed)?.lock().map_err(|error| match error {
        LockError::Held { holder } => RestoreError::Running { data: target.data.clone(), holder },
        LockError::Io(source) => failed(source),
    })?;
    if !replace {
        return Err(RestoreError::Occupied { data: target.data.clone() });
    }
    Ok(Some(guard))
}

/// Restores. Nothing is in its place before all of it is on disk and was read back; a crash leaves what was there, or
/// the whole of the new, with the old beside it.
///
/// # Errors
/// What stood in the way; nothing was changed then but a folder beside the target, which the next try takes away.
pub fn restore(
    checked: &Checked,
    target: &Target,
    replace: bool,
    clock: &SharedClock,
    mut progress: impl FnMut(u64),
) -> Result<Restored, RestoreError> {
    let guard = admit(target, replace)?;
    drop(guard);
    let before = if target.data.join(STORE_FOLDER).exists() { incarnation_of(&target.data) } else { 0 };
    let guard = admit(target, replace)?;
    let now = clock.now();
    let fresh = beside(&target.data, "restoring", "");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(io_at(&fresh, "taken away"))?;
    }
    private::make_folder(&fresh).map_err(RestoreError::Place)?;
    let incarnation = checked.head.incarnation.max(before) + 1;
    // What is not whole is of no use, and would fill a disk that is full already.
    build(checked, &fresh, incarnation, clock, &mut progress).inspect_err(|_| drop(fs::remove_dir_all(&fresh)))?;
    for secret in &target.secrets {
        target.write_secret(secret, checked)?;
    }
    target.write_config()?;
    let safety_copy = put_in_place(&fresh, &target.data, now)?;
    drop(guard);
    Ok(Restored { incarnation, safety_copy })
}

/// The incarnation of what is to be replaced, where that can be read: the new one is above both.
fn incarnation_of(data: &Path) -> u64 {
    let Ok(engine) = RedbEngine::open(&data.join(STORE_FOLDER), StoreOptions::default()) else { return 0 };
    let mut walk = engine.snapshot_now().walk();
    let (key, mut found) = (layout::node_fact("incarnation"), 0);
    while let Ok(true) = walk.step(STEP, |row| {
        if row.key == key {
            found = record::decode(&row.value).unwrap_or(0);
        }
    }) {}
    engine.close();
    found
}

fn build(
    checked: &Checked,
    folder: &Path,
    incarnation: u64,
    clock: &SharedClock,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RestoreError> {
    for entry in checked.manifest.files.iter().filter(|entry| entry.role == Role::Data) {
        let name = Path::new(&entry.path).file_name().unwrap_or_default();
        private::create(&folder.join(name), checked.content(&entry.part).unwrap_or_default())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RestoreError::Runtime)?;
    let store = folder.join(STORE_FOLDER);
    private::make_folder(&store)?;
    let blobs = (checked.manifest.blobs > 0)
        .then(|| FileBlobs::open(&folder.join(BLOBS_FOLDER), u64::MAX, clock.clone()))
        .transpose()?;
    let mut building =
        Building { runtime, loader: Loader::create(&store)?, blobs, blob: None, rows: 0, failed: None, progress };
    let read = read(&checked.file, &mut building);
    if let Some(failure) = building.failed.take() {
        return Err(failure);
    }
    read?;
    building.end_blob().map_err(|error| building.failed.take().unwrap_or(RestoreError::Runtime(error)))?;
    let Building { mut loader, rows, .. } = building;
    let position = Position(checked.head.position + POSITIONS_SKIPPED);
    let mark = held::Mark {
        since: clock.now(),
        backup: checked.file.display().to_string(),
        backup_made: Time(checked.head.created),
    };
    loader.put(layout::node_fact("incarnation"), position, record::encode(&incarnation))?;
    loader.put(held::key(), position, record::encode(&mark))?;
    loader.finish(position)?;
    read_back(&store, rows + 2)
}

fn read_back(store: &Path, expected: u64) -> Result<(), RestoreError> {
    let engine = RedbEngine::open(store, StoreOptions::default())?;
    let mut walk = engine.snapshot_now().walk();
    let mut rows = 0;
    while walk.step(STEP, |_| rows += 1)? {}
    let scrub = walk.finish()?;
    engine.close();
    if let Some(damage) = scrub.listed.first() {
        return Err(RestoreError::Unequal(damage.clone()));
    }
    if rows != expected {
        return Err(RestoreError::Unequal(format!("{expected} rows were written, {rows} are there")));
    }
    Ok(())
}

struct Building<'a> {
    runtime: tokio::runtime::Runtime,
    loader: Loader,
    blobs: Option<FileBlobs>,
    blob: Option<(BlobHash, Box<dyn BlobWriter>)>,
    rows: u64,
    /// What went wrong on our side; the reader only hears that something did.
    failed: Option<RestoreError>,
    progress: &'a mut dyn FnMut(u64),
}

impl Building<'_> {
    fn done<T>(&mut self, done: Result<T, impl Into<RestoreError>>) -> io::Result<T> {
        done.map_err(|error| {
            self.failed = Some(error.into());
            io::Error::other("stopped")
        })
    }

    fn end_blob(&mut self) -> io::Result<()> {
        let Some((hash, writer)) = self.blob.take() else { return Ok(()) };
        let stored = self.runtime.block_on(async { writer.finish().await });
        let stored = self.done(stored)?;
        let same = if stored.hash == hash { Ok(()) } else { Err(RestoreError::Unequal(format!("the blob {hash}"))) };
        self.done(same)
    }
}

impl Taker for Building<'_> {
    fn row(&mut self, row: Row) -> io::Result<()> {
        // These are made anew: nobody has looked after the new data yet.
        let anew = ["incarnation", notes::LAST_BACKUP, notes::LAST_SCRUB].map(layout::node_fact);
        if anew.contains(&row.key) || row.key == held::key() {
            return Ok(());
        }
        self.rows += 1;
        if self.rows.is_multiple_of(10_000) {
            (self.progress)(self.rows);
        }
        let put = self.loader.put(row.key, row.version, row.value);
        self.done(put)
    }

    fn blob(&mut self, hash: BlobHash, _: u64) -> io::Result<()> {
        self.end_blob()?;
        let Some(blobs) = &self.blobs else { return Err(io::Error::other("more blobs than were counted")) };
        let begun = self.runtime.block_on(async { blobs.begin().await });
        self.blob = Some((hash, self.done(begun)?));
        Ok(())
    }

    fn blob_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some((_, writer)) = &mut self.blob else { return Ok(()) };
        let chunk = bytes::Bytes::copy_from_slice(chunk);
        let written = self.runtime.block_on(async { writer.write(chunk).await });
        self.done(written)
    }
}

/// The old data under a name with the time, the new ones under the name of the old.
fn put_in_place(fresh: &Path, data: &Path, now: Time) -> Result<Option<PathBuf>, RestoreError> {
    sync(fresh)?;
    let mut copy = None;
    if data.exists() {
        let mut names = (1_u64..).map(|nth| match nth {
            1 => beside(data, "before-restore", &stamp(now)),
            nth => beside(data, "before-restore", &format!("{}-{nth}", stamp(now))),
        });
        let safe = names.find(|safe| !safe.exists()).expect("some name is free");
        fs::rename(data, &safe).map_err(io_at(data, "moved away"))?;
        copy = Some(safe);
    }
    fs::rename(fresh, data).map_err(io_at(fresh, "given its name"))?;
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(parent)?;
    Ok(copy)
}

/// A folder or file beside another, named after it.
pub(super) fn beside(path: &Path, what: &str, stamp: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    if !stamp.is_empty() {
        name.push(format!("-{stamp}"));
    }
    path.with_file_name(name)
}

fn sync(folder: &Path) -> Result<(), RestoreError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at(folder, "brought to disk"))
}

fn io_at(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io { path, verb, source }
}
