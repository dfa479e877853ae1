//! A node: assembled from its parts, started in order, and stopped in reverse.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_rt::{Arbiter, ArbiterHandle};
use tracing::{info, warn};

use crate::actors::blocking::Blocklist;
use crate::actors::errands::Ways;
use crate::actors::kinds::Kinds;
use crate::actors::root::{self};
use crate::actors::runtime::Runtime;
use crate::actors::{first, held};
use crate::care::{STORE_FOLDER, notes};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domains::catalog::Catalog;
use crate::domains::identity::{IdentityError, Iri};
use crate::keyring::folder::{self, FolderError};
use crate::serve::{self, Listeners};
use crate::store::Engine;
use crate::store::blob::BlobError;
use crate::store::redb::{OpenError, Options as StoreOptions, RedbEngine};
use crate::tokens::TokenStore;
use crate::web::site::Site;
use crate::wire::fetch::ClientError;
use crate::wire::key::KeyFormatError;

mod identity;
mod parts;

use identity::Identity;

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
    #[error("the folder of blobs {folder} cannot be used: {source}")]
    Blobs { folder: PathBuf, source: BlobError },
    #[error(transparent)]
    Keys(#[from] FolderError),
    #[error("the setting {setting} is not usable: {source}")]
    Identity { setting: String, source: IdentityError },
    #[error("the secret of [peers.{peer}] is not usable: {source}")]
    Secret { peer: String, source: KeyFormatError },
    #[error(
        "the list of blocked domains cannot be read, and nobody is let in without it: {0}; `quickbeam journal verify` says more"
    )]
    Blocks(Arc<crate::store::Failure>),
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

impl Node {
    async fn start(config: Config, catalog: Catalog) -> Result<Self, NodeError> {
        let clock = SystemClock::shared();
        let identity = Identity::read(&config, clock.now())?;
        // Ports first: a node that cannot be reached must not touch its data.
        let listeners = listen(&config)?;
        open_many();
        let tokens = TokenStore::open(&config.node.data)?;
        let engine = open_store(&config)?;
        folder::write(&identity.keys, &config.node.data)?;
        let shared: Arc<dyn Engine> = engine.clone();
        let start = first::start(&shared, &clock, &identity.base, &catalog).await?;
        let arbiters = arbiters(config.runtime.arbiters);
        let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
        let world = Arc::new(parts::world(&config, &identity, catalog, start.incarnation));
        let (limits, kinds) = (parts::limits(&config), Kinds::default());
        let runtime = Runtime::start(shared, clock.clone(), world, limits, handles.clone(), kinds).await;
        let runtime = runtime.map_err(NodeError::Unwritable)?;
        if let Some(mark) = &start.held {
            warn!(backup = mark.backup, "this node was restored and is held: {}", held::HELD);
            runtime.hold();
        }
        let blocks = Blocklist::load(runtime.engine.as_ref(), identity.allow_only.clone()).await;
        let blocks = Arc::new(blocks.map_err(NodeError::Blocks)?);
        let deliverer = Arc::new(parts::outside(&config, &identity, &runtime, &blocks, &clock)?);
        let senders = self::arbiters(config.runtime.arbiters);
        let ways = Ways { outside: deliverer.clone(), arbiters: senders.iter().map(Arbiter::handle).collect() };
        root::start(&runtime, ways, parts::rounds(&config), &handles[0]);
        let programs = parts::programs(&config, &runtime)?;
        actix_rt::spawn(programs.clone().keep_up(config.retention.answers));
        let keeper = parts::keeper(&config, engine.clone(), &programs, start.incarnation, &clock);
        let site = Arc::new(parts::site(
            &config,
            &identity,
            &runtime,
            (parts::Neighbours { deliverer, blocks }, tokens, programs, keeper),
        ));
        site.keeper.recall(notes::recall(&runtime, notes::LAST_BACKUP).await);
        let servers = serve::start(&site, listeners, &config)?;
        actix_rt::spawn(site.scrubber.clone().run());
        actix_rt::spawn(site.keyring.clone().keep_up());
        if runtime.is_held() {
            actix_rt::spawn(begin_when_released(site.clone(), config.follow.at_start.clone()));
        } else {
            first::seed(&runtime).await?;
            actix_rt::spawn(sever(site.clone()));
            follow_at_start(&site, &config.follow.at_start).await;
        }
        site.started.store(true, Ordering::Release);
        info!(base = identity.base, public = %config.public.listen, admin = %config.admin.listen, "ready");
        let arbiters = arbiters.into_iter().chain(senders).collect();
        Ok(Self { site, engine, arbiters, servers })
    }

    async fn until_told_to_stop(self, options: Options) -> Result<(), NodeError> {
        let ended = serve::wait(&self.site.runtime, options.exit_with_stdin).await;
        info!(why = ended.why, "stopping");
        // No new work, then what is under way, then the store: each rests on the next.
        let runtime = self.site.runtime.clone();
        self.site.closing.send_replace(true);
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

/// Each connection takes a file, and shells let a program open 1,024 unless it asks for what it is allowed.
fn open_many() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "the limit of open files stays as it is; with many peers and clients it may be reached");
    }
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

/// What a start does, once a held node is let go.
async fn begin_when_released(site: Arc<Site>, follow: Vec<String>) {
    site.runtime.released().await;
    if let Err(error) = first::seed(&site.runtime).await {
        warn!(%error, "a seed of the configuration could not be made");
    }
    sever(site.clone()).await;
    follow_at_start(&site, &follow).await;
}

/// A node that was killed as it blocked somebody goes on with that.
async fn sever(site: Arc<Site>) {
    if let Err(failure) = site.blocks.sever(&site.runtime).await {
        warn!(%failure, "not everybody who is blocked could be parted with; the next start tries again");
    }
}

/// Asks those whom the configuration wants to be followed. One that cannot be named is said, and keeps nothing else back.
async fn follow_at_start(site: &Arc<Site>, wanted: &[String]) {
    use crate::actors::following::{Command, Following};
    for peer in wanted {
        let blocked = |actor: &Iri| site.blocks.judge(&actor.authority()).map_err(|blocked| blocked.to_string());
        let asked = match site.peer(peer) {
            Ok(actor) if blocked(&actor).is_err() => blocked(&actor),
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
