//! Limits of flows in the real shell: never more at once than they say, in order, and nobody is held up by one that was
//! lost, also when the node is cut after every batch that it wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::flow::{Command, Flow, Origin, Start};
use quickbeam::actors::gate::{self, About, Gate};
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::once::Once;
use quickbeam::actors::rows::Index;
use quickbeam::actors::{layout, record};
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::limits::Limit;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::store::{Batch, Engine, Key, Span};
use serde_json::{Value, json};

use super::engine::SteeredEngine;
use super::node::{Node, Plan, on_system, settle};

const DECLARED: &str = r#"
[flow.job]
concurrency = { key = "input.k", max = 1 }
steps.work = { http = "POST", url = "'https://work.example/' + input.k + '/' + input.n" }
[flow.slow]
concurrency = { max = 2 }
rate = { max = 1, per = "10m" }
steps.work = { http = "POST", url = "'https://work.example/slow/' + input.n" }
"#;

/// A service that takes a while, and counts who is there at the same time. The one called `bad` is refused.
#[derive(Default)]
struct Service {
    /// By key: now, and the most there ever were.
    there: Mutex<BTreeMap<String, (u32, u32)>>,
    /// In the order in which they first came.
    heard: Mutex<Vec<String>>,
}

impl Outside for Door {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let Errand::Http { request, .. } = errand else { panic!("nothing is delivered here") };
        let service = self.0.clone();
        Box::pin(async move {
            let parts: Vec<&str> = request.url.rsplit('/').collect();
            let (name, key) = (parts[0].to_owned(), parts[1].to_owned());
            service.comes(&name, &key);
            tokio::time::sleep(Duration::from_secs(5)).await;
            service.there.lock().get_mut(&key).unwrap().0 -= 1;
            Report::Replied { status: if name == "bad" { 400 } else { 200 }, body: Value::Null }
        })
    }
}

impl Service {
    fn comes(&self, name: &str, key: &str) {
        let mut heard = self.heard.lock();
        if !heard.iter().any(|known| known == name) {
            heard.push(name.to_owned());
        }
        let mut there = self.there.lock();
        let (now, most) = there.entry(key.to_owned()).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }
}

struct Door(Arc<Service>);

async fn node_on(engine: &Arc<SteeredEngine>, service: &Arc<Service>) -> Node {
    let outside = Arc::new(Door(service.clone()));
    let plan = Plan { declares: DECLARED, kinds: Kinds::default(), outside, ..Plan::default() };
    Node::start(engine.clone(), plan).await
}

async fn start(node: &Node, flow: &str, id: &str, k: &str) {
    let definition = node.runtime.world.catalog.current(flow).unwrap().hash.0.clone();
    let input = Input { input: json!({ "k": k, "n": id }), ..Input::default() };
    let start = Start { name: flow.into(), definition, input, origin: Origin::Api { by: "test".into() } };
    let once = Some(Once::new("test", id, id.as_bytes()));
    node.runtime.registry().ask::<Flow>(id, Command::Start(Box::new(start)), once).await.unwrap();
}

async fn cancel(node: &Node, id: &str) {
    let command = Command::Cancel { by: None, reason: "enough".into() };
    // It may have been cancelled before the cut.
    drop(node.runtime.registry().ask::<Flow>(id, command, None).await);
}

/// Everything that a node is asked to do.
async fn story(node: &Node) {
    for id in ["one", "bad", "three", "four"] {
        start(node, "job", id, "a").await;
    }
    start(node, "job", "other", "b").await;
    cancel(node, "three").await;
}

async fn rest(engine: &SteeredEngine) {
    let mut quiet = 0;
    while quiet < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        settle().await;
        let waits = !engine.area(b'm').is_empty() || !engine.area(b'x').is_empty();
        quiet = if waits { 0 } else { quiet + 1 };
    }
}

async fn phase(node: &Node, id: &str) -> Phase {
    let flow = inspect::state::<Flow>(&node.runtime, id).await.unwrap().unwrap();
    flow.progress.unwrap().phase()
}

async fn gates(engine: &Arc<SteeredEngine>) -> Vec<gate::Listed> {
    let prefix = layout::index_prefix(Index::Gates, &Key::default());
    let rows = engine.range(Span::prefix(&prefix, 100)).await.unwrap();
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

const ENDS: [(&str, Phase); 5] = [
    ("one", Phase::Done),
    ("bad", Phase::Failed),
    ("three", Phase::Cancelled),
    ("four", Phase::Done),
    ("other", Phase::Done),
];

fn whole() -> (Vec<Batch>, usize) {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    on_system(async move {
        let (engine, service) = (SteeredEngine::shared(), Arc::new(Service::default()));
        let node = node_on(&engine, &service).await;
        story(&node).await;
        settle().await;
        let acknowledged = engine.landed().len();
        assert_eq!(phase(&node, "four").await, Phase::Queued);
        let shown = gates(&engine).await;
        let counts: Vec<_> = shown.iter().map(|it| (it.about.key.clone(), it.inside, it.waiting)).collect();
        assert!(counts.contains(&(json!("a"), 1, 2)) && counts.contains(&(json!("b"), 1, 0)), "{counts:?}");
        rest(&engine).await;
        for (id, end) in ENDS {
            assert_eq!(phase(&node, id).await, end, "{id}");
        }
        assert_eq!(*service.heard.lock(), ["one", "other", "bad", "four"], "first come, first served");
        assert!(service.there.lock().values().all(|(now, most)| (*now, *most) == (0, 1)));
        assert!(gates(&engine).await.is_empty());
        *tell.lock() = Some((engine.landed(), acknowledged));
    });
    told.lock().take().unwrap()
}

#[test]
fn limits_hold_wherever_a_node_is_cut() {
    let (landed, acknowledged) = whole();
    assert!(landed.len() > 15, "{} batches are worth cutting", landed.len());
    for batches in 0..=landed.len() {
        let before = landed[..batches].to_vec();
        on_system(async move {
            let (engine, service) = (SteeredEngine::with(&before), Arc::new(Service::default()));
            let node = node_on(&engine, &service).await;
            if batches < acknowledged {
                story(&node).await;
            }
            rest(&engine).await;
            for (id, end) in ENDS {
                assert_eq!(phase(&node, id).await, end, "{id}, cut after {batches} batches");
            }
            let there = service.there.lock().clone();
            assert!(there.values().all(|(_, most)| *most <= 1), "{there:?}, cut after {batches} batches");
            let left = gates(&engine).await;
            assert!(left.is_empty(), "{left:?}, cut after {batches} batches");
        });
    }
}

#[test]
fn one_that_was_lost_holds_nobody_up_for_ever() {
    on_system(async move {
        let (engine, service) = (SteeredEngine::shared(), Arc::new(Service::default()));
        let node = node_on(&engine, &service).await;
        let about = About { flow: "job".into(), limit: Limit::Concurrency, key: json!("a"), max: 1, per: None };
        let gate = gate::id("job", Limit::Concurrency, &json!("a"));
        let ask = gate::Command::Ask { flow: "ghost".into(), ticket: 0, about };
        node.runtime.registry().ask::<Gate>(&gate, ask, None).await.unwrap();
        start(&node, "job", "one", "a").await;
        rest(&engine).await;
        assert_eq!(phase(&node, "one").await, Phase::Queued);
        tokio::time::sleep(Duration::from_secs(3_700)).await;
        rest(&engine).await;
        assert_eq!(phase(&node, "one").await, Phase::Done);
    });
}

#[test]
fn a_restart_queues_again_and_a_kill_makes_room() {
    on_system(async move {
        let (engine, service) = (SteeredEngine::shared(), Arc::new(Service::default()));
        let node = node_on(&engine, &service).await;
        start(&node, "job", "one", "a").await;
        rest(&engine).await;
        start(&node, "job", "two", "a").await;
        let restart = Command::Restart { step: "work".into(), input: None, by: None };
        node.runtime.registry().ask::<Flow>("one", restart, None).await.unwrap();
        settle().await;
        assert_eq!(phase(&node, "one").await, Phase::Queued);
        let kill = Command::Kill { by: None, reason: "now".into() };
        node.runtime.registry().ask::<Flow>("two", kill, None).await.unwrap();
        settle().await;
        assert_eq!(phase(&node, "one").await, Phase::Running);
        rest(&engine).await;
        assert_eq!(phase(&node, "one").await, Phase::Done);
        assert!(gates(&engine).await.is_empty());
    });
}

#[test]
fn a_rate_and_a_bound_together_let_one_begin_in_each_span() {
    on_system(async move {
        let (engine, service) = (SteeredEngine::shared(), Arc::new(Service::default()));
        let node = node_on(&engine, &service).await;
        for id in ["r1", "r2", "r3"] {
            start(&node, "slow", id, "").await;
        }
        rest(&engine).await;
        let phases = [phase(&node, "r1").await, phase(&node, "r2").await, phase(&node, "r3").await];
        assert_eq!(phases, [Phase::Done, Phase::Queued, Phase::Queued]);
        tokio::time::sleep(Duration::from_secs(610)).await;
        rest(&engine).await;
        assert_eq!([phase(&node, "r2").await, phase(&node, "r3").await], [Phase::Done, Phase::Queued]);
        tokio::time::sleep(Duration::from_secs(610)).await;
        rest(&engine).await;
        assert_eq!(phase(&node, "r3").await, Phase::Done);
    });
}
