//! A node for tests: the real runtime and its services on one thread, with time that jumps ahead when all wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::ask::AskError;
use quickbeam::actors::entity::ActorId;
use quickbeam::actors::errands::{Errand, Outside, Report, Ways};
use quickbeam::actors::first;
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::once::Once;
use quickbeam::actors::root::{self, Rounds};
use quickbeam::actors::runtime::{Limits, Runtime};
use quickbeam::actors::watchers::Until;
use quickbeam::actors::world::{Accept, Delivery, World};
use quickbeam::clock::{Clock, SharedClock, Time};
use quickbeam::domains::catalog::{self, Catalog};
use quickbeam::domains::effects::Effects;
use quickbeam::domains::flow::kinds::Runners;
use quickbeam::domains::identity::{Authority, Iri};
use quickbeam::domains::{blog, events};
use quickbeam::store::Engine;

use super::probe::{Command, Probe, Refused, Seen};

/// The moment at which the time of tests begins.
pub(crate) const BEGIN: Time = Time(1_800_000_000_000);
const TICK: Duration = Duration::from_secs(15);
/// Far more than any test needs of the time that jumps; one that waits for what never comes ends here.
const PATIENCE: Duration = Duration::from_secs(60 * 86_400);

/// Tokio's clock, which jumps to the next timer when there is nothing to do, and bytes that are new each time.
pub(crate) struct JumpingClock {
    start: tokio::time::Instant,
    /// How long after [`BEGIN`] it starts.
    ahead: Duration,
    /// Milliseconds by which somebody has set it forward, or back.
    set: AtomicI64,
}

/// Bytes are new in every life of a node, as they are in earnest.
static COUNT: AtomicU64 = AtomicU64::new(0);

#[allow(clippy::disallowed_methods, reason = "the time of tests comes from here")]
impl JumpingClock {
    pub(crate) fn shared() -> SharedClock {
        Self::ahead(Duration::ZERO)
    }

    /// The clock of a later life.
    pub(crate) fn ahead(ahead: Duration) -> SharedClock {
        Self::steered(ahead)
    }

    /// One that a test sets forward and back.
    pub(crate) fn steered(ahead: Duration) -> Arc<Self> {
        Arc::new(Self { start: tokio::time::Instant::now(), ahead, set: AtomicI64::new(0) })
    }

    pub(crate) fn set(&self, millis: i64) {
        self.set.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Time {
        let Time(now) = BEGIN.plus(self.ahead + self.start.elapsed());
        Time(now.saturating_add_signed(self.set.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn random(&self) -> [u8; 16] {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[8..].copy_from_slice(&count.to_be_bytes());
        bytes
    }
}

/// Runs a test on an actix system of its own whose time jumps.
pub(crate) fn on_system<F: Future<Output = ()> + 'static>(test: F) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let system = actix_rt::System::with_tokio_rt(|| runtime().expect("a runtime of one thread starts"));
    system.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test comes to its end") });
}

/// Lets everything that can go on do so.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Does errands as a test says, and remembers which.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) done: Mutex<Vec<Errand>>,
    /// Reports to give, first to last; then 200.
    pub(crate) reports: Mutex<Vec<Report>>,
    /// How long each takes.
    pub(crate) takes: Duration,
}

pub(crate) fn answered(status: u16) -> Report {
    Report::Answered { status, detail: String::new(), retry_after: None, scheme: None }
}

impl Outside for Scripted {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        self.done.lock().push(errand);
        let mut reports = self.reports.lock();
        let report = if reports.is_empty() { answered(200) } else { reports.remove(0) };
        let takes = self.takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            report
        })
    }
}

/// A running node whose streams are probes.
pub(crate) struct Node {
    pub(crate) runtime: Arc<Runtime>,
}

/// What a node is started with.
pub(crate) struct Plan {
    /// Its name, and the first part of its host's.
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) clock: SharedClock,
    pub(crate) arbiters: Vec<ArbiterHandle>,
    pub(crate) kinds: Kinds,
    /// Types and flows, as a configuration declares them.
    pub(crate) declares: &'static str,
    /// What its binary can do.
    pub(crate) effects: Effects,
    /// Who runs its flows.
    pub(crate) runners: Runners,
    pub(crate) rounds: Rounds,
    /// How long ids are known.
    pub(crate) dedupe: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "here",
            limits: Limits::default(),
            outside: Arc::new(Scripted::default()),
            clock: JumpingClock::shared(),
            arbiters: vec![Arbiter::current()],
            kinds: Kinds::default().with::<Probe>(),
            declares: "",
            effects: events::register(blog::register(Effects::generic())),
            runners: Runners::default(),
            // Retention only where a test asks for it.
            rounds: Rounds { tick: TICK, retention: PATIENCE * 2, ..Rounds::default() },
            dedupe: Duration::from_secs(90 * 86_400),
        }
    }
}

impl Node {
    pub(crate) async fn start(engine: Arc<dyn Engine>, plan: Plan) -> Self {
        let world = world(&plan);
        Self::start_in(engine, plan, world).await
    }

    async fn start_in(engine: Arc<dyn Engine>, plan: Plan, world: World) -> Self {
        let (kinds, world) = (plan.kinds, Arc::new(world));
        let root_arbiter = plan.arbiters[0].clone();
        let runtime = Runtime::start(engine, plan.clock, world, plan.limits, plan.arbiters, kinds).await.unwrap();
        let ways = Ways { outside: plan.outside, arbiters: vec![root_arbiter.clone()] };
        root::start(&runtime, ways, plan.rounds.clone(), &root_arbiter);
        Self { runtime }
    }

    /// Remembers the definitions of earlier configurations, and what it declares itself, before anything runs.
    pub(crate) async fn remembering(engine: Arc<dyn Engine>, plan: Plan) -> Self {
        let world = world(&plan);
        first::start(&engine, &plan.clock, &world.base, &world.catalog).await.unwrap();
        Self::start_in(engine, plan, world).await
    }

    pub(crate) async fn on(engine: Arc<dyn Engine>) -> Self {
        Self::start(engine, Plan::default()).await
    }

    pub(crate) async fn ask(&self, key: &str, command: Command) -> Result<Seen, AskError<Refused>> {
        self.runtime.registry().ask::<Probe>(key, command, None).await
    }

    /// Asks in a task of its own, so that many are on their way at once.
    pub(crate) fn asking(
        &self,
        key: &str,
        command: Command,
    ) -> tokio::task::JoinHandle<Result<Seen, AskError<Refused>>> {
        self.asking_once(key, command, None)
    }

    pub(crate) fn asking_once(
        &self,
        key: &str,
        command: Command,
        once: Option<Once>,
    ) -> tokio::task::JoinHandle<Result<Seen, AskError<Refused>>> {
        let (runtime, key) = (self.runtime.clone(), key.to_owned());
        actix_rt::spawn(async move { runtime.registry().ask::<Probe>(&key, command, once).await })
    }

    /// The state of a probe as it is on disk.
    pub(crate) async fn stored(&self, key: &str) -> Option<Probe> {
        inspect::state::<Probe>(&self.runtime, key).await.unwrap()
    }

    /// Waits until what is on disk of a probe is as wanted.
    pub(crate) async fn until(&self, key: &str, holds: impl Fn(&Probe) -> bool) -> Probe {
        loop {
            let turn = self.runtime.registry().watch(&ActorId::of::<Probe>(key), Until::Turn);
            if let Some(probe) = self.stored(key).await.filter(|probe| holds(probe)) {
                return probe;
            }
            // A turn that was lost with its actor wakes nobody.
            drop(tokio::time::timeout(Duration::from_secs(1), turn).await);
        }
    }
}

/// The world of a test node.
fn world(plan: &Plan) -> World {
    let authority = format!("{}.example", plan.name);
    World {
        name: plan.name.into(),
        base: format!("https://{authority}"),
        authority: Authority::parse(&authority).unwrap(),
        actor: Iri::parse(&format!("https://{authority}/actor")).unwrap(),
        catalog: Arc::new(catalog(plan.declares, &plan.effects)),
        effects: plan.effects.clone(),
        accept: Accept::All,
        delivery: Delivery::default(),
        dedupe: plan.dedupe,
        incarnation: 1,
        reserved: &[],
        runners: plan.runners.clone(),
    }
}

fn catalog(declares: &str, effects: &Effects) -> Catalog {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quickbeam.toml");
    std::fs::write(&file, format!("{declares}\n[node]\nname = \"here\"\nbase = \"https://here.example\"\n")).unwrap();
    catalog::load(&file, std::iter::empty(), effects).unwrap().1
}
