//! The rules of streams: objects made, changed and gone; told to everyone once; offered, answered; effects done once.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::actors::announce;
use crate::actors::errands::Recipient;
use crate::actors::flow::{self, Flow};
use crate::actors::follower::{self, Follow, Follower};
use crate::actors::log::Entry;
use crate::actors::outbox::{self, Outbox};
use crate::actors::stage::{Stage, Taken, iri};
use crate::actors::world::Accept;

const DECLARED: &str = r#"
[type.article]
as = "Article"
title = "title"
fields.title = { kind = "text", required = true, max = 200 }
fields.category = { kind = "choice", of = ["note", "urgent"], default = "note" }
on.create = "greet"
on.update = "greet"

[type.calendar]
as = "Collection"
path = "calendars"
fields.title = { kind = "text" }

[flow.greet]
steps.tell = { effect = "notify", with = { text = "'hello'" } }
"#;

fn stage(path: &str) -> Stage<Stream> {
    Stage::new(&object_stream(path), DECLARED)
}

fn create(kind: &str, fields: Value) -> Create {
    Create { kind: kind.into(), fields, to: Vec::new(), visibility: None, attributed_to: None, into: None }
}

fn article() -> Create {
    create("article", json!({ "title": "Gig night" }))
}

fn place(key: &str) -> Place {
    Place { step: "make".into(), item: None, attempt: 1, key: key.into() }
}

fn effect(key: &str, op: StreamOp) -> Command {
    Command::Effect { flow: "f".into(), place: place(key), op, tries: 0, undo: false }
}

fn make(title: &str, into: Option<&str>) -> StreamOp {
    StreamOp::CreateObject {
        object_type: "article".into(),
        slug_hint: Some(title.into()),
        fields: json!({ "title": title }).as_object().unwrap().clone(),
        attributed_to: None,
        link_into: into.map(str::to_owned),
    }
}

/// What the flow hears of its effect.
fn heard(taken: &Taken<Stream>) -> Option<Result<Value, String>> {
    let told = taken.told::<Flow>().into_iter().filter(|(key, _)| key == "f");
    let mut outcomes = told.map(|(_, command)| match command {
        flow::Command::Done(done) => Ok(done.result),
        flow::Command::Failed(failed) => Err(failed.reason),
        other => panic!("only outcomes are told: {other:?}"),
    });
    let outcome = outcomes.next();
    assert!(outcomes.next().is_none(), "once");
    outcome
}

fn starts(taken: &Taken<Stream>) -> usize {
    taken.told::<Flow>().iter().filter(|(_, command)| matches!(command, flow::Command::Start(_))).count()
}

/// The inboxes and actors that get an activity, from the walk that a turn begins.
fn told_to(stage: &mut Stage<Stream>, taken: &Taken<Stream>) -> Vec<String> {
    let mut told = Vec::new();
    let mut walks = taken.told::<Stream>();
    while let Some((_, walk)) = walks.pop() {
        let page = stage.take(walk).unwrap();
        for (_, command) in page.told::<Outbox>() {
            let outbox::Command::Send { to, .. } = command else { panic!("only sends") };
            told.push(match to {
                Recipient::Inbox(to) | Recipient::Actor(to) => to,
            });
        }
        walks.extend(page.told::<Stream>());
    }
    told
}

fn follows(stage: &mut Stage<Stream>, actor: &str, shared: Option<&str>, accept: Accept) {
    let mut follower = Stage::<Follower>::new(actor, "");
    follower.world.accept = accept;
    let inbox = iri(&format!("{actor}/inbox"));
    let follow = Follow { id: iri(&format!("{actor}/follow")), at: stage.now, inbox, shared_inbox: shared.map(iri) };
    follower.take(follower::Command::Follow(follow)).unwrap();
    let log = crate::actors::layout::index_prefix(Index::Activities, &Key::default());
    stage.rows.extend(follower.rows.into_iter().filter(|(key, _)| !key.starts_with(&log)));
}

// The actor itself

#[test]
fn news_of_our_own_actor_are_logged_and_told_to_followers_once() {
    let mut stage = Stage::<Stream>::new(&announce::teller(), DECLARED);
    follows(&mut stage, "https://a.example/u", None, Accept::All);
    let document = json!({ "id": "https://here.example/actor", "type": "Service", "name": "here" });
    let news = News { activity: "01NEWS".into(), document: document.clone() };
    let taken = stage.take(Command::Announce(news.clone())).unwrap();
    let log: Vec<Entry> = stage.entries(Index::Activities);
    assert_eq!((log.len(), log[0].verb.clone(), log[0].public), (1, Verb::Update, true));
    assert_eq!(log[0].id.as_str(), "https://here.example/activities/01NEWS");
    assert_eq!(log[0].json()["object"], document);
    assert_eq!(log[0].json()["cc"], json!(["https://here.example/followers"]));
    assert_eq!(taken.reply.activity.as_ref(), Some(&log[0].id));
    assert_eq!(told_to(&mut stage, &taken), ["https://a.example/u/inbox"]);
    assert_eq!(starts(&taken), 0);
    let again = stage.take(Command::Announce(news)).unwrap();
    assert_eq!((again.told::<Stream>().len(), again.reply.activity), (0, taken.reply.activity));
    assert_eq!(stage.entries::<Entry>(Index::Activities).len(), 1);
}

// Objects

#[test]
fn what_is_made_is_logged_told_and_fires_its_behaviour() {
    let mut stage = stage("gig");
    let taken = stage.take(Command::Create(article())).unwrap();
    assert_eq!(taken.reply.id.as_ref().unwrap().as_str(), "https://here.example/gig");
    let log: Vec<Entry> = stage.entries(Index::Activities);
    assert_eq!((log.len(), log[0].verb.clone(), log[0].public), (1, Verb::Create, true));
    assert_eq!(Some(&log[0].id), taken.reply.activity.as_ref());
    assert_eq!(starts(&taken), 1);
    assert_eq!(stage.entries::<Object>(Index::Objects)[0].fields["category"], "note", "with its defaults");
}

#[test]
fn an_address_is_used_once_for_ever() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    assert_eq!(stage.take(Command::Create(article())).err(), Some(Rejection::Taken("gig".into())));
    stage.take(Command::Delete).unwrap();
    assert_eq!(stage.take(Command::Create(article())).err(), Some(Rejection::Gone("gig".into())));
    assert_eq!(stage.take(Command::Delete).err(), Some(Rejection::Gone("gig".into())));
    let changes = json!({ "title": "x" });
    assert_eq!(stage.take(Command::Update { changes }).err(), Some(Rejection::Gone("gig".into())));
    let tombstone = &stage.entries::<Object>(Index::Objects)[0];
    assert!(tombstone.deleted.is_some() && tombstone.fields.is_empty());
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let none = Some(Rejection::NotFound("gig".into()));
    assert_eq!(stage("gig").take(Command::Update { changes: json!({}) }).err(), none);
    assert_eq!(stage("gig").take(Command::Delete).err(), none);
    let (target, to) = (iri("https://there.example/calendars/main"), iri("https://there.example/actor"));
    assert_eq!(stage("gig").take(Command::Allocate { target, to }).err(), none);
}

#[test]
fn fields_are_checked_as_declared() {
    let wrong = |create| matches!(stage("gig").take(Command::Create(create)).err(), Some(Rejection::Invalid(_)));
    assert!(wrong(create("article", json!({}))), "a title is required");
    assert!(wrong(create("article", json!({ "title": "x", "category": "loud" }))));
    assert!(wrong(create("article", json!({ "title": "x", "unknown": 1 }))));
    let unknown = stage("gig").take(Command::Create(create("poem", json!({})))).err();
    assert_eq!(unknown, Some(Rejection::UnknownType("poem".into())));
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let changes = json!({ "category": "loud" });
    assert!(matches!(stage.take(Command::Update { changes }).err(), Some(Rejection::Invalid(_))));
    stage.take(Command::Update { changes: json!({ "category": "urgent" }) }).unwrap();
    let object = &stage.entries::<Object>(Index::Objects)[0];
    assert_eq!(
        (object.fields["category"].as_str(), object.fields["title"].as_str()),
        (Some("urgent"), Some("Gig night"))
    );
}

// Telling others

#[test]
fn everybody_is_told_once_per_inbox() {
    let mut stage = stage("gig");
    let shared = Some("https://a.example/shared");
    follows(&mut stage, "https://a.example/1", shared, Accept::All);
    follows(&mut stage, "https://a.example/2", shared, Accept::All);
    follows(&mut stage, "https://a.example/3", None, Accept::All);
    follows(&mut stage, "https://b.example/1", None, Accept::All);
    follows(&mut stage, "https://c.example/asked", None, Accept::Ask);
    let to = ["https://b.example/1", "https://c.example/asked", "https://d.example/x", "https://d.example/x"];
    let create = Create { to: to.map(iri).to_vec(), ..article() };
    let taken = stage.take(Command::Create(create)).unwrap();
    let mut told = told_to(&mut stage, &taken);
    told.sort();
    assert_eq!(
        told,
        [
            "https://a.example/3/inbox",
            "https://a.example/shared",
            "https://b.example/1/inbox",
            "https://c.example/asked",
            "https://d.example/x",
        ]
    );
}

#[test]
fn a_long_list_of_followers_is_walked_to_its_end_once() {
    let mut stage = stage("gig");
    for number in 0..250 {
        // Two actors to each inbox, so that a page may end between them.
        let shared = format!("https://a.example/inbox/{:03}", number / 2);
        follows(&mut stage, &format!("https://a.example/{number:03}"), Some(&shared), Accept::All);
    }
    let taken = stage.take(Command::Create(article())).unwrap();
    let told = told_to(&mut stage, &taken);
    assert_eq!(told, (0..125).map(|number| format!("https://a.example/inbox/{number:03}")).collect::<Vec<_>>());
}

#[test]
fn what_is_direct_goes_to_nobody_else() {
    let mut stage = stage("gig");
    follows(&mut stage, "https://a.example/1", None, Accept::All);
    follows(&mut stage, "https://b.example/1", None, Accept::All);
    let direct = Some(Visibility::Direct);
    let create = Create { to: vec![iri("https://a.example/1")], visibility: direct, ..article() };
    let taken = stage.take(Command::Create(create)).unwrap();
    assert_eq!(told_to(&mut stage, &taken), ["https://a.example/1"]);
    assert!(!stage.entries::<Entry>(Index::Activities)[0].public);
}

// Allocations

#[test]
fn an_offer_goes_to_one_and_its_first_answer_counts() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (target, to) = (iri("https://there.example/calendars/main"), iri("https://there.example/actor"));
    let taken = stage.take(Command::Allocate { target, to: to.clone() }).unwrap();
    let told = taken.told::<Outbox>();
    assert!(matches!(&told[..], [(peer, outbox::Command::Send { to: Recipient::Actor(actor), .. })]
        if peer == "there.example" && actor == to.as_str()));
    let entry = stage.entries::<Entry>(Index::Activities).pop().unwrap();
    assert_eq!((entry.verb, entry.asked), (Verb::Allocate, Some(to)));
    let activity = entry.id.as_str().rsplit_once('/').unwrap().1.to_owned();
    let answer = |accepted, result: Option<&str>| Command::Answered {
        activity: activity.clone(),
        accepted,
        result: result.map(iri),
        words: None,
    };
    assert_eq!(stage.take(answer(true, Some("https://there.example/event"))).unwrap().events.len(), 1);
    assert!(stage.take(answer(false, None)).unwrap().events.is_empty(), "a second answer changes nothing");
    let row = crate::actors::layout::row(&stage.me, &RowKey::Own(offers::allocation_key(&activity)));
    let stored: Allocation = crate::actors::record::decode(&stage.rows[&row]).unwrap();
    assert_eq!((stored.accepted, stored.result), (Some(true), Some(iri("https://there.example/event"))));
    let unknown = Command::Answered { activity: "none".into(), accepted: true, result: None, words: None };
    assert!(stage.take(unknown).unwrap().events.is_empty());
}

// Effects

#[test]
fn an_effect_that_is_repeated_is_done_once_and_answered_again() {
    let mut list = Stage::<Stream>::new(&local_stream("notices"), DECLARED);
    let append = || effect("f/1/tell/-/do", StreamOp::Append { record: json!({ "text": "hello" }) });
    let first = heard(&list.take(append()).unwrap()).unwrap().unwrap();
    assert_eq!(first, json!({ "seq": 1 }));
    let again = list.take(append()).unwrap();
    assert!(again.events.is_empty());
    assert_eq!(heard(&again), Some(Ok(first)));
    let other = effect("f/1/tell/1/do", StreamOp::Append { record: json!({ "text": "hello" }) });
    assert_eq!(heard(&list.take(other).unwrap()), Some(Ok(json!({ "seq": 2 }))));
}

#[test]
fn an_object_that_a_flow_makes_takes_the_next_free_address_also_when_repeated() {
    let mut taken_by_another = stage("gig");
    taken_by_another.take(Command::Create(article())).unwrap();
    let mut second = stage("gig-2");
    second.take(Command::Create(article())).unwrap();
    second.take(Command::Delete).unwrap();
    let mut third = stage("gig-3");
    for repeat in 0..2 {
        let moved = taken_by_another.take(effect("k", make("Gig", None))).unwrap();
        assert!(heard(&moved).is_none());
        let [(key, next)] = &moved.told::<Stream>()[..] else { panic!("handed on") };
        assert_eq!(key, "object/gig-2");
        let moved = second.take(next.clone()).unwrap();
        let [(key, next)] = &moved.told::<Stream>()[..] else { panic!("handed on, an address that was used") };
        assert_eq!(key, "object/gig-3");
        let made = third.take(next.clone()).unwrap();
        assert_eq!(heard(&made).unwrap().unwrap()["id"], "https://here.example/gig-3");
        assert_eq!(made.events.is_empty(), repeat == 1);
    }
    assert_eq!(third.entries::<Object>(Index::Objects).len(), 1);
}

/// An update by the flow that an update runs would never end.
#[test]
fn what_a_flow_writes_fires_no_behaviour() {
    let mut stage = stage("gig");
    let made = stage.take(effect("k", make("Gig", None))).unwrap();
    assert_eq!(starts(&made), 0);
    let changes = json!({ "category": "urgent" }).as_object().unwrap().clone();
    let changed = stage.take(effect("l", StreamOp::UpdateObject { changes })).unwrap();
    assert_eq!((starts(&changed), stage.state.version), (0, 2));
    assert_eq!(changed.told::<Stream>().len(), 1, "others are told all the same");
    assert_eq!(starts(&stage.take(Command::Update { changes: json!({ "category": "note" }) }).unwrap()), 1);
}

#[test]
fn an_effect_that_is_refused_tells_the_flow_why() {
    let mut list = stage("gig");
    let link = StreamOp::Link { what: "https://there.example/x".into(), title: None };
    assert_eq!(heard(&list.take(effect("k", link)).unwrap()), Some(Err("there is nothing at gig".into())));
    let changes = json!({ "category": "loud" }).as_object().unwrap().clone();
    list.take(Command::Create(article())).unwrap();
    let refused = heard(&list.take(effect("l", StreamOp::UpdateObject { changes })).unwrap());
    assert!(refused.unwrap().unwrap_err().contains("category"));
}

#[test]
fn what_is_linked_stands_in_the_collection_in_order_of_time() {
    let mut calendar = stage("calendars/main");
    calendar.take(Command::Create(create("calendar", json!({ "title": "Main" })))).unwrap();
    for (key, what) in [("k", "https://there.example/b"), ("l", "https://there.example/a")] {
        calendar.wait(Duration::from_secs(1));
        let link = StreamOp::Link { what: what.into(), title: None };
        heard(&calendar.take(effect(key, link)).unwrap()).unwrap().unwrap();
    }
    let mut event = stage("gig");
    event.rows = std::mem::take(&mut calendar.rows);
    event.now = calendar.now.plus(Duration::from_secs(1));
    event.take(effect("m", make("Gig", Some("calendars/main")))).unwrap();
    let linked: Vec<String> = event.entries::<Linked>(Index::Linked).into_iter().map(|linked| linked.what).collect();
    assert_eq!(linked, ["https://there.example/b", "https://there.example/a", "https://here.example/gig"]);
}

fn asking(key: &str) -> (Command, Command) {
    let (target, to) = (iri("https://there.example/calendars/main"), iri("https://there.example/actor"));
    let ask = Command::Ask { flow: "f".into(), place: place(&format!("{key}/do")), target, to };
    (ask, Command::Unask { flow: "f".into(), place: place(&format!("{key}/undo")) })
}

/// The verbs of the letters that a turn logs for the peer, by how many outbox messages it sends.
fn verbs(stage: &Stage<Stream>) -> Vec<Verb> {
    let made: Vec<crate::actors::log::Entry> = stage.entries(Index::Activities);
    made.into_iter().map(|entry| entry.verb).filter(|verb| matches!(verb, Verb::Allocate | Verb::Undo)).collect()
}

fn answer_to(taken: &Taken<Stream>, accepted: bool) -> Command {
    let Some(Event::Allocated { activity, .. }) = taken.events.first() else { panic!("it was allocated") };
    Command::Answered {
        activity: activity.clone(),
        accepted,
        result: Some(iri("https://there.example/x")),
        words: None,
    }
}

fn words(taken: &Taken<Stream>) -> Vec<flow::Command> {
    taken.told::<Flow>().into_iter().map(|(_, command)| command).collect()
}

#[test]
fn a_step_that_asks_asks_once_and_hears_the_answer() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (ask, _) = asking("f/1/q/-");
    let asked = stage.take(ask.clone()).unwrap();
    assert_eq!((verbs(&stage), stage.take(ask).unwrap().messages()), (vec![Verb::Allocate], 0));
    let answered = stage.take(answer_to(&asked, true)).unwrap();
    assert!(matches!(&words(&answered)[..], [flow::Command::Done(done)]
        if done.key == "f/1/q/-/do" && done.result["result"] == "https://there.example/x"));
    assert_eq!(stage.take(answer_to(&asked, false)).unwrap().messages(), 0, "the first answer counts");
}

#[test]
fn a_step_that_is_told_no_says_why() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (ask, _) = asking("f/1/q/-");
    let asked = stage.take(ask).unwrap();
    let no = match answer_to(&asked, false) {
        Command::Answered { activity, .. } => {
            Command::Answered { activity, accepted: false, result: None, words: Some("all seats are taken".into()) }
        }
        other => other,
    };
    let answered = words(&stage.take(no).unwrap());
    assert!(
        matches!(&answered[..], [flow::Command::Failed(failed)]
        if failed.reason.ends_with("said no: all seats are taken")),
        "{answered:?}"
    );
}

#[test]
fn an_offer_that_was_taken_back_answers_a_late_accept_by_another_undo() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (ask, unask) = asking("f/1/q/-");
    let asked = stage.take(ask).unwrap();
    stage.take(unask).unwrap();
    assert_eq!(verbs(&stage), [Verb::Allocate, Verb::Undo]);
    let late = stage.take(answer_to(&asked, true)).unwrap();
    assert_eq!((verbs(&stage).len(), words(&late).len()), (3, 0));
}

/// The ulid of the Undo that a turn sends.
fn undo_of(taken: &Taken<Stream>) -> String {
    let sent = taken.told::<Outbox>().into_iter();
    let mut undos = sent.filter_map(|(_, command)| match command {
        outbox::Command::Send { activity, tell: true, .. } => Some(activity),
        _ => None,
    });
    undos.next().expect("an Undo leaves, and somebody hears what becomes of it")
}

#[test]
fn an_offer_is_taken_back_when_they_say_so_and_not_when_the_undo_has_left() {
    for accepted in [true, false] {
        let mut stage = stage("gig");
        stage.take(Command::Create(article())).unwrap();
        let (ask, unask) = asking("f/1/q/-");
        stage.take(ask).unwrap();
        let taken = stage.take(unask.clone()).unwrap();
        assert!(words(&taken).is_empty(), "nobody has accepted it");
        let again = stage.take(unask).unwrap();
        assert_eq!(verbs(&stage).len(), 3, "who asks again has not heard");
        let answer = Command::Answered { activity: undo_of(&again), accepted, result: None, words: None };
        let heard = stage.take(answer.clone()).unwrap();
        match &words(&heard)[..] {
            [flow::Command::Done(done)] if accepted => assert_eq!(done.key, "f/1/q/-/undo"),
            [flow::Command::Failed(failed)] if !accepted => assert!(failed.person && !failed.again),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.take(answer).unwrap().messages(), 0, "the first word counts");
        let first = Command::Answered { activity: undo_of(&taken), accepted: true, result: None, words: None };
        assert!(matches!(&words(&stage.take(first).unwrap())[..], [flow::Command::Done(_)]), "of either Undo");
    }
}

#[test]
fn an_undo_that_does_not_arrive_stops_the_step_and_an_answer_after_all_still_counts() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (ask, unask) = asking("f/1/q/-");
    stage.take(ask).unwrap();
    let activity = undo_of(&stage.take(unask).unwrap());
    let reason = "no answer, for 7 days".to_owned();
    let lost = Command::Undelivered { activity: activity.clone(), reason, refused: false };
    assert!(matches!(&words(&stage.take(lost).unwrap())[..], [flow::Command::Failed(failed)]
        if failed.person && failed.key == "f/1/q/-/undo" && failed.reason.contains("7 days")));
    let after_all = Command::Answered { activity, accepted: true, result: None, words: None };
    assert!(matches!(&words(&stage.take(after_all).unwrap())[..], [flow::Command::Done(_)]));
}

#[test]
fn an_offer_that_does_not_arrive_fails_its_step_and_an_accept_after_all_is_answered_by_an_undo() {
    for refused in [true, false] {
        let mut stage = stage("gig");
        stage.take(Command::Create(article())).unwrap();
        let (ask, _) = asking("f/1/q/-");
        let asked = stage.take(ask).unwrap();
        let Some(Event::Allocated { activity, .. }) = asked.events.first().cloned() else { panic!("it was allocated") };
        let lost = Command::Undelivered { activity, reason: "answered 404".into(), refused };
        let heard = words(&stage.take(lost.clone()).unwrap());
        assert!(matches!(&heard[..], [flow::Command::Failed(failed)]
            if failed.lost != refused && !failed.again && failed.reason.contains("answered 404")));
        assert_eq!(stage.take(lost).unwrap().messages(), 0);
        let late = stage.take(answer_to(&asked, true)).unwrap();
        assert_eq!((verbs(&stage), words(&late).len()), (vec![Verb::Allocate, Verb::Undo], 0));
    }
}

#[test]
fn an_offer_that_was_taken_back_before_it_was_made_is_never_made() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let (ask, unask) = asking("f/1/q/-");
    stage.take(unask).unwrap();
    let refused = stage.take(ask).unwrap();
    assert!(verbs(&stage).is_empty());
    assert!(matches!(&words(&refused)[..], [flow::Command::Failed(failed)] if !failed.again));
}

#[test]
fn an_undo_that_comes_first_leaves_a_mark_that_refuses_the_doing() {
    let mut stage = stage("gig");
    let undo = || {
        let (op, place) = (make("gig", None), place("f/1/a/-/undo"));
        Command::Undo(Box::new(Undo { flow: "f".into(), place, op, result: None }))
    };
    let first = stage.take(undo()).unwrap();
    assert!(matches!(&words(&first)[..], [flow::Command::Done(_)]));
    let late = stage.take(effect("f/1/a/-/do", make("gig", None))).unwrap();
    assert!(matches!(&words(&late)[..], [flow::Command::Failed(_)]) && stage.state.kind.is_none());
    assert!(matches!(&words(&stage.take(undo()).unwrap())[..], [flow::Command::Done(_)]));
}

#[test]
fn an_update_that_is_taken_back_leaves_the_fields_as_they_were() {
    let mut stage = stage("gig");
    stage.take(Command::Create(article())).unwrap();
    let op = StreamOp::UpdateObject { changes: json!({ "title": "Other" }).as_object().unwrap().clone() };
    let place = |role: &str| place(&format!("f/1/a/-/{role}"));
    let update = Command::Effect { flow: "f".into(), place: place("do"), op: op.clone(), tries: 0, undo: true };
    stage.take(update).unwrap();
    stage.take(Command::Undo(Box::new(Undo { flow: "f".into(), place: place("undo"), op, result: None }))).unwrap();
    let objects: Vec<Object> = stage.entries(Index::Objects);
    assert_eq!(objects[0].fields["title"], "Gig night");
}
