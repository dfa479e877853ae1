//! What every route of a node works with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::collections::Sizes;
use super::routes::RESERVED;
use crate::actors::blocking::Blocklist;
use crate::actors::retention::Keep;
use crate::actors::runtime::Runtime;
use crate::care::keeper::Keeper;
use crate::care::scrubber::Scrubber;
use crate::clock::{SharedClock, ulid};
use crate::config::Network;
use crate::domains::identity::{Authority, IdentityError, Iri};
use crate::keyring::live::Keyring;
use crate::programs::Programs;
use crate::tokens::TokenStore;
use crate::wire::deliver::Deliverer;
use crate::wire::error::Problem;
use crate::wire::keys::KeyCache;
use crate::wire::rate::Rates;
use crate::wire::runners::RunnerBook;
use crate::wire::strangers::Strangers;
use crate::wire::transport::Limits;
use crate::wire::webfinger::{self, Account};

/// Shared by all workers of both listeners.
pub struct Site {
    pub runtime: Arc<Runtime>,
    pub clock: SharedClock,
    pub keys: Arc<KeyCache>,
    /// With whom this node has nothing to do.
    pub blocks: Arc<Blocklist>,
    /// For what is asked of peers and told them, and what a document of theirs may take.
    pub deliverer: Arc<Deliverer>,
    pub fetch_limits: Limits,
    /// Who follows and is followed is not said, only how many.
    pub hides_network: bool,
    pub sizes: Sizes,
    pub tokens: TokenStore,
    /// The base with its slash, as requests are checked against it.
    pub root: Iri,
    /// Whether whoever wants JSON has to say who they are.
    pub authorized_fetch: bool,
    /// What we sign with, and our actor document, which says so.
    pub keyring: Arc<Keyring>,
    /// Names of `[peers]`, and their actors.
    pub peers: BTreeMap<String, Iri>,
    /// Authorities that may speak http.
    pub plain: BTreeSet<Authority>,
    /// `Host`s that the admin listener answers.
    pub admin_hosts: BTreeSet<String>,
    pub limits: HttpLimits,
    pub rates: Rates,
    /// Addresses, by what came from there and was not believed.
    pub strangers: Strangers,
    /// Whose word counts for where a request came from.
    pub trusted_proxies: Vec<Network>,
    /// Those who call back, by the instance that they call: only the address that they were given says who they are.
    pub callbacks: Rates<String>,
    /// Nodes that may use this one's kernel.
    pub kernel: BTreeSet<Authority>,
    /// Neighbours whose keys could not be had, and are asked for again.
    pub returning: Rates,
    /// What those say of themselves who run flows of this node.
    pub runners: Arc<RunnerBook>,
    /// What retention keeps.
    pub keep: Keep,
    pub programs: Programs,
    /// One for each request that follows a stream.
    pub followers: Arc<Semaphore>,
    /// Told when the node stops, so that requests without an end get one.
    pub closing: watch::Sender<bool>,
    pub incarnation: u64,
    /// Backup, scrub, and figures of the data.
    pub keeper: Arc<Keeper>,
    pub scrubber: Arc<Scrubber>,
    pub ignored: AtomicU64,
    pub started: AtomicBool,
    /// Figures of the store, as it names them.
    pub store_stats: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// What requests may take.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    pub body_bytes: usize,
    pub body_time: Duration,
    pub header_bytes: usize,
    pub headers: usize,
    pub json_depth: usize,
    pub blob_bytes: u64,
    /// How far the clock of a peer may differ from ours.
    pub clock_window: Duration,
}

impl Site {
    /// The actor that somebody means by a name of `[peers]`, an authority, or an actor URL.
    pub fn peer(&self, named: &str) -> Result<Iri, IdentityError> {
        if let Some(actor) = self.peers.get(named) {
            return Ok(actor.clone());
        }
        if named.contains("://") {
            return Iri::parse(named);
        }
        // A bare word is a name of [peers] that was mistyped; hosts of peers have a dot or a port.
        let authority = Authority::parse(named)?;
        if !named.contains(['.', ':']) {
            return Err(IdentityError::Authority { given: named.chars().take(100).collect() });
        }
        let known = self.peers.values().find(|actor| actor.authority() == authority);
        let scheme = self.scheme(&authority);
        known.cloned().map_or_else(|| Iri::parse(&format!("{scheme}://{authority}/actor")), Ok)
    }

    /// How a host is reached.
    pub fn scheme(&self, host: &Authority) -> &'static str {
        if self.plain.contains(host) { "http" } else { "https" }
    }

    /// As [`Self::peer`], for requests.
    ///
    /// # Errors
    /// 400 for a name that is nobody's.
    pub fn named_peer(&self, named: &str) -> Result<Iri, Problem> {
        self.peer(named).map_err(|error| {
            Problem::bad_request(format!(
                "{named:?} is no peer: {error}; give a name in [peers], an authority or an actor URL"
            ))
        })
    }

    /// The same, of those that this node has to do with.
    ///
    /// # Errors
    /// 403 for one that is blocked.
    pub fn open_peer(&self, named: &str) -> Result<Iri, Problem> {
        let actor = self.named_peer(named)?;
        self.blocks.judge(&actor.authority()).map_err(|blocked| {
            Problem::new(403, "blocked", format!("{blocked}: see `quickbeam blocks` and [federation] allow_only"))
        })?;
        Ok(actor)
    }

    /// The same of an account as well, such as `@gigs@events.example`, whose host is asked which actor that is.
    ///
    /// # Errors
    /// 400 for nobody's name, 422 for an account that its host does not know, 503 when the host cannot say.
    pub async fn find_peer(&self, named: &str) -> Result<Iri, Problem> {
        let actor = self.find_actor(named).await?;
        self.open_peer(actor.as_str())
    }

    /// As [`Self::find_peer`], also of one that is blocked.
    ///
    /// # Errors
    /// As there.
    pub async fn find_actor(&self, named: &str) -> Result<Iri, Problem> {
        if named.contains("://") || !named.contains('@') {
            return self.named_peer(named);
        }
        let account = Account::parse(named).map_err(|error| Problem::bad_request(error.to_string()))?;
        let (transport, scheme) = (self.deliverer.transport.as_ref(), |host: &Authority| self.scheme(host));
        let found = webfinger::find(transport, &account, scheme, self.fetch_limits).await;
        found.map_err(|error| match error.is_passing() {
            true => Problem::unavailable(error.to_string()),
            false => Problem::unprocessable(error.to_string()),
        })
    }

    /// Whether an address below the base is the node's own, so that no object may have it.
    pub fn is_reserved(&self, path: &str) -> bool {
        RESERVED.contains(&path.split('/').next().unwrap_or_default()) && !path.starts_with("calendars/")
    }

    pub fn request_id(&self) -> String {
        ulid(self.clock.now(), self.clock.random())
    }
}
