//! Schedules in the real shell: each tick begins one instance, wherever the node is cut, whatever becomes of its writes,
//! and wherever its clock goes meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quickbeam::actors::entity::Kind;
use quickbeam::actors::finding::{By, found_prefix};
use quickbeam::actors::flow::{self, Flow};
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::rows::Index;
use quickbeam::actors::schedule::{Command, Schedule};
use quickbeam::actors::stream::Record;
use quickbeam::actors::{inspect, layout, record, timetable};
use quickbeam::clock::{SharedClock, Time};
use quickbeam::domains::flow::progress::Phase;
use quickbeam::store::{Batch, Engine, Span};

use super::engine::{Break, SteeredEngine};
use super::node::{BEGIN, JumpingClock, Node, Plan, on_system};

const DECLARED: &str = r#"
[flow.tell]
steps.tell = { effect = "notify", with = { text = "input.schedule.name + ' ' + input.schedule.due" } }
[flow.slow]
steps.wait = { wait = "70s" }
steps.tell = { effect = "notify", after = "wait", with = { text = "input.schedule.name + ' ' + input.schedule.due" } }

[schedule.often]
flow = "tell"
every = "1m"
[schedule.beside]
flow = "slow"
cron = "* * * * *"
overlap = "allow"
[schedule.left-out]
flow = "slow"
every = "1m"
[schedule.in-line]
flow = "slow"
every = "1m"
overlap = "queue"
[schedule.instead]
flow = "slow"
every = "1m"
overlap = "cancel"
"#;

/// Half a minute after the fifth tick.
const SEEN: u64 = 330;

async fn node_at(engine: &Arc<SteeredEngine>, declares: &'static str, seconds: u64) -> Node {
    let clock: SharedClock = JumpingClock::shared();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let plan = Plan { declares, kinds: Kinds::default(), clock, ..Plan::default() };
    Node::start(engine.clone(), plan).await
}

async fn until(node: &Node, seconds: u64) {
    let now = node.runtime.clock.now();
    tokio::time::sleep(BEGIN.plus(Duration::from_secs(seconds)).since(now)).await;
}

async fn schedule(node: &Node, name: &str) -> Schedule {
    inspect::state::<Schedule>(&node.runtime, name).await.unwrap().unwrap_or_default()
}

/// What can be seen of the schedules: what was told in which number, the counters of each, and how their flows stand.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    told: BTreeMap<String, u32>,
    counted: Vec<(u64, u64, u64, u64, Option<Time>)>,
    flows: BTreeMap<(String, String), u32>,
}

async fn seen(node: &Node, engine: &Arc<SteeredEngine>) -> Seen {
    let mut seen = Seen::default();
    for row in engine.area(b'r') {
        if let Ok(Record { value, .. }) = record::decode::<Record>(&row.value) {
            *seen.told.entry(value["text"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    for declared in node.runtime.world.catalog.schedules() {
        let state = schedule(node, &declared.name).await;
        let waiting = state.waiting.map(|tick| tick.due);
        seen.counted.push((state.begun, state.running, state.skipped, state.missed, waiting));
    }
    let prefix = layout::index_prefix(Index::Flows, &flow::list_prefix(None));
    for row in engine.range(Span::prefix(&prefix, 1_000)).await.unwrap() {
        let listed: flow::Listed = record::decode(&row.value).unwrap();
        *seen.flows.entry((listed.name, listed.phase.word().to_owned())).or_default() += 1;
    }
    seen
}

/// The whole story without a cut: what was written, and how much of it by each second.
struct Whole {
    landed: Vec<Batch>,
    by_second: Vec<usize>,
    seen: Seen,
}

fn whole() -> Whole {
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    on_system(async move {
        let engine = SteeredEngine::shared();
        let node = node_at(&engine, DECLARED, 0).await;
        let mut by_second = Vec::new();
        for second in 0..=SEEN {
            until(&node, second).await;
            by_second.push(engine.landed().len());
        }
        let seen = seen(&node, &engine).await;
        *tell.lock() = Some(Whole { landed: engine.landed(), by_second, seen });
    });
    told.lock().take().unwrap()
}

fn minute(minute: u64) -> String {
    BEGIN.plus(Duration::from_secs(60 * minute)).to_string()
}

#[test]
fn each_policy_does_with_ticks_what_it_says() {
    let Whole { seen, .. } = whole();
    // In the order of the names: beside, in-line, instead, left-out, often.
    let waits = Some(BEGIN.plus(Duration::from_secs(300)));
    let counted = [(5, 1, 0, 0, None), (4, 1, 0, 0, waits), (5, 1, 0, 0, None), (3, 1, 2, 0, None), (5, 0, 0, 0, None)];
    assert_eq!(seen.counted, counted);
    let told = |name: &str| -> Vec<u64> {
        (1..=6).filter(|it| seen.told.contains_key(&format!("{name} {}", minute(*it)))).collect()
    };
    assert_eq!(told("often"), [1, 2, 3, 4, 5]);
    assert_eq!(told("beside"), [1, 2, 3, 4]);
    assert_eq!(told("left-out"), [1, 3]);
    assert_eq!(told("in-line"), [1, 2, 3]);
    assert!(told("instead").is_empty(), "each is cancelled by the next");
    assert_eq!(seen.flows[&("slow".to_owned(), "cancelled".to_owned())], 4);
    assert!(seen.told.values().all(|times| *times == 1), "{:?}", seen.told);
}

#[test]
fn no_tick_is_lost_and_none_comes_twice_wherever_the_node_is_cut() {
    let whole = Arc::new(whole());
    assert!(whole.landed.len() > 60, "{} batches are worth cutting", whole.landed.len());
    for batches in 0..=whole.landed.len() {
        let whole = whole.clone();
        on_system(async move {
            let engine = SteeredEngine::with(&whole.landed[..batches]);
            let second = whole.by_second.iter().position(|landed| *landed >= batches).unwrap();
            let node = node_at(&engine, DECLARED, second as u64).await;
            until(&node, SEEN).await;
            assert_eq!(seen(&node, &engine).await, whole.seen, "cut after {batches} of {}", whole.landed.len());
        });
    }
}

#[test]
fn a_tick_whose_write_failed_or_is_unknown_comes_once() {
    for (after, how) in
        (0..12).flat_map(|after| [Break::Failed, Break::UnknownWritten, Break::UnknownLost].map(|how| (after, how)))
    {
        on_system(async move {
            let engine = SteeredEngine::shared();
            let node = node_at(&engine, DECLARED, 0).await;
            until(&node, 50).await;
            engine.break_after(after, how);
            until(&node, SEEN).await;
            let told = seen(&node, &engine).await.told;
            assert!(told.values().all(|times| *times == 1), "{after} {how:?}: {told:?}");
            let often = (1..=5).filter(|it| told.contains_key(&format!("often {}", minute(*it)))).count();
            assert_eq!(often, 5, "{after} {how:?}: {told:?}");
        });
    }
}

/// What a life of the node until `seconds` leaves.
fn life(declares: &'static str, seconds: u64) -> Vec<Batch> {
    let landed = Arc::new(Mutex::new(Vec::new()));
    let leave = landed.clone();
    on_system(async move {
        let engine = SteeredEngine::shared();
        let node = node_at(&engine, declares, 0).await;
        until(&node, seconds).await;
        *leave.lock() = engine.landed();
    });
    std::mem::take(&mut *landed.lock())
}

const ALONE: &str = r#"
[flow.tell]
steps.tell = { effect = "notify", with = { text = "input.schedule.due + ' and ' + string(input.schedule.missed)" } }
[schedule.often]
flow = "tell"
every = "1m"
overlap = "allow"
"#;

#[test]
fn a_node_that_was_down_for_hours_fires_once_for_them_and_says_how_many() {
    let landed = life(ALONE, 150);
    on_system(async move {
        let engine = SteeredEngine::with(&landed);
        let node = node_at(&engine, ALONE, 10 * 3_600 + 5).await;
        until(&node, 10 * 3_600 + 70).await;
        let Seen { told, counted, .. } = seen(&node, &engine).await;
        let missed = format!("{} and 597", minute(3));
        let expected = [(minute(1) + " and 0"), (minute(2) + " and 0"), missed, (minute(601) + " and 0")];
        assert_eq!(told.into_keys().collect::<Vec<_>>(), expected);
        assert_eq!(counted, [(4, 0, 0, 597, None)]);
    });
}

#[test]
fn a_clock_that_was_set_back_repeats_nothing_and_does_not_hold_up_what_is_new() {
    let landed = life(ALONE, 10 * 3_600 - 30);
    on_system(async move {
        // Back at the beginning, with the next tick ten hours ahead.
        let engine = SteeredEngine::with(&landed);
        let node = node_at(&engine, ALONE, 30).await;
        until(&node, 40).await;
        let before = seen(&node, &engine).await;
        assert_eq!(schedule(&node, "often").await.next, Some(BEGIN.plus(Duration::from_secs(60))));
        until(&node, 10 * 3_600 + 30).await;
        let after = seen(&node, &engine).await;
        assert!(after.told.values().all(|times| *times == 1), "a tick that had come came again");
        assert_eq!(after.told.len(), before.told.len() + 1, "and the first new one came");
    });
}

const CHANGED: &str = r#"
[flow.tell]
steps.tell = { effect = "notify", with = { text = "input.schedule.name + ' ' + input.schedule.due" } }
[flow.slow]
steps.wait = { wait = "70s" }
steps.tell = { effect = "notify", after = "wait", with = { text = "input.schedule.name + ' ' + input.schedule.due" } }
[schedule.often]
flow = "tell"
cron = "*/3 * * * *"
[schedule.left-out]
flow = "tell"
every = "1m"
paused = true
"#;

#[test]
fn a_start_with_another_configuration_replaces_timers_and_ends_what_is_gone() {
    let landed = life(DECLARED, 90);
    on_system(async move {
        let engine = SteeredEngine::with(&landed);
        let node = node_at(&engine, CHANGED, 125).await;
        until(&node, 130).await;
        let timers: Vec<String> =
            engine.area(b't').iter().filter_map(|row| Some(layout::owner(&row.key)?.to_string())).collect();
        let schedules: Vec<&String> = timers.iter().filter(|timer| timer.starts_with("schedule/")).collect();
        assert_eq!(schedules, ["schedule/often"], "one paused, three gone");
        let heads = layout::heads(Some(Kind::Schedule));
        assert_eq!(engine.range(Span::prefix(&heads, 100)).await.unwrap().len(), 2);
        let rows = engine.area(b'r').into_iter().filter_map(|row| layout::owner(&row.key));
        assert!(!rows.into_iter().any(|owner| owner.kind == Kind::Schedule && owner.key.as_ref() == "in-line"));
        assert_eq!(schedule(&node, "often").await.next, Some(BEGIN.plus(Duration::from_secs(180))));
        until(&node, 400).await;
        let told = seen(&node, &engine).await.told;
        let often: Vec<&String> = told.keys().filter(|text| text.starts_with("often")).collect();
        // What the old times missed while it was down is not made up for.
        assert_eq!(often, [1, 3, 6].map(|it| format!("often {}", minute(it))).iter().collect::<Vec<_>>());
        // What had begun runs to its end, and the end of one whose schedule is gone harms nobody.
        assert!(told.contains_key(&format!("in-line {}", minute(1))), "{told:?}");
        assert_eq!(engine.range(Span::prefix(&heads, 100)).await.unwrap().len(), 2);
    });
}

#[test]
fn an_instance_that_is_killed_makes_room_for_the_next() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node_at(&engine, DECLARED, 0).await;
        until(&node, 65).await;
        let runs = schedule(&node, "left-out").await;
        assert_eq!((runs.begun, runs.running), (1, 1));
        let id = running(&node, &engine).await;
        let kill = flow::Command::Kill { by: None, reason: "enough".into() };
        node.runtime.registry().ask::<Flow>(&id, kill, None).await.unwrap();
        until(&node, 70).await;
        assert_eq!(schedule(&node, "left-out").await.running, 0);
        until(&node, 125).await;
        assert_eq!(schedule(&node, "left-out").await.begun, 2, "there is room for the next");
    });
}

/// The instance of `left-out` that has not ended.
async fn running(node: &Node, engine: &Arc<SteeredEngine>) -> String {
    let id = quickbeam::actors::entity::ActorId::of::<Schedule>("left-out");
    let held = engine.area(b'r').into_iter().filter(|row| layout::owner(&row.key).as_ref() == Some(&id));
    let mut found = Vec::new();
    for row in held {
        if let Ok(run) = record::decode::<quickbeam::actors::schedule::Run>(&row.value) {
            found.push(run.tick.flow);
        }
    }
    let flow = inspect::state::<Flow>(&node.runtime, &found[0]).await.unwrap().unwrap();
    assert_eq!(flow.progress.unwrap().phase(), Phase::Suspended);
    found.remove(0)
}

#[test]
fn a_pause_outlives_the_process_and_a_look_changes_nothing() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node_at(&engine, ALONE, 0).await;
        until(&node, 65).await;
        let pause = Command::Pause { by: "ann".into(), reason: None };
        node.runtime.registry().ask::<Schedule>("often", pause, None).await.unwrap();
        let again = SteeredEngine::with(&engine.landed());
        let clock = node.runtime.clock.clone();
        let plan = Plan { declares: ALONE, kinds: Kinds::default(), clock, ..Plan::default() };
        let node = Node::start(again.clone(), plan).await;
        until(&node, 400).await;
        let before = again.landed().len();
        timetable::look(&node.runtime).await.unwrap();
        assert_eq!(again.landed().len(), before);
        assert_eq!(schedule(&node, "often").await.begun, 1);
        let go_on = Command::Continue { by: "ann".into() };
        node.runtime.registry().ask::<Schedule>("often", go_on, None).await.unwrap();
        until(&node, 425).await;
        let state = schedule(&node, "often").await;
        assert_eq!((state.begun, state.missed), (2, 0));
    });
}

const BOUNDED: &str = r#"
[flow.slow]
concurrency = { key = "input.room", max = 1 }
search.room = "input.room"
steps.wait = { wait = "90s" }
[schedule.often]
flow = "slow"
every = "1m"
overlap = "allow"
input = { room = "hall" }
"#;

#[test]
fn what_a_schedule_begins_waits_at_the_limits_of_its_flow_like_every_other() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = node_at(&engine, BOUNDED, 0).await;
        until(&node, 125).await;
        let flows = seen(&node, &engine).await.flows;
        let of = |phase: Phase| flows.get(&("slow".to_owned(), phase.word().to_owned())).copied();
        assert_eq!((of(Phase::Suspended), of(Phase::Queued)), (Some(1), Some(1)), "{flows:?}");
        let prefix = layout::index_prefix(Index::FlowsBy, &found_prefix(By::Field("room"), "hall"));
        assert_eq!(engine.range(Span::prefix(&prefix, 100)).await.unwrap().len(), 2);
        until(&node, 160).await;
        let flows = seen(&node, &engine).await.flows;
        assert_eq!(flows.get(&("slow".to_owned(), "done".to_owned())), Some(&1), "{flows:?}");
        assert_eq!(schedule(&node, "often").await.running, 1);
    });
}
