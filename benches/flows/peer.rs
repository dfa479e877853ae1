//! Another engine for durable workflows that runs already: where its handlers are.

use std::net::SocketAddr;

use crate::rig::argument;
use crate::rig::caller::Call;

pub(crate) struct Peer {
    address: SocketAddr,
    body: String,
}

impl Peer {
    /// The one that the arguments name, if they do.
    pub(crate) fn named() -> Option<Self> {
        let url: String = argument("--peer-url", String::new());
        if url.is_empty() {
            return None;
        }
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let address = authority.parse().unwrap_or_else(|_| panic!("--peer-url is http://ADDRESS:PORT, not {url}"));
        Some(Self { address, body: argument("--peer-body", "1".to_owned()) })
    }

    /// Three steps, answered when they are done; each request is an instance of its own.
    pub(crate) fn steps(&self) -> Call {
        self.call("--peer-steps", "/Flow/{n}/run")
    }

    /// Adds one to the one counter there is.
    pub(crate) fn counter(&self) -> Call {
        self.call("--peer-counter", "/Counter/hot/add")
    }

    /// Adds one to one of many.
    pub(crate) fn keys(&self) -> Call {
        self.call("--peer-keys", "/Counter/k{key}/add")
    }

    /// Begins one that soon waits, answered when it is accepted.
    pub(crate) fn suspend(&self) -> Call {
        self.call("--peer-suspend", "/Gate/{n}/run/send")
    }

    /// Sends that one what it waits for.
    pub(crate) fn resume(&self) -> Call {
        self.call("--peer-resume", "/Gate/{n}/signal")
    }

    fn call(&self, argument_name: &str, usual: &str) -> Call {
        Call::post(self.address, &argument(argument_name, usual.to_owned()), &self.body)
    }
}
