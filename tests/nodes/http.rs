//! A small HTTP/1.1 client over a socket, so that tests can send what a polite one would not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer takes longer, on whatever machine.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A request, byte for byte as it will be sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn accept(self, kind: &str) -> Self {
        self.header("accept", kind)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        let body = body.to_string();
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// Sends it to a socket; `host` stands in for a `Host` that the request does not have.
    ///
    /// # Errors
    /// When nobody listens there, or the connection breaks before an answer.
    pub(crate) fn send(&self, to: SocketAddr, host: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&to, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        let mut bytes = self.head(host).into_bytes();
        bytes.extend_from_slice(&self.body);
        // A server may answer before it has read all; the answer is what counts.
        let written = stream.write_all(&bytes);
        let answer =
            if self.method == "HEAD" { Answer::read_head(&mut BufReader::new(stream)) } else { Answer::read(stream) };
        answer.map_err(|error| written.err().unwrap_or(error))
    }

    /// The request line and headers.
    pub(crate) fn head(&self, host: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.names("host") {
            head += &format!("host: {host}\r\n");
        }
        if !self.names("content-length") && (!self.body.is_empty() || self.method == "POST") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "connection: close\r\n\r\n"
    }
}

impl Answer {
    /// The answer without its body, as that to HEAD is whatever its length says.
    pub(crate) fn read_head(reader: &mut impl BufRead) -> std::io::Result<Self> {
        let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| broken("the connection ended without an answer"))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self { status, headers, body: Vec::new() })
    }

    pub(crate) fn read(stream: impl Read) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut answer = Self::read_head(&mut reader)?;
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                answer.body.resize(length, 0);
                reader.read_exact(&mut answer.body)?;
            }
            None => drop(reader.read_to_end(&mut answer.body)?),
        }
        Ok(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The detail of a refusal, which must be a whole problem of this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self}");
        for field in ["type", "title", "detail", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing: {self}");
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{self}");
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// The same, with a word that the detail must have.
    #[track_caller]
    pub(crate) fn refused_with(&self, status: u16, word: &str) {
        let detail = self.refused(status);
        assert!(detail.contains(word), "the detail does not say {word:?}: {detail}");
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {:?}\n{}", self.status, self.headers, self.text())
    }
}
