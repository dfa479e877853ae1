//! Looking at a store that nobody runs, without a write to its disk.

use std::path::Path;
use std::sync::Arc;

use super::aside::Aside;
use super::backend::io_failure;
use super::stats::Counters;
use super::table::Table;
use super::{OpenError, Options, RedbEngine, migrate, table};
use crate::store::Failure;
use crate::store::disk::{Disk, Folder};

impl RedbEngine {
    /// Opens a store to look at it, also on a disk that is full: whatever is written, by opening it or later, stays in
    /// memory and goes when it is closed. Nobody else may have it open. Blocks.
    ///
    /// # Errors
    /// When it is in use, damaged, or of an earlier version, which only [`RedbEngine::open`] brings up to this one.
    pub fn look(folder: &Path, options: Options) -> Result<Self, OpenError> {
        Self::look_on(Arc::new(Folder::new(folder).map_err(OpenError::Folder)?), options)
    }

    /// The same on any disk.
    pub fn look_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let lock = disk.lock()?;
        match migrate::is_due(&*disk) {
            Ok(false) => Self::start(Arc::new(Aside::over(disk)), options, lock),
            Ok(true) => Err(OpenError::Older { file: table::NAME }),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether the table can be followed from page to page, also where it holds no rows: a store where it cannot be may
    /// serve all that it has and take nothing new. Reads the whole file and writes nothing. Nobody else may have it open.
    ///
    /// # Errors
    /// When it is in use, or its disk cannot be read.
    pub fn is_whole(disk: Arc<dyn Disk>) -> Result<bool, OpenError> {
        let _lock = disk.lock()?;
        let table = Table::open_aside(disk, &Options::default(), &Counters::default());
        let in_table = |source| OpenError::Failed { file: table::NAME, source };
        match table.and_then(|mut table| table.is_whole().map_err(in_table)) {
            Err(OpenError::Failed { source: Failure::Damaged { .. }, .. }) => Ok(false),
            whole => whole,
        }
    }
}

fn failed(error: std::io::Error) -> OpenError {
    OpenError::Failed { file: table::NAME, source: io_failure("looking at the table", error) }
}
