//! Coming into memory and leaving it: idle actors go, those at rest go at once, and nothing is lost in the gap.

use std::sync::Arc;
use std::time::Duration;

use quickbeam::actors::ask::AskError;
use quickbeam::actors::entity::{ActorId, Label};
use quickbeam::actors::inspect::{self, State};
use quickbeam::actors::runtime::Limits;
use quickbeam::clock::SystemClock;
use quickbeam::store::{Batch, Engine, Key, MemoryEngine};

use super::engine::SteeredEngine;
use super::node::{Node, Plan, on_system, settle};
use super::probe::{Command, Probe};

#[test]
fn an_idle_actor_leaves_memory_and_comes_back_as_it_was() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        node.ask("a", Command::Add(3)).await.unwrap();
        assert_eq!(node.runtime.registry().active(), 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.runtime.registry().active(), 0);
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 4);
    });
}

#[test]
fn of_more_actors_than_may_stay_those_idle_the_longest_leave_and_come_back_as_they_were() {
    on_system(async {
        let limits = Limits { actors: 10, idle: Duration::from_secs(3_600), ..Limits::default() };
        let node = Node::start(SteeredEngine::shared(), Plan { limits, ..Plan::default() }).await;
        for number in 0..25 {
            node.ask(&format!("a{number}"), Command::Add(number)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(node.runtime.registry().active(), 25, "each had something to do a moment ago");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let registry = node.runtime.registry();
        let stays = |number: &u64| registry.presence(&ActorId::of::<Probe>(format!("a{number}"))).is_some();
        assert_eq!((0..25).filter(stays).collect::<Vec<_>>(), (15..25).collect::<Vec<_>>());
        for number in 0..25 {
            assert_eq!(node.ask(&format!("a{number}"), Command::Add(1)).await.unwrap().total, number + 1);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.runtime.registry().active(), 10, "as many may stay for as long as they like");
    });
}

#[test]
fn an_actor_at_rest_leaves_memory_at_once() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        for label in [Label::Suspended, Label::Done, Label::Stuck] {
            node.ask("a", Command::Become(label)).await.unwrap();
            settle().await;
            assert_eq!(node.runtime.registry().active(), 0);
        }
        node.ask("a", Command::Become(Label::Idle)).await.unwrap();
        settle().await;
        assert_eq!(node.runtime.registry().active(), 1);
    });
}

#[test]
fn an_actor_with_a_turn_in_flight_stays_however_idle_it_seems() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let asked = node.asking("a", Command::Become(Label::Suspended));
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(node.runtime.registry().active(), 1);
        engine.release_all();
        asked.await.unwrap().unwrap();
        settle().await;
        assert_eq!(node.runtime.registry().active(), 0);
    });
}

/// Every ask brings the actor in, and it leaves after every turn, while messages come from others all the time.
#[test]
fn nothing_is_lost_when_work_comes_while_an_actor_leaves() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        node.ask("r", Command::Become(Label::Suspended)).await.unwrap();
        let mut asked = Vec::new();
        for round in 0..300_u32 {
            let to = Command::Tell { to: "r".into(), texts: vec![format!("x {round}")] };
            asked.push(node.asking("x", to));
            asked.push(node.asking("r", Command::Add(1)));
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
        }
        for asked in asked {
            asked.await.unwrap().unwrap();
        }
        let probe = node.until("r", |probe| probe.heard.len() >= 300).await;
        assert_eq!(probe.total, 300);
        assert_eq!(probe.heard, (0..300).map(|round| format!("x {round}")).collect::<Vec<_>>());
    });
}

/// The same on two arbiters and the real clock, where the threads race.
#[test]
fn nothing_is_lost_when_threads_race_with_leaving_actors() {
    let system = actix_rt::System::new();
    system.block_on(async {
        let arbiters: Vec<_> = (0..3).map(|_| actix_rt::Arbiter::new()).collect();
        let limits = Limits { idle: Duration::from_millis(1), ..Limits::default() };
        let plan = Plan {
            limits,
            clock: SystemClock::shared(),
            arbiters: arbiters.iter().map(actix_rt::Arbiter::handle).collect(),
            ..Plan::default()
        };
        let node = Node::start(Arc::new(MemoryEngine::default()), plan).await;
        for receiver in ["r", "s"] {
            node.ask(receiver, Command::Become(Label::Suspended)).await.unwrap();
        }
        let mut asked = Vec::new();
        for round in 0..1_000_u32 {
            for (sender, receiver) in [("x", "r"), ("y", "s")] {
                let tell = Command::Tell { to: receiver.into(), texts: vec![format!("{sender} {round}")] };
                asked.push(node.asking(sender, tell));
                asked.push(node.asking(receiver, Command::Add(1)));
            }
            if round % 5 == 0 {
                for asked in asked.drain(..) {
                    asked.await.unwrap().unwrap();
                }
            }
        }
        for asked in asked {
            asked.await.unwrap().unwrap();
        }
        for (sender, receiver) in [("x", "r"), ("y", "s")] {
            let probe = node.until(receiver, |probe| probe.heard.len() >= 1_000).await;
            assert_eq!(probe.total, 1_000);
            assert_eq!(probe.heard, (0..1_000).map(|round| format!("{sender} {round}")).collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_list_of_actors_says_where_each_is() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        node.ask("active", Command::Add(1)).await.unwrap();
        node.ask("suspended", Command::Become(Label::Suspended)).await.unwrap();
        let (all, next) = inspect::list(&node.runtime, None, None, None, 10).await.unwrap();
        let states: Vec<_> = all.iter().map(|one| (one.key.as_str(), one.state)).collect();
        assert_eq!(states, [("active", State::Active), ("suspended", State::Suspended)]);
        assert!(next.is_none());
        let (first, next) = inspect::list(&node.runtime, None, None, None, 1).await.unwrap();
        let (second, _) = inspect::list(&node.runtime, None, None, next.as_ref(), 1).await.unwrap();
        assert_eq!((first[0].key.as_str(), second[0].key.as_str()), ("active", "suspended"));
        tokio::time::sleep(Duration::from_secs(120)).await;
        let (passive, _) = inspect::list(&node.runtime, None, Some(State::Passive), None, 10).await.unwrap();
        assert_eq!(passive.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["active"]);
    });
}

#[test]
fn a_long_life_is_rebuilt_from_its_snapshot_and_keeps_its_last_hundred_turns() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for _ in 0..400 {
            node.ask("a", Command::Add(1)).await.unwrap();
        }
        let kept = engine.area(b'e').len();
        assert!((100..=164).contains(&kept), "{kept} event rows are kept");
        let again = Node::on(SteeredEngine::with(&engine.landed())).await;
        assert_eq!(again.ask("a", Command::Add(1)).await.unwrap().total, 401);
        let details = inspect::details(&again.runtime, &ActorId::of::<Probe>("a")).await.unwrap().unwrap();
        assert_eq!(details.summary.sequence, 401);
        assert_eq!(details.journal.len(), 20);
        assert_eq!(details.journal.last().unwrap().turn, 401);
    });
}

/// Writes a row behind everybody's back, as damage would.
async fn spoil(engine: &SteeredEngine, key: Key, value: Option<&'static [u8]>) {
    let fence = engine.landed().last().map(|batch| batch.fence).unwrap_or_default();
    let mut batch = Batch { fence, ..Batch::default() };
    match value {
        Some(value) => batch.puts.push((key, value.into())),
        None => batch.deletes.push(key),
    }
    engine.commit(batch).await;
}

#[test]
fn a_young_actor_whose_last_turns_are_gone_is_damaged_and_not_taken_for_another() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(1)).await.unwrap();
        node.ask("a", Command::Become(Label::Suspended)).await.unwrap();
        let last = engine.area(b'e').last().unwrap().key.clone();
        spoil(&engine, last, None).await;
        let again = Node::on(engine).await;
        assert!(matches!(again.ask("a", Command::Add(1)).await, Err(AskError::Damaged(_))));
    });
}

#[test]
fn an_actor_whose_stored_state_is_damaged_has_failed_and_others_go_on() {
    for letter in [b'h', b'e'] {
        on_system(async move {
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            node.ask("a", Command::Add(1)).await.unwrap();
            node.ask("a", Command::Add(1)).await.unwrap();
            let key = engine.area(letter).last().unwrap().key.clone();
            let before = engine.area(letter).last().unwrap().value.clone();
            spoil(&engine, key.clone(), Some(b"\xc1 no such thing")).await;
            let again = Node::on(engine.clone()).await;
            assert!(matches!(again.ask("a", Command::Add(1)).await, Err(AskError::Damaged(_))));
            assert!(matches!(again.ask("a", Command::Add(1)).await, Err(AskError::Damaged(_))));
            again.ask("b", Command::Tell { to: "a".into(), texts: vec!["b 0".into()] }).await.unwrap();
            settle().await;
            assert_eq!(engine.area(b'm').len(), 1, "its messages are left alone");
            let id = ActorId::of::<Probe>("a");
            let details = inspect::details(&again.runtime, &id).await.unwrap().unwrap();
            assert_eq!(details.summary.state, State::Failed);
            assert!(details.summary.failed.is_some());
            // Repaired by hand, it goes on with what waited.
            engine
                .commit(Batch {
                    fence: engine.landed().last().unwrap().fence,
                    puts: vec![(key, before)],
                    ..Batch::default()
                })
                .await;
            assert!(again.runtime.registry().retry_failed(&id));
            let probe = again.until("a", |probe| !probe.heard.is_empty()).await;
            assert_eq!((probe.total, probe.heard), (2, vec!["b 0".to_owned()]));
        });
    }
}

#[test]
fn a_missing_turn_is_damage() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for _ in 0..3 {
            node.ask("a", Command::Add(1)).await.unwrap();
        }
        let second = engine.area(b'e')[1].key.clone();
        spoil(&engine, second, None).await;
        let again = Node::on(engine).await;
        let Err(AskError::Damaged(reason)) = again.ask("a", Command::Add(1)).await else { panic!("it must fail") };
        assert!(reason.contains("turn 2 is missing"), "{reason}");
    });
}
