//! Errands: done at least once, their report taken exactly once, whatever breaks in between.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quickbeam::actors::entity::ActorId;
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::inspect;
use quickbeam::actors::letters;
use quickbeam::actors::runtime::Limits;
use tokio::sync::Semaphore;

use super::engine::{Break, SteeredEngine};
use super::node::{Node, Plan, Scripted, answered, on_system, settle};
use super::probe::{Command, Probe, panic_on};

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn with(engine: &Arc<SteeredEngine>, outside: Arc<dyn Outside>) -> Node {
    Node::start(engine.clone(), Plan { outside, ..Plan::default() }).await
}

#[test]
fn an_errand_is_done_and_its_report_taken_once() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let outside = Arc::new(Scripted::default());
        let node = with(&engine, outside.clone()).await;
        node.ask("a", Command::Go("one".into())).await.unwrap();
        assert_eq!(node.until("a", |probe| !probe.heard.is_empty()).await.heard, ["one 200"]);
        wait(60).await;
        assert_eq!(node.stored("a").await.unwrap().heard, ["one 200"]);
        assert_eq!(outside.done.lock().len(), 1);
        assert!(engine.area(b'x').is_empty());
    });
}

#[test]
fn nobody_goes_out_before_the_turn_is_on_disk() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let outside = Arc::new(Scripted::default());
        let node = with(&engine, outside.clone()).await;
        engine.hold();
        let asked = node.asking("a", Command::Go("one".into()));
        settle().await;
        assert!(outside.done.lock().is_empty());
        engine.release_all();
        asked.await.unwrap().unwrap();
        node.until("a", |probe| !probe.heard.is_empty()).await;
        assert_eq!(outside.done.lock().len(), 1);
    });
}

#[test]
fn an_errand_is_done_again_when_the_process_ended_before_its_report_was_taken() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let outside = Arc::new(Scripted::default());
        let node = with(&engine, outside.clone()).await;
        engine.hold();
        let asked = node.asking("a", Command::Go("one".into()));
        settle().await;
        engine.release(1);
        asked.await.unwrap().unwrap();
        settle().await;
        assert_eq!(outside.done.lock().len(), 1, "it was done, and its report is not on disk");
        let id = ActorId::of::<Probe>("a");
        let shown = inspect::details(&node.runtime, &id).await.unwrap().unwrap();
        assert_eq!(shown.errands.len(), 1);
        let engine = SteeredEngine::with(&engine.landed());
        let outside = Arc::new(Scripted::default());
        let again = with(&engine, outside.clone()).await;
        assert_eq!(again.until("a", |probe| !probe.heard.is_empty()).await.heard, ["one 200"]);
        assert_eq!(outside.done.lock().len(), 1, "so it is done again, with the same key");
        assert!(engine.area(b'x').is_empty());
    });
}

#[test]
fn a_report_whose_turn_was_lost_is_offered_again() {
    for how in [Break::Failed, Break::UnknownWritten, Break::UnknownLost] {
        on_system(async move {
            let engine = SteeredEngine::shared();
            let outside = Arc::new(Scripted { takes: Duration::from_secs(1), ..Scripted::default() });
            let node = with(&engine, outside.clone()).await;
            node.ask("a", Command::Go("one".into())).await.unwrap();
            engine.break_after(0, how);
            wait(60).await;
            assert_eq!(node.stored("a").await.unwrap().heard, ["one 200"], "{how:?}");
            assert_eq!(outside.done.lock().len(), 1, "{how:?}");
            assert!(engine.area(b'x').is_empty());
        });
    }
}

/// Does each errand only when the test lets it.
struct Gate {
    open: Arc<Semaphore>,
    begun: Arc<std::sync::atomic::AtomicUsize>,
}

impl Outside for Gate {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let (open, begun) = (self.open.clone(), self.begun.clone());
        Box::pin(async move {
            begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            open.acquire().await.unwrap().forget();
            drop(errand);
            answered(202)
        })
    }
}

#[test]
fn only_so_many_are_out_at_once_and_all_get_their_turn() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let (open, begun) = (Arc::new(Semaphore::new(0)), Arc::default());
        let outside = Arc::new(Gate { open: open.clone(), begun: Arc::clone(&begun) });
        let limits = Limits { errands_in_flight: 3, ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, outside, ..Plan::default() }).await;
        for number in 0..200 {
            node.ask("a", Command::Go(format!("{number}"))).await.unwrap();
        }
        settle().await;
        assert_eq!(begun.load(std::sync::atomic::Ordering::Relaxed), 3);
        open.add_permits(200);
        let probe = node.until("a", |probe| probe.heard.len() == 200).await;
        let mut heard = probe.heard;
        heard.sort();
        heard.dedup();
        assert_eq!(heard.len(), 200);
        settle().await;
        assert!(engine.area(b'x').is_empty());
    });
}

/// Reports that their actor does not take now must not keep others from going out.
#[test]
fn reports_that_wait_for_an_actor_that_failed_hold_nobody_up() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let text = "apply of errands";
        let outside = Arc::new(Scripted { takes: Duration::from_secs(10), ..Scripted::default() });
        let limits = Limits { errands_in_flight: 2, idle: Duration::from_secs(2), ..Limits::default() };
        let node = Node::start(engine.clone(), Plan { limits, outside, ..Plan::default() }).await;
        node.ask("bad", Command::Add(1)).await.unwrap();
        node.ask("bad", Command::PanicInApply(text.into())).await.unwrap();
        for _ in 0..5 {
            node.ask("bad", Command::Go("one".into())).await.unwrap();
        }
        panic_on(text, u32::MAX);
        node.ask("good", Command::Go("two".into())).await.unwrap();
        wait(300).await;
        assert_eq!(node.stored("good").await.unwrap().heard, ["two 200"]);
        assert!(node.runtime.registry().failed(&ActorId::of::<Probe>("bad")).is_some());
        // What was the matter is mended: everything that waited goes on.
        panic_on(text, 0);
        assert!(node.runtime.registry().retry_failed(&ActorId::of::<Probe>("bad")));
        wait(300).await;
        let heard = node.stored("bad").await.unwrap().heard;
        assert_eq!(heard.iter().filter(|text| *text == "one 200").count(), 5);
        assert!(engine.area(b'x').is_empty());
    });
}

struct Bomb;

impl Outside for Bomb {
    fn perform(&self, _: Errand) -> BoxFuture<'static, Report> {
        Box::pin(async { panic!("as the test wants") })
    }
}

#[test]
fn an_errand_that_panics_outside_is_reported_as_not_done() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = with(&engine, Arc::new(Bomb)).await;
        node.ask("a", Command::Go("one".into())).await.unwrap();
        assert_eq!(node.until("a", |probe| !probe.heard.is_empty()).await.heard, ["one 0"]);
    });
}

#[test]
fn a_report_that_panics_each_time_is_set_aside() {
    on_system(async {
        panic_on("report", u32::MAX);
        let engine = SteeredEngine::shared();
        let node = with(&engine, Arc::new(Scripted::default())).await;
        node.ask("a", Command::Go("poison:report".into())).await.unwrap();
        wait(60).await;
        assert!(engine.area(b'x').is_empty());
        let letters::Page { items: set_aside, .. } = letters::list(&node.runtime, None, 10).await.unwrap();
        assert_eq!(set_aside.len(), 1);
        assert_eq!(node.ask("a", Command::Add(1)).await.unwrap().total, 1);
        // Tried again, it is done anew.
        panic_on("report", 0);
        assert!(letters::retry(&node.runtime, &set_aside[0].id).await.unwrap());
        assert_eq!(node.until("a", |probe| !probe.heard.is_empty()).await.heard, ["report"]);
        assert!(engine.area(b'x').is_empty());
    });
}
