//! Load from a process of its own: requests made from one form, in a closed loop, every answer looked at.
//!
//! Whoever is measured gets the same load from the same code, and none of its work is done in the process that counts.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::load::answer;

const WORD: &str = "call";
/// What stands before the id in an answer of a node.
const ID: &[u8] = b"\"id\":\"";

/// What is sent. In path, headers and body `{n}` is the number of the request, `{key}` that number counted round, and
/// `{id}` a line of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) address: SocketAddr,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// An answer without this text is a refusal, whatever its status.
    pub(crate) expect: String,
    pub(crate) connections: usize,
    /// The number of the first request.
    pub(crate) first: u64,
    pub(crate) keys: u64,
    /// How many requests, as long as there is time.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    pub(crate) ids: Option<PathBuf>,
    /// Where the ids go that the answers name.
    pub(crate) collect: Option<PathBuf>,
}

/// What came of it; times in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
    /// One answer that was not as it should be.
    pub(crate) refusal: Option<String>,
}

impl Found {
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

impl Call {
    /// `POST` of JSON, for as long as somebody says later.
    pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Self {
        Self {
            address,
            method: "POST".into(),
            path: path.into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.into(),
            expect: String::new(),
            connections: 1,
            first: 0,
            keys: 1,
            count: u64::MAX,
            seconds: 3_600.0,
            ids: None,
            collect: None,
        }
    }

    pub(crate) fn get(address: SocketAddr, path: &str) -> Self {
        Self { method: "GET".into(), headers: Vec::new(), ..Self::post(address, path, "") }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `POST` of this JSON.
    pub(crate) fn with_body(self, body: &str) -> Self {
        let Self { address, path, headers, .. } = self;
        let mut post = Self::post(address, &path, body);
        post.headers.extend(headers);
        post
    }

    pub(crate) fn expecting(self, expect: &str) -> Self {
        Self { expect: expect.into(), ..self }
    }

    /// Sends it all from a new process, and stops the benchmark when an answer was not as it should be.
    pub(crate) fn send(&self) -> Found {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(WORD).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(self).unwrap()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "the load ended early");
        let found: Found = serde_json::from_slice(&done.stdout).unwrap();
        if let Some(refusal) = &found.refusal {
            panic!(
                "{} {}: {} refused, {} as they should: {refusal}",
                self.method, self.path, found.refused, found.answered
            );
        }
        found
    }

    fn request(&self, number: u64, id: &str) -> String {
        let (n, key) = ((self.first + number).to_string(), (number % self.keys).to_string());
        let fill = |text: &str| text.replace("{n}", &n).replace("{key}", &key).replace("{id}", id);
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", fill(value))).collect();
        let (method, path, body) = (&self.method, fill(&self.path), fill(&self.body));
        let (address, length) = (self.address, body.len());
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n{body}")
    }
}

/// The load itself, when this is the process for it.
pub(crate) fn serve() -> bool {
    if std::env::args().nth(1).as_deref() != Some(WORD) {
        return false;
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let found = run(serde_json::from_str(&text).unwrap());
    println!("{}", serde_json::to_string(&found).unwrap());
    true
}

struct Shared {
    call: Call,
    ids: Vec<String>,
    next: Cell<u64>,
    clock: SystemClock,
    found: RefCell<Found>,
    latencies: RefCell<Vec<f64>>,
    collect: RefCell<Option<BufWriter<File>>>,
}

fn run(call: Call) -> Found {
    let ids = call.ids.as_ref().map(|path| std::fs::read_to_string(path).unwrap());
    let ids: Vec<String> = ids.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    let collect = call.collect.as_ref().map(|path| BufWriter::new(File::create(path).unwrap()));
    let shared = Rc::new(Shared {
        call,
        ids,
        next: Cell::new(0),
        clock: SystemClock::default(),
        found: RefCell::default(),
        latencies: RefCell::default(),
        collect: RefCell::new(collect),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let connect = |_| TcpStream::connect(shared.call.address);
        let streams = futures_util::future::try_join_all((0..shared.call.connections).map(connect)).await.unwrap();
        let start = shared.clock.monotonic();
        let callers = streams.into_iter().map(|stream| tokio::task::spawn_local(shared.clone().caller(stream, start)));
        for done in futures_util::future::join_all(callers).await {
            done.unwrap();
        }
        shared.found.borrow_mut().seconds = (shared.clock.monotonic() - start).as_secs_f64();
    });
    if let Some(mut collect) = shared.collect.take() {
        collect.flush().unwrap();
    }
    shared.sum()
}

impl Shared {
    async fn caller(self: Rc<Self>, mut stream: TcpStream, start: Duration) {
        stream.set_nodelay(true).unwrap();
        let mut buffer = Vec::with_capacity(4096);
        loop {
            let number = self.next.replace(self.next.get() + 1);
            let sent = self.clock.monotonic();
            let over = (sent - start).as_secs_f64() >= self.call.seconds;
            let id = self.ids.get(number as usize).map_or("", String::as_str);
            let no_id = self.call.ids.is_some() && id.is_empty();
            if over || no_id || number >= self.call.count {
                return;
            }
            stream.write_all(self.call.request(number, id).as_bytes()).await.unwrap();
            let ok = answer(&mut stream, &mut buffer).await;
            self.note(ok, &buffer, self.clock.monotonic() - sent);
            buffer.clear();
        }
    }

    fn note(&self, ok: bool, answer: &[u8], took: Duration) {
        let mut found = self.found.borrow_mut();
        if !ok || !contains(answer, self.call.expect.as_bytes()) {
            found.refused += 1;
            found.refusal = Some(String::from_utf8_lossy(answer).into_owned());
            return;
        }
        found.answered += 1;
        self.latencies.borrow_mut().push(took.as_secs_f64() * 1e3);
        if let Some(collect) = &mut *self.collect.borrow_mut() {
            let at =
                answer.windows(ID.len()).position(|window| window == ID).expect("the answer names an id") + ID.len();
            let id = answer[at..].split(|byte| *byte == b'"').next().unwrap();
            collect.write_all(id).unwrap();
            collect.write_all(b"\n").unwrap();
        }
    }

    fn sum(&self) -> Found {
        let mut latencies = self.latencies.take();
        latencies.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (latencies.len() as f64 * share) as usize;
            latencies.get(place.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Found { p50: at(0.5), p99: at(0.99), longest: at(1.0), ..self.found.borrow().clone() }
    }
}

fn contains(answer: &[u8], text: &[u8]) -> bool {
    text.is_empty() || answer.windows(text.len()).any(|window| window == text)
}
