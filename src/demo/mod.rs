//! x y z
use crate::clock::SharedClock;
use std::path::PathBuf;
pub struct Options {
    pub port_base: Option<u16>,
    pub data: Option<PathBuf>,
    pub keep: bool,
    pub once: bool,
    pub json: bool,
    pub clock: SharedClock,
}
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("x")]
    X,
}
pub fn run(_: &Options) -> Result<(), DemoError> {
    Err(DemoError::X)
}
