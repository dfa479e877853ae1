//! Stored forms keep: every event and every command that waits in a row reads as it did when it was first written.
//!
//! Each form stands in `tests/golden/actors/` as one line of JSON. A form that is new is written there when the test runs
//! with `GOLDEN=write`; one that reads or writes otherwise than it did fails here, and needs a new variant instead.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::deliveries::{self, Delivery};
use super::entity::{ActorId, Kind, Label};
use super::errands::{Errand, Recipient, Report};
use super::flow::{Done, Failed, Origin, Place, Start};
use super::follower::Follow;
use super::hand::{Order, Told};
use super::lent::{Lasted, Lend, Lent};
use super::line::Said;
use super::log::Signed;
use super::outbox::{LastError, Underway};
use super::queue::{Entry, Undelivered};
use super::reactions::{Given, Reaction, Tally};
use super::record::{Answer, Birth, Cause, Changes, DeadLetter, Head, Meta, TurnRecord, Waiting};
use super::scheme::Scheme;
use super::stage::iri;
use super::{away, flow, follower, following, gate, inbox, lent, line, log, outbox, publish, record, schedule, stream};
use crate::clock::Time;
use crate::domains::activity::Activity;
use crate::domains::effects::{HeaderValue, Request, StreamOp};
use crate::domains::flow::Input;
use crate::domains::flow::Progress;
use crate::domains::flow::fact::{AfterFailure, Fact, Skip, Why};
use crate::domains::flow::limits::Limit;
use crate::domains::trace::Context;
use crate::domains::types::Visibility;

const AT: Time = Time(1_800_000_000_000);

/// The forms of one file, by name.
#[derive(Default)]
struct Golden(BTreeMap<String, Value>);

impl Golden {
    /// Adds a form. What is stored is MessagePack; it must read back from that, and from the JSON of it, to the same.
    fn form<T: Serialize + DeserializeOwned + Debug>(mut self, name: &str, value: &T) -> Self {
        let again: T = record::decode(&record::encode(value)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("{again:?}"), format!("{value:?}"), "{name} reads back");
        let json = serde_json::to_value(value).unwrap();
        let before = self.0.insert(name.to_owned(), json);
        assert!(before.is_none(), "{name} stands once");
        self
    }

    /// Compares with the file, and reads every form that the file has.
    fn holds<T: Serialize + DeserializeOwned + Debug>(self, file: &str) {
        let root =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let path = root.join("tests/golden/actors").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut kept: BTreeMap<String, Value> =
            text.lines().map(|line| line.split_once('\t').expect("a name, a tab, the form")).map(parsed).collect();
        if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
            for (name, form) in &self.0 {
                kept.entry(name.clone()).or_insert_with(|| form.clone());
            }
            let lines: String = kept.iter().map(|(name, form)| format!("{name}\t{form}\n")).collect();
            std::fs::write(&path, lines).unwrap();
        }
        for (name, form) in &kept {
            let stored = rmp_serde::to_vec_named(form).unwrap();
            let read: T =
                record::decode(&stored).unwrap_or_else(|error| panic!("{file}: {name} does not read: {error}"));
            let now = self.0.get(name).unwrap_or_else(|| panic!("{file}: {name} has no sample any more"));
            let sample: T = serde_json::from_value(now.clone()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{sample:?}"), "{file}: {name} reads as something else");
        }
        let new: Vec<_> = self.0.keys().filter(|name| !kept.contains_key(*name)).collect();
        assert!(new.is_empty(), "{file}: {new:?} are new; run with GOLDEN=write to keep them");
    }
}

fn parsed((name, form): (&str, &str)) -> (String, Value) {
    (name.to_owned(), serde_json::from_str(form).unwrap())
}

fn id() -> crate::domains::identity::Iri {
    iri("https://here.example/activities/01A")
}

fn they() -> crate::domains::identity::Iri {
    iri("https://there.example/actor")
}

fn text() -> String {
    "text".to_owned()
}

fn follow() -> Follow {
    Follow { id: id(), at: AT, inbox: they(), shared_inbox: Some(they()) }
}

fn place() -> Place {
    Place { step: text(), item: Some(1), attempt: 2, key: "f/1/text/1/do".into() }
}

fn start() -> Box<Start> {
    let input = Input { input: json!(1), activity: json!({}), object: json!({ "id": "x" }), actor: json!("they") };
    let origin = Origin::Remote { activity: id(), actor: they(), inbox: Some(they()), answer: true };
    Box::new(Start { name: text(), definition: "hash".into(), input, origin })
}

fn reports() -> [(&'static str, Report); 5] {
    let retry_after = Some(std::time::Duration::from_millis(1_500));
    [
        ("answered", Report::Answered { status: 429, detail: text(), retry_after, scheme: None }),
        ("taken", Report::Answered { status: 202, detail: text(), retry_after, scheme: Some(Scheme::Draft) }),
        ("unreachable", Report::Unreachable { reason: text() }),
        ("impossible", Report::Impossible { reason: text() }),
        ("unusable", Report::Unusable { reason: text() }),
    ]
}

#[test]
fn forms_of_followers_keep() {
    use follower::{Command, Event};
    Golden::default()
        .form("asked", &Event::Asked(follow()))
        .form("accepted", &Event::Accepted(follow()))
        .form("rejected", &Event::Rejected)
        .form("undone", &Event::Undone)
        .form("gone", &Event::Gone { reason: text() })
        .form("moved", &Event::Moved { inbox: they(), shared_inbox: Some(they()) })
        .holds::<Event>("follower.events");
    let answer = Report::Impossible { reason: text() };
    Golden::default()
        .form("follow", &Command::Follow(follow()))
        .form("undo", &Command::Undo { follow: id() })
        .form("undo id", &Command::UndoId { id: id() })
        .form("accept", &Command::Accept)
        .form("reject", &Command::Reject)
        .form("gone", &Command::Gone { reason: text() })
        .form("changed", &Command::Changed { tries: 2 })
        .form("looked", &Command::Looked { tries: 2, answer })
        .holds::<Command>("follower.commands");
}

#[test]
fn forms_of_following_keep() {
    use following::{Command, Event};
    Golden::default()
        .form("asked", &Event::Asked { activity: id(), at: AT, since: AT })
        .form("received", &Event::Received)
        .form("accepted", &Event::Accepted)
        .form("rejected", &Event::Rejected)
        .form("unanswered", &Event::Unanswered)
        .form("unfollowed", &Event::Unfollowed)
        .form("failed", &Event::Failed { reason: text() })
        .form("severed", &Event::Severed { reason: text() })
        .form("moved", &Event::Moved { to: they() })
        .form("vouch asked", &Event::VouchAsked { at: AT })
        .holds::<Event>("following.events");
    let answer = Report::Impossible { reason: text() };
    Golden::default()
        .form("follow", &Command::Follow)
        .form("ensure", &Command::Ensure)
        .form("unfollow", &Command::Unfollow)
        .form("answered", &Command::Answered { follow: id(), accepted: true })
        .form("delivered", &Command::Delivered { activity: text() })
        .form("undelivered", &Command::Undelivered { activity: text(), reason: text() })
        .form("ask again", &Command::AskAgain)
        .form("sever", &Command::Sever { reason: text() })
        .form("moved", &Command::Moved { to: they(), tries: 2 })
        .form("vouched", &Command::Vouched { to: they(), tries: 2, answer })
        .holds::<Command>("following.commands");
}

#[test]
fn forms_of_gates_keep() {
    use gate::{About, Command, Event, Listed};
    let about = || About { flow: text(), limit: Limit::Rate, key: json!(["k", 1]), max: 3, per: Some(60_000) };
    Golden::default()
        .form("bound", &Event::Bound(about()))
        .form("waited", &Event::Waited { flow: text() })
        .form("entered", &Event::Entered { flow: text(), waited: true })
        .form("left", &Event::Left { flow: text() })
        .form("released", &Event::Released { flow: text(), by: Some(text()) })
        .form("withdrawn", &Event::Withdrawn { flow: text() })
        .form("expired", &Event::Expired { beginnings: 2 })
        .holds::<Event>("gate.events");
    Golden::default()
        .form("ask", &Command::Ask { flow: text(), ticket: 1, about: about() })
        .form("leave", &Command::Leave { flow: text(), ticket: 1 })
        .form("release", &Command::Release { flow: text(), by: Some(text()) })
        .form("advance", &Command::Advance)
        .form("audit", &Command::Audit { after: Some(text()) })
        .form("forget", &Command::Forget)
        .holds::<Command>("gate.commands");
    let place = gate::Place { flow: text(), ticket: 1, since: AT };
    Golden::default().form("place", &place).holds::<gate::Place>("gate.places");
    let stand = gate::Stand { number: 7, ticket: 1 };
    Golden::default().form("stand", &stand).holds::<gate::Stand>("gate.stands");
    Golden::default().form("listed", &Listed { about: about(), inside: 2, waiting: 1 }).holds::<Listed>("gate.listed");
}

#[test]
fn forms_of_outboxes_keep() {
    use outbox::{Command, Event};
    let to = || Recipient::Inbox("https://there.example/inbox".into());
    let underway = Underway { to: Recipient::Actor("https://there.example/actor".into()), object: text(), first: true };
    Golden::default()
        .form("queued", &Event::Queued { entry: 7 })
        .form("started", &Event::Started { entry: 7, underway })
        .form("delivered", &Event::Delivered { entry: 7 })
        .form("put off", &Event::PutOff { entry: 7, at: AT, until: AT, what: text() })
        .form("refused", &Event::Refused { entry: 7, what: text() })
        .form("given up", &Event::GivenUp { entry: 7, at: AT, what: text() })
        .form("reopened", &Event::Reopened)
        .form("paused", &Event::Paused)
        .form("continued", &Event::Continued)
        .form("forgotten", &Event::Forgotten { entries: 3 })
        .form("learned ed25519", &Event::Learned { scheme: Scheme::Ed25519 })
        .form("learned rsa", &Event::Learned { scheme: Scheme::Rsa })
        .form("learned draft", &Event::Learned { scheme: Scheme::Draft })
        .holds::<Event>("outbox.events");
    let send = Command::Send { activity: text(), to: to(), object: text(), first: true, tell: true };
    let commands = Golden::default()
        .form("send", &send)
        .form("flush", &Command::Flush)
        .form("retry", &Command::Retry)
        .form("pause", &Command::Pause)
        .form("continue", &Command::Continue)
        .form("forget", &Command::Forget)
        .form("revive", &Command::Revive { undelivered: 7 })
        .form("discard", &Command::Discard { undelivered: 7 })
        .form("gone", &Command::Gone { to: to(), reason: text(), after: Some(vec![1, 0]) });
    let with_reports = reports().into_iter().fold(commands, |golden, (name, report)| {
        golden.form(&format!("reported {name}"), &Command::Reported { entry: 7, report })
    });
    with_reports.holds::<Command>("outbox.commands");
    let tell = Some(ActorId::new(Kind::Following, "https://there.example/actor"));
    let (activity, object, trace) = (text(), text(), None);
    let entry = Entry { activity, to: to(), object, first: true, since: AT, attempts: 2, refusals: 1, tell, trace };
    let traced = Entry { trace: trace_of(), ..entry.clone() };
    Golden::default().form("entry", &entry).form("traced", &traced).holds::<Entry>("outbox.entries");
    let letter = Undelivered { at: AT, reason: text(), entry };
    Golden::default().form("undelivered", &letter).holds::<Undelivered>("outbox.letters");
    let state = deliveries::State::Waiting { attempts: 2, what: Some(text()) };
    let delivery = Delivery { to: to(), since: AT, state };
    let delivered = Delivery { state: deliveries::State::Delivered { at: AT, attempts: 1 }, ..delivery.clone() };
    let given_up = deliveries::State::GivenUp { at: AT, attempts: 9, reason: text() };
    let given_up = Delivery { state: given_up, ..delivery.clone() };
    let all = Golden::default().form("waiting", &delivery).form("delivered", &delivered);
    all.form("given up", &given_up).holds::<Delivery>("outbox.deliveries");
    Golden::default().form("last error", &LastError { at: AT, what: text() }).holds::<LastError>("outbox.errors");
}

fn trace_of() -> Option<Context> {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    Context::incoming([parent], ["vendor=1"])
}

#[test]
fn forms_of_inboxes_keep() {
    use inbox::{Command, Event, Received};
    Golden::default().form("taken", &Event::Taken { at: AT }).holds::<Event>("inbox.events");
    let raw = json!({ "id": "https://there.example/1", "type": "Follow", "actor": they(), "object": id() });
    let activity = Activity::from_value(raw).unwrap();
    let received = Received {
        activity: activity.clone(),
        body: b"{}".as_slice().into(),
        inbox: they(),
        shared_inbox: Some(they()),
        signed: None,
        about: Some(text()),
        target: Some(text()),
        reply_to: None,
    };
    let replying = Received { reply_to: Some(text()), ..received.clone() };
    Golden::default()
        .form("receive", &Command::Receive(Box::new(received)))
        .form("receive a reply", &Command::Receive(Box::new(replying)))
        .holds::<Command>("inbox.commands");
    let entry = log::Entry { target: Some(id()), ..log::Entry::made(&activity, AT, Some(they())) };
    let signed = Signed { key_id: id(), form: "RFC 9421".into(), algorithm: "ed25519".into() };
    let signed = log::Entry::received(&activity, AT, b"{}".as_slice().into(), Some(signed));
    let received = log::Entry::received(&activity, AT, b"{}".as_slice().into(), None);
    Golden::default()
        .form("made", &entry)
        .form("received", &received)
        .form("signed", &signed)
        .holds::<log::Entry>("log.entries");
}

/// With what others make of an object.
fn reactions(commands: Golden) -> Golden {
    use stream::Command;
    let given = Given { by: they(), what: id(), at: AT };
    Golden::default().form("given", &given).holds::<Given>("stream.given");
    Golden::default().form("tally", &Tally { likes: 3, shares: 2, replies: 1 }).holds::<Tally>("stream.tally");
    commands
        .form("react", &Command::React { reaction: Reaction::Like, given: given.clone() })
        .form("react by sharing", &Command::React { reaction: Reaction::Share, given: given.clone() })
        .form("unreact", &Command::Unreact { reaction: Reaction::Reply, given })
}

#[test]
fn forms_of_streams_keep() {
    use stream::{Command, Create, Event};
    Golden::default()
        .form("created", &Event::Created { kind: text(), activity: text() })
        .form("updated", &Event::Updated { activity: text() })
        .form("deleted", &Event::Deleted { activity: text() })
        .form("allocated", &Event::Allocated { activity: text(), target: id(), to: they() })
        .form("answered", &Event::Answered { activity: text(), accepted: true, result: Some(id()) })
        .form("appended", &Event::Appended { seq: 7 })
        .form("linked", &Event::Linked { what: text() })
        .form("removed", &Event::Removed { seq: 7 })
        .form("unlinked", &Event::Unlinked { what: text() })
        .holds::<Event>("stream.events");
    let fields = || json!({ "title": "x", "tags": ["a"], "start": null });
    let create = Create {
        kind: text(),
        fields: fields(),
        to: vec![they()],
        visibility: Some(Visibility::Followers),
        attributed_to: Some(they()),
        into: Some(text()),
    };
    let map = || fields().as_object().unwrap().clone();
    let ops = [
        ("append", StreamOp::Append { record: fields() }),
        ("update", StreamOp::UpdateObject { changes: map() }),
        ("link", StreamOp::Link { what: text(), title: Some(text()) }),
        (
            "create",
            StreamOp::CreateObject {
                object_type: text(),
                slug_hint: Some(text()),
                fields: map(),
                attributed_to: Some(text()),
                link_into: Some(text()),
            },
        ),
    ];
    let walk =
        publish::FanOut { activity: text(), object: id(), to: vec![they()], followers: true, after: Some(vec![9]) };
    let commands = Golden::default()
        .form("create", &Command::Create(create))
        .form("update", &Command::Update { changes: fields() })
        .form("delete", &Command::Delete)
        .form("allocate", &Command::Allocate { target: id(), to: they() })
        .form("answered", &Command::Answered { activity: text(), accepted: false, result: Some(id()), words: None })
        .form(
            "answered with words",
            &Command::Answered { activity: text(), accepted: false, result: None, words: Some(text()) },
        )
        .form("undelivered", &Command::Undelivered { activity: text(), reason: text(), refused: true })
        .form("fan out", &Command::FanOut(walk));
    let with_ops = ops.into_iter().fold(commands, |golden, (name, op)| {
        golden.form(
            &format!("effect {name}"),
            &Command::Effect { flow: text(), place: place(), op, tries: 2, undo: false },
        )
    });
    let op = StreamOp::Append { record: fields() };
    let undo = stream::Undo { flow: text(), place: place(), op: op.clone(), result: Some(fields()) };
    let with_ops = with_ops
        .form("effect to be undone", &Command::Effect { flow: text(), place: place(), op, tries: 2, undo: true })
        .form("undo", &Command::Undo(Box::new(undo)))
        .form("ask", &Command::Ask { flow: text(), place: place(), target: id(), to: they() })
        .form("unask", &Command::Unask { flow: text(), place: place() });
    let with_ops = reactions(with_ops);
    with_ops.holds::<Command>("stream.commands");
}

#[test]
fn forms_of_what_streams_keep_for_themselves_keep() {
    use stream::{Allocation, Linked, Record};
    let allocation = Allocation {
        activity: id(),
        target: id(),
        to: they(),
        at: AT,
        accepted: Some(true),
        result: Some(id()),
        words: None,
    };
    let refused = Allocation { accepted: Some(false), result: None, words: Some(text()), ..allocation.clone() };
    Golden::default()
        .form("allocation", &allocation)
        .form("allocation refused", &refused)
        .holds::<Allocation>("stream.allocations");
    Golden::default()
        .form("record", &Record { seq: 7, at: AT, value: json!({ "title": "x", "tags": ["a"], "start": null }) })
        .holds::<Record>("stream.records");
    let linked = Linked { what: text(), title: Some(text()), at: AT };
    Golden::default().form("linked", &linked).holds::<Linked>("stream.linked");
}

fn facts() -> Vec<(&'static str, Fact)> {
    let (step, item, by) = (text, Some(1), || Some(text()));
    let failed = |next| Fact::StepFailed { step: step(), item, attempt: 2, reason: text(), next, refused: false };
    vec![
        ("skipped condition", Fact::StepSkipped { step: step(), why: Skip::Condition }),
        ("skipped not reached", Fact::StepSkipped { step: step(), why: Skip::NotReached }),
        (
            "started",
            Fact::StepStarted {
                step: step(),
                item,
                attempt: 1,
                key: text(),
                effect: text(),
                input: json!({}),
                undo: false,
                until: None,
                callback: None,
            },
        ),
        ("done", Fact::StepDone { step: step(), item, result: json!([1, "x", null]) }),
        ("failed retry", failed(AfterFailure::RetryAt(AT))),
        ("failed pause", failed(AfterFailure::Pause)),
        ("failed collect", failed(AfterFailure::Collect)),
        ("failed fail", failed(AfterFailure::Fail)),
        ("branch", Fact::BranchTaken { step: step(), taken: true }),
        ("each started", Fact::EachStarted { step: step(), items: vec![json!(1)] }),
        ("each done", Fact::EachDone { step: step() }),
        ("suspended", Fact::Suspended { step: step(), signal: text(), until: Some(AT), assignee: None }),
        ("resumed", Fact::Resumed { step: step(), signal: text(), payload: json!({}), by: by() }),
        ("timed out", Fact::TimedOut { step: step() }),
        ("retried", Fact::Retried { step: step(), by: by() }),
        ("flow done", Fact::FlowDone { result: json!("x") }),
        ("flow failed", Fact::FlowFailed { step: Some(step()), reason: text() }),
        ("flow cancelled", Fact::FlowCancelled { by: by(), reason: text() }),
    ]
}

/// Those of taking back, of waiting for others, and of what people do.
fn undo_started(item: Option<u32>, run: u32, until: Option<Time>) -> Fact {
    Fact::UndoStarted { step: text(), item, run, attempt: 1, key: text(), effect: text(), input: json!({}), until }
}

fn facts_beside() -> Vec<(&'static str, Fact)> {
    let (step, item, by) = (text, Some(1), || Some(text()));
    vec![
        (
            "started with an undo",
            Fact::StepStarted {
                step: step(),
                item: None,
                attempt: 1,
                key: text(),
                effect: text(),
                input: json!({}),
                undo: true,
                until: Some(AT),
                callback: Some(text()),
            },
        ),
        (
            "refused",
            Fact::StepFailed {
                step: step(),
                item: None,
                attempt: 1,
                reason: text(),
                next: AfterFailure::Fail,
                refused: true,
            },
        ),
        ("skipped failed", Fact::StepSkipped { step: step(), why: Skip::Failed }),
        ("assigned", Fact::Suspended { step: step(), signal: text(), until: None, assignee: Some(text()) }),
        ("sleeping", Fact::Sleeping { step: step(), until: AT }),
        ("woken", Fact::Woken { step: step() }),
        ("joined", Fact::Joined { step: step(), result: json!({ "a": 1 }) }),
        ("awaits callback", Fact::AwaitsCallback { step: step(), until: Some(AT) }),
        ("called back", Fact::CalledBack { step: step(), payload: json!(1) }),
        (
            "notify started",
            Fact::NotifyStarted { step: step(), attempt: 1, key: text(), effect: text(), input: json!({}) },
        ),
        ("notified", Fact::Notified { step: step() }),
        ("notify failed", Fact::NotifyFailed { step: step(), attempt: 1, reason: text(), next: AfterFailure::Pause }),
        ("undoing failed", Fact::Undoing { why: Why::Failed { step: Some(step()), reason: text() } }),
        ("undoing cancelled", Fact::Undoing { why: Why::Cancelled { by: by(), reason: text() } }),
        ("undo started", undo_started(item, 2, None)),
        ("undo started until", undo_started(None, 1, Some(AT))),
        ("undo done", Fact::UndoDone { step: step(), item, run: 2 }),
        (
            "undo failed",
            Fact::UndoFailed {
                step: step(),
                item,
                run: 2,
                attempt: 1,
                reason: text(),
                next: AfterFailure::RetryAt(AT),
            },
        ),
        ("undo skipped", Fact::UndoSkipped { step: step(), item, run: 2, by: by() }),
        ("paused", Fact::Paused { by: by() }),
        ("continued", Fact::Continued { by: by() }),
        ("passed", Fact::Passed { step: step(), item, result: json!(1), by: by() }),
        ("edited", Fact::Edited { step: step(), item, undo: Some(2), input: json!({}), by: by() }),
        ("restarted", Fact::Restarted { step: step(), run: 2, cleared: vec![step()], input: Some(json!(1)), by: by() }),
        ("queued", Fact::Queued { limit: Limit::Concurrency, key: json!("k") }),
        ("admitted", Fact::Admitted { limit: Limit::Rate }),
        ("flow killed", Fact::FlowKilled { by: by(), reason: text(), left: 2 }),
    ]
}

#[test]
fn forms_of_flows_keep() {
    use flow::{Command, Event};
    let started = |keyed, trace| Event::Started { id: text(), start: start().into(), at: AT, keyed, trace };
    let events = Golden::default().form("start", &started(false, None)).form("start keyed", &started(true, None));
    let events = events.form("start traced", &started(false, trace_of()));
    let with_facts = facts().into_iter().chain(facts_beside()).fold(events, |golden, (name, fact)| {
        golden.form(&format!("happened {name}"), &Event::Happened { fact, at: AT })
    });
    let undo = || Box::new(flow::UndoFor { flow: text(), place: place(), reason: text() });
    let with_facts =
        with_facts.form("undo asked", &Event::UndoAsked { undo: undo() }).form("barred", &Event::Barred { at: AT });
    let fields = BTreeMap::from([(text(), text())]);
    let traits = Box::new(super::finding::Traits { kind: Some(text()), key: Some(text()), fields });
    let petition = || Box::new(super::petition::Petition { activity: id(), of: id(), actor: they(), inbox: they() });
    let with_facts = with_facts.form("petitioned", &Event::Petitioned { petition: petition() });
    let with_facts = with_facts.form("found", &Event::Found { traits });
    with_facts.holds::<Event>("flow.events");
    let by = || Some(text());
    let (again, person, key, trouble, lost) = (true, true, String::new(), None, false);
    let failed = Failed { step: text(), item: Some(1), attempt: 2, reason: text(), again, person, key, trouble, lost };
    Golden::default()
        .form("start", &Command::Start(start()))
        .form("done", &Command::Done(Done { step: text(), item: Some(1), result: json!({}), key: String::new() }))
        .form("failed", &Command::Failed(failed))
        .form("retry due", &Command::RetryDue { step: text(), item: Some(1), attempt: 2, key: String::new() })
        .form("timed out", &Command::TimedOut { step: text() })
        .form("resume", &Command::Resume { signal: by(), payload: json!({ "note": "x" }), by: by() })
        .form("retry", &Command::Retry { step: by(), by: by() })
        .form("cancel", &Command::Cancel { by: by(), reason: text() })
        .form("forget", &Command::Forget { ended_before: Time(1) })
        .form("enter", &Command::Enter { limit: Limit::Concurrency, ticket: 1 })
        .form("still in", &Command::StillIn { limit: Limit::Rate, ticket: 1 })
        .form("still runs", &Command::StillRuns { due: AT })
        .form("undo", &Command::Undo(undo()))
        .form("take back", &Command::TakeBack { by: by(), reason: text(), petition: None })
        .form("take back for", &Command::TakeBack { by: by(), reason: text(), petition: Some(petition()) })
        .form("lost", &place().lost(text(), None))
        .form("undo timed out", &Command::UndoTimedOut { step: text(), item: Some(1), attempt: 2, key: text() })
        .form("try timed out", &Command::TryTimedOut { step: text(), item: Some(1), attempt: 2 })
        .form("wait over", &Command::WaitOver { step: text() })
        .form("callback", &Command::Callback { token: text(), payload: json!(1) })
        .form("kill", &Command::Kill { by: by(), reason: text() })
        .form("pause", &Command::Pause { by: by() })
        .form("continue", &Command::Continue { by: by() })
        .form("restart", &Command::Restart { step: text(), input: Some(json!(1)), by: by() })
        .form("edit", &Command::Edit { step: text(), item: Some(1), input: json!({}), by: by() })
        .form("skip", &Command::Skip { step: text(), item: Some(1), result: json!({}), by: by() })
        .holds::<Command>("flow.commands");
    let origins = Golden::default()
        .form("api", &Origin::Api { by: text() })
        .form("local", &Origin::Local { activity: id(), object: id() })
        .form("remote", &Origin::Remote { activity: id(), actor: they(), inbox: None, answer: false })
        .form("parent", &Origin::Parent { flow: text(), place: place(), depth: 2 })
        .form("schedule", &Origin::Schedule { schedule: text(), due: AT })
        .form("node", &Origin::Node { actor: they() })
        .form("home", &Origin::Home { actor: they(), instance: text() });
    origins.holds::<Origin>("flow.origins");
}

/// How an instance is run by another node, and for one.
#[test]
fn forms_of_runners_keep() {
    use away::Event as Away;
    use flow::{Command, Event};
    use lent::What;
    let trouble = || line::Event::Unheard { what: text(), at: AT, until: AT };
    let events = [
        ("begun", Away::Begun),
        ("offered", Away::Offered { to: text(), hold: 2, at: AT }),
        ("declined", Away::Declined(away::Declined { by: text(), why: text(), for_good: true })),
        ("waits", Away::Waits { until: AT }),
        ("nobody", Away::Nobody),
        ("taken", Away::Taken { instance: text(), at: AT }),
        ("said", Away::Said { upto: 7, heard: 3 }),
        ("looked", Away::Looked),
        ("made", Away::Line(line::Event::Made { count: 1 })),
        ("sent", Away::Line(line::Event::Sent)),
        ("heard", Away::Line(line::Event::Heard { upto: 7 })),
        ("unheard", Away::Line(trouble())),
        ("rewound", Away::Line(line::Event::Rewound { heard: 3 })),
        ("lost", Away::Lost { why: text() }),
        ("comes home", Away::ComesHome),
        ("home", Away::Home),
        ("over", Away::Over),
    ];
    let away = events
        .into_iter()
        .fold(Golden::default(), |golden, (name, what)| golden.form(&format!("away {name}"), &Event::Away { what }));
    let lent = || Lent { home: they(), instance: text(), hold: 2, heard: 3, line: Default::default(), gone: false };
    let progress = || Progress::new("f");
    let begun = What::Begun { lent: Box::new(lent()), progress: Box::new(progress()) };
    away.form("lent begun", &Event::Lent { what: begun })
        .form("lent heard", &Event::Lent { what: What::Heard { words: 3 } })
        .form("lent line", &Event::Lent { what: What::Line(trouble()) })
        .form("lent gone", &Event::Lent { what: What::Gone })
        .holds::<Event>("flow.runners.events");
    let Start { name, definition, input, .. } = *start();
    let turns = vec![Lasted { heard: 3, facts: vec![Fact::Woken { step: text() }] }];
    let told = Told { by: they(), instance: text(), hold: 2, from: 7, turns };
    let report = Report::Unreachable { reason: text() };
    let release = || (text(), text(), 2, 3);
    let (at, instance, hold, tries) = release();
    let order = Order::Release { at, instance, hold, tries };
    let (at, instance, hold, tries) = release();
    let said = Said::Release { at, instance, hold, tries };
    Golden::default()
        .form("lend", &Command::Lend(Box::new(Lend { name, definition, input, lent: lent(), progress: progress() })))
        .form(
            "words",
            &Command::Words { by: they(), hold: 2, from: 7, words: vec![Command::Pause { by: Some(text()) }] },
        )
        .form("released", &Command::Released { by: they() })
        .form("told", &Command::Told(Box::new(told)))
        .form("heard offer", &Command::Heard { said: Said::Offer { at: text(), hold: 2 }, report: report.clone() })
        .form("heard turns", &Command::Heard { said: Said::Turns { upto: 7 }, report: report.clone() })
        .form("heard release", &Command::Heard { said, report })
        .form("offer", &Command::Runner(Order::Offer))
        .form("speak", &Command::Runner(Order::Speak { after: 7 }))
        .form("look", &Command::Runner(Order::Look))
        .form("come home", &Command::Runner(Order::ComeHome))
        .form("release", &Command::Runner(order))
        .holds::<Command>("flow.runners.commands");
}

#[test]
fn forms_of_schedules_keep() {
    use crate::domains::flow::progress::Phase;
    use crate::domains::schedule::Overlap;
    use schedule::{Command, Ended, Event, Paused, Plan, Run, Tick};
    let tick = || Tick { due: AT, flow: text(), missed: 3, more: true, by: Some(text()) };
    let paused = || Paused { at: AT, by: Some(text()), reason: Some(text()) };
    let plan = |overlap| Event::Bound { plan: Plan { when: text(), overlap, paused: true } };
    Golden::default()
        .form("bound skip", &plan(Overlap::Skip))
        .form("bound allow", &plan(Overlap::Allow))
        .form("bound queue", &plan(Overlap::Queue))
        .form("bound cancel", &plan(Overlap::Cancel))
        .form("planned", &Event::Planned { next: Some(AT) })
        .form("begun", &Event::Begun { tick: tick(), at: AT })
        .form("skipped", &Event::Skipped { tick: tick() })
        .form("waits", &Event::Waits { tick: tick() })
        .form("dropped", &Event::Dropped { tick: tick() })
        .form("ended", &Event::Ended { flow: text() })
        .form("paused", &Event::Paused(paused()))
        .form("continued", &Event::Continued { by: Some(text()) })
        .holds::<Event>("schedule.events");
    Golden::default()
        .form("ensure", &Command::Ensure)
        .form("due", &Command::Due { at: AT })
        .form("fire", &Command::Fire { by: text(), overlap: Some(Overlap::Cancel) })
        .form("pause", &Command::Pause { by: text(), reason: Some(text()) })
        .form("continue", &Command::Continue { by: text() })
        .form("ended", &Command::Ended { flow: text(), due: AT, phase: Some(Phase::Killed) })
        .form("cancel running", &Command::CancelRunning { after: Some(text()) })
        .holds::<Command>("schedule.commands");
    let ended = Some(Ended { at: AT, phase: Some(Phase::Done) });
    Golden::default().form("run", &Run { tick: tick(), at: AT, ended }).holds::<Run>("schedule.runs");
}

#[test]
fn forms_of_the_shell_keep() {
    let me = ActorId::new(Kind::Outbox, "there.example");
    let deliver = |scheme, refusals| {
        let (activity, to) = (text(), Recipient::Inbox(text()));
        Errand::Deliver { activity, to, entry: 7, attempt: 2, scheme, refusals }
    };
    let webhook = Errand::Webhook { url: text(), body: json!({ "a": 1 }), place: place() };
    let secret = HeaderValue::Secret { secret: text(), prefix: text() };
    let headers = [("x".to_owned(), HeaderValue::Text(text())), ("authorization".to_owned(), secret)].into();
    let (method, url, body) = (text(), text(), Some(json!({ "a": 1 })));
    let request = Request { method, url, headers, body, ok: vec![200], timeout: Some(1_000) };
    let lent = Errand::Lent { request: request.clone(), place: place() };
    let http = Errand::Http { request, place: place() };
    let (url, key, body, said) = (text(), text(), json!({ "a": 1 }), Said::Words { hold: 1, upto: 7 });
    let signed = Errand::Signed { url, key, body, needs: vec![text()], said };
    let vouch = Errand::Vouch { actor: text(), alias: text(), tries: 2 };
    let look = Errand::Look { actor: text(), tries: 2 };
    Golden::default()
        .form("deliver", &deliver(None, 0))
        .form("deliver known", &deliver(Some(Scheme::Draft), 1))
        .form("webhook", &webhook)
        .form("http", &http)
        .form("lent", &lent)
        .form("signed", &signed)
        .form("vouch", &vouch)
        .form("look", &look)
        .holds::<Errand>("errands");
    let waiting = || Waiting { attempts: 2, ..Waiting::new(b"body".as_slice().into()) };
    let traced = Waiting { trace: trace_of(), ..waiting() };
    Golden::default().form("waiting", &waiting()).form("traced", &traced).holds::<Waiting>("waiting");
    let letter = DeadLetter {
        at: AT,
        to: me.clone(),
        from: Some(me.clone()),
        reason: text(),
        key: b"key".as_slice().into(),
        waiting: waiting(),
    };
    Golden::default().form("dead letter", &letter).holds::<DeadLetter>("dead-letters");
    let (fingerprint, reply) = (b"hash".as_slice().into(), b"reply".as_slice().into());
    let answer = Answer { at: AT, fingerprint, reply, flow: None };
    let begun = Answer { flow: Some(text()), ..answer.clone() };
    Golden::default().form("answer", &answer).form("began a flow", &begun).holds::<Answer>("answers");
    let turn = |cause| TurnRecord {
        at: AT,
        cause,
        events: vec![following::Event::Received],
        changes: Changes {
            timers: vec![("set".into(), Some(AT)), ("cancelled".into(), None)],
            errands: vec![((1, 2), AT)],
            errands_done: vec![(1, 0)],
            trimmed: 3,
        },
        messages: 4,
    };
    Golden::default()
        .form("asked", &turn(Cause::Asked))
        .form("message", &turn(Cause::Message(me)))
        .form("timer", &turn(Cause::Timer(text())))
        .form("errand", &turn(Cause::Errand(1, 2)))
        .holds::<TurnRecord<following::Event>>("turns");
}

/// A snapshot as the hexadecimal of its bytes: its keys are pairs, which JSON has not.
#[derive(Debug)]
struct Snapshot(Head);

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let bytes = record::encode(&self.0);
        out.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> serde::Deserialize<'de> for Snapshot {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(from)?;
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        record::decode(&bytes).map(Self).map_err(serde::de::Error::custom)
    }
}

#[test]
fn the_form_of_snapshots_keeps() {
    let meta =
        |birth| Meta { timers: [("t".to_owned(), AT)].into(), errands: [((1, 2), AT)].into(), trimmed: 3, birth };
    let head = |birth| {
        let state = b"state".as_slice().into();
        Head { turn: 7, written: 0, at: AT, label: Label::Suspended, state, meta: meta(birth) }
    };
    let young = Head { turn: 0, written: 7, meta: Meta::default(), ..head(Birth::default()) };
    let golden = Golden::default().form("head", &Snapshot(head(Birth::default())));
    let golden = golden.form("head with its birth", &Snapshot(head(Birth { at: AT, mark: 7 })));
    let bare = Head {
        state: bytes::Bytes::new(),
        meta: Meta { birth: Birth { at: AT, mark: 7 }, ..Meta::default() },
        ..young.clone()
    };
    golden.form("young", &Snapshot(young)).form("young and bare", &Snapshot(bare)).holds::<Snapshot>("heads");
}
