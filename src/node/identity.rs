//! Who a node is, as its configuration and its key say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{KEY_FILE, NodeError};
use crate::config::Config;
use crate::domains::identity::{Authority, Iri};
use crate::private;
use crate::wire::key::{NodeKey, PairSecret};

/// What the configuration says, read and checked.
pub(super) struct Identity {
    pub(super) base: String,
    pub(super) root: Iri,
    pub(super) actor: Iri,
    pub(super) authority: Authority,
    pub(super) key: NodeKey,
    pub(super) peers: BTreeMap<String, Iri>,
    pub(super) secrets: BTreeMap<Iri, PairSecret>,
    pub(super) allow: BTreeSet<Authority>,
    /// Services that may be called at any address.
    pub(super) services: BTreeSet<Authority>,
}

impl Identity {
    pub(super) fn read(config: &Config) -> Result<Self, NodeError> {
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
