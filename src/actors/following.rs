//! One that this node follows, or wants to.
//!
//! ```text
//! idle ──follow──▶ asked ──Accept──▶ accepted ──unfollow──▶ idle (Undo sent)
//!                   │ ▲ └──Reject──▶ rejected ──follow──▶ asked
//!                   │ └── received, and no answer: a new id after 1 min, 1 h, then daily
//!                   └──── 7 days ──▶ unanswered ──follow, or a tick a day later──▶ asked
//! any ──its domain is blocked, its account deleted──▶ idle
//! asked, accepted ──Move, and the new account says so too──▶ idle (Undo sent; the new one is followed)
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entity::{ActorId, Decision, Entity, Kind, Turn};
use super::errands::{Errand, LOOK_AGAIN, LOOK_TRIES_MAX, Recipient, Report};
use super::log::Letter;
use super::outbox::{self, Outbox};
use super::rows::{Index, RowKey, Rows, parts};
use crate::clock::Time;
use crate::domains::activity::{Reference, Verb};
use crate::domains::identity::Iri;

/// How long an answer may take before the next Follow, by how many were received; then daily.
const ASK_AGAIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(3_600)];
const ASK_DAILY: Duration = Duration::from_secs(86_400);
/// After this without an answer nobody asks any more until somebody says so.
const ASK_MAX: Duration = Duration::from_secs(7 * 86_400);
const ASK_TIMER: &str = "ask";
const MOVE_TIMER: &str = "move";

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Following {
    pub status: Status,
    /// The Follow that was sent last.
    #[serde(default)]
    pub asked: Option<Asked>,
    #[serde(default)]
    pub last_error: Option<String>,
    /// When another account was last asked whether they moved there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched_at: Option<Time>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Idle,
    Asked,
    Accepted,
    Rejected,
    Unanswered,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub activity: Iri,
    /// Since when somebody wants to follow.
    pub since: Time,
    /// When this one was sent.
    #[serde(default)]
    pub at: Time,
    /// Follows that were received and not answered.
    #[serde(default)]
    pub received: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Somebody wants it: asks, unless it is accepted or just asked.
    Follow,
    /// The configuration wants it: asks, unless it was refused or is under way.
    Ensure,
    Unfollow,
    /// The peer's word on one of our Follows.
    Answered {
        follow: Iri,
        accepted: bool,
    },
    Delivered {
        activity: String,
    },
    Undelivered {
        activity: String,
        reason: String,
    },
    /// No answer came in time.
    AskAgain,
    /// Nobody here has to do with them any more; they are not told.
    Sever {
        reason: String,
    },
    /// They say that they are somewhere else now.
    Moved {
        to: Iri,
        /// How often that one was asked in vain.
        #[serde(default)]
        tries: u32,
    },
    /// What that one says to it.
    Vouched {
        to: Iri,
        tries: u32,
        answer: Report,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Asked { activity: Iri, at: Time, since: Time },
    Received,
    Accepted,
    Rejected,
    Unanswered,
    Unfollowed,
    Failed { reason: String },
    Severed { reason: String },
    Moved { to: Iri },
    VouchAsked { at: Time },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this is the node itself; follow another one")]
    Oneself,
    #[error("{0} is not followed, so that there is nothing to undo")]
    NotFollowing(String),
}

/// What a follow came to so far.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub status: Status,
    #[serde(default)]
    pub activity: Option<Iri>,
}

/// A row of the list of those followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub actor: Iri,
    pub status: Status,
    pub since: Time,
}

impl Entity for Following {
    const KIND: Kind = Kind::Following;
    type Command = Command;
    type Event = Event;
    type Reply = Standing;
    type Rejection = Rejection;

    fn decide(&self, turn: &Turn<'_>, _rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        use Status::{Accepted, Asked, Idle, Rejected, Unanswered};
        let they = they(turn.me);
        if they == turn.world.actor {
            return Err(Rejection::Oneself);
        }
        let same = || Ok(Decision::reply(self.standing()));
        match (self.status, command) {
            (Accepted | Asked, Command::Follow) | (Accepted | Asked | Rejected, Command::Ensure) => same(),
            // A tick comes every few seconds; who does not answer is asked daily.
            (Unanswered, Command::Ensure)
                if self.asked.as_ref().is_some_and(|it| turn.now.since(it.at) < ASK_DAILY) =>
            {
                same()
            }
            (_, Command::Follow | Command::Ensure) => Ok(ask(turn, &they, turn.now)),
            (Idle, Command::Sever { .. }) => same(),
            (_, Command::Sever { reason }) => {
                let decision = Decision::default().cancel(ASK_TIMER).delete(row(&they));
                Ok(decision.event(Event::Severed { reason }))
            }
            (Asked | Accepted, Command::Moved { to, tries }) => Ok(self.moved(turn, &they, to, tries)),
            (Asked | Accepted, Command::Vouched { to, tries, answer }) => {
                Ok(self.vouched(turn, &they, to, tries, answer))
            }
            (Idle | Rejected | Unanswered, Command::Moved { .. } | Command::Vouched { .. }) => same(),
            (Idle, Command::Unfollow) => Err(Rejection::NotFollowing(they.as_str().to_owned())),
            (_, Command::Unfollow) => Ok(self.unfollow(turn, &they)),
            // A word on a Follow that was taken back, or a second word, changes nothing.
            (Idle, Command::Answered { .. }) | (Accepted | Rejected, Command::Answered { accepted: true, .. }) => {
                same()
            }
            (_, Command::Answered { accepted: true, .. }) => {
                let listed = Listed { actor: they.clone(), status: Accepted, since: turn.now };
                Ok(Decision::default().cancel(ASK_TIMER).put(row(&they), &listed).event(Event::Accepted))
            }
            (_, Command::Answered { accepted: false, .. }) => {
                Ok(Decision::default().cancel(ASK_TIMER).delete(row(&they)).event(Event::Rejected))
            }
            (Asked, Command::Delivered { activity }) if self.is_current(turn, &activity) => {
                let received = self.asked.as_ref().map_or(0, |asked| asked.received);
                let pause = ASK_AGAIN.get(received as usize).copied().unwrap_or(ASK_DAILY);
                let due = turn.now.plus(pause);
                Ok(Decision::default().timer(ASK_TIMER, due, &Command::AskAgain).event(Event::Received))
            }
            (Asked, Command::Undelivered { activity, reason }) if self.is_current(turn, &activity) => {
                Ok(unanswered(turn, &they).event(Event::Failed { reason }).event(Event::Unanswered))
            }
            (Asked, Command::AskAgain) => Ok(self.ask_again(turn, &they)),
            (Idle | Accepted | Rejected | Unanswered | Asked, _) => same(),
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        let Errand::Vouch { actor, tries, .. } = errand else { return None };
        Some(Command::Vouched { to: Iri::parse(&actor).ok()?, tries, answer: report })
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Asked { activity, since, at } => {
                let received =
                    self.asked.as_ref().filter(|asked| asked.since == *since).map_or(0, |asked| asked.received);
                self.asked = Some(Asked { activity: activity.clone(), since: *since, at: *at, received });
                self.status = Status::Asked;
                self.last_error = None;
            }
            Event::Received => {
                if let Some(asked) = &mut self.asked {
                    asked.received += 1;
                }
            }
            Event::Accepted => self.status = Status::Accepted,
            Event::Rejected => self.status = Status::Rejected,
            Event::Unanswered => self.status = Status::Unanswered,
            Event::Unfollowed => *self = Self::default(),
            Event::Failed { reason } => self.last_error = Some(reason.clone()),
            Event::Moved { to } => *self = Self { last_error: Some(format!("moved to {to}")), ..Self::default() },
            Event::VouchAsked { at } => self.vouched_at = Some(*at),
            Event::Severed { reason } => *self = Self { last_error: Some(reason.clone()), ..Self::default() },
        }
    }
}

impl Following {
    fn standing(&self) -> Standing {
        Standing { status: self.status, activity: self.asked.as_ref().map(|asked| asked.activity.clone()) }
    }

    fn is_current(&self, turn: &Turn<'_>, ulid: &str) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.activity == turn.world.activity(ulid))
    }

    fn ask_again(&self, turn: &Turn<'_>, they: &Iri) -> Decision<Self> {
        let since = self.asked.as_ref().map_or(turn.now, |asked| asked.since);
        if turn.now.since(since) >= ASK_MAX {
            return unanswered(turn, they).event(Event::Unanswered);
        }
        ask(turn, they, since)
    }

    /// Has the new account asked, or as soon as that may be: they could have any address asked for otherwise, as often as
    /// they like. Of several that they name until then the last counts.
    fn moved(&self, turn: &Turn<'_>, they: &Iri, to: Iri, tries: u32) -> Decision<Self> {
        let next = self.vouched_at.map(|at| at.plus(LOOK_AGAIN)).filter(|next| *next > turn.now);
        if let Some(next) = next {
            return Decision::default().timer(MOVE_TIMER, next, &Command::Moved { to, tries });
        }
        let (actor, alias) = (to.as_str().to_owned(), they.as_str().to_owned());
        Decision::default().errand(Errand::Vouch { actor, alias, tries }).event(Event::VouchAsked { at: turn.now })
    }

    /// Follows the new account instead, once that one has said that it is the same.
    fn vouched(&self, turn: &Turn<'_>, they: &Iri, to: Iri, tries: u32, answer: Report) -> Decision<Self> {
        let reason = match answer {
            Report::Answered { status: 200, .. } => {
                let decision = self.unfollow(turn, they).tell::<Self>(to.as_str(), &Command::Follow);
                return decision.event(Event::Moved { to });
            }
            Report::Unreachable { .. } | Report::TimedOut { .. } if tries < LOOK_TRIES_MAX => {
                let due = turn.now.plus(LOOK_AGAIN * (1 << tries));
                return Decision::default().timer(MOVE_TIMER, due, &Command::Moved { to, tries: tries + 1 });
            }
            Report::Answered { status, detail, .. } => format!("it answers {status}: {detail}"),
            Report::Unreachable { reason }
            | Report::TimedOut { reason }
            | Report::Impossible { reason }
            | Report::Unusable { reason } => reason,
            Report::Replied { status, .. } => format!("it answers {status}"),
        };
        Decision::default().event(Event::Failed { reason: format!("it says that it moved to {to}: {reason}") })
    }

    fn unfollow(&self, turn: &Turn<'_>, they: &Iri) -> Decision<Self> {
        let decision = Decision::default().cancel(ASK_TIMER).delete(row(they)).event(Event::Unfollowed);
        let Some(asked) = &self.asked else { return decision };
        let follow = Reference::Embedded(serde_json::json!({
            "id": asked.activity.as_str(), "type": "Follow",
            "actor": turn.world.actor.as_str(), "object": they.as_str(),
        }));
        send(decision, they, &Letter::to(turn, 0, they, |draft| draft, Verb::Undo, follow), false)
    }
}

fn they(me: &ActorId) -> Iri {
    Iri::parse(&me.key).expect("a following actor is named by the id of whom it follows")
}

fn row(they: &Iri) -> RowKey {
    RowKey::Index(Index::Following, parts([they.as_str()]))
}

/// Shown as such, for a person to see and for ticks to find.
fn unanswered(turn: &Turn<'_>, they: &Iri) -> Decision<Following> {
    let listed = Listed { actor: they.clone(), status: Status::Unanswered, since: turn.now };
    Decision::default().cancel(ASK_TIMER).put(row(they), &listed)
}

fn ask(turn: &Turn<'_>, they: &Iri, since: Time) -> Decision<Following> {
    let letter = Letter::to(turn, 0, they, |draft| draft, Verb::Follow, Reference::Id(they.clone()));
    let activity = letter.activity.id.clone();
    let decision = Decision::reply(Standing { status: Status::Asked, activity: Some(activity.clone()) });
    let listed = Listed { actor: they.clone(), status: Status::Asked, since: turn.now };
    let decision = decision.put(row(they), &listed).event(Event::Asked { activity, at: turn.now, since });
    send(decision, they, &letter, true)
}

fn send(decision: Decision<Following>, they: &Iri, letter: &Letter, tell: bool) -> Decision<Following> {
    letter.log(decision).tell::<Outbox>(
        they.authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to: Recipient::Actor(they.as_str().to_owned()),
            // A Follow and its Undo are about the same thing, and keep their order.
            object: they.as_str().to_owned(),
            first: false,
            tell,
        },
    )
}

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
