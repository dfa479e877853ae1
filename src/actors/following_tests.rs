//! The rules of following: asked until received, asked again until answered, ended by a no or by ourselves.

use super::*;
use crate::actors::rows::Index;
use crate::actors::stage::{Stage, Taken, iri};

const THEY: &str = "https://there.example/they";
const DAY: Duration = Duration::from_secs(86_400);

fn stage() -> Stage<Following> {
    Stage::new(THEY, "")
}

/// The ulid of the activity that a turn sends.
fn sent(taken: &Taken<Following>) -> Option<String> {
    match taken.told::<Outbox>().pop()? {
        (_, outbox::Command::Send { activity, .. }) => Some(activity),
        other => panic!("only letters are sent: {other:?}"),
    }
}

impl Stage<Following> {
    fn ask(&mut self) -> String {
        sent(&self.take(Command::Follow).unwrap()).expect("a Follow is sent")
    }

    fn received(&mut self, activity: &str) -> Option<Duration> {
        let taken = self.take(Command::Delivered { activity: activity.to_owned() }).unwrap();
        taken.timers.get(ASK_TIMER).copied().flatten().map(|due| due.since(self.now))
    }

    fn answer(&mut self, accepted: bool) -> Taken<Following> {
        let follow = self.state.asked.clone().unwrap().activity;
        self.take(Command::Answered { follow, accepted }).unwrap()
    }

    fn listed(&self) -> Option<Status> {
        self.entries::<Listed>(Index::Following).first().map(|listed| listed.status)
    }
}

#[test]
fn a_follow_is_sent_once_however_often_it_is_asked_for() {
    let mut stage = stage();
    stage.ask();
    assert_eq!(stage.listed(), Some(Status::Asked));
    assert_eq!(sent(&stage.take(Command::Follow).unwrap()), None);
    assert_eq!(sent(&stage.take(Command::Ensure).unwrap()), None);
}

#[test]
fn nobody_follows_oneself() {
    let mut stage = Stage::<Following>::new("https://here.example/actor", "");
    assert!(matches!(stage.take(Command::Follow), Err(Rejection::Oneself)));
}

#[test]
fn who_does_not_answer_is_asked_after_a_minute_an_hour_and_then_daily_for_seven_days() {
    let mut stage = stage();
    let mut ulid = stage.ask();
    let mut pauses = Vec::new();
    let begun = stage.now;
    while let Some(pause) = stage.received(&ulid) {
        pauses.push(pause);
        stage.wait(pause);
        match sent(&stage.take(Command::AskAgain).unwrap()) {
            Some(next) => {
                assert_ne!(next, ulid, "each under an id of its own");
                ulid = next;
            }
            None => break,
        }
    }
    assert_eq!(pauses[..3], [Duration::from_secs(60), Duration::from_secs(3_600), DAY]);
    assert!(pauses[2..].iter().all(|pause| *pause == DAY));
    assert!(stage.now.since(begun) >= 7 * DAY && stage.now.since(begun) < 9 * DAY);
    assert_eq!(stage.state.status, Status::Unanswered);
    assert_eq!(stage.listed(), Some(Status::Unanswered), "and that is shown");
    assert!(sent(&stage.take(Command::Ensure).unwrap()).is_some(), "a tick a day later asks again");
    assert_eq!(stage.listed(), Some(Status::Asked));
}

#[test]
fn one_that_cannot_be_reached_is_not_asked_at_every_tick() {
    let mut stage = stage();
    let ulid = stage.ask();
    stage.take(Command::Undelivered { activity: ulid, reason: "answered 400".into() }).unwrap();
    assert_eq!(stage.listed(), Some(Status::Unanswered));
    assert_eq!(stage.state.last_error.as_deref(), Some("answered 400"));
    assert_eq!(sent(&stage.take(Command::Ensure).unwrap()), None);
    stage.wait(DAY);
    assert!(sent(&stage.take(Command::Ensure).unwrap()).is_some());
}

#[test]
fn a_person_may_ask_again_at_any_time() {
    let mut stage = stage();
    let ulid = stage.ask();
    stage.take(Command::Undelivered { activity: ulid, reason: "answered 400".into() }).unwrap();
    stage.ask();
    stage.answer(false);
    assert_eq!(stage.state.status, Status::Rejected);
    assert_eq!(sent(&stage.take(Command::Ensure).unwrap()), None, "the configuration does not insist");
    stage.ask();
}

#[test]
fn word_of_an_earlier_follow_does_not_start_the_clock_of_a_later_one() {
    let mut stage = stage();
    let first = stage.ask();
    let pause = stage.received(&first).unwrap();
    stage.wait(pause);
    stage.take(Command::AskAgain).unwrap();
    assert_eq!(stage.received(&first), None);
}

#[test]
fn an_accept_ends_the_asking() {
    let mut stage = stage();
    let ulid = stage.ask();
    stage.received(&ulid).unwrap();
    let accepted = stage.answer(true);
    assert_eq!(accepted.timers[ASK_TIMER], None, "nobody asks again");
    assert_eq!((stage.state.status, stage.listed()), (Status::Accepted, Some(Status::Accepted)));
    assert!(stage.answer(true).events.is_empty(), "a second word changes nothing");
    assert!(sent(&stage.take(Command::AskAgain).unwrap()).is_none(), "nor does a timer that was on its way");
}

#[test]
fn a_reject_ends_it_and_a_later_accept_of_the_same_does_not_count() {
    let mut stage = stage();
    stage.ask();
    stage.answer(false);
    assert_eq!((stage.state.status, stage.listed()), (Status::Rejected, None));
    stage.answer(true);
    assert_eq!(stage.state.status, Status::Rejected, "the first answer wins");
}

#[test]
fn one_that_ends_it_later_is_not_followed_any_more() {
    let mut stage = stage();
    stage.ask();
    stage.answer(true);
    stage.answer(false);
    assert_eq!((stage.state.status, stage.listed()), (Status::Rejected, None));
}

#[test]
fn unfollowing_takes_the_follow_back_and_a_late_answer_changes_nothing() {
    let mut stage = stage();
    assert!(matches!(stage.take(Command::Unfollow), Err(Rejection::NotFollowing(_))));
    stage.ask();
    let follow = stage.state.asked.clone().unwrap().activity;
    let undone = stage.take(Command::Unfollow).unwrap();
    assert!(sent(&undone).is_some());
    let log: Vec<crate::actors::log::Entry> = stage.entries(Index::Activities);
    let undo = log.iter().find(|entry| entry.verb == Verb::Undo).unwrap();
    assert_eq!(undo.object, follow);
    assert_eq!(stage.listed(), None);
    stage.take(Command::Answered { follow, accepted: true }).unwrap();
    assert_eq!((stage.state.status, stage.listed()), (Status::Idle, None));
}

#[test]
fn who_is_blocked_is_not_followed_any_more_and_hears_nothing_of_it() {
    let mut stage = stage();
    stage.ask();
    stage.answer(true);
    let taken = stage.take(Command::Sever { reason: "its domain is blocked".to_owned() }).unwrap();
    assert_eq!(sent(&taken), None);
    assert_eq!((stage.listed(), stage.state.status), (None, Status::Idle));
    assert_eq!(stage.state.last_error.as_deref(), Some("its domain is blocked"));
    // A late word of theirs changes nothing, a second time neither; and who is let in again is asked like anybody.
    stage.take(Command::Sever { reason: String::new() }).unwrap();
    stage.ask();
    assert_eq!(stage.listed(), Some(Status::Asked));
}

#[test]
fn who_is_blocked_is_not_asked_again() {
    let mut stage = stage();
    let ulid = stage.ask();
    stage.received(&ulid);
    let taken = stage.take(Command::Sever { reason: "its domain is blocked".to_owned() }).unwrap();
    assert_eq!(taken.timers.get(ASK_TIMER), Some(&None));
}

// Moving

const NEW: &str = "https://new.example/they";

impl Stage<Following> {
    /// One that is followed, and has said that it moved.
    fn moving() -> Self {
        let mut stage = stage();
        stage.ask();
        stage.answer(true);
        let taken = stage.take(Command::Moved { to: iri(NEW), tries: 0 }).unwrap();
        let asks = Errand::Vouch { actor: NEW.to_owned(), alias: THEY.to_owned(), tries: 0 };
        assert_eq!((taken.errands, taken.events), (vec![asks], vec![Event::VouchAsked { at: stage.now }]));
        stage
    }

    fn vouched(&mut self, tries: u32, answer: Report) -> Taken<Following> {
        let errand = Errand::Vouch { actor: NEW.to_owned(), alias: THEY.to_owned(), tries };
        self.take(Following::reported(errand, answer).unwrap()).unwrap()
    }
}

#[test]
fn who_moves_is_followed_where_they_are_once_that_account_says_so_too() {
    let mut stage = Stage::moving();
    let taken =
        stage.vouched(0, Report::Answered { status: 200, detail: String::new(), retry_after: None, scheme: None });
    let told = taken.told::<Following>();
    assert!(matches!(&told[..], [(key, Command::Follow)] if key == NEW), "{told:?}");
    assert!(sent(&taken).is_some(), "the old one is told that nobody follows it here");
    assert_eq!((stage.listed(), stage.state.status), (None, Status::Idle));
    assert_eq!(stage.state.last_error.as_deref(), Some("moved to https://new.example/they"));
}

#[test]
fn an_account_that_does_not_know_of_the_move_is_not_followed() {
    let mut stage = Stage::moving();
    let taken = stage.vouched(0, Report::Impossible { reason: "it has no such alias".into() });
    assert!(taken.told::<Following>().is_empty());
    assert_eq!(stage.state.status, Status::Accepted, "and the old one still is");
    assert!(stage.state.last_error.as_deref().unwrap().contains("no such alias"));
}

#[test]
fn an_account_that_cannot_be_reached_is_asked_again_ever_later_for_some_days() {
    let mut stage = Stage::moving();
    let (mut tries, begun) = (0, stage.now);
    loop {
        let taken = stage.vouched(tries, Report::Unreachable { reason: "refused".into() });
        let Some(due) = taken.timers.get(MOVE_TIMER).copied().flatten() else { break };
        stage.now = due;
        tries += 1;
        let asked = stage.take(Command::Moved { to: iri(NEW), tries }).unwrap();
        assert_eq!(asked.errands.len(), 1);
    }
    assert!(stage.now.since(begun) > 2 * DAY && stage.now.since(begun) < 4 * DAY, "{:?}", stage.now.since(begun));
    assert_eq!((stage.state.status, stage.state.last_error.is_some()), (Status::Accepted, true));
}

#[test]
fn who_moves_again_and_again_has_one_account_asked_a_minute_the_last_that_they_name() {
    let mut stage = Stage::moving();
    for number in 0..100 {
        stage.wait(Duration::from_millis(100));
        let to = iri(&format!("https://victim{number}.example/"));
        let taken = stage.take(Command::Moved { to, tries: 0 }).unwrap();
        assert!(taken.errands.is_empty() && taken.timers.contains_key(MOVE_TIMER));
    }
    stage.wait(LOOK_AGAIN);
    let last = stage.take(Command::Moved { to: iri("https://victim99.example/"), tries: 0 }).unwrap();
    assert_eq!(last.errands.len(), 1);
}

#[test]
fn who_is_not_followed_any_more_may_move_where_they_like() {
    let mut stage = Stage::moving();
    stage.take(Command::Unfollow).unwrap();
    let taken =
        stage.vouched(0, Report::Answered { status: 200, detail: String::new(), retry_after: None, scheme: None });
    assert!(taken.told::<Following>().is_empty() && taken.events.is_empty());
}
