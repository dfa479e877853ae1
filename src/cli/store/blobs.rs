//! `quickbeam store blobs`: large content under names, from files and into files.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::client::{Ask, Client, ClientError, Door, Upload};
use super::super::context::Context;
use super::super::list::{self, items, more, text};
use super::super::progress::Progress;
use super::super::table::named;
use super::{Listing, expected_hash, expecting, name};
use crate::programs::Name;
use crate::store::blob::BlobHash;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Args {
    /// Store a file under a name
    Put {
        #[arg(value_parser = name)]
        name: Name,
        /// Standard input without it or with -
        file: Option<PathBuf>,
        /// The media type that it is served with
        #[arg(long = "type", value_name = "TYPE", default_value = "application/octet-stream")]
        media: String,
        /// Only if the name stands for this hash, or `none` if for nothing
        #[arg(long, value_name = "HASH", value_parser = expected_hash)]
        expect: Option<String>,
    },
    /// Fetch a blob, and check its hash
    Get {
        #[arg(value_parser = name)]
        name: Name,
        /// Where it goes [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Whether there is a blob of this name: its hash and size
    Has {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Take a name away; its content goes when nothing else names it
    Delete {
        #[arg(value_parser = name)]
        name: Name,
        /// Only if the name stands for this hash
        #[arg(long, value_name = "HASH", value_parser = expected_hash)]
        expect: Option<String>,
    },
    /// Names, sizes and hashes
    List(Listing),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    let change = |method, name: &Name| Ask::change(Door::Public, method, address(name), context.key());
    match args {
        Args::Put { name, file, media, expect } => {
            let ask = expecting(change("PUT", name), expect.as_deref()).header("content-type", media);
            let answer = put(&client, context, &ask, file.as_deref())?;
            context
                .print(&answer, |answer| format!("{name}: {} bytes, {}", text(answer, "bytes"), text(answer, "hash")));
        }
        Args::Get { name, to } => get(&client, context, name, to.as_deref())?,
        Args::Has { name } => {
            let answer = has(&client, name)?;
            context.print(&answer, |answer| format!("{} bytes, {}", text(answer, "bytes"), text(answer, "hash")));
        }
        Args::Delete { name, expect } => {
            let answer = client.ask(&expecting(change("DELETE", name), expect.as_deref()))?;
            context.print(&answer, |_| format!("{name} is not there any more"));
        }
        Args::List(listing) => {
            let ask = listing.of(Ask::get(Door::Public, "/store/blobs"));
            let answer = list::fetch(&client, &ask, &listing.paging)?;
            context.print(&answer, shown);
        }
    }
    Ok(())
}

fn put(client: &Client, context: &Context, ask: &Ask, file: Option<&Path>) -> anyhow::Result<Value> {
    let path = file.filter(|file| *file != Path::new("-")).unwrap_or(Path::new("/dev/stdin"));
    let opened = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let bytes = opened.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    let mut progress = Progress::new(context);
    let upload = Upload { file: opened, bytes, progress: Box::new(move |sent| progress.flowed(sent, bytes)) };
    let mut answer = Vec::new();
    client.flow(ask, Some(upload), &mut |_, piece| answer.write_all(piece))?;
    Ok(serde_json::from_slice(&answer)?)
}

fn has(client: &Client, name: &Name) -> anyhow::Result<Value> {
    let ask = Ask { method: "HEAD", ..Ask::get(Door::Public, address(name)) };
    match client.whole(&ask) {
        Ok((head, _)) => {
            let bytes = head.header("content-length").and_then(|bytes| bytes.parse::<u64>().ok());
            let hash = head.header("etag").map(|tag| tag.trim_matches('"').to_owned());
            Ok(json!({ "name": name.as_str(), "bytes": bytes, "hash": hash }))
        }
        // The answer to HEAD has no body that could say it.
        Err(error) => match error.downcast_ref() {
            Some(ClientError::Refused(problem)) if problem.status == 404 => bail!("there is no blob {name}"),
            _ => Err(error),
        },
    }
}

fn get(client: &Client, context: &Context, name: &Name, to: Option<&Path>) -> anyhow::Result<()> {
    let ask = Ask::get(Door::Public, address(name)).header("accept", "*/*");
    let Some(to) = to else {
        if io::stdout().is_terminal() {
            bail!("a blob may hold anything, and is not written to a terminal: add --to FILE, or send it on with |");
        }
        fetch(client, context, &ask, &mut io::stdout().lock())?;
        return Ok(());
    };
    // Beside its place, so that nobody finds half of it there.
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = File::create(&part).with_context(|| format!("{} cannot be written", part.display()))?;
    let fetched = fetch(client, context, &ask, &mut file).and_then(|done| {
        file.sync_all()?;
        std::fs::rename(&part, to).with_context(|| format!("{} cannot be written", to.display()))?;
        Ok(done)
    });
    if fetched.is_err() {
        drop(std::fs::remove_file(&part));
    }
    let (hash, bytes) = fetched?;
    let answer = json!({ "name": name.as_str(), "hash": hash.to_string(), "bytes": bytes, "file": to });
    context.print(&answer, |_| format!("{}: {bytes} bytes, {hash}", to.display()));
    Ok(())
}

/// Writes the content and checks that it is what its hash says.
fn fetch(client: &Client, context: &Context, ask: &Ask, out: &mut dyn Write) -> anyhow::Result<(BlobHash, u64)> {
    let (mut hasher, mut bytes, mut progress) = (Sha256::new(), 0_u64, Progress::new(context));
    let head = client.flow(ask, None, &mut |head, piece| {
        hasher.update(piece);
        bytes += piece.len() as u64;
        progress.flowed(bytes, head.header("content-length").and_then(|bytes| bytes.parse().ok()));
        out.write_all(piece)
    })?;
    progress.done();
    out.flush()?;
    let hash = BlobHash(hasher.finalize().into());
    let expected = head.header("etag").unwrap_or_default().trim_matches('"');
    if hash.to_string() != expected {
        bail!("what came has the hash {hash} and not {expected}: fetch it again");
    }
    Ok((hash, bytes))
}

fn shown(answer: &Value) -> String {
    let row = |item: &Value| ["name", "bytes", "media", "hash"].map(|field| text(item, field)).to_vec();
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    named(&["name", "bytes", "type", "hash"], &rows, "no blobs") + &more(answer)
}

fn address(name: &Name) -> String {
    format!("/store/blobs/{name}")
}
