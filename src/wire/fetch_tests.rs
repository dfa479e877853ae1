//! Fetching from a local listener that misbehaves in every way.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::SystemClock;
use crate::wire::transport::Limits;

/// Answers one connection with `answer`, then keeps it open when `hang`. Gives back what it was sent.
async fn server(answer: Vec<u8>, hang: bool) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the client went away");
            seen.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(&answer).await.unwrap();
        if hang {
            while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        }
        String::from_utf8(seen).unwrap()
    });
    (address, task)
}

/// A listener that can tell at any time whether somebody connected.
fn unused_listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn transport(allow: &[&str], own_listeners: Vec<SocketAddr>) -> HttpTransport {
    let allow = allow.iter().map(|text| Authority::parse(text).unwrap()).collect();
    let base = Iri::parse("https://blog.example/").unwrap();
    HttpTransport::new(AddressPolicy { allow, own_listeners, ..AddressPolicy::default() }, SystemClock::shared(), &base)
        .unwrap()
}

fn get(url: &str, deadline_ms: u64) -> Request {
    let limits = Limits { bytes_max: 1_000, deadline: Duration::from_millis(deadline_ms) };
    Request::get(Iri::parse(url).unwrap(), "application/activity+json", limits)
}

/// Lookups so far of the name that moves.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// A name server that moves `turning.example` inside when it is asked again, and has both for `both.example`.
fn rebinding(host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    let (outside, inside) = (SocketAddr::from(([8, 8, 8, 8], port)), SocketAddr::from(([127, 0, 0, 1], port)));
    let found = match host.as_str() {
        "both.example" => vec![inside, outside],
        _ if LOOKUPS.fetch_add(1, Ordering::SeqCst) == 0 => vec![outside],
        _ => vec![inside],
    };
    Box::pin(async move { Ok(found) })
}

/// The addresses at which a request for this URL may knock, or none.
async fn resolved(url: &str) -> Option<Vec<SocketAddr>> {
    let destination = Destination::of(&Iri::parse(url).unwrap());
    let name = destination.host.parse().unwrap();
    let resolver = Resolver { policy: Arc::default(), lookup: rebinding };
    let found = DESTINATION.scope(destination, async { resolver.resolve(name).await }).await;
    found.ok().map(Iterator::collect)
}

#[tokio::test]
async fn a_name_that_is_moved_inside_after_its_first_answer_leads_nowhere() {
    let listener = unused_listener();
    let port = listener.local_addr().unwrap().port();
    let url = format!("https://turning.example:{port}/actor");
    let outside: SocketAddr = format!("8.8.8.8:{port}").parse().unwrap();
    assert_eq!(resolved(&url).await, Some(vec![outside]));
    assert_eq!(resolved(&url).await, None);
    // The one that is inside is not left for when the other does not answer.
    assert_eq!(resolved(&format!("https://both.example:{port}/")).await, Some(vec![outside]));
    let (base, clock) = (Iri::parse("https://blog.example/").unwrap(), SystemClock::shared());
    let transport = HttpTransport::resolving(AddressPolicy::default(), clock, &base, rebinding).unwrap();
    for _ in 0..3 {
        let error = transport.send(get(&url, PATIENT)).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused(AddressRefused::NotGlobal { .. })), "{error}");
    }
    assert_eq!(LOOKUPS.load(Ordering::SeqCst), 5, "an answer was kept from one request to the next");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody connected");
}

/// Long enough never to matter.
const PATIENT: u64 = 20_000;

#[tokio::test]
async fn a_listed_authority_is_fetched_and_told_who_asks() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Odd: \xff\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let (address, seen) = server(answer, false).await;
    let transport = transport(&[&address.to_string()], vec![]);
    let response = transport.send(get(&format!("http://{address}/actor?x#y"), PATIENT)).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (200, &b"ok"[..]));
    assert_eq!((response.header("content-type"), response.header("x-odd")), (Some("text/plain"), None));
    let seen = seen.await.unwrap();
    assert!(seen.starts_with("GET /actor?x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("user-agent: Quickbeam/") && seen.contains("(+https://blog.example/)"), "{seen}");
    assert!(seen.contains("accept: application/activity+json\r\n") && !seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (address, _seen) = server(answer, false).await;
    let transport = transport(&[&address.to_string(), "127.0.0.1:1"], vec![]);
    let response = transport.send(get(&format!("http://{address}/"), PATIENT)).await.unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("http://127.0.0.1:1/")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_cut_whether_announced_or_not() {
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec();
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..11 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b'x'; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    for answer in [announced, chunked] {
        // The server never ends its answer: only the cut can.
        let (address, _seen) = server(answer, true).await;
        let transport = transport(&[&address.to_string()], vec![]);
        let error = transport.send(get(&format!("http://{address}/"), PATIENT)).await.unwrap_err();
        assert!(matches!(error, TransportError::TooLarge { bytes_max: 1_000, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_cut_at_the_deadline() {
    for answer in [b"".to_vec(), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx".to_vec()] {
        let (address, _seen) = server(answer, true).await;
        let transport = transport(&[&address.to_string()], vec![]);
        let error = transport.send(get(&format!("http://{address}/"), 100)).await.unwrap_err();
        assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
        assert!(error.is_passing());
    }
}

#[tokio::test]
async fn a_compressed_body_is_left_as_it_is() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08".to_vec();
    let (address, _seen) = server(answer, false).await;
    let transport = transport(&[&address.to_string()], vec![]);
    let response = transport.send(get(&format!("http://{address}/"), PATIENT)).await.unwrap();
    assert_eq!(response.body.as_ref(), b"\x1f\x8b\x08");
}

#[tokio::test]
async fn addresses_and_names_that_lead_inside_are_refused_without_connecting() {
    let listener = unused_listener();
    let port = listener.local_addr().unwrap().port();
    let transport = transport(&["other.example"], vec![]);
    for url in [format!("https://127.0.0.1:{port}/"), format!("https://localhost:{port}/"), "https://[::1]/".to_owned()]
    {
        let error = transport.send(get(&url, PATIENT)).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused(AddressRefused::NotGlobal { .. })), "{url}: {error}");
        assert!(!error.is_passing());
    }
    let error = transport.send(get(&format!("http://localhost:{port}/"), PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused(AddressRefused::PlainHttp { .. })), "{error}");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody connected");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_fetched_when_listed_with_its_port() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (address, _seen) = server(answer, false).await;
    let name = format!("localhost:{}", address.port());
    let transport = transport(&[&name], vec![]);
    assert_eq!(transport.send(get(&format!("http://{name}/"), PATIENT)).await.unwrap().status, 200);
    let other = format!("https://localhost:{}/", address.port().wrapping_add(1).max(1));
    assert!(matches!(transport.send(get(&other, PATIENT)).await, Err(TransportError::Refused(_))));
}

#[tokio::test]
async fn many_requests_at_once_are_each_resolved_for_their_own_destination() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                // A request without a body comes in one piece here.
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    });
    let transport = transport(&[&format!("localhost:{port}")], vec![]);
    let url = format!("http://localhost:{port}/");
    for _ in 0..3 {
        let answers = (0..40).map(|_| transport.send(get(&url, PATIENT)));
        for answer in futures_util::future::join_all(answers).await {
            assert_eq!(answer.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn our_own_listeners_are_refused_by_address_and_by_name_even_if_listed() {
    let listener = unused_listener();
    let own = listener.local_addr().unwrap();
    let name = format!("localhost:{}", own.port());
    let transport = transport(&[&own.to_string(), &name], vec![own]);
    for url in [format!("http://{own}/"), format!("http://{name}/")] {
        let error = transport.send(get(&url, PATIENT)).await.unwrap_err();
        // localhost may also be ::1, where nobody listens; 127.0.0.1 is never tried.
        let refused = matches!(error, TransportError::Refused(AddressRefused::OwnListener { .. }));
        assert!(refused || matches!(error, TransportError::Broken { .. }), "{url}: {error}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody connected");
}

#[tokio::test]
async fn what_cannot_be_reached_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    // A label of more than 63 letters is refused by the system itself: no name server is asked.
    let nowhere = format!("{}.invalid", "a".repeat(64));
    let transport = transport(&[&gone.to_string(), &nowhere], vec![]);
    let error = transport.send(get(&format!("http://{gone}/"), PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::Broken { .. }) && error.is_passing(), "{error}");
    let error = transport.send(get(&format!("http://{nowhere}/"), PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::Unresolved { .. }), "{error}");
    let bad = get(&format!("http://{gone}/"), PATIENT).header("x", "a\nb");
    assert!(matches!(transport.send(bad).await, Err(TransportError::BadHeader { .. })));
}

#[test]
fn of_many_addresses_only_the_permitted_are_tried() {
    let authority = Authority::parse("a.example").unwrap();
    let found: Vec<SocketAddr> = ["127.0.0.1:443", "8.8.8.8:443", "[::1]:443"].map(|text| text.parse().unwrap()).into();
    let policy = AddressPolicy::default();
    assert_eq!(permitted(&policy, &authority, found.into_iter()).unwrap(), ["8.8.8.8:443".parse().unwrap()]);
    assert!(matches!(permitted(&policy, &authority, std::iter::empty()), Err(AddressRefused::NoAddress { .. })));
}
