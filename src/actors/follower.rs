//! One that follows this node, or asked to.
//!
//! ```text
//! none ──Follow──▶ accepted ──Undo──▶ none
//!   │                 ▲ ├──Follow again──▶ accepted, answered again
//!   │                 │ └──nobody is there any more──▶ none
//!   └─▶ asked ─accept─┘
//!         └──reject──▶ rejected ──Follow──▶ asked or accepted, as the node's rule is
//! asked, accepted ──its document has another inbox now──▶ the same, and gets its mail there
//! ```

use serde::{Deserialize, Serialize};

use super::entity::{ActorId, Decision, Entity, Kind, Turn};
use super::errands::{Errand, LOOK_AGAIN, LOOK_TRIES_MAX, Mailbox, Recipient, Report};
use super::log::Letter;
use super::outbox::{self, Outbox};
use super::rows::{Index, RowKey, Rows, parts};
use crate::clock::Time;
use crate::domains::activity::{Reference, Verb};
use crate::domains::identity::Iri;

const LOOK_TIMER: &str = "look";

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Follower {
    pub status: Status,
    #[serde(default)]
    pub follow: Option<Follow>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    None,
    Asked,
    Accepted,
    Rejected,
}

/// A Follow that came, and where its sender takes activities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Follow {
    pub id: Iri,
    pub at: Time,
    /// The actor's own inbox.
    pub inbox: Iri,
    /// The inbox that it shares with others of its server.
    #[serde(default)]
    pub shared_inbox: Option<Iri>,
}

impl Follow {
    /// Where activities for followers go: once per shared inbox.
    pub fn delivery(&self) -> &Iri {
        self.shared_inbox.as_ref().unwrap_or(&self.inbox)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Follow(Follow),
    Undo {
        follow: Iri,
    },
    /// It takes back something of which nothing is known here but the id. That may be the Follow, which is not remembered
    /// for as long as it counts.
    UndoId {
        id: Iri,
    },
    /// Somebody who may decides about one that asked.
    Accept,
    Reject,
    /// Its server says that nobody is there.
    Gone {
        reason: String,
    },
    /// It says that its document is another one now.
    Changed {
        /// How often that was asked for in vain.
        #[serde(default)]
        tries: u32,
    },
    /// What asking for it came to.
    Looked {
        tries: u32,
        answer: Report,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Asked(Follow),
    Accepted(Follow),
    Rejected,
    Undone,
    Gone { reason: String },
    Moved { inbox: Iri, shared_inbox: Option<Iri> },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("{0} does not follow this node, so that there is nothing to undo")]
    NotFollowing(String),
    #[error("{0} has not asked to follow this node; `quickbeam followers` lists who has")]
    NotAsked(String),
}

/// A row of the list of followers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub actor: Iri,
    pub status: Status,
    pub since: Time,
}

impl Entity for Follower {
    const KIND: Kind = Kind::Follower;
    type Command = Command;
    type Event = Event;
    type Reply = Status;
    type Rejection = Rejection;

    fn decide(&self, turn: &Turn<'_>, _rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        let they = they(turn.me);
        match (self.status, command) {
            (Status::Accepted, Command::Follow(follow)) => Ok(self.accept(turn, &they, follow)),
            (_, Command::Follow(follow)) if turn.world.accept.takes(&they) => Ok(self.accept(turn, &they, follow)),
            (_, Command::Follow(follow)) => {
                let listed = Listed { actor: they.clone(), status: Status::Asked, since: turn.now };
                Ok(Decision::reply(Status::Asked).put(by_actor(&they), &listed).event(Event::Asked(follow)))
            }
            (Status::Accepted | Status::Asked, Command::Undo { .. }) => Ok(self.leave(&they, Event::Undone)),
            (Status::Accepted | Status::Asked, Command::UndoId { id })
                if self.follow.as_ref().is_some_and(|follow| follow.id == id) =>
            {
                Ok(self.leave(&they, Event::Undone))
            }
            (status, Command::UndoId { .. }) => Ok(Decision::reply(status)),
            (Status::None | Status::Rejected, Command::Undo { .. }) => {
                Err(Rejection::NotFollowing(they.as_str().to_owned()))
            }
            (Status::Asked, Command::Accept) => {
                let follow = self.follow.clone().ok_or_else(|| Rejection::NotAsked(they.as_str().to_owned()))?;
                Ok(self.accept(turn, &they, follow))
            }
            (Status::Asked | Status::Accepted, Command::Reject) => Ok(self.reject(turn, &they)),
            (Status::Asked | Status::Accepted, Command::Gone { reason }) => {
                Ok(self.leave(&they, Event::Gone { reason }))
            }
            (Status::Asked | Status::Accepted, Command::Changed { tries }) => {
                let errand = Errand::Look { actor: they.as_str().to_owned(), tries };
                Ok(Decision::reply(self.status).errand(errand))
            }
            (Status::Asked | Status::Accepted, Command::Looked { tries, answer }) => {
                Ok(self.looked(turn, &they, tries, answer))
            }
            (status, Command::Gone { .. } | Command::Changed { .. } | Command::Looked { .. }) => {
                Ok(Decision::reply(status))
            }
            (status, Command::Accept) if status == Status::Accepted => Ok(Decision::reply(status)),
            (_, Command::Accept | Command::Reject) => Err(Rejection::NotAsked(they.as_str().to_owned())),
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        let Errand::Look { tries, .. } = errand else { return None };
        Some(Command::Looked { tries, answer: report })
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Asked(follow) => *self = Self { status: Status::Asked, follow: Some(follow.clone()) },
            Event::Accepted(follow) => *self = Self { status: Status::Accepted, follow: Some(follow.clone()) },
            Event::Rejected => self.status = Status::Rejected,
            Event::Undone | Event::Gone { .. } => *self = Self::default(),
            Event::Moved { inbox, shared_inbox } => {
                if let Some(follow) = &mut self.follow {
                    (follow.inbox, follow.shared_inbox) = (inbox.clone(), shared_inbox.clone());
                }
            }
        }
    }
}

impl Follower {
    fn accept(&self, turn: &Turn<'_>, they: &Iri, follow: Follow) -> Decision<Self> {
        let letter = Letter::to(turn, 0, they, |draft| draft, Verb::Accept, Reference::Id(follow.id.clone()));
        let since =
            self.follow.as_ref().filter(|_| self.status == Status::Accepted).map_or(turn.now, |before| before.at);
        let listed = Listed { actor: they.clone(), status: Status::Accepted, since };
        // Following again does not make one a follower anew.
        let follow = Follow { at: since, ..follow };
        let moved = self.follow.as_ref().filter(|before| before.delivery() != follow.delivery());
        let decision = Decision::reply(Status::Accepted);
        let decision = match moved {
            Some(before) if self.status == Status::Accepted => decision.delete(by_inbox(they, before)),
            _ => decision,
        };
        let decision = decision.put(by_actor(they), &listed).put(by_inbox(they, &follow), &listed);
        let decision = send(decision, they, &follow, &letter);
        decision.event(Event::Accepted(follow))
    }

    /// Takes over where its document says that it takes mail.
    fn looked(&self, turn: &Turn<'_>, they: &Iri, tries: u32, answer: Report) -> Decision<Self> {
        let decision = Decision::reply(self.status);
        let mailbox = match answer {
            Report::Unreachable { .. } | Report::TimedOut { .. } if tries < LOOK_TRIES_MAX => {
                let due = turn.now.plus(LOOK_AGAIN * (1 << tries));
                return decision.timer(LOOK_TIMER, due, &Command::Changed { tries: tries + 1 });
            }
            Report::Replied { body, .. } => serde_json::from_value::<Mailbox>(body).ok(),
            _ => None,
        };
        let Some((before, Mailbox { inbox, shared_inbox })) = self.follow.as_ref().zip(mailbox) else {
            return decision;
        };
        let follow = Follow { inbox: inbox.clone(), shared_inbox: shared_inbox.clone(), ..before.clone() };
        if follow == *before {
            return decision;
        }
        let decision = decision.event(Event::Moved { inbox, shared_inbox });
        if self.status != Status::Accepted || follow.delivery() == before.delivery() {
            return decision;
        }
        let listed = Listed { actor: they.clone(), status: Status::Accepted, since: before.at };
        decision.delete(by_inbox(they, before)).put(by_inbox(they, &follow), &listed)
    }

    fn reject(&self, turn: &Turn<'_>, they: &Iri) -> Decision<Self> {
        let decision = self.leave(they, Event::Rejected);
        let Some(follow) = &self.follow else { return decision };
        let letter = Letter::to(turn, 0, they, |draft| draft, Verb::Reject, Reference::Id(follow.id.clone()));
        send(decision, they, follow, &letter)
    }

    fn leave(&self, they: &Iri, event: Event) -> Decision<Self> {
        let reply = if event == Event::Rejected { Status::Rejected } else { Status::None };
        let decision = Decision::reply(reply).delete(by_actor(they)).event(event);
        match &self.follow {
            Some(follow) => decision.delete(by_inbox(they, follow)),
            None => decision,
        }
    }
}

fn they(me: &ActorId) -> Iri {
    Iri::parse(&me.key).expect("a follower is named by its id")
}

fn by_actor(they: &Iri) -> RowKey {
    RowKey::Index(Index::FollowersByActor, parts([they.as_str()]))
}

fn by_inbox(they: &Iri, follow: &Follow) -> RowKey {
    let inbox = follow.delivery();
    RowKey::Index(Index::Followers, parts([inbox.authority().as_str(), inbox.as_str(), they.as_str()]))
}

/// The answer goes to the follower's own inbox, before anything else that goes to its server.
fn send(decision: Decision<Follower>, they: &Iri, follow: &Follow, letter: &Letter) -> Decision<Follower> {
    letter.log(decision).tell::<Outbox>(
        follow.inbox.authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to: Recipient::Inbox(follow.inbox.as_str().to_owned()),
            object: they.as_str().to_owned(),
            first: true,
            tell: false,
        },
    )
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
