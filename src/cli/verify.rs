//! `quickbeam verify`: judges a captured request as an inbox would, and shows what its signature has to be made over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::context::Context;
use super::list::text;
use crate::clock::{SharedClock, Time};
use crate::config::Config;
use crate::domains::identity::{Authority, Iri};
use crate::wire::address::AddressPolicy;
use crate::wire::captured::{Captured, Judged, Shelf};
use crate::wire::fetch::HttpTransport;
use crate::wire::keys::{KeyCache, KeySettings};
use crate::wire::transport::{Limits, Transport};
use crate::wire::verify::VerifyLimits;

/// A document of an actor, and how long its server may take.
const FETCH: Limits = Limits { bytes_max: 256 << 10, deadline: Duration::from_secs(10) };

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The request as it stood on the wire: request line, headers, an empty line, body
    file: PathBuf,
    /// The actor document of the sender, instead of fetching it; then nothing else is asked
    #[arg(long, value_name = "FILE")]
    actor: Option<PathBuf>,
    /// The address that it was sent to, without its path [default: that of the configuration, or https and its Host]
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// When it came, as 2026-11-21T08:30:00Z [default: when it says that it was signed]
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
    let captured = Captured::parse(&bytes).with_context(|| format!("{} is no request", args.file.display()))?;
    let config = context.config().ok();
    let base = base(args, &captured, config.as_ref())?;
    let given = args.at.map(|at| Time(u64::try_from(at.as_millisecond()).unwrap_or(0)));
    let now = given.or_else(|| captured.signed_at()).unwrap_or_else(|| context.clock.now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let judged = runtime.block_on(async {
        let shelf = shelf(args, config.as_ref(), &base, &context.clock)?;
        let settings = KeySettings { limits: FETCH, ..KeySettings::default() };
        // Nothing is this node's own here, so that what it sent itself can be judged too.
        let nobody = Authority::parse("nobody.invalid")?;
        let keys = KeyCache::new(Arc::new(shelf), context.clock.clone(), nobody, Default::default(), settings);
        anyhow::Ok(captured.judge(&base, &keys, now, VerifyLimits::default()).await)
    })?;
    let answer = serde_json::to_value(&judged)?;
    context.print(&answer, shown);
    match judged {
        Judged { valid: true, .. } => Ok(()),
        _ => bail!("an inbox would not believe this request"),
    }
}

fn base(args: &Args, captured: &Captured, config: Option<&Config>) -> anyhow::Result<Iri> {
    let host = || captured.header("host").map(|host| format!("https://{host}"));
    let named = args.base.clone().or_else(|| config.map(|config| config.node.base.clone())).or_else(host);
    let named = named.context("the request has no Host: say with --base where it was sent to")?;
    Iri::parse(&format!("{}/", named.trim_end_matches('/'))).with_context(|| format!("--base {named}"))
}

fn shelf(args: &Args, config: Option<&Config>, base: &Iri, clock: &SharedClock) -> anyhow::Result<Shelf> {
    let Some(file) = &args.actor else {
        let allow = config.map(|config| config.fetch.allow.as_slice()).unwrap_or_default();
        let allow = allow.iter().map(|text| Authority::parse(text)).collect::<Result<_, _>>()?;
        let policy = AddressPolicy { allow, ..AddressPolicy::default() };
        let net: Arc<dyn Transport> = Arc::new(HttpTransport::new(policy, clock.clone(), base)?);
        return Ok(Shelf { document: None, net: Some(net) });
    };
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", file.display()))?;
    let id = value["id"].as_str().with_context(|| format!("{} has no id", file.display()))?;
    Ok(Shelf { document: Some((Iri::parse(id)?, bytes.into())), net: None })
}

fn shown(answer: &Value) -> String {
    let mut lines = vec![match answer["valid"].as_bool() {
        Some(true) => format!("valid: signed by {} with {}", text(answer, "actor"), text(answer, "key_id")),
        _ => format!("not valid: {}", text(answer, "reason")),
    }];
    for base in answer["bases"].as_array().into_iter().flatten() {
        let label = Some(text(base, "label")).filter(|label| !label.is_empty());
        let label = label.map(|label| format!(" {label}")).unwrap_or_default();
        let told = format!("\nthe signature{label} of {} has to be made over", text(base, "key_id"));
        lines.extend([told, text(base, "base")]);
    }
    lines.join("\n")
}
