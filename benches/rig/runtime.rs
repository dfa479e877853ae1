//! The runtime of actors in this process, on the real engine, with one kind of actor that only counts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::Arbiter;
use futures_util::future::BoxFuture;
use quickbeam::actors::entity::{Decision, Entity, Kind, Turn};
use quickbeam::actors::errands::{Errand, Outside, Report, Ways};
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::root::{self, Rounds};
use quickbeam::actors::rows::Rows;
use quickbeam::actors::runtime::{Limits, Runtime};
use quickbeam::actors::world::{Accept, Delivery, World};
use quickbeam::clock::SystemClock;
use quickbeam::config::template::{Answers, Template, render};
use quickbeam::domains::catalog::{self, Catalog};
use quickbeam::domains::flow::kinds::Runners;
use quickbeam::domains::identity::{Authority, Iri};
use quickbeam::store::redb::Options;
use quickbeam::store::{Batch, Change, Engine, Key, Outcome, ReadError, RedbEngine, Row, Soon, Span, Versioned};
use serde::{Deserialize, Serialize};

const TICK: Duration = Duration::from_secs(3_600);

/// Counts what it is told, and passes a ball on as often as the ball says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counter {
    count: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Count,
    /// Changes nothing, so that nothing is written.
    Look,
    Ball {
        to: String,
        left: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted;

#[derive(Debug, thiserror::Error)]
#[error("nothing is refused")]
pub(crate) struct Refused;

impl Entity for Counter {
    const KIND: Kind = Kind::Stream;
    type Command = Command;
    type Event = Counted;
    type Reply = u64;
    type Rejection = Refused;

    fn decide(&self, turn: &Turn<'_>, _: &Rows, command: Command) -> Result<Decision<Self>, Refused> {
        let decision = Decision::reply(self.count + 1).event(Counted);
        Ok(match command {
            Command::Look => Decision::reply(self.count),
            Command::Ball { to, left: left @ 1.. } => {
                let back = turn.me.key.to_string();
                decision.tell::<Self>(to, &Command::Ball { to: back, left: left - 1 })
            }
            Command::Ball { .. } | Command::Count => decision,
        })
    }

    fn apply(&mut self, _: &Counted) {
        self.count += 1;
    }
}

/// A runtime with its engine.
pub(crate) struct Rig {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) engine: Arc<RedbEngine>,
    weighed: Arc<Weighed>,
    _arbiters: Vec<Arbiter>,
}

impl Rig {
    /// In a folder of its own, with as many arbiters as a node of this machine has.
    pub(crate) async fn start(folder: &Path, limits: Limits, template: Template, kinds: Kinds) -> Self {
        let engine = Arc::new(RedbEngine::open(&folder.join("store"), Options::default()).unwrap());
        let weighed =
            Arc::new(Weighed { engine: engine.clone(), bytes: AtomicU64::default(), batches: AtomicU64::default() });
        let cores = std::thread::available_parallelism().unwrap().get();
        let arbiters: Vec<Arbiter> = (0..cores.div_ceil(2)).map(|_| Arbiter::new()).collect();
        let handles: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
        let world = Arc::new(world(folder, template));
        let clock = SystemClock::shared();
        let runtime = Runtime::start(weighed.clone(), clock, world, limits, handles.clone(), kinds).await.unwrap();
        let rounds = Rounds { tick: TICK, ..Rounds::default() };
        let ways = Ways { outside: Arc::new(Nobody), arbiters: handles.clone() };
        root::start(&runtime, ways, rounds, &handles[0]);
        Self { runtime, engine, weighed, _arbiters: arbiters }
    }

    pub(crate) async fn ask(&self, key: &str, command: Command) -> u64 {
        self.runtime.registry().ask::<Counter>(key, command, None).await.unwrap()
    }

    /// Bytes of keys and values in a batch, on average.
    pub(crate) fn batch_bytes(&self) -> f64 {
        self.weighed.bytes.load(Ordering::Relaxed) as f64 / self.weighed.batches.load(Ordering::Relaxed) as f64
    }
}

fn world(folder: &Path, template: Template) -> World {
    let answers = Answers { name: "bench".into(), base: "https://bench.example".into(), ..Answers::default() };
    let path = folder.join("bench.toml");
    std::fs::write(&path, render(template, &answers)).unwrap();
    let effects = quickbeam::domains::all_effects();
    let (_, catalog): (_, Catalog) = catalog::load(&path, std::iter::empty(), &effects).unwrap();
    World {
        name: answers.name,
        base: answers.base,
        authority: Authority::parse("bench.example").unwrap(),
        actor: Iri::parse("https://bench.example/actor").unwrap(),
        catalog: Arc::new(catalog),
        effects,
        accept: Accept::All,
        delivery: Delivery::default(),
        dedupe: Duration::from_secs(90 * 86_400),
        incarnation: 1,
        reserved: &[],
        runners: Runners::default(),
    }
}

/// Nobody is sent out.
struct Nobody;

impl Outside for Nobody {
    fn perform(&self, _: Errand) -> BoxFuture<'static, Report> {
        Box::pin(std::future::ready(Report::Impossible { reason: "there is no outside".into() }))
    }
}

/// The engine, with the size of what is committed to it noted.
struct Weighed {
    engine: Arc<RedbEngine>,
    bytes: AtomicU64,
    batches: AtomicU64,
}

impl Engine for Weighed {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        self.engine.get(key)
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        self.engine.range(span)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        let puts: usize = batch.puts.iter().map(|(key, value)| key.as_bytes().len() + value.len()).sum();
        let deletes: usize = batch.deletes.iter().map(|key| key.as_bytes().len()).sum();
        self.bytes.fetch_add((puts + deletes) as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.engine.commit(batch)
    }

    fn changes(&self, prefix: &Key) -> tokio::sync::mpsc::Receiver<Change> {
        self.engine.changes(prefix)
    }
}
