//! The outbox of one peer: what is to go there, in order per object, retried until it arrives or is given up.
//!
//! ```text
//! open ──no answer, 5xx, 429──▶ waiting ──timer, or a hand──▶ open
//!   └──────── pause ────────▶ paused ──────── continue ────────┘
//! entry: queued ─▶ in flight ─▶ delivered │ queued again │ dead letter
//! ```
//! Entries are rows; the state holds only what is under way. A breaker only ever delays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::deliveries::{State, noted};
use super::delivery::{end_followers, followers_of, set_aside, troubled};
use super::entity::{ActorId, Decision, Entity, Kind, Turn};
use super::errands::{Errand, Recipient, Report};
use super::letters;
use super::queue::{Entry, Undelivered, queue, queue_row, undelivered_key, undelivered_row};
use super::rows::{Reads, Rows, part, parts};
use super::scheme::Scheme;
use crate::clock::Time;

/// Queue entries looked at in one turn: enough to fill the places of a peer past a few that wait for their order.
const PAGE: usize = 128;
pub(super) const RETRY_TIMER: &str = "retry";

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// Entries that ever came; the next one gets this number.
    pub entries: u64,
    /// Entries that are still here, in flight included.
    pub queued: u64,
    #[serde(default)]
    pub in_flight: BTreeMap<u64, Underway>,
    pub delivered: u64,
    pub dead: u64,
    /// Failures of the peer in a row.
    pub failures: u32,
    #[serde(default)]
    pub retry_at: Option<Time>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// How the peer wants to be signed for, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

/// What an entry in flight keeps others from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Underway {
    pub to: Recipient,
    pub object: String,
    #[serde(default)]
    pub first: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    pub at: Time,
    pub what: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Send {
        activity: String,
        to: Recipient,
        object: String,
        #[serde(default)]
        first: bool,
        #[serde(default)]
        tell: bool,
    },
    Reported {
        entry: u64,
        report: Report,
    },
    /// Tries again what waits: the retry timer, or a tick.
    Flush,
    /// Tries again at once, whatever the back-off says.
    Retry,
    Pause,
    Continue,
    /// Gives up everything that waits.
    Forget,
    /// Queues a dead letter anew.
    Revive {
        undelivered: u64,
    },
    /// Removes a dead letter.
    Discard {
        undelivered: u64,
    },
    /// Nobody is there any more: ends those who followed from there, a page at a time.
    Gone {
        to: Recipient,
        reason: String,
        #[serde(default)]
        after: Option<Vec<u8>>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Queued {
        entry: u64,
    },
    Started {
        entry: u64,
        underway: Underway,
    },
    Delivered {
        entry: u64,
    },
    /// Goes back to the queue; the peer is left alone until then.
    PutOff {
        entry: u64,
        at: Time,
        until: Time,
        what: String,
    },
    /// Goes back to the queue for one more try at once.
    Refused {
        entry: u64,
        what: String,
    },
    GivenUp {
        entry: u64,
        at: Time,
        what: String,
    },
    /// The back-off is over.
    Reopened,
    Paused,
    Continued,
    Forgotten {
        entries: u64,
    },
    /// What the peer takes, by the delivery that arrived.
    Learned {
        scheme: Scheme,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no dead letter {0} here; `quickbeam peers` lists them")]
    NoSuchLetter(u64),
    #[error("dead letter {0} is older than receivers remember, so that it might be taken twice; discard it")]
    TooOld(u64),
}

impl Entity for Outbox {
    const KIND: Kind = Kind::Outbox;
    type Command = Command;
    type Event = Event;
    type Reply = ();
    type Rejection = Rejection;

    fn reads(me: &ActorId, command: &Command) -> Reads {
        let queue = |reads: Reads| reads.own_page("queue", parts(["queue"]), None, PAGE);
        match command {
            Command::Send { .. } | Command::Pause => Reads::none(),
            Command::Reported { entry, .. } => {
                queue(Reads::none().own("entry", part().text("queue").number(*entry).done()))
            }
            Command::Flush | Command::Retry | Command::Continue | Command::Forget => queue(Reads::none()),
            Command::Revive { undelivered } | Command::Discard { undelivered } => {
                Reads::none().own("letter", undelivered_key(*undelivered))
            }
            Command::Gone { to, after, .. } => followers_of(me, to, after.as_ref()),
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Send { activity, to, object, first, tell } => {
                let tell = if tell { turn.from.cloned() } else { None };
                let (since, trace) = (turn.now, turn.trace.cloned());
                let entry = Entry { activity, to, object, first, since, attempts: 0, refusals: 0, tell, trace };
                Ok(self.send(turn, entry))
            }
            Command::Reported { entry, report } => Ok(self.reported(turn, rows, entry, report)),
            Command::Flush if !self.is_open(turn) => Ok(Decision::default()),
            Command::Flush | Command::Retry => Ok(self.reopen(turn, rows, Event::Reopened)),
            Command::Continue => Ok(self.reopen(turn, rows, Event::Continued)),
            Command::Pause => Ok(Decision::default().event(Event::Paused)),
            Command::Forget => Ok(self.forget(turn, rows)),
            Command::Revive { undelivered } => self.revive(turn, rows, undelivered),
            Command::Gone { to, reason, .. } => Ok(end_followers(turn, rows, to, reason)),
            Command::Discard { undelivered } => {
                let letter = letter(rows, undelivered)?;
                let decision = Decision::default().delete(undelivered_row(undelivered));
                Ok(decision.delete(letters::undelivered_row(letter.at, undelivered)))
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Queued { entry } => {
                self.entries = entry + 1;
                self.queued += 1;
            }
            Event::Started { entry, underway } => drop(self.in_flight.insert(*entry, underway.clone())),
            Event::Delivered { entry } => {
                self.done(*entry);
                self.delivered += 1;
                self.failures = 0;
                self.last_error = None;
            }
            Event::PutOff { entry, at, until, what } => {
                self.in_flight.remove(entry);
                // Those that were under way when the peer was put off fail with it: that is one failure, not many. What it
                // was put off to counts no more when it lies behind this: the clock was set back in between.
                if self.retry_at.is_none_or(|before| before <= *at || before > *until) {
                    self.failures = self.failures.saturating_add(1);
                }
                self.retry_at = Some(*until);
                self.last_error = Some(LastError { at: *at, what: what.clone() });
            }
            Event::Refused { entry, .. } => drop(self.in_flight.remove(entry)),
            Event::GivenUp { entry, at, what } => {
                self.done(*entry);
                self.dead += 1;
                self.last_error = Some(LastError { at: *at, what: what.clone() });
            }
            Event::Reopened => self.retry_at = None,
            Event::Paused => self.paused = true,
            Event::Continued => {
                self.paused = false;
                self.retry_at = None;
            }
            Event::Forgotten { entries } => {
                self.queued = self.queued.saturating_sub(*entries);
                self.dead += entries;
            }
            Event::Learned { scheme } => self.scheme = Some(*scheme),
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        match errand {
            Errand::Deliver { entry, .. } => Some(Command::Reported { entry, report }),
            Errand::Webhook { .. }
            | Errand::Http { .. }
            | Errand::Lent { .. }
            | Errand::Signed { .. }
            | Errand::Vouch { .. }
            | Errand::Look { .. } => None,
        }
    }
}

fn letter(rows: &Rows, number: u64) -> Result<Undelivered, Rejection> {
    rows.one("letter").ok_or(Rejection::NoSuchLetter(number))
}

impl Outbox {
    fn done(&mut self, entry: u64) {
        self.in_flight.remove(&entry);
        self.queued = self.queued.saturating_sub(1);
    }

    /// Until when the peer is left alone. No pause is longer than the longest: one that seems to be was begun before the
    /// clock was set back, and is over.
    pub(super) fn shut_until(&self, turn: &Turn<'_>) -> Option<Time> {
        let longest = turn.world.delivery.retry_delay_max;
        self.retry_at.filter(|at| *at > turn.now && at.since(turn.now) <= longest)
    }

    fn is_open(&self, turn: &Turn<'_>) -> bool {
        !self.paused && self.shut_until(turn).is_none()
    }

    /// Queues an entry, and starts it at once if nothing stands before it.
    fn send(&self, turn: &Turn<'_>, entry: Entry) -> Decision<Self> {
        let number = self.entries;
        let decision = Decision::default().put(queue_row(number), &entry).event(Event::Queued { entry: number });
        let decision = noted(decision, &entry, State::Waiting { attempts: 0, what: None });
        let nothing_waits = self.queued == self.in_flight.len() as u64;
        let room = if nothing_waits { self.room(turn, &self.in_flight, self.failures) } else { 0 };
        self.start(decision, &self.in_flight, [(number, entry)].into_iter(), room)
    }

    /// How many entries may start: one to try a peer that failed, else what fits.
    pub(super) fn room(&self, turn: &Turn<'_>, in_flight: &BTreeMap<u64, Underway>, failures: u32) -> usize {
        if !self.is_open(turn) {
            return 0;
        }
        let places = if failures > 0 { 1 } else { turn.world.delivery.in_flight_max };
        places.saturating_sub(in_flight.len())
    }

    fn reopen(&self, turn: &Turn<'_>, rows: &Rows, event: Event) -> Decision<Self> {
        let decision = Decision::default().cancel(RETRY_TIMER).event(event.clone());
        if self.queued == 0 {
            return decision.delete(troubled(turn.me));
        }
        let places = if self.failures > 0 { 1 } else { turn.world.delivery.in_flight_max };
        let room =
            if self.paused && event != Event::Continued { 0 } else { places.saturating_sub(self.in_flight.len()) };
        self.start(decision, &self.in_flight, queue(rows), room)
    }

    fn forget(&self, turn: &Turn<'_>, rows: &Rows) -> Decision<Self> {
        let waiting: Vec<_> = queue(rows).filter(|(number, _)| !self.in_flight.contains_key(number)).collect();
        if waiting.is_empty() {
            return Decision::default();
        }
        let entries = waiting.len() as u64;
        let mut decision = Decision::default().event(Event::Forgotten { entries });
        for (number, entry) in waiting {
            let refused = entry.attempts == entry.refusals;
            decision = set_aside(decision, turn, number, entry, "given up by the operator", refused);
        }
        decision.tell::<Self>(turn.me.key.clone(), &Command::Forget)
    }

    fn revive(&self, turn: &Turn<'_>, rows: &Rows, number: u64) -> Result<Decision<Self>, Rejection> {
        let letter = letter(rows, number)?;
        if turn.now.since(letter.entry.since) > turn.world.dedupe {
            return Err(Rejection::TooOld(number));
        }
        let listed = letters::undelivered_row(letter.at, number);
        let decision = self.send(turn, Entry { attempts: 0, refusals: 0, ..letter.entry });
        Ok(decision.delete(undelivered_row(number)).delete(listed))
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
