//! Who a node is, as its configuration and its keys say.

use super::NodeError;
use crate::clock::Time;
use crate::config::{self, Config};
use crate::domains::blocks::Domain;
use crate::domains::flow::kinds::{Remote, Runner, Runners};
use crate::domains::identity::{Authority, IdentityError, Iri};
use crate::keyring::{Ring, folder};
use crate::wire::key::PairSecret;
use std::collections::{BTreeMap, BTreeSet};

/// What the configuration says, read and checked.
pub(super) struct Identity {
    pub(super) base: String,
    pub(super) root: Iri,
    pub(super) actor: Iri,
    pub(super) authority: Authority,
    /// As they are in the folder, but for an RSA key that is not in its file yet.
    pub(super) keys: Ring,
    pub(super) peers: BTreeMap<String, Iri>,
    pub(super) secrets: BTreeMap<Iri, PairSecret>,
    pub(super) allow: BTreeSet<Authority>,
    /// Services that may be called at any address.
    pub(super) services: BTreeSet<Authority>,
    /// Nodes whose flows may run here, and what those may reach.
    pub(super) kernel: BTreeSet<Authority>,
    pub(super) reach: BTreeSet<Authority>,
    pub(super) runners: Runners,
    /// The only domains that this node has to do with, if there are such.
    pub(super) allow_only: Option<BTreeSet<Domain>>,
}

impl Identity {
    pub(super) fn read(config: &Config, now: Time) -> Result<Self, NodeError> {
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
        let listed = |setting: &str, listed: &[String]| {
            let listed = listed.iter().map(|text| Authority::parse(text)).collect::<Result<BTreeSet<_>, _>>();
            listed.map_err(wrong(setting))
        };
        let allow = listed("fetch.allow", &config.fetch.allow)?;
        let services = listed("http.allow", &config.services.allow)?;
        let kernel = listed("kernel.allow", &config.kernel.allow)?;
        let reach = listed("kernel.reach", &config.kernel.reach)?;
        let runners = config.runners.iter().map(runner).collect::<Result<_, _>>().map_err(wrong("runner.url"))?;
        let runners = Runners(runners);
        let allow_only = config.federation.allow_only.clone();
        let keys = folder::read(&config.node.data, now)?;
        let authority = root.authority();
        Ok(Self {
            base,
            authority,
            root,
            actor,
            keys,
            peers,
            secrets,
            allow,
            services,
            kernel,
            reach,
            runners,
            allow_only,
        })
    }
}

fn runner(declared: &config::runners::Runner) -> Result<Runner, IdentityError> {
    Ok(match declared {
        config::runners::Runner::Here(kinds) => Runner::Here(kinds.clone()),
        config::runners::Runner::At(base) => {
            Runner::At(Remote { base: base.clone(), actor: Iri::parse(&format!("{base}/actor"))? })
        }
    })
}
