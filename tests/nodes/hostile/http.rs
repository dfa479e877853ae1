//! Requests that HTTP itself forbids, that hide another one, or that mean another place than they say.

use std::net::IpAddr;

use super::{Case, Class, Stage, case, raw};
use crate::http::Call;

/// Lines of a post that say two things of its length, and what follows them. `{hidden}` is a Follow that is truly signed.
const LENGTHS: [(&str, u16, &str, &str); 22] = [
    ("a length and chunks", 400, "content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n{hidden}"),
    ("chunks and a length", 400, "transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n{hidden}"),
    ("two lengths", 400, "content-length: 0\r\ncontent-length: 9\r\n", "{hidden}"),
    ("one length twice", 400, "content-length: 0\r\ncontent-length: 0\r\n", "{hidden}"),
    ("a list of lengths", 400, "content-length: 0, 9\r\n", "{hidden}"),
    ("a length with a sign", 400, "content-length: +0\r\n", "{hidden}"),
    ("a length below nothing", 400, "content-length: -1\r\n", "{hidden}"),
    ("a length in hexadecimal", 400, "content-length: 0x0\r\n", "{hidden}"),
    ("a length in two words", 400, "content-length: 0 0\r\n", "{hidden}"),
    ("a length in words", 400, "content-length: none\r\n", "{hidden}"),
    ("a length that is empty", 400, "content-length:\r\n", "{hidden}"),
    ("a length beyond all numbers", 400, "content-length: 99999999999999999999999\r\n", "{hidden}"),
    ("chunks that are none", 400, "transfer-encoding: xchunked\r\n", "0\r\n\r\n{hidden}"),
    ("chunks within something", 400, "transfer-encoding: chunked, identity\r\n", "0\r\n\r\n{hidden}"),
    ("something unknown", 400, "transfer-encoding: gzip\r\n", "0\r\n\r\n{hidden}"),
    ("chunks twice", 400, "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n{hidden}"),
    ("chunks behind a form feed", 400, "transfer-encoding: \u{c}chunked\r\n", "0\r\n\r\n{hidden}"),
    ("chunks after a space", 400, "transfer-encoding : chunked\r\n", "0\r\n\r\n{hidden}"),
    ("chunks of no size", 400, "transfer-encoding: chunked\r\n", "zz\r\n{hidden}"),
    ("chunks below nothing", 400, "transfer-encoding: chunked\r\n", "-1\r\n{hidden}"),
    ("chunks beyond all numbers", 400, "transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{hidden}"),
    ("chunks without their ends", 400, "transfer-encoding: chunked\r\n", "1\r\nxx1\r\n{hidden}"),
];

/// Heads that are none.
const HEADS: [(&str, u16, &str); 22] = [
    ("a line that goes on in the next", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx: a\r\n b\r\n\r\n"),
    ("a NUL in a value", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx: a\0b\r\n\r\n"),
    ("a NUL in a name", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx\0: a\r\n\r\n"),
    ("a return in a value", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx: a\rb\r\n\r\n"),
    ("a space in a name", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx y: a\r\n\r\n"),
    ("a line without a colon", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\nx\r\n\r\n"),
    ("a header without a name", 400, "GET /nothing HTTP/1.1\r\nhost: {host}\r\n: a\r\n\r\n"),
    ("a space before the first header", 400, "GET /nothing HTTP/1.1\r\n host: {host}\r\n\r\n"),
    ("lines that end without a return", 404, "GET /nothing HTTP/1.1\nhost: {host}\nconnection: close\n\n"),
    ("no version", 400, "GET /nothing\r\n\r\n"),
    ("a version that is not yet", 400, "GET /nothing HTTP/9.9\r\nhost: {host}\r\n\r\n"),
    ("a version in lower case", 400, "GET /nothing http/1.1\r\nhost: {host}\r\n\r\n"),
    ("the beginning of HTTP/2", 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("the beginning of TLS", 400, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{7c}\u{3}\u{3}\r\n\r\n"),
    ("nothing but words", 400, "hello hello hello hello\r\n\r\n"),
    (
        "an upgrade to HTTP/2",
        404,
        "GET /nothing HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    (
        "an upgrade to a web socket",
        404,
        "GET /nothing HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ),
    (
        "an expectation that nobody has",
        415,
        "POST /inbox HTTP/1.1\r\nhost: {host}\r\nexpect: wonders\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
    ),
    (
        "a body that nobody asked for and that does not come",
        404,
        "GET /nothing HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000000000\r\nconnection: close\r\n\r\n",
    ),
    ("a space in its target", 400, "GET /no thing HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ("no target", 400, "GET  HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ("a method that is no word", 400, "G@T /nothing HTTP/1.1\r\nhost: {host}\r\n\r\n"),
];

/// Hosts that are not this one.
const HOSTS: [(&str, u16, &str); 18] = [
    ("its host as one number", 421, "GET /actor HTTP/1.1\r\nhost: {number}:{port}\r\nconnection: close\r\n\r\n"),
    ("no host", 400, "GET /actor HTTP/1.1\r\nconnection: close\r\n\r\n"),
    ("no host in HTTP/1.0", 421, "GET /actor HTTP/1.0\r\n\r\n"),
    ("an empty host", 421, "GET /actor HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"),
    ("another host", 421, "GET /actor HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"),
    ("two hosts", 400, "GET /actor HTTP/1.1\r\nhost: {host}\r\nhost: evil.example\r\nconnection: close\r\n\r\n"),
    (
        "its host behind another",
        400,
        "GET /actor HTTP/1.1\r\nhost: evil.example\r\nhost: {host}\r\nconnection: close\r\n\r\n",
    ),
    ("its host twice", 400, "GET /actor HTTP/1.1\r\nhost: {host}\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
    ("a list of hosts", 421, "GET /actor HTTP/1.1\r\nhost: {host}, evil.example\r\nconnection: close\r\n\r\n"),
    ("a user at its host", 421, "GET /actor HTTP/1.1\r\nhost: evil@{host}\r\nconnection: close\r\n\r\n"),
    ("its host with a path", 421, "GET /actor HTTP/1.1\r\nhost: {host}/x\r\nconnection: close\r\n\r\n"),
    ("its host with an end dot", 421, "GET /actor HTTP/1.1\r\nhost: {ip}.:{port}\r\nconnection: close\r\n\r\n"),
    ("its host at another port", 421, "GET /actor HTTP/1.1\r\nhost: {ip}:1\r\nconnection: close\r\n\r\n"),
    (
        "its host at a port with a zero before it and more",
        421,
        "GET /actor HTTP/1.1\r\nhost: {host}0\r\nconnection: close\r\n\r\n",
    ),
    ("localhost", 421, "GET /actor HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n"),
    (
        "a whole address of another host",
        421,
        "GET http://evil.example/actor HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
    ),
    (
        "a whole address of another host, over https",
        421,
        "GET https://evil.example/actor HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
    ),
    (
        "a whole address with a user",
        421,
        "GET http://evil@evil.example/actor HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
    ),
];

/// Ways out of a folder, none of which leads anywhere.
const PATHS: [&str; 20] = [
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/..\\..\\etc\\passwd",
    "/..%5c..%5cetc%5cpasswd",
    "/%252e%252e/%252e%252e/etc/passwd",
    "/....//....//etc/passwd",
    "/..;/..;/etc/passwd",
    "/.%00./.%00./etc/passwd",
    "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "/%e0%80%ae%e0%80%ae/etc/passwd",
    "/%uff0e%uff0e/etc/passwd",
    "/assets/../../../data/node.key",
    "/calendars/..%2f..%2fdata%2fnode.key",
    "/node.key%00.json",
    "/data/node.key",
    "//etc/passwd",
    "/file:///etc/passwd",
    "/activities/..%2f..%2fadmin%2fstatus",
];

/// What some servers take for the word of a proxy, with what it would open.
const PROXIES: [(&str, &str, &str); 12] = [
    ("x-forwarded-for", "127.0.0.1", "/admin/status"),
    ("forwarded", "for=127.0.0.1;host=localhost", "/admin/status"),
    ("x-real-ip", "127.0.0.1", "/admin/status"),
    ("client-ip", "127.0.0.1", "/admin/status"),
    ("x-forwarded-port", "{admin}", "/admin/status"),
    ("x-forwarded-host", "localhost:{admin}", "/admin/status"),
    ("x-original-url", "/admin/status", "/nothing"),
    ("x-rewrite-url", "/admin/status", "/nothing"),
    ("x-forwarded-prefix", "/admin", "/status"),
    ("x-http-method-override", "POST", "/nothing"),
    ("x-forwarded-user", "admin", "/admin/tokens"),
    ("x-authenticated", "admin", "/admin/peers"),
];

const METHODS: [(&str, &str, u16); 18] = [
    ("GET", "/inbox", 405),
    ("PUT", "/inbox", 405),
    ("DELETE", "/inbox", 405),
    ("PATCH", "/inbox", 405),
    ("post", "/inbox", 405),
    ("POSTS", "/inbox", 405),
    ("TRACE", "/inbox", 405),
    ("OPTIONS", "/inbox", 405),
    ("PROPFIND", "/inbox", 405),
    ("POST", "/actor", 405),
    ("DELETE", "/actor", 405),
    ("PUT", "/outbox", 405),
    ("DELETE", "/followers", 405),
    ("TRACE", "/", 405),
    ("DELETE", "/calendars/main", 405),
    ("PURGE", "/actor", 405),
    ("CONNECT", "/actor", 405),
    ("A-METHOD-OF-ITS-OWN", "/activities", 405),
];

pub(super) fn cases() -> Vec<Case> {
    let lengths = LENGTHS.into_iter().map(|(name, status, lines, rest)| {
        raw(format!("a post with {name}"), status, "", move |stage| {
            let host = stage.node.authority();
            let hidden = hidden(stage);
            let (before, after) = rest.split_once("{hidden}").unwrap();
            assert!(after.is_empty());
            let kind = "content-type: application/activity+json";
            [format!("POST /inbox HTTP/1.1\r\nhost: {host}\r\n{kind}\r\n{lines}\r\n{before}").into_bytes(), hidden]
                .concat()
        })
    });
    let heads = HEADS.into_iter().chain(HOSTS).map(|(name, status, text)| {
        raw(format!("a request with {name}"), status, "", move |stage| filled(stage, text).into())
    });
    let paths = PATHS.into_iter().map(|path| case(format!("a way to {path}"), 404, "", move |_| Call::get(path)));
    let proxies = PROXIES.into_iter().map(|(name, value, target)| {
        case(format!("{name}: {value} for {target}"), 404, "", move |stage| {
            Call::get(target).header(name, &filled(stage, value)).token(&stage.node.admin_token)
        })
    });
    let methods = METHODS.into_iter().map(|(method, target, status)| {
        case(format!("{method} {target}"), status, "", move |stage| Call::new(method, target).token(&stage.node.token))
    });
    lengths.chain(heads).chain(paths).chain(proxies).chain(methods).chain(sizes()).chain(hosts_of_proxies()).collect()
}

fn sizes() -> Vec<Case> {
    let many = |count: usize| {
        move |_: &Stage| (0..count).fold(Call::get("/actor"), |call, n| call.header(&format!("x-{n}"), "1"))
    };
    vec![
        case("65 headers", 431, "64", many(65)),
        case("500 headers", 431, "", many(500)),
        case("one header of 17 KiB", 431, "16384", |_| Call::get("/actor").header("x", &"a".repeat(17 << 10))),
        case("one header of 1 MiB", 431, "", |_| Call::get("/actor").header("x", &"a".repeat(1 << 20))),
        case("a name of a header of 1 MiB", 431, "", |_| Call::get("/actor").header(&"x".repeat(1 << 20), "1")),
        case("a target of 1 MiB", 431, "", |_| Call::get(&format!("/{}", "a".repeat(1 << 20)))),
        case("a method of 1 MiB", 431, "", |_| Call::new(&"A".repeat(1 << 20), "/actor")),
        raw("a head without an end", 431, "", |stage| {
            format!("GET /actor HTTP/1.1\r\nhost: {}\r\n{}", stage.node.authority(), "x: 1\r\n".repeat(1 << 18)).into()
        }),
    ]
}

/// A proxy that says that another host was meant is not listened to, and so does not make ours of another.
fn hosts_of_proxies() -> Vec<Case> {
    let elsewhere = |name: &'static str, value: &'static str| {
        case(format!("another host with {name}"), 421, "evil.example", move |stage| {
            Call::get("/actor").header("host", "evil.example").header(name, &filled(stage, value))
        })
    };
    vec![
        elsewhere("x-forwarded-host", "{host}"),
        elsewhere("forwarded", "host=\"{host}\""),
        elsewhere("x-host", "{host}"),
        elsewhere("x-original-host", "{host}"),
    ]
}

#[test]
fn requests_that_are_none_or_hide_another_are_refused() {
    Class::of(cases()).run();
}

#[test]
fn what_is_hidden_would_be_taken_by_itself() {
    let stage = Stage::new(|plan| plan);
    let answer = super::exchange(stage.node.plan.spot.public, &hidden(&stage)).unwrap();
    assert_eq!(answer.status, 202, "{answer}");
}

/// A whole request that would change something.
fn hidden(stage: &Stage) -> Vec<u8> {
    let call = stage.signed().call();
    [call.head(&stage.node.authority()).into_bytes(), call.body].concat()
}

fn filled(stage: &Stage, text: &str) -> String {
    let (public, admin) = (stage.node.plan.spot.public, stage.node.plan.spot.admin);
    let number = match public.ip() {
        IpAddr::V4(four) => four.to_bits(),
        IpAddr::V6(_) => 0,
    };
    text.replace("{host}", &stage.node.authority())
        .replace("{ip}", &public.ip().to_string())
        .replace("{number}", &number.to_string())
        .replace("{port}", &public.port().to_string())
        .replace("{admin}", &admin.port().to_string())
}
