//! 256 authorities in one server: `127.0.1.1:PORT` and on, each with its own actor document, and a key to sign with.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use quickbeam::domains::activity::ACTIVITY_STREAMS;
use quickbeam::domains::identity::Iri;
use quickbeam::keyring::Ring;
use quickbeam::wire::document::{OurActor, Profile};
use quickbeam::wire::key::{NodeKey, NodeKeys};
use quickbeam::wire::proof::prove;
use quickbeam::wire::rsa::RsaKey;
use quickbeam::wire::sign::{Signer, SignerKey};
use quickbeam::wire::transport::{Limits, Request};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::load::{Load, raw};
use super::server::{Asked, next, serve};

pub(crate) const AUTHORITIES: usize = 256;
/// So that a body is about as long as that of the floor's first measurement: 800 bytes.
const CONTENT_BYTES: usize = 330;

/// By what a request shows whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 9421.
    Ed25519,
    Rsa,
    /// draft-cavage with RSA.
    Draft,
    /// FEP-8b32 in the body, and no signature of the request.
    Proof,
}

impl Scheme {
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "ed25519" => Self::Ed25519,
            "rsa" => Self::Rsa,
            "draft" => Self::Draft,
            "proof" => Self::Proof,
            _ => panic!("{word} is none of ed25519, rsa, draft, proof"),
        }
    }
}

/// Those who sign.
pub(crate) struct Peers {
    pub(crate) signers: Vec<Peer>,
    clock: SystemClock,
}

/// One authority.
pub(crate) struct Peer {
    pub(crate) authority: String,
    pub(crate) key: NodeKey,
    base: Iri,
    signer: Signer,
    rsa: Signer,
    /// The id under which the ed25519 key makes proofs.
    proof_id: Iri,
}

impl Peers {
    /// Makes the keys and starts the server, which lives as long as the benchmark.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let signers: Vec<Peer> = (0..AUTHORITIES).map(|number| Peer::new(number, port)).collect();
        let documents = signers.iter().map(|peer| (peer.authority.clone(), peer.document()));
        let documents: Arc<BTreeMap<String, String>> = Arc::new(documents.collect());
        std::thread::spawn(move || serve(listener, |stream| converse(stream, documents.clone())));
        Self { signers, clock: SystemClock::default() }
    }

    pub(crate) fn authorities(&self) -> Vec<String> {
        self.signers.iter().map(|peer| peer.authority.clone()).collect()
    }

    /// `count` Creates to this inbox, each with ids of its own, signed now.
    pub(crate) fn creates(&self, inbox: SocketAddr, count: usize, round: usize, scheme: Scheme) -> Load {
        let part = |from: usize, to: usize| self.some_creates(inbox, from..to, round, scheme);
        // RSA takes its time.
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| part(count / 2, count));
            (part(0, count / 2), second.join().unwrap())
        });
        first.then(second)
    }

    fn some_creates(&self, inbox: SocketAddr, numbers: Range<usize>, round: usize, scheme: Scheme) -> Load {
        let content = "x".repeat(CONTENT_BYTES);
        let mut load = Load::default();
        for number in numbers {
            let peer = &self.signers[number % AUTHORITIES];
            let base = peer.base.as_str();
            let activity = json!({
                "@context": [ACTIVITY_STREAMS],
                "id": format!("{base}activities/{round}-{number}"),
                "type": "Create",
                "actor": format!("{base}actor"),
                "to": ["https://www.w3.org/ns/activitystreams#Public"],
                "published": self.clock.now().to_string(),
                "object": {
                    "type": "Note",
                    "id": format!("{base}notes/{round}-{number}"),
                    "attributedTo": format!("{base}actor"),
                    "content": content,
                },
            });
            let body = match scheme {
                Scheme::Proof => prove(&activity, &peer.key, &peer.proof_id, self.clock.now()).unwrap().to_string(),
                _ => activity.to_string(),
            };
            load.push(&self.signed(peer, inbox, body, scheme));
        }
        load
    }

    /// The answer to a Follow of the node, whose actor is at `inbox`.
    pub(crate) fn accept(&self, peer: &Peer, inbox: SocketAddr, follow: &str) -> Vec<u8> {
        let base = peer.base.as_str();
        let accept = json!({
            "@context": [ACTIVITY_STREAMS], "id": format!("{base}activities/accept"), "type": "Accept",
            "actor": format!("{base}actor"), "to": [format!("http://{inbox}/actor")], "object": follow,
        });
        self.signed(peer, inbox, accept.to_string(), Scheme::Ed25519)
    }

    /// A whole request as it goes over the wire.
    fn signed(&self, peer: &Peer, inbox: SocketAddr, body: String, scheme: Scheme) -> Vec<u8> {
        let limits = Limits { bytes_max: 0, deadline: Duration::ZERO };
        let url = Iri::parse(&format!("http://{inbox}/inbox")).unwrap();
        let request = Request::post(url, "application/activity+json", body, limits);
        let now = self.clock.now();
        let request = match scheme {
            Scheme::Ed25519 => peer.signer.sign(request, now).unwrap(),
            Scheme::Rsa => peer.rsa.sign(request, now).unwrap(),
            Scheme::Draft => peer.rsa.sign_draft(request, now).unwrap(),
            Scheme::Proof => request,
        };
        raw(&request)
    }
}

impl Peer {
    fn new(number: usize, port: u16) -> Self {
        // 1 to 250 in each of the networks 127.0.1.x and 127.0.2.x.
        let authority = format!("127.0.{}.{}:{port}", 1 + number / 250, 1 + number % 250);
        let base = Iri::parse(&format!("http://{authority}/")).unwrap();
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let key = NodeKey::from_seed(seed);
        let id = |fragment: &str| Iri::parse(&format!("{base}actor#{fragment}")).unwrap();
        let signer = Signer { key_id: id("ed25519-pem"), secret: SignerKey::Ed25519(key.clone()) };
        let rsa = Signer { key_id: id("main-key"), secret: SignerKey::Rsa(rsa_key()) };
        let proof_id = id("ed25519");
        Self { authority, key, base, signer, rsa, proof_id }
    }

    fn document(&self) -> String {
        let keys = Ring::first(NodeKeys { ed25519: self.key.clone(), rsa: rsa_key() });
        let profile = Profile::default();
        let actor = OurActor { base: &self.base, name: "peer", username: "peer", profile, keys: &keys };
        let mut document = actor.to_json();
        // Fedify checks signatures by ed25519 only with keys that stand there too.
        let pem = json!({
            "id": self.signer.key_id.as_str(), "owner": document["id"], "publicKeyPem": self.key.public_pem(),
        });
        document["publicKey"] = json!([document["publicKey"], pem]);
        document.to_string()
    }
}

/// Making one takes long.
fn rsa_key() -> RsaKey {
    RsaKey::from_pem(include_str!("../../tests/vectors/rsa/one.pem")).unwrap()
}

/// Answers a GET with the document of the host that was asked, and takes whatever is posted.
async fn converse(mut stream: TcpStream, documents: Arc<BTreeMap<String, String>>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(Asked { is_get, host, .. }) = next(&mut stream, &mut buffer).await? {
        let answer = match documents.get(&host) {
            Some(document) if is_get => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/activity+json\r\ncontent-length: {}\r\n\r\n{document}",
                document.len()
            ),
            _ => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
