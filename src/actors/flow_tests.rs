//! The rules of flow instances in their shell: begun once, resumed once, answered once, paused and tried again.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::actors::errands::Recipient;
use crate::actors::log::Entry;
use crate::actors::outbox::{self, Outbox};
use crate::actors::rows::{Index, RowKey};
use crate::actors::stage::{Stage, Taken, iri};
use crate::actors::stream::{self, Stream};
use crate::domains::activity::Verb;
use crate::domains::flow::expr::Input;

const DECLARED: &str = r#"
[flow.letter]
steps.approval = { suspend = "approve", timeout = "7d", otherwise = "dropped" }
steps.send = { effect = "notify", after = "approval", with = { text = "'sent'" } }
steps.dropped = { effect = "notify", with = { text = "'dropped'" } }
result = "'https://here.example/gig'"

[flow.hook]
steps.call = { effect = "webhook", with = { url = "'https://there.example/hook'" }, retry = { attempts = 2, delay = "10s" } }

[flow.make]
steps.make = { effect = "object.create", with = { type = "'note'", fields = "{}" } }

[flow.two]
steps.first = { suspend = "one" }
steps.second = { suspend = "two", after = "first" }

[flow.pairs]
steps.wait = { suspend = "go" }
steps.choose = { branch = "input.all(x, results.wait.exists(y, y == x))", then = "end", else = ["send"], after = "wait" }
steps.send = { effect = "notify", with = { text = "'some are missing'" } }

[flow.crowd]
steps.tell = { each = "[1, 2]", parallel = 64, effect = "notify", with = { text = "string(input.exists(x, x == item))" } }

[flow.alone]
steps.tell = { each = "[1, 2]", parallel = 1, effect = "notify", with = { text = "string(input.exists(x, x == item))" } }

[type.note]
as = "Note"
fields.text = { kind = "text" }
"#;

const ACTIVITY: &str = "https://there.example/1";

fn stage() -> Stage<Flow> {
    Stage::new("f1", DECLARED)
}

fn origin(answer: bool) -> Origin {
    Origin::Remote {
        activity: iri(ACTIVITY),
        actor: iri("https://there.example/actor"),
        inbox: Some(iri("https://there.example/inbox")),
        answer,
    }
}

impl Stage<Flow> {
    fn start(&mut self, name: &str, origin: Origin) -> Taken<Flow> {
        let definition = self.world.catalog.current(name).unwrap().hash.0.clone();
        let input = Input { input: json!(null), activity: json!(null), object: json!({}), actor: json!(null) };
        self.take(Command::Start(Box::new(Start { name: name.into(), definition, input, origin }))).unwrap()
    }

    fn resume(&mut self, signal: Option<&str>) -> Result<Taken<Flow>, Rejection> {
        let signal = signal.map(str::to_owned);
        self.take(Command::Resume { signal, payload: json!(null), by: Some("someone".into()) })
    }

    fn done(&mut self, step: &str) -> Taken<Flow> {
        self.take(Command::Done(Done {
            step: step.into(),
            item: None,
            result: json!({ "seq": 1 }),
            key: String::new(),
        }))
        .unwrap()
    }

    fn fails(&mut self, attempt: u32, again: bool) -> Taken<Flow> {
        let place = Place { step: "call".into(), item: None, attempt, key: String::new() };
        self.take(place.failed("503".into(), again, None)).unwrap()
    }

    fn phase(&self) -> Phase {
        self.state.progress.as_ref().unwrap().phase()
    }

    /// Whether the instance is in the list of this phase, and what the list of all says of it.
    fn listed(&self, phase: Phase) -> (bool, Listed) {
        let list = |phase| {
            let RowKey::Index(index, _) = list_row(phase, self.now) else { panic!("a list") };
            let prefix = crate::actors::layout::index_prefix(index, &list_prefix(phase));
            let rows = self.rows.iter().filter(move |(key, _)| key.starts_with(&prefix));
            rows.map(|(_, value)| value).collect::<Vec<_>>()
        };
        let briefs: Vec<Brief> =
            list(Some(phase)).into_iter().map(|value| crate::actors::record::decode(value).unwrap()).collect();
        let all: Vec<Listed> =
            list(None).into_iter().map(|value| crate::actors::record::decode(value).unwrap()).collect();
        assert!(briefs.iter().all(|brief| (&brief.name, &brief.definition) == (&all[0].name, &all[0].definition)));
        (!briefs.is_empty(), all[0].clone())
    }

    fn answers(&self) -> Vec<(Verb, Option<String>)> {
        let made: Vec<Entry> = self.entries(Index::Activities);
        made.into_iter()
            .map(|entry| {
                assert_eq!(entry.object.as_str(), ACTIVITY);
                let result = entry.json().get("result").and_then(|it| it.as_str().map(str::to_owned));
                (entry.verb, result)
            })
            .collect()
    }
}

fn effects(taken: &Taken<Flow>) -> Vec<(String, Place)> {
    let told = taken.told::<Stream>().into_iter();
    told.map(|(key, command)| match command {
        stream::Command::Effect { place, .. } => (key, place),
        other => panic!("only effects: {other:?}"),
    })
    .collect()
}

#[test]
fn an_instance_is_started_once() {
    let mut flow = stage();
    let first = flow.start("letter", origin(false));
    assert_eq!((first.reply.phase, first.reply.existed), (Some(Phase::Suspended), false));
    let again = flow.start("letter", origin(false));
    assert_eq!((again.reply.phase, again.reply.existed), (Some(Phase::Suspended), true));
    assert!(again.events.is_empty() && again.messages() == 0);
}

#[test]
fn what_was_never_started_is_unknown() {
    assert!(matches!(stage().resume(None).err(), Some(Rejection::Unknown(_))));
    let cancel = Command::Cancel { by: None, reason: "no".into() };
    assert!(matches!(stage().take(cancel).err(), Some(Rejection::Unknown(_))));
}

#[test]
fn it_is_resumed_once_and_its_time_out_is_cancelled() {
    let mut flow = stage();
    let started = flow.start("letter", origin(false));
    assert_eq!(started.timers["timeout/approval"], Some(flow.now.plus(Duration::from_secs(7 * 86_400))));
    assert_eq!(flow.state.label(), Label::Suspended);
    let resumed = flow.resume(None).unwrap();
    assert_eq!(resumed.timers["timeout/approval"], None);
    assert_eq!(effects(&resumed)[0].0, "local/notices");
    assert!(matches!(flow.resume(None).err(), Some(Rejection::NotWaiting { .. })), "a second resume at once");
    flow.done("send");
    assert_eq!((flow.phase(), flow.state.label()), (Phase::Done, Label::Done));
    let finished = flow.resume(None).err().unwrap();
    assert!(matches!(finished, Rejection::Step(step::Rejection::Finished(Phase::Done))));
}

#[test]
fn an_unknown_signal_is_refused_and_named() {
    let mut flow = stage();
    flow.start("letter", origin(false));
    let refused = flow.resume(Some("aprove")).err().unwrap();
    assert!(refused.to_string().contains("aprove") && refused.to_string().contains("approve"), "{refused}");
    assert_eq!(flow.phase(), Phase::Suspended);
}

#[test]
fn nobody_resumed_it_in_time() {
    let mut flow = stage();
    flow.start("letter", origin(false));
    flow.wait(Duration::from_secs(7 * 86_400));
    let late = flow.take(Command::TimedOut { step: "approval".into() }).unwrap();
    assert_eq!(effects(&late)[0].1.step, "dropped");
    assert!(flow.take(Command::TimedOut { step: "approval".into() }).unwrap().events.is_empty());
    assert!(flow.resume(None).is_err());
}

#[test]
fn the_lists_say_where_it_is_and_what_it_waits_for() {
    let mut flow = stage();
    flow.start("two", origin(false));
    let (there, listed) = flow.listed(Phase::Suspended);
    assert_eq!((there, listed.waits_for), (true, vec!["one".to_owned()]));
    flow.resume(None).unwrap();
    let (there, listed) = flow.listed(Phase::Suspended);
    assert_eq!((there, listed.waits_for), (true, vec!["two".to_owned()]));
    flow.resume(None).unwrap();
    assert!(!flow.listed(Phase::Suspended).0);
    let (there, listed) = flow.listed(Phase::Done);
    assert_eq!((there, listed.phase), (true, Phase::Done));
}

#[test]
fn an_allocate_is_answered_exactly_once_with_what_came_of_it() {
    let mut flow = stage();
    flow.start("letter", origin(true));
    flow.resume(None).unwrap();
    assert!(flow.answers().is_empty(), "not before it is done");
    let done = flow.done("send");
    assert_eq!(flow.answers(), [(Verb::Accept, Some("https://here.example/gig".into()))]);
    let told = done.told::<Outbox>();
    assert!(matches!(&told[..], [(peer, outbox::Command::Send { to: Recipient::Inbox(inbox), .. })]
        if peer == "there.example" && inbox == "https://there.example/inbox"));
    flow.done("send");
    flow.start("letter", origin(true));
    assert_eq!(flow.answers().len(), 1);
}

#[test]
fn what_fails_or_is_cancelled_is_answered_no_once() {
    let mut flow = stage();
    flow.start("hook", origin(true));
    flow.fails(1, false);
    assert_eq!((flow.phase(), flow.answers()), (Phase::Failed, vec![(Verb::Reject, None)]));
    let mut flow = stage();
    flow.start("letter", origin(true));
    let cancel = || Command::Cancel { by: None, reason: "taken back".into() };
    flow.take(cancel()).unwrap();
    assert_eq!((flow.phase(), flow.answers()), (Phase::Cancelled, vec![(Verb::Reject, None)]));
    assert!(flow.take(cancel()).is_err());
    assert_eq!(flow.answers().len(), 1);
}

#[test]
fn what_nobody_waits_for_is_not_answered() {
    let mut flow = stage();
    flow.start("letter", origin(false));
    flow.resume(None).unwrap();
    flow.done("send");
    assert!(flow.answers().is_empty());
}

#[test]
fn a_failing_effect_is_tried_again_with_the_same_key_then_paused_then_retried_by_hand() {
    let mut flow = stage();
    let started = flow.start("hook", origin(true));
    let place = |taken: &Taken<Flow>| match &taken.errands[..] {
        [Errand::Webhook { place, .. }] => place.clone(),
        other => panic!("one webhook: {other:?}"),
    };
    let first = place(&started);
    let failed = flow.fails(1, true);
    assert_eq!(failed.timers["retry/call"], Some(flow.now.plus(Duration::from_secs(10))));
    assert!(failed.errands.is_empty(), "not before its time");
    flow.wait(Duration::from_secs(10));
    let due = || Command::RetryDue { step: "call".into(), item: None, attempt: 1, key: String::new() };
    let second = place(&flow.take(due()).unwrap());
    assert_eq!((second.attempt, &second.key), (2, &first.key));
    assert!(flow.take(due()).unwrap().errands.is_empty(), "a timer that comes twice changes nothing");
    assert!(flow.fails(1, true).events.is_empty(), "nor does the outcome of an earlier try");
    flow.fails(2, true);
    assert_eq!((flow.phase(), flow.state.label()), (Phase::Paused, Label::Stuck));
    assert!(flow.answers().is_empty(), "paused is not lost");
    let third = place(&flow.take(Command::Retry { step: None, by: None }).unwrap());
    assert_eq!(third.key, first.key);
    flow.done("call");
    assert_eq!(flow.answers(), [(Verb::Accept, None)]);
}

#[test]
fn a_webhooks_answer_is_its_outcome() {
    let place = Place { step: "call".into(), item: None, attempt: 1, key: "k".into() };
    let report = |report| {
        let errand = Errand::Webhook { url: String::new(), body: json!(null), place: place.clone() };
        Flow::reported(errand, report).unwrap()
    };
    let answered = |status| Report::Answered { status, detail: "so".into(), retry_after: None, scheme: None };
    assert!(matches!(report(answered(204)), Command::Done(_)));
    for (status, again) in [(400, false), (404, false), (408, true), (429, true), (500, true), (503, true)] {
        assert!(matches!(report(answered(status)), Command::Failed(failed) if failed.again == again), "{status}");
    }
    for status in [101, 302, 600] {
        let word = report(answered(status));
        let Command::Failed(failed) = &word else { panic!("{word:?}") };
        assert!(failed.lost && !failed.again && failed.reason.contains("`ok` says what it takes"), "{word:?}");
    }
    let reason = || "no".to_owned();
    assert!(matches!(report(Report::Unusable { reason: reason() }), Command::Failed(failed) if failed.lost));
    assert!(matches!(report(Report::Unreachable { reason: reason() }), Command::Failed(failed) if failed.again));
    assert!(matches!(report(Report::Impossible { reason: reason() }), Command::Failed(failed) if !failed.again));
}

/// The message to the stream ended as a dead letter: a person decides.
#[test]
fn an_effect_that_could_not_be_delivered_holds_the_flow_until_somebody_retries_it() {
    let mut flow = stage();
    let started = flow.start("make", origin(false));
    let (to, place) = effects(&started).remove(0);
    let (_, command) = started.told::<Stream>().remove(0);
    let body = crate::actors::record::encode(&command);
    let to = ActorId::of::<Stream>(to);
    let word = Flow::undeliverable(&to, &body, "it panicked").expect("it waits for it");
    flow.take(word).unwrap();
    assert_eq!(flow.phase(), Phase::Paused);
    flow.wait(Duration::from_secs(3_600));
    let again = flow.take(Command::Retry { step: None, by: None }).unwrap();
    let (again_to, again_place) = effects(&again).remove(0);
    assert_eq!(again_place.key, place.key);
    assert_eq!(again_to, *to.key, "an object without a title goes to the same address, so that it is made once");
}

#[test]
fn a_turn_that_may_walk_much_is_long_from_what_the_instance_and_the_command_have_together() {
    let mut flow = stage();
    let definition = flow.world.catalog.current("pairs").unwrap().hash.0.clone();
    let start = |numbers: u32| {
        let input = Input { input: (0..numbers).collect(), ..Input::default() };
        Command::Start(Box::new(Start {
            name: "pairs".into(),
            definition: definition.clone(),
            input,
            origin: origin(false),
        }))
    };
    let resume = |numbers: u32| Command::Resume { signal: None, payload: (0..numbers).collect(), by: None };
    let is_long = |flow: &Stage<Flow>, command: &Command| flow.state.is_long(&flow.world, command);
    assert!(is_long(&flow, &start(1_000)));
    flow.take(start(20)).unwrap();
    assert!(!is_long(&flow, &resume(20)) && is_long(&flow, &resume(1_000)));
    assert!(!is_long(&flow, &Command::Pause { by: None }));
    flow.take(resume(900)).unwrap();
    assert_eq!(flow.phase(), Phase::Done, "all are there");
}

#[test]
fn elements_that_begin_together_make_a_turn_longer() {
    let flow = stage();
    let is_long = |name: &str| {
        let definition = flow.world.catalog.current(name).unwrap();
        definition.effort.is_long(|| 2_000)
    };
    assert!(is_long("crowd") && !is_long("alone"));
}

#[test]
fn a_definition_that_is_not_there_is_said() {
    let mut flow = stage();
    let input = Input { input: json!(null), activity: json!(null), object: json!({}), actor: json!(null) };
    let start = Start { name: "x".into(), definition: "no such".into(), input, origin: origin(false) };
    assert!(matches!(flow.take(Command::Start(Box::new(start))).err(), Some(Rejection::NoDefinition(_))));
}

// Taken back by the peer that set it off

impl Stage<Flow> {
    fn take_back(&mut self, undo: &str) -> Taken<Flow> {
        let petition = Petition {
            activity: iri(&format!("https://there.example/{undo}")),
            of: iri(ACTIVITY),
            actor: iri("https://there.example/actor"),
            inbox: iri("https://there.example/inbox"),
        };
        let (by, reason) = (Some("they".to_owned()), "they took it back".to_owned());
        self.take(Command::TakeBack { by, reason, petition: Some(Box::new(petition)) }).unwrap()
    }

    /// The letters of this flow so far, by verb and the last part of what they are about.
    fn letters(&self) -> Vec<(Verb, String)> {
        let made: Vec<Entry> = self.entries(Index::Activities);
        made.into_iter().map(|it| (it.verb, it.object.as_str().rsplit('/').next().unwrap().to_owned())).collect()
    }

    fn of_step(&mut self, step: &str, role: &str, result: serde_json::Value) -> Taken<Flow> {
        let key = format!("f1/1/{step}/-/{role}");
        self.take(Command::Done(Done { step: step.into(), item: None, result, key })).unwrap()
    }
}

const HELD: &str = r#"
[type.note]
as = "Note"
fields.text = { kind = "text" }

[flow.hold]
steps.make = { effect = "object.create", with = { type = "'note'", fields = "{}" }, undo = true, retry = { attempts = 1 } }
steps.wait = { suspend = "go", after = "make" }
result = "results.make.id"

[flow.caller]
steps.child = { call = "hold" }
"#;

fn said(verb: Verb, about: &str) -> (Verb, String) {
    (verb, about.to_owned())
}

#[test]
fn an_undo_of_a_flow_under_way_is_answered_when_everything_is_taken_back() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.start("hold", origin(true));
    flow.of_step("make", "do", json!({ "id": "https://here.example/x" }));
    flow.take_back("2");
    assert_eq!((flow.phase(), flow.letters()), (Phase::Undoing, vec![]));
    flow.take_back("3");
    assert_eq!(flow.letters(), [], "whoever asks again waits too");
    flow.of_step("make", "undo", json!(null));
    assert_eq!(flow.letters(), [said(Verb::Reject, "1"), said(Verb::Accept, "3")]);
    assert_eq!(flow.state.petition, None);
    flow.take_back("4");
    assert_eq!(flow.letters()[2..], [said(Verb::Accept, "4")], "and hears at once when it is over");
}

#[test]
fn an_undo_of_a_finished_flow_runs_its_undos_and_is_answered_then() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.start("hold", origin(true));
    flow.of_step("make", "do", json!({ "id": "https://here.example/x" }));
    flow.resume(None).unwrap();
    assert_eq!(flow.letters(), [said(Verb::Accept, "1")]);
    flow.take_back("2");
    assert_eq!(flow.phase(), Phase::Undoing);
    flow.of_step("make", "undo", json!(null));
    assert_eq!(flow.letters()[1..], [said(Verb::Accept, "2")]);
}

#[test]
fn an_undo_that_gets_stuck_is_answered_when_somebody_has_seen_to_it() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.start("hold", origin(true));
    flow.of_step("make", "do", json!({ "id": "https://here.example/x" }));
    flow.take_back("2");
    let place = Place { step: "make".into(), item: None, attempt: 1, key: "f1/1/make/-/undo".into() };
    flow.take(place.refused("no".into())).unwrap();
    assert_eq!((flow.phase(), flow.letters()), (Phase::Stuck, vec![]));
    let skip = Command::Skip { step: "make".into(), item: None, result: json!(null), by: None };
    flow.take(skip).unwrap();
    assert_eq!(flow.letters(), [said(Verb::Reject, "1"), said(Verb::Accept, "2")]);
}

#[test]
fn an_undo_of_what_was_killed_with_something_left_is_answered_no() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.start("hold", origin(true));
    flow.of_step("make", "do", json!({ "id": "https://here.example/x" }));
    flow.take_back("2");
    flow.take(Command::Kill { by: None, reason: "now".into() }).unwrap();
    assert_eq!(flow.letters(), [said(Verb::Reject, "1"), said(Verb::Reject, "2")]);
    flow.take_back("3");
    assert_eq!(flow.letters()[2..], [said(Verb::Reject, "3")]);
}

#[test]
fn an_undo_of_what_is_not_here_is_answered_no_and_it_never_begins() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.take_back("2");
    assert_eq!(flow.letters(), [said(Verb::Reject, "2")]);
    let late = flow.start("hold", origin(true));
    assert_eq!((late.events.len(), flow.letters()[1..].to_vec()), (0, vec![said(Verb::Reject, "1")]));
}

// Called by another flow

#[test]
fn a_called_flow_that_was_killed_stops_its_parent_and_goes_on_when_that_is_retried() {
    let place = Place { step: "child".into(), item: None, attempt: 1, key: "p/1/child/-/do".into() };
    let parent = || Origin::Parent { flow: "p".into(), place: place.clone(), depth: 1 };
    let mut flow = Stage::<Flow>::new("f1", HELD);
    flow.start("hold", parent());
    flow.of_step("make", "do", json!({ "id": "https://here.example/x" }));
    let killed = flow.take(Command::Kill { by: None, reason: "now".into() }).unwrap();
    assert!(matches!(&killed.told::<Flow>()[..], [(to, Command::Failed(failed))]
        if to == "p" && failed.person && !failed.again && failed.reason.contains("killed: now")));
    let again = flow.start("hold", parent());
    assert_eq!((flow.phase(), again.told::<Stream>().len()), (Phase::Suspended, 0), "what it did it has done");
    let done = flow.resume(None).unwrap();
    assert!(matches!(&done.told::<Flow>()[..], [(to, Command::Done(_))] if to == "p"));
}

/// Rows that are written together lie together.
#[test]
fn the_id_of_a_child_begins_as_that_of_its_parent() {
    let [one, other] = ["a", "b"].map(|step| child_id(&format!("01ARYZ6S41ZZZZZZZZZZZZZZZZ/1/{step}/-/do")));
    assert!(one.starts_with("01ARYZ6S41") && other.starts_with("01ARYZ6S41") && one != other, "{one}, {other}");
    assert_eq!(child_id("01ARYZ6S41ZZZZZZZZZZZZZZZZ/1/a/-/do"), one, "the same for every try");
    assert!(child_id("ü/1/a/-/do").starts_with('ü'), "whatever it is called");
}

#[test]
fn the_parent_of_a_killed_flow_is_paused_until_somebody_decides() {
    let mut flow = Stage::<Flow>::new("f1", HELD);
    let called = flow.start("caller", Origin::Api { by: "me".into() });
    let [(child, Command::Start(start))] = &called.told::<Flow>()[..] else { panic!("it calls") };
    flow.take(start.origin.place().unwrap().clone().stopped("it was killed".into())).unwrap();
    assert_eq!(flow.phase(), Phase::Paused);
    let retried = flow.take(Command::Retry { step: None, by: None }).unwrap();
    assert!(matches!(&retried.told::<Flow>()[..], [(again, Command::Start(_))] if again == child));
}

// Lives under the same name

/// Its marks at receivers may still be there when a peer sends an old activity again.
#[test]
fn what_a_forgotten_instance_did_is_done_again_by_the_next_one_of_its_id() {
    use crate::domains::flow::progress::flow_of;
    let mut flow = Stage::<Flow>::new("f1", HELD);
    let key_of = |taken: &Taken<Flow>| effects(taken)[0].1.key.clone();
    let first = key_of(&flow.start("hold", origin(false)));
    flow.take(Command::Kill { by: None, reason: "now".into() }).unwrap();
    flow.wait(Duration::from_secs(86_400));
    let ended_before = flow.now;
    flow.take(Command::Forget { ended_before }).unwrap();
    let second = key_of(&flow.start("hold", origin(false)));
    assert_ne!(first, second);
    assert_eq!((flow_of(&first), flow_of(&second)), (Some("f1"), Some("f1")));
    assert_eq!((flow_of("f1/1/make/-/do"), flow_of("f1")), (Some("f1"), None));
    let progress = flow.state.progress.clone().unwrap();
    assert_eq!(progress.key("make", None), second, "the stored instance goes by the same key");
}

#[test]
fn what_leaves_an_instance_belongs_to_the_trace_in_which_it_began_whoever_moves_it() {
    let mut flow = stage();
    let (ours, other) = (Context::begin([1; 16]), Context::begin([2; 16]));
    flow.trace = Some(ours.clone());
    flow.start("letter", origin(true));
    flow.trace = Some(other);
    let resumed = flow.resume(None).unwrap();
    let span = flow.state.span("f1");
    let (_, place) = effects(&resumed).remove(0);
    assert_eq!(resumed.traces::<Stream>(), [Some(span.of_try(&place.key, 1))]);
    assert!(span.trace == ours.trace && span.span != ours.span);
    flow.trace = None;
    let done = flow.done("send");
    assert_eq!(done.traces::<Outbox>(), [Some(span)], "the answer too");
    let mut hook = stage();
    let called = hook.start("hook", origin(false));
    let span = hook.state.span("f1");
    let key = hook.state.progress.as_ref().unwrap().key("call", None);
    assert_eq!(called.errand_traces, [Some(span.of_try(&key, 1))]);
}
