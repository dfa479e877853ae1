//! A small world for tests: a clock that is stepped by hand, a net of documents, and peers that sign.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::document::{OurActor, Profile};
use super::key::{NodeKey, NodeKeys};
use super::rsa::RsaKey;
use super::sign::{Signer, SignerKey};
use super::transport::{Limits, Request, Response, Transport, TransportError};
use crate::clock::{Clock, Time};
use crate::domains::identity::Iri;
use crate::keyring::Ring;

pub(crate) const START: Time = Time(1_700_000_000_000);

pub(crate) const LIMITS: Limits = Limits { bytes_max: 1_000_000, deadline: Duration::from_secs(5) };

pub(crate) fn iri(text: &str) -> Iri {
    Iri::parse(text).unwrap()
}

/// Time stands still until it is moved, or goes on with each look at it.
#[derive(Debug)]
pub(crate) struct StepClock {
    now: AtomicU64,
    each_look: AtomicU64,
}

/// Answers from a table, counts what it was asked, and can be told to fail.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) documents: Mutex<BTreeMap<String, Response>>,
    pub(crate) asked: AtomicUsize,
    pub(crate) down: Mutex<bool>,
    /// What is shown only to whoever signs.
    pub(crate) signed_only: Mutex<BTreeSet<String>>,
    /// The last request with a signature.
    pub(crate) last_signed: Mutex<Option<Request>>,
}

/// A peer with one actor and its keys.
pub(crate) struct Peer {
    pub(crate) base: Iri,
    pub(crate) keys: NodeKeys,
}

/// The ed25519 pair of a seed, and one of two RSA pairs that stand in files, since making one takes long.
pub(crate) fn keys(seed: u8) -> NodeKeys {
    let files = [include_str!("../../tests/vectors/rsa/one.pem"), include_str!("../../tests/vectors/rsa/two.pem")];
    let rsa = RsaKey::from_pem(files[usize::from(seed) % 2]).unwrap();
    NodeKeys { ed25519: NodeKey::from_seed([seed; 32]), rsa }
}

impl StepClock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(START.0), each_look: AtomicU64::new(0) })
    }

    pub(crate) fn step(&self, span: Duration) {
        self.now.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn move_with_each_look(&self, span: Duration) {
        self.each_look.store(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for StepClock {
    fn now(&self) -> Time {
        Time(self.now.fetch_add(self.each_look.load(Ordering::SeqCst), Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(futures_util::future::pending())
    }

    fn random(&self) -> [u8; 16] {
        [4; 16]
    }
}

impl Net {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn serve(&self, url: &str, document: &Value) {
        self.serve_response(url, ok(document));
    }

    pub(crate) fn serve_response(&self, url: &str, response: Response) {
        self.documents.lock().insert(url.to_owned(), response);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Transport for Net {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let is_signed = request.view().has_header("signature");
        if is_signed {
            *self.last_signed.lock() = Some(request.clone());
        }
        let (url, limits) = (request.url, request.limits);
        let gone = Response { status: 404, headers: vec![], body: Bytes::new() };
        let response = self.documents.lock().get(url.as_str()).cloned().unwrap_or(gone);
        let hidden = !is_signed && self.signed_only.lock().contains(url.as_str());
        let response = if hidden { Response { status: 401, ..ok(&json!({})) } } else { response };
        let down = *self.down.lock();
        Box::pin(async move {
            tokio::task::yield_now().await;
            match response {
                _ if down => Err(TransportError::TimedOut { url, deadline: limits.deadline }),
                long if long.body.len() > limits.bytes_max => {
                    Err(TransportError::TooLarge { url, bytes_max: limits.bytes_max })
                }
                response => Ok(response),
            }
        })
    }
}

impl Peer {
    pub(crate) fn new(base: &str, seed: u8) -> Self {
        Self { base: iri(base), keys: keys(seed) }
    }

    pub(crate) fn document(&self) -> Value {
        let (profile, keys) = (Profile::default(), Ring::first(self.keys.clone()));
        OurActor { base: &self.base, name: "peer", username: "peer", profile, keys: &keys }.to_json()
    }

    pub(crate) fn actor(&self) -> Iri {
        self.at("actor")
    }

    pub(crate) fn publish(&self, net: &Net) {
        net.serve(self.actor().as_str(), &self.document());
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer { key_id: self.at("actor#ed25519"), secret: SignerKey::Ed25519(self.keys.ed25519.clone()) }
    }

    pub(crate) fn rsa_signer(&self) -> Signer {
        Signer { key_id: self.at("actor#main-key"), secret: SignerKey::Rsa(self.keys.rsa.clone()) }
    }

    pub(crate) fn at(&self, path: &str) -> Iri {
        iri(&format!("{}{path}", self.base))
    }

    /// A Follow of `object`.
    pub(crate) fn follow(&self, object: &str) -> Value {
        json!({"id": self.at("activities/1"), "type": "Follow", "actor": self.actor(), "object": object})
    }
}

pub(crate) fn ok(document: &Value) -> Response {
    let headers = vec![("content-type".to_owned(), "application/activity+json; charset=utf-8".to_owned())];
    Response { status: 200, headers, body: document.to_string().into() }
}
