//! Work for a node that may be gone any moment: each request is repeated, as it was, until it is acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Node, within};
use crate::http::{Answer, Call};
use crate::peer::Peer;

/// A node that was killed is up again long before.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(120);
/// Between two tries, so that a node that starts is not busy with refusing.
const PAUSE: Duration = Duration::from_millis(5);
/// Requests that are repeated when all is over.
const SAMPLES: usize = 60;

/// What was acknowledged.
#[derive(Debug, Default, Clone)]
pub(crate) struct Done {
    /// Ids of objects, and of the activities that tell of them.
    pub(crate) published: BTreeMap<String, String>,
    pub(crate) titles: Vec<String>,
    /// Ids of instances, and the notes that they were resumed with.
    pub(crate) flows: BTreeMap<String, String>,
    /// Ids of objects of others.
    pub(crate) heard: Vec<String>,
    pub(crate) samples: Vec<(Call, Value)>,
    /// Requests whose first answer was lost, or that the node could not take at first.
    pub(crate) repeated: u64,
}

/// Workers of one node, and what they have done.
pub(crate) struct Load<'a> {
    node: &'a Node,
    over: AtomicBool,
    done: Mutex<Done>,
}

/// Ends the work when it is dropped, also when the test fails: else its workers would go on for ever.
pub(crate) struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a> Load<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self { node, over: AtomicBool::new(false), done: Mutex::default() }
    }

    pub(crate) fn ending(&self) -> Ending<'_> {
        Ending(&self.over)
    }

    pub(crate) fn done(&self) -> Done {
        self.done.lock().clone()
    }

    fn rounds(&self) -> impl Iterator<Item = u64> {
        (0..).take_while(|_| !self.over.load(Ordering::SeqCst))
    }

    /// Sends a request until the node says that it is done.
    pub(crate) fn until_acknowledged(&self, call: &Call) -> Answer {
        let mut tries: u64 = 0;
        let answer = within(ACKNOWLEDGED_MAX, || {
            tries += 1;
            match self.node.try_send(call) {
                Some(answer) if (200..300).contains(&answer.status) => Some(answer),
                // Starting, stopping, or in doubt: the same again.
                Some(answer) if answer.status == 503 => {
                    sleep(PAUSE);
                    None
                }
                Some(answer) => panic!("{} {}: {answer}\n{}", call.method, call.target, self.node.log()),
                None => None,
            }
        });
        self.done.lock().repeated += tries - 1;
        answer.unwrap_or_else(|| panic!("{} is never acknowledged:\n{}", call.target, self.node.log()))
    }

    /// Writes articles.
    pub(crate) fn publish(&self, worker: u64) {
        for n in self.rounds() {
            let title = format!("article {worker} {n}");
            let call = Call::post("/api/objects/article").token(&self.node.token).key(&format!("p-{worker}-{n}"));
            let call = call.json(&json!({ "title": title }));
            let answer = self.until_acknowledged(&call).json();
            let text = |field: &str| answer[field].as_str().unwrap().to_owned();
            let mut done = self.done.lock();
            done.published.insert(text("id"), text("activity"));
            done.titles.push(title);
            if done.samples.len() < SAMPLES {
                done.samples.push((call, answer));
            }
        }
    }

    /// Starts flows that wait for a signal, and sends it.
    pub(crate) fn flows(&self, worker: u64) {
        for n in self.rounds() {
            let key = |what: &str| format!("{what}-{worker}-{n}");
            let start = Call::post("/flow/start/asking").token(&self.node.token).key(&key("s"));
            let start = start.header("prefer", "wait=20").json(&json!({ "n": n }));
            let id = self.until_acknowledged(&start).json()["id"].as_str().unwrap().to_owned();
            let note = format!("{worker}/{n}");
            let resume = Call::post(&format!("/flow/resume/{id}")).token(&self.node.token).key(&key("r"));
            self.until_acknowledged(&resume.json(&json!({ "signal": "go", "payload": { "note": note } })));
            self.done.lock().flows.insert(id, note);
        }
    }

    /// Sends activities of a peer.
    pub(crate) fn hear(&self, sender: &Peer) {
        for n in self.rounds() {
            let create = sender.create(&format!("song {n}"));
            self.until_acknowledged(&sender.sign(self.node, &create).call());
            self.done.lock().heard.push(create["object"]["id"].as_str().unwrap().to_owned());
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (published, flows, heard) = (self.published.len(), self.flows.len(), self.heard.len());
        write!(out, "{published} articles, {flows} flows, {heard} activities of others, {} repeats", self.repeated)
    }
}
