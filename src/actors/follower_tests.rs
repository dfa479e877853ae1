//! The rules of a follower: asked, accepted, rejected, undone, and nobody there any more.

use std::time::Duration;

use super::*;
use crate::actors::rows::Index;
use crate::actors::stage::{Stage, Taken, iri};
use crate::actors::world::Accept as Takes;

const THEY: &str = "https://there.example/they";

fn stage(takes: Takes) -> Stage<Follower> {
    let mut stage = Stage::new(THEY, "");
    stage.world.accept = takes;
    stage
}

fn follow(id: &str) -> Command {
    follow_at(id, None)
}

fn follow_at(id: &str, shared_inbox: Option<&str>) -> Command {
    Command::Follow(Follow {
        id: iri(id),
        at: Time(1_800_000_000_000),
        inbox: iri("https://there.example/they/inbox"),
        shared_inbox: shared_inbox.map(iri),
    })
}

/// The verb and object of the letter that a turn sends.
fn letter(stage: &Stage<Follower>, taken: &Taken<Follower>) -> Option<(Verb, String, bool)> {
    let told = taken.told::<Outbox>();
    let (peer, outbox::Command::Send { activity, first, .. }) = told.first()? else { panic!("only letters are sent") };
    assert_eq!(peer, "there.example");
    let log: Vec<crate::actors::log::Entry> = stage.entries(Index::Activities);
    let entry = log.into_iter().find(|entry| entry.id.as_str().ends_with(activity.as_str())).unwrap();
    Some((entry.verb, entry.object.as_str().to_owned(), *first))
}

#[test]
fn a_follow_is_accepted_and_the_accept_goes_first() {
    let mut stage = stage(Takes::All);
    let taken = stage.take(follow("https://there.example/1")).unwrap();
    assert_eq!(taken.reply, Status::Accepted);
    assert_eq!(letter(&stage, &taken), Some((Verb::Accept, "https://there.example/1".into(), true)));
    let listed: Vec<Listed> = stage.entries(Index::Followers);
    assert_eq!(listed.iter().map(|it| it.actor.as_str()).collect::<Vec<_>>(), [THEY]);
}

#[test]
fn a_follow_from_a_follower_is_accepted_again_and_lists_it_once() {
    let mut stage = stage(Takes::All);
    stage.take(follow("https://there.example/1")).unwrap();
    let since = stage.entries::<Listed>(Index::Followers)[0].since;
    for again in ["https://there.example/2", "https://there.example/3"] {
        stage.wait(Duration::from_secs(60));
        let taken = stage.take(follow(again)).unwrap();
        assert_eq!(letter(&stage, &taken), Some((Verb::Accept, again.into(), true)));
    }
    let listed: Vec<Listed> = stage.entries(Index::Followers);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].since, since, "it has followed since the first");
}

#[test]
fn a_follower_whose_inbox_moved_is_listed_at_the_new_one_only() {
    let mut stage = stage(Takes::All);
    stage.take(follow_at("https://there.example/1", None)).unwrap();
    stage.take(follow_at("https://there.example/2", Some("https://there.example/shared"))).unwrap();
    assert_eq!(stage.entries::<Listed>(Index::Followers).len(), 1);
}

fn lives_at(inbox: &str, shared_inbox: Option<&str>) -> Report {
    let mailbox = Mailbox { inbox: iri(inbox), shared_inbox: shared_inbox.map(iri) };
    Report::Replied { status: 200, body: serde_json::to_value(mailbox).unwrap() }
}

/// The addresses at which followers are listed, of everywhere.
fn inboxes(stage: &Stage<Follower>) -> Vec<String> {
    let prefix = crate::actors::layout::index_prefix(Index::Followers, &crate::store::Key::default());
    let keys = stage.rows.keys().filter(|key| key.starts_with(&prefix));
    let inbox = |key: &crate::store::Key| {
        let mut parts = key.parts_after(&prefix);
        parts.text().and_then(|_| parts.text()).unwrap()
    };
    keys.map(inbox).collect()
}

#[test]
fn a_follower_whose_document_changed_is_listed_where_that_says_and_hears_nothing() {
    let mut stage = stage(Takes::All);
    stage.take(follow("https://there.example/1")).unwrap();
    let since = stage.entries::<Listed>(Index::Followers)[0].since;
    stage.wait(Duration::from_secs(60));
    let changed = stage.take(Command::Changed { tries: 0 }).unwrap();
    assert_eq!(changed.errands, [Errand::Look { actor: THEY.to_owned(), tries: 0 }]);
    let own = "https://there.example/they/inbox";
    for (inbox, shared, listed) in [
        ("https://new.example/inbox", None, "https://new.example/inbox"),
        ("https://new.example/inbox", Some("https://new.example/shared"), "https://new.example/shared"),
        (own, Some("https://new.example/shared"), "https://new.example/shared"),
        (own, None, own),
    ] {
        let looked = stage.take(Command::Looked { tries: 0, answer: lives_at(inbox, shared) }).unwrap();
        assert_eq!((looked.events.len(), looked.messages(), looked.reply), (1, 0, Status::Accepted));
        assert_eq!(inboxes(&stage), [listed]);
        assert_eq!(stage.entries::<Listed>(Index::Followers)[0].since, since);
        let again = stage.take(Command::Looked { tries: 0, answer: lives_at(inbox, shared) }).unwrap();
        assert!(again.events.is_empty(), "what is as it was is no news");
    }
    stage.take(Command::Undo { follow: iri("https://there.example/1") }).unwrap();
    assert_eq!(inboxes(&stage), [""; 0], "and it leaves from there");
}

#[test]
fn one_that_asked_is_answered_where_its_document_says_and_a_stranger_is_not_looked_at() {
    let mut stage = stage(Takes::Ask);
    assert!(stage.take(Command::Changed { tries: 0 }).unwrap().errands.is_empty());
    let answer = || lives_at("https://there.example/new", None);
    assert!(stage.take(Command::Looked { tries: 0, answer: answer() }).unwrap().events.is_empty());
    stage.take(follow("https://there.example/1")).unwrap();
    assert_eq!(stage.take(Command::Changed { tries: 0 }).unwrap().errands.len(), 1);
    stage.take(Command::Looked { tries: 0, answer: answer() }).unwrap();
    assert_eq!(inboxes(&stage), [""; 0], "it gets nothing yet");
    let told = stage.take(Command::Accept).unwrap().told::<Outbox>();
    let [(_, outbox::Command::Send { to: Recipient::Inbox(to), .. })] = &told[..] else { panic!("{told:?}") };
    assert_eq!(to, "https://there.example/new");
    assert_eq!(inboxes(&stage), ["https://there.example/new"]);
}

#[test]
fn a_document_that_cannot_be_had_is_asked_for_again_ever_later_and_then_left_alone() {
    let mut stage = stage(Takes::All);
    stage.take(follow("https://there.example/1")).unwrap();
    let away = || Report::Unreachable { reason: "down".into() };
    for (tries, seconds) in [(0, 60), (1, 120), (11, 60 << 11)] {
        let looked = stage.take(Command::Looked { tries, answer: away() }).unwrap();
        let due = stage.now.plus(Duration::from_secs(seconds));
        assert_eq!(looked.timers.get(LOOK_TIMER), Some(&Some(due)), "{tries}");
        assert!(looked.events.is_empty());
    }
    let other = |status| Report::Answered { status, detail: String::new(), retry_after: None, scheme: None };
    let odd = Report::Replied { status: 200, body: serde_json::json!({ "inbox": "nowhere" }) };
    for (tries, answer) in [(12, away()), (0, Report::Impossible { reason: "404".into() }), (0, other(410)), (0, odd)] {
        let looked = stage.take(Command::Looked { tries, answer }).unwrap();
        assert!(looked.timers.is_empty() && looked.events.is_empty());
        assert_eq!(looked.reply, Status::Accepted);
    }
}

#[test]
fn a_follow_that_somebody_decides_about_waits() {
    let listed = Takes::Listed(["elsewhere.example".to_owned()].into());
    for takes in [Takes::Ask, listed] {
        let mut stage = stage(takes);
        let asked = stage.take(follow("https://there.example/1")).unwrap();
        assert_eq!((asked.reply, asked.messages()), (Status::Asked, 0));
        assert!(stage.entries::<Listed>(Index::Followers).is_empty(), "it gets nothing yet");
        assert_eq!(stage.entries::<Listed>(Index::FollowersByActor)[0].status, Status::Asked);
        let taken = stage.take(Command::Accept).unwrap();
        assert_eq!(letter(&stage, &taken).unwrap().0, Verb::Accept);
        assert_eq!(stage.entries::<Listed>(Index::Followers).len(), 1);
    }
    let mut stage = stage(Takes::Listed(["there.example".to_owned()].into()));
    assert_eq!(stage.take(follow("https://there.example/1")).unwrap().reply, Status::Accepted);
}

#[test]
fn one_that_is_rejected_hears_it_and_gets_nothing_more() {
    for takes in [Takes::Ask, Takes::All] {
        let mut stage = stage(takes);
        stage.take(follow("https://there.example/1")).unwrap();
        let rejected = stage.take(Command::Reject).unwrap();
        assert_eq!(letter(&stage, &rejected), Some((Verb::Reject, "https://there.example/1".into(), true)));
        assert!(stage.entries::<Listed>(Index::Followers).is_empty());
        assert!(stage.entries::<Listed>(Index::FollowersByActor).is_empty());
        assert!(matches!(stage.take(Command::Accept), Err(Rejection::NotAsked(_))));
    }
}

#[test]
fn undo_ends_it_and_undo_without_follow_is_refused() {
    let undo = || Command::Undo { follow: iri("https://there.example/1") };
    for takes in [Takes::All, Takes::Ask] {
        let mut stage = stage(takes);
        assert!(matches!(stage.take(undo()), Err(Rejection::NotFollowing(_))));
        stage.take(follow("https://there.example/1")).unwrap();
        assert_eq!(stage.take(undo()).unwrap().reply, Status::None);
        assert!(stage.entries::<Listed>(Index::Followers).is_empty());
        assert!(stage.entries::<Listed>(Index::FollowersByActor).is_empty());
        assert!(matches!(stage.take(undo()), Err(Rejection::NotFollowing(_))));
    }
}

#[test]
fn what_is_taken_back_by_id_ends_it_only_if_it_is_the_follow() {
    let undo = |id: &str| Command::UndoId { id: iri(id) };
    for (takes, status) in [(Takes::All, Status::Accepted), (Takes::Ask, Status::Asked)] {
        let mut stage = stage(takes);
        assert_eq!(stage.take(undo("https://there.example/1")).unwrap().reply, Status::None);
        stage.take(follow("https://there.example/1")).unwrap();
        let other = stage.take(undo("https://there.example/2")).unwrap();
        assert_eq!((other.reply, other.events.len()), (status, 0));
        assert_eq!(stage.take(undo("https://there.example/1")).unwrap().reply, Status::None);
        assert!(stage.entries::<Listed>(Index::Followers).is_empty());
        assert!(stage.entries::<Listed>(Index::FollowersByActor).is_empty());
    }
}

#[test]
fn one_who_is_not_there_any_more_is_ended_without_a_letter() {
    let mut stage = stage(Takes::All);
    let gone = || Command::Gone { reason: "answered 410".into() };
    assert!(stage.take(gone()).unwrap().events.is_empty(), "of a stranger it says nothing");
    stage.take(follow("https://there.example/1")).unwrap();
    assert_eq!(stage.take(gone()).unwrap().messages(), 0);
    assert!(stage.entries::<Listed>(Index::Followers).is_empty());
    assert_eq!(stage.take(follow("https://there.example/2")).unwrap().reply, Status::Accepted);
}
