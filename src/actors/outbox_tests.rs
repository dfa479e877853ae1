//! The rules of an outbox: order, back-off, refusals, giving up, and what a person can do.

use std::time::Duration;

use super::*;
use crate::actors::deliveries::{Delivery, State};
use crate::actors::follower::{self, Follow, Follower};
use crate::actors::following::{self, Following};
use crate::actors::rows::Index;
use crate::actors::stage::{Stage, Taken, iri};
use crate::domains::trace::Context;

const DAY: Duration = Duration::from_secs(86_400);

fn stage() -> Stage<Outbox> {
    Stage::new("there.example", "")
}

fn inbox() -> Recipient {
    Recipient::Inbox("https://there.example/inbox".into())
}

fn send(activity: &str, object: &str) -> Command {
    Command::Send { activity: activity.into(), to: inbox(), object: object.into(), first: false, tell: false }
}

fn send_first(activity: &str) -> Command {
    Command::Send { activity: activity.into(), to: inbox(), object: "them".into(), first: true, tell: false }
}

fn answered(status: u16) -> Report {
    Report::Answered { status, detail: String::new(), retry_after: None, scheme: None }
}

/// The activities that a turn sends out, with the number of each entry.
fn out(taken: &Taken<Outbox>) -> Vec<(String, u64)> {
    let named = |errand: &Errand| match errand {
        Errand::Deliver { activity, entry, .. } => (activity.clone(), *entry),
        other => panic!("an outbox only delivers: {other:?}"),
    };
    taken.errands.iter().map(named).collect()
}

fn names(taken: &Taken<Outbox>) -> Vec<String> {
    out(taken).into_iter().map(|(activity, _)| activity).collect()
}

impl Stage<Outbox> {
    fn sent(&mut self, command: Command) -> Vec<String> {
        names(&self.take(command).unwrap())
    }

    fn report(&mut self, entry: u64, report: Report) -> Taken<Outbox> {
        self.take(Command::Reported { entry, report }).unwrap()
    }

    fn down(&mut self, entry: u64) -> Taken<Outbox> {
        self.report(entry, Report::Unreachable { reason: "refused".into() })
    }

    fn became(&self) -> Vec<State> {
        self.entries::<Delivery>(Index::Deliveries).into_iter().map(|delivery| delivery.state).collect()
    }

    fn dead(&self) -> usize {
        self.entries::<Undelivered>(Index::Undelivered).len()
    }
}

#[test]
fn what_is_sent_goes_out_at_once_and_is_forgotten_when_delivered() {
    let mut outbox = stage();
    assert_eq!(outbox.sent(send("a", "x")), ["a"]);
    let done = outbox.report(0, answered(202));
    assert_eq!(done.messages(), 0);
    assert_eq!((outbox.state.queued, outbox.state.delivered), (0, 1));
    assert_eq!(outbox.became(), [State::Delivered { at: outbox.now, attempts: 1 }]);
    assert_eq!(outbox.rows.len(), 1, "nothing else is left of it");
}

#[test]
fn what_becomes_of_a_delivery_is_noted_with_the_reason() {
    let mut outbox = stage();
    outbox.sent(send("a", "x"));
    assert_eq!(outbox.became(), [State::Waiting { attempts: 0, what: None }]);
    outbox.down(0);
    assert_eq!(outbox.became(), [State::Waiting { attempts: 1, what: Some("refused".into()) }]);
    outbox.take(Command::Forget).unwrap();
    let reason = "given up by the operator".to_owned();
    assert_eq!(outbox.became(), [State::GivenUp { at: outbox.now, attempts: 1, reason }]);
    // Queued anew it waits again, and is one delivery still.
    outbox.take(Command::Revive { undelivered: 0 }).unwrap();
    assert_eq!(outbox.became(), [State::Waiting { attempts: 0, what: None }]);
}

/// What each delivery that a turn sends out knows of its peer.
fn knows(taken: &Taken<Outbox>) -> Vec<(Option<Scheme>, u32)> {
    let known = |errand: &Errand| match errand {
        Errand::Deliver { scheme, refusals, .. } => (*scheme, *refusals),
        other => panic!("an outbox only delivers: {other:?}"),
    };
    taken.errands.iter().map(known).collect()
}

fn taken_as(scheme: Scheme) -> Report {
    Report::Answered { status: 202, detail: String::new(), retry_after: None, scheme: Some(scheme) }
}

#[test]
fn what_a_peer_takes_is_remembered_and_told_to_each_delivery() {
    let mut outbox = stage();
    assert_eq!(knows(&outbox.take(send("a", "x")).unwrap()), [(None, 0)]);
    outbox.report(0, taken_as(Scheme::Draft));
    assert_eq!(knows(&outbox.take(send("b", "x")).unwrap()), [(Some(Scheme::Draft), 0)]);
    outbox.report(1, answered(202));
    assert_eq!(outbox.state.scheme, Some(Scheme::Draft));
    outbox.take(send("c", "x")).unwrap();
    outbox.report(2, taken_as(Scheme::Rsa));
    assert_eq!(outbox.state.scheme, Some(Scheme::Rsa));
}

#[test]
fn another_try_after_a_refusal_knows_that_it_is_one() {
    let mut outbox = stage();
    outbox.take(send("a", "x")).unwrap();
    assert_eq!(knows(&outbox.report(0, answered(401))), [(None, 1)]);
    outbox.report(0, answered(401));
    assert_eq!((outbox.dead(), outbox.state.scheme), (1, None));
}

#[test]
fn order_holds_per_object_and_others_go_beside() {
    let mut outbox = stage();
    assert_eq!(outbox.sent(send("x1", "x")), ["x1"]);
    assert!(outbox.sent(send("x2", "x")).is_empty());
    assert!(outbox.sent(send("x3", "x")).is_empty());
    assert!(outbox.sent(send("y1", "y")).is_empty(), "the queue is looked through when a place is free");
    assert_eq!(names(&outbox.report(0, answered(200))), ["x2", "y1"]);
    assert_eq!(names(&outbox.report(3, answered(200))), [] as [&str; 0]);
    assert_eq!(names(&outbox.report(1, answered(200))), ["x3"]);
}

#[test]
fn the_same_object_for_another_recipient_does_not_wait() {
    let mut outbox = stage();
    outbox.take(send("x1", "x")).unwrap();
    let to = Recipient::Actor("https://there.example/other".into());
    let other = Command::Send { activity: "x2".into(), to, object: "x".into(), first: false, tell: false };
    assert_eq!(outbox.sent(other), ["x2"]);
}

#[test]
fn nothing_overtakes_what_goes_first() {
    let mut outbox = stage();
    assert_eq!(outbox.sent(send_first("accept")), ["accept"]);
    assert!(outbox.sent(send("x1", "x")).is_empty());
    outbox.down(0);
    outbox.wait(Duration::from_secs(60));
    assert_eq!(outbox.sent(Command::Flush), ["accept"]);
    assert_eq!(names(&outbox.report(0, answered(200))), ["x1"]);
}

#[test]
fn only_so_many_are_under_way() {
    let mut outbox = stage();
    outbox.world.delivery.in_flight_max = 2;
    assert_eq!(outbox.sent(send("a", "a")), ["a"]);
    assert_eq!(outbox.sent(send("b", "b")), ["b"]);
    assert!(outbox.sent(send("c", "c")).is_empty());
    assert!(outbox.sent(send("d", "d")).is_empty());
    assert_eq!(names(&outbox.report(1, answered(200))), ["c"]);
}

#[test]
fn a_peer_that_fails_is_left_alone_longer_each_time() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    let mut pauses = Vec::new();
    for _ in 0..14 {
        let put_off = outbox.down(0);
        let due = put_off.timers[RETRY_TIMER].unwrap();
        pauses.push(due.since(outbox.now).as_secs());
        outbox.now = due;
        assert_eq!(outbox.sent(Command::Flush), ["a"]);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
}

#[test]
fn a_peer_that_fails_is_left_alone_as_long_as_ever_once_the_clock_was_set_back() {
    const YEAR: u64 = 365 * 86_400_000;
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.down(0);
    outbox.now = Time(outbox.now.0.checked_sub(YEAR).expect("the stage begins later"));
    assert_eq!(outbox.sent(Command::Flush), ["a"], "not a year later");
    let due = outbox.down(0).timers[RETRY_TIMER].unwrap();
    assert_eq!((due.since(outbox.now), outbox.state.failures), (Duration::from_secs(2), 2));
    assert!(outbox.sent(Command::Flush).is_empty(), "it is left alone");
    outbox.now = due;
    assert_eq!(outbox.sent(Command::Flush), ["a"]);
}

/// Thirty requests were under way when the peer went down: a moment's outage must not count as thirty.
#[test]
fn many_that_fail_together_are_one_failure() {
    let mut outbox = stage();
    for number in 0..30 {
        outbox.take(send(&format!("a{number}"), &format!("o{number}"))).unwrap();
    }
    for entry in 0..30 {
        outbox.down(entry);
    }
    assert_eq!(outbox.state.failures, 1);
    assert_eq!(outbox.state.retry_at.unwrap().since(outbox.now), Duration::from_secs(1));
}

#[test]
fn after_a_failure_one_tries_and_the_rest_follow_when_it_arrives() {
    let mut outbox = stage();
    for number in 0..4 {
        outbox.take(send(&format!("a{number}"), &format!("o{number}"))).unwrap();
    }
    for entry in 0..4 {
        outbox.down(entry);
    }
    assert!(outbox.sent(send("late", "late")).is_empty(), "it is left alone");
    assert!(outbox.sent(Command::Flush).is_empty(), "a tick does not wake it before its time");
    outbox.wait(Duration::from_secs(2));
    assert_eq!(outbox.sent(Command::Flush), ["a0"], "one tries");
    assert!(outbox.sent(send("later", "later")).is_empty());
    assert_eq!(names(&outbox.report(0, answered(200))), ["a1", "a2", "a3", "late", "later"]);
    assert!(outbox.entries::<String>(Index::Outboxes).is_empty(), "ticks need not look at it any more");
}

#[test]
fn a_hand_tries_at_once_whatever_the_back_off_says() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.down(0);
    assert_eq!(outbox.entries::<String>(Index::Outboxes), ["refused"], "ticks find it");
    assert_eq!(outbox.sent(Command::Retry), ["a"]);
}

/// What was refused is gone, the peer had failed before, and nothing waits that a tick would find.
#[test]
fn a_new_activity_tries_a_peer_that_failed_when_nothing_else_does() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.down(0);
    outbox.wait(Duration::from_secs(2));
    outbox.take(Command::Flush).unwrap();
    outbox.report(0, answered(400));
    assert_eq!(outbox.state.queued, 0);
    assert_eq!(outbox.sent(send("b", "b")), ["b"]);
}

#[test]
fn retry_after_is_honoured_and_capped() {
    for (asked, waits) in [(120, 120), (86_400, 3_600), (0, 1)] {
        let mut outbox = stage();
        outbox.take(send("a", "a")).unwrap();
        let retry_after = Some(Duration::from_secs(asked));
        let late = outbox.report(0, Report::Answered { status: 429, detail: String::new(), retry_after, scheme: None });
        let due = late.timers[RETRY_TIMER].unwrap();
        assert_eq!(due.since(outbox.now).as_secs(), waits, "asked for {asked}");
    }
}

#[test]
fn what_the_peer_cannot_take_now_is_kept() {
    for status in [408, 421, 425, 429, 500, 502, 503, 599] {
        let mut outbox = stage();
        outbox.take(send("a", "a")).unwrap();
        outbox.report(0, answered(status));
        assert_eq!((outbox.state.queued, outbox.dead()), (1, 0), "{status}");
    }
}

#[test]
fn a_refusal_of_one_activity_is_a_dead_letter_of_it_alone() {
    for status in [301, 400, 405, 409, 410, 413, 415, 422] {
        let mut outbox = stage();
        outbox.take(send("a", "a")).unwrap();
        outbox.take(send("b", "a")).unwrap();
        let mut refused = outbox.report(0, answered(status));
        if status == 410 {
            assert_eq!(names(&refused), ["a"]);
            refused = outbox.report(0, answered(status));
        }
        assert_eq!(names(&refused), ["b"], "{status}");
        assert_eq!((outbox.state.dead, outbox.dead(), outbox.state.failures), (1, 1, 0), "{status}");
    }
}

#[test]
fn a_refusal_of_ourselves_is_tried_once_more_at_once_and_then_stops() {
    for status in [401, 403, 404, 410] {
        let mut outbox = stage();
        outbox.take(send("a", "a")).unwrap();
        let again = outbox.report(0, answered(status));
        assert!(matches!(again.errands[..], [Errand::Deliver { entry: 0, attempt: 1, .. }]), "{status}");
        let stop = outbox.report(0, answered(status));
        assert!(stop.errands.is_empty());
        assert_eq!(outbox.dead(), 1, "{status}");
        assert_eq!(outbox.state.last_error.as_ref().unwrap().what, format!("answered {status}"));
    }
}

#[test]
fn a_refusal_and_then_an_arrival_is_an_arrival() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.report(0, answered(401));
    outbox.report(0, answered(202));
    assert_eq!((outbox.state.delivered, outbox.dead()), (1, 0));
}

#[test]
fn where_nobody_is_any_more_followers_are_ended() {
    let mut outbox = stage();
    let they = ["https://there.example/a", "https://there.example/b"];
    for they in they {
        let follow = Follow {
            id: iri("https://there.example/follow"),
            at: outbox.now,
            inbox: iri("https://there.example/inbox"),
            shared_inbox: None,
        };
        let mut follower = Stage::<Follower>::new(they, "");
        follower.take(follower::Command::Follow(follow)).unwrap();
        outbox.rows.extend(follower.rows);
    }
    outbox.take(send("a", "a")).unwrap();
    assert!(outbox.report(0, answered(404)).told::<Outbox>().is_empty(), "once is not enough");
    let told = outbox.report(0, answered(404)).told::<Outbox>();
    let [(_, gone)] = &told[..] else { panic!("it looks for them in the next turn") };
    let ended = outbox.take(gone.clone()).unwrap().told::<Follower>();
    assert_eq!(ended.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), they);
    assert!(matches!(&ended[0].1, follower::Command::Gone { reason } if reason == "answered 404"));
}

#[test]
fn after_seven_days_it_is_given_up_and_what_came_later_is_still_tried() {
    let mut outbox = stage();
    outbox.take(send("old", "a")).unwrap();
    outbox.down(0);
    outbox.wait(3 * DAY);
    outbox.take(send("new", "b")).unwrap();
    outbox.take(Command::Flush).unwrap();
    outbox.down(0);
    outbox.wait(4 * DAY);
    assert_eq!(outbox.sent(Command::Flush), ["old"]);
    let given_up = outbox.down(0);
    assert_eq!(outbox.dead(), 1);
    assert_eq!(names(&given_up), ["new"]);
    let letters: Vec<Undelivered> = outbox.entries(Index::Undelivered);
    assert_eq!(letters[0].reason, "refused, for 7 days");
}

#[test]
fn whoever_asked_hears_of_arrival_and_of_giving_up() {
    let send = Command::Send { activity: "f".into(), to: inbox(), object: "x".into(), first: false, tell: true };
    let they = ActorId::of::<Following>("https://there.example/actor");
    for (status, arrives) in [(202, true), (400, false)] {
        let mut outbox = stage();
        outbox.from = Some(they.clone());
        outbox.take(send.clone()).unwrap();
        outbox.from = None;
        let told = outbox.report(0, answered(status)).told::<Following>();
        assert_eq!(told[0].0, *they.key);
        assert_eq!(matches!(told[0].1, following::Command::Delivered { .. }), arrives);
        assert_eq!(matches!(told[0].1, following::Command::Undelivered { .. }), !arrives);
    }
}

#[test]
fn a_paused_peer_gets_nothing_until_it_is_continued() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.take(Command::Pause).unwrap();
    assert!(outbox.sent(send("b", "b")).is_empty());
    assert!(names(&outbox.report(0, answered(200))).is_empty());
    assert!(outbox.sent(Command::Flush).is_empty());
    assert!(outbox.sent(Command::Retry).is_empty());
    assert_eq!(outbox.sent(Command::Continue), ["b"]);
}

#[test]
fn forgetting_a_peer_makes_dead_letters_of_what_waits_and_tells_whoever_asked() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.from = Some(ActorId::of::<Following>("https://there.example/actor"));
    let follow = Command::Send { activity: "f".into(), to: inbox(), object: "a".into(), first: false, tell: true };
    outbox.take(follow).unwrap();
    outbox.from = None;
    outbox.take(send("b", "a")).unwrap();
    let told = outbox.take(Command::Forget).unwrap();
    assert!(matches!(told.told::<Following>()[..], [(_, following::Command::Undelivered { .. })]));
    assert_eq!(outbox.dead(), 2, "what is under way is left to end");
    assert_eq!(told.told::<Outbox>().len(), 1, "it goes on with the next page");
    assert_eq!(outbox.take(Command::Forget).unwrap().messages(), 0);
    outbox.report(0, answered(200));
    assert_eq!((outbox.state.queued, outbox.state.delivered, outbox.state.dead), (0, 1, 2));
}

#[test]
fn a_report_of_what_is_not_here_any_more_changes_nothing() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.report(0, answered(200));
    let late = outbox.report(0, answered(500));
    assert!(late.events.is_empty() && late.errands.is_empty());
}

#[test]
fn a_dead_letter_is_queued_anew_or_thrown_away() {
    let mut outbox = stage();
    for (activity, entry) in [("a", 0), ("b", 1)] {
        outbox.take(send(activity, activity)).unwrap();
        outbox.report(entry, answered(400));
    }
    assert_eq!(outbox.sent(Command::Revive { undelivered: 0 }), ["a"]);
    assert_eq!(outbox.dead(), 1);
    outbox.take(Command::Discard { undelivered: 1 }).unwrap();
    assert_eq!(outbox.dead(), 0);
    let gone = outbox.take(Command::Discard { undelivered: 1 }).err();
    assert_eq!(gone, Some(Rejection::NoSuchLetter(1)));
    assert_eq!(outbox.take(Command::Revive { undelivered: 0 }).err(), Some(Rejection::NoSuchLetter(0)));
}

#[test]
fn a_dead_letter_older_than_receivers_remember_is_not_sent_again() {
    let mut outbox = stage();
    outbox.take(send("a", "a")).unwrap();
    outbox.report(0, answered(400));
    outbox.wait(91 * DAY);
    assert_eq!(outbox.take(Command::Revive { undelivered: 0 }).err(), Some(Rejection::TooOld(0)));
}

#[test]
fn each_entry_is_sent_as_a_part_of_what_queued_it() {
    let mut outbox = stage();
    let traces = [1, 2].map(|byte| Some(Context::begin([byte; 16])));
    outbox.trace.clone_from(&traces[0]);
    assert_eq!(outbox.take(send("a", "x")).unwrap().errand_traces, traces[..1]);
    outbox.trace.clone_from(&traces[1]);
    assert_eq!(outbox.sent(send("b", "x")), [""; 0], "behind the first");
    outbox.trace.clone_from(&traces[0]);
    assert_eq!(outbox.report(0, answered(202)).errand_traces, traces[1..]);
}
