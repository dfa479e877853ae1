//! Steps call a service that misbehaves in every way; what is asked of it is what was declared, and no secret is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::actors::ambient;
use crate::clock::SystemClock;
use crate::domains::trace::Context;
use crate::wire::address::{AddressPolicy, AllowList};
use crate::wire::fetch::HttpTransport;

const SECRET: &str = "do-not-tell-anybody";

/// What a service does with the one request that it gets.
#[derive(Clone, Copy)]
enum Does {
    Answer(&'static str),
    /// Sends the head, then so many bytes.
    Floods(&'static str, usize),
    /// Reads, and says nothing.
    Nothing,
}

struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<String>>,
    sent: Arc<AtomicUsize>,
}

async fn service(does: Does) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, sent) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
    let (seen_by, sent_by) = (seen.clone(), sent.clone());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        while !seen_by.lock().contains("\r\n\r\n") {
            let count = stream.read(&mut buffer).await.unwrap();
            seen_by.lock().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        match does {
            Does::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Does::Floods(head, bytes) => {
                stream.write_all(head.as_bytes()).await.unwrap();
                let piece = [b'x'; 64 * 1024];
                while sent_by.load(Ordering::Relaxed) < bytes {
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                    sent_by.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
            Does::Nothing => while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {},
        }
    });
    Service { address, seen, sent }
}

fn caller(allowed: &[SocketAddr]) -> Caller {
    let allow = allowed.iter().map(|address| address.to_string().parse().map(|_: SocketAddr| address.to_string()));
    let allow = allow.map(|text| crate::domains::identity::Authority::parse(&text.unwrap()).unwrap()).collect();
    let policy = AddressPolicy { allow, list: AllowList::Http, ..AddressPolicy::default() };
    let base = Iri::parse("https://here.example/").unwrap();
    let transport = Arc::new(HttpTransport::new(policy, SystemClock::shared(), &base).unwrap());
    let secrets = [("api".to_owned(), Secret::new(SECRET)), ("raw".to_owned(), Secret::new([0xff, 0xfe]))];
    Caller { transport, secrets: Arc::new(secrets.into()) }
}

fn request(address: SocketAddr) -> effects::Request {
    let url = format!("http://{address}/orders?n=1");
    let (method, headers, ok) = ("POST".to_owned(), BTreeMap::new(), Vec::new());
    effects::Request { method, url, headers, body: Some(json!({ "n": 1 })), ok, timeout: Some(20_000) }
}

fn place() -> Place {
    Place { step: "call".into(), item: None, attempt: 1, key: "f/1/call/-/do".into() }
}

fn secret(name: &str) -> HeaderValue {
    HeaderValue::Secret { secret: name.into(), prefix: "Bearer ".into() }
}

#[tokio::test]
async fn an_answer_of_a_gigabyte_is_refused_before_it_is_read() {
    let gigabyte = 1 << 30;
    for head in
        ["HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]
    {
        let service = service(Does::Floods(head, gigabyte)).await;
        let report = caller(&[service.address]).call(request(service.address), &place()).await;
        let Report::Unusable { reason } = &report else { panic!("{report:?}") };
        assert!(reason.contains("longer than 262144 bytes"), "{reason}");
        assert!(service.sent.load(Ordering::Relaxed) < gigabyte / 32, "what fits into the sockets, and no more");
    }
}

#[tokio::test]
async fn a_service_that_says_nothing_has_the_time_of_its_step() {
    let service = service(Does::Nothing).await;
    let request = effects::Request { timeout: Some(50), ..request(service.address) };
    let report = caller(&[service.address]).call(request, &place()).await;
    assert!(matches!(&report, Report::TimedOut { reason } if reason.contains("50 ms")), "{report:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_leads_nowhere() {
    let elsewhere = service(Does::Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let location =
        format!("HTTP/1.1 307 Over There\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    let service = service(Does::Answer(location.leak())).await;
    let report = caller(&[service.address, elsewhere.address]).call(request(service.address), &place()).await;
    assert_eq!(report, Report::Replied { status: 307, body: json!("") });
    assert_eq!(*elsewhere.seen.lock(), "");
}

#[tokio::test]
async fn a_request_has_what_its_step_says_and_the_key_of_its_effect() {
    let service = service(Does::Answer("HTTP/1.1 201 Made\r\nContent-Length: 8\r\n\r\n{\"id\":7}")).await;
    let headers = [("authorization".to_owned(), secret("api")), ("x-n".to_owned(), HeaderValue::Text("7".into()))];
    let request = effects::Request { headers: headers.into(), ..request(service.address) };
    let trace = Context::begin([7; 16]);
    let (caller, place) = (caller(&[service.address]), place());
    let report = ambient::within(Some(trace.clone()), caller.call(request, &place)).await;
    assert_eq!(report, Report::Replied { status: 201, body: json!({ "id": 7 }) });
    let seen = service.seen.lock().clone();
    assert!(seen.starts_with("POST /orders?n=1 HTTP/1.1\r\n"), "{seen}");
    let (authorization, parent) =
        (format!("authorization: Bearer {SECRET}"), format!("traceparent: {}", trace.parent()));
    let lines =
        ["x-n: 7", "content-type: application/json", "idempotency-key: \"f/1/call/-/do\"", &authorization, &parent];
    for line in lines {
        assert!(seen.contains(&format!("{line}\r\n")), "{line} is missing in {seen}");
    }
}

#[tokio::test]
async fn a_text_is_sent_as_a_text_and_the_step_has_the_last_word_on_its_kind() {
    let kinds = [None, Some("text/csv")];
    for kind in kinds {
        let service = service(Does::Answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")).await;
        let headers = kind.map(|kind| ("content-type".to_owned(), HeaderValue::Text(kind.into())));
        let headers = headers.into_iter().collect();
        let request = effects::Request { headers, body: Some(json!("a,b")), ..request(service.address) };
        let report = caller(&[service.address]).call(request, &place()).await;
        assert_eq!(report, Report::Replied { status: 200, body: json!("fine") }, "what is no JSON is a text");
        let expected = kind.unwrap_or("text/plain; charset=utf-8");
        let seen = service.seen.lock().clone();
        assert_eq!(seen.matches("content-type: ").count(), 1, "{seen}");
        assert!(seen.contains(&format!("content-type: {expected}\r\n")), "{seen}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_and_says_why() {
    let service = service(Does::Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let with = |name: &str| {
        let headers = [("authorization".to_owned(), secret(name))].into();
        effects::Request { headers, ..request(service.address) }
    };
    let caller_of = || caller(&[service.address]);
    let cases = [
        (caller_of(), with("gone"), "add [secrets.gone]"),
        (caller_of(), with("raw"), "no text"),
        (caller_of(), effects::Request { method: "TRACE".into(), ..request(service.address) }, "`TRACE` is no method"),
        (caller(&[]), request(service.address), "under [http] allow"),
    ];
    for (caller, request, expected) in cases {
        let report = caller.call(request, &place()).await;
        assert!(
            matches!(&report, Report::Impossible { reason } if reason.contains(expected)),
            "{expected}: {report:?}"
        );
    }
    assert_eq!(*service.seen.lock(), "");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_line_of_the_log_and_no_report_has_a_secret() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone()).finish();
    let guard = tracing::subscriber::set_default(log);
    tracing::info!("the log is read");
    let broken = service(Does::Answer("HTTP/1.1 nonsense\r\n\r\n")).await;
    for service in [service(Does::Answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")).await, broken] {
        let headers = [("authorization".to_owned(), secret("api"))].into();
        let request = effects::Request { headers, ..request(service.address) };
        let caller = caller(&[service.address]);
        assert!(!format!("{:?} {request:?}", caller.secrets).contains(SECRET));
        let report = caller.call(request, &place()).await;
        assert!(!format!("{report:?}").contains(SECRET), "{report:?}");
        assert!(service.seen.lock().contains(SECRET), "it was sent");
    }
    drop(guard);
    let said = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert!(said.contains("the log is read") && !said.contains(SECRET), "{said}");
}
