//! The rules of delivering to one peer: what an answer means, how long to wait, and which of a queue may start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::deliveries::{State, noted};
use super::entity::{ActorId, Decision, Kind, Turn};
use super::errands::{Errand, Recipient, Report};
use super::follower::{self, Follower};
use super::following;
use super::letters;
use super::outbox::{Command, Event, Outbox, RETRY_TIMER, Underway};
use super::queue::{Entry, Undelivered, queue, queue_row, undelivered_row};
use super::rows::{Index, Reads, RowKey, Rows, parts};
use super::stream::{self, Stream};
use crate::clock::Time;
use crate::store::Key;

/// A refusal is tried this often before it counts: keys may have been changed on the other side a moment ago.
const REFUSALS_MAX: u32 = 2;
/// Followers ended in one turn.
const PAGE: usize = 100;

/// What an answer means for an entry.
enum Verdict {
    Delivered,
    /// The peer cannot take it now.
    Later {
        what: String,
        after: Option<Duration>,
    },
    /// The peer says no to us.
    Refused {
        what: String,
    },
    /// The peer says that nobody is there.
    Gone {
        what: String,
    },
    /// The peer says no to this activity.
    Never {
        what: String,
    },
}

fn verdict(report: Report) -> Verdict {
    match report {
        Report::Answered { status: 200..=299, .. } => Verdict::Delivered,
        Report::Answered { status: status @ (401 | 403), detail, .. } => {
            Verdict::Refused { what: answered(status, &detail) }
        }
        Report::Answered { status: status @ (404 | 410), detail, .. } => {
            Verdict::Gone { what: answered(status, &detail) }
        }
        Report::Answered { status: status @ (408 | 421 | 425 | 429 | 500..=599), detail, retry_after, .. } => {
            Verdict::Later { what: answered(status, &detail), after: retry_after }
        }
        Report::Answered { status, detail, .. } => Verdict::Never { what: answered(status, &detail) },
        Report::Replied { status, body } => Verdict::Never { what: answered(status, &body.to_string()) },
        Report::Unreachable { reason } | Report::TimedOut { reason } => Verdict::Later { what: reason, after: None },
        Report::Impossible { reason } | Report::Unusable { reason } => Verdict::Never { what: reason },
    }
}

fn answered(status: u16, detail: &str) -> String {
    if detail.is_empty() { format!("answered {status}") } else { format!("answered {status}: {detail}") }
}

impl Outbox {
    /// Takes what came of an attempt: the entry arrived, goes back to the queue, or is given up; and what may start then.
    pub(super) fn reported(&self, turn: &Turn<'_>, rows: &Rows, number: u64, report: Report) -> Decision<Self> {
        // Forgotten while it was under way: nothing is left to be done about it.
        let Some(mut entry) = rows.one::<Entry>("entry") else { return Decision::default() };
        let mut in_flight = self.in_flight.clone();
        in_flight.remove(&number);
        let rest = queue(rows).filter(|(other, _)| *other != number);
        let room = |failures| self.room(turn, &in_flight, failures);
        entry.attempts += 1;
        let learned = report.learned().filter(|learned| self.scheme != Some(*learned));
        match verdict(report) {
            Verdict::Delivered => {
                let decision = tell_delivered(Decision::default().delete(queue_row(number)), &entry);
                let decision = noted(decision, &entry, State::Delivered { at: turn.now, attempts: entry.attempts });
                let decision = decision.event(Event::Delivered { entry: number });
                let decision = learned.into_iter().fold(decision, |it, scheme| it.event(Event::Learned { scheme }));
                let decision = decision.when(self.failures > 0, |decision| decision.delete(troubled(turn.me)));
                self.start(decision, &in_flight, rest, room(0))
            }
            Verdict::Refused { what } | Verdict::Gone { what } if entry.refusals + 1 < REFUSALS_MAX => {
                entry.refusals += 1;
                let decision = Decision::default().put(queue_row(number), &entry);
                let decision = decision.event(Event::Refused { entry: number, what });
                let again = [(number, entry)].into_iter().chain(rest);
                self.start(decision, &in_flight, again, room(self.failures))
            }
            Verdict::Gone { what } => {
                // Asked twice, nobody is there: what followed from there does not any more.
                let gone = Command::Gone { to: entry.to.clone(), reason: what.clone(), after: None };
                let decision = Decision::default().tell::<Self>(turn.me.key.clone(), &gone);
                self.start(give_up(decision, turn, number, entry, what, true), &in_flight, rest, room(self.failures))
            }
            Verdict::Refused { what } | Verdict::Never { what } => {
                let decision = give_up(Decision::default(), turn, number, entry, what, true);
                self.start(decision, &in_flight, rest, room(self.failures))
            }
            Verdict::Later { what, .. } if turn.now.since(entry.since) >= turn.world.delivery.give_up => {
                let what = format!("{what}, for {} days", turn.world.delivery.give_up.as_secs() / 86_400);
                let decision = give_up(Decision::default(), turn, number, entry, what, false);
                self.start(decision, &in_flight, rest, room(self.failures))
            }
            Verdict::Later { what, after } => {
                let until = until(turn, self.failures, self.shut_until(turn), after);
                let decision = Decision::default().put(queue_row(number), &entry).put(troubled(turn.me), &what);
                let waiting = State::Waiting { attempts: entry.attempts, what: Some(what.clone()) };
                let decision = noted(decision, &entry, waiting);
                decision
                    .when(self.retry_at != Some(until), |it| it.timer(RETRY_TIMER, until, &Command::Flush))
                    .event(Event::PutOff { entry: number, at: turn.now, until, what })
            }
        }
    }

    /// Starts what may start, in order: nothing overtakes an earlier one about the same object to the same recipient, and
    /// nothing at all overtakes one that goes first.
    pub(super) fn start(
        &self,
        mut decision: Decision<Self>,
        in_flight: &BTreeMap<u64, Underway>,
        queue: impl Iterator<Item = (u64, Entry)>,
        room: usize,
    ) -> Decision<Self> {
        let mut taken: BTreeSet<(Recipient, String)> =
            in_flight.values().map(|under| (under.to.clone(), under.object.clone())).collect();
        let barrier = in_flight.iter().filter(|(_, under)| under.first).map(|(number, _)| *number).min();
        let mut started = 0;
        for (number, entry) in queue {
            if started >= room || barrier.is_some_and(|barrier| number > barrier) {
                break;
            }
            if in_flight.contains_key(&number) {
                continue;
            }
            let first = entry.first;
            if taken.insert((entry.to.clone(), entry.object.clone())) {
                let errand = Errand::Deliver {
                    activity: entry.activity,
                    to: entry.to.clone(),
                    entry: number,
                    attempt: entry.attempts,
                    scheme: self.scheme,
                    refusals: entry.refusals,
                };
                let underway = Underway { to: entry.to, object: entry.object, first };
                let decided = decision.event(Event::Started { entry: number, underway });
                // An entry is sent for whoever queued it, not for whose answer made room for it.
                decision = decided.within(entry.trace).errand(errand).within(None);
                started += 1;
            }
            if first {
                break;
            }
        }
        decision
    }
}

/// Until when the peer is left alone. While it is already, only its own word makes that longer.
fn until(turn: &Turn<'_>, failures: u32, shut_until: Option<Time>, asked: Option<Duration>) -> Time {
    match shut_until {
        Some(at) => at.max(turn.now.plus(asked.unwrap_or_default().min(turn.world.delivery.retry_delay_max))),
        None => turn.now.plus(pause(turn, failures, asked)),
    }
}

/// The back-off: doubled with each failure, shortened by up to a quarter so that peers do not wake in step, and never
/// shorter than what the peer asked for.
fn pause(turn: &Turn<'_>, failures: u32, asked: Option<Duration>) -> Duration {
    let limits = &turn.world.delivery;
    let doubled = limits.retry_delay.saturating_mul(1 << failures.min(24)).min(limits.retry_delay_max);
    let jitter = doubled.mul_f64(f64::from(turn.random[0]) / 255.0 / 4.0);
    (doubled - jitter).max(asked.unwrap_or_default().min(limits.retry_delay_max))
}

/// The mark of a peer that has something waiting after a failure, so that ticks find it.
pub(super) fn troubled(me: &ActorId) -> RowKey {
    RowKey::Index(Index::Outboxes, parts([&me.key]))
}

/// Of what arrived only those want to hear who may ask again.
fn tell_delivered(decision: Decision<Outbox>, entry: &Entry) -> Decision<Outbox> {
    let activity = entry.activity.clone();
    match &entry.tell {
        Some(owner) if owner.kind == Kind::Following => {
            decision.tell::<following::Following>(owner.key.clone(), &following::Command::Delivered { activity })
        }
        _ => decision,
    }
}

fn tell_undelivered(decision: Decision<Outbox>, entry: &Entry, reason: &str, refused: bool) -> Decision<Outbox> {
    let (activity, reason) = (entry.activity.clone(), reason.to_owned());
    match &entry.tell {
        Some(owner) if owner.kind == Kind::Following => {
            let word = following::Command::Undelivered { activity, reason };
            decision.tell::<following::Following>(owner.key.clone(), &word)
        }
        Some(owner) if owner.kind == Kind::Stream => {
            let word = stream::Command::Undelivered { activity, reason, refused };
            decision.tell::<Stream>(owner.key.clone(), &word)
        }
        _ => decision,
    }
}

/// `no` says that the last try was answered so. It counts for all of them only if none before ended without an answer,
/// since that one may have arrived.
fn give_up(
    decision: Decision<Outbox>,
    turn: &Turn<'_>,
    number: u64,
    entry: Entry,
    what: String,
    no: bool,
) -> Decision<Outbox> {
    let refused = no && entry.attempts == entry.refusals + 1;
    let decision = set_aside(decision, turn, number, entry, &what, refused);
    decision.event(Event::GivenUp { entry: number, at: turn.now, what })
}

/// Makes a queued entry a dead letter. `refused`: nothing came of any try.
pub(super) fn set_aside(
    decision: Decision<Outbox>,
    turn: &Turn<'_>,
    number: u64,
    entry: Entry,
    reason: &str,
    refused: bool,
) -> Decision<Outbox> {
    let decision = tell_undelivered(decision, &entry, reason, refused);
    let given_up = State::GivenUp { at: turn.now, attempts: entry.attempts, reason: reason.to_owned() };
    let decision = noted(decision, &entry, given_up);
    let letter = Undelivered { at: turn.now, reason: reason.to_owned(), entry };
    let decision = decision.delete(queue_row(number)).put(undelivered_row(number), &letter);
    decision.put(letters::undelivered_row(turn.now, number), &letter)
}

/// Those who follow from an address where nobody is any more.
pub(super) fn followers_of(me: &ActorId, to: &Recipient, after: Option<&Vec<u8>>) -> Reads {
    match to {
        Recipient::Inbox(inbox) => {
            let after = after.cloned().map(Key::from_bytes);
            Reads::none().list("followers", Index::Followers, parts([&me.key, inbox]), after, PAGE)
        }
        Recipient::Actor(actor) => Reads::none().entry("followers", Index::FollowersByActor, parts([actor])),
    }
}

/// Ends a page of them, and goes on in the next turn.
pub(super) fn end_followers(turn: &Turn<'_>, rows: &Rows, to: Recipient, reason: String) -> Decision<Outbox> {
    let page = rows.page("followers");
    let followers = page.iter().filter_map(|row| row.owner.as_ref()).filter(|owner| owner.kind == Kind::Follower);
    let decision = followers.fold(Decision::default(), |decision, follower| {
        decision.tell::<Follower>(follower.key.clone(), &follower::Command::Gone { reason: reason.clone() })
    });
    match page.last().filter(|_| page.len() == PAGE) {
        Some(last) => {
            let after = Some(last.key.as_bytes().to_vec());
            decision.tell::<Outbox>(turn.me.key.clone(), &Command::Gone { to, reason, after })
        }
        None => decision,
    }
}
