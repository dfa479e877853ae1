//! Retention in the real shell: what is finished and old goes without a trace, what anybody may still need stays.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quickbeam::actors::answers::Beginning;
use quickbeam::actors::ask::AskError;
use quickbeam::actors::deliveries::Delivery;
use quickbeam::actors::entity::ActorId;
use quickbeam::actors::errands::Recipient;
use quickbeam::actors::flow::{self, Flow, Origin, Start};
use quickbeam::actors::inbox::{self, Inbox, Receipt, Received};
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::layout;
use quickbeam::actors::once::Once;
use quickbeam::actors::outbox::{self, Outbox};
use quickbeam::actors::record;
use quickbeam::actors::retention::{self, Keep, Removed};
use quickbeam::actors::root::Rounds;
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Create, Stream, object_stream};
use quickbeam::clock::ulid;
use quickbeam::domains::activity::Activity;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::identity::Iri;
use quickbeam::store::{Direction, Engine, Key, MemoryEngine, Span};
use serde_json::json;

use super::engine::{Break, SteeredEngine};
use super::node::{Node, Plan, on_system, settle};

const DECLARED: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[type.calendar]
as = "OrderedCollection"
path = "calendars"
title = "title"
fields.title = { kind = "text" }
remote.allocate = { run = "wait", from = "anyone" }

[flow.wait]
steps.ask = { suspend = "go", timeout = "30d", otherwise = "dropped" }
steps.dropped = { effect = "notify", with = { text = "'dropped'" } }
steps.tell = { effect = "notify", after = "ask", with = { text = "'went'" } }
"#;

const HOUR: Duration = Duration::from_secs(3_600);
const KEEP: Keep = Keep { flows: Some(HOUR), received: Some(HOUR), deliveries: Some(HOUR), answers: HOUR };
const FOREVER: Keep = Keep { flows: None, received: None, deliveries: None, answers: Duration::from_secs(1 << 40) };

async fn node(engine: Arc<dyn Engine>) -> Node {
    let plan = Plan { kinds: Kinds::default(), declares: DECLARED, dedupe: HOUR * 3, ..Plan::default() };
    Node::start(engine, plan).await
}

fn starting(node: &Node) -> flow::Command {
    let definition = node.runtime.world.catalog.current("wait").unwrap().hash.0.clone();
    let origin = Origin::Api { by: "a test".into() };
    flow::Command::Start(Box::new(Start { name: "wait".into(), definition, input: Input::default(), origin }))
}

async fn start(node: &Node, id: &str) {
    node.runtime.registry().ask::<Flow>(id, starting(node), None).await.unwrap();
}

/// Begins an instance under an Idempotency-Key, and gives its id.
async fn begin(node: &Node, key: &str, body: &[u8]) -> Result<String, AskError<flow::Rejection>> {
    let beginning = Beginning::of(&node.runtime, Once::new("t", key, body)).await?;
    let id = beginning.flow().to_owned();
    beginning.ask(&node.runtime, starting(node)).await.map(|_| id)
}

async fn finish(node: &Node, id: &str) {
    let resume = flow::Command::Resume { signal: None, payload: json!(null), by: None };
    node.runtime.registry().ask::<Flow>(id, resume, None).await.unwrap();
    settle().await;
    assert_eq!(phase(node, id).await, Some(Phase::Done));
}

async fn phase(node: &Node, id: &str) -> Option<Phase> {
    let state = inspect::state::<Flow>(&node.runtime, id).await.unwrap();
    state.and_then(|flow| Some(flow.progress?.phase()))
}

/// The keys in which these bytes stand.
async fn keys_with(engine: &dyn Engine, bytes: &[u8]) -> Vec<Key> {
    let (from, to) = (Key::default(), Key::from_bytes(vec![0xff; 8]));
    let rows = engine.range(Span { from, to, limit: usize::MAX, direction: Direction::Forward }).await.unwrap();
    let holds = |key: &Key| key.as_bytes().windows(bytes.len()).any(|window| window == bytes);
    rows.into_iter().map(|row| row.key).filter(holds).collect()
}

async fn receive(node: &Node, name: &str, verb: &str) -> Receipt {
    let raw = json!({
        "@context": ["https://www.w3.org/ns/activitystreams", { "Allocate": "urn:quickbeam:ns#Allocate" }],
        "id": format!("https://there.example/{name}"), "type": verb, "actor": "https://there.example/actor",
        "object": if verb == "Allocate" { "https://there.example/gig" } else { "https://here.example/actor" },
        "target": "https://here.example/calendars/main",
    });
    let command = inbox::Command::Receive(Box::new(Received {
        activity: Activity::from_value(raw.clone()).unwrap(),
        body: serde_json::to_vec(&raw).unwrap().into(),
        inbox: Iri::parse("https://there.example/inbox").unwrap(),
        shared_inbox: None,
        signed: None,
        about: (verb == "Follow").then(|| "actor".to_owned()),
        target: Some("calendars/main".to_owned()),
        reply_to: None,
    }));
    node.runtime.registry().ask::<Inbox>("there.example", command, None).await.unwrap()
}

fn creating(kind: &str, title: &str) -> stream::Command {
    let fields = json!({ "title": title });
    let (to, visibility, attributed_to, into) = (Vec::new(), None, None, None);
    stream::Command::Create(Create { kind: kind.into(), fields, to, visibility, attributed_to, into })
}

#[test]
fn a_finished_flow_goes_without_a_trace_once_it_is_old_enough_and_its_effects_with_it() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let node = node(engine.clone()).await;
        start(&node, "finished").await;
        start(&node, "waiting").await;
        finish(&node, "finished").await;
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap(), Removed::default(), "not yet");
        assert!(!keys_with(&*engine, b"finished").await.is_empty());
        tokio::time::sleep(HOUR).await;
        assert_eq!(retention::pass(&node.runtime, &FOREVER).await.unwrap(), Removed::default(), "not ever");
        let due = Removed { flows: 1, ..Removed::default() };
        assert_eq!(retention::dry(&node.runtime, &KEEP).await.unwrap(), due);
        assert!(!keys_with(&*engine, b"finished").await.is_empty(), "a dry pass removes nothing");
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap(), Removed { effects: 1, ..due });
        assert_eq!(keys_with(&*engine, b"finished").await, Vec::new());
        assert_eq!(phase(&node, "waiting").await, Some(Phase::Suspended));
        assert_eq!(node.runtime.retention.lock().removed.flows, 1);
    });
}

#[test]
fn a_flow_that_is_gone_is_unknown_and_its_id_can_begin_anew() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let node = node(engine.clone()).await;
        start(&node, "f").await;
        finish(&node, "f").await;
        tokio::time::sleep(HOUR * 2).await;
        retention::pass(&node.runtime, &KEEP).await.unwrap();
        let resume = flow::Command::Resume { signal: None, payload: json!(null), by: None };
        let asked = node.runtime.registry().ask::<Flow>("f", resume, None).await;
        assert!(matches!(asked, Err(AskError::Rejected(flow::Rejection::Unknown(_)))), "{asked:?}");
        start(&node, "f").await;
        assert_eq!(phase(&node, "f").await, Some(Phase::Suspended));
        finish(&node, "f").await;
    });
}

#[test]
fn what_comes_while_a_flow_is_going_finds_it_whole_or_gone() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node(engine.clone()).await;
        start(&node, "f").await;
        finish(&node, "f").await;
        tokio::time::sleep(HOUR * 2).await;
        engine.hold();
        let runtime = node.runtime.clone();
        let forgetting = actix_rt::spawn(async move { retention::pass(&runtime, &KEEP).await });
        settle().await;
        let runtime = node.runtime.clone();
        let resume = flow::Command::Resume { signal: None, payload: json!(null), by: None };
        let asking = actix_rt::spawn(async move { runtime.registry().ask::<Flow>("f", resume, None).await });
        settle().await;
        assert!(!asking.is_finished(), "what it would be told is not on disk");
        engine.release_all();
        let asked = asking.await.unwrap();
        assert!(matches!(asked, Err(AskError::Rejected(flow::Rejection::Unknown(_)))), "{asked:?}");
        assert_eq!(forgetting.await.unwrap().unwrap().flows, 1);
    });
}

#[test]
fn a_flow_whose_end_did_not_reach_the_disk_is_as_it_was() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node(engine.clone()).await;
        start(&node, "f").await;
        finish(&node, "f").await;
        tokio::time::sleep(HOUR * 2).await;
        engine.break_after(0, Break::Failed);
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.map_or(0, |removed| removed.flows), 0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(phase(&node, "f").await, Some(Phase::Done));
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().flows, 1);
        assert_eq!(phase(&node, "f").await, None);
    });
}

#[test]
fn a_repeat_is_known_for_as_long_as_promised_and_forgotten_after() {
    on_system(async {
        let node = node(Arc::new(MemoryEngine::default())).await;
        assert_eq!(receive(&node, "one", "Follow").await, Receipt::Taken);
        tokio::time::sleep(HOUR * 2).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().ids, 0);
        assert_eq!(receive(&node, "one", "Follow").await, Receipt::Repeated);
        tokio::time::sleep(HOUR * 2).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().ids, 1);
        assert_eq!(receive(&node, "one", "Follow").await, Receipt::Taken);
    });
}

#[test]
fn what_set_a_waiting_flow_going_can_still_be_taken_back_however_old_it_is() {
    on_system(async {
        let node = node(Arc::new(MemoryEngine::default())).await;
        let command = creating("calendar", "Main");
        node.runtime.registry().ask::<Stream>(&object_stream("calendars/main"), command, None).await.unwrap();
        assert_eq!(receive(&node, "allocate", "Allocate").await, Receipt::Taken);
        settle().await;
        tokio::time::sleep(HOUR * 9).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().ids, 0);
        assert_eq!(receive(&node, "allocate", "Allocate").await, Receipt::Repeated);
    });
}

#[test]
fn activities_that_came_leave_the_log_and_those_made_here_stay() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let node = node(engine.clone()).await;
        let written =
            node.runtime.registry().ask::<Stream>(&object_stream("a"), creating("note", "A"), None).await.unwrap();
        receive(&node, "follow", "Follow").await;
        settle().await;
        let made = written.activity.unwrap();
        let ulid = made.as_str().rsplit_once('/').unwrap().1.to_owned();
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().received, 0);
        tokio::time::sleep(HOUR).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().received, 1);
        assert!(!keys_with(&*engine, ulid.as_bytes()).await.is_empty());
    });
}

#[test]
fn an_answer_is_kept_for_a_repeat_and_then_goes() {
    on_system(async {
        let node = node(Arc::new(MemoryEngine::default())).await;
        let once = || Some(Once::new("t", "k", b"a"));
        let ask = || node.runtime.registry().ask::<Stream>("object/a", creating("note", "A"), once());
        let first = ask().await.unwrap();
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().answers, 0);
        assert_eq!(ask().await.unwrap(), first);
        tokio::time::sleep(HOUR).await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().answers, 1);
        let again = ask().await;
        assert!(matches!(again, Err(AskError::Rejected(stream::Rejection::Taken(_)))), "{again:?}");
    });
}

#[test]
fn an_idempotency_key_finds_its_instance_for_as_long_as_that_is_there() {
    on_system(async {
        let node = node(Arc::new(MemoryEngine::default())).await;
        let first = begin(&node, "k", b"a").await.unwrap();
        assert_eq!(begin(&node, "k", b"a").await.unwrap(), first);
        assert!(matches!(begin(&node, "k", b"b").await, Err(AskError::Conflict)), "another request");
        tokio::time::sleep(HOUR * 2).await;
        let other = begin(&node, "other", b"a").await.unwrap();
        assert!(other > first, "ids stand in the order of time: {first}, {other}");
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().answers, 0, "it waits still");
        assert_eq!(begin(&node, "k", b"a").await.unwrap(), first);
        finish(&node, &first).await;
        tokio::time::sleep(HOUR * 2).await;
        let removed = retention::pass(&node.runtime, &KEEP).await.unwrap();
        assert_eq!((removed.flows, removed.answers), (1, 1));
        assert_ne!(begin(&node, "k", b"a").await.unwrap(), first, "and then the key is a new one");
    });
}

#[test]
fn one_request_that_comes_twice_at_one_moment_begins_one_instance() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Arc::new(node(engine.clone()).await);
        engine.hold();
        let [one, two] = [(); 2].map(|()| {
            let node = node.clone();
            actix_rt::spawn(async move { begin(&node, "k", b"a").await.unwrap() })
        });
        settle().await;
        engine.release_all();
        settle().await;
        engine.release_all();
        assert_eq!(one.await.unwrap(), two.await.unwrap());
        let all = layout::index_prefix(Index::Flows, &flow::list_prefix(None));
        assert_eq!(engine.range(Span::prefix(&all, 10)).await.unwrap().len(), 1);
    });
}

#[test]
fn the_root_removes_by_itself_and_more_than_one_page() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let rounds = Rounds { retention: HOUR / 4, keep: KEEP, ..Rounds::default() };
        let plan = Plan { kinds: Kinds::default(), declares: DECLARED, rounds, ..Plan::default() };
        let node = Node::start(engine.clone(), plan).await;
        let made = (0..600).map(|number| {
            let (stream, once) = (format!("object/{number}"), Once::new("t", &format!("key-{number}"), b""));
            let runtime = node.runtime.clone();
            async move { runtime.registry().ask::<Stream>(&stream, creating("note", "A"), Some(once)).await.unwrap() }
        });
        join_all(made).await;
        assert_eq!(keys_with(&*engine, b"key-").await.len(), 600);
        tokio::time::sleep(HOUR * 2).await;
        assert_eq!(keys_with(&*engine, b"key-").await.len(), 0);
        assert!(!keys_with(&*engine, ActorId::of::<Stream>("object/599").key.as_bytes()).await.is_empty());
    });
}

/// Both looked for the answer of the other before either had written one, and both took effect.
#[test]
fn two_requests_under_one_key_at_one_moment_take_effect_once_whichever_actors_they_are_for() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node(engine.clone()).await;
        engine.hold();
        let ask = |stream: &'static str| {
            let (runtime, once) = (node.runtime.clone(), Once::new("t", "k", stream.as_bytes()));
            actix_rt::spawn(
                async move { runtime.registry().ask::<Stream>(stream, creating("note", "A"), Some(once)).await },
            )
        };
        let (one, two, hung_up) = (ask("object/one"), ask("object/two"), ask("object/three"));
        settle().await;
        hung_up.abort();
        engine.release_all();
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        assert!(one.is_ok(), "{one:?}");
        assert!(matches!(two, Err(AskError::Conflict)), "{two:?}");
        assert!(inspect::state::<Stream>(&node.runtime, "object/two").await.unwrap().is_none());
    });
}

#[test]
fn what_became_of_deliveries_goes_once_they_are_over_and_old_and_what_waits_stays() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let node = node(engine.clone()).await;
        // Nobody delivers here, so that what is sent waits until it is given up.
        for (peer, to) in [("a.example", "https://a.example/inbox"), ("b.example", "https://b.example/inbox")] {
            let activity = ulid(node.runtime.clock.now(), [7; 16]);
            let to = Recipient::Inbox(to.to_owned());
            let (first, tell) = (false, false);
            let send = outbox::Command::Send { activity, to, object: "https://here.example/1".to_owned(), first, tell };
            node.runtime.registry().ask::<Outbox>(peer, outbox::Command::Pause, None).await.unwrap();
            node.runtime.registry().ask::<Outbox>(peer, send, None).await.unwrap();
        }
        node.runtime.registry().ask::<Outbox>("a.example", outbox::Command::Forget, None).await.unwrap();
        settle().await;
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().deliveries, 0, "not yet");
        tokio::time::sleep(HOUR * 2).await;
        assert_eq!(retention::pass(&node.runtime, &FOREVER).await.unwrap().deliveries, 0, "not ever");
        assert_eq!(retention::dry(&node.runtime, &KEEP).await.unwrap().deliveries, 1);
        assert_eq!(retention::pass(&node.runtime, &KEEP).await.unwrap().deliveries, 1);
        let left = Span::prefix(&layout::index_prefix(Index::Deliveries, &Key::default()), 9);
        let left = engine.range(left).await.unwrap();
        let left: Vec<Delivery> = left.iter().map(|row| record::decode(&row.value).unwrap()).collect();
        assert_eq!(left.iter().map(|left| left.state.word()).collect::<Vec<_>>(), ["waiting"]);
    });
}
