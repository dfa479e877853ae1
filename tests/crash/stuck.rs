//! What no machine can settle between two domains: it is seen as `stuck` or as a clear failure, with verbs that move it.

use std::sync::Arc;
use std::time::Duration;

use quickbeam::actors::flow::{Command, Flow, Origin, Start};
use quickbeam::actors::inspect;
use quickbeam::actors::log::{Entry, Way};
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Stream};
use quickbeam::actors::world::Delivery;
use quickbeam::actors::{layout, record};
use quickbeam::domains::activity::Verb;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::ledger::Side;
use quickbeam::domains::flow::progress::{End, Phase, Progress};
use quickbeam::domains::object::Object;
use quickbeam::store::Key;
use serde_json::{Value, json};

use super::federation::{Domain, Federation, Plan, Weather, catalog};
use super::node::on_system;

const TYPES: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[type.desk]
as = "OrderedCollection"
fields.title = { kind = "text" }
remote.allocate = { run = "hold", from = "anyone" }

[type.closed]
as = "OrderedCollection"
fields.title = { kind = "text" }
remote.allocate = { run = "hold", from = "followers" }

[type.slow]
as = "OrderedCollection"
fields.title = { kind = "text" }
remote.allocate = { run = "slow", from = "anyone" }

[flow.slow]
steps.hold = { effect = "object.create", with = { type = "'note'", fields = { title = "'hold'" } }, undo = true }
steps.go = { suspend = "go", after = "hold" }
result = "results.hold.id"

[flow.hold]
steps.hold = { effect = "object.create", with = { type = "'note'", fields = { title = "'hold'" } }, undo = true }
result = "results.hold.id"

[flow.book]
steps.seat = { effect = "object.create", with = { type = "'note'", fields = { title = "'seat'" } }, undo = true }
steps.ask = { ask = "allocate", after = "seat", object = "results.seat.id", target = "input", to = "'https://events.example/actor'", undo_timeout = "1h" }
steps.wait = { suspend = "go", after = "ask" }
"#;

/// The blog and events; a life of events that is cut begins again only after `down`.
async fn two(down: Duration) -> Arc<Federation> {
    let delivery = Delivery { give_up: Duration::from_secs(60), ..Delivery::default() };
    let plan = |name: &'static str| {
        let (catalog, delivery) = (catalog(name, TYPES), delivery.clone());
        Plan { name, catalog, cuts: Vec::new(), down, delivery }
    };
    let federation = Federation::start(1, Weather::CALM, vec![plan("blog"), plan("events")]).await;
    for kind in ["desk", "closed", "slow"] {
        let create = || {
            let fields = json!({ "title": kind });
            let (to, visibility, attributed_to, into) = (Vec::new(), None, None, None);
            stream::Command::Create(stream::Create { kind: kind.into(), fields, to, visibility, attributed_to, into })
        };
        federation.domain("events").ask::<Stream>(&format!("object/{kind}"), kind, create).await;
    }
    federation
}

/// Starts the booking at a desk of events.
async fn book(federation: &Federation, desk: &str) {
    let blog = federation.domain("blog");
    let definition = blog.runtime().unwrap().world.catalog.current("book").unwrap().hash.0.clone();
    let input = Input { input: json!(format!("https://events.example/{desk}")), ..Input::default() };
    let origin = Origin::Api { by: "test".into() };
    let start = Start { name: "book".into(), definition, input, origin };
    blog.ask::<Flow>("book-1", "start", || Command::Start(Box::new(start.clone()))).await;
}

async fn cancel(federation: &Federation) {
    let cancel = || Command::Cancel { by: None, reason: "enough".into() };
    federation.domain("blog").ask::<Flow>("book-1", "cancel", cancel).await;
}

async fn progress(federation: &Federation) -> Progress {
    let runtime = federation.domain("blog").runtime().unwrap();
    inspect::state::<Flow>(&runtime, "book-1").await.unwrap().and_then(|flow| flow.progress).unwrap()
}

async fn until(federation: &Federation, phase: Phase) -> Progress {
    for _ in 0..20_000 {
        let now = progress(federation).await;
        if now.phase() == phase {
            return now;
        }
        federation.clock.sleep(Duration::from_secs(1)).await;
    }
    panic!("it does not become {phase:?}: {:#?}", progress(federation).await);
}

fn entries(domain: &Domain) -> Vec<Entry> {
    let rows = domain.disk.range(&layout::index_prefix(Index::Activities, &Key::default()));
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

fn made(domain: &Domain, verb: &Verb) -> usize {
    entries(domain).iter().filter(|it| it.way == Way::Made && it.verb == *verb).count()
}

/// How many notes of a domain are there.
fn held(domain: &Domain) -> usize {
    let rows = domain.disk.range(&layout::index_prefix(Index::Objects, &Key::default()));
    let objects = rows.iter().map(|row| record::decode::<Object>(&row.value).unwrap());
    objects.filter(|object| object.kind == "note" && object.deleted.is_none()).count()
}

/// Why the undo of the question stands where it does.
fn stuck(progress: &Progress) -> String {
    let entry = progress.ledger.iter().find(|entry| entry.step == "ask").unwrap();
    let Side::Stuck { reason, .. } = &entry.undo else { panic!("it is not stuck: {entry:?}") };
    reason.clone()
}

fn failure(progress: &Progress) -> String {
    let Some(End::Failed { reason, .. }) = &progress.end else { panic!("it has not failed: {:?}", progress.end) };
    reason.clone()
}

async fn tell(federation: &Federation, once: &str, command: Command) {
    federation.domain("blog").ask::<Flow>("book-1", once, || command.clone()).await;
}

#[test]
fn an_undo_that_does_not_arrive_is_stuck_until_somebody_has_it_sent_again() {
    on_system(async {
        let federation = two(Duration::from_secs(600)).await;
        book(&federation, "desk").await;
        until(&federation, Phase::Suspended).await;
        let events = federation.domain("events");
        assert_eq!(held(events), 1);
        events.disk.kill();
        cancel(&federation).await;
        let reason = stuck(&until(&federation, Phase::Stuck).await);
        assert!(reason.contains("did not reach https://events.example/actor"), "{reason}");
        assert_eq!(held(federation.domain("blog")), 1, "what was before it is not taken back yet");
        federation.clock.sleep(Duration::from_secs(700)).await;
        assert_eq!(held(events), 1);
        tell(&federation, "retry", Command::Retry { step: None, by: None }).await;
        until(&federation, Phase::Cancelled).await;
        assert_eq!((held(events), held(federation.domain("blog"))), (0, 0));
    });
}

#[test]
fn an_allocate_that_may_have_arrived_fails_and_is_taken_back_before_the_flow_ends() {
    on_system(async {
        let federation = two(Duration::from_secs(600)).await;
        federation.domain("events").disk.kill();
        book(&federation, "desk").await;
        stuck(&until(&federation, Phase::Stuck).await);
        federation.clock.sleep(Duration::from_secs(700)).await;
        tell(&federation, "retry", Command::Retry { step: None, by: None }).await;
        let reason = failure(&until(&federation, Phase::Failed).await);
        assert!(reason.contains("could not be delivered"), "{reason}");
        let events = federation.domain("events");
        assert_eq!((held(events), held(federation.domain("blog"))), (0, 0));
        // Somebody has the letter sent after all: it comes behind its Undo.
        let revive = |undelivered| quickbeam::actors::outbox::Command::Revive { undelivered };
        let blog = federation.domain("blog");
        blog.ask::<quickbeam::actors::outbox::Outbox>("events.example", "revive", || revive(0)).await;
        federation.clock.sleep(Duration::from_secs(60)).await;
        assert_eq!((held(events), made(events, &Verb::Reject)), (0, 1));
    });
}

#[test]
fn an_allocate_that_is_refused_at_the_door_fails_with_the_reason_and_needs_no_undo() {
    on_system(async {
        let federation = two(Duration::from_secs(1)).await;
        book(&federation, "closed").await;
        let reason = failure(&until(&federation, Phase::Failed).await);
        assert!(reason.contains("403") && reason.contains("follower"), "{reason}");
        assert_eq!((made(federation.domain("blog"), &Verb::Undo), held(federation.domain("blog"))), (0, 0));
    });
}

/// The one flow of events.
fn their_flow(events: &Domain) -> String {
    let prefix = layout::index_prefix(Index::Flows, &quickbeam::actors::flow::list_prefix(None));
    layout::index_owner(&events.disk.range(&prefix)[0].key).unwrap().key.to_string()
}

async fn rest(federation: &Federation) {
    federation.clock.sleep(Duration::from_secs(5)).await;
}

fn kill() -> Command {
    Command::Kill { by: None, reason: "now".into() }
}

#[test]
fn a_flow_that_is_killed_over_there_answers_no() {
    on_system(async {
        let federation = two(Duration::from_secs(1)).await;
        book(&federation, "slow").await;
        rest(&federation).await;
        let events = federation.domain("events");
        assert_eq!(
            (until(&federation, Phase::Running).await.phase(), made(events, &Verb::Reject)),
            (Phase::Running, 0)
        );
        events.ask::<Flow>(&their_flow(events), "kill", kill).await;
        let reason = failure(&until(&federation, Phase::Failed).await);
        let said = format!("said no: flow {} was ended by hand", their_flow(events));
        assert!(reason.contains(&said), "{reason}");
    });
}

#[test]
fn what_was_killed_over_there_with_something_left_is_stuck_here_until_somebody_says_skip() {
    on_system(async {
        let federation = two(Duration::from_secs(1)).await;
        book(&federation, "slow").await;
        rest(&federation).await;
        let events = federation.domain("events");
        let flow = their_flow(events);
        let resume = || Command::Resume { signal: None, payload: Value::Null, by: None };
        events.ask::<Flow>(&flow, "resume", resume).await;
        until(&federation, Phase::Suspended).await;
        let restart = || Command::Restart { step: "go".into(), input: None, by: None };
        events.ask::<Flow>(&flow, "restart", restart).await;
        events.ask::<Flow>(&flow, "kill", kill).await;
        cancel(&federation).await;
        let reason = stuck(&until(&federation, Phase::Stuck).await);
        assert!(reason.contains("cannot be taken back"), "{reason}");
        let skip = Command::Skip { step: "ask".into(), item: None, result: Value::Null, by: None };
        tell(&federation, "skip", skip).await;
        until(&federation, Phase::Cancelled).await;
        assert_eq!(held(federation.domain("blog")), 0);
    });
}
