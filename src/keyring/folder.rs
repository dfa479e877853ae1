//! The keys of a node in its data folder: two files for each generation, and `keys.json`, which says what counts.
//!
//! The files of new keys are on disk before `keys.json` names them, and those of old ones go after it names them no
//! more. It is put in its place whole, so that a crash leaves the keys from before or those from after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FIRST, Generation, Ring, Rotation};
use crate::clock::Time;
use crate::private::{self, KEY_FILE, PrivateError, RSA_KEY_FILE};
use crate::wire::key::{KeyFormatError, NodeKey, NodeKeys};
use crate::wire::rsa::RsaKey;

/// Which generations there are. Without it there is the first alone.
const BOOK: &str = "keys.json";
/// Generations that are read; there are two, and one more at most.
const GENERATIONS_MAX: usize = 16;

/// Why the keys of a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    File(#[from] PrivateError),
    #[error("{} holds no usable key: {source}", path.display())]
    Format { path: PathBuf, source: KeyFormatError },
    #[error("{} cannot be read: {source}; bring it back from a backup", path.display())]
    Unreadable { path: PathBuf, source: serde_json::Error },
    #[error("{} does not say which keys there are: bring it back from a backup", path.display())]
    Nonsense { path: PathBuf },
    #[error("{BOOK} names the keys of {}, which is not there: bring it back from a backup", path.display())]
    Lost { path: PathBuf },
    #[error("{} cannot be listed: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
}

/// What `keys.json` says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Book {
    /// The newest first.
    generations: Vec<Listed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
}

impl Book {
    fn read(data: &Path) -> Result<Option<Self>, FolderError> {
        let path = data.join(BOOK);
        let text = match private::read_text(&path) {
            Err(PrivateError::Missing { .. }) => return Ok(None),
            read => read?,
        };
        let book: Self =
            serde_json::from_str(&text).map_err(|source| FolderError::Unreadable { path: path.clone(), source })?;
        let sound = (1..=GENERATIONS_MAX).contains(&book.generations.len())
            && book.generations.iter().all(|one| is_name(&one.name))
            && book.generations[0].until.is_none();
        if sound { Ok(Some(book)) } else { Err(FolderError::Nonsense { path }) }
    }

    fn of(ring: &Ring) -> Self {
        let listed = |one: &Generation| Listed { name: one.name.clone(), since: one.since, until: one.until };
        Self { generations: ring.generations().iter().map(listed).collect(), rotation: ring.rotation.clone() }
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("names, numbers and hashes have a JSON form")
    }
}

/// The keys in a folder that are not over by now. Writes nothing: an RSA key that a node of an older version lacks is
/// made, and is in no file before [`keep`].
///
/// # Errors
/// For files that are missing, readable by others or no keys.
pub fn read(data: &Path, now: Time) -> Result<Ring, FolderError> {
    let Some(book) = Book::read(data)? else { return Ok(Ring::first(read_keys(data, FIRST)?)) };
    let Book { generations, rotation } = book;
    let current = generations.into_iter().filter(|one| one.until.is_none_or(|until| until > now));
    let generations = current.map(|Listed { name, since, until }| {
        let keys = read_keys(data, &name).map_err(|error| match error {
            FolderError::File(PrivateError::Missing { path }) => FolderError::Lost { path },
            other => other,
        })?;
        Ok(Generation { name, since, until, keys })
    });
    Ok(Ring { generations: generations.collect::<Result<_, FolderError>>()?, rotation })
}

fn read_keys(data: &Path, name: &str) -> Result<NodeKeys, FolderError> {
    let [ed25519, rsa] = files(data, name);
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Format { path, source }
    };
    let key = NodeKey::from_pem(&private::read_text(&ed25519)?).map_err(wrong(&ed25519))?;
    let pair = match private::read_text(&rsa) {
        Err(PrivateError::Missing { .. }) if name == FIRST => RsaKey::generate(),
        read => RsaKey::from_pem(&read?),
    };
    Ok(NodeKeys { ed25519: key, rsa: pair.map_err(wrong(&rsa))? })
}

/// Brings a folder to what a ring says, as [`write()`] and then [`sweep`] do.
///
/// # Errors
/// As there.
pub fn keep(ring: &Ring, data: &Path) -> Result<(), FolderError> {
    write(ring, data)?;
    sweep(ring, data)
}

/// Writes what a ring says: its keys first, then the book. For when the folder is known to be this process's own. Blocks.
///
/// # Errors
/// When a file cannot be written. What counted before then counts still.
pub fn write(ring: &Ring, data: &Path) -> Result<(), FolderError> {
    for one in ring.generations() {
        let ([ed25519, rsa], keys) = (files(data, &one.name), &one.keys);
        let is_it = |text: &str| NodeKey::from_pem(text).is_ok_and(|there| there.public() == keys.ed25519.public());
        put(&ed25519, &keys.ed25519.to_pem(), is_it)?;
        let is_it = |text: &str| RsaKey::from_pem(text).is_ok_and(|there| there.public() == keys.rsa.public());
        put(&rsa, &keys.rsa.to_pem(), is_it)?;
    }
    let path = data.join(BOOK);
    if ring.rotation.is_none() && ring.generations().len() == 1 && !path.exists() {
        // As every node is that has rotated nothing.
        return Ok(());
    }
    let text = Book::of(ring).text();
    Ok(put(&path, &text, |there| there == text)?)
}

/// Takes away the files of keys that a ring does not have, all that it can.
///
/// # Errors
/// When one could not be taken away.
pub fn sweep(ring: &Ring, data: &Path) -> Result<(), FolderError> {
    if !data.join(BOOK).exists() {
        // Nothing goes on the word of a book that is not there.
        return Ok(());
    }
    let is_ours = |name: &String| {
        let is_of = |one: &Generation| generation_of(name) == Some(&one.name);
        ring.generations().iter().any(is_of) && !name.ends_with(DRAFT)
    };
    let others = key_files(data)?.into_iter().filter(|name| !is_ours(name));
    let swept: Vec<_> = others.map(|name| private::remove(&data.join(name))).collect();
    Ok(swept.into_iter().collect::<Result<(), _>>()?)
}

/// All files that the keys of a node are in, for whoever copies or looks at them. The book comes first.
///
/// # Errors
/// For a book that cannot be read.
pub fn all_files(data: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let Some(book) = Book::read(data)? else { return Ok(files(data, FIRST).to_vec()) };
    let keys = book.generations.iter().flat_map(|one| files(data, &one.name));
    Ok(std::iter::once(data.join(BOOK)).chain(keys).collect())
}

/// What tells whether the keys in a folder have changed since they were looked at.
pub fn version(data: &Path) -> Option<Vec<u8>> {
    fs::read(data.join(BOOK)).ok()
}

fn files(data: &Path, name: &str) -> [PathBuf; 2] {
    match name {
        FIRST => [KEY_FILE, RSA_KEY_FILE].map(|file| data.join(file)),
        name => [format!("node-{name}.key"), format!("node-rsa-{name}.key")].map(|file| data.join(file)),
    }
}

/// What ends the name of a file that is being written.
const DRAFT: &str = ".new";

/// The generation that a file of keys belongs to, by its name; none for any other file.
fn generation_of(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(DRAFT).unwrap_or(file).strip_suffix(".key")?;
    match stem.strip_prefix("node-rsa").or_else(|| stem.strip_prefix("node"))? {
        "" => Some(FIRST),
        rest => rest.strip_prefix('-').filter(|name| is_name(name)),
    }
}

/// `2`, or `2-3` of a third life of the data.
fn is_name(name: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_digit());
    name.len() <= 40 && name.split('-').count() <= 2 && name.split('-').all(is_number)
}

fn key_files(data: &Path) -> Result<Vec<String>, FolderError> {
    let failed = |source| FolderError::Folder { path: data.to_owned(), source };
    let names = fs::read_dir(data).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| generation_of(name).is_some()).collect())
}

/// Writes a file that does not say this yet, in whatever form.
fn put(path: &Path, text: &str, is_it: impl Fn(&str) -> bool) -> Result<(), PrivateError> {
    match private::read_text(path) {
        Ok(there) if is_it(&there) => Ok(()),
        Ok(_) | Err(PrivateError::Missing { .. }) => private::replace(path, text.as_bytes()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
