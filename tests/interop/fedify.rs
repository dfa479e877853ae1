//! Installs Fedify, runs the application in `app.mjs`, and asks it what it did.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::harness::{DEADLINE, Node, listener, within};
use crate::http::Call;

const APPLICATION: &str = include_str!("app.mjs");
const PACKAGE: &str = include_str!("package.json");
/// Names every package with its version and its hash.
const LOCK: &str = include_str!("package-lock.json");

/// What npm is asked for: what the lock names and nothing else, and no program of any package.
const INSTALL: [&str; 6] =
    ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];

/// An application that runs. It has two actors: `gigs`, with keys as most have them, and `prover`, which cannot sign
/// requests.
pub(crate) struct Fedify {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

/// The standard by which it signs for those whom it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knock {
    Rfc9421,
    Draft,
}

impl Knock {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rfc9421 => "rfc9421",
            // Its own name for it is longer.
            Self::Draft => "draft-cavage",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Rfc9421 => "rfc9421",
            Self::Draft => "draft-cavage-http-signatures-12",
        }
    }
}

/// The folder of packages, made once for each lock, by whichever process comes first. What goes wrong is told to every
/// test, and tried once.
#[track_caller]
fn packages() -> &'static Path {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let digest = Sha256::digest([PACKAGE, LOCK].concat());
        let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let packages = tests.join(format!("fedify-{name}"));
        if !packages.is_dir() {
            fs::create_dir_all(tests).unwrap();
            let unfinished = tempfile::tempdir_in(tests).unwrap();
            install(unfinished.path())?;
            if let Err(error) = fs::rename(unfinished.path(), &packages) {
                assert!(packages.is_dir(), "{} cannot be made: {error}", packages.display());
            }
        }
        Ok(packages.join("node_modules"))
    });
    installed.as_deref().unwrap_or_else(|problem| panic!("{problem}"))
}

fn install(folder: &Path) -> Result<(), String> {
    fs::write(folder.join("package.json"), PACKAGE).unwrap();
    fs::write(folder.join("package-lock.json"), LOCK).unwrap();
    let ran = Command::new("npm").args(INSTALL).current_dir(folder).stdin(Stdio::null()).output();
    let remedy = "these tests need Node 20 or newer with npm (Debian: apt-get install nodejs npm), and the first time \
                  a registry that npm can reach (see `npm config get registry`)";
    match ran {
        Err(error) => Err(format!("npm cannot be run: {error}: {remedy}")),
        Ok(ran) if !ran.status.success() => {
            Err(format!("npm cannot install Fedify: {remedy}\n{}", String::from_utf8_lossy(&ran.stderr)))
        }
        Ok(_) => Ok(()),
    }
}

impl Fedify {
    #[track_caller]
    pub(crate) fn start(knock: Knock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(packages(), folder.path().join("node_modules")).unwrap();
        let program = folder.path().join("app.mjs");
        fs::write(&program, APPLICATION).unwrap();
        let host = listener().local_addr().unwrap().ip().to_string();
        let log = File::create(folder.path().join("app.log")).unwrap();
        let command = Command::new("node")
            .arg(&program)
            .args([&host, knock.option()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let mut child = command.expect("these tests need Node 20 or newer (Debian: apt-get install nodejs)");
        let mut origin = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut origin).unwrap();
        let address = origin.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let said = fs::read_to_string(folder.path().join("app.log")).unwrap_or_default();
            panic!("the application does not start (it needs Node 20 or newer):\n{said}");
        };
        Self { child, folder, address }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn actor(&self, name: &str) -> String {
        format!("http://{}/users/{name}", self.address)
    }

    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> crate::http::Answer {
        let sent = call.send(self.address, &self.authority());
        sent.unwrap_or_else(|error| panic!("{} {}: {error}\n{}", call.method, call.target, self.log()))
    }

    /// Has it do something, and gives what it says.
    #[track_caller]
    pub(crate) fn control(&self, verb: &str, with: &Value) -> Value {
        self.send(&Call::post(&format!("/control/{verb}")).json(with)).expect(200).json()
    }

    #[track_caller]
    pub(crate) fn publish(&self, content: &str) -> Value {
        self.control("publish", &json!({ "content": content }))
    }

    /// All that came, was understood, went and failed.
    #[track_caller]
    pub(crate) fn seen(&self) -> Value {
        self.send(&Call::get("/seen")).expect(200).json()
    }

    /// Waits until a list of [`Self::seen`] has one like this, and gives it.
    #[track_caller]
    pub(crate) fn has(&self, list: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let find = || self.seen()[list].as_array().unwrap().iter().find(|one| fits(one)).cloned();
        within(DEADLINE, find)
            .unwrap_or_else(|| panic!("nothing in {list} is {what}: {:#}\n{}", self.seen(), self.log()))
    }

    /// Waits until it has understood an activity about this.
    #[track_caller]
    pub(crate) fn hears(&self, verb: &str, object: &str) -> Value {
        self.has("heard", &format!("{verb} of {object}"), |it| it["verb"] == verb && it["object"] == object)
    }

    /// Waits until who follows `gigs` is just this.
    #[track_caller]
    pub(crate) fn is_followed_by(&self, followers: &[String]) {
        let there = within(DEADLINE, || (self.seen()["followers"]["gigs"] == json!(followers)).then_some(()));
        assert!(there.is_some(), "its followers are not {followers:?}: {:#}\n{}", self.seen(), self.log());
    }

    /// What it sent to inboxes, or got in its own, one of these verbs.
    #[track_caller]
    pub(crate) fn requests(&self, way: &str, verb: &str) -> Vec<Value> {
        let seen = self.seen();
        seen[way].as_array().unwrap().iter().filter(|it| it["verb"] == verb).cloned().collect()
    }

    /// Nothing went wrong there, and every request of either side was taken, at once.
    #[track_caller]
    pub(crate) fn is_content(&self) {
        let seen = self.seen();
        assert_eq!(seen["failures"], json!([]), "{}", self.log());
        for way in ["came", "went"] {
            for request in seen[way].as_array().unwrap() {
                assert_eq!(request["status"], 202, "{way}: {request:#}\n{}", self.log());
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("app.log")).unwrap_or_default()
    }
}

impl Drop for Fedify {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a node has taken an activity, and gives it as `quickbeam activities` lists it.
#[track_caller]
pub(crate) fn logged(node: &Node, activity: &str) -> Value {
    let list = || node.run(&["activities", "--json"]).done().json();
    let find = || list()["items"].as_array().unwrap().iter().find(|it| it["id"] == activity).cloned();
    within(DEADLINE, find).unwrap_or_else(|| panic!("{activity} is not logged: {:#}\n{}", list(), node.log()))
}

/// The application, and a node that may reach it.
#[track_caller]
pub(crate) fn pair(knock: Knock, plan: impl FnOnce(crate::harness::Plan) -> crate::harness::Plan) -> (Fedify, Node) {
    let fedify = Fedify::start(knock);
    let node = Node::start(plan(crate::harness::Plan::blog().allow(fedify.authority())));
    (fedify, node)
}
