//! Hostile requests, class by class: each is refused with its status and reason in time, changes nothing, makes the node
//! ask nobody, and leaves it as large and as ready for honest peers as before.

mod authority;
mod bodies;
mod draft;
mod floods;
mod http;
mod keys;
mod proofs;
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::{Node, Plan};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Signed};

/// A refusal is quick, whatever it is that is refused.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What a class may leave in a node's memory: what the allocator keeps of a body of 1 MiB, and not one of each request.
const MEMORY_MAX: u64 = 24 << 20;
/// What the issue asks for; the classes have more.
const CASES_MIN: usize = 150;
/// How long a second answer on one connection is waited for.
const SECOND: Duration = Duration::from_millis(300);

/// What is sent, made when it is due: signatures have their time.
type Make = Box<dyn Fn(&Stage) -> Vec<u8>>;

/// A hostile request, and how it has to end.
struct Case {
    name: String,
    status: u16,
    /// A word of the reason; empty where the HTTP library answers, which gives none.
    word: &'static str,
    bytes: Make,
    /// Connections to the peer that it may cost.
    asks: usize,
}

/// A node, with those who have to do with it.
struct Stage {
    node: Node,
    /// Known and honest; what is forged is forged in its name.
    peer: Peer,
    /// Listed, and never heard of.
    neighbour: Peer,
    /// Where nobody may connect to.
    inside: Peer,
}

/// A class: a node for it, and its cases.
struct Class {
    plan: fn(Plan) -> Plan,
    prepare: fn(&Stage),
    cases: Vec<Case>,
}

fn case(name: impl Into<String>, status: u16, word: &'static str, make: impl Fn(&Stage) -> Call + 'static) -> Case {
    raw(name, status, word, move |stage| {
        let call = make(stage);
        [call.head(&stage.node.authority()).into_bytes(), call.body].concat()
    })
}

fn raw(name: impl Into<String>, status: u16, word: &'static str, bytes: impl Fn(&Stage) -> Vec<u8> + 'static) -> Case {
    Case { name: name.into(), status, word, bytes: Box::new(bytes), asks: 0 }
}

impl Case {
    fn asks(self, asks: usize) -> Self {
        Self { asks, ..self }
    }
}

impl Class {
    fn of(cases: Vec<Case>) -> Self {
        Self { plan: |plan| plan, prepare: |_| (), cases }
    }

    /// Sends all of them, one after the other, and says what is wrong with each.
    #[track_caller]
    fn run(self) {
        let stage = Stage::new(self.plan);
        (self.prepare)(&stage);
        stage.node.settle();
        let memory = stage.memory();
        let (mut before, mut wrong) = (stage.everything(), Vec::new());
        for case in &self.cases {
            wrong.extend(stage.meets(case).err().map(|why| format!("{}: {why}", case.name)));
            let after = stage.everything();
            if before != after {
                wrong.push(format!("{} changed something: {before} became {after}", case.name));
            }
            before = after;
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), self.cases.len(), wrong.join("\n"));
        stage.serves_others();
        let grown = stage.memory().saturating_sub(memory);
        println!("{} requests, {} KiB more", self.cases.len(), grown >> 10);
        assert!(grown <= MEMORY_MAX, "{} requests left {grown} bytes behind", self.cases.len());
    }
}

impl Stage {
    fn new(plan: fn(Plan) -> Plan) -> Self {
        let (peer, neighbour, inside) = (Peer::start(), Peer::start(), Peer::start());
        // What is refused counts for this address: the classes are about why, and their floods about how often.
        let base = Plan::events().allow(peer.authority()).allow(neighbour.authority());
        let base = base.limit("address_failures = 1_000_000").limit("key_fetch_timeout = \"1s\"");
        let stage = Self { node: Node::start(plan(base)), peer, neighbour, inside };
        stage.peer.follows(&stage.node);
        // The one new look at a key that did not fit is used up, so that nothing else may cost one.
        stage.signed().change(|it| it.forged = true).send(&stage.node).refused(403);
        stage
    }

    fn follow(&self) -> Value {
        self.peer.activity("Follow", self.node.actor().into())
    }

    /// A Follow that would be taken as it is.
    fn signed(&self) -> Signed {
        self.peer.sign(&self.node, &self.follow())
    }

    fn everything(&self) -> Value {
        json!({ "all": self.node.everything(), "notices": self.node.notices() })
    }

    fn connections(&self) -> [usize; 3] {
        [&self.peer, &self.neighbour, &self.inside].map(Peer::connections)
    }

    /// Sends one, and looks at the answer.
    ///
    /// # Errors
    /// In what it is another one than it should be.
    fn meets(&self, case: &Case) -> Result<(), String> {
        let (clock, [peer, neighbour, inside]) = (SystemClock::default(), self.connections());
        let answer = exchange(self.node.plan.spot.public, &(case.bytes)(self)).map_err(|error| error.to_string())?;
        let took = clock.monotonic();
        let now = self.connections();
        let again = answer.header("retry-after").is_some();
        match () {
            () if took > ANSWER_MAX => Err(format!("answered after {took:?}")),
            () if answer.status != case.status => Err(format!("{} is due: {answer}", case.status)),
            () if !answer.text().contains(case.word) => Err(format!("{:?} is not said: {answer}", case.word)),
            () if answer.status == 503 && !again => Err(format!("it is not said when to come again: {answer}")),
            () if now[0] > peer + case.asks || now[1..] != [neighbour, inside] => {
                Err(format!("somebody was asked: {now:?} connections, before {:?}", [peer, neighbour, inside]))
            }
            () => Ok(()),
        }
    }

    /// The known peer is heard, and whoever reads is served.
    #[track_caller]
    fn serves_others(&self) {
        let clock = SystemClock::default();
        let follow = self.follow();
        self.peer.sends(&self.node, &follow, "taken");
        self.peer.awaits("Accept", follow["id"].as_str());
        self.node.send(&Call::get("/actor")).expect(200);
        let took = clock.monotonic();
        assert!(took <= ANSWER_MAX, "honest requests took {took:?}");
    }

    /// Bytes of memory that the node has.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.node.process_id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

/// Sends these bytes, and gives the one answer; another one on the same connection is an error.
fn exchange(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_nodelay(true)?;
    // A server may answer, and close, before it has read all.
    let written = stream.write_all(bytes);
    let answer = Answer::read(&mut stream).map_err(|error| written.err().unwrap_or(error))?;
    stream.set_read_timeout(Some(SECOND))?;
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    match rest.is_empty() {
        true => Ok(answer),
        false => Err(std::io::Error::other(format!("a second answer: {}", String::from_utf8_lossy(&rest)))),
    }
}

fn classes() -> Vec<(&'static str, usize)> {
    vec![
        ("signatures by RFC 9421", signature::cases().len()),
        ("signatures by the draft", draft::cases().len()),
        ("proofs", proofs::cases().len()),
        ("key addresses", keys::addresses().len()),
        ("key documents", keys::DOCUMENTS.len()),
        ("bodies", bodies::cases().len()),
        ("authority", authority::cases().len()),
        ("HTTP", http::cases().len()),
        ("floods", floods::FLOODS),
    ]
}

#[test]
fn there_are_as_many_hostile_requests_as_were_asked_for_and_no_two_have_one_name() {
    let counts = classes();
    let count: usize = counts.iter().map(|(_, count)| count).sum();
    println!("{count} hostile requests: {counts:?}");
    assert!(count >= CASES_MIN, "{count}: {counts:?}");
    for cases in [
        signature::cases(),
        draft::cases(),
        proofs::cases(),
        keys::addresses(),
        bodies::cases(),
        authority::cases(),
        http::cases(),
    ] {
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "a name stands twice among {names:?}");
        assert!(cases.iter().all(|case| (400..500).contains(&case.status) || case.status == 503));
    }
}
