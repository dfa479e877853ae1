//! Flows that another node runs: home and runner in one thread, each cut after any batch that it wrote, and each effect is
//! done once where it belongs. HTTP and signatures are left out: what is posted is handed to the other side's actors as its
//! door does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::entity::ActorId;
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::flow::{Command, Flow, Origin, Start};
use quickbeam::actors::hand::Told;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::lent::{self, Lend, Lent};
use quickbeam::actors::once::Once;
use quickbeam::actors::runtime::Runtime;
use quickbeam::actors::stream::Record;
use quickbeam::actors::{inspect, layout, record};
use quickbeam::clock::SharedClock;
use quickbeam::domains::flow::definition::Definition;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::kinds::{Remote, Runner, Runners};
use quickbeam::domains::flow::progress::{End, Phase, Progress};
use quickbeam::domains::identity::Iri;
use quickbeam::store::Batch;
use quickbeam::wire::error::Problem;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::dice::{self, Dice};
use super::engine::SteeredEngine;
use super::node::{JumpingClock, Node, Plan, on_system, settle};

const NAMES: [&str; 2] = ["home", "kernel"];
/// A request that nobody answers ends after this.
const DEADLINE: Duration = Duration::from_secs(10);
/// Seconds of the time that jumps: far more than any story takes.
const LONGEST: u32 = 3_600;

const DECLARED: &str = r#"
[flow.story]
steps.first = { effect = "notify", with = { text = "'first'" }, undo = true }
steps.pay = { http = "POST", url = "'https://pay.example/'", after = "first", undo = { http = "POST", url = "'https://pay.example/back'" } }
steps.asked = { suspend = "go", after = "pay" }
steps.nap = { wait = "5s", after = "asked" }
steps.many = { each = "['a', 'b']", effect = "notify", with = { text = "item" }, parallel = 2, after = "nap" }
steps.child = { call = "child", after = "many" }
result = "results.child"

[flow.child]
steps.said = { effect = "notify", with = { text = "'child'" } }
result = "'of the child'"
"#;

/// The disk of one side, and what lives on it.
type Life = (Arc<SteeredEngine>, Arc<Runtime>);

/// Both sides, and a service that remembers the keys of what it was asked.
struct Pair {
    clock: SharedClock,
    lives: Mutex<[Option<Life>; 2]>,
    service: Mutex<BTreeSet<String>>,
}

/// Goes out for one of them.
struct Way(Arc<Pair>, usize);

impl Outside for Way {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let (pair, from) = (self.0.clone(), self.1);
        Box::pin(async move {
            match errand {
                Errand::Http { request, place } | Errand::Lent { request, place } => {
                    let key = place.key.rsplit_once('~').map_or(place.key.as_str(), |(_, key)| key);
                    let key = key.split_once('/').map_or(key, |(_, key)| key);
                    pair.service.lock().insert(format!("{} {key}", request.url));
                    Report::Replied { status: 200, body: json!({}) }
                }
                Errand::Signed { url, key, body, .. } => pair.post(from, &url, &key, body).await,
                other => panic!("nobody is asked for {other:?}"),
            }
        })
    }
}

fn actor(side: usize) -> Iri {
    Iri::parse(&format!("https://{}.example/actor", NAMES[side])).unwrap()
}

fn part<T: DeserializeOwned>(body: &Value, name: &str) -> T {
    serde_json::from_value(body[name].clone()).unwrap()
}

impl Pair {
    async fn begin(clock: SharedClock) -> Arc<Self> {
        let pair = Arc::new(Self { clock, lives: Mutex::default(), service: Mutex::default() });
        for side in [1, 0] {
            pair.live(side, &[]).await;
        }
        pair
    }

    /// A life on what these batches wrote. What lived before is never heard of again.
    async fn live(self: &Arc<Self>, side: usize, before: &[Batch]) {
        let engine = SteeredEngine::with(before);
        let usual = Plan::default();
        let remote = Remote { base: format!("https://{}.example", NAMES[1]), actor: actor(1) };
        let (declares, runners) =
            if side == 0 { (DECLARED, Runners(vec![Runner::At(remote)])) } else { ("", Runners::default()) };
        let (outside, clock) = (Arc::new(Way(self.clone(), side)), self.clock.clone());
        let name = NAMES[side];
        let plan = Plan { name, declares, runners, outside, clock, kinds: Kinds::default(), ..usual };
        let node = Node::remembering(engine.clone(), plan).await;
        self.lives.lock()[side] = Some((engine, node.runtime));
    }

    fn engine(&self, side: usize) -> Arc<SteeredEngine> {
        self.lives.lock()[side].as_ref().unwrap().0.clone()
    }

    fn runtime(&self, side: usize) -> Option<Arc<Runtime>> {
        Some(self.lives.lock()[side].as_ref()?.1.clone())
    }

    async fn post(&self, from: usize, url: &str, key: &str, body: Value) -> Report {
        let Some(to) = self.runtime(1 - from) else { return Report::Unreachable { reason: "not up yet".into() } };
        let answer = tokio::time::timeout(DEADLINE, heard(&to, from, url, key, &body)).await;
        match answer {
            Ok(Ok(body)) => Report::Replied { status: 200, body },
            Ok(Err(problem)) => {
                Report::Replied { status: problem.status, body: serde_json::to_value(&*problem).unwrap() }
            }
            Err(_) => Report::TimedOut { reason: "nobody answers".into() },
        }
    }

    async fn flow(&self) -> Option<Progress> {
        let home = self.runtime(0).unwrap();
        inspect::state::<Flow>(&home, "story").await.unwrap()?.progress
    }

    /// What somebody says at home, as often as they have to: the second time changes nothing.
    async fn tell(&self, key: &str, command: Command) {
        let home = self.runtime(0).unwrap();
        let once = Some(Once::new("test", key, b""));
        drop(tokio::time::timeout(DEADLINE, home.registry().ask::<Flow>("story", command, once)).await);
    }

    async fn start(&self) {
        let definition = self.runtime(0).unwrap().world.catalog.current("story").unwrap().hash.0.clone();
        let origin = Origin::Api { by: "test".into() };
        let start = Start { name: "story".into(), definition, input: Input::default(), origin };
        self.tell("start", Command::Start(Box::new(start))).await;
    }

    fn notices(&self, side: usize) -> Vec<String> {
        let rows = self.engine(side).area(b'r').into_iter();
        let records = rows.filter_map(|row| record::decode::<Record>(&row.value).ok());
        let mut told: Vec<String> =
            records.filter_map(|record| Some(record.value["text"].as_str()?.to_owned())).collect();
        told.sort();
        told
    }
}

/// What the door of a node makes of a request.
async fn heard(to: &Runtime, from: usize, url: &str, key: &str, body: &Value) -> Result<Value, Box<Problem>> {
    let by = actor(from);
    let once = Some(Once::new(&format!("node {by}"), key, body.to_string().as_bytes()));
    let path = url.split(".example/flow/").nth(1).unwrap();
    let (what, id) = path.split_once('/').unwrap_or((path, ""));
    let (hold, from_number) = (|| part(body, "hold"), || part(body, "from"));
    let command = match what {
        "start" => return taken(to, by, body, once).await,
        "words" => Command::Words { by, hold: hold(), from: from_number(), words: part(body, "words") },
        "release" => Command::Released { by },
        "effects" => Command::Told(Box::new(Told {
            by,
            instance: part(body, "instance"),
            hold: hold(),
            from: from_number(),
            turns: part(body, "turns"),
        })),
        other => panic!("nobody is asked to {other}"),
    };
    if !inspect::exists(to, &ActorId::of::<Flow>(id)).await.unwrap() {
        return Err(Box::new(Problem::not_found(format!("there is no flow {id} here"))));
    }
    let told = to.registry().ask::<Flow>(id, command, once).await;
    told.map(|_| json!({ "status": "taken" })).map_err(|error| Box::new(Problem::from(error)))
}

async fn taken(to: &Runtime, home: Iri, body: &Value, once: Option<Once>) -> Result<Value, Box<Problem>> {
    let definition: Definition = part(body, "definition");
    let (name, hash, bytes) = (definition.name.clone(), definition.hash().0, definition.to_bytes());
    keep(to, &hash, &bytes).await;
    let (instance, hold): (String, u32) = (part(body, "instance"), part(body, "hold"));
    let id = lent::id(&home, &instance, hold);
    let lent = Lent { home, instance, hold, heard: part(body, "heard"), line: Default::default(), gone: false };
    let (input, progress) = (part(body, "input"), part(body, "progress"));
    let lend = Lend { name, definition: hash, input, lent, progress };
    let taken = to.registry().ask::<Flow>(&id, Command::Lend(Box::new(lend)), once).await;
    taken.map(|_| json!({ "id": id })).map_err(|error| Box::new(Problem::from(error)))
}

/// A definition is kept for as long as instances may need it.
async fn keep(to: &Runtime, hash: &str, bytes: &[u8]) {
    let puts = vec![(layout::definition(hash), bytes.to_vec().into())];
    drop(to.engine.commit(Batch { fence: to.fence(), puts, ..Batch::default() }).await);
    to.world.catalog.add_stored(bytes).unwrap();
}

/// What can be seen of how it ended.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    end: Option<End>,
    home: Vec<String>,
    kernel: Vec<String>,
    service: BTreeSet<String>,
}

/// Where a life ends: whose, and after how many batches.
type Cut = (usize, usize);

/// Tells the story, and gives how many batches each side wrote before it began and in all.
fn told(cancels: bool, cut: Option<Cut>) -> (Seen, [(usize, usize); 2]) {
    let result = Arc::new(Mutex::new(None));
    let tell = result.clone();
    on_system(async move {
        let pair = Pair::begin(JumpingClock::shared()).await;
        let before = [0, 1].map(|side| pair.engine(side).landed().len());
        if let Some((side, batches)) = cut {
            pair.engine(side).hold_at(batches);
        }
        let (mut quiet, mut open, mut seconds) = (0, cut, 0);
        while quiet < 3 {
            seconds += 1;
            assert!(seconds < LONGEST, "it does not come to its end: {:?}", pair.flow().await);
            if let Some((side, _)) = open.filter(|(side, _)| pair.engine(*side).held() > 0) {
                let landed = pair.engine(side).landed();
                pair.live(side, &landed).await;
                open = None;
            }
            let flow = pair.flow().await;
            match &flow {
                None => pair.start().await,
                Some(flow) if flow.phase() == Phase::Suspended && flow.waiting().next().is_some() => {
                    let go = Command::Resume { signal: Some("go".into()), payload: json!({}), by: None };
                    let cancel = Command::Cancel { by: None, reason: "enough".into() };
                    pair.tell("go", if cancels { cancel } else { go }).await;
                }
                Some(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            settle().await;
            let rests = |side: usize| [b'm', b'x'].iter().all(|letter| pair.engine(side).area(*letter).is_empty());
            let rests = flow.is_some_and(|flow| flow.end.is_some()) && rests(0) && rests(1);
            quiet = if rests { quiet + 1 } else { 0 };
        }
        assert_eq!(open, None, "nobody was cut");
        let end = pair.flow().await.unwrap().end;
        let (home, kernel) = (pair.notices(0), pair.notices(1));
        let seen = Seen { end, home, kernel, service: pair.service.lock().clone() };
        let written = [0, 1].map(|side| (before[side], pair.engine(side).landed().len()));
        *tell.lock() = Some((seen, written));
    });
    result.lock().take().unwrap()
}

fn cuts(written: [(usize, usize); 2]) -> Vec<Cut> {
    let mut cuts: Vec<Cut> =
        written.into_iter().enumerate().flat_map(|(side, (from, to))| (from..to).map(move |at| (side, at))).collect();
    let most = if dice::is_long() { usize::MAX } else { 40 };
    let mut dice = Dice::of(dice::seed("cuts of a runner"));
    while cuts.len() > most {
        cuts.swap_remove(usize::try_from(dice.below(cuts.len() as u64)).unwrap());
    }
    cuts
}

fn ends_the_same(cancels: bool, look: impl Fn(&Seen)) {
    let (whole, written) = told(cancels, None);
    look(&whole);
    assert!(whole.kernel.is_empty(), "nothing is done at the runner that is the home's: {whole:?}");
    let sides: BTreeMap<usize, usize> = written.iter().map(|(from, to)| to - from).enumerate().collect();
    assert!(sides.values().all(|batches| *batches > 5), "both write enough to be cut: {sides:?}");
    for cut in cuts(written) {
        let (now, _) = told(cancels, Some(cut));
        assert_eq!(now, whole, "{} is cut after {} of {written:?}", NAMES[cut.0], cut.1);
    }
}

#[test]
fn a_flow_that_another_node_runs_ends_the_same_wherever_either_is_cut() {
    ends_the_same(false, |whole| {
        assert_eq!(whole.end, Some(End::Done { result: json!("of the child") }));
        assert_eq!(whole.home, ["a", "b", "child", "first"]);
        assert_eq!(whole.service.len(), 1, "{:?}", whole.service);
    });
}

#[test]
fn one_that_is_cancelled_is_taken_back_at_home_and_at_services_wherever_either_is_cut() {
    ends_the_same(true, |whole| {
        assert!(matches!(whole.end, Some(End::Cancelled { .. })), "{whole:?}");
        assert!(whole.home.is_empty(), "{whole:?}");
        assert_eq!(whole.service.len(), 2, "{:?}", whole.service);
    });
}
