//! One suite for every engine, and what is particular to the one on disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store/blobs.rs"]
mod blobs;
#[path = "store/calls.rs"]
mod calls;
#[path = "store/clean.rs"]
mod clean;
#[path = "store/crashes.rs"]
mod crashes;
#[path = "store/dice.rs"]
mod dice;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/files.rs"]
mod files;
#[path = "store/flips.rs"]
mod flips;
#[path = "store/history.rs"]
mod history;
#[path = "store/hot.rs"]
mod hot;
#[path = "store/image.rs"]
mod image;
#[path = "store/life.rs"]
mod life;
#[path = "store/log.rs"]
mod log;
#[path = "store/look.rs"]
mod look;
#[path = "store/migrate.rs"]
mod migrate;
#[path = "store/model.rs"]
mod model;
#[path = "store/ops.rs"]
mod ops;
#[path = "store/pages.rs"]
mod pages;
#[path = "store/programs.rs"]
mod programs;
#[path = "store/subject.rs"]
mod subject;
#[path = "store/suite.rs"]
mod suite;
#[path = "store/threads.rs"]
mod threads;
