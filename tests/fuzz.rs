//! Every parser that reads what strangers send, or a damaged disk holds, against inputs made by mutation: nothing ends
//! the process, takes too long, or breaks a law of its kind.
//!
//! `docs/testing.md` says how to run it for longer. Seeds, and every input that once broke something, lie under
//! `tests/fuzz/corpus/TARGET/` and are tried in each run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "store/dice.rs"]
mod dice;
#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "store/disk.rs"]
mod disk;
#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "store/image.rs"]
mod image;

mod fuzz {
    mod flows;
    mod headers;
    mod html;
    mod identities;
    mod json;
    mod keys;
    mod mutate;
    mod proofs;
    mod run;
    mod signatures;
    mod stored;
}
