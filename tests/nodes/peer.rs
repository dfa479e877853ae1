//! A peer that is no node: it answers whatever it is told, remembers what it gets, and signs, also falsely.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::domains::identity::Iri;
use quickbeam::keyring::Ring;
use quickbeam::wire::digest::content_digest;
use quickbeam::wire::document::{OurActor, Profile};
use quickbeam::wire::key::{NodeKey, NodeKeys, PairSecret};
use quickbeam::wire::rsa::RsaKey;
use serde_json::{Value, json};

use crate::harness::{Node, eventually, listener};
use crate::http::{Answer, Call};
use crate::proof::{Got, false_of};

/// What this peer covers when nobody says otherwise: what a node demands, and the content type.
const COVERED: [&str; 4] = ["@method", "@target-uri", "content-digest", "content-type"];
const ALLOCATE: &str = "urn:quickbeam:ns#Allocate";

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Nothing is answered: the connection is held until the peer ends.
    pub(crate) silent: bool,
}

type Script = Box<dyn Fn(&Got) -> Reply + Send>;

/// Its own small server, key and actor document.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) key: Mutex<NodeKey>,
    state: Arc<State>,
    next: AtomicU32,
}

struct State {
    got: Mutex<Vec<Got>>,
    connections: AtomicUsize,
    /// Answers requests for the actor document.
    document: Mutex<Script>,
    /// Answers posts to the inbox.
    inbox: Mutex<Script>,
    ended: AtomicBool,
    /// Connections that get no answer.
    held: Mutex<Vec<TcpStream>>,
}

/// What a request is signed with.
#[derive(Debug, Clone)]
pub(crate) enum With {
    Key(NodeKey),
    Rsa(RsaKey),
    Secret(Vec<u8>),
}

/// A signed request in the making; each part can be falsified before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) body: Vec<u8>,
    pub(crate) covered: Vec<String>,
    pub(crate) created: Option<i64>,
    pub(crate) expires: Option<i64>,
    /// Further parameters, as they stand.
    pub(crate) more: String,
    pub(crate) key_id: String,
    pub(crate) with: With,
    pub(crate) content_type: String,
    pub(crate) digest: Option<String>,
    /// Signed as if it went there.
    pub(crate) target: String,
    /// Changed after it was signed.
    pub(crate) forged: bool,
    pub(crate) call: Call,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), silent: false }
    }

    pub(crate) fn json(value: &Value) -> Self {
        let headers = vec![("content-type", "application/activity+json".to_owned())];
        Self { status: 200, headers, body: value.to_string().into_bytes(), silent: false }
    }

    pub(crate) fn silence() -> Self {
        Self { silent: true, ..Self::status(0) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn write(&self, mut stream: TcpStream) {
        let mut head = format!("HTTP/1.1 {} Told\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "connection: close\r\n\r\n";
        // Whoever asked may be gone by now.
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&self.body)));
    }
}

pub(crate) fn now() -> i64 {
    SystemClock::default().now().seconds()
}

impl Peer {
    pub(crate) fn start() -> Self {
        let clock = SystemClock::default();
        let seed: [u8; 32] = [clock.random(), clock.random()].concat().try_into().unwrap();
        let (listener, key) = (listener(), NodeKey::from_seed(seed));
        let address = listener.local_addr().unwrap();
        let document = document(address, &key);
        let state = Arc::new(State {
            got: Mutex::default(),
            connections: AtomicUsize::new(0),
            document: Mutex::new(Box::new(move |_| Reply::json(&document))),
            inbox: Mutex::new(Box::new(|_| Reply::status(202))),
            ended: AtomicBool::new(false),
            held: Mutex::default(),
        });
        let serving = state.clone();
        std::thread::spawn(move || serve(&listener, &serving));
        Self { address, key: Mutex::new(key), state, next: AtomicU32::new(1) }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn actor(&self) -> String {
        format!("{}/actor", self.base())
    }

    /// What it answers to posts from now on.
    pub(crate) fn answers(&self, script: impl Fn(&Got) -> Reply + Send + 'static) {
        *self.state.inbox.lock() = Box::new(script);
    }

    /// What it answers to whoever wants its actor document.
    pub(crate) fn documents(&self, script: impl Fn(&Got) -> Reply + Send + 'static) {
        *self.state.document.lock() = Box::new(script);
    }

    /// A document as a peer of this address and key has it.
    pub(crate) fn document(&self) -> Value {
        document(self.address, &self.key.lock())
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.state.got.lock().clone()
    }

    /// Activities that were posted here, in the order in which they came, repeats included.
    pub(crate) fn activities(&self) -> Vec<Value> {
        let posted = self.got().into_iter().filter(|got| got.method == "POST");
        posted.map(|got| serde_json::from_slice(&got.body).unwrap()).collect()
    }

    /// Waits for an activity of this type, about this if that is said.
    #[track_caller]
    pub(crate) fn awaits(&self, verb: &str, about: Option<&str>) -> Value {
        let fits = |activity: &Value| {
            let object = activity["object"].as_str().or_else(|| activity["object"]["id"].as_str());
            let is_verb = activity["type"] == verb || activity["type"][0] == verb;
            is_verb && about.is_none_or(|about| object == Some(about))
        };
        eventually(&format!("a {verb} arrives at {}", self.authority()), || self.activities().into_iter().find(fits))
    }

    /// Every post so far has a signature of this node that is true.
    #[track_caller]
    pub(crate) fn all_signed_by(&self, node: &Node) {
        for got in self.got().iter().filter(|got| got.method == "POST") {
            assert_eq!(false_of(got, node), None);
        }
    }

    /// A new id of this peer.
    pub(crate) fn new_id(&self, kind: &str) -> String {
        format!("{}/{kind}/{}", self.base(), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// An activity of its own about something.
    pub(crate) fn activity(&self, verb: &str, object: Value) -> Value {
        json!({
            "@context": ["https://www.w3.org/ns/activitystreams", { "Allocate": ALLOCATE }],
            "id": self.new_id("activities"), "type": verb, "actor": self.actor(), "object": object,
        })
    }

    /// A Create of a new article of its own.
    pub(crate) fn create(&self, name: &str) -> Value {
        let id = self.new_id("articles");
        self.activity("Create", json!({ "id": id, "type": "Article", "name": name, "attributedTo": self.actor() }))
    }

    /// An Allocate of something of its own.
    pub(crate) fn allocate(&self, name: &str, target: &str) -> Value {
        let id = self.new_id("articles");
        let mut activity = self.activity("Allocate", json!({ "id": id, "type": "Article", "name": name }));
        activity["target"] = target.into();
        activity
    }

    pub(crate) fn sign(&self, node: &Node, activity: &Value) -> Signed {
        self.sign_bytes(node, activity.to_string().into_bytes())
    }

    /// A post to a node's inbox, signed as it should be.
    pub(crate) fn sign_bytes(&self, node: &Node, body: Vec<u8>) -> Signed {
        Signed {
            covered: COVERED.map(str::to_owned).to_vec(),
            created: Some(now()),
            expires: None,
            more: String::new(),
            key_id: format!("{}#ed25519", self.actor()),
            with: With::Key(self.key.lock().clone()),
            content_type: "application/activity+json".into(),
            digest: Some(content_digest(&body)),
            target: format!("{}/inbox", node.base()),
            forged: false,
            call: Call::post("/inbox"),
            body,
        }
    }

    /// Any other request, signed as it should be, with its idempotency key when it has one.
    pub(crate) fn sign_call(&self, node: &Node, call: Call, body: &str) -> Signed {
        let signed = self.sign_bytes(node, body.as_bytes().to_vec());
        let target = format!("{}{}", node.base(), call.target);
        let covers_key = call.names("idempotency-key");
        let signed = Signed { call, target, content_type: "application/json".into(), ..signed };
        let signed = if body.is_empty() { signed.without("content-digest") } else { signed };
        signed.change(|it| {
            if covers_key {
                it.covered.push("idempotency-key".into());
            }
            if body.is_empty() {
                it.digest = None;
            }
        })
    }

    /// Signs and sends.
    #[track_caller]
    pub(crate) fn send(&self, node: &Node, activity: &Value) -> Answer {
        self.sign(node, activity).send(node)
    }

    /// Sends what must be taken, ignored or known, as the answer's `status` says.
    #[track_caller]
    pub(crate) fn sends(&self, node: &Node, activity: &Value, status: &str) {
        let answer = self.send(node, activity).expect(202);
        assert_eq!(answer.json()["status"], status, "{answer}");
    }

    /// Follows the node, and waits for its Accept.
    #[track_caller]
    pub(crate) fn follows(&self, node: &Node) -> Value {
        let follow = self.activity("Follow", node.actor().into());
        self.sends(node, &follow, "taken");
        self.awaits("Accept", follow["id"].as_str());
        follow
    }

    /// Lets the node follow it: takes its Follow and accepts.
    #[track_caller]
    pub(crate) fn is_followed_by(&self, node: &Node) {
        node.post("/api/follow", &json!({ "peer": self.authority() })).expect(202);
        self.accepts_follow(node);
    }

    /// Answers the Follow that the node sends.
    #[track_caller]
    pub(crate) fn accepts_follow(&self, node: &Node) {
        let follow = self.awaits("Follow", None);
        self.sends(node, &self.activity("Accept", follow["id"].clone()), "taken");
        eventually("the node follows", || {
            let following = node.get("/following").expect(200).json();
            following["first"]["orderedItems"].as_array()?.contains(&self.actor().into()).then_some(())
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the server, which then sees that it has ended.
        drop(TcpStream::connect(self.address));
    }
}

/// With the RSA key that all peers here share: making one takes long.
pub(crate) fn keys(ed25519: &NodeKey) -> NodeKeys {
    let rsa = RsaKey::from_pem(include_str!("../vectors/rsa/one.pem")).unwrap();
    NodeKeys { ed25519: ed25519.clone(), rsa }
}

fn document(address: SocketAddr, key: &NodeKey) -> Value {
    let base = Iri::parse(&format!("http://{address}/")).unwrap();
    let (profile, keys) = (Profile::default(), Ring::first(keys(key)));
    OurActor { base: &base, name: "peer", username: "peer", profile, keys: &keys }.to_json()
}

fn serve(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        state.connections.fetch_add(1, Ordering::SeqCst);
        let (Ok(stream), state) = (stream, state.clone()) else { continue };
        std::thread::spawn(move || answer(stream, &state));
    }
}

fn answer(stream: TcpStream, state: &State) {
    drop(stream.set_read_timeout(Some(Duration::from_secs(30))));
    let Some(got) = stream.try_clone().ok().and_then(read) else { return };
    let script = if got.method == "POST" { &state.inbox } else { &state.document };
    let reply = {
        // Noted before the answer, so that whoever has the answer finds it noted.
        state.got.lock().push(got.clone());
        script.lock()(&got)
    };
    if reply.silent {
        state.held.lock().push(stream);
    } else {
        reply.write(stream);
    }
}

fn read(stream: TcpStream) -> Option<Got> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Got { method, target, headers, body })
}

impl Signed {
    pub(crate) fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Covers everything but this.
    pub(crate) fn without(mut self, component: &str) -> Self {
        self.covered.retain(|covered| covered != component);
        self
    }

    /// The request with its signature.
    pub(crate) fn call(&self) -> Call {
        let list: Vec<String> = self.covered.iter().map(|name| format!("\"{name}\"")).collect();
        let mut params = format!("({})", list.join(" "));
        params += &self.created.map(|at| format!(";created={at}")).unwrap_or_default();
        params += &self.expires.map(|at| format!(";expires={at}")).unwrap_or_default();
        params += &format!(";keyid=\"{}\"", self.key_id);
        params += &self.more;
        let lines: String = self.covered.iter().map(|name| format!("\"{name}\": {}\n", self.component(name))).collect();
        let base = format!("{lines}\"@signature-params\": {params}");
        let mut signature = match &self.with {
            With::Key(key) => key.sign(base.as_bytes()).to_vec(),
            With::Rsa(key) => key.sign(base.as_bytes()),
            With::Secret(secret) => PairSecret::new(secret).unwrap().sign(base.as_bytes()).to_vec(),
        };
        signature[0] ^= u8::from(self.forged);
        let mut call = self.call.clone().body(self.body.clone()).header("content-type", &self.content_type);
        if let Some(digest) = &self.digest {
            call = call.header("content-digest", digest);
        }
        call.header("signature-input", &format!("sig={params}"))
            .header("signature", &format!("sig=:{}:", STANDARD.encode(signature)))
    }

    /// A component's value as RFC 9421 section 2 derives it.
    fn component(&self, name: &str) -> String {
        let (_, rest) = self.target.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        match name {
            "@method" => self.call.method.clone(),
            "@target-uri" => self.target.clone(),
            "@authority" => authority.to_owned(),
            "@path" => format!("/{path}"),
            "@query" => "?".to_owned(),
            "content-digest" => self.digest.clone().unwrap_or_default(),
            "content-type" => self.content_type.clone(),
            other => {
                let found = self.call.headers.iter().find(|(given, _)| given == other);
                found.unwrap_or_else(|| panic!("{other} is not derived here")).1.clone()
            }
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, node: &Node) -> Answer {
        node.send(&self.call())
    }
}
