//! What the configuration makes of each part of a node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::{Semaphore, watch};

use super::NodeError;
use super::identity::Identity;
use crate::actors::blocking::Blocklist;
use crate::actors::retention::Keep;
use crate::actors::root::Rounds;
use crate::actors::runtime::{self, Runtime};
use crate::actors::scheme::Scheme;
use crate::actors::world::{Accept, Delivery, World};
use crate::care::BLOBS_FOLDER;
use crate::care::keeper::Keeper;
use crate::care::scrubber::{self, Scrubber};
use crate::clock::SharedClock;
use crate::config::{self, Config};
use crate::domains::all_effects;
use crate::domains::catalog::Catalog;
use crate::domains::identity::Authority;
use crate::keyring::live::Keyring;
use crate::programs::Programs;
use crate::store::blob::FileBlobs;
use crate::store::redb::RedbEngine;
use crate::tokens::TokenStore;
use crate::web::collections::Sizes;
use crate::web::routes::RESERVED;
use crate::web::site::{HttpLimits, Site};
use crate::web::store::OwnedByRuntime;
use crate::wire::address::{AddressPolicy, AllowList};
use crate::wire::call::Caller;
use crate::wire::deliver::Deliverer;
use crate::wire::document::Profile;
use crate::wire::fetch::HttpTransport;
use crate::wire::keys::{KeyCache, KeySettings, Pair};
use crate::wire::rate::Rates;
use crate::wire::runners::RunnerBook;
use crate::wire::signers::Signers;
use crate::wire::strangers::Strangers;
use crate::wire::transport;

/// The way to other nodes, with what is known of them, and with whom this one has nothing to do.
pub(super) struct Neighbours {
    pub(super) deliverer: Arc<Deliverer>,
    pub(super) blocks: Arc<Blocklist>,
}

/// How often the key of a neighbour is asked for that could not be had.
const RETURNS_PER_SECOND: u32 = 1;

pub(super) fn programs(config: &Config, runtime: &Arc<Runtime>) -> Result<Programs, NodeError> {
    let folder = config.node.data.join(BLOBS_FOLDER);
    let blobs = FileBlobs::open(&folder, config.limits.blob, runtime.clock.clone());
    let blobs = blobs.map_err(|source| NodeError::Blobs { folder, source })?;
    let owner = Arc::new(OwnedByRuntime(runtime.clone()));
    Ok(Programs::new(runtime.engine.clone(), Arc::new(blobs), owner, runtime.clock.clone()))
}

pub(super) fn world(config: &Config, identity: &Identity, catalog: Catalog, incarnation: u64) -> World {
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
        incarnation,
        reserved: RESERVED,
        runners: identity.runners.clone(),
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn limits(config: &Config) -> runtime::Limits {
    let (mailbox, &config::sections::Runtime { idle, actors, .. }) = (size(config.limits.mailbox), &config.runtime);
    runtime::Limits { mailbox, idle, actors, ..runtime::Limits::default() }
}

pub(super) fn rounds(config: &Config) -> Rounds {
    Rounds { tick: config.tick.every, retention: config.retention.every, keep: keep(config) }
}

fn keep(config: &Config) -> Keep {
    let kept = &config.retention;
    Keep { flows: kept.flows, received: kept.received, deliveries: kept.deliveries, answers: kept.answers }
}

pub(super) fn outside(
    config: &Config,
    identity: &Identity,
    runtime: &Arc<Runtime>,
    blocks: &Arc<Blocklist>,
    clock: &SharedClock,
) -> Result<Deliverer, NodeError> {
    let own_listeners = vec![config.public.listen, config.admin.listen];
    let policy = |list, allow: &BTreeSet<Authority>| AddressPolicy {
        allow: allow.clone(),
        list,
        // Services that the operator names are no peers.
        blocks: if list == AllowList::Fetch { blocks.clone() } else { Arc::default() },
        own_listeners: own_listeners.clone(),
    };
    let reach = |policy| Ok::<_, NodeError>(Arc::new(HttpTransport::new(policy, clock.clone(), &identity.root)?));
    let services = reach(policy(AllowList::Http, &identity.services))?;
    let caller = Caller { transport: services, secrets: Arc::new(config.services.secrets.clone()) };
    let transport: Arc<dyn transport::Transport> = reach(policy(AllowList::Fetch, &identity.allow))?;
    let lent = Caller { transport: reach(policy(AllowList::Kernel, &identity.reach))?, secrets: Arc::default() };
    let deadline = config.limits.key_fetch_timeout;
    let runners = Arc::new(RunnerBook::new(transport.clone(), clock.clone(), deadline));
    let limits = fetch_limits(config);
    let pairs =
        identity.secrets.iter().map(|(actor, secret)| (actor.clone(), Pair { secret: secret.clone(), inbox: None }));
    let settings = KeySettings { limits, ..KeySettings::default() };
    let own = identity.authority.clone();
    let keys = KeyCache::new(transport.clone(), clock.clone(), own, pairs.collect(), settings);
    let secrets = identity.secrets.iter().map(|(actor, secret)| (actor.authority(), secret.clone()));
    let signers = Signers::of(&identity.actor, &identity.keys, secrets);
    let keys = Arc::new(keys.blocking(blocks.clone()).signing(signers.clone()));
    let deliverer = Deliverer {
        engine: runtime.engine.clone(),
        transport,
        keys,
        clock: clock.clone(),
        caller,
        lent,
        runners,
        signers,
        deadline: config.limits.delivery_timeout,
        proofs: config.delivery.proofs,
        sign_with: config.delivery.sign_with.and_then(Scheme::parse),
    };
    Ok(deliverer)
}

/// What one document of a peer may take.
fn fetch_limits(config: &Config) -> transport::Limits {
    transport::Limits { bytes_max: size(config.limits.key_fetch), deadline: config.limits.key_fetch_timeout }
}

pub(super) fn site(
    config: &Config,
    identity: &Identity,
    runtime: &Arc<Runtime>,
    (neighbours, tokens, programs, keeper): (Neighbours, TokenStore, Programs, Arc<Keeper>),
) -> Site {
    let engine = keeper.engine.clone();
    let settings = scrubber::Settings { every: config.store.scrub_every, bytes_per_second: config.store.scrub_rate };
    let (data, signers) = (config.node.data.clone(), neighbours.deliverer.signers.clone());
    let (ring, root) = (identity.keys.clone(), &identity.root);
    let node = &config.node;
    let profile = Profile { kind: node.actor, summary: node.summary.clone(), icon: node.icon.clone() };
    let keyring = Arc::new(Keyring::new(data, ring, runtime, (root, profile), keeper.incarnation, signers));
    let limits = &config.limits;
    let mut admin_hosts: BTreeSet<String> = config.admin.hosts.iter().cloned().collect();
    admin_hosts.insert(config.admin.listen.to_string());
    admin_hosts.insert(format!("localhost:{}", config.admin.listen.port()));
    let per_second = u32::try_from(limits.peer_rate).unwrap_or(u32::MAX);
    Site {
        clock: runtime.clock.clone(),
        keys: neighbours.deliverer.keys.clone(),
        blocks: neighbours.blocks,
        fetch_limits: fetch_limits(config),
        hides_network: config.federation.hide_network,
        sizes: Sizes::default(),
        tokens,
        root: identity.root.clone(),
        keyring,
        authorized_fetch: config.federation.authorized_fetch,
        peers: identity.peers.clone(),
        plain: identity.allow.clone(),
        admin_hosts,
        limits: HttpLimits {
            body_bytes: size(limits.body),
            body_time: limits.body_timeout,
            header_bytes: size(limits.headers),
            headers: size(limits.headers_count),
            json_depth: size(limits.json_depth),
            blob_bytes: limits.blob,
            clock_window: limits.signature_window,
        },
        rates: Rates::new(runtime.clock.clone(), per_second, size(limits.peer_in_flight)),
        strangers: Strangers::new(runtime.clock.clone(), limits.address_failures),
        trusted_proxies: config.public.trusted_proxies.clone(),
        callbacks: Rates::new(runtime.clock.clone(), per_second, size(limits.peer_in_flight)),
        keep: keep(config),
        kernel: identity.kernel.clone(),
        runners: neighbours.deliverer.runners.clone(),
        deliverer: neighbours.deliverer,
        returning: Rates::new(runtime.clock.clone(), RETURNS_PER_SECOND, 1),
        programs,
        followers: Arc::new(Semaphore::new(size(limits.followers))),
        closing: watch::Sender::new(false),
        incarnation: keeper.incarnation,
        scrubber: Scrubber::new(keeper.clone(), runtime.clone(), settings),
        keeper,
        ignored: AtomicU64::new(0),
        started: AtomicBool::new(false),
        store_stats: Box::new(move || serde_json::to_value(engine.stats()).unwrap_or_default()),
        runtime: runtime.clone(),
    }
}

/// The data and all that is in their folder, for those who look after them.
pub(super) fn keeper(
    config: &Config,
    engine: Arc<RedbEngine>,
    programs: &Programs,
    incarnation: u64,
    clock: &SharedClock,
) -> Arc<Keeper> {
    // The very same blobs: whoever copies them holds up their collection.
    let blobs = Some(programs.contents().clone());
    Arc::new(Keeper::new(config.clone(), engine, blobs, incarnation, clock.clone()))
}
