//! Messages: rows that arrive exactly once and in order, through full mailboxes, restarts and rebuilds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quickbeam::actors::ask::AskError;
use quickbeam::actors::entity::ActorId;
use quickbeam::actors::runtime::Limits;
use quickbeam::store::MemoryEngine;

use super::engine::{Break, SteeredEngine};
use super::node::{Node, Plan, on_system, settle};
use super::probe::{Command, Probe};

fn tell(to: &str, texts: impl IntoIterator<Item = String>) -> Command {
    Command::Tell { to: to.into(), texts: texts.into_iter().collect() }
}

fn numbered(from: &str, numbers: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    numbers.map(move |number| format!("{from} {number}"))
}

/// What of `heard` came from one sender.
fn of(heard: &[String], from: &str) -> Vec<String> {
    heard.iter().filter(|text| text.starts_with(&format!("{from} "))).cloned().collect()
}

#[test]
fn messages_arrive_once_and_in_order_and_leave_no_row() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        let senders = ["x", "y", "z"];
        let mut told = Vec::new();
        for round in 0..20 {
            for sender in senders {
                told.push(node.asking(sender, tell("r", numbered(sender, round * 5..round * 5 + 5))));
            }
        }
        for told in told {
            told.await.unwrap().unwrap();
        }
        let heard = node.until("r", |probe| probe.heard.len() >= 300).await.heard;
        for sender in senders {
            assert_eq!(of(&heard, sender), numbered(sender, 0..100).collect::<Vec<_>>());
        }
        settle().await;
        assert_eq!(node.stored("r").await.unwrap().heard.len(), 300, "and nothing twice");
        assert!(engine.area(b'm').is_empty());
    });
}

/// Its turns are counted from one again, and the messages of its earlier life still wait.
#[test]
fn an_actor_that_ended_and_lives_again_does_not_write_over_what_it_said_before() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        let receiver = ActorId::of::<Probe>("r");
        node.runtime.registry().mark_failed(&receiver, "until later".into());
        for life in 0..3 {
            node.ask("x", tell("r", numbered("x", life * 2..life * 2 + 2))).await.unwrap();
            node.ask("x", Command::End).await.unwrap();
        }
        settle().await;
        assert_eq!(engine.area(b'm').len(), 6, "each has a row of its own");
        assert!(node.runtime.registry().retry_failed(&receiver));
        let mut heard = node.until("r", |probe| probe.heard.len() >= 6).await.heard;
        // Lives within one moment have no order among them.
        heard.sort();
        assert_eq!(heard, numbered("x", 0..6).collect::<Vec<_>>());
    });
}

#[test]
fn a_message_leaves_only_when_the_turn_that_sends_it_is_on_disk() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let told = node.asking("x", tell("r", ["x 0".into()]));
        settle().await;
        assert_eq!(engine.held(), 1, "the receiver has nothing to do yet");
        engine.release(1);
        settle().await;
        assert_eq!(engine.held(), 1, "now it has");
        engine.release_all();
        told.await.unwrap().unwrap();
        assert_eq!(node.until("r", |probe| !probe.heard.is_empty()).await.heard, ["x 0"]);
    });
}

#[test]
fn messages_for_a_full_mailbox_wait_as_rows_in_their_order() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { mailbox: 8, turns_in_flight: 2, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        // Runs of uneven length, so that a later short one would fit where an earlier long one did not.
        for round in 0..40 {
            let (long, short) = (round * 8..round * 8 + 7, round * 8 + 7..round * 8 + 8);
            node.ask("x", tell("r", numbered("x", long))).await.unwrap();
            node.ask("x", tell("r", numbered("x", short))).await.unwrap();
        }
        let heard = node.until("r", |probe| probe.heard.len() >= 320).await.heard;
        assert_eq!(heard, numbered("x", 0..320).collect::<Vec<_>>());
        assert!(engine.area(b'm').is_empty());
    });
}

/// While the receiver's commits are held its mailbox fills up, and what comes later must not pass what waits as rows.
#[test]
fn nothing_passes_messages_that_wait_as_rows() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { mailbox: 4, turns_in_flight: 2, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        engine.hold();
        let mut told = Vec::new();
        for round in 0..60 {
            let run = if round % 3 == 0 { 3 } else { 1 };
            let start = round * 3;
            told.push((run, node.asking("x", tell("r", numbered("x", start..start + run)))));
            settle().await;
            let held = engine.held();
            engine.release(held.min(1 + round as usize % 2));
            settle().await;
        }
        engine.release_all();
        let mut sent = 0;
        for (run, told) in told {
            match told.await.unwrap() {
                Ok(_) => sent += run as usize,
                Err(AskError::Full) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let heard = node.until("r", |probe| probe.heard.len() >= sent).await.heard;
        let mut sorted = heard.clone();
        sorted.sort_by_key(|text| text[2..].parse::<u32>().unwrap());
        assert_eq!(heard, sorted);
    });
}

/// Those that wait are looked for while an earlier one is being answered, and come before it in their order.
#[test]
fn what_a_turn_in_flight_answers_to_is_not_answered_to_again() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { mailbox: 1, turns_in_flight: 2, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        node.ask("r", Command::Add(0)).await.unwrap();
        engine.hold();
        let from_x = node.asking("x", tell("r", numbered("x", 0..1)));
        settle().await;
        let from_a = node.asking("a", tell("r", numbered("a", 0..2)));
        settle().await;
        engine.release(1);
        from_x.await.unwrap().unwrap();
        settle().await;
        engine.release(1);
        from_a.await.unwrap().unwrap();
        settle().await;
        assert_eq!(engine.held(), 2, "the answer to x, and the one to the first of a");
        engine.release_all();
        let heard = node.until("r", |probe| probe.heard.len() >= 3).await.heard;
        assert_eq!(heard, ["x 0", "a 0", "a 1"]);
        settle().await;
        let lives = node.runtime.counters.activations.load(Ordering::Relaxed);
        assert_eq!(lives, 3, "no turn failed because its message was gone");
    });
}

/// Callers that never let up must not keep messages waiting for ever.
#[test]
fn messages_that_wait_as_rows_get_their_turn_among_callers() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let limits = Limits { mailbox: 8, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, ..Plan::default() }).await;
        node.ask("x", tell("r", numbered("x", 0..100))).await.unwrap();
        let mut callers = Vec::new();
        for _ in 0..8 {
            let runtime = node.runtime.clone();
            callers.push(actix_rt::spawn(async move {
                loop {
                    match runtime.registry().ask::<super::probe::Probe>("r", Command::Add(1), None).await {
                        Ok(_) | Err(AskError::Full) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            }));
        }
        for _ in 0..200 {
            settle().await;
            if node.stored("r").await.is_some_and(|probe| probe.heard.len() == 100) {
                return callers.iter().for_each(tokio::task::JoinHandle::abort);
            }
        }
        panic!("the messages still wait");
    });
}

#[test]
fn messages_left_waiting_by_a_node_that_stopped_arrive_after_the_restart() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        // Lands the sender's turns, and nothing of the receiver.
        engine.hold();
        let told: Vec<_> = (0..10).map(|n| node.asking("x", tell("r", numbered("x", n * 10..n * 10 + 10)))).collect();
        settle().await;
        engine.release(engine.held());
        for told in told {
            told.await.unwrap().unwrap();
        }
        let again = Node::on(SteeredEngine::with(&engine.landed())).await;
        let heard = again.until("r", |probe| probe.heard.len() >= 100).await.heard;
        assert_eq!(heard, numbered("x", 0..100).collect::<Vec<_>>());
    });
}

#[test]
fn messages_that_come_together_are_taken_in_few_batches_and_lost_by_none_that_fails() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("r", Command::Add(0)).await.unwrap();
        engine.hold();
        let told = node.asking("x", tell("r", numbered("x", 0..100)));
        settle().await;
        engine.release(1);
        told.await.unwrap().unwrap();
        settle().await;
        assert_eq!(engine.held(), 4, "of 32 turns at most");
        engine.break_after(1, Break::Failed);
        engine.release_all();
        let heard = node.until("r", |probe| probe.heard.len() >= 100).await.heard;
        assert_eq!(heard, numbered("x", 0..100).collect::<Vec<_>>());
    });
}

#[test]
fn messages_arrive_once_and_in_order_through_failures_of_the_store() {
    for (after, how) in
        (0..30).flat_map(|after| [Break::Failed, Break::UnknownWritten, Break::UnknownLost].map(|how| (after, how)))
    {
        on_system(async move {
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            engine.break_after(after, how);
            let mut acknowledged = Vec::new();
            for number in 0..20 {
                let text = format!("x {number}");
                match node.ask("x", tell("r", [text.clone()])).await {
                    Ok(_) => acknowledged.push(text),
                    Err(AskError::Store(_) | AskError::Unknown(_) | AskError::Unavailable(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            let heard = node.until("r", |probe| acknowledged.iter().all(|text| probe.heard.contains(text))).await.heard;
            let mut once = heard.clone();
            once.dedup();
            assert_eq!(once, heard, "break {how:?} after {after}");
            let mut sorted = heard.clone();
            sorted.sort_by_key(|text| text[2..].parse::<u32>().unwrap());
            assert_eq!(heard, sorted, "break {how:?} after {after}");
            settle().await;
            assert!(engine.area(b'm').is_empty(), "break {how:?} after {after}");
        });
    }
}

#[test]
fn messages_to_oneself_come_in_a_later_turn() {
    on_system(async {
        let node = Node::on(Arc::new(MemoryEngine::default())).await;
        node.ask("x", tell("x", numbered("x", 0..3))).await.unwrap();
        let heard = node.until("x", |probe| probe.heard.len() == 3).await.heard;
        assert_eq!(heard, numbered("x", 0..3).collect::<Vec<_>>());
    });
}
