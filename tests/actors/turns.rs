//! Turns: nothing is told before it is on disk, many share a commit, and repeats under a key get the first answer.

use std::sync::Arc;
use std::time::Duration;

use quickbeam::actors::ask::AskError;
use quickbeam::actors::entity::{ActorId, Label};
use quickbeam::actors::once::Once;
use quickbeam::actors::root;
use quickbeam::actors::runtime::Limits;
use quickbeam::actors::watchers::Until;
use quickbeam::store::MemoryEngine;

use super::engine::{Break, SteeredEngine};
use super::node::{Node, Plan, on_system, settle};
use super::probe::{Command, Probe, Refused};

#[test]
fn an_answer_comes_after_the_commit_and_survives_a_restart() {
    on_system(async {
        let engine = Arc::new(MemoryEngine::default());
        let node = Node::on(engine.clone()).await;
        assert_eq!(node.ask("a", Command::Add(3)).await.unwrap().total, 3);
        assert_eq!(node.ask("a", Command::Add(4)).await.unwrap().total, 7);
        let again = Node::on(engine).await;
        assert_eq!(again.ask("a", Command::Add(0)).await.unwrap().total, 7);
    });
}

#[test]
fn ids_of_one_millisecond_are_in_the_order_in_which_they_were_made() {
    on_system(async {
        let node = Node::on(Arc::new(MemoryEngine::default())).await;
        let (mut made, before) = (Vec::new(), node.runtime.clock.now());
        for name in ["a", "b", "c"].iter().cycle().take(300) {
            made.push(node.ask(name, Command::MakeId).await.unwrap().rows.remove(0).0);
        }
        assert_eq!(node.runtime.clock.now(), before, "the clock of tests goes on only when there is nothing to do");
        assert!(made.is_sorted() && made.windows(2).all(|pair| pair[0] != pair[1]), "{made:?}");
    });
}

#[test]
fn answers_wait_for_their_own_turn_and_for_all_before_it() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(1)).await.unwrap();
        engine.hold();
        let first = node.asking("a", Command::Add(10));
        // These two change nothing, and rest on the first.
        let look = node.asking("a", Command::ReadRow("none".into()));
        let refused = node.asking("a", Command::Refuse);
        let last = node.asking("a", Command::Add(100));
        settle().await;
        assert_eq!(engine.held(), 2, "what changes nothing is not written");
        assert!(!first.is_finished() && !look.is_finished() && !refused.is_finished() && !last.is_finished());
        engine.release(1);
        assert_eq!(first.await.unwrap().unwrap().total, 11);
        assert_eq!(look.await.unwrap().unwrap().total, 11);
        assert!(matches!(refused.await.unwrap(), Err(AskError::Rejected(Refused))));
        settle().await;
        assert!(!last.is_finished());
        engine.release_all();
        assert_eq!(last.await.unwrap().unwrap().total, 111);
    });
}

#[test]
fn many_turns_of_one_actor_are_on_their_way_at_once() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { turns_in_flight: 100, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        node.ask("a", Command::Add(0)).await.unwrap();
        engine.hold();
        let asked: Vec<_> = (0..150).map(|_| node.asking("a", Command::Add(1))).collect();
        settle().await;
        assert_eq!(engine.held(), 100, "as many as may be in flight, and no more");
        engine.release_all();
        let mut totals = Vec::new();
        for answer in asked {
            totals.push(answer.await.unwrap().unwrap().total);
        }
        assert_eq!(totals, (1..=150).collect::<Vec<_>>());
    });
}

/// Outcomes that are known at the same moment, told last to first: each turn must get its own.
#[test]
fn each_turn_hears_its_own_outcome_whatever_the_order_they_are_told_in() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(0)).await.unwrap();
        engine.hold();
        engine.break_after(3, Break::Failed);
        let asked: Vec<_> = (0..6).map(|_| node.asking("a", Command::Add(1))).collect();
        settle().await;
        engine.release_all();
        let mut well = Vec::new();
        for answer in asked {
            well.push(answer.await.unwrap().is_ok());
        }
        assert_eq!(well, [true, true, true, false, false, false]);
        let kept = node.ask("a", Command::Add(0)).await.unwrap().total;
        assert_eq!(kept, 3, "what was acknowledged is what is there");
    });
}

#[test]
fn the_same_key_gets_the_same_answer_and_another_request_is_a_conflict() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        let once = |request: &[u8]| Some(Once::new("token", "key", request));
        engine.hold();
        let first = node.asking_once("a", Command::Add(5), once(b"five"));
        let repeat = node.asking_once("a", Command::Add(5), once(b"five"));
        let other = node.asking_once("a", Command::Add(6), once(b"six"));
        settle().await;
        assert_eq!(engine.held(), 1);
        assert!(!repeat.is_finished() && !other.is_finished(), "they rest on the turn in flight");
        engine.release_all();
        assert_eq!(first.await.unwrap().unwrap().total, 5);
        assert_eq!(repeat.await.unwrap().unwrap().total, 5);
        assert!(matches!(other.await.unwrap(), Err(AskError::Conflict)));
        node.ask("a", Command::Add(1)).await.unwrap();
        let again = Node::on(engine).await;
        assert_eq!(again.asking_once("a", Command::Add(5), once(b"five")).await.unwrap().unwrap().total, 5);
        let conflict = again.asking_once("a", Command::Add(6), once(b"six")).await.unwrap();
        assert!(matches!(conflict, Err(AskError::Conflict)));
        let of_another = Some(Once::new("token of another", "key", b"six"));
        assert_eq!(again.asking_once("a", Command::Add(6), of_another).await.unwrap().unwrap().total, 12);
    });
}

#[test]
fn an_answer_that_changes_nothing_is_also_kept_for_repeats() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        let look = || node.asking_once("a", Command::ReadRow("x".into()), Some(Once::new("token", "look", b"")));
        assert!(look().await.unwrap().unwrap().rows.is_empty());
        node.ask("a", Command::PutRow { name: "x".into(), value: 1 }).await.unwrap();
        assert!(look().await.unwrap().unwrap().rows.is_empty(), "the first answer again");
    });
}

#[test]
fn a_full_mailbox_says_so_to_callers_and_takes_more_later() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { mailbox: 10, turns_in_flight: 4, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        node.ask("a", Command::Add(0)).await.unwrap();
        engine.hold();
        let asked: Vec<_> = (0..20).map(|_| node.asking("a", Command::Add(1))).collect();
        settle().await;
        engine.release_all();
        let (mut well, mut full) = (0, 0);
        for answer in asked {
            match answer.await.unwrap() {
                Ok(_) => well += 1,
                Err(AskError::Full) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(full > 0 && (10..=14).contains(&well), "{well} taken, {full} refused");
        assert_eq!(node.ask("a", Command::Add(0)).await.unwrap().total, well);
    });
}

#[test]
fn stopping_waits_for_what_is_under_way_and_takes_nothing_new() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let asked: Vec<_> = (0..5).map(|_| node.asking("a", Command::Add(1))).collect();
        settle().await;
        let runtime = node.runtime.clone();
        let drained = actix_rt::spawn(async move { root::drain(&runtime).await });
        settle().await;
        assert!(!drained.is_finished());
        assert!(matches!(node.ask("a", Command::Add(1)).await, Err(AskError::Unavailable(_))));
        engine.release_all();
        assert!(drained.await.unwrap(), "everything was in time");
        for answer in asked {
            assert!(answer.await.unwrap().is_ok());
        }
    });
}

#[test]
fn stopping_gives_up_on_a_store_that_never_answers() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let asked = node.asking("a", Command::Add(1));
        settle().await;
        assert!(!root::drain(&node.runtime).await);
        assert!(!asked.is_finished(), "and nobody is told that it is done");
    });
}

#[test]
fn a_watcher_is_woken_by_the_next_turn_that_is_on_disk() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let mut turn = node.runtime.registry().watch(&probe("a"), Until::Turn);
        let asked = node.asking("a", Command::Add(1));
        settle().await;
        assert!(turn.try_recv().is_err());
        engine.release_all();
        tokio::time::timeout(Duration::from_secs(1), turn).await.unwrap().unwrap();
        asked.await.unwrap().unwrap();
    });
}

#[test]
fn who_waits_until_an_actor_rests_is_woken_by_no_turn_before() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        let mut rest = node.runtime.registry().watch(&probe("a"), Until::Rest);
        node.ask("a", Command::Add(1)).await.unwrap();
        node.ask("a", Command::Add(1)).await.unwrap();
        settle().await;
        assert!(rest.try_recv().is_err());
        node.ask("a", Command::Become(Label::Suspended)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(1), rest).await.unwrap().unwrap();
    });
}

fn probe(key: &str) -> ActorId {
    ActorId::of::<Probe>(key)
}
