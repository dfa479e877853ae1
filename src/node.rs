//! A node: assembled from its parts, started in order, and stopped in reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix_rt::{Arbiter, ArbiterHandle};
use bytes::Bytes;
use tracing::{info, warn};

use crate::actors::first;
use crate::actors::kinds::Kinds;
use crate::actors::retention::Keep;
use crate::actors::root::{self, Rounds};
use crate::actors::runtime::{self, Runtime};
use crate::actors::world::{Accept, Delivery, World};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config};
use crate::domains::all_effects;
use crate::domains::catalog::Catalog;
use crate::domains::identity::{Authority, IdentityError, Iri};
use crate::private::{self, PrivateError};
use crate::serve::{self, Listeners};
use crate::store::Engine;
use crate::store::redb::{OpenError, Options as StoreOptions, RedbEngine};
use crate::tokens::TokenStore;
use crate::web::routes::RESERVED;
use crate::web::site::{HttpLimits, Site};
use crate::wire::address::AddressPolicy;
use crate::wire::call::Caller;
use crate::wire::deliver::{Deliverer, Signers};
use crate::wire::document::OurActor;
use crate::wire::fetch::{ClientError, HttpTransport};
use crate::wire::key::{KeyFormatError, NodeKey, PairSecret};
use crate::wire::keys::{KeyCache, KeySettings, Pair};
use crate::wire::rate::Rates;
use crate::wire::transport;

/// The node's own key, in its data folder.
pub const KEY_FILE: &str = "node.key";
/// The folder of the store, in the data folder.
const STORE_FOLDER: &str = "store";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// How a node is run, besides its configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Ends when standard input closes, so that a child does not outlive who started it.
    pub exit_with_stdin: bool,
}

/// Why a node does not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the address {address} is in use: stop what listens there, or change {setting} in the configuration")]
    PortInUse { address: SocketAddr, setting: &'static str },
    #[error("cannot listen on {address}: change {setting} in the configuration")]
    Listen {
        address: SocketAddr,
        setting: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the data folder {folder} cannot be used: {source}")]
    Store { folder: PathBuf, source: OpenError },
    #[error(transparent)]
    Key(#[from] PrivateError),
    #[error("{path} holds no usable key: {source}")]
    KeyFormat { path: PathBuf, source: KeyFormatError },
    #[error("the setting {setting} is not usable: {source}")]
    Identity { setting: String, source: IdentityError },
    #[error("the secret of [peers.{peer}] is not usable: {source}")]
    Secret { peer: String, source: KeyFormatError },
    #[error("tokens cannot be read: {0}")]
    Tokens(#[from] crate::tokens::TokenError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    First(#[from] first::FirstError),
    #[error("the store takes no writes: {0}")]
    Unwritable(Arc<crate::store::Failure>),
    #[error("the HTTP server failed: {0}")]
    Server(#[from] io::Error),
    #[error("{0}")]
    Ended(String),
}

/// Runs a node until it is told to stop. Blocks.
///
/// # Errors
/// [`NodeError`] says what to change.
pub fn run(config: Config, catalog: Catalog, options: Options) -> Result<(), NodeError> {
    let system = actix_rt::System::new();
    system.block_on(async move {
        let node = Node::start(config, catalog).await?;
        node.until_told_to_stop(options).await
    })
}

/// Everything of a running node.
struct Node {
    site: Arc<Site>,
    engine: Arc<RedbEngine>,
    arbiters: Vec<Arbiter>,
    servers: serve::Servers,
}

/// What the configuration says, read and checked.
struct Identity {
    base: String,
    root: Iri,
    actor: Iri,
    authority: Authority,
    key: NodeKey,
    peers: BTreeMap<String, Iri>,
    secrets: BTreeMap<Iri, PairSecret>,
    allow: BTreeSet<Authority>,
    /// Services that may be called at any address.
    services: BTreeSet<Authority>,
}

impl Node {
    async fn start(config: Config, catalog: Catalog) -> Result<Self, NodeError> {
        let identity = Identity::read(&config)?;
        // Ports first: a node that cannot be reached must not touch its data.
        let listeners = listen(&config)?;
        let clock = SystemClock::shared();
        let tokens = TokenStore::open(&config.node.data)?;
        let engine = open_store(&config)?;
        let shared: Arc<dyn Engine> = engine.clone();
        let start = first::start(&shared, &clock, &identity.base, &catalog).await?;
        let arbiters = arbiters(config.runtime.arbiters);
        let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
        let world = Arc::new(world(&config, &identity, catalog));
        let (limits, kinds) = (limits(&config), Kinds::default());
        let runtime = Runtime::start(shared, clock.clone(), world, limits, handles.clone(), kinds).await;
        let runtime = runtime.map_err(NodeError::Unwritable)?;
        let (keys, deliverer) = outside(&config, &identity, &runtime, &clock)?;
        root::start(&runtime, &(Arc::new(deliverer) as _), rounds(&config), &handles[0]);
        let site = Arc::new(site(&config, &identity, &runtime, keys, tokens, start.incarnation, engine.clone()));
        let servers = serve::start(&site, listeners, &config)?;
        first::seed(&runtime).await?;
        follow_at_start(&site, &config.follow.at_start).await;
        site.started.store(true, Ordering::Release);
        info!(base = identity.base, public = %config.public.listen, admin = %config.admin.listen, "ready");
        Ok(Self { site, engine, arbiters, servers })
    }

    async fn until_told_to_stop(self, options: Options) -> Result<(), NodeError> {
        let ended = serve::wait(&self.site.runtime, options.exit_with_stdin).await;
        info!(why = ended.why, "stopping");
        // No new work, then what is under way, then the store: each rests on the next.
        let runtime = self.site.runtime.clone();
        let drained = root::drain(&runtime);
        let stopped = self.servers.stop();
        futures_util::future::join(drained, stopped).await;
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        let engine = self.engine;
        drop(actix_rt::task::spawn_blocking(move || engine.close()).await);
        if ended.failed { Err(NodeError::Ended(ended.why)) } else { Ok(()) }
    }
}

impl Identity {
    fn read(config: &Config) -> Result<Self, NodeError> {
        let wrong = |setting: &str| {
            let setting = setting.to_owned();
            move |source| NodeError::Identity { setting, source }
        };
        let base = config.node.base.clone();
        let root = Iri::parse(&format!("{base}/")).map_err(wrong("node.base"))?;
        let actor = Iri::parse(&format!("{base}/actor")).map_err(wrong("node.base"))?;
        let (mut peers, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for (name, peer) in &config.peers {
            let iri = Iri::parse(peer.actor.as_str()).map_err(wrong(&format!("peers.{name}.actor")))?;
            if let Some(secret) = &peer.secret {
                let secret = PairSecret::new(secret.expose());
                let secret = secret.map_err(|source| NodeError::Secret { peer: name.clone(), source })?;
                secrets.insert(iri.clone(), secret);
            }
            peers.insert(name.clone(), iri);
        }
        let allow = config.fetch.allow.iter().map(|text| Authority::parse(text)).collect::<Result<_, _>>();
        let allow = allow.map_err(wrong("fetch.allow"))?;
        let services = config.services.allow.iter().map(|text| Authority::parse(text)).collect::<Result<_, _>>();
        let services = services.map_err(wrong("http.allow"))?;
        let key = read_key(&config.node.data.join(KEY_FILE))?;
        Ok(Self { base, authority: root.authority(), root, actor, key, peers, secrets, allow, services })
    }
}

fn read_key(path: &Path) -> Result<NodeKey, NodeError> {
    let pem = private::read_text(path)?;
    NodeKey::from_pem(&pem).map_err(|source| NodeError::KeyFormat { path: path.into(), source })
}

fn listen(config: &Config) -> Result<Listeners, NodeError> {
    let bind = |address: SocketAddr, setting: &'static str| {
        let made = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        made.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NodeError::PortInUse { address, setting },
            _ => NodeError::Listen { address, setting, source },
        })
    };
    Ok(Listeners {
        public: bind(config.public.listen, "public.listen")?,
        admin: bind(config.admin.listen, "admin.listen")?,
        backlog: BACKLOG,
    })
}

fn open_store(config: &Config) -> Result<Arc<RedbEngine>, NodeError> {
    let folder = config.node.data.join(STORE_FOLDER);
    let options = StoreOptions { overlay_bytes_max: config.store.overlay_bytes, ..StoreOptions::default() };
    RedbEngine::open(&folder, options).map(Arc::new).map_err(|source| NodeError::Store { folder, source })
}

fn arbiters(wanted: usize) -> Vec<Arbiter> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Half of the cores: the others verify, commit and speak HTTP.
    let count = if wanted == 0 { cores.div_ceil(2) } else { wanted };
    (0..count).map(|_| Arbiter::new()).collect()
}

fn world(config: &Config, identity: &Identity, catalog: Catalog) -> World {
    let limits = &config.limits;
    World {
        name: config.node.name.clone(),
        base: identity.base.clone(),
        authority: identity.authority.clone(),
        actor: identity.actor.clone(),
        catalog: Arc::new(catalog),
        effects: all_effects(),
        accept: match &config.follow.accept {
            config::Accept::All => Accept::All,
            config::Accept::Ask => Accept::Ask,
            config::Accept::Only(listed) => Accept::Listed(listed.iter().cloned().collect()),
        },
        delivery: Delivery {
            in_flight_max: size(limits.delivery_parallel),
            retry_delay: limits.delivery_delay,
            retry_delay_max: limits.delivery_delay_max,
            give_up: limits.delivery_age_max,
        },
        dedupe: limits.dedupe,
        reserved: RESERVED,
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn limits(config: &Config) -> runtime::Limits {
    runtime::Limits { mailbox: size(config.limits.mailbox), idle: config.runtime.idle, ..runtime::Limits::default() }
}

fn rounds(config: &Config) -> Rounds {
    Rounds { tick: config.tick.every, retention: config.retention.every, keep: keep(config) }
}

fn keep(config: &Config) -> Keep {
    let kept = &config.retention;
    Keep { flows: kept.flows, received: kept.received, answers: kept.answers }
}

fn outside(
    config: &Config,
    identity: &Identity,
    runtime: &Arc<Runtime>,
    clock: &SharedClock,
) -> Result<(Arc<KeyCache>, Deliverer), NodeError> {
    let own_listeners = vec![config.public.listen, config.admin.listen];
    let policy =
        |allow: &BTreeSet<Authority>| AddressPolicy { allow: allow.clone(), own_listeners: own_listeners.clone() };
    let reach = |policy| Ok::<_, NodeError>(Arc::new(HttpTransport::new(policy, clock.clone(), &identity.root)?));
    let caller =
        Caller { transport: reach(policy(&identity.services))?, secrets: Arc::new(config.services.secrets.clone()) };
    let policy = policy(&identity.allow);
    let transport: Arc<dyn transport::Transport> = Arc::new(HttpTransport::new(policy, clock.clone(), &identity.root)?);
    let limits =
        transport::Limits { bytes_max: size(config.limits.key_fetch), deadline: config.limits.key_fetch_timeout };
    let pairs =
        identity.secrets.iter().map(|(actor, secret)| (actor.clone(), Pair { secret: secret.clone(), inbox: None }));
    let settings = KeySettings { limits, ..KeySettings::default() };
    let own = identity.authority.clone();
    let keys = Arc::new(KeyCache::new(transport.clone(), clock.clone(), own, pairs.collect(), settings));
    let secrets = identity.secrets.iter().map(|(actor, secret)| (actor.authority(), secret.clone()));
    let deliverer = Deliverer {
        engine: runtime.engine.clone(),
        transport,
        keys: keys.clone(),
        clock: clock.clone(),
        signers: Signers::new(&identity.actor, identity.key.clone(), secrets),
        caller,
        deadline: config.limits.delivery_timeout,
    };
    Ok((keys, deliverer))
}

fn site(
    config: &Config,
    identity: &Identity,
    runtime: &Arc<Runtime>,
    keys: Arc<KeyCache>,
    tokens: TokenStore,
    incarnation: u64,
    engine: Arc<RedbEngine>,
) -> Site {
    let name = &config.node.name;
    let document = OurActor { base: &identity.root, name, username: name, key: &identity.key }.to_json();
    let limits = &config.limits;
    let mut admin_hosts: BTreeSet<String> = config.admin.hosts.iter().cloned().collect();
    admin_hosts.insert(config.admin.listen.to_string());
    admin_hosts.insert(format!("localhost:{}", config.admin.listen.port()));
    Site {
        clock: runtime.clock.clone(),
        keys,
        tokens,
        root: identity.root.clone(),
        actor_document: Bytes::from(document.to_string()),
        peers: identity.peers.clone(),
        plain: identity.allow.clone(),
        admin_hosts,
        limits: HttpLimits {
            body_bytes: size(limits.body),
            body_time: limits.body_timeout,
            header_bytes: size(limits.headers),
            headers: size(limits.headers_count),
            json_depth: size(limits.json_depth),
            clock_window: limits.signature_window,
        },
        rates: Rates::new(
            runtime.clock.clone(),
            u32::try_from(limits.peer_rate).unwrap_or(u32::MAX),
            size(limits.peer_in_flight),
        ),
        keep: keep(config),
        incarnation,
        ignored: AtomicU64::new(0),
        started: AtomicBool::new(false),
        store_stats: Box::new(move || serde_json::to_value(engine.stats()).unwrap_or_default()),
        runtime: runtime.clone(),
    }
}

/// Asks those whom the configuration wants to be followed. One that cannot be named is said, and keeps nothing else back.
async fn follow_at_start(site: &Arc<Site>, wanted: &[String]) {
    use crate::actors::following::{Command, Following};
    for peer in wanted {
        let asked = match site.peer(peer) {
            Ok(actor) => {
                let ask = site.runtime.registry().ask::<Following>(actor.as_str(), Command::Ensure, None).await;
                ask.map(drop).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = asked {
            warn!(peer, error, "cannot follow at the start");
        }
    }
}
