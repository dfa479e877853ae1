//! Many actors on many authorities, all in one server: each has a document and an inbox, and some of them have no manners.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::domains::activity::ACTIVITY_STREAMS;
use quickbeam::domains::identity::Iri;
use quickbeam::wire::key::NodeKey;
use quickbeam::wire::sign::{Signer, SignerKey};
use quickbeam::wire::transport::{Limits, Request};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::load::{Load, raw};
use super::server::{Asked, next, serve};

/// Actors of each authority come one after the other, authorities from `127.0.1.1` on, 250 to a network.
const IN_A_NETWORK: usize = 250;
/// How much somebody hostile answers, if nobody cuts it.
const ENDLESS: usize = 64 << 20;

/// How an authority answers to what is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    Good,
    /// One byte of its answer a second.
    Slow,
    /// It accepts connections and never answers.
    Dead,
    /// An answer without an end.
    Hostile,
}

/// Those who follow.
pub(crate) struct Crowd {
    port: u16,
    authorities: usize,
    /// Of each authority.
    actors: usize,
    key: NodeKey,
    state: Arc<State>,
}

struct State {
    public_key: String,
    posted: AtomicUsize,
    manners: Mutex<BTreeMap<String, Manners>>,
    /// Whether arrivals are noted one by one.
    noting: Mutex<bool>,
    arrivals: Mutex<Vec<Arrival>>,
    clock: SystemClock,
}

/// An activity that came.
pub(crate) struct Arrival {
    pub(crate) authority: String,
    /// What stands behind `"name":"` in it.
    pub(crate) name: String,
    pub(crate) at: Duration,
}

impl Crowd {
    /// Starts the server, which lives as long as the benchmark.
    pub(crate) fn start(authorities: usize, actors: usize) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = NodeKey::from_seed([5; 32]);
        let state = Arc::new(State {
            public_key: key.public_multikey(),
            posted: AtomicUsize::new(0),
            manners: Mutex::default(),
            noting: Mutex::new(false),
            arrivals: Mutex::default(),
            clock: SystemClock::default(),
        });
        let serving = state.clone();
        std::thread::spawn(move || serve(listener, |stream| converse(stream, serving.clone())));
        Self { port, authorities, actors, key, state }
    }

    pub(crate) fn len(&self) -> usize {
        self.authorities * self.actors
    }

    pub(crate) fn authority(&self, number: usize) -> String {
        format!("127.0.{}.{}:{}", 1 + number / IN_A_NETWORK, 1 + number % IN_A_NETWORK, self.port)
    }

    pub(crate) fn authorities(&self) -> Vec<String> {
        (0..self.authorities).map(|number| self.authority(number)).collect()
    }

    pub(crate) fn inboxes(&self) -> Vec<String> {
        (0..self.len()).map(|number| format!("{}/inbox", self.actor(number))).collect()
    }

    fn actor(&self, number: usize) -> String {
        format!("http://{}/users/{}", self.authority(number / self.actors), number % self.actors)
    }

    /// A Follow of the node at `inbox` by every one of them.
    pub(crate) fn follows(&self, inbox: SocketAddr) -> Load {
        let mut load = Load::default();
        for number in 0..self.len() {
            let actor = self.actor(number);
            let follow = json!({
                "@context": [ACTIVITY_STREAMS], "id": format!("{actor}/follow"), "type": "Follow", "actor": actor,
                "object": format!("http://{inbox}/actor"),
            });
            load.push(&self.signed(&actor, inbox, follow.to_string()));
        }
        load
    }

    fn signed(&self, actor: &str, inbox: SocketAddr, body: String) -> Vec<u8> {
        let key_id = Iri::parse(&format!("{actor}#ed25519")).unwrap();
        let signer = Signer { key_id, secret: SignerKey::Ed25519(self.key.clone()) };
        let url = Iri::parse(&format!("http://{inbox}/inbox")).unwrap();
        let limits = Limits { bytes_max: 0, deadline: Duration::ZERO };
        let request = Request::post(url, "application/activity+json", body, limits);
        raw(&signer.sign(request, self.state.clock.now()).unwrap())
    }

    /// On the clock by which arrivals are noted.
    pub(crate) fn now(&self) -> Duration {
        self.state.clock.monotonic()
    }

    pub(crate) fn posted(&self) -> usize {
        self.state.posted.load(Ordering::Relaxed)
    }

    /// Returns when so many were posted in all.
    pub(crate) fn wait_for(&self, posted: usize) {
        while self.posted() < posted {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn behave(&self, number: usize, manners: Manners) {
        self.state.manners.lock().insert(self.authority(number), manners);
    }

    /// Notes what comes from now on.
    pub(crate) fn note(&self) {
        *self.state.noting.lock() = true;
    }

    /// What has come since.
    pub(crate) fn noted(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.state.arrivals.lock())
    }
}

async fn converse(mut stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(Asked { is_get, path, host, body }) = next(&mut stream, &mut buffer).await? {
        if is_get {
            let document = document(&format!("http://{host}{path}"), &host, &state.public_key);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/activity+json\r\ncontent-length:";
            stream.write_all(format!("{head} {}\r\n\r\n{document}", document.len()).as_bytes()).await?;
        } else {
            let manners = state.manners.lock().get(&host).copied().unwrap_or(Manners::Good);
            if manners == Manners::Good {
                state.take(&host, &body);
            }
            manners.answer(&mut stream).await?;
        }
    }
    Ok(())
}

impl State {
    fn take(&self, host: &str, body: &[u8]) {
        if *self.noting.lock() {
            let text = String::from_utf8_lossy(body);
            let name = text.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let arrival = Arrival { authority: host.to_owned(), name: name.to_owned(), at: self.clock.monotonic() };
            self.arrivals.lock().push(arrival);
        }
        self.posted.fetch_add(1, Ordering::Relaxed);
    }
}

impl Manners {
    async fn answer(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let good = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        match self {
            Self::Good => stream.write_all(good).await,
            Self::Slow => {
                for byte in good {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Self::Dead => std::future::pending().await,
            Self::Hostile => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n").as_bytes()).await?;
                let chunk = [b'x'; 16 * 1024];
                for _ in 0..ENDLESS / chunk.len() {
                    stream.write_all(&chunk).await?;
                }
                Ok(())
            }
        }
    }
}

/// As nodes like this one show theirs.
fn document(id: &str, host: &str, public_key: &str) -> String {
    json!({
        "@context": [ACTIVITY_STREAMS, "https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": id, "type": "Person", "preferredUsername": host, "inbox": format!("{id}/inbox"),
        "assertionMethod": [{
            "id": format!("{id}#ed25519"), "type": "Multikey", "controller": id, "publicKeyMultibase": public_key,
        }],
    })
    .to_string()
}
