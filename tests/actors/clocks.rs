//! Clocks that are set by a year while flows wait: what is due comes once, what is not due is not lost, and nothing comes
//! twice when the clock is right again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::flow::{Command, Flow, Origin, Start};
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::log::Entry;
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Record, Stream};
use quickbeam::actors::{inspect, layout, record};
use quickbeam::domains::activity::Verb;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::store::{Engine, Key, Span};
use serde_json::{Value, json};

use super::dags::answer;
use super::engine::SteeredEngine;
use super::node::{self, JumpingClock, Node, Plan, on_system, settle};

const YEAR: i64 = 365 * 86_400_000;
const HOUR: u64 = 3_600;

const DECLARED: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[flow.wait]
steps.night = { wait = "2h" }
steps.told = { effect = "notify", after = "night", with = { text = "'wait'" } }

[flow.suspend]
steps.ask = { suspend = "go", timeout = "2h", otherwise = "told" }
steps.told = { effect = "notify", with = { text = "'suspend'" } }

[flow.ask]
steps.q = { ask = "allocate", object = "'thing'", target = "'https://there.example/calendars/1'", to = "'https://there.example/actor'", timeout = "2h", otherwise = "told" }
steps.told = { effect = "notify", with = { text = "'ask'" } }

[flow.silent]
steps.never = { suspend = "never" }

[flow.call]
steps.child = { call = "silent", timeout = "2h", otherwise = "told" }
steps.told = { effect = "notify", with = { text = "'call'" } }

[flow.callback]
steps.h = { http = "POST", url = "'https://work.example/callback'", body = { back = "callback_url" }, callback = "2h", otherwise = "told" }
steps.told = { effect = "notify", with = { text = "'callback'" } }

[flow.retry]
steps.h = { http = "POST", url = "'https://work.example/once-not'", retry = { attempts = 3, delay = "2h" } }
steps.told = { effect = "notify", after = "h", with = { text = "'retry'" } }

[flow.undo]
steps.h = { http = "POST", url = "'https://work.example/done'", undo = { http = "POST", url = "'https://work.example/once-not-back'" }, retry = { attempts = 3, delay = "2h" } }
steps.no = { http = "POST", url = "'https://work.example/refused'", after = "h" }
"#;
/// Each waits for two hours of something, and ends when they have passed.
const WAITS: [&str; 7] = ["wait", "suspend", "ask", "call", "callback", "retry", "undo"];

/// Services: one refuses, some cannot be had the first time, and each remembers how often it was asked.
#[derive(Default)]
struct Services(Mutex<BTreeMap<String, u32>>);

impl Outside for Services {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let report = match errand {
            Errand::Http { request, .. } => {
                let what = request.url.rsplit('/').next().unwrap().to_owned();
                let mut asked = self.0.lock();
                let times = asked.entry(what.clone()).or_default();
                *times += 1;
                let status = match (what.as_str(), *times) {
                    ("refused", _) => 400,
                    ("once-not" | "once-not-back", 1) => 503,
                    _ => 200,
                };
                Report::Replied { status, body: Value::Null }
            }
            Errand::Deliver { .. } => node::answered(202),
            other => panic!("nobody is asked for {other:?}"),
        };
        Box::pin(async move { report })
    }
}

struct Life {
    node: Node,
    engine: Arc<SteeredEngine>,
    clock: Arc<JumpingClock>,
    services: Arc<Services>,
}

/// What the flow that asks for something asks it for.
async fn make_thing(node: &Node) {
    let create = stream::Create {
        kind: "note".into(),
        fields: json!({ "title": "thing" }),
        to: Vec::new(),
        visibility: None,
        attributed_to: None,
        into: None,
    };
    let thing = stream::object_stream("thing");
    node.runtime.registry().ask::<Stream>(&thing, stream::Command::Create(create), None).await.unwrap();
}

async fn start(node: &Node, flow: &str, id: &str) {
    let definition = node.runtime.world.catalog.current(flow).unwrap().hash.0.clone();
    let origin = Origin::Api { by: "test".into() };
    let start = Start { name: flow.into(), definition, input: Input::default(), origin };
    node.runtime.registry().ask::<Flow>(id, Command::Start(Box::new(start)), None).await.unwrap();
}

impl Life {
    async fn begin() -> Self {
        let (engine, services) = (SteeredEngine::shared(), Arc::new(Services::default()));
        let clock = JumpingClock::steered(Duration::ZERO);
        let (outside, kinds) = (services.clone(), Kinds::default());
        let plan = Plan { declares: DECLARED, kinds, outside, clock: clock.clone(), ..Plan::default() };
        let node = Node::start(engine.clone(), plan).await;
        make_thing(&node).await;
        Self { node, engine, clock, services }
    }

    /// Instances of all flows that wait, with this behind their names.
    async fn start(&self, which: &str) {
        for flow in WAITS {
            start(&self.node, flow, &format!("{flow}{which}")).await;
        }
        self.pass(600).await;
    }

    /// So many seconds go by. The peer confirms every Undo, and answers nothing else.
    async fn pass(&self, seconds: u64) {
        for _ in 0..=seconds / 300 {
            tokio::time::sleep(Duration::from_secs(seconds.min(300))).await;
            settle().await;
            let prefix = layout::index_prefix(Index::Activities, &Key::default());
            for row in self.engine.range(Span::prefix(&prefix, 1_000)).await.unwrap() {
                let entry: Entry = record::decode(&row.value).unwrap();
                if entry.verb == Verb::Undo {
                    answer(&self.node, entry.id.as_str(), true).await;
                }
            }
            settle().await;
        }
    }

    async fn phases(&self, which: &str) -> Vec<(&'static str, Phase)> {
        let mut phases = Vec::new();
        for flow in WAITS {
            let state = inspect::state::<Flow>(&self.node.runtime, &format!("{flow}{which}")).await.unwrap().unwrap();
            phases.push((flow, state.progress.unwrap().phase()));
        }
        phases
    }

    async fn end(&self, which: &str) {
        for (flow, phase) in self.phases(which).await {
            assert_eq!(phase, if flow == "undo" { Phase::Failed } else { Phase::Done }, "{flow}{which}");
        }
    }

    async fn wait(&self, which: &str) {
        for (flow, phase) in self.phases(which).await {
            assert!(!phase.is_end(), "{flow}{which} is {phase:?}");
        }
    }

    /// What was told, and how often services were asked, in `lives` instances of each flow.
    fn each_came_once(&self, instances: u32) {
        let mut told = BTreeMap::new();
        for row in self.engine.area(b'r') {
            if let Ok(Record { value, .. }) = record::decode::<Record>(&row.value) {
                *told.entry(value["text"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        let expected = WAITS.iter().filter(|flow| **flow != "undo").map(|flow| ((*flow).to_owned(), instances));
        assert_eq!(told, expected.collect::<BTreeMap<String, u32>>());
        let asked = self.services.0.lock().clone();
        // Of the first instance the first try failed.
        let expected = [
            ("callback", instances),
            ("done", instances),
            ("once-not", instances + 1),
            ("once-not-back", instances + 1),
            ("refused", instances),
        ];
        assert_eq!(asked, BTreeMap::from(expected.map(|(what, times)| (what.to_owned(), times))));
        let timers = self.engine.area(b't');
        let left: Vec<String> = timers.iter().filter_map(|row| Some(layout::owner(&row.key)?.to_string())).collect();
        assert!(left.iter().all(|owner| !owner.starts_with("flow/")), "{left:?}");
    }
}

#[test]
fn a_clock_that_jumps_a_year_ahead_brings_what_is_due_at_once_and_each_thing_once() {
    on_system(async {
        let life = Life::begin().await;
        life.start("").await;
        life.wait("").await;
        life.clock.set(YEAR);
        life.pass(30).await;
        life.end("").await;
        life.each_came_once(1);
        // When it is right again, and when it passes those moments once more, nothing comes twice.
        life.clock.set(-YEAR);
        life.pass(6 * HOUR).await;
        life.each_came_once(1);
    });
}

#[test]
fn a_clock_that_was_set_back_a_year_loses_nothing_and_what_begins_meanwhile_takes_its_own_time() {
    on_system(async {
        let life = Life::begin().await;
        life.start("").await;
        life.clock.set(-YEAR);
        life.pass(600).await;
        life.wait("").await;
        life.start(" later").await;
        life.pass(3 * HOUR).await;
        life.end(" later").await;
        // Right again: what waited longer than it should comes now, and once.
        life.clock.set(YEAR);
        life.pass(30).await;
        life.end("").await;
        life.pass(6 * HOUR).await;
        life.each_came_once(2);
    });
}

#[test]
fn what_a_clock_that_was_set_back_holds_up_is_moved_on_by_verbs() {
    on_system(async {
        let life = Life::begin().await;
        life.start("").await;
        life.clock.set(-YEAR);
        let registry = life.node.runtime.registry();
        let retry = || Command::Retry { step: None, by: None };
        let skip = |step: &str| Command::Skip { step: step.into(), item: None, result: Value::Null, by: None };
        let resume = Command::Resume { signal: None, payload: Value::Null, by: None };
        let told = [
            ("wait", skip("night")),
            ("suspend", resume),
            ("callback", skip("h")),
            ("retry", retry()),
            ("undo", retry()),
        ];
        for (flow, command) in told {
            registry.ask::<Flow>(flow, command, None).await.unwrap();
        }
        for flow in ["ask", "call"] {
            let cancel = Command::Cancel { by: None, reason: "enough".into() };
            registry.ask::<Flow>(flow, cancel, None).await.unwrap();
        }
        life.pass(600).await;
        let ended = life.phases("").await;
        assert!(ended.iter().all(|(_, phase)| phase.is_end()), "{ended:?}");
        // The alarms of what was moved on come to nothing when their time comes after all.
        life.clock.set(YEAR);
        life.pass(6 * HOUR).await;
        assert_eq!(life.phases("").await, ended);
    });
}

#[test]
fn what_a_peer_did_not_take_is_sent_again_within_the_longest_pause_when_the_clock_was_set_back() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let clock = JumpingClock::steered(Duration::ZERO);
        let outside = Arc::new(node::Scripted { reports: Mutex::new(vec![node::answered(503)]), ..Default::default() });
        let (kinds, told) = (Kinds::default(), outside.clone());
        let plan = Plan { declares: DECLARED, kinds, outside, clock: clock.clone(), ..Plan::default() };
        let node = Node::start(engine, plan).await;
        make_thing(&node).await;
        start(&node, "ask", "ask").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(told.done.lock().len(), 1);
        clock.set(-YEAR);
        tokio::time::sleep(Duration::from_secs(3 * HOUR)).await;
        assert!(told.done.lock().len() > 1, "it is held up");
    });
}
