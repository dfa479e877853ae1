//! Load in a closed loop: each connection sends a prepared request, waits for its answer, and sends the next.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use quickbeam::wire::transport::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests one behind the other, so that sending one touches nothing but its own bytes.
#[derive(Default)]
pub(crate) struct Load {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) refused: usize,
    pub(crate) seconds: f64,
    latencies: Vec<f64>,
    /// One answer that was no 2xx.
    pub(crate) refusal: Option<String>,
}

/// A signed post to an inbox as it goes over the wire.
pub(crate) fn raw(request: &Request) -> Vec<u8> {
    let host = request.url.authority();
    let mut bytes = format!("POST {} HTTP/1.1\r\n", request.url.path()).into_bytes();
    if !request.headers.iter().any(|(name, _)| name == "host") {
        bytes.extend_from_slice(format!("host: {host}\r\n").as_bytes());
    }
    for (name, value) in &request.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body.len()).as_bytes());
    bytes.extend_from_slice(&request.body);
    bytes
}

impl Load {
    pub(crate) fn push(&mut self, request: &[u8]) {
        self.bytes.extend_from_slice(request);
        self.ends.push(self.bytes.len());
    }

    /// With the requests of another behind its own.
    pub(crate) fn then(mut self, other: Self) -> Self {
        let before = self.bytes.len();
        self.bytes.extend(other.bytes);
        self.ends.extend(other.ends.into_iter().map(|end| before + end));
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }

    /// Sends until the requests or the time are used up.
    pub(crate) fn send(self, to: SocketAddr, connections: usize, span: Duration) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shared = Rc::new(Shared {
            load: self,
            next: Cell::new(0),
            clock: SystemClock::default(),
            span,
            found: RefCell::new(Outcome::empty()),
        });
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let connect = |_| TcpStream::connect(to);
            let streams = futures_util::future::try_join_all((0..connections).map(connect)).await.unwrap();
            let start = shared.clock.monotonic();
            let loops = streams.into_iter().map(|stream| tokio::task::spawn_local(shared.clone().run(stream, start)));
            for done in futures_util::future::join_all(loops).await {
                done.unwrap();
            }
            let mut found = shared.found.replace(Outcome::empty());
            found.seconds = (shared.clock.monotonic() - start).as_secs_f64();
            found.latencies.sort_unstable_by(f64::total_cmp);
            found
        })
    }
}

struct Shared {
    load: Load,
    next: Cell<usize>,
    clock: SystemClock,
    span: Duration,
    found: RefCell<Outcome>,
}

impl Shared {
    async fn run(self: Rc<Self>, mut stream: TcpStream, start: Duration) {
        stream.set_nodelay(true).unwrap();
        let mut buffer = Vec::with_capacity(4096);
        loop {
            let number = self.next.replace(self.next.get() + 1);
            let sent = self.clock.monotonic();
            let Some(request) = self.load.get(number).filter(|_| sent - start < self.span) else { return };
            stream.write_all(request).await.unwrap();
            let ok = answer(&mut stream, &mut buffer).await;
            self.found.borrow_mut().note(ok, &buffer, self.clock.monotonic() - sent);
            buffer.clear();
        }
    }
}

/// Reads one answer to its end; true for a 2xx.
pub(super) async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server hung up");
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let (head, body) = buffer.split_at(head + 4);
        let whole = match field(head, b"content-length: ") {
            Some(length) => body.len() >= number(length, 10),
            // An answer in chunks, or none at all as for 204.
            None => field(head, b"transfer-encoding: ").is_none() || all_chunks(body),
        };
        if whole {
            return buffer[9] == b'2';
        }
    }
}

/// What stands behind this name in the head, to its end.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name))?;
    Some(&head[at + name.len()..])
}

/// The digits at the beginning.
fn number(text: &[u8], base: u32) -> usize {
    let digits = text.iter().map_while(|byte| char::from(*byte).to_digit(base));
    digits.fold(0, |sum, digit| sum * base as usize + digit as usize)
}

fn all_chunks(mut body: &[u8]) -> bool {
    loop {
        let Some(line) = body.windows(2).position(|window| window == b"\r\n") else { return false };
        let length = number(body, 16);
        let Some(rest) = body.get(line + 2 + length + 2..) else { return false };
        if length == 0 {
            return true;
        }
        body = rest;
    }
}

impl Outcome {
    fn empty() -> Self {
        Self { answered: 0, refused: 0, seconds: 0.0, latencies: Vec::new(), refusal: None }
    }

    fn note(&mut self, ok: bool, answer: &[u8], took: Duration) {
        if ok {
            self.answered += 1;
            self.latencies.push(took.as_secs_f64());
        } else {
            self.refused += 1;
            self.refusal = Some(String::from_utf8_lossy(answer).into_owned());
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    /// In milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).map_or(0.0, |seconds| seconds * 1e3)
    }
}
