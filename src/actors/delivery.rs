//! The rules of delivering to one peer: what an answer means, how long to wait, and which of a queue may start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entity::{ActorId, Decision, Kind, Turn};
use super::errands::{Errand, Recipient, Report};
use super::following;
use super::outbox::{Entry, Event, Outbox, Undelivered, Underway, queue_row, undelivered_row};
use super::rows::{Index, RowKey, parts};

/// What an answer means for an entry.
pub(super) enum Verdict {
    Delivered,
    /// The peer cannot take it now.
    Later {
        what: String,
        after: Option<Duration>,
    },
    /// The peer says no to us, or that nobody is there.
    Refused {
        what: String,
    },
    /// The peer says no to this activity.
    Never {
        what: String,
    },
}

pub(super) fn verdict(report: Report) -> Verdict {
    match report {
        Report::Answered { status: 200..=299, .. } => Verdict::Delivered,
        Report::Answered { status: status @ (401 | 403 | 404 | 410), detail, .. } => {
            Verdict::Refused { what: answered(status, &detail) }
        }
        Report::Answered { status: status @ (408 | 421 | 425 | 429 | 500..=599), detail, retry_after } => {
            Verdict::Later { what: answered(status, &detail), after: retry_after }
        }
        Report::Answered { status, detail, .. } => Verdict::Never { what: answered(status, &detail) },
        Report::Unreachable { reason } => Verdict::Later { what: reason, after: None },
        Report::Impossible { reason } => Verdict::Never { what: reason },
    }
}

fn answered(status: u16, detail: &str) -> String {
    if detail.is_empty() { format!("answered {status}") } else { format!("answered {status}: {detail}") }
}

/// The back-off: doubled with each failure, shortened by up to a quarter so that peers do not wake in step, and never
/// shorter than what the peer asked for.
pub(super) fn pause(turn: &Turn<'_>, failures: u32, asked: Option<Duration>) -> Duration {
    let limits = &turn.world.delivery;
    let doubled = limits.retry_delay.saturating_mul(1 << failures.min(24)).min(limits.retry_delay_max);
    let jitter = doubled.mul_f64(f64::from(turn.random[0]) / 255.0 / 4.0);
    (doubled - jitter).max(asked.unwrap_or_default().min(limits.retry_delay_max))
}

/// Starts what may start, in order: nothing overtakes an earlier one about the same object to the same recipient, and
/// nothing at all overtakes one that goes first.
pub(super) fn start(
    mut decision: Decision<Outbox>,
    in_flight: &BTreeMap<u64, Underway>,
    queue: impl Iterator<Item = (u64, Entry)>,
    room: usize,
) -> Decision<Outbox> {
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
            };
            let underway = Underway { to: entry.to, object: entry.object, first };
            decision = decision.event(Event::Started { entry: number, underway }).errand(errand);
            started += 1;
        }
        if first {
            break;
        }
    }
    decision
}

/// The mark of a peer that has something waiting after a failure, so that ticks find it.
pub(super) fn troubled(me: &ActorId) -> RowKey {
    RowKey::Index(Index::Outboxes, parts([&me.key]))
}

pub(super) fn tell(decision: Decision<Outbox>, entry: &Entry, command: following::Command) -> Decision<Outbox> {
    match &entry.tell {
        Some(owner) if owner.kind == Kind::Following => {
            decision.tell::<following::Following>(owner.key.clone(), &command)
        }
        _ => decision,
    }
}

pub(super) fn give_up(
    decision: Decision<Outbox>,
    turn: &Turn<'_>,
    number: u64,
    entry: Entry,
    what: String,
) -> Decision<Outbox> {
    let decision = tell(
        decision,
        &entry,
        following::Command::Undelivered { activity: entry.activity.clone(), reason: what.clone() },
    );
    let letter = Undelivered { at: turn.now, reason: what.clone(), entry };
    decision.delete(queue_row(number)).put(undelivered_row(number), &letter).event(Event::GivenUp {
        entry: number,
        at: turn.now,
        what,
    })
}
