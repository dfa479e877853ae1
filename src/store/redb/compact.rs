//! Gives the free space of the table back to the disk: in a copy, which takes its place only when it is whole.

use std::path::Path;

use super::backend::io_failure;
use super::stats::Counters;
use super::table::Table;
use super::{OpenError, Options, RedbEngine, scrub, table};
use crate::store::Failure;
use crate::store::disk::{self, Disk, Folder};

/// Where the copy is made.
const FOLDER: &str = "compacting";
const COPYING: &str = "copying the table";
/// More rounds win next to nothing.
const ROUNDS_MAX: usize = 10;

impl RedbEngine {
    /// Compacts the table of a store that nobody has open, and gives its size before and after. Needs room for a second table until it is done, and a crash
    /// leaves the one or the other. Blocks.
    ///
    /// # Errors
    /// When the store is in use or damaged, or the disk has no room; the table is as it was then.
    pub fn compact(folder: &Path) -> Result<(u64, u64), OpenError> {
        let disk = Folder::new(folder).map_err(OpenError::Folder)?;
        let _lock = disk.lock()?;
        let beside = folder.join(FOLDER);
        let done = compacted(&disk, &beside);
        // A copy that was not finished is worth nothing.
        let cleared = std::fs::remove_dir_all(&beside).map_err(OpenError::Folder);
        done.and_then(|sizes| cleared.map(|()| sizes))
    }
}

fn compacted(disk: &Folder, beside: &Path) -> Result<(u64, u64), OpenError> {
    let broken = |source| OpenError::Failed { file: table::NAME, source };
    if beside.exists() {
        std::fs::remove_dir_all(beside).map_err(OpenError::Folder)?;
    }
    let copy = Folder::new(beside).map_err(OpenError::Folder)?;
    let before = copied(disk, &copy).map_err(|error| broken(io_failure(COPYING, error)))?;
    let options = Options::default();
    let mut table = Table::open(&copy, &options, &Counters::default())?;
    let rows = table.view().map_err(broken)?.count();
    for _ in 0..ROUNDS_MAX {
        if !table.compact().map_err(broken)? {
            break;
        }
    }
    let found = scrub::run(&table.view().map_err(broken)?).map_err(broken)?;
    if found.damages > 0 || found.rows != rows {
        let what = found.listed.first().cloned().unwrap_or_else(|| format!("{rows} rows became {}", found.rows));
        return Err(broken(Failure::damaged(what)));
    }
    drop(table);
    let done = || {
        let file = copy.open(table::NAME)?;
        file.sync()?;
        let after = file.len()?;
        disk.rename(&format!("{FOLDER}/{}", table::NAME), table::NAME)?;
        Ok(after)
    };
    let after = done().map_err(|error| broken(io_failure("putting the compacted table in place", error)))?;
    Ok((before, after))
}

fn copied(from: &Folder, to: &Folder) -> std::io::Result<u64> {
    let (from, to) = (from.open(table::NAME)?, to.open(table::NAME)?);
    to.set_len(from.len()?)?;
    disk::pieces(&*from, |at, piece| to.write(at, piece))
}
