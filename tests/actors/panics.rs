//! Panics: a caller hears at once, a message is tried three times and set aside, and the mailbox goes on.

use quickbeam::actors::ask::AskError;
use quickbeam::actors::layout;
use quickbeam::actors::letters;
use quickbeam::actors::record::{self, DeadLetter};
use quickbeam::store::{Engine, Span};

use super::engine::SteeredEngine;
use super::node::{Node, on_system, settle};
use super::probe::{Command, panic_on};

fn tell(to: &str, texts: &[&str]) -> Command {
    Command::Tell { to: to.into(), texts: texts.iter().map(|text| (*text).to_owned()).collect() }
}

async fn set_aside(engine: &SteeredEngine) -> Vec<DeadLetter> {
    let rows = engine.range(Span::prefix(&layout::dead_letters(), 100)).await.unwrap();
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

#[test]
fn a_caller_whose_request_panics_hears_it_at_once_and_nothing_was_changed() {
    type Make = fn(String) -> Command;
    let ways: [(&str, Make); 3] = [
        ("ask decide", Command::PanicInDecide),
        ("ask apply", Command::PanicInApply),
        ("ask reads", Command::PanicInReads),
    ];
    for (text, make) in ways {
        on_system(async move {
            panic_on(text, 1);
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            node.ask("a", Command::Add(1)).await.unwrap();
            engine.hold();
            let before = node.asking("a", Command::Add(1));
            let asked = node.asking("a", make(text.into()));
            settle().await;
            assert!(asked.is_finished(), "{text}: not held up by turns in flight");
            assert!(matches!(asked.await.unwrap(), Err(AskError::Panicked)), "{text}");
            engine.release_all();
            assert_eq!(before.await.unwrap().unwrap().total, 2);
            assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 3, "{text}");
            assert!(set_aside(&engine).await.is_empty());
        });
    }
}

#[test]
fn a_message_that_panics_each_time_is_set_aside_after_three_and_the_mailbox_goes_on() {
    for way in ["decide", "apply", "reads"] {
        on_system(async move {
            let text = format!("{way}:poison for ever");
            panic_on(&text, u32::MAX);
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            node.ask("x", tell("r", &["x before", &text, "x after"])).await.unwrap();
            let probe = node.until("r", |probe| probe.heard.len() == 2).await;
            assert_eq!(probe.heard, ["x before", "x after"], "{way}");
            assert_eq!(probe.total, 0, "{way}: nothing of a turn that panicked stays");
            let set_aside = set_aside(&engine).await;
            assert_eq!(set_aside.len(), 1, "{way}");
            assert_eq!(set_aside[0].to.to_string(), "stream/r");
            assert_eq!(set_aside[0].from.as_ref().unwrap().to_string(), "stream/x");
            assert!(set_aside[0].reason.contains("3 times"), "{}", set_aside[0].reason);
            let sender = node.until("x", |probe| !probe.heard.is_empty()).await;
            assert_eq!(sender.heard.len(), 1, "the sender hears it once");
            assert!(sender.heard[0].starts_with("undelivered to stream/r: "), "{}", sender.heard[0]);
            assert!(engine.area(b'm').is_empty());
        });
    }
}

#[test]
fn a_message_that_panics_twice_is_taken_the_third_time_in_its_order() {
    for way in ["decide", "apply", "reads"] {
        on_system(async move {
            let text = format!("{way}:poison twice");
            panic_on(&text, 2);
            let engine = SteeredEngine::shared();
            let node = Node::on(engine.clone()).await;
            node.ask("x", tell("r", &["x before", &text, "x after"])).await.unwrap();
            let probe = node.until("r", |probe| probe.heard.len() == 3).await;
            assert_eq!(probe.heard, ["x before", &text, "x after"]);
            assert!(set_aside(&engine).await.is_empty());
        });
    }
}

/// A message that takes the whole process down counts too: the try is on its row before the next one.
#[test]
fn tries_are_counted_across_restarts() {
    on_system(async {
        let text = "decide:poison over restarts";
        panic_on(text, u32::MAX);
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("x", tell("r", &[text])).await.unwrap();
        while node.runtime.counters.panics.load(std::sync::atomic::Ordering::Relaxed) < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let landed = engine.landed();
        let cut = landed.iter().position(|batch| batch.puts.iter().any(|(key, _)| key.as_bytes()[0] == b'd')).unwrap();
        let engine = SteeredEngine::with(&landed[..cut]);
        let again = Node::on(engine.clone()).await;
        again.until("x", |probe| !probe.heard.is_empty()).await;
        assert_eq!(
            again.runtime.counters.panics.load(std::sync::atomic::Ordering::Relaxed),
            1,
            "only the third is left"
        );
    });
}

#[test]
fn a_row_that_cannot_be_read_is_set_aside_at_once() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        engine.hold();
        let told = node.asking("x", tell("r", &["x 0", "x 1"]));
        settle().await;
        engine.release(1);
        told.await.unwrap().unwrap();
        let mut landed = engine.landed();
        let last = landed.last_mut().unwrap();
        let row = last.puts.iter_mut().find(|(key, _)| key.as_bytes()[0] == b'm').unwrap();
        row.1 = b"\xc1 not a message".as_slice().into();
        let engine = SteeredEngine::with(&landed);
        let again = Node::on(engine.clone()).await;
        assert_eq!(again.until("r", |probe| !probe.heard.is_empty()).await.heard, ["x 1"]);
        assert_eq!(set_aside(&engine).await.len(), 1);
    });
}

#[test]
fn a_dead_letter_can_be_tried_again_or_thrown_away() {
    on_system(async {
        let (first, second) = ("decide:letter one", "decide:letter two");
        panic_on(first, 3);
        panic_on(second, 3);
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("x", tell("r", &[first, second, "x after"])).await.unwrap();
        node.until("r", |probe| probe.heard == ["x after"]).await;
        let letters::Page { items: shown, next, .. } = letters::list(&node.runtime, None, 1).await.unwrap();
        assert_eq!(shown.len(), 1);
        let letters::Page { items: more, next: end, .. } =
            letters::list(&node.runtime, next.as_deref(), 10).await.unwrap();
        assert_eq!((more.len(), end), (1, None));
        assert!(letters::retry(&node.runtime, &shown[0].id).await.unwrap());
        let probe = node.until("r", |probe| probe.heard.len() == 2).await;
        assert!(probe.heard[1] == first || probe.heard[1] == second);
        assert!(letters::discard(&node.runtime, &more[0].id).await.unwrap());
        assert!(!letters::discard(&node.runtime, &more[0].id).await.unwrap(), "it is gone");
        assert!(!letters::retry(&node.runtime, &shown[0].id).await.unwrap(), "it is no letter any more");
        settle().await;
        assert_eq!(node.stored("r").await.unwrap().heard.len(), 2);
        assert!(set_aside(&engine).await.is_empty());
    });
}

/// Rebuilding applies events: one that panics there cannot be got past, and its actor is shown as failed.
#[test]
fn a_panic_while_rebuilding_marks_the_actor_failed_and_leaves_its_messages() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("a", Command::PanicInApply("apply on rebuild".into())).await.unwrap();
        node.ask("a", Command::PanicInApply("apply on rebuild".into())).await.unwrap();
        panic_on("apply on rebuild", u32::MAX);
        let again = Node::on(engine.clone()).await;
        assert!(matches!(again.ask("a", Command::Add(1)).await, Err(AskError::Damaged(_))));
        again.ask("x", tell("a", &["x 0"])).await.unwrap();
        settle().await;
        assert_eq!(engine.area(b'm').len(), 1);
        assert_eq!(again.ask("b", Command::Add(1)).await.unwrap().total, 1);
    });
}
