//! One request and its answer, for everything that is not measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Where requests go, as whom, and by which name.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Client {
    /// The status and the JSON of the answer; `None` when nobody answers.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (address, token, length) = (self.address, &self.token, body.len());
        let key: u64 = body.bytes().fold(7, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\
             content-type: application/json\r\nidempotency-key: {key:x}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let answer = send(self.address, format!("{head}{body}").as_bytes())?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// As [`Self::ask`], where anything but a 2xx ends the benchmark.
    pub(crate) fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        match self.ask(method, path, body) {
            Some((200..=299, value)) => value,
            other => panic!("{method} {path}: {other:?}"),
        }
    }
}

/// Everything that comes back until the other side closes.
pub(crate) fn send(address: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
