//! `quickbeam store`: the streams, values and blobs of programs, from the command line.

use anyhow::Context as _;

use super::client::Ask;
use super::context::Context;
use crate::programs::{JsonText, Name};
use crate::store::blob::BlobHash;

mod blobs;
mod streams;
mod values;

/// Deeper JSON than any node takes is refused by the node.
const DEPTH_MAX: usize = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Numbered records: append, read, follow, truncate
    #[command(subcommand)]
    Streams(streams::Args),
    /// Named values with versions: get, put, delete
    #[command(subcommand)]
    Kv(values::Args),
    /// Large content under names: put, get, has, delete
    #[command(subcommand)]
    Blobs(blobs::Args),
}

/// Which names a list shows.
#[derive(Debug, clap::Args)]
pub(super) struct Listing {
    /// Only what is named below this: shop/
    prefix: Option<String>,
    #[command(flatten)]
    paging: super::list::Paging,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    match args {
        Args::Streams(args) => streams::run(args, context),
        Args::Kv(args) => values::run(args, context),
        Args::Blobs(args) => blobs::run(args, context),
    }
}

impl Listing {
    fn of(&self, ask: Ask) -> Ask {
        self.prefix.iter().fold(ask, |ask, prefix| ask.query("prefix", prefix))
    }
}

/// A name, checked as the node does, so that a slip is a wrong word.
fn name(word: &str) -> Result<Name, String> {
    word.parse().map_err(|error: crate::programs::name::NameError| error.to_string())
}

/// What a write relies on: `none`, or the number or hash that stands there.
fn expecting(ask: Ask, expect: Option<&str>) -> Ask {
    match expect {
        None => ask,
        Some("none") => ask.header("if-none-match", "*"),
        Some(tag) => ask.header("if-match", format!("\"{tag}\"")),
    }
}

/// A version or the number of a record to expect, as a word.
fn expected_number(word: &str) -> Result<String, String> {
    if word == "none" || word.parse::<u64>().is_ok() {
        return Ok(word.to_owned());
    }
    Err("write the number that the answer before said, or `none`".into())
}

/// The hash of a blob to expect, as a word.
fn expected_hash(word: &str) -> Result<String, String> {
    if word == "none" || word.parse::<BlobHash>().is_ok() {
        return Ok(word.to_owned());
    }
    Err("write the hash that the answer before said, all 64 digits of it, or `none`".into())
}

fn json(text: &[u8], what: &str) -> anyhow::Result<JsonText> {
    JsonText::parse(text, DEPTH_MAX)
        .with_context(|| format!("{what} is no JSON value; text goes in quotes: '\"text\"'"))
}

/// All of standard input.
fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).context("standard input cannot be read")?;
    Ok(bytes)
}
