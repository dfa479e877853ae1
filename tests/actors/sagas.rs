//! A saga over streams, a child flow and services: it fails at its end, and everything is taken back, also when the node
//! is cut after every batch that it wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::flow::{self, Command, Flow, Origin, Start};
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::once::Once;
use quickbeam::actors::rows::Index;
use quickbeam::actors::{layout, record};
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::object::Object;
use quickbeam::store::{Batch, Engine, Key, Span};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::engine::SteeredEngine;
use super::node::{Node, Plan, on_system, settle};

const DECLARED: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[flow.trip]
steps.seat = { effect = "object.create", with = { type = "'note'", fields = { title = "'seat'" } }, undo = true }
steps.said = { effect = "notify", after = "seat", with = { text = "'seat taken'" }, undo = true }
steps.child = { call = "room", after = "said", with = { nights = 2 } }
steps.renamed = { effect = "object.update", after = "child", with = { object = "'note/seat'", fields = { title = "'window seat'" } }, undo = true }
steps.pay = { http = "POST", url = "'https://pay.example/'", after = "renamed", body = { n = "results.child" }, undo = { http = "POST", url = "'https://pay.example/back'", body = { paid = "result.status" } } }
steps.last = { http = "POST", url = "'https://last.example/'", after = "pay" }

[flow.room]
steps.room = { effect = "object.create", with = { type = "'note'", fields = { title = "'room'" } }, undo = true }
steps.said = { effect = "notify", after = "room", with = { text = "'room taken'" }, undo = true }
result = "input.nights"

[flow.endless]
steps.again = { call = "endless" }
"#;

/// Services: the last one refuses, the others take everything. What each heard is kept, by its URL and key.
#[derive(Default)]
struct Services {
    heard: Mutex<BTreeMap<(String, String), u32>>,
}

impl Outside for Services {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let Errand::Http { request, place } = errand else { panic!("nothing is delivered here") };
        // When the flow began stands in its keys, and is another moment in another life of the test.
        let key = match (place.key.split_once('~'), place.key.split_once('/')) {
            (Some((flow, _)), Some((_, rest))) => format!("{flow}/{rest}"),
            _ => place.key.clone(),
        };
        *self.heard.lock().entry((request.url.clone(), key)).or_default() += 1;
        let status = if request.url.contains("last") { 400 } else { 200 };
        Box::pin(async move { Report::Replied { status, body: json!({ "heard": request.body }) } })
    }
}

async fn node_on(engine: &Arc<SteeredEngine>, services: &Arc<Services>) -> Node {
    let plan = Plan { declares: DECLARED, kinds: Kinds::default(), outside: services.clone(), ..Plan::default() };
    Node::start(engine.clone(), plan).await
}

async fn start(node: &Node, name: &str) {
    let definition = node.runtime.world.catalog.current(name).unwrap().hash.0.clone();
    let origin = Origin::Api { by: "test".into() };
    let start = Start { name: name.into(), definition, input: Input::default(), origin };
    let once = Some(Once::new("test", name, name.as_bytes()));
    node.runtime.registry().ask::<Flow>(name, Command::Start(Box::new(start)), once).await.unwrap();
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

/// Each once, from the list of all.
async fn flows(engine: &Arc<SteeredEngine>) -> Vec<flow::Listed> {
    below(engine, &layout::index_prefix(Index::Flows, &flow::list_prefix(None))).await
}

async fn listed<T: DeserializeOwned>(engine: &Arc<SteeredEngine>, index: Index) -> Vec<T> {
    below(engine, &layout::index_prefix(index, &Key::default())).await
}

async fn below<T: DeserializeOwned>(engine: &Arc<SteeredEngine>, prefix: &Key) -> Vec<T> {
    let rows = engine.range(Span::prefix(prefix, 1_000)).await.unwrap();
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

/// What can be seen of how it ended.
#[derive(Debug, PartialEq)]
struct End {
    flows: Vec<(String, Phase)>,
    objects: Vec<(String, bool)>,
    records: usize,
    /// URLs and keys that services heard, however often.
    heard: Vec<(String, String)>,
}

async fn end(engine: &Arc<SteeredEngine>, heard: Vec<(String, String)>) -> End {
    let mut flows: Vec<_> = flows(engine).await.into_iter().map(|it| (it.name, it.phase)).collect();
    flows.sort();
    flows.dedup();
    let objects = listed::<Object>(engine, Index::Objects).await.into_iter();
    let objects = objects.map(|it| (it.path, it.deleted.is_some())).collect();
    let rows = engine.area(b'r');
    let records = rows.iter().filter(|row| {
        record::decode::<quickbeam::actors::stream::Record>(&row.value).is_ok_and(|record| record.seq > 0)
    });
    End { flows, objects, records: records.count(), heard }
}

fn whole() -> (Vec<Batch>, usize, End) {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    on_system(async move {
        let (engine, services) = (SteeredEngine::shared(), Arc::new(Services::default()));
        let node = node_on(&engine, &services).await;
        start(&node, "trip").await;
        let acknowledged = engine.landed().len();
        rest(&engine).await;
        let heard = services.heard.lock().keys().cloned().collect();
        *tell.lock() = Some((engine.landed(), acknowledged, end(&engine, heard).await));
    });
    told.lock().take().unwrap()
}

#[test]
fn what_a_flow_its_child_and_services_did_is_taken_back_when_it_fails() {
    let (_, _, end) = whole();
    assert_eq!(end.flows, [("room".to_owned(), Phase::Cancelled), ("trip".to_owned(), Phase::Failed)]);
    assert_eq!(end.objects, [("room".to_owned(), true), ("seat".to_owned(), true)]);
    assert_eq!(end.records, 0, "the notices are gone");
    let heard: Vec<_> = end.heard.iter().map(|(url, key)| (url.as_str(), key.as_str())).collect();
    assert_eq!(
        heard,
        [
            ("https://last.example/", "trip/1/last/-/do"),
            ("https://pay.example/", "trip/1/pay/-/do"),
            ("https://pay.example/back", "trip/1/pay/-/undo"),
        ]
    );
}

#[test]
fn it_ends_the_same_wherever_it_is_cut() {
    let (landed, acknowledged, whole) = whole();
    assert!(landed.len() > 20, "a saga of {} batches is worth cutting", landed.len());
    let whole = Arc::new(whole);
    for batches in 0..=landed.len() {
        let (before, whole) = (landed[..batches].to_vec(), whole.clone());
        on_system(async move {
            let (engine, services) = (SteeredEngine::with(&before), Arc::new(Services::default()));
            let node = node_on(&engine, &services).await;
            if batches < acknowledged {
                start(&node, "trip").await;
            }
            rest(&engine).await;
            let heard: Vec<_> = services.heard.lock().keys().cloned().collect();
            assert!(heard.iter().all(|it| whole.heard.contains(it)), "{heard:?}");
            let now = end(&engine, whole.heard.clone()).await;
            assert_eq!(now, *whole, "cut after {batches} of {} batches", before.len());
        });
    }
}

#[test]
fn flows_that_call_each_other_without_an_end_are_stopped_at_a_depth() {
    on_system(async move {
        let (engine, services) = (SteeredEngine::shared(), Arc::new(Services::default()));
        let node = node_on(&engine, &services).await;
        start(&node, "endless").await;
        rest(&engine).await;
        let flows = flows(&engine).await;
        assert_eq!(flows.len(), 17);
        let failed = layout::index_prefix(Index::Flows, &flow::list_prefix(Some(Phase::Failed)));
        assert_eq!(below::<flow::Brief>(&engine, &failed).await.len(), 17, "and each in the list of its phase");
        assert!(flows.iter().all(|it| it.phase == Phase::Failed), "{:?}", flows.iter().map(|it| it.phase));
        let flow = inspect::state::<Flow>(&node.runtime, "endless").await.unwrap().unwrap();
        let reason = format!("{:?}", flow.progress.unwrap().end);
        assert!(reason.contains("more than 16 deep"), "{reason}");
    });
}
