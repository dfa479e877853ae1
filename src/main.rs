//! The `quickbeam` binary.

fn main() {}
