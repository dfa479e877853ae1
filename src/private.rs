//! Files that nobody but their owner may read: keys and tokens, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The keys of a node in its data folder: ed25519 and RSA.
pub const KEY_FILE: &str = "node.key";
pub const RSA_KEY_FILE: &str = "node-rsa.key";

/// Longest private file that is read; ours have a few kilobytes.
const BYTES_MAX: u64 = 4 << 20;

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    #[error("{} is not there: make it with `quickbeam init`", path.display())]
    Missing { path: PathBuf },
    #[error("{} can be read by others (mode {mode:03o}): run `chmod 600 {}`, and replace what is in it if others may have read it", path.display(), path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is there already: move it away first", path.display())]
    Exists { path: PathBuf },
    #[error("{} has more than {BYTES_MAX} bytes and is none of ours: move it away", path.display())]
    TooLong { path: PathBuf },
    #[error("{} cannot be {verb}: {source}", path.display())]
    Io {
        path: PathBuf,
        verb: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Reads a file, and refuses one that others may read or change.
///
/// # Errors
/// When it is missing, readable by others, too long or not readable at all.
pub fn read(path: &Path) -> Result<Vec<u8>, PrivateError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => PrivateError::Missing { path: path.into() },
        _ => PrivateError::Io { path: path.into(), verb: "read", source },
    };
    let file = File::open(path).map_err(failed)?;
    // The mode of what was opened, which is what is read, whatever happens to the name meanwhile.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PrivateError::Open { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(PrivateError::TooLong { path: path.into() });
    }
    Ok(bytes)
}

/// As [`read`], for text; the white space around it is left out.
///
/// # Errors
/// As [`read`], and when it is no text.
pub fn read_text(path: &Path) -> Result<String, PrivateError> {
    let text = String::from_utf8(read(path)?).map_err(|error| PrivateError::Io {
        path: path.into(),
        verb: "read",
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })?;
    Ok(text.trim().to_owned())
}

/// Writes a file that must not be there yet.
///
/// # Errors
/// When it is there, or cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    write_new(path, bytes).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PrivateError::Exists { path: path.into() },
        _ => PrivateError::Io { path: path.into(), verb: "written", source },
    })
}

/// Puts new content in the place of what is there, so that a crash leaves the one or the other. One writer at a time.
///
/// # Errors
/// When it cannot be written; then the old content stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let renamed = || fs::rename(&draft, path).inspect_err(|_| drop(fs::remove_file(&draft)));
    let written = remove_if_there(&draft)
        .and_then(|()| write_new(&draft, bytes))
        .and_then(|()| renamed())
        .and_then(|()| sync_folder_of(path));
    written.map_err(|source| PrivateError::Io { path: path.into(), verb: "written", source })
}

/// Takes a file away, so that it is gone also after a crash. One that is not there is no mistake.
///
/// # Errors
/// When it cannot be taken away.
pub fn remove(path: &Path) -> Result<(), PrivateError> {
    let removed = remove_if_there(path).and_then(|()| sync_folder_of(path));
    removed.map_err(|source| PrivateError::Io { path: path.into(), verb: "removed", source })
}

/// Makes a folder that only its owner may enter, and those above it.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), PrivateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| PrivateError::Io { path: path.into(), verb: "made", source })
}

/// What cannot be written whole is taken away again, so that half a key is never taken for one.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_folder_of(path));
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new name is on disk only once its folder is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b" one\n").unwrap();
        assert_eq!((mode(&path), read_text(&path).unwrap().as_str()), (0o600, "one"));
        replace(&path, b"two").unwrap();
        assert_eq!((mode(&path), read(&path).unwrap().as_slice()), (0o600, b"two".as_slice()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(matches!(read(&path), Err(PrivateError::Missing { .. })));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"x").unwrap();
        for wide in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wide)).unwrap();
            assert!(matches!(read(&path), Err(PrivateError::Open { mode, .. }) if mode == wide));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).is_ok());
    }

    #[test]
    fn what_is_there_is_not_overwritten_and_what_is_not_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(matches!(read(&path), Err(PrivateError::Missing { .. })));
        create(&path, b"x").unwrap();
        assert!(matches!(create(&path, b"y"), Err(PrivateError::Exists { .. })));
        assert_eq!(read(&path).unwrap(), b"x");
    }

    #[test]
    fn what_cannot_be_put_in_its_place_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(matches!(replace(&path, b"new"), Err(PrivateError::Io { verb: "written", .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_a_crash_left_wide_open_is_not_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let (path, draft) = (folder.path().join("a"), folder.path().join("a.new"));
        fs::write(&draft, "old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!((mode(&path), read(&path).unwrap().as_slice()), (0o600, b"new".as_slice()));
    }
}
