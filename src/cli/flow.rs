//! `quickbeam flow test`: plays flows of a configuration against given answers, without a node.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::{Context, Mistakes};
use crate::domains::rehearsal::expect::reason_of;
use crate::domains::rehearsal::play::{Line, elapsed};
use crate::domains::rehearsal::{Played, Script, play};
use crate::domains::{all_effects, catalog};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Play a flow against given answers, print its path, and compare how it ended: 1 on a surprise, 2 for a wrong file
    Test {
        /// Files that say flow, answers, story and what is expected
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// The words of a file are wrong, as those of a command line can be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongFile(pub(super) Mistakes);

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error("{} cannot be read: name a file that is there", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{surprised} of {all} went otherwise than their files say")]
    Surprised { surprised: usize, all: usize },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let Args::Test { files } = args;
    let played = files.iter().map(|file| test(file, context)).collect::<anyhow::Result<Vec<_>>>()?;
    let surprised = played.iter().filter(|it| it["ok"] == false).count();
    let answer = json!({ "ok": surprised == 0, "tests": played });
    context.print(&answer, |_| answer["tests"].as_array().into_iter().flatten().map(shown).collect());
    match surprised {
        0 => Ok(()),
        surprised => Err(TestError::Surprised { surprised, all: files.len() }.into()),
    }
}

fn test(file: &Path, context: &Context) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(file).map_err(|source| TestError::Unreadable { file: file.to_owned(), source })?;
    let name = file.display().to_string();
    let wrong = |mistakes| WrongFile(Mistakes(mistakes));
    let script = Script::read(&text, &name).map_err(wrong)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = script.config.as_ref().map_or_else(|| context.file.clone(), |config| folder.join(config));
    let effects = all_effects();
    let (_, catalog) = catalog::load(&config, std::env::vars(), &effects).map_err(Mistakes)?;
    let compiled = catalog.current(&script.flow);
    let compiled = compiled.ok_or_else(|| wrong(script.unknown_flow(&catalog, &name)))?;
    script.fits(&compiled, &name).map_err(wrong)?;
    let played = play(&script, &compiled, &catalog, &effects);
    let surprises = [played.surprises.clone(), script.expect.surprises(&played)].concat();
    Ok(told(&name, &script.flow, &played, &surprises))
}

fn told(file: &str, flow: &str, played: &Played, surprises: &[String]) -> Value {
    let line = |line: &Line| json!({ "after": elapsed(line.after), "text": line.text, "fact": line.fact });
    let path: Vec<Value> = played.path.iter().map(line).collect();
    json!({
        "ok": surprises.is_empty(),
        "file": file,
        "flow": flow,
        "phase": played.progress.phase().word(),
        "result": played.result(),
        "reason": reason_of(&played.progress),
        "path": path,
        "surprises": surprises,
    })
}

/// The path with the time at its left, then what surprised.
fn shown(test: &Value) -> String {
    let word = |name: &str| test[name].as_str().unwrap_or_default();
    let mut text = format!("{}: {}\n", word("file"), word("flow"));
    for line in test["path"].as_array().into_iter().flatten() {
        // What somebody did stands out from what came of it.
        let mark = if line["fact"].is_null() { "> " } else { "" };
        let (after, said) = (line["after"].as_str().unwrap_or_default(), line["text"].as_str().unwrap_or_default());
        text.push_str(&format!("  {after:>12}  {mark}{said}\n"));
    }
    for surprise in test["surprises"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("  surprise: {surprise}\n"));
    }
    let ended = if test["ok"] == true { "as expected" } else { "not as expected" };
    text + &format!("  {}, {ended}\n\n", word("phase"))
}
