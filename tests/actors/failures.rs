//! A store that breaks: nothing is acknowledged that is not there, actors are rebuilt from what is, service goes on.

use std::time::Duration;

use quickbeam::actors::ask::AskError;
use quickbeam::actors::root;
use quickbeam::actors::runtime::Health;
use quickbeam::store::{Batch, Engine, Epoch, Fence, Shard};

use super::engine::{Break, SteeredEngine};
use super::node::{Node, on_system, settle};
use super::probe::Command;

#[test]
fn after_a_failure_what_was_acknowledged_is_what_is_there() {
    for how in [Break::Failed, Break::UnknownWritten, Break::UnknownLost] {
        for after in 0..8 {
            on_system(async move {
                let engine = SteeredEngine::shared();
                let node = Node::on(engine.clone()).await;
                for key in ["a", "b"] {
                    node.ask(key, Command::Add(0)).await.unwrap();
                }
                engine.hold();
                engine.break_after(after, how);
                let asked: Vec<_> = (0..8).map(|n| node.asking(["a", "b"][n % 2], Command::Add(1))).collect();
                settle().await;
                engine.release_all();
                let (mut well, mut unknown) = (0, 0);
                for answer in asked {
                    match answer.await.unwrap() {
                        Ok(_) => well += 1,
                        Err(AskError::Unknown(_)) => unknown += 1,
                        Err(AskError::Store(_) | AskError::Unavailable(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                assert_eq!(well, after as u64, "{how:?}");
                assert_eq!(unknown, u64::from(how != Break::Failed));
                let mut there = 0;
                for key in ["a", "b"] {
                    there += node.ask(key, Command::Add(0)).await.unwrap().total;
                }
                assert_eq!(there, well + u64::from(how == Break::UnknownWritten), "{how:?} after {after}");
                assert!(!engine.is_poisoned(), "the fence was raised");
                let epoch = engine.landed().last().unwrap().fence.epoch;
                assert_eq!(epoch, Epoch(2));
            });
        }
    }
}

/// They waited for the store to be well, and a disk may stay full for days.
#[test]
fn while_the_disk_is_full_everybody_who_asks_hears_so_at_once() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(1)).await.unwrap();
        engine.full(true);
        for key in ["a", "a", "b", "a", "b"] {
            let asked = node.asking(key, Command::Add(1));
            let answer = tokio::time::timeout(Duration::from_secs(1), asked).await.expect("no wait for the disk");
            assert!(matches!(answer.unwrap(), Err(AskError::Store(_) | AskError::Unavailable(_))));
            settle().await;
        }
        let answer = node.asking("b", Command::Add(1)).await.unwrap();
        assert!(matches!(answer, Err(AskError::Store(_))), "{answer:?}");
        engine.full(false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 2);
        assert_eq!(node.ask("b", Command::Add(1)).await.unwrap().total, 1);
    });
}

/// The turn that breaks is known while the next one reads: that one rests on what is not there, and must not be taken.
#[test]
fn a_turn_that_was_reading_when_an_earlier_one_was_lost_is_not_taken() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(1)).await.unwrap();
        engine.hold();
        engine.break_after(0, Break::Failed);
        let lost = node.asking("a", Command::Add(10));
        settle().await;
        engine.hold_reads(true);
        let resting = node.asking("a", Command::PutRow { name: "n".into(), value: 1 });
        let reading = node.asking("a", Command::ReadRow("n".into()));
        let after = node.asking_once("a", Command::Add(100), Some(quickbeam::actors::once::Once::new("t", "k", b"")));
        settle().await;
        engine.release_all();
        settle().await;
        engine.hold_reads(false);
        assert!(matches!(lost.await.unwrap(), Err(AskError::Store(_))));
        for waiting in [resting, reading, after] {
            assert!(waiting.await.unwrap().is_err(), "nothing that rests on a lost turn is acknowledged");
        }
        assert_eq!(node.ask("a", Command::Add(0)).await.unwrap().total, 1);
        assert!(node.ask("a", Command::ReadRow("n".into())).await.unwrap().rows.is_empty());
    });
}

#[test]
fn health_says_that_the_store_is_ill_until_it_takes_writes_again() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        let mut health = node.runtime.health();
        engine.hold();
        engine.break_after(0, Break::Failed);
        let asked = node.asking("a", Command::Add(1));
        settle().await;
        engine.release(1);
        assert!(asked.await.unwrap().is_err());
        health.wait_for(|health| matches!(health, Health::Ill(_))).await.unwrap();
        let answer = node.ask("a", Command::Add(1)).await;
        assert!(matches!(answer, Err(AskError::Store(_))), "while it is ill, nothing is rebuilt from it: {answer:?}");
        engine.release_all();
        health.wait_for(|health| matches!(health, Health::Well)).await.unwrap();
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 1);
    });
}

#[test]
fn a_store_that_fails_again_and_again_is_tried_until_it_is_well() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for round in 1..=20_u64 {
            engine.break_after(0, Break::Failed);
            let lost = node.ask("a", Command::Add(1)).await;
            assert!(matches!(lost, Err(AskError::Store(_))), "{lost:?}");
            // The first try to raise the fence fails too.
            engine.break_after(0, Break::UnknownLost);
            let total = loop {
                match node.ask("a", Command::Add(1)).await {
                    Ok(seen) => break seen.total,
                    Err(AskError::Store(_) | AskError::Unknown(_) | AskError::Unavailable(_)) => settle().await,
                    Err(other) => panic!("{other}"),
                }
            };
            assert_eq!(total, round);
        }
    });
}

/// Two owners of one shard, as when somebody starts a second process on a copy of the folder: the first must end.
#[test]
fn a_node_that_starts_takes_over_from_one_that_runs() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let first = Node::on(engine.clone()).await;
        first.ask("a", Command::Add(1)).await.unwrap();
        let second = Node::on(engine.clone()).await;
        assert_eq!(second.ask("a", Command::Add(1)).await.unwrap().total, 2);
        assert!(matches!(first.ask("a", Command::Add(1)).await, Err(AskError::Unavailable(_))));
        assert!(root::must_end(&first.runtime).await.contains("another process"));
        assert_eq!(second.ask("a", Command::Add(1)).await.unwrap().total, 3);
    });
}

#[test]
fn a_node_that_was_taken_over_must_end_and_writes_nothing_more() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::Add(1)).await.unwrap();
        let fence = Fence { shard: Shard(0), epoch: Epoch(7) };
        engine.commit(Batch { fence, ..Batch::default() }).await;
        assert!(matches!(node.ask("a", Command::Add(1)).await, Err(AskError::Unavailable(_))));
        assert!(root::must_end(&node.runtime).await.contains("another process"));
        assert_eq!(node.stored("a").await.unwrap().total, 1);
    });
}
