//! The sections that every node has: where it listens, who its peers are, how it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::mistake::Report;
use super::reader::Section;
use super::secret::{Secret, Secrets};

/// `[node]`
#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    /// What every id begins with: an origin, no slash at its end.
    pub base: String,
    /// The folder of the store, keys and tokens.
    pub data: PathBuf,
    /// What its actor is, as an ActivityStreams type.
    pub actor: &'static str,
    /// What it says of itself: plain text.
    pub summary: Option<String>,
    /// The URL of a picture.
    pub icon: Option<Url>,
}

/// `[public]`
#[derive(Debug, Clone)]
pub struct Public {
    pub listen: SocketAddr,
    /// Whose `Forwarded` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: SocketAddr,
    /// The `Host`s that are answered besides the address itself.
    pub hosts: Vec<String>,
}

/// `[peers.NAME]`
#[derive(Debug, Clone)]
pub struct Peer {
    pub actor: Url,
    /// Signs what this pair sends one another, with hmac-sha256.
    pub secret: Option<Secret>,
    /// The file that it was read from, as the configuration names it.
    pub secret_file: Option<String>,
}

/// `[tick]`
#[derive(Debug, Clone)]
pub struct Tick {
    pub every: Duration,
}

/// `[retention]`: how long what nobody needs any more is kept. `None`: for ever.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Flows that ended.
    pub flows: Option<Duration>,
    /// Activities that came, in the log.
    pub received: Option<Duration>,
    /// What became of deliveries that are over.
    pub deliveries: Option<Duration>,
    /// Answers to requests with an Idempotency-Key.
    pub answers: Duration,
    /// Between two looks at what can go.
    pub every: Duration,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// As in `RUST_LOG`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[runtime]`
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Threads that actors live on, and as many for what they send; 0: half as many as there are cores.
    pub arbiters: usize,
    /// Threads that answer HTTP; 0: one for each core.
    pub workers: usize,
    /// After which an actor with nothing to do leaves memory.
    pub idle: Duration,
    /// Actors that stay in memory; those idle the longest leave sooner if there are more.
    pub actors: usize,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// Bytes that may wait in memory for the next checkpoint; also what a start after a crash reads at most.
    pub overlay_bytes: u64,
    /// How often every row is looked at in the background, and how many bytes of them in a second at most.
    pub scrub_every: Duration,
    pub scrub_rate: u64,
}

/// An address, or a network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl Node {
    pub(super) fn read(top: &mut Section<'_>, folder: &Path, report: &mut Report) -> Self {
        if !top.has("node") {
            let remedy = "add [node] with name, base and data";
            report.add(top.place(), "node", "the section [node] is missing", remedy);
            let (name, base, data) = (String::new(), String::new(), folder.join("data"));
            return Self { name, base, data, actor: "Service", summary: None, icon: None };
        }
        let mut section = top.section("node", report);
        let name = section.required("name", "\"blog\"", report).unwrap_or_default();
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if section.has("name") && !(1..=63).contains(&name.len()) || !name.chars().all(fits) {
            let what = format!("the name `{name}` has to be 1 to 63 of the letters a-z, 0-9 and -");
            section.wrong("name", what, "", report);
        }
        let has_base = section.has("base");
        let base = if has_base { section.url("base", report) } else { None };
        if !has_base {
            section.required("base", "\"https://blog.example\"", report);
        }
        if let Some(base) = &base {
            check_base(base, &section, report);
        }
        let data = section.text("data", report).unwrap_or_else(|| "data".into());
        let kinds = ["Application", "Group", "Organization", "Person", "Service"].map(|kind| (kind, kind));
        let actor = section.word("actor", &kinds, report).unwrap_or("Service");
        let (summary, icon) = (section.text("summary", report), section.url("icon", report));
        section.finish(report);
        Self {
            name,
            base: base.map(|base| base.origin().ascii_serialization()).unwrap_or_default(),
            data: folder.join(data),
            actor,
            summary,
            icon,
        }
    }
}

impl Public {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let listen = listen(&mut section, 8001, report);
        let proxies = section.texts("trusted_proxies", report).unwrap_or_default();
        let network = |text: &String| {
            let network = Network::parse(text);
            if network.is_none() {
                let what = format!("`{text}` is no address or network");
                section.wrong("trusted_proxies", what, "write \"127.0.0.1\" or \"10.0.0.0/8\"", report);
            }
            network
        };
        let trusted_proxies = proxies.iter().filter_map(network).collect();
        section.finish(report);
        Self { listen, trusted_proxies }
    }
}

impl Admin {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let listen = listen(&mut section, 9001, report);
        let hosts = section.texts("hosts", report).unwrap_or_default();
        section.finish(report);
        Self { listen, hosts }
    }
}

impl Peer {
    pub(super) fn read_all(
        mut section: Section<'_>,
        secrets: &Secrets<'_>,
        report: &mut Report,
    ) -> BTreeMap<String, Self> {
        let mut peers = BTreeMap::new();
        for (name, entry) in section.entries() {
            let mut one = Section::of(&entry.value, &format!("peers.{name}"), report);
            let has_actor = one.has("actor");
            let actor = if has_actor { one.url("actor", report) } else { None };
            if !has_actor {
                one.required("actor", "\"https://events.example/actor\"", report);
            }
            let secret_file = one.node("secret_file").and_then(|node| node.as_text()).map(str::to_owned);
            let secret = secrets.read(&mut one, report);
            one.finish(report);
            if let Some(actor) = actor {
                peers.insert(name.to_owned(), Self { actor, secret, secret_file });
            }
        }
        peers
    }
}

impl Tick {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let range = Duration::from_millis(50)..=DAY;
        let every = section.span("every", range, report).unwrap_or(SECOND * 15);
        section.finish(report);
        Self { every }
    }
}

impl Retention {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let ages = HOUR..=DAY * 36_500;
        let flows = section.span_or_never("flows", ages.clone(), report).unwrap_or(Some(DAY * 30));
        let received = section.span_or_never("received", ages.clone(), report).unwrap_or(Some(DAY * 90));
        let deliveries = section.span_or_never("deliveries", ages, report).unwrap_or(Some(DAY * 30));
        // A repeat may come a day later and still has to be told apart.
        let answers = section.span("answers", DAY..=DAY * 365, report).unwrap_or(DAY * 2);
        let every = section.span("every", SECOND..=DAY, report).unwrap_or(HOUR);
        section.finish(report);
        Self { flows, received, deliveries, answers, every }
    }
}

impl Log {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let filter = section.text("filter", report).unwrap_or_else(|| "info".into());
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = section.word("format", &formats, report).unwrap_or(LogFormat::Text);
        section.finish(report);
        Self { filter, format }
    }
}

impl Runtime {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let mut threads = |key: &str| {
            let number = section.integer(key, 0..=256, report).unwrap_or(0);
            usize::try_from(number).unwrap_or(0)
        };
        let (arbiters, workers) = (threads("arbiters"), threads("workers"));
        let range = Duration::from_millis(10)..=DAY;
        let idle = section.span("idle", range, report).unwrap_or(SECOND * 60);
        let actors = section.integer("actors", 100..=10_000_000, report).unwrap_or(20_000);
        section.finish(report);
        Self { arbiters, workers, idle, actors: usize::try_from(actors).unwrap_or(usize::MAX) }
    }
}

impl Store {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let overlay_bytes = section.bytes("overlay_bytes", 1 << 20..=16 << 30, report).unwrap_or(32 << 20);
        let range = SECOND..=DAY * 365;
        let scrub_every = section.span("scrub_every", range, report).unwrap_or(DAY);
        let scrub_rate = section.bytes("scrub_rate", 64 << 10..=1 << 40, report).unwrap_or(16 << 20);
        section.finish(report);
        Self { overlay_bytes, scrub_every, scrub_rate }
    }
}

impl Network {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        (prefix <= most).then_some(Self { address, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn listen(section: &mut Section<'_>, port: u16, report: &mut Report) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Some(text) = section.text("listen", report) else { return default };
    text.parse().unwrap_or_else(|_| {
        let what = format!("`listen` is `{text}`, not an address and a port");
        section.wrong("listen", what, format!("write \"127.0.0.1:{port}\" or \"[::]:{port}\""), report);
        default
    })
}

/// Ids are made of the base by adding a path, for ever.
fn check_base(base: &Url, section: &Section<'_>, report: &mut Report) {
    let (what, remedy) = if base.path() != "/" {
        ("`base` has a path", "give the node a host of its own")
    } else if base.query().is_some() || base.fragment().is_some() {
        ("`base` has a query or a fragment", "take it away")
    } else if !base.username().is_empty() || base.password().is_some() {
        ("`base` has a user or a password", "take it away")
    } else {
        return;
    };
    section.wrong("base", what, remedy, report);
}

/// A host as URLs normalise it, with a port when there is one.
pub(super) fn is_authority(text: &str) -> bool {
    let same = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")) == text
    };
    let plain = !text.contains(['/', '@', '?', '#']);
    plain
        && ["https", "http"].iter().any(|scheme| Url::parse(&format!("{scheme}://{text}/")).is_ok_and(|url| same(&url)))
}
