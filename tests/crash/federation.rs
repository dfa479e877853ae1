//! Several whole domains in one thread: the real actors, signatures and keys of each, over a disk in memory that can cut
//! its owner's life after any batch, and a network that loses, delays, repeats and reorders what the seed says.
//!
//! Left out of a node are HTTP itself and redb: a request goes as data from the transport of one domain to the door of
//! another, which verifies it as `wire/inbox.rs` does and hands only what was verified to the inbox actor.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_rt::Arbiter;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::ask::AskError;
use quickbeam::actors::entity::Entity;
use quickbeam::actors::errands::Ways;
use quickbeam::actors::inbox::{self, Inbox, Received};
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::once::Once;
use quickbeam::actors::root::{self, Rounds};
use quickbeam::actors::runtime::{Limits, Runtime};
use quickbeam::actors::world::{Accept, Delivery, World};
use quickbeam::clock::{Clock, SharedClock, Time};
use quickbeam::domains::catalog::{self, Catalog};
use quickbeam::domains::effects::Effects;
use quickbeam::domains::flow::kinds::Runners;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::{blog, events};
use quickbeam::keyring::Ring;
use quickbeam::store::{Batch, Change, Engine, Key, MemoryEngine, Outcome, ReadError, Row, Soon, Span, Versioned};
use quickbeam::wire::call::Caller;
use quickbeam::wire::deliver::Deliverer;
use quickbeam::wire::document::{OurActor, Profile};
use quickbeam::wire::key::{NodeKey, NodeKeys};
use quickbeam::wire::keys::{KeyCache, KeySettings};
use quickbeam::wire::message::Target;
use quickbeam::wire::refusal::Class;
use quickbeam::wire::rsa::RsaKey;
use quickbeam::wire::runners::RunnerBook;
use quickbeam::wire::signers::Signers;
use quickbeam::wire::transport::{Request, Response, Transport, TransportError};
use quickbeam::wire::verify::{VerifyLimits, verify};
use tokio::sync::{mpsc, watch};

use super::dice::Dice;
use super::node::BEGIN;

/// A request that nobody answers ends after this.
const DEADLINE: Duration = Duration::from_secs(10);

/// Which life of a domain this is, and whether it still goes on.
type Life = (u64, bool);

/// Where a life ends: at the batch of this number, counted over all lives, which lands or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    pub(crate) batch: usize,
    pub(crate) lands: bool,
}

/// What is kept over lives.
pub(crate) struct Disk {
    memory: MemoryEngine,
    lives: watch::Sender<Life>,
    state: Mutex<DiskState>,
}

#[derive(Default)]
struct DiskState {
    batches: usize,
    cuts: BTreeMap<usize, bool>,
}

/// A disk as one life has it: when that has ended nothing is answered any more.
struct Held {
    disk: Arc<Disk>,
    life: u64,
}

impl Disk {
    fn new(cuts: &[Cut]) -> Arc<Self> {
        let cuts = cuts.iter().map(|cut| (cut.batch, cut.lands)).collect();
        let state = Mutex::new(DiskState { batches: 0, cuts });
        Arc::new(Self { memory: MemoryEngine::default(), lives: watch::Sender::new((0, false)), state })
    }

    pub(crate) fn batches(&self) -> usize {
        self.state.lock().batches
    }

    fn begin(self: &Arc<Self>) -> Held {
        let life = self.lives.borrow().0 + 1;
        self.lives.send_replace((life, true));
        Held { disk: self.clone(), life }
    }

    /// Ends the life as kill -9 does.
    pub(crate) fn kill(&self) {
        self.lives.send_modify(|(_, goes_on)| *goes_on = false);
    }

    fn is(&self, life: u64) -> bool {
        *self.lives.borrow() == (life, true)
    }

    pub(crate) fn range(&self, prefix: &Key) -> Vec<Row> {
        let rows = self.memory.range(Span::prefix(prefix, usize::MAX));
        rows.now_or_never().expect("memory is ready at once").unwrap()
    }

    /// All rows whose key begins with this letter.
    pub(crate) fn area(&self, letter: u8) -> Vec<Row> {
        self.range(&Key::build().tag(letter).done())
    }

    /// Whether the batch lands, and whether the life ends with it.
    fn fate(&self) -> (bool, bool) {
        let mut state = self.state.lock();
        state.batches += 1;
        let number = state.batches;
        match state.cuts.remove(&number) {
            // What is lost with the life is not counted: the next one gets its number.
            Some(lands) => {
                state.batches -= usize::from(!lands);
                (lands, true)
            }
            None => (true, false),
        }
    }
}

impl Engine for Held {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        if self.disk.is(self.life) { self.disk.memory.get(key) } else { Soon::later(std::future::pending()) }
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        if self.disk.is(self.life) { self.disk.memory.range(span) } else { Soon::later(std::future::pending()) }
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        if !self.disk.is(self.life) {
            return std::future::pending().boxed();
        }
        // Raising the fence is no batch of an actor.
        let counts = !batch.puts.is_empty() || !batch.deletes.is_empty();
        let (lands, ends) = if counts { self.disk.fate() } else { (true, false) };
        if lands && !ends {
            return self.disk.memory.commit(batch);
        }
        if lands {
            drop(self.disk.memory.commit(batch).now_or_never());
        }
        self.disk.kill();
        std::future::pending().boxed()
    }

    fn changes(&self, prefix: &Key) -> mpsc::Receiver<Change> {
        self.disk.memory.changes(prefix)
    }
}

/// Tokio's clock, which jumps, and bytes that the seed gives.
struct SeededClock {
    start: tokio::time::Instant,
    dice: Mutex<Dice>,
}

#[allow(clippy::disallowed_methods, reason = "the time of tests comes from here")]
impl SeededClock {
    fn shared(seed: u64) -> SharedClock {
        Arc::new(Self { start: tokio::time::Instant::now(), dice: Mutex::new(Dice::of(seed)) })
    }
}

impl Clock for SeededClock {
    fn now(&self) -> Time {
        BEGIN.plus(self.start.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn random(&self) -> [u8; 16] {
        let mut dice = self.dice.lock();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&dice.next().to_be_bytes());
        bytes[8..].copy_from_slice(&dice.next().to_be_bytes());
        bytes
    }
}

/// What the network does to requests, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Never arrives.
    pub(crate) lost: u64,
    /// Arrives, and the answer is lost.
    pub(crate) unanswered: u64,
    /// Arrives another time, later.
    pub(crate) twice: u64,
    /// Each way takes up to this.
    pub(crate) delay: Duration,
    pub(crate) repeat_after: Duration,
}

impl Weather {
    pub(crate) const CALM: Self = Self {
        lost: 0,
        unanswered: 0,
        twice: 0,
        delay: Duration::from_millis(20),
        repeat_after: Duration::from_millis(1),
    };
    pub(crate) const STORM: Self = Self {
        lost: 15,
        unanswered: 15,
        twice: 20,
        delay: Duration::from_secs(3),
        repeat_after: Duration::from_secs(40),
    };
}

/// The domains, and what lies between them.
pub(crate) struct Federation {
    pub(crate) clock: SharedClock,
    domains: OnceLock<Vec<Arc<Domain>>>,
    dice: Mutex<Dice>,
    weather: Weather,
    /// What went where and what came of it, so that two runs can be compared.
    pub(crate) trace: Mutex<Vec<String>>,
}

pub(crate) struct Domain {
    pub(crate) name: &'static str,
    catalog: Arc<Catalog>,
    keys: NodeKeys,
    pub(crate) disk: Arc<Disk>,
    running: Mutex<Option<Running>>,
    /// How long it is away after its life was cut.
    down: Duration,
    pub(crate) delivery: Delivery,
}

#[derive(Clone)]
struct Running {
    life: u64,
    runtime: Arc<Runtime>,
    keys: Arc<KeyCache>,
}

/// What a domain is started with.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) down: Duration,
    pub(crate) delivery: Delivery,
}

fn effects() -> Effects {
    events::register(blog::register(Effects::generic()))
}

fn base(name: &str) -> Iri {
    Iri::parse(&format!("https://{name}.example/")).unwrap()
}

pub(crate) fn catalog(name: &str, declares: &str) -> Arc<Catalog> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quickbeam.toml");
    let node = format!("[node]\nname = \"{name}\"\nbase = \"https://{name}.example\"\n");
    std::fs::write(&file, format!("{declares}\n{node}")).unwrap();
    let loaded = catalog::load(&file, std::iter::empty(), &effects());
    let (_, catalog) = loaded.unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    Arc::new(catalog)
}

impl Federation {
    /// Starts every domain, and starts it again whenever its life was cut.
    pub(crate) async fn start(seed: u64, weather: Weather, plans: Vec<Plan>) -> Arc<Self> {
        let clock = SeededClock::shared(seed ^ 0x0c10_0c10);
        let (domains, dice, trace) = (OnceLock::new(), Mutex::new(Dice::of(seed)), Mutex::default());
        let federation = Arc::new(Self { clock, domains, dice, weather, trace });
        let domains: Vec<Arc<Domain>> = plans.into_iter().map(Domain::new).collect();
        let _ = federation.domains.set(domains);
        for domain in federation.domains() {
            domain.start(&federation).await;
            actix_rt::spawn(domain.clone().keep_up(federation.clone()));
        }
        federation
    }

    pub(crate) fn domains(&self) -> &[Arc<Domain>] {
        self.domains.get().expect("the domains are set at the start")
    }

    pub(crate) fn domain(&self, name: &str) -> &Arc<Domain> {
        self.domains().iter().find(|domain| domain.name == name).expect("there is a domain of this name")
    }

    /// Lets go of the domains, which know the network that knows them.
    pub(crate) fn end(&self) {
        self.domains().iter().for_each(|domain| drop(domain.running.lock().take()));
    }

    fn percent(&self, percent: u64) -> bool {
        self.dice.lock().percent(percent)
    }

    async fn takes(&self, most: Duration) {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let span = Duration::from_millis(self.dice.lock().below(millis));
        self.clock.sleep(span).await;
    }

    async fn carry(self: Arc<Self>, from: &'static str, request: Request) -> Result<Response, TransportError> {
        let (url, deadline) = (request.url.clone(), DEADLINE);
        let host = url.authority();
        let Some(to) = self.domains().iter().find(|domain| base(domain.name).authority() == host).cloned() else {
            return Err(broken(&url));
        };
        self.takes(self.weather.delay).await;
        if self.percent(self.weather.lost) {
            self.note(format!("{from} → {}: lost", to.name));
            return Err(TransportError::TimedOut { url, deadline });
        }
        if request.method == "POST" && self.percent(self.weather.twice) {
            let (again, request, to) = (self.clone(), request.clone(), to.clone());
            actix_rt::spawn(async move {
                again.takes(again.weather.repeat_after).await;
                let answer = to.receive(&again, &request).await.map_or(0, |answer| answer.status);
                again.note(format!("{from} → {}: again {answer}", to.name));
            });
        }
        let answer = to.receive(&self, &request).await;
        self.note(format!("{from} → {}: {}", to.name, answer.as_ref().map_or(0, |answer| answer.status)));
        self.takes(self.weather.delay).await;
        if answer.is_ok() && self.percent(self.weather.unanswered) {
            return Err(TransportError::TimedOut { url, deadline });
        }
        answer
    }

    fn note(&self, what: String) {
        let at = self.clock.monotonic().as_millis();
        self.trace.lock().push(format!("{at} {what}"));
    }
}

fn broken(url: &Iri) -> TransportError {
    TransportError::Broken { url: url.clone(), why: "nobody is there".into() }
}

/// The way out of one life of a domain.
struct Wire {
    federation: Arc<Federation>,
    from: Arc<Domain>,
    life: u64,
}

impl Transport for Wire {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        let (federation, from, life) = (self.federation.clone(), self.from.clone(), self.life);
        Box::pin(async move {
            if !from.disk.is(life) {
                std::future::pending::<()>().await;
            }
            let answer = federation.carry(from.name, request).await;
            if !from.disk.is(life) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

impl Domain {
    fn new(plan: Plan) -> Arc<Self> {
        let Plan { name, catalog, cuts, down, delivery } = plan;
        let mut seed = [0; 32];
        seed[..name.len()].copy_from_slice(name.as_bytes());
        let rsa = RsaKey::from_pem(include_str!("../vectors/rsa/one.pem")).unwrap();
        let keys = NodeKeys { ed25519: NodeKey::from_seed(seed), rsa };
        let (disk, running) = (Disk::new(&cuts), Mutex::default());
        Arc::new(Self { name, catalog, keys, disk, running, down, delivery })
    }

    pub(crate) fn base(&self) -> Iri {
        base(self.name)
    }

    pub(crate) fn actor(&self) -> Iri {
        Iri::parse(&format!("https://{}.example/actor", self.name)).unwrap()
    }

    fn world(&self) -> World {
        World {
            name: self.name.into(),
            base: format!("https://{}.example", self.name),
            authority: self.base().authority(),
            actor: self.actor(),
            catalog: self.catalog.clone(),
            effects: effects(),
            accept: Accept::All,
            delivery: self.delivery.clone(),
            dedupe: Duration::from_secs(90 * 86_400),
            incarnation: 1,
            reserved: &[],
            runners: Runners::default(),
        }
    }

    async fn start(self: &Arc<Self>, federation: &Arc<Federation>) {
        let held = self.disk.begin();
        let life = held.life;
        let (engine, clock): (Arc<dyn Engine>, _) = (Arc::new(held), federation.clock.clone());
        let here = vec![Arbiter::current()];
        let limits = Limits { idle: Duration::from_secs(300), ..Limits::default() };
        let world = Arc::new(self.world());
        let runtime = Runtime::start(engine.clone(), clock.clone(), world, limits, here, Kinds::default());
        let runtime = runtime.await.unwrap();
        let transport: Arc<dyn Transport> = Arc::new(Wire { federation: federation.clone(), from: self.clone(), life });
        let (own, settings) = (self.base().authority(), KeySettings::default());
        let keys = Arc::new(KeyCache::new(transport.clone(), clock.clone(), own, BTreeMap::new(), settings));
        let deliverer = Deliverer {
            engine,
            transport: transport.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            signers: Signers::new(&self.actor(), self.keys.clone(), []),
            caller: Caller { transport: transport.clone(), secrets: Arc::default() },
            lent: Caller { transport: transport.clone(), secrets: Arc::default() },
            runners: Arc::new(RunnerBook::new(transport, clock.clone(), DEADLINE)),
            deadline: DEADLINE,
            proofs: false,
            sign_with: None,
        };
        let never = Duration::from_secs(3_660 * 86_400);
        let rounds = Rounds { tick: Duration::from_secs(60), retention: never, ..Rounds::default() };
        let ways = Ways { outside: Arc::new(deliverer), arbiters: vec![Arbiter::current()] };
        root::start(&runtime, ways, rounds, &Arbiter::current());
        *self.running.lock() = Some(Running { life, runtime, keys });
    }

    async fn keep_up(self: Arc<Self>, federation: Arc<Federation>) {
        let mut lives = self.disk.lives.subscribe();
        while lives.wait_for(|(_, goes_on)| !goes_on).await.is_ok() {
            federation.clock.sleep(self.down).await;
            self.start(&federation).await;
        }
    }

    fn running(&self) -> Option<Running> {
        self.running.lock().clone().filter(|running| self.disk.is(running.life))
    }

    pub(crate) fn runtime(&self) -> Option<Arc<Runtime>> {
        self.running().map(|running| running.runtime)
    }

    /// Gives what comes of it, unless the life ends before.
    async fn while_alive<T>(&self, life: u64, act: impl Future<Output = T>) -> Option<T> {
        let mut lives = self.disk.lives.subscribe();
        tokio::select! {
            biased;
            _ = lives.wait_for(|now| *now != (life, true)) => None,
            done = act => Some(done),
        }
    }

    /// Asks as a client does that repeats its request until it is answered.
    pub(crate) async fn ask<E: Entity>(
        &self,
        key: &str,
        once: &str,
        command: impl Fn() -> E::Command,
    ) -> Option<E::Reply> {
        loop {
            if let Some(Running { life, runtime, .. }) = self.running() {
                let once = Some(Once::new("test", once, once.as_bytes()));
                let asked = runtime.registry().ask::<E>(key, command(), once);
                match self.while_alive(life, asked).await {
                    Some(Ok(reply)) => return Some(reply),
                    Some(Err(AskError::Rejected(_))) => return None,
                    Some(Err(_)) | None => {}
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn receive(&self, federation: &Federation, request: &Request) -> Result<Response, TransportError> {
        let gone = || broken(&request.url);
        let running = self.running().ok_or_else(gone)?;
        let life = running.life;
        self.while_alive(life, self.answer(federation, &running, request)).await.ok_or_else(gone)
    }

    async fn answer(&self, federation: &Federation, running: &Running, request: &Request) -> Response {
        if request.method == "GET" {
            let (base, keys, profile) = (self.base(), Ring::first(self.keys.clone()), Profile::default());
            let ours = OurActor { base: &base, name: self.name, username: self.name, profile, keys: &keys };
            return response(200, ours.to_json().to_string());
        }
        let root = self.base();
        let mut view = request.view();
        view.target = Target::at(&root, view.target.path_and_query);
        let now = federation.clock.now();
        let verified = verify(&view, request.body.clone(), &running.keys, now, VerifyLimits::default()).await;
        let verified = match verified {
            Ok(verified) => verified,
            Err(refusal) => {
                let status = match refusal.class() {
                    Class::Unavailable => 503,
                    Class::Forbidden => 403,
                    Class::Unauthorized => 401,
                    _ => 400,
                };
                return response(status, refusal.to_string());
            }
        };
        let world = &running.runtime.world;
        let local = |iri: &Iri| world.local(iri).map(str::to_owned);
        let (authority, inbox) = (verified.authority(), verified.inbox().expect("a fetched actor has one").clone());
        let (shared_inbox, body) = (verified.shared_inbox().cloned(), verified.body().clone());
        let activity = verified.into_value();
        let (about, target) = (local(&activity.object.id), activity.target.as_ref().and_then(local));
        let received =
            Box::new(Received { activity, body, inbox, shared_inbox, signed: None, about, target, reply_to: None });
        let command = inbox::Command::Receive(received);
        match running.runtime.registry().ask::<Inbox>(authority.as_str(), command, None).await {
            Ok(_) => response(202, String::new()),
            Err(AskError::Rejected(inbox::Rejection::OtherBody(_))) => response(409, String::new()),
            Err(AskError::Rejected(inbox::Rejection::TooOld { .. })) => response(410, String::new()),
            Err(AskError::Rejected(rejection)) => response(403, rejection.to_string()),
            Err(_) => response(503, String::new()),
        }
    }
}

fn response(status: u16, body: String) -> Response {
    let headers = vec![("content-type".to_owned(), "application/activity+json".to_owned())];
    Response { status, headers, body: body.into() }
}
