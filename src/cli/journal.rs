//! `quickbeam journal`: looks into the store; most of it while the node does not run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::client::{Ask, Client, ClientError, Door};
use super::context::Context;
use super::progress::{Progress, bytes_shown};
use super::table::{pairs, table};
use crate::actors::entity::Kind;
use crate::care::verify::Records;
use crate::care::{BLOBS_FOLDER, STORE_FOLDER, dump};
use crate::clock::Time;
use crate::config::Config;
use crate::private::PrivateError;
use crate::store::Failure;
use crate::store::blob::{BlobError, BlobHash, Blobs, FileBlobs};
use crate::store::disk::{Disk as _, Folder};
use crate::store::redb::{OpenError, Options as StoreOptions, RedbEngine, Step, inspect};

const STEP: Step = Step { rows_max: 20_000, bytes_max: 8 << 20 };
/// Between two looks at a scrub of a running node.
const LOOK: Duration = Duration::from_millis(200);
const BLOBS_PAGE: usize = 256;
const NOT_WHOLE: &str = "table.redb: every row is there, and a page that holds them together is not what was written: \
     the node serves what it has, and will not be able to write to it; a backup is whole, so make one and restore it";
/// Damages that are printed; more are counted.
const NAMED_MAX: usize = 100;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Check every frame, row, sum, record and blob; exit 1 when something is damaged
    Verify,
    /// Rows as lines of JSON, secrets masked; the node must not run
    Dump {
        /// Only keys that begin so, written as the dump writes them
        #[arg(long)]
        prefix: Option<String>,
        /// Only this area
        #[arg(long, value_parser = areas())]
        area: Option<String>,
        /// Only rows of this actor, as `quickbeam actors` lists it
        #[arg(long, value_name = "KIND/KEY", value_parser = actor)]
        actor: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Rows and bytes by area, and what the files take
    Stats,
    /// Give the free space of the table back to the disk; the node must not run
    Compact,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let config = context.config()?;
    match args {
        Args::Verify => match running(context, &config)? {
            Some(client) => verify_running(&client, context),
            None => verify(&config, context),
        },
        Args::Stats => match running(context, &config)? {
            Some(client) => {
                let answer = client.ask(&Ask::get(Door::Admin, "/admin/store"))?;
                context.print(&answer, stats_shown);
                Ok(())
            }
            None => stats(&config, context),
        },
        Args::Dump { prefix, area, actor, limit } => {
            let wanted = Wanted { prefix: prefix.clone(), area: area.clone(), actor: actor.clone() };
            dump_rows(&config, context, &wanted, limit.unwrap_or(u64::MAX))
        }
        Args::Compact => compact(&config, context),
    }
}

/// The way to the node, if it runs.
fn running(context: &Context, config: &Config) -> Result<Option<Client>, ClientError> {
    let client = match context.client_of(config) {
        Err(ClientError::Token(PrivateError::Missing { .. })) => return Ok(None),
        client => client?,
    };
    match client.send(&Ask::get(Door::Admin, "/health").without_token()) {
        Ok(_) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(config: &Config) -> anyhow::Result<RedbEngine> {
    let store = config.node.data.join(STORE_FOLDER);
    if !store.is_dir() {
        bail!(
            "{} holds no data: `quickbeam serve` makes them, or name the configuration of another node with --config",
            config.node.data.display()
        );
    }
    // Replaying checks every frame of the log.
    Ok(RedbEngine::look(&store, StoreOptions::default())?)
}

fn verify_running(client: &Client, context: &Context) -> anyhow::Result<()> {
    client.ask(&Ask::change(Door::Admin, "POST", "/admin/store/scrub", context.key()))?;
    let mut progress = Progress::new(context);
    let found = loop {
        let status = client.ask(&Ask::get(Door::Admin, "/admin/status"))?;
        if status["scrub"]["running"] != true {
            break status["scrub"]["last"].clone();
        }
        progress.at(status["scrub"]["rows"].as_u64().unwrap_or(0), 0, 0);
        client.pause(LOOK);
    };
    progress.done();
    let damages = found["damages"].as_u64().unwrap_or(0);
    if let Some(failed) = found["failed"].as_str().filter(|_| damages == 0) {
        bail!("the node could not look at all rows: {failed}");
    }
    told(&found, damages, context)
}

/// What was found, and exit 1 when something is damaged.
fn told(found: &Value, damages: u64, context: &Context) -> anyhow::Result<()> {
    context.print(found, |found| {
        let rows = &found["rows"];
        let lines = found["listed"].as_array().into_iter().flatten();
        let named: Vec<String> = lines.map(|line| line.as_str().unwrap_or_default().to_owned()).collect();
        match damages {
            0 => match (found["blobs"].as_u64(), found["unnamed_blobs"].as_u64()) {
                (Some(blobs), Some(unnamed)) => {
                    format!("{rows} rows, {blobs} blobs, {unnamed} of them without a name: nothing is damaged")
                }
                _ => format!("{rows} rows: nothing is damaged"),
            },
            _ => named.join("\n"),
        }
    });
    if damages > 0 {
        bail!(
            "{} damaged: restore a backup, or see docs/operations.md for what can be done without one",
            if damages == 1 { "one thing is".to_owned() } else { format!("{damages} things are") }
        );
    }
    Ok(())
}

fn verify(config: &Config, context: &Context) -> anyhow::Result<()> {
    let (frames, mut listed) = log(config)?;
    let engine = match open(config) {
        Err(error) if !listed.is_empty() => {
            listed.push(format!("the store does not open: {error}"));
            let damages = listed.len() as u64;
            let found = json!({ "frames": frames, "rows": 0, "damages": damages, "listed": listed });
            return told(&found, damages, context);
        }
        engine => engine?,
    };
    let (mut progress, mut records) = (Progress::new(context), Records::default());
    let snapshot = engine.snapshot_now();
    let (about, mut rows, mut bytes) = (snapshot.rows_about(), 0_u64, 0_u64);
    let mut walk = snapshot.walk().thorough();
    let through = loop {
        let more = walk.step(STEP, |row| {
            rows += 1;
            bytes += (row.key.as_bytes().len() + row.value.len()) as u64;
            listed.extend(records.see(&row).map(|wrong| format!("{:?}: {}", wrong.key, wrong.what)));
        });
        progress.at(rows, about, bytes);
        match more {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    let mut damages = listed.len() as u64;
    match through.and_then(|()| walk.finish()) {
        Ok(scrub) => {
            damages += scrub.damages;
            listed.extend(scrub.listed);
        }
        Err(failure) => {
            damages += 1;
            listed.push(failure.to_string());
        }
    }
    engine.close();
    if damages == 0 && !RedbEngine::is_whole(Arc::new(Folder::new(&config.node.data.join(STORE_FOLDER))?))? {
        damages += 1;
        listed.push(NOT_WHOLE.to_owned());
    }
    let (wrong, named) = records.kept.finish();
    let mut wrong: Vec<String> = wrong.iter().map(|wrong| format!("{:?}: {}", wrong.key, wrong.what)).collect();
    let (blobs, unnamed) = blobs(config, context, named, &mut wrong)?;
    damages += wrong.len() as u64;
    listed.extend(wrong);
    progress.done();
    listed.truncate(NAMED_MAX);
    let found = json!({
        "frames": frames, "rows": rows, "bytes": bytes, "blobs": blobs, "unnamed_blobs": unnamed,
        "damages": damages, "listed": listed,
    });
    told(&found, damages, context)
}

/// How many frames the log has, and what is damaged there.
fn log(config: &Config) -> anyhow::Result<(u64, Vec<String>)> {
    let store = config.node.data.join(STORE_FOLDER);
    if !store.is_dir() {
        return Ok((0, Vec::new()));
    }
    let folder = Folder::new(&store)?;
    let _unused = folder.lock()?;
    let mut frames = 0;
    let read = inspect::frames(&folder, |_| {
        frames += 1;
        ControlFlow::Continue(())
    });
    match read {
        Ok(()) => Ok((frames, Vec::new())),
        Err(OpenError::Failed { file, source: source @ Failure::Damaged { .. } }) => {
            Ok((frames, vec![format!("{file}: {source}")]))
        }
        Err(error) => Err(error.into()),
    }
}

/// How many contents of blobs there are, and how many of them no name stands for. Those that are not what their hash
/// says go to what is wrong, and those that are missing though a name stands for them.
fn blobs(
    config: &Config,
    context: &Context,
    mut named: BTreeMap<BlobHash, String>,
    wrong: &mut Vec<String>,
) -> anyhow::Result<(u64, u64)> {
    let folder = config.node.data.join(BLOBS_FOLDER);
    let (mut count, mut unnamed) = (0, 0);
    if folder.is_dir() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (blobs, mut after) = (FileBlobs::open(&folder, u64::MAX, context.clock.clone())?, None);
            loop {
                let page = blobs.put_before(Time(u64::MAX >> 12), after, BLOBS_PAGE).await?;
                for &hash in &page {
                    count += 1;
                    unnamed += u64::from(named.remove(&hash).is_none());
                    match blobs.get(hash).await {
                        Err(error @ BlobError::Damaged(_)) => wrong.push(error.to_string()),
                        read => drop(read?),
                    }
                }
                after = page.last().copied();
                if page.len() < BLOBS_PAGE {
                    return Ok::<_, BlobError>(());
                }
            }
        })?;
    }
    wrong.extend(named.iter().map(|(hash, name)| format!("the content {hash} of the blob {name} is gone")));
    Ok((count, unnamed))
}

fn areas() -> PossibleValuesParser {
    let known = dump::AREAS.into_iter().map(|(_, name)| name).chain([dump::DATA]);
    PossibleValuesParser::new(known.collect::<Vec<_>>())
}

fn actor(word: &str) -> Result<String, String> {
    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    match word.split_once('/') {
        Some((kind, key)) if kinds.contains(&kind) && !key.is_empty() => Ok(word.to_owned()),
        _ => Err(format!("an actor is named KIND/KEY, with a kind of {}", kinds.join(", "))),
    }
}

struct Wanted {
    prefix: Option<String>,
    area: Option<String>,
    actor: Option<String>,
}

impl Wanted {
    fn fits(&self, shown: &Value) -> bool {
        let is = |name: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| shown[name] == wanted);
        let key = shown["key"].as_str().unwrap_or_default();
        let prefix = self.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix));
        prefix && is("area", &self.area) && is("actor", &self.actor)
    }
}

fn dump_rows(config: &Config, context: &Context, wanted: &Wanted, limit: u64) -> anyhow::Result<()> {
    if running(context, config)?.is_some() {
        bail!("the node is running: stop it first, or see single actors with `quickbeam inspect KIND/KEY`");
    }
    let engine = open(config)?;
    let mut walk = engine.snapshot_now().walk();
    let (mut left, mut out) = (limit, std::io::BufWriter::new(std::io::stdout().lock()));
    let mut more = true;
    while more && left > 0 {
        let mut lines = Vec::new();
        more = walk.step(STEP, |row| lines.push(dump::shown(&row)))?;
        for line in lines.into_iter().filter(|line| wanted.fits(line)).take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            left -= 1;
            // A reader such as `head` may have gone; that is no failure of the command.
            if writeln!(out, "{line}").is_err() {
                return Ok(());
            }
        }
    }
    drop(out.flush());
    engine.close();
    Ok(())
}

fn stats(config: &Config, context: &Context) -> anyhow::Result<()> {
    let engine = open(config)?;
    let mut areas: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut walk = engine.snapshot_now().walk();
    while walk.step(STEP, |row| {
        let area = areas.entry(dump::area(&row)).or_default();
        area.0 += 1;
        area.1 += (row.key.as_bytes().len() + row.value.len()) as u64;
    })? {}
    let live = engine.live_bytes()?;
    let stats = engine.stats();
    engine.close();
    let areas: Value =
        areas.into_iter().map(|(area, (rows, bytes))| json!({ "area": area, "rows": rows, "bytes": bytes })).collect();
    let answer = json!({
        "areas": areas, "stats": stats, "log": { "file_bytes": stats.log.bytes },
        "table": { "rows": live.rows, "live_bytes": live.bytes, "file_bytes": stats.table.bytes },
    });
    context.print(&answer, stats_shown);
    Ok(())
}

fn stats_shown(answer: &Value) -> String {
    let number = |value: &Value| bytes_shown(value.as_u64().unwrap_or(0));
    let (table_file, stats) = (&answer["table"], &answer["stats"]);
    let live = format!("{} live of {}", number(&table_file["live_bytes"]), number(&table_file["file_bytes"]));
    let overlay = format!("{} rows, {}", stats["overlay_rows"], number(&stats["overlay_bytes"]));
    let facts = [
        ("table", format!("{} rows, {live}", table_file["rows"])),
        ("log", number(&answer["log"]["file_bytes"])),
        ("overlay", overlay),
        ("checkpoints", stats["checkpoints"].to_string()),
        ("reopened", stats["reopened"].to_string()),
    ];
    let rows: Vec<Vec<String>> = answer["areas"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|area| {
            vec![area["area"].as_str().unwrap_or_default().to_owned(), area["rows"].to_string(), number(&area["bytes"])]
        })
        .collect();
    let areas =
        if rows.is_empty() { String::new() } else { format!("\n\n{}", table(&["area", "rows", "bytes"], &rows, "")) };
    pairs(&facts) + &areas
}

fn compact(config: &Config, context: &Context) -> anyhow::Result<()> {
    if running(context, config)?.is_some() {
        bail!("the node is running: stop it first, compacting moves every page of the table");
    }
    let store = config.node.data.join(STORE_FOLDER);
    drop(open(config)?);
    let (before, after) = RedbEngine::compact(&store)?;
    let answer = json!({ "before": before, "after": after, "won": before.saturating_sub(after) });
    context.print(&answer, |_| format!("the table had {}, it has {} now", bytes_shown(before), bytes_shown(after)));
    Ok(())
}
