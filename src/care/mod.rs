//! Care for the data of a node: backup, restore, and looking for damage. Works on a running node and on a folder.

pub mod archive;
pub mod backup;
pub mod dump;
pub mod format;
pub mod keeper;
pub mod kept;
pub mod notes;
pub mod proof;
pub mod restore;
pub mod scrubber;
pub mod target;
pub mod verify;

/// The folder of the store, in the data folder.
pub const STORE_FOLDER: &str = "store";
/// The folder of blobs, beside it.
pub const BLOBS_FOLDER: &str = "blobs";
