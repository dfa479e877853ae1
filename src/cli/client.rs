//! The way to a running node: one request as data, one answer as data, and refusals as problems.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use super::context::serve_command;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::private::{self, PrivateError};
use crate::tokens;

mod flowing;

pub(crate) use flowing::Upload;

/// A node on this machine or its network answers a connection at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than the longest `Prefer: wait`.
const ANSWER: Duration = Duration::from_secs(75);
/// A large store through a slow disk; whoever no longer wants to wait interrupts it.
const DOWNLOAD: Duration = Duration::from_secs(24 * 60 * 60);
/// What may stand in a path as it is: RFC 3986, unreserved.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which of a node's two listeners is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Public,
    Admin,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) door: Door,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) with_token: bool,
}

/// What came back, whatever the status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `null` when the body is empty, text when it is no JSON.
    pub(crate) body: Value,
}

/// A refusal of the node, as RFC 9457 has it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the node is not running: nothing answers at {address}; start it with `{start}`")]
    NotRunning { address: String, start: String },
    #[error("{} {}", .0.title(), .0.detail())]
    Refused(Problem),
    #[error("no answer from {address}: {why}; look at `{path}` again, the node may have done it")]
    Broken { address: String, path: String, why: String },
    #[error("the answer of {address} is none of a node: {why}; another program may listen there")]
    Foreign { address: String, why: String },
    #[error("the HTTP client cannot be set up: {0}")]
    SetUp(String),
    #[error("the administrator's token cannot be used: {0}")]
    Token(#[from] PrivateError),
}

/// Why something long did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("it could not be written: {0}; name a file on another disk if this one is full")]
    Written(#[from] std::io::Error),
}

/// Where a listener is, and what it wants to be called.
#[derive(Debug, Clone)]
struct Address {
    socket: SocketAddr,
    host: Option<String>,
}

pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    public: Address,
    admin: Address,
    token: String,
    start: String,
    pub(crate) clock: SharedClock,
}

impl Ask {
    pub(crate) fn get(door: Door, path: impl Into<String>) -> Self {
        let (query, headers, body) = Default::default();
        Self { door, method: "GET", path: path.into(), query, headers, body, with_token: true }
    }

    /// A request that changes something, once for each key.
    pub(crate) fn change(door: Door, method: &'static str, path: impl Into<String>, key: impl Into<String>) -> Self {
        Self { method, ..Self::get(door, path) }.header("idempotency-key", key)
    }

    pub(crate) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    pub(crate) fn text(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("content-type", content_type)
    }

    pub(crate) fn without_token(mut self) -> Self {
        self.with_token = false;
        self
    }

    /// The path with its query, as it goes over the wire.
    pub(crate) fn target(&self) -> String {
        let mut target = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&format!("{}={}", segment(name), segment(value)));
        }
        target
    }
}

/// Text as one segment of a path, or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    percent_encode(text.as_bytes(), PATH).to_string()
}

impl Client {
    /// The node of this configuration, asked with its administrator's token.
    pub(crate) fn of(config: &Config, clock: SharedClock) -> Result<Self, ClientError> {
        let token = private::read_text(&tokens::admin_file(&config.node.data))?;
        let base = &config.node.base;
        let host = base.split_once("://").map(|(_, host)| host.to_owned());
        let public = Address { socket: reachable(config.public.listen), host };
        let admin = Address { socket: reachable(config.admin.listen), host: None };
        let start = serve_command(&config.file);
        Ok(Self { runtime: runtime()?, http: http()?, public, admin, token, start, clock })
    }

    /// Asks, and takes only a yes.
    pub(crate) fn ask(&self, ask: &Ask) -> Result<Value, ClientError> {
        let answer = self.send(ask)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(refused(ask, answer))
    }

    /// Asks, and takes whatever comes.
    pub(crate) fn send(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let (request, address) = self.request(ask);
        self.runtime.block_on(self.answer(request.body(ask.body.clone()), address, ask))
    }

    /// The request without its body, and where it goes.
    fn request(&self, ask: &Ask) -> (reqwest::RequestBuilder, &Address) {
        let address = match ask.door {
            Door::Public => &self.public,
            Door::Admin => &self.admin,
        };
        let method = reqwest::Method::from_bytes(ask.method.as_bytes()).expect("our own methods are tokens");
        let mut request = self.http.request(method, format!("http://{}{}", address.socket, ask.target()));
        if !ask.headers.iter().any(|(name, _)| name == "accept") {
            request = request.header("accept", "application/json");
        }
        if let Some(host) = &address.host {
            request = request.header("host", host);
        }
        if ask.with_token {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in ask.headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        (request, address)
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        address: &Address,
        ask: &Ask,
    ) -> Result<Answer, ClientError> {
        let failed = |error: reqwest::Error| self.failed(address, ask, &error);
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(failed)?;
        let foreign = |why: String| ClientError::Foreign { address: address.socket.to_string(), why };
        Ok(Answer { status, body: body_of(status, &bytes).map_err(foreign)? })
    }

    fn failed(&self, address: &Address, ask: &Ask, error: &reqwest::Error) -> ClientError {
        let address = address.socket.to_string();
        match error.is_connect() {
            true => ClientError::NotRunning { address, start: self.start.clone() },
            false => ClientError::Broken { address, path: ask.path.clone(), why: chain(error) },
        }
    }

    /// Asks for something long, and gives what comes piece by piece as it comes.
    pub(crate) fn download(
        &self,
        ask: &Ask,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), DownloadError> {
        let address = &self.admin;
        let broken = |error: reqwest::Error| match error.is_connect() {
            true => ClientError::NotRunning { address: address.socket.to_string(), start: self.start.clone() },
            false => {
                let (address, path) = (address.socket.to_string(), ask.path.clone());
                ClientError::Broken { address, path, why: chain(&error) }
            }
        };
        let request = self.http.get(format!("http://{}{}", address.socket, ask.target())).timeout(DOWNLOAD);
        self.runtime.block_on(async {
            let mut response = request.bearer_auth(&self.token).send().await.map_err(broken)?;
            let status = response.status().as_u16();
            if status != 200 {
                let json = serde_json::from_slice(&response.bytes().await.map_err(broken)?).unwrap_or_default();
                return Err(ClientError::Refused(Problem { status, json }).into());
            }
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                take(&chunk)?;
            }
            Ok(())
        })
    }

    /// Waits, so that something can be asked again.
    pub(crate) fn pause(&self, span: Duration) {
        let _timers = self.runtime.enter();
        self.runtime.block_on(self.clock.sleep(span));
    }
}

impl Problem {
    fn text(&self, name: &str) -> Option<&str> {
        self.json.get(name)?.as_str()
    }

    pub(crate) fn title(&self) -> &str {
        self.text("title").unwrap_or("refused")
    }

    pub(crate) fn detail(&self) -> &str {
        self.text("detail").unwrap_or_default()
    }

    /// For people: what, why, the mistakes of a body one by one, and what to quote when asking for help.
    pub(crate) fn told(&self) -> String {
        let mut lines = vec![format!("{} ({}): {}", self.title(), self.status, self.detail())];
        for mistake in self.json.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let (field, what) =
                (mistake.get("field").and_then(Value::as_str), mistake.get("what").and_then(Value::as_str));
            lines.push(match (field, what) {
                (Some(field), Some(what)) => format!("  {field}: {what}"),
                _ => format!("  {mistake}"),
            });
        }
        lines.extend(self.text("request_id").map(|id| format!("  request {id}")));
        lines.join("\n")
    }
}

fn body_of(status: u16, bytes: &[u8]) -> Result<Value, String> {
    match (bytes.is_empty(), serde_json::from_slice(bytes)) {
        (true, _) => Ok(Value::Null),
        (false, Ok(body)) => Ok(body),
        (false, Err(_)) if status >= 300 => Ok(Value::String(String::from_utf8_lossy(bytes).into_owned())),
        (false, Err(error)) => Err(error.to_string()),
    }
}

fn refused(ask: &Ask, answer: Answer) -> ClientError {
    let is_problem = answer.body.get("title").is_some();
    let reason = format!("the node answered {} to {} {}", answer.status, ask.method, ask.target());
    let json = if is_problem { answer.body } else { json!({ "title": "refused", "detail": reason }) };
    ClientError::Refused(Problem { status: answer.status, json })
}

fn runtime() -> Result<tokio::runtime::Runtime, ClientError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| ClientError::SetUp(error.to_string()))
}

fn http() -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.connect_timeout(CONNECT).timeout(ANSWER).http1_only();
    // A node that was killed leaves connections behind that look alive until they are used.
    builder.pool_max_idle_per_host(0).build().map_err(|error| ClientError::SetUp(chain(&error)))
}

/// A listener on all addresses is reached at the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// An error with what is behind it; the outermost alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_goes_into_a_path_as_one_segment() {
        let ask = Ask::get(Door::Admin, format!("/admin/actors/outbox/{}", segment("127.0.0.1:8002/ä?")));
        let target = ask.query("to", "https://a.example/actor").query("after", "x y").target();
        assert_eq!(
            target,
            "/admin/actors/outbox/127.0.0.1%3A8002%2F%C3%A4%3F?to=https%3A%2F%2Fa.example%2Factor&after=x%20y"
        );
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_at_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }

    #[test]
    fn a_problem_is_told_with_each_mistake_of_the_body() {
        let json = json!({
            "title": "unprocessable", "detail": "the article has mistakes", "request_id": "01J",
            "errors": [{ "field": "title", "what": "is missing" }],
        });
        let told = Problem { status: 422, json }.told();
        assert_eq!(told, "unprocessable (422): the article has mistakes\n  title: is missing\n  request 01J");
    }
}
