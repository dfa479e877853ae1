//! `quickbeam backup`: everything of a node in one file, whether it runs or not; checked before it gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use serde_json::json;

use super::client::{Ask, ClientError, Door, DownloadError};
use super::context::Context;
use super::progress::{Progress, bytes_shown};
use crate::actors::{layout, record};
use crate::care::archive::{ArchiveError, BLOCK, padding, part_of};
use crate::care::format::{HEAD, Head, ROWS};
use crate::care::keeper::Keeper;
use crate::care::proof::{self, Nothing, Proved};
use crate::care::{BLOBS_FOLDER, STORE_FOLDER, backup};
use crate::config::Config;
use crate::private::PrivateError;
use crate::store::Engine as _;
use crate::store::blob::{Blobs, FileBlobs};
use crate::store::redb::{Options as StoreOptions, RedbEngine};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: a file that is not there yet, or a folder [default: HOST-TIME.qbk here]
    file: Option<PathBuf>,
    /// Leave out what is damaged, and say what that was, instead of refusing
    #[arg(long)]
    allow_damage: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let config = context.config()?;
    let file = destination(args, context, &config);
    if file.exists() {
        bail!("{} is there already: name another file", file.display());
    }
    let mut draft = Draft::create(&file)?;
    let made = match through_node(args, context, &config, &mut draft) {
        Err(DownloadError::Client(
            ClientError::NotRunning { .. } | ClientError::Token(PrivateError::Missing { .. }),
        )) => in_folder(args, context, &config, &mut draft),
        made => made.map_err(anyhow::Error::from),
    };
    made.with_context(|| format!("no backup was made; {} is gone again", draft.path.display()))?;
    let proved = draft.keep(&file)?;
    let bytes = fs::metadata(&file).map(|data| data.len()).unwrap_or_default();
    let (head, manifest) = (&proved.head, &proved.manifest);
    let answer = json!({
        "file": file, "bytes": bytes, "rows": manifest.rows, "blobs": manifest.blobs, "files": manifest.files.len(),
        "base": head.base, "incarnation": head.incarnation, "created": head.created_at, "damage": manifest.damage,
    });
    context.print(&answer, |_| {
        let mut lines = vec![format!(
            "{}: {} rows, {} blobs, {} files, {}; read back and whole",
            file.display(),
            manifest.rows,
            manifest.blobs,
            manifest.files.len(),
            bytes_shown(bytes)
        )];
        lines.extend(manifest.damage.iter().map(|damage| format!("damaged and left out: {damage}")));
        lines.push("It holds the keys of the node: keep it as private as those.".to_owned());
        lines.join("\n")
    });
    Ok(())
}

fn destination(args: &Args, context: &Context, config: &Config) -> PathBuf {
    let name = || backup::default_name(&config.node.base, context.clock.now());
    match &args.file {
        None => name().into(),
        Some(folder) if folder.is_dir() => folder.join(name()),
        Some(file) => file.clone(),
    }
}

fn through_node(args: &Args, context: &Context, config: &Config, draft: &mut Draft) -> Result<(), DownloadError> {
    let client = context.client_of(config)?;
    let ask = Ask::get(Door::Admin, "/admin/backup").query("allow_damage", args.allow_damage.to_string());
    let mut meter = Meter::new(context);
    let done = client.download(&ask, |piece| {
        meter.see(piece);
        draft.write(piece)
    });
    meter.progress.done();
    done
}

/// The same of a node that does not run, whose store nobody else has open.
fn in_folder(args: &Args, context: &Context, config: &Config, draft: &mut Draft) -> anyhow::Result<()> {
    let store = config.node.data.join(STORE_FOLDER);
    if !store.is_dir() {
        bail!(
            "{} holds no data: `quickbeam serve` makes them, or name the configuration of another node with --config",
            config.node.data.display()
        );
    }
    let opened = RedbEngine::look(&store, StoreOptions::default());
    let engine = Arc::new(opened.with_context(|| {
        let verify = "`quickbeam journal verify` says more, and an earlier backup can be restored";
        format!("the store in {} cannot be opened; {verify}", store.display())
    })?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut meter = Meter::new(context);
    let done: anyhow::Result<()> = runtime.block_on(async {
        let incarnation = engine.get(&layout::node_fact("incarnation")).await?;
        let incarnation = incarnation.and_then(|row| record::decode(&row.value).ok()).unwrap_or(1);
        let folder = config.node.data.join(BLOBS_FOLDER);
        let blobs = folder.is_dir().then(|| FileBlobs::open(&folder, u64::MAX, context.clock.clone())).transpose()?;
        let blobs = blobs.map(|blobs| Arc::new(blobs) as Arc<dyn Blobs>);
        let keeper = Keeper::new(config.clone(), engine.clone(), blobs, incarnation, context.clock.clone());
        let source = keeper.source(args.allow_damage).await?;
        let mut pieces = Box::pin(backup::stream(source, |_| {}));
        while let Some(piece) = pieces.next().await {
            meter.see(&piece);
            draft.write(&piece).map_err(DownloadError::Written)?;
        }
        Ok(())
    });
    meter.progress.done();
    engine.close();
    done
}

/// A backup in the making, under a name of its own, gone again unless it is kept.
struct Draft {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Draft {
    fn create(file: &Path) -> anyhow::Result<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        // What an earlier try left behind is nobody's.
        if path.is_file() {
            fs::remove_file(&path).with_context(|| format!("{} cannot be taken away", path.display()))?;
        }
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let made = made.with_context(|| {
            format!(
                "{} cannot be made: name a file in a folder that is there and that you may write to",
                path.display()
            )
        })?;
        Ok(Self { path, file: made, kept: false })
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)
    }

    /// Brings it to disk, reads all of it back, and gives it its name.
    fn keep(mut self, file: &Path) -> anyhow::Result<Proved> {
        self.file.sync_all().with_context(|| format!("{} could not be written", self.path.display()))?;
        let written = File::open(&self.path)?;
        let proved = match proof::read(BufReader::with_capacity(1 << 20, written), &mut Nothing) {
            Err(ArchiveError::Unfinished(reason)) => bail!("no backup was made: {reason}"),
            proved => proved.context("what was written is no whole backup, so that it was taken away")?,
        };
        fs::rename(&self.path, file).with_context(|| format!("{} cannot be made", file.display()))?;
        self.kept = true;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(proved)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // One that cannot be removed bears a name that says what it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Counts what passes: rows by the names of their parts.
struct Meter {
    progress: Progress,
    header: Vec<u8>,
    /// What is left of the part under way, and of its head what has come.
    skip: u64,
    head: Option<Vec<u8>>,
    about: u64,
    rows: u64,
    bytes: u64,
}

impl Meter {
    fn new(context: &Context) -> Self {
        let progress = Progress::new(context);
        Self { progress, header: Vec::new(), skip: 0, head: None, about: 0, rows: 0, bytes: 0 }
    }

    fn see(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len() as u64;
        while !piece.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
            if let Some(head) = &mut self.head {
                head.extend_from_slice(&piece[..skipped]);
            }
            (self.skip, piece) = (self.skip - skipped as u64, &piece[skipped..]);
            let taken = piece.len().min(BLOCK - self.header.len());
            self.header.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if self.header.len() == BLOCK {
                self.part();
            }
        }
        self.progress.at(self.rows, self.about, self.bytes);
    }

    fn part(&mut self) {
        if let Some(head) = self.head.take() {
            let text = head.split(|&byte| byte == 0).next().unwrap_or_default();
            self.about = serde_json::from_slice::<Head>(text).map_or(0, |head| head.rows_about);
        }
        let block = std::mem::take(&mut self.header);
        let part = block.try_into().ok().and_then(|block: [u8; BLOCK]| part_of(&block));
        let Some((name, bytes)) = part else { return };
        self.skip = bytes + padding(bytes) as u64;
        self.head = (name == HEAD).then(Vec::new);
        let rows = name.strip_prefix(ROWS).and_then(|name| name.split_once('-')?.1.parse::<u64>().ok());
        self.rows += rows.unwrap_or(0);
    }
}
