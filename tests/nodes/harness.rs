//! Real nodes: each a process of its own in a folder of its own, killed with the test that started it.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use parking_lot::Mutex;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::config::template::{Answers, PeerAnswer, Template, render};
use quickbeam::wire::key::NodeKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Call};

/// Whatever a node is asked to do is done by then, also on a machine that has a lot else to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);
/// Bytes of a node's log that a failure shows.
const LOG_TAIL: u64 = 6_000;
/// Scopes of the token that tests use for everything but administration.
const SCOPES: [&str; 4] = ["publish", "follow", "flows:read", "flows:write"];

/// Where a node is: an address of this machine that no other test uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) template: Template,
    pub(crate) spot: Spot,
    pub(crate) allow: Vec<String>,
    pub(crate) follow: Vec<String>,
    pub(crate) peers: Vec<PeerAnswer>,
    /// Replaced in the rendered configuration.
    pub(crate) edits: Vec<(String, String)>,
    /// Stands behind the rendered configuration.
    pub(crate) more: String,
    /// Lines of `[limits]`.
    pub(crate) limits: Vec<String>,
    pub(crate) secrets: Vec<(String, Vec<u8>)>,
    pub(crate) tick: &'static str,
}

/// A running node, or one that was killed and can be started again.
pub(crate) struct Node {
    pub(crate) plan: Plan,
    folder: TempDir,
    child: Mutex<Option<Child>>,
    pub(crate) admin_token: String,
    pub(crate) token: String,
}

/// An address of the loopback network for this test alone, so that a port stays free while its node is down. Systems
/// that have only one loopback address share it.
fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let byte = |number: u32| u8::try_from(number).expect("a remainder of less than 256");
    let own = Ipv4Addr::new(127, byte(process / 250 % 250 + 1), byte(process % 250 + 1), byte(number % 250 + 1));
    let usable = TcpListener::bind((own, 0)).is_ok();
    IpAddr::V4(if usable { own } else { Ipv4Addr::LOCALHOST })
}

/// A listener on a free port of an address of its own.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind((own_address(), 0)).unwrap()
}

impl Spot {
    pub(crate) fn free() -> Self {
        let public = listener();
        let public_address = public.local_addr().unwrap();
        let admin = TcpListener::bind((public_address.ip(), 0)).unwrap().local_addr().unwrap();
        Self { public: public_address, admin }
    }

    pub(crate) fn authority(&self) -> String {
        self.public.to_string()
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.public)
    }

    pub(crate) fn actor(&self) -> String {
        format!("{}/actor", self.base())
    }
}

impl Plan {
    pub(crate) fn new(template: Template) -> Self {
        Self {
            template,
            spot: Spot::free(),
            allow: Vec::new(),
            follow: Vec::new(),
            peers: Vec::new(),
            edits: Vec::new(),
            more: String::new(),
            limits: ["delivery_delay = \"100ms\"", "delivery_delay_max = \"1s\""].map(str::to_owned).to_vec(),
            secrets: Vec::new(),
            tick: "300ms",
        }
    }

    pub(crate) fn blog() -> Self {
        Self::new(Template::Blog)
    }

    pub(crate) fn events() -> Self {
        Self::new(Template::Events)
    }

    pub(crate) fn allow(mut self, authority: impl Into<String>) -> Self {
        self.allow.push(authority.into());
        self
    }

    /// Allows and follows it.
    pub(crate) fn follow(mut self, authority: impl Into<String>) -> Self {
        let authority = authority.into();
        self.follow.push(authority.clone());
        self.allow(authority)
    }

    pub(crate) fn edit(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.into(), to.into()));
        self
    }

    pub(crate) fn more(mut self, toml: &str) -> Self {
        self.more += toml;
        self.more += "\n";
        self
    }

    pub(crate) fn limit(mut self, line: &str) -> Self {
        let name = line.split('=').next().unwrap_or_default();
        self.limits.retain(|other| other.split('=').next() != Some(name));
        self.limits.push(line.to_owned());
        self
    }

    /// A peer that shares a secret with this node.
    pub(crate) fn pair(mut self, name: &str, actor: &str, secret: &[u8]) -> Self {
        let file = format!("{name}.secret");
        self.peers.push(PeerAnswer { name: name.into(), actor: actor.into(), secret_file: Some(file.clone()) });
        self.secrets.push((file, secret.to_vec()));
        self
    }

    fn config(&self) -> String {
        let answers = Answers {
            name: self.template.name().to_owned(),
            base: self.spot.base(),
            data: None,
            listen: Some(self.spot.public.to_string()),
            admin_listen: Some(self.spot.admin.to_string()),
            fetch_allow: self.allow.clone(),
            follow_at_start: self.follow.clone(),
            peers: self.peers.clone(),
        };
        let mut text = render(self.template, &answers);
        for (from, to) in &self.edits {
            assert!(text.contains(from), "{from} is not in the template");
            text = text.replace(from, to);
        }
        let limits = self.limits.join("\n");
        format!("{text}\n{}\n[tick]\nevery = \"{}\"\n[limits]\n{limits}\n", self.more, self.tick)
    }

    /// Writes the configuration, keys and tokens, as `init` does.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let data = folder.join("data");
        if !data.is_dir() {
            quickbeam::private::make_folder(&data).unwrap();
            let clock = SystemClock::default();
            let seed: [u8; 32] = [clock.random(), clock.random()].concat().try_into().unwrap();
            private(&data.join("node.key"), NodeKey::from_seed(seed).to_pem().as_bytes());
            private(&data.join("node-rsa.key"), include_bytes!("../vectors/rsa/two.pem"));
            private(&data.join("admin.token"), admin_token(&data).as_bytes());
        }
        for (file, secret) in &self.secrets {
            private(&folder.join(file), secret);
        }
        let file = folder.join("quickbeam.toml");
        fs::write(&file, self.config()).unwrap();
        file
    }
}

fn admin_token(folder: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(folder.display().to_string().as_bytes());
    digest.iter().fold("qb_".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Starts the binary on a configuration; its words go to `node.log` beside it.
pub(crate) fn spawn(config: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(config.with_file_name("node.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_quickbeam"))
        .args(["serve", "--exit-with-stdin", "--config"])
        .arg(config)
        .env_clear()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LOG", "info,quickbeam=debug")
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// What the command line did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Refused with exit 1, with these words.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not said: {self:?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the binary with these words and a clean environment.
pub(crate) fn command(words: &[&str]) -> Ran {
    let out =
        Command::new(env!("CARGO_BIN_EXE_quickbeam")).args(words).env_clear().stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: out.status.code(), out: text(&out.stdout), err: text(&out.stderr) }
}

/// What a configuration that must not start says, and with which code it ends.
pub(crate) fn does_not_start(config: &Path) -> (Option<i32>, String) {
    let mut child = spawn(config);
    let status = eventually("the node gives up", || child.try_wait().unwrap());
    (status.code(), fs::read_to_string(config.with_file_name("node.log")).unwrap())
}

/// Asks until there is something; fails with `what` when there is nothing for too long.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, ask).unwrap_or_else(|| panic!("in {DEADLINE:?} it did not happen that {what}"))
}

/// Asks until there is something, or the time is over.
pub(crate) fn within<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = SystemClock::default();
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if clock.monotonic() > time {
            return None;
        }
        sleep(STEP);
    }
}

impl Node {
    #[track_caller]
    pub(crate) fn start(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        plan.write(folder.path());
        let admin_token = admin_token(&folder.path().join("data"));
        let mut node = Self { plan, folder, child: Mutex::new(None), admin_token, token: String::new() };
        node.restart();
        node.token = node.new_token("test", &SCOPES);
        node
    }

    /// A folder in which this backup was restored, with the addresses and tokens of the original. It is not started.
    #[track_caller]
    pub(crate) fn restored(original: &Self, backup: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command(&["restore", backup.to_str().unwrap(), "--to", folder.path().to_str().unwrap()]).done();
        Self {
            plan: original.plan.clone(),
            folder,
            child: Mutex::new(None),
            admin_token: original.admin_token.clone(),
            token: original.token.clone(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the command line on this node.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        let config = self.config_file();
        command(&[words, &["--config", config.to_str().unwrap()]].concat())
    }

    /// Starts the process, and waits until it serves reads.
    #[track_caller]
    pub(crate) fn start_held(&self) {
        self.spawn();
        let held = within(DEADLINE, || {
            let answer = Call::get("/ready").send(self.plan.spot.admin, &self.plan.spot.admin.to_string());
            answer.ok().filter(|answer| answer.status == 503 && answer.text().contains("held"))
        });
        assert!(held.is_some(), "the node does not start held:\n{}", self.log());
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("quickbeam.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the process on what is there, and waits until it takes work.
    #[track_caller]
    pub(crate) fn restart(&self) {
        self.spawn();
        self.wait_ready();
    }

    pub(crate) fn spawn(&self) {
        let mut child = self.child.lock();
        assert!(child.is_none(), "the node runs");
        *child = Some(spawn(&self.config_file()));
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        let ready = within(DEADLINE, || {
            if let Some(child) = self.child.lock().as_mut() {
                assert!(child.try_wait().unwrap().is_none(), "the node ended:\n{}", self.log());
            }
            let answer = Call::get("/ready").send(self.plan.spot.admin, &self.plan.spot.admin.to_string());
            answer.ok().filter(|answer| answer.status == 200)
        });
        assert!(ready.is_some(), "the node does not become ready:\n{}", self.log());
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.lock().as_ref().map_or(0, Child::id)
    }

    /// Ends the process at once, as kill -9 does.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the process to end with SIGTERM, and gives its exit and how long it took.
    #[track_caller]
    pub(crate) fn terminate(&self) -> (ExitStatus, Duration) {
        let mut child = self.child.lock().take().expect("the node runs");
        let clock = SystemClock::default();
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = within(DEADLINE, || child.try_wait().unwrap());
        let Some(status) = status else { panic!("SIGTERM does not end the node:\n{}", self.log()) };
        (status, clock.monotonic())
    }

    /// Closes the standard input of the process, as the end of its parent does, and gives its exit.
    #[track_caller]
    pub(crate) fn close_stdin(&self) -> ExitStatus {
        let mut child = self.child.lock().take().expect("the node runs");
        drop(child.stdin.take());
        eventually("the node ends with its standard input", || child.try_wait().unwrap())
    }

    /// The end of what the process said.
    pub(crate) fn log(&self) -> String {
        let Ok(mut file) = fs::File::open(self.folder.path().join("node.log")) else { return String::new() };
        let length = file.metadata().map_or(0, |data| data.len());
        drop(file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))));
        let mut tail = Vec::new();
        drop(file.read_to_end(&mut tail));
        String::from_utf8_lossy(&tail).into_owned()
    }

    pub(crate) fn authority(&self) -> String {
        self.plan.spot.authority()
    }

    pub(crate) fn base(&self) -> String {
        self.plan.spot.base()
    }

    pub(crate) fn actor(&self) -> String {
        self.plan.spot.actor()
    }

    /// Sends to the public listener, with the right Host unless the request has one.
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Answer {
        let sent = call.send(self.plan.spot.public, &self.authority());
        sent.unwrap_or_else(|error| panic!("{} {}: {error}\n{}", call.method, call.target, self.log()))
    }

    /// The same, for a node that may be gone any moment.
    pub(crate) fn try_send(&self, call: &Call) -> Option<Answer> {
        call.send(self.plan.spot.public, &self.authority()).ok()
    }

    /// Sends to the admin listener, without a token.
    #[track_caller]
    pub(crate) fn send_admin(&self, call: &Call) -> Answer {
        let sent = call.send(self.plan.spot.admin, &self.plan.spot.admin.to_string());
        sent.unwrap_or_else(|error| panic!("{} {}: {error}\n{}", call.method, call.target, self.log()))
    }

    #[track_caller]
    pub(crate) fn admin(&self, method: &str, target: &str) -> Answer {
        self.send_admin(&Call::new(method, target).token(&self.admin_token))
    }

    #[track_caller]
    pub(crate) fn new_token(&self, name: &str, scopes: &[&str]) -> String {
        let body = json!({ "name": name, "scopes": scopes });
        let call = Call::post("/admin/tokens").token(&self.admin_token).json(&body);
        let made = self.send_admin(&call).expect(201).json();
        made["token"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(&Call::get(target).token(&self.token).accept("application/json"))
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(&Call::post(target).token(&self.token).json(body))
    }

    /// All items of a list, page by page.
    #[track_caller]
    pub(crate) fn all(&self, list: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let sign = if list.contains('?') { '&' } else { '?' };
            let target = format!("{list}{sign}limit=200{after}");
            let page = if list.starts_with("/admin") { self.admin("GET", &target) } else { self.get(&target) };
            let page = page.expect(200).json();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Everything that a refused request must leave as it was.
    #[track_caller]
    pub(crate) fn everything(&self) -> Value {
        let brief = |actor: &Value| json!({ "id": actor["id"], "sequence": actor["sequence"] });
        json!({
            "activities": self.all("/activities"),
            "flows": self.all("/flows"),
            "objects": self.all("/"),
            "actors": self.all("/admin/actors").iter().map(brief).collect::<Vec<_>>(),
            "tokens": self.all("/admin/tokens"),
        })
    }

    /// Does something that must change nothing.
    #[track_caller]
    pub(crate) fn unchanged<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.everything();
        let done = act();
        let after = self.everything();
        for list in before.as_object().into_iter().flatten().map(|(list, _)| list) {
            let old = before[list].as_array().cloned().unwrap_or_default();
            let new = after[list].as_array().cloned().unwrap_or_default();
            let added: Vec<&Value> = new.iter().filter(|item| !old.contains(item)).collect();
            assert!(old == new, "what was refused changed {list}, where now is {added:#?}");
        }
        done
    }

    /// Publishes an article, and gives the answer.
    #[track_caller]
    pub(crate) fn publish(&self, title: &str) -> Value {
        self.post("/api/objects/article", &json!({ "title": title })).expect(201).json()
    }

    /// The texts of the notices, each of which an effect appended.
    #[track_caller]
    pub(crate) fn notices(&self) -> Vec<String> {
        let text = |item: &Value| item["value"]["text"].as_str().unwrap_or_default().to_owned();
        self.all("/api/streams/notices").iter().map(text).collect()
    }

    /// Waits until the list of activities has one like this, and gives it.
    #[track_caller]
    pub(crate) fn activity(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = within(DEADLINE, || self.all("/activities").into_iter().find(&fits));
        found.unwrap_or_else(|| panic!("{} has no activity: {what}\n{}", self.base(), self.log()))
    }

    /// What `/admin/peers` says of one.
    #[track_caller]
    pub(crate) fn peer(&self, authority: &str) -> Value {
        let found = self.all("/admin/peers").into_iter().find(|peer| peer["authority"] == authority);
        found.unwrap_or_default()
    }

    /// Waits until every flow that does not wait for somebody has ended.
    #[track_caller]
    pub(crate) fn settle_flows(&self) {
        eventually("all flows have come to rest", || {
            let status = self.admin("GET", "/admin/status").expect(200).json();
            (status["waiting"]["messages"] == 0 && self.all("/flows?state=running").is_empty()).then_some(())
        });
    }

    /// Waits until nothing is under way: no delivery, no message.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let rest = json!({ "messages": 0, "errands": 0 });
        eventually("the node has come to rest", || {
            let status = self.admin("GET", "/admin/status").expect(200).json();
            (status["waiting"] == rest).then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
