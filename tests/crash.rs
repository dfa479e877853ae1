//! Crashes: a story is cut after every batch that it wrote, a new life goes on from there, and the end is the same.
//!
//! What was acknowledged before the cut is not asked for again, so that a loss shows; and in a second round everything
//! is, as by a client that never heard the answer, so that a repeat shows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "crash/absence.rs"]
mod absence;
#[path = "crash/across.rs"]
mod across;
#[allow(dead_code, reason = "shared with the tests of the store, which use more of it")]
#[path = "store/dice.rs"]
mod dice;
#[allow(dead_code, reason = "shared with the tests of actors, which use more of it")]
#[path = "actors/engine.rs"]
mod engine;
#[path = "crash/federation.rs"]
mod federation;
#[allow(dead_code, reason = "shared with the tests of actors, which use more of it")]
#[path = "actors/node.rs"]
mod node;
#[allow(dead_code, reason = "shared with the tests of actors, which use more of it")]
#[path = "actors/probe.rs"]
mod probe;
#[path = "crash/stuck.rs"]
mod stuck;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use quickbeam::actors::errands::Errand;
use quickbeam::actors::flow::{self, Flow};
use quickbeam::actors::inbox::{self, Inbox, Received};
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::log::{Entry, Way};
use quickbeam::actors::once::Once;
use quickbeam::actors::outbox::Outbox;
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Create, Stream, object_stream};
use quickbeam::actors::{inspect, layout, record};
use quickbeam::domains::activity::Activity;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::object::Object;
use quickbeam::store::{Batch, Engine, Key, Span};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use engine::SteeredEngine;
use node::{Node, Plan, Scripted, on_system, settle};
use probe::Command;

const DECLARED: &str = r#"
[type.article]
as = "Article"
title = "title"
fields.title = { kind = "text", required = true }
on.create = "publish"
on.update = "letter"
remote.create = { run = "announce", from = "anyone" }

[type.calendar]
as = "OrderedCollection"
path = "calendars"
title = "title"
fields.title = { kind = "text" }
remote.allocate = { run = "link", from = "anyone" }

[type.event]
as = "Event"
title = "title"
fields.title = { kind = "text", required = true }
fields.about = { kind = "iri" }
fields.calendar = { kind = "iri" }
fields.start = { kind = "time" }

[flow.publish]
steps.validate = { effect = "object.validate", with = { type = "'article'" } }
steps.notify = { effect = "notify", after = "validate", with = { text = "'published'" } }

[flow.announce]
steps.notice = { effect = "notify", with = { text = "'new'" } }

[flow.letter]
steps.approval = { suspend = "approve" }
steps.send = { effect = "digest.send", after = "approval" }
steps.hook = { effect = "webhook", after = "send", with = { url = "'https://there.example/hook'" } }

[flow.link]
steps.link = { effect = "calendar.link", with = { calendar = "activity.target" } }
steps.notice = { effect = "notify", after = "link", with = { text = "'linked'" } }
result = "results.link.id"
"#;

const THEY: &str = "https://there.example/actor";

type Step = for<'a> fn(&'a Node) -> LocalBoxFuture<'a, ()>;

/// What happens to the node from outside, in order.
const STORY: [Step; 7] = [
    |node| Box::pin(receive(node, "follow", "Follow", json!("https://here.example/actor"))),
    |node| Box::pin(create(node, "calendars/main", "calendar", "Main")),
    |node| Box::pin(create(node, "gig", "article", "Gig")),
    |node| Box::pin(receive(node, "create", "Create", theirs("article"))),
    |node| Box::pin(update(node)),
    |node| Box::pin(receive(node, "allocate", "Allocate", theirs("gig"))),
    |node| Box::pin(resume(node)),
];

fn theirs(name: &str) -> Value {
    let id = format!("https://there.example/{name}");
    json!({ "id": id, "type": "Article", "attributedTo": THEY, "name": "Their gig" })
}

async fn receive(node: &Node, id: &str, verb: &str, object: Value) {
    let mut raw = json!({
        "@context": ["https://www.w3.org/ns/activitystreams", { "Allocate": "urn:quickbeam:ns#Allocate" }],
        "id": format!("https://there.example/{id}"), "type": verb, "actor": THEY, "object": object,
    });
    if verb == "Allocate" {
        raw["target"] = json!("https://here.example/calendars/main");
    }
    let command = inbox::Command::Receive(Box::new(Received {
        activity: Activity::from_value(raw.clone()).unwrap(),
        body: serde_json::to_vec(&raw).unwrap().into(),
        inbox: Iri::parse("https://there.example/inbox").unwrap(),
        shared_inbox: None,
        signed: None,
        about: (verb == "Follow").then(|| "actor".to_owned()),
        target: (verb == "Allocate").then(|| "calendars/main".to_owned()),
        reply_to: None,
    }));
    node.runtime.registry().ask::<Inbox>("there.example", command, None).await.unwrap();
}

fn once(key: &str) -> Option<Once> {
    Some(Once::new("test", key, key.as_bytes()))
}

async fn create(node: &Node, path: &str, kind: &str, title: &str) {
    let create = Create {
        kind: kind.into(),
        fields: json!({ "title": title }),
        to: Vec::new(),
        visibility: None,
        attributed_to: None,
        into: None,
    };
    let command = stream::Command::Create(create);
    node.runtime.registry().ask::<Stream>(&object_stream(path), command, once(path)).await.unwrap();
}

async fn update(node: &Node) {
    let command = stream::Command::Update { changes: json!({ "title": "Gig night" }) };
    node.runtime.registry().ask::<Stream>(&object_stream("gig"), command, once("update")).await.unwrap();
}

async fn resume(node: &Node) {
    // The flow begins a moment after the update was acknowledged.
    let id = loop {
        let flows = flows(&node.runtime.engine).await;
        let letter = flows.into_iter().find(|(_, listed)| listed.name == "letter" && listed.phase != Phase::Running);
        match letter {
            Some((id, _)) => break id,
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    let command = flow::Command::Resume { signal: None, payload: Value::Null, by: None };
    node.runtime.registry().ask::<Flow>(&id, command, once("resume")).await.unwrap();
}

/// The entries of a shared list, with whose each is.
async fn listed<T: DeserializeOwned>(engine: &Arc<dyn Engine>, index: Index) -> Vec<(String, T)> {
    below(engine, &layout::index_prefix(index, &Key::default())).await
}

/// Each flow once, from the list of all.
async fn flows(engine: &Arc<dyn Engine>) -> Vec<(String, flow::Listed)> {
    below(engine, &layout::index_prefix(Index::Flows, &flow::list_prefix(None))).await
}

async fn below<T: DeserializeOwned>(engine: &Arc<dyn Engine>, prefix: &Key) -> Vec<(String, T)> {
    let rows = engine.range(Span::prefix(prefix, 1_000)).await.unwrap();
    let owner = |key: &Key| layout::index_owner(key).unwrap().key.to_string();
    rows.iter().map(|row| (owner(&row.key), record::decode(&row.value).unwrap())).collect()
}

async fn start(engine: &Arc<SteeredEngine>, outside: &Arc<Scripted>) -> Node {
    let plan = Plan { declares: DECLARED, kinds: Kinds::default(), outside: outside.clone(), ..Plan::default() };
    Node::start(engine.clone(), plan).await
}

/// Waits until nothing is on its way.
async fn rest(engine: &SteeredEngine) {
    let mut quiet = 0;
    while quiet < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        settle().await;
        let waits = !engine.area(b'm').is_empty() || !engine.area(b'x').is_empty();
        quiet = if waits { 0 } else { quiet + 1 };
    }
}

/// What can be seen of a node from outside, without ids and times that differ from run to run.
#[derive(Debug, Default, PartialEq)]
struct End {
    /// Every activity made or taken, by verb and object.
    activities: Vec<String>,
    objects: Vec<(String, Value)>,
    flows: Vec<(String, Phase)>,
    records: BTreeMap<&'static str, Vec<Value>>,
    linked: usize,
    delivered: u64,
    waiting: u64,
    dead_letters: usize,
    failed: Vec<String>,
}

async fn end(node: &Node, engine: &Arc<SteeredEngine>) -> End {
    let store: Arc<dyn Engine> = engine.clone();
    let mut seen = End::default();
    for (_, entry) in listed::<Entry>(&store, Index::Activities).await {
        let object = if entry.object.as_str().contains("/activities/") { "an activity" } else { entry.object.as_str() };
        let way = if entry.way == Way::Made { "made" } else { "took" };
        seen.activities.push(format!("{way} {} {object}", entry.verb.as_str()));
    }
    seen.activities.sort();
    for (_, object) in listed::<Object>(&store, Index::Objects).await {
        seen.objects.push((object.path, Value::Object(object.fields)));
    }
    for (id, flow) in flows(&store).await {
        let list = layout::index_prefix(Index::Flows, &flow::list_prefix(Some(flow.phase)));
        let briefs = below::<flow::Brief>(&store, &list).await;
        assert!(briefs.iter().any(|(other, brief)| *other == id && brief.name == flow.name), "{id} is not in its list");
        seen.flows.push((flow.name, flow.phase));
    }
    let lists = engine.range(Span::prefix(&layout::index_prefix(Index::Flows, &Key::default()), 1_000)).await.unwrap();
    assert_eq!(lists.len(), 2 * seen.flows.len(), "each is in the list of all and in that of its phase");
    seen.flows.sort();
    for name in ["notices", "digest"] {
        let stream = inspect::state::<Stream>(&node.runtime, &stream::local_stream(name)).await.unwrap();
        let mut records: Vec<Value> = Vec::new();
        for row in engine.area(b'r') {
            let record = record::decode::<stream::Record>(&row.value).ok();
            let owned = row.key.as_bytes().windows(name.len()).any(|part| part == name.as_bytes());
            records.extend(record.filter(|_| owned).map(|record| record.value));
        }
        assert_eq!(
            records.len() as u64,
            stream.map_or(0, |stream| stream.last),
            "the counter of {name} and its records"
        );
        records.sort_by_key(Value::to_string);
        seen.records.insert(name, records);
    }
    seen.linked = listed::<stream::Linked>(&store, Index::Linked).await.len();
    let outbox = inspect::state::<Outbox>(&node.runtime, "there.example").await.unwrap().unwrap_or_default();
    (seen.delivered, seen.waiting) = (outbox.delivered, outbox.queued);
    seen.dead_letters = engine.area(b'd').len();
    let (actors, _) = inspect::list(&node.runtime, None, Some(inspect::State::Failed), None, 100).await.unwrap();
    seen.failed = actors.into_iter().map(|actor| actor.id).collect();
    seen
}

/// The whole story without a crash: what it wrote, where each step had been acknowledged, and how it ended.
struct Whole {
    landed: Vec<Batch>,
    acknowledged: Vec<usize>,
    end: End,
}

fn whole() -> Whole {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    on_system(async move {
        let (engine, outside) = (SteeredEngine::shared(), Arc::new(Scripted::default()));
        let node = start(&engine, &outside).await;
        let mut acknowledged = Vec::new();
        for step in STORY {
            step(&node).await;
            acknowledged.push(engine.landed().len());
        }
        rest(&engine).await;
        let end = end(&node, &engine).await;
        *tell.lock() = Some(Whole { landed: engine.landed(), acknowledged, end });
    });
    told.lock().take().expect("the story was told")
}

#[test]
fn the_story_ends_as_it_should() {
    let Whole { end, .. } = whole();
    assert_eq!(end.flows.iter().filter(|(_, phase)| *phase == Phase::Done).count(), end.flows.len());
    assert_eq!(end.records["notices"].len(), 3);
    assert_eq!(end.records["digest"].len(), 1);
    assert_eq!((end.linked, end.waiting, end.dead_letters), (1, 0, 0));
    // The Accepts of Follow and Allocate, the Creates of calendar, gig and event, and the Update.
    assert_eq!(end.delivered, 6, "{:#?}", end.activities);
    assert!(end.failed.is_empty());
}

/// Goes on after a cut, and gives the errands that the second life did.
fn cut(whole: &Arc<Whole>, batches: usize, repeat_all: bool) {
    let whole = whole.clone();
    on_system(async move {
        let engine = SteeredEngine::with(&whole.landed[..batches]);
        let outside = Arc::new(Scripted::default());
        let node = start(&engine, &outside).await;
        for (step, acknowledged) in STORY.iter().zip(&whole.acknowledged) {
            if repeat_all || *acknowledged > batches {
                step(&node).await;
            }
        }
        rest(&engine).await;
        assert_eq!(end(&node, &engine).await, whole.end, "cut after {batches} of {} batches", whole.landed.len());
        let mut webhooks: Vec<String> = Vec::new();
        for errand in outside.done.lock().iter() {
            if let Errand::Webhook { place, .. } = errand {
                webhooks.push(place.key.clone());
            }
        }
        assert!(webhooks.len() <= 1, "the hook is called once in a life: {webhooks:?}");
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice_wherever_it_is_cut() {
    let whole = Arc::new(whole());
    assert!(whole.landed.len() > 40, "a story of {} batches is worth cutting", whole.landed.len());
    for batches in 0..=whole.landed.len() {
        cut(&whole, batches, false);
    }
}

#[test]
fn a_client_that_repeats_everything_after_the_crash_changes_nothing() {
    let whole = Arc::new(whole());
    for batches in 0..=whole.landed.len() {
        cut(&whole, batches, true);
    }
}

/// A life that crashes again and again, each time a few batches after it came up, still gets to the end.
#[test]
fn a_node_that_crashes_every_few_batches_gets_to_the_same_end() {
    let whole = Arc::new(whole());
    for every in [1, 2, 3, 5, 8] {
        let landed = Arc::new(Mutex::new(Vec::<Batch>::new()));
        for life in 0.. {
            let (so_far, grown, whole) = (landed.lock().clone(), landed.clone(), whole.clone());
            let done = Arc::new(Mutex::new(false));
            let is_done = done.clone();
            on_system(async move {
                let engine = SteeredEngine::with(&so_far);
                let node = start(&engine, &Arc::new(Scripted::default())).await;
                // Rising by a little, so that a life always gets past where the one before ended.
                let upto = so_far.len() + every + 2;
                let story = async {
                    for step in STORY {
                        step(&node).await;
                    }
                    rest(&engine).await;
                };
                let crash = async {
                    while engine.landed().len() < upto {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = crash => {}
                    () = story => {
                        assert_eq!(end(&node, &engine).await, whole.end, "a crash every {every} batches");
                        *is_done.lock() = true;
                    }
                }
                let mut kept = engine.landed();
                kept.truncate(upto.max(so_far.len()));
                *grown.lock() = kept;
            });
            if *done.lock() {
                break;
            }
            assert!(life < 500, "it never gets to its end");
        }
    }
}

#[test]
fn messages_between_actors_arrive_once_wherever_it_is_cut() {
    let tell =
        |number: u32| Command::Tell { to: "r".into(), texts: vec![format!("x {number}"), format!("x {number}.5")] };
    let landed = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let told = landed.clone();
    on_system(async move {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        let mut acknowledged = Vec::new();
        for number in 0..10 {
            node.ask("x", tell(number)).await.unwrap();
            acknowledged.push(engine.landed().len());
        }
        rest(&engine).await;
        *told.lock() = (engine.landed(), acknowledged);
    });
    let (landed, acknowledged) = landed.lock().clone();
    for batches in 0..=landed.len() {
        let (landed, acknowledged) = (landed[..batches].to_vec(), acknowledged.clone());
        on_system(async move {
            let engine = SteeredEngine::with(&landed);
            let node = Node::on(engine.clone()).await;
            rest(&engine).await;
            let heard = node.stored("r").await.map(|probe| probe.heard).unwrap_or_default();
            let sent = acknowledged.iter().filter(|at| **at <= batches).count();
            assert!(heard.len() >= sent * 2, "{heard:?} after {batches} batches");
            let mut once = heard.clone();
            once.dedup();
            assert_eq!(once, heard);
            assert!(engine.area(b'm').is_empty());
        });
    }
}
