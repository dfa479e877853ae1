//! Making a backup: one moment of the store as a stream of bytes, at the pace of whoever takes them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::archive::{END_BYTES, header, padding};
use super::format::{
    BLOBS, FAILED, FileEntry, HEAD, Head, MANIFEST, Manifest, PART_BYTES, PartEntry, ROWS, Role, SEAL, sha256,
    write_record,
};
use crate::clock::Time;
use crate::config::Config;
use crate::hex::hex;
use crate::keyring::folder::{self, FolderError};
use crate::store::Failure;
use crate::store::blob::{BlobError, BlobHash, Blobs, Hold};
use crate::store::redb::{Scrub, Snapshot, Step, Walk};
use crate::tokens;

/// Rows read in one go.
const STEP: Step = Step { rows_max: 20_000, bytes_max: PART_BYTES };
const BLOBS_PAGE: usize = 256;
/// Damages named in an error; a backup that allows damage lists more.
const DAMAGE_NAMED_MAX: usize = 5;

/// Why a backup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the store could not be read: {0}")]
    Store(#[from] Failure),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Keys(#[from] FolderError),
    #[error("{} cannot be read: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{damages} things are damaged: {named}; `--allow-damage` makes a backup of all the others")]
    Damaged { damages: u64, named: String },
    #[error("the work on a backup was cut short: the node is stopping")]
    Stopped,
    #[error("whoever fetched the backup took nothing for {0}: fetch it again, or raise limits.backup_stall")]
    Stalled(String),
    #[error("whoever fetched the backup went away before its end")]
    Left,
}

/// A file that goes into a backup.
#[derive(Debug, Clone)]
pub struct File {
    pub entry: FileEntry,
    pub content: Bytes,
}

/// What a backup is made of.
pub struct Source {
    pub head: Head,
    pub files: Vec<File>,
    pub snapshot: Snapshot,
    /// Held, so that nothing is collected before it was copied.
    pub blobs: Option<(Arc<dyn Blobs>, Hold)>,
    pub allow_damage: bool,
}

/// The configuration, keys, tokens and secrets of a node.
///
/// # Errors
/// For a file that cannot be read. Tokens may be missing, and the RSA key where no newer version has run yet.
pub fn files_of(config: &Config) -> Result<Vec<File>, BackupError> {
    let data = &config.node.data;
    let mut files = vec![file("config/quickbeam.toml".to_owned(), Role::Config, &config.file, &config.file)?];
    files.extend(keys_of(data)?);
    for path in [tokens::admin_file(data), tokens::file(data)] {
        files.extend(data_file(&path)?);
    }
    let folder = config.file.parent().unwrap_or(Path::new(""));
    for (name, peer) in &config.peers {
        let Some(secret) = &peer.secret_file else { continue };
        let role = Role::Secret { peer: name.clone() };
        files.push(file(format!("peers/{name}.secret"), role, &folder.join(secret), Path::new(secret))?);
    }
    Ok(files)
}

/// All keys, of one moment: they may be rotated while they are read.
fn keys_of(data: &Path) -> Result<Vec<File>, BackupError> {
    loop {
        let before = folder::version(data);
        let files = folder::all_files(data)?.iter().map(|path| data_file(path)).collect::<Result<Vec<_>, _>>();
        if folder::version(data) == before {
            return Ok(files?.into_iter().flatten().collect());
        }
    }
}

/// A file of the data folder, if it is there.
fn data_file(path: &Path) -> Result<Option<File>, BackupError> {
    let name = path.file_name().map(Path::new).unwrap_or(path);
    match file(format!("data/{}", name.display()), Role::Data, path, name) {
        Err(BackupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn file(part: String, role: Role, path: &Path, said: &Path) -> Result<File, BackupError> {
    let content = std::fs::read(path).map_err(|source| BackupError::File { path: path.into(), source })?;
    let path = said.to_string_lossy().into_owned();
    Ok(File { entry: FileEntry { part, role, path }, content: content.into() })
}

/// `blog.example-20261121T062141Z.qbk`: whose it is, and when it was made, in UTC.
pub fn default_name(base: &str, created: Time) -> String {
    let host = base.split_once("://").map_or(base, |(_, host)| host).replace(':', "-");
    format!("{host}-{}.qbk", stamp(created))
}

/// A time as a part of a name: `20261121T062141Z`.
pub(super) fn stamp(at: Time) -> String {
    let stamp: String = at.to_string().chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    format!("{}Z", stamp.split(['.', 'Z']).next().unwrap_or_default())
}

/// The bytes of the backup. What goes wrong ends it with a part that says so, and is given to `done`, as is the
/// manifest of one that is whole.
pub fn stream(
    source: Source,
    done: impl FnOnce(Result<Manifest, BackupError>) + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let Source { head, files, snapshot, blobs, allow_damage } = source;
    let making = Making {
        stage: Stage::Head(head),
        walk: Some(snapshot.walk()),
        files: files.into_iter(),
        blobs,
        allow_damage,
        writer: Writer::default(),
        manifest: Manifest::default(),
    };
    unfold(Some((making, done)), |state| async move {
        let (mut making, done) = state?;
        match making.next().await {
            Ok(Some(bytes)) => Some((bytes, Some((making, done)))),
            Ok(None) => {
                let end = making.writer.end(&mut making.manifest);
                done(Ok(making.manifest));
                Some((end, None))
            }
            Err(error) => {
                let mut end = making.writer.part(FAILED, error.to_string().as_bytes());
                end.resize(end.len() + END_BYTES, 0);
                done(Err(error));
                Some((end.into(), None))
            }
        }
    })
}

enum Stage {
    Head(Head),
    Rows { nth: u64 },
    Files,
    Blobs { after: Option<BlobHash>, page: std::vec::IntoIter<BlobHash>, more: bool },
    Blob { chunks: BoxStream<'static, Result<Bytes, BlobError>>, bytes: u64, then: Box<Stage> },
    End,
}

struct Making {
    stage: Stage,
    /// `None` while a step is under way.
    walk: Option<Walk>,
    files: std::vec::IntoIter<File>,
    blobs: Option<(Arc<dyn Blobs>, Hold)>,
    allow_damage: bool,
    writer: Writer,
    manifest: Manifest,
}

impl Making {
    /// The next bytes; `None` when only the manifest and the seal are left.
    async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::End) {
                Stage::Head(head) => {
                    self.stage = Stage::Rows { nth: 1 };
                    let head = serde_json::to_vec_pretty(&head).expect("a head has text and numbers");
                    return Ok(Some(self.listed(HEAD, &head)));
                }
                Stage::Rows { nth } => {
                    if let Some(part) = self.rows(nth).await? {
                        return Ok(Some(part));
                    }
                }
                Stage::Files => match self.files.next() {
                    Some(file) => {
                        self.stage = Stage::Files;
                        let part = self.listed(&file.entry.part, &file.content);
                        self.manifest.files.push(file.entry);
                        return Ok(Some(part));
                    }
                    None => self.stage = Stage::Blobs { after: None, page: Vec::new().into_iter(), more: true },
                },
                Stage::Blobs { after, page, more } => {
                    if let Some(part) = self.blobs(after, page, more).await? {
                        return Ok(Some(part));
                    }
                    if matches!(self.stage, Stage::End) {
                        return Ok(None);
                    }
                }
                Stage::Blob { mut chunks, bytes, then } => match chunks.next().await {
                    Some(chunk) => {
                        let chunk = chunk?;
                        self.writer.hasher.update(&chunk);
                        self.stage = Stage::Blob { chunks, bytes, then };
                        return Ok(Some(chunk));
                    }
                    None => {
                        self.stage = *then;
                        let zeros = vec![0; padding(bytes)];
                        self.writer.hasher.update(&zeros);
                        if !zeros.is_empty() {
                            return Ok(Some(zeros.into()));
                        }
                    }
                },
                Stage::End => return Ok(None),
            }
        }
    }

    /// The next part of records. Read, gathered and hashed on a thread that may take its time.
    async fn rows(&mut self, nth: u64) -> Result<Option<Bytes>, BackupError> {
        let Some(mut walk) = self.walk.take() else { return Err(BackupError::Stopped) };
        let mut writer = std::mem::take(&mut self.writer);
        let step = move || {
            let (mut part, mut rows) = (Vec::with_capacity(PART_BYTES), 0_u64);
            let more = walk.step(STEP, |row| {
                rows += 1;
                write_record(&mut part, &row);
            });
            let name = format!("{ROWS}{nth:08}-{rows}");
            let listed = (rows > 0).then(|| writer.listed(&name, &part));
            (walk, writer, more, rows, listed)
        };
        let (walk, writer, more, rows, listed) = spawn_blocking(step).await.map_err(|_| BackupError::Stopped)?;
        self.writer = writer;
        if !self.allow_damage {
            refuse_damage(walk.so_far())?;
        }
        self.stage = Stage::Rows { nth: nth + 1 };
        match more {
            Ok(true) => self.walk = Some(walk),
            Ok(false) => self.rows_done(walk).await?,
            Err(Failure::Damaged { what, .. }) if self.allow_damage => {
                self.manifest.damage.push(what);
                self.rows_done(walk).await?;
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(listed.map(|(bytes, entry)| {
            self.manifest.rows += rows;
            self.manifest.row_bytes += entry.bytes;
            self.manifest.parts.push(entry);
            bytes
        }))
    }

    async fn rows_done(&mut self, walk: Walk) -> Result<(), BackupError> {
        self.stage = Stage::Files;
        let scrub = spawn_blocking(|| walk.finish()).await.map_err(|_| BackupError::Stopped)?;
        match scrub {
            Ok(scrub) if self.allow_damage => self.manifest.damage.extend(scrub.listed),
            Ok(scrub) => refuse_damage(&scrub)?,
            Err(failure) if self.allow_damage => self.manifest.damage.push(failure.to_string()),
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// The header of the next blob. It was read through and checked against its name before it is given.
    async fn blobs(
        &mut self,
        mut after: Option<BlobHash>,
        mut page: std::vec::IntoIter<BlobHash>,
        mut more: bool,
    ) -> Result<Option<Bytes>, BackupError> {
        let Some((blobs, _)) = &self.blobs else { return Ok(None) };
        let hash = match page.next() {
            Some(hash) => hash,
            None if more => {
                let all = blobs.put_before(Time(u64::MAX >> 12), after, BLOBS_PAGE).await?;
                more = all.len() == BLOBS_PAGE;
                after = all.last().copied().or(after);
                let some = !all.is_empty();
                if some {
                    self.stage = Stage::Blobs { after, page: all.into_iter(), more };
                }
                return Ok(None);
            }
            None => return Ok(None),
        };
        let then = Stage::Blobs { after, page, more };
        match blobs.get(hash).await {
            Ok(Some(blob)) => {
                self.manifest.blobs += 1;
                self.manifest.blob_bytes += blob.bytes;
                let header = header(&format!("{BLOBS}{hash}"), blob.bytes);
                self.writer.hasher.update(header);
                self.stage = Stage::Blob { chunks: blob.chunks, bytes: blob.bytes, then: Box::new(then) };
                Ok(Some(Bytes::copy_from_slice(&header)))
            }
            Ok(None) => {
                self.stage = then;
                Ok(None)
            }
            Err(BlobError::Damaged(hash)) if self.allow_damage => {
                self.manifest.damage.push(BlobError::Damaged(hash).to_string());
                self.stage = then;
                Ok(None)
            }
            Err(BlobError::Damaged(hash)) => {
                Err(BackupError::Damaged { damages: 1, named: format!("the blob {hash}") })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn listed(&mut self, name: &str, content: &[u8]) -> Bytes {
        let (bytes, entry) = self.writer.listed(name, content);
        self.manifest.parts.push(entry);
        bytes
    }
}

fn refuse_damage(scrub: &Scrub) -> Result<(), BackupError> {
    if scrub.damages == 0 {
        return Ok(());
    }
    let named = scrub.listed.iter().take(DAMAGE_NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    Err(BackupError::Damaged { damages: scrub.damages, named })
}

/// Everything that was written, as a hash.
#[derive(Default)]
struct Writer {
    hasher: Sha256,
}

impl Writer {
    fn part(&mut self, name: &str, content: &[u8]) -> Vec<u8> {
        let bytes = content.len() as u64;
        let mut part = Vec::with_capacity(content.len() + 1024);
        part.extend_from_slice(&header(name, bytes));
        part.extend_from_slice(content);
        part.resize(part.len() + padding(bytes), 0);
        self.hasher.update(&part);
        part
    }

    fn listed(&mut self, name: &str, content: &[u8]) -> (Bytes, PartEntry) {
        let entry = PartEntry { name: name.to_owned(), bytes: content.len() as u64, sha256: sha256(content) };
        (self.part(name, content).into(), entry)
    }

    /// The manifest, the seal over everything before it, and the end.
    fn end(&mut self, manifest: &mut Manifest) -> Bytes {
        let written = serde_json::to_vec_pretty(manifest).expect("a manifest has text and numbers");
        let mut end = self.part(MANIFEST, &written);
        let seal = hex(&self.hasher.clone().finalize());
        end.extend_from_slice(&self.part(SEAL, seal.as_bytes()));
        end.resize(end.len() + END_BYTES, 0);
        end.into()
    }
}
