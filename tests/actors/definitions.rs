//! Instances whose definition asks for more than this binary has: they wait, say what is missing, and verbs move them on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quickbeam::actors::flow::{Command, Flow, Origin, Start};
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::stream::Record;
use quickbeam::actors::{layout, letters, record};
use quickbeam::domains::effects::Effects;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::{Phase, Progress};
use quickbeam::domains::flow::verbs::{Verb, possible};
use quickbeam::store::Batch;
use serde_json::{Value, json};

use super::engine::SteeredEngine;
use super::node::{JumpingClock, Node, Plan, on_system, settle};

/// `digest.send` is an effect of blogs: a binary without them does not have it.
const DECLARED: &str = r#"
[flow.sending]
steps.said = { effect = "notify", with = { text = "'said'" }, undo = true }
steps.ask = { suspend = "go", after = "said" }
steps.send = { effect = "digest.send", after = "ask", with = { title = "'news'" } }
steps.last = { effect = "notify", after = "send", with = { text = "'last'" } }

[flow.sent]
steps.send = { effect = "notify", with = { text = "'sent'" }, undo = { effect = "digest.send", with = { title = "'taken back'" } } }
steps.ask = { suspend = "go", after = "send" }

[flow.list]
steps.ask = { suspend = "go" }
steps.send = { each = "['a', 'b']", effect = "digest.send", after = "ask", with = { title = "item" }, failures = "collect" }
"#;
const MISSING: &str = "this binary has no effect `digest.send`: install one that has it, then retry the step";

async fn life(engine: &Arc<SteeredEngine>, declares: &'static str, effects: Option<Effects>) -> Node {
    let usual = Plan::default();
    let effects = effects.unwrap_or(usual.effects.clone());
    let plan = Plan { declares, effects, kinds: Kinds::default(), ..usual };
    Node::remembering(engine.clone(), plan).await
}

/// A life on what an earlier one left, whose binary has other effects and whose configuration no flow.
async fn without_blogs(before: &[Batch]) -> (Arc<SteeredEngine>, Node) {
    let engine = SteeredEngine::with(before);
    let node = life(&engine, "", Some(Effects::generic())).await;
    (engine, node)
}

/// What a life leaves in which these flows wait for their signal.
fn waiting(flows: &'static [&'static str]) -> Vec<Batch> {
    let landed = Arc::new(Mutex::new(Vec::new()));
    let leave = landed.clone();
    on_system(async move {
        let engine = SteeredEngine::shared();
        let node = life(&engine, DECLARED, None).await;
        for flow in flows {
            let definition = node.runtime.world.catalog.current(flow).unwrap().hash.0.clone();
            let origin = Origin::Api { by: "test".into() };
            let start = Start { name: (*flow).into(), definition, input: Input::default(), origin };
            tell(&node, flow, Command::Start(Box::new(start))).await;
            rest().await;
            assert_eq!(progress(&node, flow).await.phase(), Phase::Suspended);
        }
        *leave.lock() = engine.landed();
    });
    std::mem::take(&mut *landed.lock())
}

async fn rest() {
    tokio::time::sleep(Duration::from_secs(5)).await;
    settle().await;
}

async fn tell(node: &Node, id: &str, command: Command) {
    node.runtime.registry().ask::<Flow>(id, command, None).await.unwrap();
    rest().await;
}

async fn go(node: &Node, id: &str) {
    tell(node, id, Command::Resume { signal: None, payload: Value::Null, by: None }).await;
}

async fn progress(node: &Node, id: &str) -> Progress {
    inspect::state::<Flow>(&node.runtime, id).await.unwrap().unwrap().progress.unwrap()
}

/// What the streams hold, by their texts and titles.
fn told(engine: &Arc<SteeredEngine>) -> Vec<String> {
    let rows = engine.area(b'r').into_iter().filter_map(|row| record::decode::<Record>(&row.value).ok());
    let text = |value: &Value| value["text"].as_str().or(value["title"].as_str()).map(str::to_owned);
    let mut told: Vec<String> = rows.filter_map(|record| text(&record.value)).collect();
    told.sort();
    told
}

fn cancel() -> Command {
    Command::Cancel { by: None, reason: "enough".into() }
}

fn skip(step: &str, item: Option<u32>) -> Command {
    Command::Skip { step: step.into(), item, result: json!("by hand"), by: None }
}

#[test]
fn a_step_whose_effect_is_gone_is_paused_says_what_to_do_and_verbs_move_it_on() {
    let landed = Arc::new(waiting(&["sending"]));
    let ways: [(Command, Phase, &[&str]); 3] = [
        (skip("send", None), Phase::Done, &["last", "said"]),
        (cancel(), Phase::Cancelled, &[]),
        (Command::Kill { by: None, reason: "now".into() }, Phase::Killed, &["said"]),
    ];
    for (way, end, left) in ways {
        let landed = landed.clone();
        on_system(async move {
            let (engine, node) = without_blogs(&landed).await;
            go(&node, "sending").await;
            let paused = progress(&node, "sending").await;
            assert_eq!(paused.phase(), Phase::Paused);
            assert!(format!("{:?}", paused.steps["send"]).contains(MISSING), "{:?}", paused.steps["send"]);
            for verb in [Verb::Retry, Verb::Skip, Verb::Edit, Verb::Cancel, Verb::Kill] {
                assert!(possible(&paused).contains(&verb), "{verb}");
            }
            // It is no failure that passes: nothing is tried by itself, and who tries in vain hears the same.
            assert!(!engine.area(b't').iter().any(|row| layout::owner(&row.key).is_some()), "no timer is set");
            tell(&node, "sending", Command::Retry { step: None, by: None }).await;
            assert_eq!(progress(&node, "sending").await.steps["send"], paused.steps["send"]);
            tell(&node, "sending", way).await;
            assert_eq!(progress(&node, "sending").await.phase(), end);
            assert_eq!(told(&engine), left);
        });
    }
}

#[test]
fn a_binary_that_has_the_effect_goes_on_where_one_without_it_stopped() {
    let landed = waiting(&["sending"]);
    on_system(async move {
        let (engine, node) = without_blogs(&landed).await;
        go(&node, "sending").await;
        assert_eq!(progress(&node, "sending").await.phase(), Phase::Paused);
        let again = SteeredEngine::with(&engine.landed());
        let node = life(&again, "", None).await;
        assert_eq!(progress(&node, "sending").await.phase(), Phase::Paused, "only a person says that it may go on");
        tell(&node, "sending", Command::Retry { step: Some("send".into()), by: None }).await;
        assert_eq!(progress(&node, "sending").await.phase(), Phase::Done);
        assert_eq!(told(&again), ["last", "news", "said"]);
    });
}

#[test]
fn an_undo_that_is_gone_leaves_its_flow_stuck_until_somebody_skips_it() {
    let landed = waiting(&["sent"]);
    on_system(async move {
        let (engine, node) = without_blogs(&landed).await;
        tell(&node, "sent", cancel()).await;
        let stuck = progress(&node, "sent").await;
        assert_eq!(stuck.phase(), Phase::Stuck);
        assert!(format!("{:?}", stuck.ledger[0].undo).contains(MISSING), "{:?}", stuck.ledger);
        tell(&node, "sent", skip("send", None)).await;
        assert_eq!(progress(&node, "sent").await.phase(), Phase::Cancelled);
        assert_eq!(told(&engine), ["sent"], "what was skipped stays");
    });
}

#[test]
fn elements_whose_effect_is_gone_are_paused_and_not_collected_as_failures() {
    let landed = waiting(&["list"]);
    on_system(async move {
        let (_, node) = without_blogs(&landed).await;
        go(&node, "list").await;
        let paused = progress(&node, "list").await;
        assert_eq!(paused.phase(), Phase::Paused);
        assert!(format!("{:?}", paused.steps["send"]).contains(MISSING), "{:?}", paused.steps["send"]);
        for item in [0, 1] {
            tell(&node, "list", skip("send", Some(item))).await;
        }
        let ended = progress(&node, "list").await;
        assert_eq!((ended.phase(), ended.result("send")), (Phase::Done, Some(&json!(["by hand", "by hand"]))));
    });
}

/// A configuration of the newest binary may name kinds of step that an older one cannot even read.
const SLEEPING: &str = "[flow.sleeping]\nsteps.night = { wait = \"1h\" }\n";

#[test]
fn what_comes_due_while_the_definition_is_not_known_is_set_aside_and_not_lost() {
    let landed = Arc::new(Mutex::new(Vec::new()));
    let leave = landed.clone();
    on_system(async move {
        let engine = SteeredEngine::shared();
        let node = life(&engine, SLEEPING, None).await;
        let definition = node.runtime.world.catalog.current("sleeping").unwrap().hash.0.clone();
        let origin = Origin::Api { by: "test".into() };
        let start = Start { name: "sleeping".into(), definition, input: Input::default(), origin };
        tell(&node, "sleeping", Command::Start(Box::new(start))).await;
        *leave.lock() = engine.landed();
    });
    let landed = std::mem::take(&mut *landed.lock());
    on_system(async move {
        // As for an older binary: the definition is not known here, and its time comes meanwhile.
        let engine = SteeredEngine::with(&landed);
        let clock = JumpingClock::ahead(Duration::from_secs(7_200));
        let plan = Plan { clock, kinds: Kinds::default(), ..Plan::default() };
        let node = Node::start(engine.clone(), plan).await;
        rest().await;
        assert_eq!(progress(&node, "sleeping").await.phase(), Phase::Suspended);
        let said = letters::list(&node.runtime, None, 10).await.unwrap().items;
        assert!(said.len() == 1 && said[0].reason.contains("install one that can run it"), "{said:?}");
        // The binary that knows it is back.
        let engine = SteeredEngine::with(&engine.landed());
        let clock = JumpingClock::ahead(Duration::from_secs(7_300));
        let plan = Plan { declares: SLEEPING, clock, kinds: Kinds::default(), ..Plan::default() };
        let node = Node::remembering(engine, plan).await;
        assert!(letters::retry(&node.runtime, &said[0].id).await.unwrap());
        rest().await;
        assert_eq!(progress(&node, "sleeping").await.phase(), Phase::Done);
    });
}
