//! Care for the data of a node: backup, restore, and looking for damage. Works on a running node and on a folder.

pub mod archive;
pub mod backup;
pub mod format;
pub mod proof;
pub mod restore;
pub mod target;
