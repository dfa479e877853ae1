//! A node as a child process: its folder made as `init` makes it, its configuration from the template.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quickbeam::config::template::{Answers, Template, render};
use quickbeam::wire::key::NodeKey;
use quickbeam::{private, tokens};
use serde_json::Value;

use super::argument;
use super::http::Client;
use super::process::Process;

const START_MAX: u32 = 60_000;
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a node is started with.
pub(crate) struct Recipe {
    folder: PathBuf,
    pub(crate) public: SocketAddr,
    admin: SocketAddr,
    token: String,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) public: Client,
    pub(crate) admin: Client,
}

impl Recipe {
    /// Writes configuration, key and token. `settings` is TOML put behind the template.
    pub(crate) fn write(folder: &Path, template: Template, allow: Vec<String>, settings: &str) -> Self {
        let public = free_port();
        let admin = std::iter::repeat_with(free_port).find(|port| *port != public).unwrap();
        let answers = Answers {
            name: "bench".to_owned(),
            base: format!("http://{public}"),
            data: Some("data".to_owned()),
            listen: Some(public.to_string()),
            admin_listen: Some(admin.to_string()),
            fetch_allow: allow,
            ..Answers::default()
        };
        let text = format!("{}\n{settings}\n", render(template, &answers));
        std::fs::write(folder.join("quickbeam.toml"), text).unwrap();
        let data = folder.join("data");
        private::make_folder(&data).unwrap();
        private::create(&data.join(private::KEY_FILE), NodeKey::from_seed([9; 32]).to_pem().as_bytes()).unwrap();
        let token = tokens::token_of(&[8; tokens::SEED_BYTES]).unwrap();
        private::create(&tokens::admin_file(&data), token.as_bytes()).unwrap();
        Self { folder: folder.to_owned(), public, admin, token }
    }

    /// Starts the node and returns when it takes work.
    pub(crate) fn start(&self) -> Node {
        let node = self.launch();
        node.wait_until_ready();
        node
    }

    /// Starts the node and returns at once.
    pub(crate) fn launch(&self) -> Node {
        let mut command = Command::new(argument("--node", env!("CARGO_BIN_EXE_quickbeam").to_owned()));
        command.arg("serve").arg("--config").arg(self.folder.join("quickbeam.toml")).arg("--exit-with-stdin");
        command.env("RUST_LOG", "warn");
        let client = |address| Client { address, token: self.token.clone() };
        Node { process: Process::start(&mut command), public: client(self.public), admin: client(self.admin) }
    }
}

impl Node {
    pub(crate) fn wait_until_ready(&self) {
        for _ in 0..START_MAX {
            if matches!(self.admin.ask("GET", "/ready", &Value::Null), Some((200, _))) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("the node does not get ready");
    }

    pub(crate) fn status(&self) -> Value {
        self.admin.must("GET", "/admin/status", &Value::Null)
    }

    /// Returns when the node has taken no turn for a moment.
    pub(crate) fn wait_until_quiet(&self) {
        let turns = || self.status()["counters"]["turns"].as_u64().unwrap();
        let mut before = turns();
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = turns();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// Nobody else gets it in the moment until it is used, or the benchmark stops and says so.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
