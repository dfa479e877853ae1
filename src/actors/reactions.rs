//! What others make of an object of ours: likes, shares and replies, each counted once and no longer than it stands.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entity::{Decision, Turn};
use super::follower;
use super::inbox::{Inbox, Receipt, Received, taken};
use super::rows::{Reads, RowKey, Rows, part, parts};
use super::stream::{self, Command, Stream};
use crate::clock::Time;
use crate::domains::activity::Verb;
use crate::domains::identity::Iri;
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    Like,
    Share,
    Reply,
}

/// One of them, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    pub by: Iri,
    /// The activity that likes or shares, or the reply itself.
    pub what: Iri,
    pub at: Time,
}

/// How many there are of an object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    #[serde(default)]
    pub likes: u64,
    #[serde(default)]
    pub shares: u64,
    #[serde(default)]
    pub replies: u64,
}

impl Reaction {
    pub const ALL: [Self; 3] = [Self::Like, Self::Share, Self::Reply];

    /// What ActivityStreams calls the collection of them, and where it stands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Like => "likes",
            Self::Share => "shares",
            Self::Reply => "replies",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reaction| reaction.word() == word)
    }

    /// What a verb about an object of ours makes of it.
    pub(super) fn of(verb: &Verb) -> Option<Self> {
        match verb {
            Verb::Like => Some(Self::Like),
            Verb::Announce => Some(Self::Share),
            _ => None,
        }
    }
}

impl Given {
    /// Where those of one kind stand among the rows of an object's stream.
    pub fn rows(reaction: Reaction) -> Key {
        parts(["reaction", reaction.word()])
    }

    /// Nobody likes or shares a thing twice; replies are told apart by themselves.
    fn row(&self, reaction: Reaction) -> RowKey {
        let own = if reaction == Reaction::Reply { &self.what } else { &self.by };
        let digest = Sha256::digest(own.as_str().as_bytes());
        RowKey::Own(part().raw(Self::rows(reaction).as_bytes()).bytes(&digest[..16]).done())
    }
}

impl Tally {
    /// Where it stands among the rows of an object's stream.
    pub fn row() -> RowKey {
        RowKey::Own(parts(["tally"]))
    }

    pub fn of(&self, reaction: Reaction) -> u64 {
        match reaction {
            Reaction::Like => self.likes,
            Reaction::Share => self.shares,
            Reaction::Reply => self.replies,
        }
    }

    fn of_mut(&mut self, reaction: Reaction) -> &mut u64 {
        match reaction {
            Reaction::Like => &mut self.likes,
            Reaction::Share => &mut self.shares,
            Reaction::Reply => &mut self.replies,
        }
    }
}

/// What a stream needs to know for one more or one fewer.
pub(super) fn reads(reads: Reads, reaction: Reaction, given: &Given) -> Reads {
    let own = |key| match key {
        RowKey::Own(key) => key,
        RowKey::Index(..) => unreachable!("both are rows of the stream itself"),
    };
    reads.own("given", own(given.row(reaction))).own("tally", own(Tally::row()))
}

/// One more; from somebody of whom there is one already it only takes its place.
pub(super) fn given(rows: &Rows, reaction: Reaction, given: &Given) -> Decision<Stream> {
    let live = rows.one::<Object>("object").is_some_and(|object| object.deleted.is_none());
    if !live {
        return Decision::default();
    }
    let decision = Decision::default().put(given.row(reaction), given);
    match rows.one::<Given>("given") {
        Some(_) => decision,
        None => count(decision, rows, reaction, |count| count + 1),
    }
}

/// One fewer, if it is the one that stands.
pub(super) fn taken_back(rows: &Rows, reaction: Reaction, given: &Given) -> Decision<Stream> {
    match rows.one::<Given>("given").filter(|standing| standing.what == given.what) {
        Some(_) => count(Decision::default().delete(given.row(reaction)), rows, reaction, |count| count - 1),
        None => Decision::default(),
    }
}

fn count(decision: Decision<Stream>, rows: &Rows, reaction: Reaction, by: fn(u64) -> u64) -> Decision<Stream> {
    let mut tally: Tally = rows.one("tally").unwrap_or_default();
    let count = tally.of_mut(reaction);
    *count = by(*count);
    decision.put(Tally::row(), &tally)
}

/// A like or share of something of ours that its actor may see; of anything else it is not wanted.
pub(super) fn arrived(turn: &Turn<'_>, rows: &Rows, received: &Received, reaction: Reaction) -> Decision<Inbox> {
    let Some(path) = received.about.as_deref().filter(|_| is_open(rows, "target")) else {
        return Decision::reply(Receipt::Ignored);
    };
    let activity = &received.activity;
    let given = Given { by: activity.actor.clone(), what: activity.id.clone(), at: turn.now };
    tell(taken(turn, received, None), path, &Command::React { reaction, given })
}

/// Whether what was read under this name is an object of ours that the sender may see.
pub(super) fn is_open(rows: &Rows, name: &str) -> bool {
    let follower: Option<follower::Listed> = rows.one("follower");
    let follows = follower.is_some_and(|listed| listed.status == follower::Status::Accepted);
    rows.one::<Object>(name).is_some_and(|object| {
        let shown = match object.visibility {
            Visibility::Public => true,
            Visibility::Followers => follows,
            Visibility::Direct => false,
        };
        shown && object.deleted.is_none()
    })
}

pub(super) fn tell(decision: Decision<Inbox>, path: &str, command: &Command) -> Decision<Inbox> {
    decision.tell::<Stream>(stream::object_stream(path), command)
}

#[cfg(test)]
#[path = "reactions_tests.rs"]
mod tests;
