//! What a node does before it takes work: keeps to the base it began with, counts its incarnation, remembers its flows,
//! and at the first start makes what the configuration seeds.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tracing::{info, warn};

use super::ask::AskError;
use super::runtime::Runtime;
use super::stream::{Command, Create, Rejection, Stream, object_stream};
use super::{held, layout, record};
use crate::clock::SharedClock;
use crate::domains::catalog::Catalog;
use crate::store::{Batch, Engine, Epoch, Failure, Fence, Key, Outcome, Refusal, Row, Shard, Span, pages};

/// Definitions read in one go.
const PAGE: usize = 256;

/// What the start found.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Which life of these data this is; restoring raises it.
    pub incarnation: u64,
    /// Whether it was restored and not let go yet.
    pub held: Option<held::Mark>,
}

/// Why the node must not start on these data.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    #[error(
        "these data belong to {stored}, the configuration says {configured}: ids are for ever, so put node.base back or start with new data"
    )]
    OtherBase { stored: String, configured: String },
    #[error("the store cannot be used: {0}")]
    Store(Arc<Failure>),
    #[error("what is stored of `{0}` cannot be read")]
    Unreadable(&'static str),
    #[error("{object} of the configuration's seeds cannot be made: {reason}")]
    Seed { object: String, reason: String },
}

impl From<Arc<Failure>> for FirstError {
    fn from(failure: Arc<Failure>) -> Self {
        Self::Store(failure)
    }
}

/// Checks and completes what the store knows of the node itself.
///
/// # Errors
/// Data of another base, or a store that cannot be used.
pub async fn start(
    engine: &Arc<dyn Engine>,
    clock: &SharedClock,
    base: &str,
    catalog: &Catalog,
) -> Result<Begun, FirstError> {
    let stored: Option<String> = fact(engine, "base").await?;
    if let Some(stored) = stored.as_ref().filter(|stored| *stored != base) {
        return Err(FirstError::OtherBase { stored: stored.clone(), configured: base.to_owned() });
    }
    let incarnation: Option<u64> = fact(engine, "incarnation").await?;
    let mut puts = Vec::new();
    if stored.is_none() {
        puts.push((layout::node_fact("base"), record::encode(base)));
        puts.push((layout::node_fact("born"), record::encode(&clock.now())));
    }
    if incarnation.is_none() {
        puts.push((layout::node_fact("incarnation"), record::encode(&1_u64)));
    }
    load_definitions(engine, catalog).await?;
    for flow in catalog.flows() {
        let key = layout::definition(&flow.hash.0);
        if engine.get(&key).await?.is_none() {
            puts.push((key, Bytes::from(flow.definition.to_bytes())));
        }
    }
    write(engine, puts).await?;
    Ok(Begun { incarnation: incarnation.unwrap_or(1), held: held::mark(engine).await? })
}

async fn fact<T: serde::de::DeserializeOwned>(
    engine: &Arc<dyn Engine>,
    name: &'static str,
) -> Result<Option<T>, FirstError> {
    let row = engine.get(&layout::node_fact(name)).await?;
    row.map(|row| record::decode(&row.value).map_err(|_| FirstError::Unreadable(name))).transpose()
}

/// Instances run to their end on the definition they began with, also when the configuration has it no more.
async fn load_definitions(engine: &Arc<dyn Engine>, catalog: &Catalog) -> Result<(), FirstError> {
    let see = |page: &[Row]| {
        for row in page {
            if let Err(error) = catalog.add_stored(&row.value) {
                warn!(%error, "a stored flow definition cannot run here; its instances wait");
            }
        }
    };
    Ok(pages(engine.as_ref(), Span::prefix(&layout::definitions(), PAGE), see).await?)
}

/// Nothing runs yet, so that the epoch that the store has is ours to use.
async fn write(engine: &Arc<dyn Engine>, puts: Vec<(Key, Bytes)>) -> Result<(), FirstError> {
    if puts.is_empty() {
        return Ok(());
    }
    let mut epoch = Epoch(1);
    loop {
        let fence = Fence { shard: Shard(0), epoch };
        match engine.commit(Batch { fence, puts: puts.clone(), ..Batch::default() }).await {
            Outcome::Committed(_) => return Ok(()),
            Outcome::Refused(Refusal::Fenced { current }) => epoch = current,
            Outcome::Refused(Refusal::Condition(_)) => unreachable!("there are no conditions"),
            Outcome::Failed(failure) | Outcome::Unknown(failure) => return Err(failure.into()),
        }
    }
}

/// Makes the objects that the configuration seeds, where there is nothing yet; what is there is left alone.
///
/// # Errors
/// A seed that cannot be made.
pub async fn seed(runtime: &Arc<Runtime>) -> Result<(), FirstError> {
    for seed in runtime.world.catalog.seeds() {
        let Some(declared) = runtime.world.catalog.object_type(&seed.object_type) else { continue };
        let path = declared.address(&seed.slug);
        let create = Create {
            kind: seed.object_type.clone(),
            fields: Value::Object(seed.fields.clone()),
            to: Vec::new(),
            visibility: None,
            attributed_to: None,
            into: None,
        };
        match runtime.registry().ask::<Stream>(&object_stream(&path), Command::Create(create), None).await {
            Ok(_) => info!(object = path, "made a seed of the configuration"),
            Err(AskError::Rejected(Rejection::Taken(_) | Rejection::Gone(_))) => {}
            Err(error) => return Err(FirstError::Seed { object: path, reason: error.to_string() }),
        }
    }
    Ok(())
}
