//! `/flows/versions`: what runs on which definition.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::actors::flow::{Brief, HASH_SHOWN, list_prefix};
use crate::actors::rows::Index;
use crate::actors::{layout, record};
use crate::domains::flow::progress::Phase;
use crate::store::{Span, around};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Entries read at once: others are served between two reads.
const READ: usize = 1_000;
/// Instances counted in one request; beyond this the counts are said to be incomplete.
const COUNTED_MAX: usize = 1_000_000;

/// Every definition that is declared or still runs, with how many instances are on it.
///
/// # Errors
/// What the store says.
pub async fn versions(site: &Site) -> Result<Value, Problem> {
    let (counts, whole) = count(site).await?;
    let catalog = &site.runtime.world.catalog;
    let short = |hash: &str| hash.chars().take(HASH_SHOWN).collect::<String>();
    let current: BTreeSet<(String, String)> =
        catalog.flows().map(|flow| (flow.definition.name.clone(), short(&flow.hash.0))).collect();
    let all: BTreeSet<(String, String)> = current.iter().cloned().chain(counts.keys().cloned()).collect();
    let item = |version: (String, String)| {
        let phases = counts.get(&version).cloned().unwrap_or_default();
        let instances: usize = phases.values().sum();
        let is_current = current.contains(&version);
        json!({
            "name": version.0, "definition": version.1, "current": is_current,
            "instances": instances, "states": phases,
        })
    };
    let items: Vec<Value> = all.into_iter().map(item).collect();
    Ok(json!({ "items": items, "complete": whole }))
}

type Counts = BTreeMap<(String, String), BTreeMap<&'static str, usize>>;

/// How many instances that have not ended are on what.
async fn count(site: &Site) -> Result<(Counts, bool), Problem> {
    let (mut counts, mut looked, mut whole) = (Counts::new(), 0, true);
    for phase in Phase::ALL.into_iter().filter(|phase| !phase.is_end()) {
        let mut span = Span::prefix(&layout::index_prefix(Index::Flows, &list_prefix(Some(phase))), READ);
        loop {
            let found = around::range(site.runtime.engine.as_ref(), span.clone()).await?;
            // One that is damaged runs on what nobody knows: the counts are not complete then.
            whole &= found.unread.is_empty();
            for brief in found.rows.iter().filter_map(|row| record::decode::<Brief>(&row.value).ok()) {
                let version = counts.entry((brief.name, brief.definition)).or_default();
                *version.entry(phase.word()).or_default() += 1;
            }
            looked += found.rows.len();
            if looked >= COUNTED_MAX {
                return Ok((counts, false));
            }
            match found.behind(&span) {
                Some(behind) => span = behind,
                None => break,
            }
        }
    }
    Ok((counts, whole))
}
