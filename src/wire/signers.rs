//! What this node signs with: a pen for each generation of its keys, which of them is taken, and the secrets that it
//! shares with peers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::base::BaseError;
use super::document::{ED25519, RSA, key_id};
use super::heavy::heavy;
use super::key::{NodeKey, NodeKeys, PairSecret};
use super::keys::PAIR_FRAGMENT;
use super::proof::{ProofError, prove};
use super::sign::{Signer, SignerKey};
use super::transport::Request;
use crate::actors::scheme::Scheme;
use crate::clock::Time;
use crate::domains::identity::{Authority, Iri};
use crate::keyring::{Generation, Ring};

/// Which key signs for whom: the node's own, or the secret shared with a peer. All clones change together.
#[derive(Clone)]
pub struct Signers(Arc<Inner>);

struct Inner {
    actor: Iri,
    pairs: BTreeMap<Authority, Signer>,
    pens: RwLock<Pens>,
}

/// Those of one ring.
struct Pens {
    /// The newest first; never empty.
    all: Vec<Arc<Pen>>,
    /// The local ulid of the Update that tells of the newest.
    update: Option<String>,
}

/// The keys of one generation with their ids.
pub struct Pen {
    since: Option<Time>,
    ed25519: Signer,
    rsa: Signer,
    /// Makes proofs, under the id of the first.
    prover: NodeKey,
}

impl Signers {
    /// Of a node that has rotated no keys. `actor` is our own; `pairs` are the authorities that share a secret with us.
    pub fn new(actor: &Iri, keys: NodeKeys, pairs: impl IntoIterator<Item = (Authority, PairSecret)>) -> Self {
        Self::of(actor, &Ring::first(keys), pairs)
    }

    pub fn of(actor: &Iri, ring: &Ring, pairs: impl IntoIterator<Item = (Authority, PairSecret)>) -> Self {
        let key_id = Iri::parse(&format!("{actor}#{PAIR_FRAGMENT}")).expect("an id with a fragment is an id");
        let pair =
            |(authority, secret)| (authority, Signer { key_id: key_id.clone(), secret: SignerKey::HmacSha256(secret) });
        let pairs = pairs.into_iter().map(pair).collect();
        Self(Arc::new(Inner { actor: actor.clone(), pairs, pens: RwLock::new(Pens::of(actor, ring)) }))
    }

    /// Signs with the keys of this ring from here on.
    pub fn change(&self, ring: &Ring) {
        *self.0.pens.write() = Pens::of(&self.0.actor, ring);
    }

    /// The pen that signs.
    pub fn pen(&self) -> Arc<Pen> {
        self.0.pens.read().all[0].clone()
    }

    /// The pen before, for the Update that tells of the newest keys: peers know no others before they have read it.
    /// None for all other activities, and when there are no old keys any more.
    pub(super) fn pen_before(&self, activity: &str) -> Option<Arc<Pen>> {
        let pens = self.0.pens.read();
        pens.all.get(1).filter(|_| pens.update.as_deref() == Some(activity)).cloned()
    }

    /// Who signs for nodes like this one.
    pub fn signer(&self, peer: &Authority) -> Signer {
        self.pair(peer).cloned().unwrap_or_else(|| self.pen().ed25519.clone())
    }

    /// Who signs for a peer that shares a secret with us, and then nobody else does.
    pub(super) fn pair(&self, peer: &Authority) -> Option<&Signer> {
        self.0.pairs.get(peer)
    }

    /// An activity of ours with a proof, by the key that signed when it was made: a receiver remembers the bytes, and
    /// takes others for another activity.
    pub(super) fn prove(&self, activity: &Value, made: Time) -> Result<Value, ProofError> {
        let pen = {
            let pens = self.0.pens.read();
            let then = pens.all.iter().find(|pen| pen.since.is_none_or(|since| since <= made));
            then.unwrap_or(&pens.all[0]).clone()
        };
        prove(activity, &pen.prover, &pen.ed25519.key_id, made)
    }
}

impl Pens {
    fn of(actor: &Iri, ring: &Ring) -> Self {
        let all = ring.generations().iter().map(|one| Arc::new(Pen::of(actor, one))).collect();
        Self { all, update: ring.rotation.as_ref().map(|rotation| rotation.activity.clone()) }
    }
}

impl Pen {
    fn of(actor: &Iri, generation: &Generation) -> Self {
        let (keys, name) = (generation.keys.clone(), &generation.name);
        Self {
            since: generation.since,
            prover: keys.ed25519.clone(),
            ed25519: Signer { key_id: key_id(actor, ED25519, name), secret: SignerKey::Ed25519(keys.ed25519) },
            rsa: Signer { key_id: key_id(actor, RSA, name), secret: SignerKey::Rsa(keys.rsa) },
        }
    }

    /// The key of ours that signs by a scheme.
    pub(crate) fn own(&self, scheme: Scheme) -> &Signer {
        match scheme {
            Scheme::Ed25519 => &self.ed25519,
            Scheme::Rsa | Scheme::Draft => &self.rsa,
        }
    }

    /// What a key of ours signs by RFC 9421.
    pub(super) fn scheme_of(&self, key_id: &str) -> Option<Scheme> {
        [Scheme::Ed25519, Scheme::Rsa].into_iter().find(|scheme| self.own(*scheme).key_id.as_str() == key_id)
    }

    pub(super) async fn sign(&self, scheme: Scheme, request: Request, now: Time) -> Result<Request, BaseError> {
        let signer = self.own(scheme).clone();
        match scheme {
            Scheme::Ed25519 => signer.sign(request, now),
            Scheme::Rsa => heavy(move || signer.sign(request, now)).await,
            Scheme::Draft => heavy(move || signer.sign_draft(request, now)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::keyring::{Old, Rotation};
    use crate::wire::for_tests::{START, iri, keys};

    fn rotated(old: Old) -> Ring {
        let first = Ring::first(keys(1));
        let new = Generation { name: first.next_name(1), since: None, until: None, keys: keys(2) };
        let rotation = Rotation { activity: "01NEWS".into(), logged: true, request: None };
        first.rotated(new, old, rotation, START)
    }

    fn signers() -> Signers {
        Signers::new(&iri("https://a.example/actor"), keys(1), [])
    }

    const STAY: Old = Old::StayFor(Duration::from_secs(60));

    #[test]
    fn after_a_rotation_everything_is_signed_anew_and_only_its_news_with_what_was_before() {
        let (signers, peer) = (signers(), iri("https://b.example/").authority());
        let clone = signers.clone();
        assert_eq!(clone.signer(&peer).key_id.as_str(), "https://a.example/actor#ed25519");
        signers.change(&rotated(STAY));
        assert_eq!(clone.signer(&peer).key_id.as_str(), "https://a.example/actor#ed25519-2");
        assert_eq!(clone.pen().own(Scheme::Draft).key_id.as_str(), "https://a.example/actor#main-key-2");
        let before = clone.pen_before("01NEWS").unwrap();
        assert_eq!(before.own(Scheme::Rsa).key_id.as_str(), "https://a.example/actor#main-key");
        assert!(clone.pen_before("01OTHER").is_none());
        // A challenge that names a key means that one, and the old one answers none.
        assert_eq!(clone.pen().scheme_of("https://a.example/actor#ed25519-2"), Some(Scheme::Ed25519));
        assert_eq!(clone.pen().scheme_of("https://a.example/actor#ed25519"), None);
    }

    #[test]
    fn where_nothing_is_left_of_the_old_keys_the_new_ones_sign_the_news_too() {
        let signers = signers();
        signers.change(&rotated(Old::GoNow));
        assert!(signers.pen_before("01NEWS").is_none());
        signers.change(&rotated(STAY).without_ended(START.plus(Duration::from_secs(60))));
        assert!(signers.pen_before("01NEWS").is_none());
    }

    #[test]
    fn a_proof_is_made_by_the_key_of_its_time_so_that_its_bytes_stay() {
        let signers = signers();
        let activity = json!({ "id": "https://a.example/activities/1", "type": "Create" });
        let earlier = Time(START.0 - 1);
        let before = signers.prove(&activity, earlier).unwrap();
        signers.change(&rotated(STAY));
        assert_eq!(signers.prove(&activity, earlier).unwrap(), before);
        let by = |made| signers.prove(&activity, made).unwrap()["proof"]["verificationMethod"].clone();
        assert_eq!(by(START), "https://a.example/actor#ed25519-2");
        signers.change(&rotated(Old::GoNow));
        assert_eq!(by(earlier), "https://a.example/actor#ed25519-2");
    }

    #[test]
    fn a_secret_of_a_pair_stays_what_it_is() {
        let (peer, secret) = (iri("https://b.example/").authority(), PairSecret::new(&[b's'; 32]).unwrap());
        let signers = Signers::new(&iri("https://a.example/actor"), keys(1), [(peer.clone(), secret)]);
        signers.change(&rotated(STAY));
        assert_eq!(signers.signer(&peer).key_id.as_str(), "https://a.example/actor#hmac");
    }
}
