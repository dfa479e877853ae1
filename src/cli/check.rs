//! `quickbeam check`: every mistake of a configuration in one go, and what it says when there is none.

use std::path::Path;

use serde_json::{Value, json};

use super::context::Context;
use super::list::text;
use crate::config::Config;
use crate::domains::behaviours::Verb;
use crate::domains::catalog::Catalog;
use crate::keyring::folder;
use crate::private::{self, PrivateError, RSA_KEY_FILE};
use crate::tokens;

const VERBS: [Verb; 4] = [Verb::Create, Verb::Update, Verb::Delete, Verb::Allocate];

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> anyhow::Result<()> {
    let (config, catalog) = context.catalog()?;
    let summary = summary(&config, &catalog);
    context.print(&summary, shown);
    Ok(())
}

fn shown(summary: &Value) -> String {
    let counted = |name: &str| {
        let count = summary[name].as_array().map_or(0, Vec::len);
        let word = if count == 1 { name.trim_end_matches('s') } else { name };
        format!("{count} {word}")
    };
    let mut lines: Vec<String> = Vec::new();
    let warnings = summary["warnings"].as_array();
    lines.extend(warnings.into_iter().flatten().filter_map(Value::as_str).map(|warning| format!("warning: {warning}")));
    let counts = ["types", "behaviours", "flows", "schedules", "peers"].map(counted).join(", ");
    lines.push(format!("ok: {} at {} has {counts}", text(summary, "name"), text(summary, "base")));
    lines.join("\n")
}

fn summary(config: &Config, catalog: &Catalog) -> Value {
    let types: Vec<&str> = catalog.types().map(|it| it.name.as_str()).collect();
    json!({
        "ok": true,
        "name": config.node.name,
        "base": config.node.base,
        "types": types,
        "behaviours": behaviours(catalog, &types),
        "flows": catalog.flows().map(|flow| flow.definition.name.clone()).collect::<Vec<_>>(),
        "schedules": catalog.schedules().map(|it| format!("{}: {} {}", it.name, it.flow, it.told())).collect::<Vec<_>>(),
        "peers": config.peers.keys().collect::<Vec<_>>(),
        "warnings": warnings(&config.node.data),
    })
}

/// As a configuration writes them: `article.on.create = publish`.
fn behaviours(catalog: &Catalog, types: &[&str]) -> Vec<String> {
    let of = |name: &&str| {
        VERBS
            .into_iter()
            .flat_map(|verb| {
                let on = catalog.on(name, verb).map(|it| format!("{name}.on.{} = {}", verb.word(), it.run));
                let remote = catalog.remote(name, verb).map(|it| format!("{name}.remote.{} = {}", verb.word(), it.run));
                [on, remote].into_iter().flatten().collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    types.iter().flat_map(of).collect()
}

/// What is no mistake of the configuration and keeps the node from starting, or its secrets from being secret.
fn warnings(data: &Path) -> Vec<String> {
    let keys = match folder::all_files(data) {
        Ok(files) => files,
        Err(error) => return vec![error.to_string()],
    };
    // Both are made when they are needed.
    let held = [data.join(RSA_KEY_FILE), tokens::file(data)];
    let needed = keys.into_iter().chain([tokens::admin_file(data)]).filter(|path| !held.contains(path));
    let needed = needed.filter_map(|path| private::read(&path).err());
    let held = held.iter().filter_map(|path| match private::read(path) {
        Err(PrivateError::Missing { .. }) | Ok(_) => None,
        Err(error) => Some(error),
    });
    needed.chain(held).map(|error| error.to_string()).collect()
}
