//! Where a backup is restored to: the configuration that is there or the one of the backup, and the folders it names.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use toml_edit::DocumentMut;

use super::format::{FileEntry, Role};
use super::restore::{Checked, beside};
use crate::config::Config;
use crate::private::{self, PrivateError};

/// The name of a configuration in a folder of its own.
const CONFIG: &str = "quickbeam.toml";
const DATA: &str = "data";

/// Why there is nowhere to restore to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("the configuration {} belongs to {configured}, the backup to {backed_up}: name another with --config or --to", file.display())]
    OtherBase { file: PathBuf, configured: String, backed_up: String },
    #[error("the configuration {} has mistakes: run `quickbeam check`, or move it away to get that of the backup", file.display())]
    Mistakes { file: PathBuf },
    #[error("the configuration in the backup cannot be read")]
    Unreadable,
    #[error("{} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Private(#[from] PrivateError),
}

/// A place for a node.
#[derive(Debug, Clone)]
pub struct Target {
    pub config: PathBuf,
    pub data: PathBuf,
    pub secrets: Vec<Secret>,
    written: Written,
    /// What people should know of it.
    pub notes: Vec<String>,
}

/// A secret shared with a peer, and where it goes.
#[derive(Debug, Clone)]
pub struct Secret {
    pub part: String,
    pub path: PathBuf,
}

#[derive(Debug, Clone)]
enum Written {
    /// There is none: that of the backup, with this text.
    New(String),
    /// It stays; that of the backup differs and goes beside it.
    Beside(Vec<u8>),
    Same,
}

impl Target {
    /// The folder `to`, or else the place of the configuration `file`.
    ///
    /// # Errors
    /// When what is there does not fit the backup.
    pub fn find(checked: &Checked, to: Option<&Path>, file: &Path) -> Result<Self, TargetError> {
        let config = to.map_or_else(|| file.to_owned(), |folder| folder.join(CONFIG));
        if config.exists() { Self::existing(checked, config) } else { Self::fresh(checked, config, to.is_some()) }
    }

    fn existing(checked: &Checked, file: PathBuf) -> Result<Self, TargetError> {
        // A secret that is missing is a mistake, and just what a restore brings back.
        let (config, _) = Config::draft(&file, std::env::vars());
        if config.node.base.is_empty() {
            return Err(TargetError::Mistakes { file });
        }
        if config.node.base != checked.head.base {
            let (configured, backed_up) = (config.node.base, checked.head.base.clone());
            return Err(TargetError::OtherBase { file, configured, backed_up });
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let (mut secrets, mut notes) = (Vec::new(), Vec::new());
        for (entry, peer) in secrets_of(checked) {
            let named = config.peers.get(peer).and_then(|peer| peer.secret_file.as_ref());
            // What is not named here, or differs, is left to a person.
            let Some(named) = named else { continue };
            secrets.push(Secret { part: entry.part.clone(), path: folder.join(named) });
        }
        let ours = config_of(checked)?;
        let same = fs::read(&file).is_ok_and(|there| there == ours);
        if !same {
            let beside = beside(&file, "from-backup", "");
            notes.push(format!("the configuration stays; that of the backup differs: {}", beside.display()));
        }
        let written = if same { Written::Same } else { Written::Beside(ours.to_vec()) };
        Ok(Self { data: config.node.data, config: file, secrets, written, notes })
    }

    fn fresh(checked: &Checked, config: PathBuf, moved: bool) -> Result<Self, TargetError> {
        let text = std::str::from_utf8(config_of(checked)?).map_err(|_| TargetError::Unreadable)?;
        let mut document: DocumentMut = text.parse().map_err(|_| TargetError::Unreadable)?;
        let folder = config.parent().unwrap_or(Path::new("")).to_owned();
        let mut notes = Vec::new();
        let mut data = document.get("node").and_then(|node| node.get("data")?.as_str()).unwrap_or(DATA).to_owned();
        if moved && !stays_inside(&data) {
            notes.push(format!("`data` was {data:?} and is \"{DATA}\" in the new folder"));
            DATA.clone_into(&mut data);
            document["node"]["data"] = toml_edit::value(DATA);
        }
        let mut secrets = Vec::new();
        for (entry, peer) in secrets_of(checked) {
            let mut path = entry.path.clone();
            if moved && !stays_inside(&path) {
                path = format!("{peer}.secret");
                notes.push(format!("the secret of [peers.{peer}] was {:?} and is {path:?} now", entry.path));
                document["peers"][peer]["secret_file"] = toml_edit::value(&path);
            }
            secrets.push(Secret { part: entry.part.clone(), path: folder.join(path) });
        }
        let written = Written::New(document.to_string());
        Ok(Self { data: folder.join(data), config, secrets, written, notes })
    }

    /// Writes a secret unless there is one already.
    pub(super) fn write_secret(&self, secret: &Secret, checked: &Checked) -> Result<(), TargetError> {
        if secret.path.exists() {
            return Ok(());
        }
        make_parent(&secret.path)?;
        Ok(private::create(&secret.path, checked.content(&secret.part).unwrap_or_default())?)
    }

    pub(super) fn write_config(&self) -> Result<(), TargetError> {
        make_parent(&self.config)?;
        match &self.written {
            Written::Same => Ok(()),
            Written::New(text) => Ok(private::replace(&self.config, text.as_bytes())?),
            Written::Beside(bytes) => Ok(private::replace(&beside(&self.config, "from-backup", ""), bytes)?),
        }
    }
}

fn make_parent(path: &Path) -> Result<(), TargetError> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::create_dir_all(parent).map_err(|source| TargetError::Io { path: parent.into(), source }),
        None => Ok(()),
    }
}

fn config_of(checked: &Checked) -> Result<&[u8], TargetError> {
    let entry = checked.manifest.files.iter().find(|entry| entry.role == Role::Config);
    entry.and_then(|entry| checked.content(&entry.part)).ok_or(TargetError::Unreadable)
}

fn secrets_of(checked: &Checked) -> impl Iterator<Item = (&FileEntry, &String)> {
    checked.manifest.files.iter().filter_map(|entry| match &entry.role {
        Role::Secret { peer } => Some((entry, peer)),
        Role::Config | Role::Data => None,
    })
}

/// A path that lies below the folder it counts from.
fn stays_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
