//! Timers: each fires once when it is due, can be set again or cancelled, and outlives the process.

use std::time::Duration;

use quickbeam::actors::entity::ActorId;
use quickbeam::actors::inspect;
use quickbeam::actors::letters;
use quickbeam::clock::Time;

use super::engine::{Break, SteeredEngine};
use super::node::{BEGIN, Node, on_system, settle};
use super::probe::{Command, Probe, panic_on};

fn set(timer: &str, due: Time, text: &str) -> Command {
    Command::Set { timer: timer.into(), due, text: text.into() }
}

fn after(seconds: u64) -> Time {
    BEGIN.plus(Duration::from_secs(seconds))
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn a_timer_fires_once_and_not_before_it_is_due() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("t", after(100), "rang")).await.unwrap();
        wait(99).await;
        assert!(node.stored("a").await.unwrap().heard.is_empty());
        wait(2).await;
        assert_eq!(node.stored("a").await.unwrap().heard, ["rang"]);
        wait(1_000).await;
        assert_eq!(node.stored("a").await.unwrap().heard, ["rang"]);
        assert!(engine.area(b't').is_empty());
        let details = inspect::details(&node.runtime, &ActorId::of::<Probe>("a")).await.unwrap().unwrap();
        assert!(details.timers.is_empty());
    });
}

#[test]
fn a_timer_that_is_set_again_fires_at_the_later_time_only() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("t", after(10), "early")).await.unwrap();
        node.ask("a", set("t", after(50), "late")).await.unwrap();
        node.ask("a", set("other", after(20), "other")).await.unwrap();
        assert_eq!(engine.area(b't').len(), 2);
        wait(100).await;
        assert_eq!(node.stored("a").await.unwrap().heard, ["other", "late"]);
        assert!(engine.area(b't').is_empty());
    });
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("t", after(10), "rang")).await.unwrap();
        node.ask("a", Command::Cancel("t".into())).await.unwrap();
        node.ask("a", Command::Cancel("no such".into())).await.unwrap();
        assert!(engine.area(b't').is_empty());
        wait(100).await;
        assert!(node.stored("a").await.unwrap().heard.is_empty());
    });
}

#[test]
fn timers_outlive_the_process_and_those_missed_fire_at_the_start() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("missed", after(10), "missed")).await.unwrap();
        node.ask("a", set("later", after(1_000), "later")).await.unwrap();
        let landed = engine.landed();
        wait(100).await;
        // A process that begins where the first one was cut off, when the first timer is overdue.
        let engine = SteeredEngine::with(&landed);
        let clock = node.runtime.clock.clone();
        let again = Node::start(engine, super::node::Plan { clock, ..Default::default() }).await;
        assert_eq!(again.until("a", |probe| !probe.heard.is_empty()).await.heard, ["missed"]);
        wait(1_000).await;
        assert_eq!(again.stored("a").await.unwrap().heard, ["missed", "later"]);
    });
}

#[test]
fn a_thousand_timers_that_are_due_at_once_all_fire_once() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for number in 0..1_000 {
            node.ask(&format!("a{}", number % 100), set(&format!("t{number}"), after(10_000), "rang")).await.unwrap();
        }
        wait(10_001).await;
        settle().await;
        wait(1).await;
        for number in 0..100 {
            let heard = node.stored(&format!("a{number}")).await.unwrap().heard;
            assert_eq!(heard, vec!["rang".to_owned(); 10]);
        }
        assert!(engine.area(b't').is_empty());
    });
}

#[test]
fn a_timer_that_is_set_again_in_the_turn_it_fires_in_fires_again() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        // Firing tells the actor itself, which sets nothing; the chain is made by setting while due.
        for round in 1..=3_u64 {
            node.ask("a", set("t", after(round * 20), "rang")).await.unwrap();
            wait(if round == 1 { 21 } else { 20 }).await;
            assert_eq!(node.stored("a").await.unwrap().heard.len() as u64, round);
        }
    });
}

/// The same name and moment again, while the firing of the first is on its way: once is right, and so is twice; what
/// must not happen is that the actor is lost over it.
#[test]
fn a_timer_set_again_for_the_same_moment_while_it_fires_harms_nobody() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("t", after(10), "rang")).await.unwrap();
        engine.hold();
        let again = node.asking("a", set("t", after(10), "rang again"));
        wait(11).await;
        let more = node.asking("a", Command::Add(1));
        settle().await;
        engine.release_all();
        again.await.unwrap().unwrap();
        more.await.unwrap().unwrap();
        wait(20).await;
        assert_eq!(node.stored("a").await.unwrap().heard, ["rang again"]);
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 2);
        assert!(engine.area(b't').is_empty());
    });
}

#[test]
fn a_timer_whose_turn_was_lost_fires_again() {
    for how in [Break::Failed, Break::UnknownWritten, Break::UnknownLost] {
        on_system(async move {
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            node.ask("a", set("t", after(10), "rang")).await.unwrap();
            engine.break_after(0, how);
            wait(30).await;
            assert_eq!(node.stored("a").await.unwrap().heard, ["rang"], "{how:?}");
            assert!(engine.area(b't').is_empty());
        });
    }
}

#[test]
fn a_timer_whose_turn_panics_each_time_is_set_aside() {
    on_system(async {
        let text = "decide:timer";
        panic_on(text, u32::MAX);
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", set("t", after(10), text)).await.unwrap();
        wait(30).await;
        assert!(engine.area(b't').is_empty());
        let letters::Page { items: set_aside, .. } = letters::list(&node.runtime, None, 10).await.unwrap();
        assert_eq!(set_aside.len(), 1);
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 1);
        let details = inspect::details(&node.runtime, &ActorId::of::<Probe>("a")).await.unwrap().unwrap();
        assert!(details.timers.is_empty(), "what was set aside is not shown as set");
    });
}
