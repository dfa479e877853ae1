//! The rules of what arrives: taken once, refused with a reason, or not wanted; and handed to those concerned.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::actors::entity::ActorId;
use crate::actors::errands::Recipient;
use crate::actors::flow::{self, Flow, Origin};
use crate::actors::outbox::{self, Outbox};
use crate::actors::stage::{Stage, Taken, iri};
use crate::domains::object::Object;

const THEY: &str = "https://there.example/actor";
const DECLARED: &str = r#"
[type.article]
as = "Article"
fields.name = { kind = "text" }
remote.create = { run = "seen", from = "anyone" }
remote.update = { run = "seen", from = "following" }

[type.calendar]
as = "Collection"
fields.name = { kind = "text" }
remote.allocate = { run = "seen", from = "followers" }
remote.create = { run = "seen", from = ["friend.example"] }

[type.plain]
as = "Note"
fields.name = { kind = "text" }

[flow.seen]
steps.tell = { effect = "notify", with = { text = "'seen'" } }
"#;

fn stage() -> Stage<Inbox> {
    Stage::new("there.example", DECLARED)
}

fn context() -> Value {
    json!(["https://www.w3.org/ns/activitystreams", { "Allocate": "urn:quickbeam:ns#Allocate" }])
}

fn activity(id: &str, verb: &str, object: Value) -> Value {
    json!({
        "@context": context(), "id": format!("https://there.example/{id}"), "type": verb, "actor": THEY,
        "object": object,
    })
}

fn article(id: &str) -> Value {
    json!({ "id": format!("https://there.example/{id}"), "type": "Article", "attributedTo": THEY, "name": "Gig" })
}

fn with(mut activity: Value, name: &str, value: Value) -> Value {
    activity[name] = value;
    activity
}

fn local(id: Option<&Value>) -> Option<String> {
    let id = id?.as_str().or_else(|| id?.get("id")?.as_str())?;
    Some(id.strip_prefix("https://here.example/")?.to_owned())
}

/// As the wire hands it in once it is verified.
fn receive(raw: &Value) -> Command {
    Command::Receive(Box::new(Received {
        activity: Activity::from_value(raw.clone()).unwrap(),
        body: serde_json::to_vec(raw).unwrap().into(),
        inbox: iri("https://there.example/inbox"),
        shared_inbox: None,
        signed: None,
        about: local(raw.get("object")),
        target: local(raw.get("target")),
        reply_to: None,
    }))
}

impl Stage<Inbox> {
    fn receipt(&mut self, raw: &Value) -> Receipt {
        self.take(receive(raw)).unwrap().reply
    }

    fn refusal(&mut self, raw: &Value) -> Rejection {
        let rows = self.rows.len();
        let refused = self.take(receive(raw)).err().expect("it is refused");
        assert_eq!(self.rows.len(), rows, "a refusal leaves no trace");
        refused
    }

    fn ignores(&mut self, raw: &Value) {
        let rows = self.rows.len();
        let taken = self.take(receive(raw)).unwrap();
        assert_eq!((taken.reply, taken.messages(), self.rows.len()), (Receipt::Ignored, 0, rows), "{raw}");
    }

    fn followed(&mut self) {
        self.following(following::Status::Accepted);
    }

    fn following(&mut self, status: following::Status) {
        let owner = ActorId::of::<Following>(THEY);
        let listed = following::Listed { actor: iri(THEY), status, since: self.now };
        self.entry(&owner, Index::Following, parts([THEY]), &listed);
    }

    fn follower(&mut self, status: follower::Status) {
        let owner = ActorId::of::<Follower>(THEY);
        let listed = follower::Listed { actor: iri(THEY), status, since: self.now };
        self.entry(&owner, Index::FollowersByActor, parts([THEY]), &listed);
    }

    /// Something of ours at this address.
    fn ours(&mut self, path: &str, kind: &str) {
        let declared = self.world.catalog.object_type(kind).unwrap();
        let object = Object::new(declared, path.to_owned(), serde_json::Map::new(), self.world.actor.clone(), self.now);
        let owner = ActorId::of::<Stream>(stream::object_stream(path));
        self.entry(&owner, Index::Objects, parts([path]), &object);
    }

    /// An activity of ours that went to `asked`.
    fn made(&mut self, ulid: &str, owner: &ActorId, verb: &str, asked: &str) {
        let raw = json!({
            "@context": context(), "id": format!("https://here.example/activities/{ulid}"), "type": verb,
            "actor": "https://here.example/actor", "object": THEY,
        });
        let entry = log::Entry::made(&Activity::from_value(raw).unwrap(), self.now, Some(iri(asked)));
        self.entry(owner, Index::Activities, parts([ulid]), &entry);
    }
}

fn started(taken: &Taken<Inbox>) -> Vec<(String, flow::Start)> {
    let told = taken.told::<Flow>();
    told.into_iter()
        .map(|(key, command)| match command {
            flow::Command::Start(start) => (key, *start),
            other => panic!("only starts: {other:?}"),
        })
        .collect()
}

// Once

#[test]
fn the_same_activity_has_the_same_answer_and_no_effect() {
    let mut inbox = stage();
    let raw = activity("1", "Create", article("gig"));
    let first = inbox.take(receive(&raw)).unwrap();
    assert_eq!((first.reply, started(&first).len()), (Receipt::Taken, 1));
    let again = inbox.take(receive(&raw)).unwrap();
    assert_eq!((again.reply, again.messages(), again.events.len()), (Receipt::Repeated, 0, 0));
    assert_eq!(inbox.entries::<log::Entry>(Index::Activities).len(), 1);
}

#[test]
fn the_same_id_with_another_body_is_refused() {
    let mut inbox = stage();
    inbox.receipt(&activity("1", "Create", article("gig")));
    let other = inbox.refusal(&activity("1", "Create", article("another")));
    assert!(matches!(other, Rejection::OtherBody(_)));
}

#[test]
fn what_was_published_before_anybody_remembers_is_refused() {
    let mut inbox = stage();
    let published = |age: Duration| json!(Time(1_800_000_000_000).minus(age).to_string());
    let day = Duration::from_secs(86_400);
    let old = with(activity("1", "Create", article("gig")), "published", published(91 * day));
    assert!(matches!(inbox.refusal(&old), Rejection::TooOld { .. }));
    let recent = with(activity("2", "Create", article("gig")), "published", published(89 * day));
    assert_eq!(inbox.receipt(&recent), Receipt::Taken);
}

// Follow, Undo

#[test]
fn a_follow_of_this_node_reaches_the_follower_and_one_of_another_is_not_wanted() {
    let mut inbox = stage();
    let taken = inbox.take(receive(&activity("1", "Follow", json!("https://here.example/actor")))).unwrap();
    let told = taken.told::<Follower>();
    assert!(matches!(&told[..], [(key, follower::Command::Follow(_))] if key == THEY));
    inbox.ignores(&activity("2", "Follow", json!("https://elsewhere.example/actor")));
}

#[test]
fn undo_of_a_follow_reaches_the_follower() {
    let mut inbox = stage();
    inbox.receipt(&activity("1", "Follow", json!("https://here.example/actor")));
    let taken = inbox.take(receive(&activity("2", "Undo", json!("https://there.example/1")))).unwrap();
    let told = taken.told::<Follower>();
    assert!(matches!(&told[..], [(key, follower::Command::Undo { .. })] if key == THEY));
}

/// A Follow counts for longer than its id is remembered.
#[test]
fn undo_of_a_forgotten_follow_by_its_id_reaches_the_follower() {
    let undo = |inbox: &mut Stage<Inbox>, id: &str, object: Value| {
        let taken = inbox.take(receive(&activity(id, "Undo", object))).unwrap();
        taken
            .told::<Follower>()
            .into_iter()
            .map(|(key, command)| (key, format!("{command:?}")))
            .collect::<Vec<(String, String)>>()
    };
    let mut inbox = stage();
    let forgotten = || json!("https://there.example/1");
    assert_eq!(undo(&mut inbox, "2", forgotten()), [], "nobody there follows");
    inbox.follower(follower::Status::Accepted);
    let told = undo(&mut inbox, "3", forgotten());
    let [(key, command)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(key, THEY);
    assert!(command.starts_with("UndoId") && command.contains("https://there.example/1"), "{command}");
    let like = with(activity("4", "Like", json!("https://here.example/x")), "object", json!("https://here.example/x"));
    assert_eq!(undo(&mut inbox, "5", like), [], "what says that it is no Follow is none");
}

#[test]
fn undo_of_what_somebody_else_did_is_refused() {
    let mut inbox = stage();
    inbox.receipt(&activity("1", "Follow", json!("https://here.example/actor")));
    let undo = with(activity("2", "Undo", json!("https://there.example/1")), "actor", json!("https://there.example/b"));
    assert!(matches!(inbox.refusal(&undo), Rejection::NotYours(_)));
    let elsewhere = activity("3", "Undo", json!("https://elsewhere.example/1"));
    assert!(matches!(inbox.refusal(&elsewhere), Rejection::NotYours(_)));
    let itself = activity("4", "Undo", json!("https://there.example/4"));
    assert!(matches!(inbox.refusal(&itself), Rejection::NotYours(_)));
}

fn embedded(id: &str, actor: Value, object: &str) -> Value {
    json!({ "id": format!("https://there.example/{id}"), "type": "Follow", "actor": actor, "object": object })
}

/// Lemmy gives the Follow in its Undo an id that it has made for it.
#[test]
fn undo_of_a_follow_under_a_new_id_reaches_the_follower_and_leaves_a_mark() {
    const US: &str = "https://here.example/actor";
    for actor in [json!(THEY), json!({ "id": THEY, "type": "Person" }), Value::Null] {
        let mut inbox = stage();
        inbox.receipt(&activity("1", "Follow", json!(US)));
        for undo in ["2", "3"] {
            let taken = inbox.take(receive(&activity(undo, "Undo", embedded("new", actor.clone(), US)))).unwrap();
            let told = taken.told::<Follower>();
            let [(key, follower::Command::Undo { follow })] = &told[..] else { panic!("{actor}: {told:?}") };
            assert_eq!((key.as_str(), follow.as_str()), (THEY, "https://there.example/new"));
        }
        assert_eq!(said(&inbox), [], "nobody is answered");
        let late = inbox.take(receive(&activity("new", "Follow", json!(US)))).unwrap();
        assert_eq!((late.reply, late.messages()), (Receipt::Taken, 0), "the Follow that comes late");
    }
}

#[test]
fn undo_of_a_follow_of_somebody_else_or_by_somebody_else_reaches_nobody() {
    let (us, another) = ("https://here.example/actor", "https://there.example/b");
    let mut inbox = stage();
    for (undo, follow) in [
        ("2", embedded("new2", json!(another), us)),
        ("3", embedded("new3", json!(THEY), another)),
        ("4", with(embedded("new4", json!(THEY), us), "type", json!("Like"))),
        ("5", with(embedded("new5", json!(THEY), us), "object", json!([us, another]))),
        ("6", embedded("new6", json!(["?"]), us)),
    ] {
        let taken = inbox.take(receive(&activity(undo, "Undo", follow.clone()))).unwrap();
        assert_eq!((taken.reply, taken.messages()), (Receipt::Taken, 0), "{follow}");
    }
}

#[test]
fn what_was_undone_before_it_came_has_no_effect() {
    let mut inbox = stage();
    inbox.receipt(&activity("9", "Undo", json!("https://there.example/1")));
    let follow = activity("1", "Follow", json!("https://here.example/actor"));
    let taken = inbox.take(receive(&follow)).unwrap();
    assert_eq!((taken.reply, taken.messages()), (Receipt::Taken, 0));
    assert_eq!(inbox.receipt(&follow), Receipt::Repeated);
}

#[test]
fn an_allocate_that_was_undone_before_it_came_is_answered_no() {
    let mut inbox = stage();
    inbox.ours("calendars/main", "calendar");
    inbox.follower(follower::Status::Accepted);
    inbox.receipt(&activity("9", "Undo", json!("https://there.example/1")));
    let taken = inbox.take(receive(&allocate("1"))).unwrap();
    assert!(started(&taken).is_empty());
    assert_eq!(taken.told::<Outbox>().len(), 1);
}

/// The mark of an Undo stands for what its own actor does, not for a neighbour on the same server.
#[test]
fn nobody_undoes_for_a_neighbour_in_advance() {
    let mut inbox = stage();
    let undo = with(activity("9", "Undo", json!("https://there.example/1")), "actor", json!("https://there.example/b"));
    inbox.receipt(&undo);
    let taken = inbox.take(receive(&activity("1", "Follow", json!("https://here.example/actor")))).unwrap();
    assert_eq!(taken.told::<Follower>().len(), 1);
}

#[test]
fn undo_of_an_allocate_cancels_its_flow() {
    let mut inbox = stage();
    inbox.ours("calendars/main", "calendar");
    inbox.follower(follower::Status::Accepted);
    let started = started(&inbox.take(receive(&allocate("1"))).unwrap());
    let undone = inbox.take(receive(&activity("2", "Undo", json!("https://there.example/1")))).unwrap();
    let told = undone.told::<Flow>();
    assert!(matches!(&told[..], [(key, flow::Command::TakeBack { .. })] if *key == started[0].0));
}

/// What is said of an Undo at once, by verb and object; nothing while a flow has to be undone first.
fn said(inbox: &Stage<Inbox>) -> Vec<(Verb, String)> {
    let made = inbox.entries::<log::Entry>(Index::Activities).into_iter().filter(|it| it.way == Way::Made);
    made.map(|it| (it.verb, it.object.as_str().to_owned())).collect()
}

#[test]
fn undo_of_an_allocate_is_accepted_at_once_where_nothing_is_left_of_it_and_else_by_its_flow() {
    let undo = |id: &str, of: &str| {
        activity(id, "Undo", json!({ "id": format!("https://there.example/{of}"), "type": "Allocate" }))
    };
    let id = |id: &str| format!("https://there.example/{id}");
    let mut inbox = stage();
    inbox.receipt(&undo("9", "1"));
    inbox.receipt(&undo("8", "1"));
    assert_eq!(said(&inbox), [(Verb::Accept, id("9")), (Verb::Accept, id("8"))], "one that has not come");
    inbox.receipt(&allocate("1"));
    inbox.receipt(&undo("7", "1"));
    assert_eq!(said(&inbox)[2..], [(Verb::Reject, id("1")), (Verb::Accept, id("7"))], "one that came too late");
    let mut inbox = stage();
    inbox.receipt(&with(allocate("1"), "target", json!("https://here.example/calendars/none")));
    inbox.receipt(&undo("2", "1"));
    assert_eq!(said(&inbox), [(Verb::Reject, id("1")), (Verb::Accept, id("2"))], "one that was refused");
    let mut inbox = stage();
    inbox.ours("calendars/main", "calendar");
    inbox.follower(follower::Status::Accepted);
    inbox.receipt(&allocate("1"));
    let told = inbox.take(receive(&undo("2", "1"))).unwrap().told::<Flow>();
    let [(_, flow::Command::TakeBack { petition: Some(petition), .. })] = &told[..] else { panic!("its flow is told") };
    assert_eq!((petition.activity.as_str(), petition.of.as_str()), (id("2").as_str(), id("1").as_str()));
    assert_eq!(said(&inbox), []);
    let mut inbox = stage();
    inbox.receipt(&activity("9", "Undo", json!({ "id": id("1"), "type": "Follow" })));
    assert_eq!(said(&inbox), [], "an Undo of something else is answered nothing");
}

// Allocate

fn allocate(id: &str) -> Value {
    with(activity(id, "Allocate", article("gig")), "target", json!("https://here.example/calendars/main"))
}

#[test]
fn an_allocate_starts_the_flow_of_our_type_of_the_target_which_answers() {
    let mut inbox = stage();
    inbox.ours("calendars/main", "calendar");
    inbox.follower(follower::Status::Accepted);
    let started = started(&inbox.take(receive(&allocate("1"))).unwrap());
    assert_eq!(started[0].1.name, "seen");
    assert!(matches!(&started[0].1.origin, Origin::Remote { answer: true, .. }));
}

#[test]
fn an_allocate_of_a_stranger_is_refused() {
    for known in [None, Some(follower::Status::Asked)] {
        let mut inbox = stage();
        inbox.ours("calendars/main", "calendar");
        if let Some(status) = known {
            inbox.follower(status);
        }
        let Rejection::NotAllowed { wanted, .. } = inbox.refusal(&allocate("1")) else { panic!("not allowed") };
        assert_eq!(wanted, "a follower of this node");
    }
}

#[test]
fn an_allocate_of_an_unknown_target_is_answered_no() {
    let mut inbox = stage();
    inbox.ours("plain", "plain");
    for (id, target) in [("1", "https://here.example/calendars/none"), ("2", "https://here.example/plain")] {
        let taken = inbox.take(receive(&with(allocate(id), "target", json!(target)))).unwrap();
        assert_eq!(taken.reply, Receipt::Taken);
        let told = taken.told::<Outbox>();
        let [(peer, outbox::Command::Send { to: Recipient::Inbox(to), .. })] = &told[..] else { panic!("one letter") };
        assert_eq!((peer.as_str(), to.as_str()), ("there.example", "https://there.example/inbox"));
    }
    let rejects = inbox.entries::<log::Entry>(Index::Activities).into_iter().filter(|it| it.verb == Verb::Reject);
    assert_eq!(
        rejects.map(|it| it.object).collect::<Vec<_>>(),
        [iri("https://there.example/1"), iri("https://there.example/2")]
    );
    inbox.ignores(&with(allocate("3"), "target", json!("https://elsewhere.example/calendar")));
}

// Accept, Reject

#[test]
fn an_answer_counts_from_the_one_who_was_asked() {
    for (verb, accepted) in [("Accept", true), ("Reject", false)] {
        let mut inbox = stage();
        inbox.made("01A", &ActorId::of::<Following>(THEY), "Follow", THEY);
        inbox.made("01B", &ActorId::of::<Stream>("object/gig"), "Allocate", THEY);
        let taken = inbox.take(receive(&activity("1", verb, json!("https://here.example/activities/01A")))).unwrap();
        let told = taken.told::<Following>();
        let [(key, following::Command::Answered { accepted: heard, .. })] = &told[..] else { panic!("it hears it") };
        assert_eq!((key.as_str(), *heard), (THEY, accepted));
        let answer = with(
            activity("2", verb, json!("https://here.example/activities/01B")),
            "result",
            json!("https://there.example/event"),
        );
        let told = inbox.take(receive(&answer)).unwrap().told::<Stream>();
        let [(key, stream::Command::Answered { activity, result, .. })] = &told[..] else { panic!("it hears it") };
        assert_eq!((key.as_str(), activity.as_str()), ("object/gig", "01B"));
        assert_eq!(result.as_ref().unwrap().as_str(), "https://there.example/event");
    }
}

#[test]
fn an_answer_of_somebody_who_was_not_asked_is_refused() {
    let mut inbox = stage();
    inbox.made("01A", &ActorId::of::<Following>(THEY), "Follow", "https://there.example/another");
    for about in ["activities/01A", "activities/none", "gig"] {
        let answer = activity("1", "Accept", json!(format!("https://here.example/{about}")));
        assert!(matches!(inbox.refusal(&answer), Rejection::NotAsked(_)), "{about}");
    }
    inbox.ignores(&activity("1", "Accept", json!("https://elsewhere.example/activities/1")));
}

/// What others sent stands in the same log; an answer to that is none to us.
#[test]
fn an_answer_to_what_was_received_is_refused() {
    let mut inbox = stage();
    let raw = activity("1", "Follow", json!("https://here.example/actor"));
    let entry = log::Entry::received(&Activity::from_value(raw).unwrap(), inbox.now, Bytes::new(), None);
    let entry = log::Entry { asked: Some(iri(THEY)), ..entry };
    inbox.entry(&ActorId::of::<Inbox>("there.example"), Index::Activities, parts(["01A"]), &entry);
    let answer = activity("2", "Accept", json!("https://here.example/activities/01A"));
    assert!(matches!(inbox.refusal(&answer), Rejection::NotAsked(_)));
}

#[test]
fn a_result_elsewhere_is_refused() {
    let mut inbox = stage();
    inbox.made("01B", &ActorId::of::<Stream>("object/gig"), "Allocate", THEY);
    let answer = activity("1", "Accept", json!("https://here.example/activities/01B"));
    let answer = with(answer, "result", json!("https://elsewhere.example/event"));
    assert!(matches!(inbox.refusal(&answer), Rejection::ResultElsewhere(_)));
}

// Create, Update, Delete

#[test]
fn the_flow_of_an_activity_has_an_id_that_derives_from_it() {
    let start =
        |id: &str| started(&stage().take(receive(&activity(id, "Create", article("gig")))).unwrap())[0].0.clone();
    assert_eq!(start("1"), start("1"));
    assert_ne!(start("1"), start("2"));
}

#[test]
fn changes_of_what_belongs_to_another_are_refused() {
    let mut inbox = stage();
    inbox.followed();
    let elsewhere = json!({ "id": "https://elsewhere.example/gig", "type": "Article" });
    let foreign = activity("1", "Create", elsewhere);
    assert!(matches!(inbox.refusal(&foreign), Rejection::NotYourObject { .. }));
    let neighbour = with(article("gig"), "attributedTo", json!("https://there.example/b"));
    assert!(matches!(inbox.refusal(&activity("2", "Create", neighbour)), Rejection::NotYourObject { .. }));
    inbox.receipt(&activity("3", "Create", article("gig")));
    for verb in ["Update", "Delete"] {
        // Whatever the neighbour says whose it is: what was stored counts.
        let object = with(article("gig"), "attributedTo", json!("https://there.example/b"));
        let theirs = with(activity("4", verb, object), "actor", json!("https://there.example/b"));
        assert!(matches!(inbox.refusal(&theirs), Rejection::NotYourObject { .. }), "{verb}");
    }
}

#[test]
fn changes_of_what_is_not_held_here_are_not_wanted() {
    let mut inbox = stage();
    inbox.followed();
    inbox.ignores(&activity("1", "Update", article("gig")));
    inbox.ignores(&activity("2", "Delete", article("gig")));
    inbox.receipt(&activity("3", "Create", article("gig")));
    assert_eq!(inbox.receipt(&activity("4", "Delete", article("gig"))), Receipt::Taken);
    inbox.ignores(&activity("5", "Update", article("gig")));
}

#[test]
fn a_behaviour_fires_only_for_those_whom_it_is_for() {
    let mut inbox = stage();
    inbox.receipt(&activity("1", "Create", article("gig")));
    inbox.ignores(&activity("2", "Update", article("gig")));
    inbox.followed();
    assert_eq!(started(&inbox.take(receive(&activity("3", "Update", article("gig")))).unwrap()).len(), 1);
}

#[test]
fn what_comes_right_behind_an_accept_is_heard_and_who_does_not_answer_is_not() {
    use following::Status::{Asked, Rejected, Unanswered};
    for (status, expected) in [(Asked, Receipt::Taken), (Unanswered, Receipt::Ignored), (Rejected, Receipt::Ignored)] {
        let mut inbox = stage();
        inbox.following(status);
        let create = activity("1", "Create", json!({ "id": "https://there.example/gig", "type": "Event" }));
        assert_eq!(inbox.receipt(&create), expected, "{status:?}");
    }
}

#[test]
fn what_those_we_follow_make_is_kept_also_when_nothing_runs_on_it() {
    let note = json!({ "id": "https://there.example/note", "type": "Note", "attributedTo": THEY });
    let unknown = with(note.clone(), "type", json!("Video"));
    for object in [note, unknown] {
        let mut inbox = stage();
        inbox.ignores(&activity("1", "Create", object.clone()));
        inbox.followed();
        let taken = inbox.take(receive(&activity("1", "Create", object))).unwrap();
        assert_eq!((taken.reply, taken.messages()), (Receipt::Taken, 0));
    }
}

/// `remote.create` of our calendar is for friends; somebody else who names it is told so.
#[test]
fn a_create_that_names_a_target_of_ours_obeys_the_targets_behaviour() {
    let mut inbox = stage();
    inbox.ours("calendars/main", "calendar");
    let target =
        |id| with(activity(id, "Create", article("gig")), "target", json!("https://here.example/calendars/main"));
    let Rejection::NotAllowed { wanted, .. } = inbox.refusal(&target("1")) else { panic!("not allowed") };
    assert_eq!(wanted, "one of friend.example");
}

#[test]
fn unknown_verbs_are_not_wanted() {
    stage().ignores(&activity("1", "Flag", json!("https://here.example/gig")));
}

#[test]
fn an_account_that_is_deleted_follows_nobody_and_is_followed_by_nobody() {
    let gone = || activity("1", "Delete", json!(THEY));
    stage().ignores(&gone());
    let mut inbox = stage();
    inbox.followed();
    inbox.follower(follower::Status::Accepted);
    let taken = inbox.take(receive(&gone())).unwrap();
    assert!(matches!(taken.told::<Follower>()[..], [(_, follower::Command::Gone { .. })]));
    assert!(matches!(taken.told::<Following>()[..], [(_, following::Command::Sever { .. })]));
}

#[test]
fn a_change_of_an_account_has_it_looked_at_and_is_not_believed() {
    let changed = |id| activity(id, "Update", json!({ "id": THEY, "type": "Person", "inbox": "https://b.example/in" }));
    stage().ignores(&changed("1"));
    let mut inbox = stage();
    inbox.followed();
    let taken = inbox.take(receive(&changed("1"))).unwrap();
    assert_eq!((taken.reply, taken.messages()), (Receipt::Taken, 0), "nothing is kept of whom we follow");
    for status in [follower::Status::Asked, follower::Status::Accepted] {
        let mut inbox = stage();
        inbox.follower(status);
        let taken = inbox.take(receive(&changed("1"))).unwrap();
        let told = taken.told::<Follower>();
        assert!(matches!(&told[..], [(key, follower::Command::Changed { tries: 0 })] if key == THEY), "{told:?}");
        let neighbour = with(changed("2"), "actor", json!("https://there.example/b"));
        assert_eq!(inbox.take(receive(&neighbour)).unwrap().messages(), 0, "nobody for another");
    }
}

#[test]
fn nobody_deletes_the_account_of_another() {
    let mut inbox = stage();
    inbox.follower(follower::Status::Accepted);
    inbox.followed();
    let neighbour = with(activity("1", "Delete", json!(THEY)), "actor", json!("https://there.example/b"));
    let taken = inbox.take(receive(&neighbour)).unwrap();
    assert_eq!((taken.reply, taken.messages()), (Receipt::Ignored, 0));
}

#[test]
fn whom_this_node_follows_may_move_and_nobody_else_for_them() {
    let moves = |object: &str| with(activity("1", "Move", json!(object)), "target", json!("https://new.example/they"));
    stage().ignores(&moves(THEY));
    let mut inbox = stage();
    inbox.followed();
    assert!(matches!(inbox.refusal(&moves("https://there.example/b")), Rejection::NotYours(_)));
    let to_nowhere = activity("2", "Move", json!(THEY));
    inbox.ignores(&to_nowhere);
    let taken = inbox.take(receive(&moves(THEY))).unwrap();
    let told = taken.told::<Following>();
    let [(key, following::Command::Moved { to, tries: 0 })] = &told[..] else { panic!("{told:?}") };
    assert_eq!((key.as_str(), to.as_str()), (THEY, "https://new.example/they"));
}
