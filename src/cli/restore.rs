//! `quickbeam restore`: the data of a node out of a backup, while the node does not run. It starts held.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::context::{Context, serve_command};
use super::continuing::pending_shown;
use super::progress::{Progress, bytes_shown};
use crate::care::restore::{self, Checked, Restored};
use crate::care::target::Target;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    /// Read all of it, say what would be done and what the node would send, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make the node in this folder: configuration, secrets and data [default: where --config is]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Restore although there are data already; they are kept beside it as a safety copy
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let checked = restore::check(&args.file, context.clock.now())?;
    let target = Target::find(&checked, args.to.as_deref(), &context.file)?;
    drop(restore::admit(&target, args.replace || args.dry_run)?);
    let mut answer = described(&checked, &target);
    if args.dry_run {
        answer["restored"] = false.into();
        context.print(&answer, |_| would(&checked, &target));
        return Ok(());
    }
    let mut progress = Progress::new(context);
    let rows = checked.manifest.rows;
    let restored = restore::restore(&checked, &target, args.replace, &context.clock, |done| progress.at(done, rows, 0));
    progress.done();
    let restored = restored.with_context(|| format!("nothing was restored to {}", target.data.display()))?;
    answer["restored"] = true.into();
    answer["incarnation"] = restored.incarnation.into();
    answer["safety_copy"] = json!(restored.safety_copy);
    context.print(&answer, |_| done(&checked, &target, &restored));
    Ok(())
}

fn described(checked: &Checked, target: &Target) -> Value {
    let (head, manifest) = (&checked.head, &checked.manifest);
    json!({
        "file": checked.file, "base": head.base, "created": head.created_at, "rows": manifest.rows,
        "blobs": manifest.blobs, "damage": manifest.damage, "config": target.config, "data": target.data,
        "occupied": target.data.join("store").exists(), "notes": target.notes, "pending": checked.pending,
    })
}

fn summary(checked: &Checked) -> String {
    let (head, manifest) = (&checked.head, &checked.manifest);
    let bytes = bytes_shown(manifest.row_bytes + manifest.blob_bytes);
    let (rows, blobs) = (manifest.rows, manifest.blobs);
    let mut lines = vec![format!("{} of {}: {rows} rows, {blobs} blobs, {bytes}; whole", head.base, head.created_at)];
    lines.extend(manifest.damage.iter().map(|damage| format!("was damaged and is not in it: {damage}")));
    lines.join("\n")
}

fn would(checked: &Checked, target: &Target) -> String {
    let mut lines = vec![summary(checked), format!("configuration: {}", target.config.display())];
    lines.push(format!("data:          {}", target.data.display()));
    if target.data.join("store").exists() {
        lines.push("There are data already: --replace would keep them beside it as a safety copy.".to_owned());
    }
    lines.extend(target.notes.clone());
    lines.push(String::new());
    lines.push("The node would start held. Let go, it would send and fire:".to_owned());
    let pending = serde_json::to_value(&checked.pending).unwrap_or_default();
    lines.push(pending_shown(&pending, None));
    lines.push("Nothing was changed.".to_owned());
    lines.join("\n")
}

fn done(checked: &Checked, target: &Target, restored: &Restored) -> String {
    let mut lines = vec![summary(checked), format!("restored to {}", target.data.display())];
    if let Some(copy) = &restored.safety_copy {
        lines.push(format!("what was there is kept in {}", copy.display()));
    }
    lines.extend(target.notes.clone());
    lines.push(String::new());
    lines.push("The node starts held: it serves reads, and sends and fires nothing.".to_owned());
    lines.push(
        "Make sure that the original no longer runs: two nodes with the same keys answer for one another,".to_owned(),
    );
    lines.push("and what waits in this backup would be sent by both.".to_owned());
    let serve = serve_command(&target.config);
    lines.push(format!("  {serve}"));
    lines.push(format!("  {} --dry-run    what would go", serve.replacen("serve", "continue", 1)));
    lines.push(format!("  {}              let it go", serve.replacen("serve", "continue", 1)));
    lines.join("\n")
}
