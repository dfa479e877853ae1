//! The rules of likes, shares and replies: each counted once for each who gives it, and gone when it is taken back.

use serde_json::{Value, json};

use super::*;
use crate::actors::stage::{Stage, Taken, iri};
use crate::actors::stream::Create;
use crate::domains::activity::Activity;

const DECLARED: &str = r#"
[type.article]
as = "Article"
fields.title = { kind = "text" }
"#;

const THEY: &str = "https://there.example/they";

fn stream() -> Stage<Stream> {
    let mut stage = Stage::new("object/gig", DECLARED);
    let (kind, fields) = ("article".to_owned(), json!({ "title": "Gig" }));
    let create = Create { kind, fields, to: Vec::new(), visibility: None, attributed_to: None, into: None };
    stage.take(Command::Create(create)).unwrap();
    stage
}

fn one(by: &str, what: &str) -> Given {
    let (by, what) = (iri(&format!("https://there.example/{by}")), iri(&format!("https://there.example/{what}")));
    Given { by, what, at: Time(0) }
}

impl Stage<Stream> {
    fn gives(&mut self, reaction: Reaction, by: &str, what: &str) -> Tally {
        self.take(Command::React { reaction, given: one(by, what) }).unwrap();
        self.tally()
    }

    fn takes_back(&mut self, reaction: Reaction, by: &str, what: &str) -> Tally {
        self.take(Command::Unreact { reaction, given: one(by, what) }).unwrap();
        self.tally()
    }

    fn tally(&self) -> Tally {
        let key = crate::actors::layout::row(&self.me, &Tally::row());
        self.rows.get(&key).map(|row| crate::actors::record::decode(row).unwrap()).unwrap_or_default()
    }
}

#[test]
fn everybody_likes_and_shares_once_and_replies_as_often_as_they_like() {
    let mut gig = stream();
    assert_eq!(gig.gives(Reaction::Like, "a", "like-1").likes, 1);
    assert_eq!(gig.gives(Reaction::Like, "a", "like-2").likes, 1);
    assert_eq!(gig.gives(Reaction::Like, "b", "like-3").likes, 2);
    assert_eq!(gig.gives(Reaction::Share, "a", "share-1").shares, 1);
    assert_eq!(gig.gives(Reaction::Reply, "a", "note-1").replies, 1);
    assert_eq!(gig.gives(Reaction::Reply, "a", "note-2"), Tally { likes: 2, shares: 1, replies: 2 });
}

#[test]
fn what_is_taken_back_is_the_one_that_stands() {
    let mut gig = stream();
    gig.gives(Reaction::Like, "a", "like-1");
    gig.gives(Reaction::Like, "a", "like-2");
    assert_eq!(gig.takes_back(Reaction::Like, "a", "like-1").likes, 1, "an earlier one stands no more");
    assert_eq!(gig.takes_back(Reaction::Like, "b", "like-2").likes, 1, "nobody takes back for another");
    assert_eq!(gig.takes_back(Reaction::Like, "a", "like-2").likes, 0);
    assert_eq!(gig.takes_back(Reaction::Like, "a", "like-2").likes, 0, "once");
}

#[test]
fn what_is_gone_is_not_liked() {
    let mut gig = stream();
    gig.take(Command::Delete).unwrap();
    assert_eq!(gig.gives(Reaction::Like, "a", "like-1"), Tally::default());
}

fn inbox(visibility: Visibility) -> Stage<Inbox> {
    let mut stage: Stage<Inbox> = Stage::new("there.example", DECLARED);
    let declared = stage.world.catalog.object_type("article").unwrap();
    let object = Object::new(declared, "gig".into(), serde_json::Map::new(), stage.world.actor.clone(), stage.now);
    let owner = super::super::entity::ActorId::of::<Stream>("object/gig");
    stage.entry(&owner, super::super::rows::Index::Objects, parts(["gig"]), &Object { visibility, ..object });
    stage
}

fn activity(id: &str, verb: &str, object: Value) -> Value {
    json!({
        "@context": "https://www.w3.org/ns/activitystreams", "id": format!("https://there.example/{id}"), "type": verb,
        "actor": THEY, "object": object, "to": ["https://www.w3.org/ns/activitystreams#Public"],
    })
}

fn reply(id: &str) -> Value {
    json!({
        "id": format!("https://there.example/{id}"), "type": "Note", "attributedTo": THEY,
        "inReplyTo": "https://here.example/gig",
    })
}

impl Stage<Inbox> {
    fn arrives(&mut self, raw: &Value) -> Taken<Inbox> {
        let activity = Activity::from_value(raw.clone()).unwrap();
        let ours = |iri: &Iri| iri.as_str().strip_prefix("https://here.example/").map(str::to_owned);
        let received = Received {
            about: ours(&activity.object.id),
            reply_to: activity.object.in_reply_to().as_ref().and_then(ours),
            target: None,
            body: serde_json::to_vec(raw).unwrap().into(),
            activity,
            inbox: iri("https://there.example/inbox"),
            shared_inbox: None,
            signed: None,
        };
        self.take(super::super::inbox::Command::Receive(Box::new(received))).unwrap()
    }
}

/// What the stream of the object is told: plus or minus, of what, by which id.
fn told(taken: &Taken<Inbox>) -> Option<(bool, Reaction, String)> {
    match taken.told::<Stream>().pop()? {
        (key, Command::React { reaction, given }) if key == "object/gig" => {
            Some((true, reaction, given.what.as_str().to_owned()))
        }
        (key, Command::Unreact { reaction, given }) if key == "object/gig" => {
            Some((false, reaction, given.what.as_str().to_owned()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_like_a_share_and_a_reply_reach_the_object_and_so_does_their_end() {
    let gig = || json!("https://here.example/gig");
    let id = |id: &str| format!("https://there.example/{id}");
    let mut inbox = inbox(Visibility::Public);
    for (verb, reaction) in [("Like", Reaction::Like), ("Announce", Reaction::Share)] {
        assert_eq!(told(&inbox.arrives(&activity(verb, verb, gig()))), Some((true, reaction, id(verb))));
        let undo = activity(&format!("undo-{verb}"), "Undo", json!(id(verb)));
        assert_eq!(told(&inbox.arrives(&undo)), Some((false, reaction, id(verb))));
    }
    let create = inbox.arrives(&activity("1", "Create", reply("note")));
    assert_eq!((create.reply, told(&create)), (Receipt::Taken, Some((true, Reaction::Reply, id("note")))));
    let update = inbox.arrives(&activity("2", "Update", reply("note")));
    assert_eq!((update.reply, told(&update)), (Receipt::Taken, None), "it is the same reply");
    let delete = inbox.arrives(&activity("3", "Delete", json!({ "id": id("note"), "type": "Tombstone" })));
    assert_eq!(told(&delete), Some((false, Reaction::Reply, id("note"))));
    assert_eq!(inbox.arrives(&activity("4", "Delete", json!(id("note")))).reply, Receipt::Ignored);
}

#[test]
fn what_is_not_here_or_not_for_them_is_not_theirs_to_like() {
    for (visibility, object) in [
        (Visibility::Public, "https://here.example/none"),
        (Visibility::Public, "https://elsewhere.example/gig"),
        (Visibility::Followers, "https://here.example/gig"),
        (Visibility::Direct, "https://here.example/gig"),
    ] {
        let mut inbox = inbox(visibility);
        let taken = inbox.arrives(&activity("1", "Like", json!(object)));
        assert_eq!((taken.reply, taken.messages()), (Receipt::Ignored, 0), "{visibility:?} {object}");
    }
    let mut inbox = inbox(Visibility::Public);
    let mut letter = activity("1", "Create", reply("note"));
    letter["to"] = json!(["https://here.example/actor"]);
    assert_eq!(inbox.arrives(&letter).reply, Receipt::Ignored, "what is not public is not shown among replies");
}

#[test]
fn an_undo_that_comes_first_leaves_nothing_to_count() {
    let mut inbox = inbox(Visibility::Public);
    inbox.arrives(&activity("2", "Undo", json!({ "id": "https://there.example/1", "type": "Like" })));
    let like = inbox.arrives(&activity("1", "Like", json!("https://here.example/gig")));
    assert_eq!((like.reply, like.messages()), (Receipt::Taken, 0));
}
