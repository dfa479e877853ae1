//! The inbox of one sending authority: what comes from there is taken once, logged, and handed to those concerned.
//!
//! Every activity is new, seen before (the same answer, no effect), or refused (nothing is kept of it). What is verified
//! and unwanted is counted by whoever calls, and leaves no trace here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::arrivals::{allocated, changed, moved, refuse};
use super::entity::{ActorId, Decision, Entity, Kind, Turn};
use super::flow::{self, Flow};
use super::follower::{self, Follow, Follower};
use super::following::{self, Following};
use super::log::{self, Way};
use super::petition::{self, Petition};
use super::reactions::{self, Given, Reaction};
use super::rows::{Index, Reads, RowKey, Rows, part, parts};
use super::stream::{self, Stream};
use super::{layout, record};
use crate::clock::Time;
use crate::domains::activity::{Activity, Reference, Verb};
use crate::domains::identity::Iri;
use crate::store::{Engine, Key, ReadError};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbox {
    /// Activities taken so far.
    pub taken: u64,
    #[serde(default)]
    pub last: Option<Time>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Only `wire/inbox.rs` sends this, and only with what it has verified.
    Receive(Box<Received>),
}

/// A verified activity as it arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub activity: Activity,
    /// The bytes that were signed.
    pub body: Bytes,
    pub inbox: Iri,
    #[serde(default)]
    pub shared_inbox: Option<Iri>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<log::Signed>,
    /// The address below our base of what it is about, if that is ours.
    #[serde(default)]
    pub about: Option<String>,
    /// The address below our base of its target, if that is ours.
    #[serde(default)]
    pub target: Option<String>,
    /// The address below our base of what its object replies to, if that is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Taken { at: Time },
}

/// What was done with an activity.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipt {
    Taken,
    /// It had been taken before.
    Repeated,
    /// Nothing here wants it.
    #[default]
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the id {0} was used for another activity before; use a new id for a new activity")]
    OtherBody(Iri),
    #[error("{id} was published {published}, longer ago than repeats are told apart; send it under a new id")]
    TooOld { id: Iri, published: Time },
    #[error("{0} was addressed to somebody else, so that your answer does not count")]
    NotAsked(Iri),
    #[error("result {0} is not on your own authority")]
    ResultElsewhere(Iri),
    #[error("{0} is not yours: only who did it can undo it")]
    NotYours(Iri),
    #[error("{object} belongs to {owner}: only its owner can change it")]
    NotYourObject { object: Iri, owner: String },
    #[error("this node does not take {verb} for {target} from {actor}: it has to be {wanted}")]
    NotAllowed { verb: String, target: String, actor: Iri, wanted: String },
}

/// What is remembered of an activity: a row per id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    at: Time,
    hash: Bytes,
    verb: Verb,
    actor: Iri,
    /// Undone, perhaps before it came.
    #[serde(default)]
    undone: bool,
    /// The flow that it started.
    #[serde(default)]
    flow: Option<String>,
    /// The address below our base of what it likes or shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
}

impl Seen {
    /// True for what an Undo left of an activity that had not come.
    fn is_mark(&self) -> bool {
        self.undone && self.hash.is_empty()
    }
}

/// For a row of an inbox: whether it remembers an activity that came before `before`, and then the flow that it started.
#[allow(clippy::option_option, reason = "the outer one is whether, the inner one is what")]
pub(super) fn outlived(key: &Key, value: &[u8], before: Time) -> Option<Option<String>> {
    let area = layout::own_row(key)?.1.parts().text()?;
    let seen: Seen = record::decode(value).ok().filter(|_| area == SEEN)?;
    (seen.at < before).then_some(seen.flow)
}

/// What is remembered of an activity. A mark counts only for the actor that left it: nobody undoes for another.
fn seen_by(rows: &Rows, name: &str, actor: &Iri) -> Option<Seen> {
    rows.one::<Seen>(name).filter(|seen| !seen.is_mark() || seen.actor == *actor)
}

const SEEN: &str = "seen";

fn hashed(area: &str, id: &Iri) -> Key {
    part().text(area).bytes(&Sha256::digest(id.as_str().as_bytes())[..16]).done()
}

fn seen_key(id: &Iri) -> Key {
    hashed(SEEN, id)
}

pub(super) fn object_key(id: &Iri) -> Key {
    hashed("object", id)
}

/// The flow that an activity of this actor set off here.
///
/// # Errors
/// What the store says.
pub async fn flow_of(engine: &dyn Engine, actor: &Iri, id: &Iri) -> Result<Option<String>, ReadError> {
    let inbox = ActorId::of::<Inbox>(actor.authority().as_str());
    let row = engine.get(&layout::row(&inbox, &RowKey::Own(seen_key(id)))).await?;
    Ok(row.and_then(|row| record::decode::<Seen>(&row.value).ok()?.flow))
}

impl Entity for Inbox {
    const KIND: Kind = Kind::Inbox;
    type Command = Command;
    type Event = Event;
    type Reply = Receipt;
    type Rejection = Rejection;

    fn reads(_me: &ActorId, command: &Command) -> Reads {
        let Command::Receive(received) = command;
        let activity = &received.activity;
        let reads = Reads::none().own("seen", seen_key(&activity.id));
        let local = |reads: Reads, name, path: &Option<String>| match path {
            Some(path) => reads.entry(name, Index::Objects, parts([path])),
            None => reads,
        };
        let actor = || parts([activity.actor.as_str()]);
        match activity.verb {
            Verb::Follow | Verb::Other(_) => reads,
            Verb::Like | Verb::Announce => {
                local(reads.entry("follower", Index::FollowersByActor, actor()), "target", &received.about)
            }
            Verb::Move => reads.entry("following", Index::Following, actor()),
            Verb::Accept | Verb::Reject => {
                match received.about.as_deref().and_then(|path| path.strip_prefix("activities/")) {
                    Some(ulid) => reads.entry("asked", Index::Activities, parts([ulid])),
                    None => reads,
                }
            }
            Verb::Undo => {
                let reads = reads.own("undone", seen_key(&activity.object.id));
                reads.entry("follower", Index::FollowersByActor, actor())
            }
            Verb::Create | Verb::Update | Verb::Delete | Verb::Allocate => {
                let reads = reads
                    .own("object", object_key(&activity.object.id))
                    .entry("following", Index::Following, actor())
                    .entry("follower", Index::FollowersByActor, actor());
                local(local(reads, "target", &received.target), "replied", &received.reply_to)
            }
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        let Command::Receive(received) = command;
        let activity = &received.activity;
        let seen = seen_by(rows, "seen", &activity.actor);
        let hash = Sha256::digest(&received.body);
        match &seen {
            // An Undo that came first has only the id; what it undoes is taken as seen and has no effect.
            Some(seen) if seen.is_mark() => return Ok(undone_before(turn, &received)),
            Some(seen) if seen.hash != hash[..] => return Err(Rejection::OtherBody(activity.id.clone())),
            Some(_) => return Ok(Decision::reply(Receipt::Repeated)),
            None => {}
        }
        if let Some(published) = activity.published.filter(|at| turn.now.since(*at) > turn.world.dedupe) {
            return Err(Rejection::TooOld { id: activity.id.clone(), published });
        }
        let verb = activity.verb.clone();
        match verb {
            Verb::Follow => Ok(followed(turn, &received)),
            Verb::Accept | Verb::Reject => answered(turn, rows, &received),
            Verb::Undo => undone(turn, rows, &received),
            Verb::Allocate => allocated(turn, rows, &received),
            Verb::Create | Verb::Update | Verb::Delete => changed(turn, rows, &received),
            Verb::Like => Ok(reactions::arrived(turn, rows, &received, Reaction::Like)),
            Verb::Announce => Ok(reactions::arrived(turn, rows, &received, Reaction::Share)),
            Verb::Move => moved(turn, rows, &received),
            Verb::Other(_) => Ok(Decision::reply(Receipt::Ignored)),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Taken { at } => {
                self.taken += 1;
                self.last = Some(*at);
            }
        }
    }
}

/// Remembers and logs an activity: the part of every turn that takes one.
pub(super) fn taken(turn: &Turn<'_>, received: &Received, flow: Option<String>) -> Decision<Inbox> {
    let activity = &received.activity;
    let hash = Bytes::copy_from_slice(&Sha256::digest(&received.body));
    let (verb, actor) = (activity.verb.clone(), activity.actor.clone());
    let about = received.about.clone().filter(|_| Reaction::of(&verb).is_some());
    let seen = Seen { at: turn.now, hash, verb, actor, undone: false, flow, about };
    Decision::reply(Receipt::Taken)
        .put(RowKey::Own(seen_key(&activity.id)), &seen)
        .put(
            log::Entry::row(&turn.ulid(0)),
            &log::Entry::received(activity, turn.now, received.body.clone(), received.signed.clone()),
        )
        .event(Event::Taken { at: turn.now })
}

fn followed(turn: &Turn<'_>, received: &Received) -> Decision<Inbox> {
    let activity = &received.activity;
    if activity.object.id != turn.world.actor {
        return Decision::reply(Receipt::Ignored);
    }
    let follow = Follow {
        id: activity.id.clone(),
        at: turn.now,
        inbox: received.inbox.clone(),
        shared_inbox: received.shared_inbox.clone(),
    };
    taken(turn, received, None).tell::<Follower>(activity.actor.as_str(), &follower::Command::Follow(follow))
}

/// An Accept or Reject counts only from the one actor that its original was addressed to.
fn answered(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Result<Decision<Inbox>, Rejection> {
    let activity = &received.activity;
    if received.about.is_none() {
        return Ok(Decision::reply(Receipt::Ignored));
    }
    let not_asked = || Rejection::NotAsked(activity.object.id.clone());
    let original = rows.first("asked").ok_or_else(not_asked)?;
    let (entry, owner) = (original.read::<log::Entry>(), original.owner.as_ref());
    let (entry, owner) = entry.zip(owner).ok_or_else(not_asked)?;
    if entry.way != Way::Made || entry.asked.as_ref() != Some(&activity.actor) {
        return Err(not_asked());
    }
    let result = activity.result.as_ref().and_then(Reference::id);
    if let Some(elsewhere) = result.as_ref().filter(|result| !result.same_authority(&activity.actor)) {
        return Err(Rejection::ResultElsewhere(elsewhere.clone()));
    }
    let accepted = activity.verb == Verb::Accept;
    let decision = taken(turn, received, None);
    Ok(match owner.kind {
        Kind::Following => {
            let follow = entry.id;
            decision.tell::<Following>(owner.key.clone(), &following::Command::Answered { follow, accepted })
        }
        Kind::Stream => {
            let words = activity.words();
            let ulid =
                turn.world.local(&entry.id).and_then(|path| path.strip_prefix("activities/")).unwrap_or_default();
            let command = stream::Command::Answered { activity: ulid.to_owned(), accepted, result, words };
            decision.tell::<Stream>(owner.key.clone(), &command)
        }
        Kind::Inbox | Kind::Follower | Kind::Outbox | Kind::Flow | Kind::Gate | Kind::Schedule => decision,
    })
}

/// Takes back what the same actor did. Of an id that has not come a mark stays, so that it has no effect when it comes.
fn undone(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Result<Decision<Inbox>, Rejection> {
    let activity = &received.activity;
    let original = &activity.object.id;
    if !original.same_authority(&activity.actor) || *original == activity.id {
        return Err(Rejection::NotYours(original.clone()));
    }
    let Some(seen) = seen_by(rows, "undone", &activity.actor) else {
        let mark = Seen {
            at: turn.now,
            hash: Bytes::new(),
            verb: Verb::Undo,
            actor: activity.actor.clone(),
            undone: true,
            flow: None,
            about: None,
        };
        let decision = taken(turn, received, None).put(RowKey::Own(seen_key(original)), &mark);
        return Ok(undone_unseen(decision, turn, rows, received));
    };
    if seen.actor != activity.actor {
        return Err(Rejection::NotYours(original.clone()));
    }
    let mark = seen.is_mark();
    let decision = taken(turn, received, None);
    let decision = decision.put(RowKey::Own(seen_key(original)), &Seen { undone: true, ..seen.clone() });
    if let (Some(reaction), Some(path)) = (Reaction::of(&seen.verb), &seen.about) {
        let given = Given { by: seen.actor, what: original.clone(), at: seen.at };
        return Ok(reactions::tell(decision, path, &stream::Command::Unreact { reaction, given }));
    }
    Ok(match (seen.verb, seen.flow) {
        _ if mark => undone_unseen(decision, turn, rows, received),
        (Verb::Follow, _) => {
            let follow = original.clone();
            decision.tell::<Follower>(activity.actor.as_str(), &follower::Command::Undo { follow })
        }
        // Its flow answers, once nothing of it is left.
        (Verb::Allocate, Some(flow)) => {
            let reason = format!("{} took its request back", activity.actor);
            let by = Some(activity.actor.as_str().to_owned());
            let petition = Some(Box::new(petition(received)));
            decision.tell::<Flow>(flow, &flow::Command::TakeBack { by, reason, petition })
        }
        // It was refused: nothing is left of it.
        (Verb::Allocate, None) => petition::accept(decision, turn, &petition(received)),
        _ => decision,
    })
}

fn petition(received: &Received) -> Petition {
    let activity = &received.activity;
    Petition {
        activity: activity.id.clone(),
        of: activity.object.id.clone(),
        actor: activity.actor.clone(),
        inbox: received.inbox.clone(),
    }
}

/// What is not here says of itself what it is; whoever names nothing but an id may mean an Allocate, or a Follow that came
/// long ago. Lemmy undoes a Follow under an id that it makes for that.
fn undone_unseen(decision: Decision<Inbox>, turn: &Turn<'_>, rows: &Rows, received: &Received) -> Decision<Inbox> {
    let activity = &received.activity;
    let (they, id) = (activity.actor.as_str(), activity.object.id.clone());
    if activity.undoes_follow_of(&turn.world.actor) {
        return decision.tell::<Follower>(they, &follower::Command::Undo { follow: id });
    }
    let may_be_follow = activity.object.embedded.is_none() && rows.first("follower").is_some();
    let decision = decision.when(may_be_follow, |it| it.tell::<Follower>(they, &follower::Command::UndoId { id }));
    match activity.object.kind().is_none_or(|kind| kind == Verb::Allocate.as_str()) {
        true => petition::accept(decision, turn, &petition(received)),
        false => decision,
    }
}

/// Something whose Undo came first: remembered, without effect; an Allocate still gets its one answer.
fn undone_before(turn: &Turn<'_>, received: &Received) -> Decision<Inbox> {
    let decision = taken(turn, received, None);
    match received.activity.verb {
        Verb::Allocate => refuse(decision, turn, received, "it was taken back before it came"),
        _ => decision,
    }
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
