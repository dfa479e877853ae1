//! What the activities of others set off here: flows that behaviours of our types run, and answers that nobody else gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{Decision, Turn};
use super::errands::Recipient;
use super::flow::{self, Flow, Origin, Start};
use super::follower::Follower;
use super::following::Following;
use super::inbox::{Inbox, Receipt, Received, Rejection, object_key, taken};
use super::log::Letter;
use super::outbox::{self, Outbox};
use super::reactions::{self, Given, Reaction};
use super::rows::{RowKey, Rows};
use super::{follower, following, stream};
use crate::clock::Time;
use crate::domains::activity::{Activity, Reference, Verb};
use crate::domains::behaviours::{self, Behaviour, Sender};
use crate::domains::flow::expr::Input;
use crate::domains::identity::Iri;
use crate::domains::object::Object;

/// What is remembered of an object of this authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remote {
    kind: String,
    attributed_to: String,
    at: Time,
    #[serde(default)]
    deleted: bool,
    /// The address below our base of what it replies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

/// Starts the flow that our type of the target runs, whose end is the answer; what nobody here takes is answered no.
pub(super) fn allocated(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Result<Decision<Inbox>, Rejection> {
    let activity = &received.activity;
    let Some(path) = &received.target else { return Ok(Decision::reply(Receipt::Ignored)) };
    let target = rows.one::<Object>("target").filter(|object| object.deleted.is_none());
    let behaviour = target.and_then(|object| turn.world.catalog.remote(&object.kind, behaviours::Verb::Allocate));
    let Some(behaviour) = behaviour else {
        let why = format!("nothing here is done with what {path} is given");
        return Ok(refuse(taken(turn, received, None), turn, received, &why));
    };
    if !allows(behaviour, rows, &activity.actor) {
        return Err(not_allowed(activity, path, behaviour));
    }
    Ok(start(turn, received, behaviour, true))
}

fn not_allowed(activity: &Activity, target: &str, behaviour: &Behaviour) -> Rejection {
    Rejection::NotAllowed {
        verb: activity.verb.as_str().to_owned(),
        target: target.to_owned(),
        actor: activity.actor.clone(),
        wanted: behaviour.from.to_string(),
    }
}

/// Answers an Allocate with no.
pub(super) fn refuse(decision: Decision<Inbox>, turn: &Turn<'_>, received: &Received, why: &str) -> Decision<Inbox> {
    let activity = &received.activity;
    let about = Reference::Id(activity.id.clone());
    let letter = Letter::to(turn, 1, &activity.actor, |draft| draft.summary(why.to_owned()), Verb::Reject, about);
    letter.log(decision).tell::<Outbox>(
        received.inbox.authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to: Recipient::Inbox(received.inbox.as_str().to_owned()),
            object: activity.id.as_str().to_owned(),
            first: false,
            tell: false,
        },
    )
}

/// A Create, Update or Delete of something of the sender's own.
pub(super) fn changed(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Result<Decision<Inbox>, Rejection> {
    let activity = &received.activity;
    let (object, held) = (&activity.object, rows.one::<Remote>("object"));
    let stranger = || Rejection::NotYourObject { object: object.id.clone(), owner: object.id.authority().to_string() };
    if !object.id.same_authority(&activity.actor) {
        return Err(stranger());
    }
    match activity.verb {
        Verb::Delete if object.id == activity.actor => return Ok(left(turn, rows, received)),
        Verb::Update if object.id == activity.actor => return Ok(renewed(turn, rows, received)),
        _ => {}
    }
    let actor = activity.actor.as_str();
    let keeper = held.as_ref().map(|held| held.attributed_to.as_str()).filter(|keeper| *keeper != actor);
    // Also of what is known to be the sender's: nobody puts its words into the mouth of another.
    if let Some(owner) = keeper.or_else(|| another(object.embedded.as_ref(), actor)) {
        return Err(Rejection::NotYourObject { object: object.id.clone(), owner: owner.to_owned() });
    }
    let creates = activity.verb == Verb::Create;
    let kind = match &held {
        Some(held) if !held.deleted => Some(held.kind.clone()),
        Some(_) => None,
        None if creates => Some(
            object
                .kind()
                .and_then(|kind| turn.world.catalog.type_seen_as(kind))
                .map(|declared| declared.name.clone())
                .unwrap_or_default(),
        ),
        None => None,
    };
    let Some(kind) = kind else { return Ok(Decision::reply(Receipt::Ignored)) };
    let behaviour = behaviour(turn, rows, activity, &kind);
    // Who names something of ours is told why it does nothing; others are simply not wanted.
    if let (Some(behaviour), Some(target)) = (behaviour, received.target.as_deref())
        && !allows(behaviour, rows, &activity.actor)
    {
        return Err(not_allowed(activity, target, behaviour));
    }
    let behaviour = behaviour.filter(|behaviour| allows(behaviour, rows, &activity.actor));
    let known = held.as_ref().and_then(|held| held.reply_to.clone());
    let replies = received.reply_to.clone().filter(|_| held.is_none() && activity.is_public());
    let reply = replies.filter(|_| reactions::is_open(rows, "replied"));
    // What those we follow make is kept also when nothing runs on it, and so is what replies to us.
    if behaviour.is_none() && !follows(rows) && known.is_none() && reply.is_none() {
        return Ok(Decision::reply(Receipt::Ignored));
    }
    let decision = match behaviour {
        Some(behaviour) => start(turn, received, behaviour, false),
        None => taken(turn, received, None),
    };
    let (attributed_to, deleted) = (activity.actor.as_str().to_owned(), activity.verb == Verb::Delete);
    let given = Given { by: activity.actor.clone(), what: object.id.clone(), at: turn.now };
    let decision = match (&reply, &known) {
        (Some(path), _) => {
            reactions::tell(decision, path, &stream::Command::React { reaction: Reaction::Reply, given })
        }
        (None, Some(path)) if deleted => {
            reactions::tell(decision, path, &stream::Command::Unreact { reaction: Reaction::Reply, given })
        }
        (None, _) => decision,
    };
    let remote = Remote { kind, attributed_to, at: turn.now, deleted, reply_to: reply.or(known) };
    Ok(decision.put(RowKey::Own(object_key(&object.id)), &remote))
}

/// An actor that is deleted follows nobody any more, and nobody follows it.
fn left(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Decision<Inbox> {
    let actor = received.activity.actor.as_str();
    let (follower, followed) =
        (rows.one::<follower::Listed>("follower").is_some(), rows.one::<following::Listed>("following").is_some());
    if !follower && !followed {
        return Decision::reply(Receipt::Ignored);
    }
    let reason = || "its account was deleted".to_owned();
    taken(turn, received, None)
        .when(follower, |it| it.tell::<Follower>(actor, &follower::Command::Gone { reason: reason() }))
        .when(followed, |it| it.tell::<Following>(actor, &following::Command::Sever { reason: reason() }))
}

/// An actor says that its document is another one now. That one counts, wherever it is needed, and nothing of what stands
/// here; only of a follower it is kept where it takes mail.
fn renewed(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Decision<Inbox> {
    let follower = rows.one::<follower::Listed>("follower").is_some();
    if !follower && !follows(rows) {
        return Decision::reply(Receipt::Ignored);
    }
    let actor = received.activity.actor.as_str();
    taken(turn, received, None)
        .when(follower, |it| it.tell::<Follower>(actor, &follower::Command::Changed { tries: 0 }))
}

/// An actor that this node follows says that it is somewhere else now. Whether that one says so too is asked first.
pub(super) fn moved(turn: &Turn<'_>, rows: &Rows, received: &Received) -> Result<Decision<Inbox>, Rejection> {
    let activity = &received.activity;
    if activity.object.id != activity.actor {
        return Err(Rejection::NotYours(activity.object.id.clone()));
    }
    let Some(to) = activity.target.clone().filter(|to| *to != activity.actor && follows(rows)) else {
        return Ok(Decision::reply(Receipt::Ignored));
    };
    let moved = following::Command::Moved { to, tries: 0 };
    Ok(taken(turn, received, None).tell::<Following>(activity.actor.as_str(), &moved))
}

/// The behaviour of our type of the target, when that is ours, or else of the object.
fn behaviour<'a>(turn: &Turn<'a>, rows: &Rows, activity: &Activity, kind: &str) -> Option<&'a Behaviour> {
    let verb = behaviours::Verb::of(&activity.verb)?;
    let catalog = &turn.world.catalog;
    let target = rows.one::<Object>("target").filter(|target| target.deleted.is_none());
    target.and_then(|target| catalog.remote(&target.kind, verb)).or_else(|| catalog.remote(kind, verb))
}

/// Whose an object is said to be, when that is not the actor: not alone, and not with others.
fn another<'a>(object: Option<&'a Value>, actor: &str) -> Option<&'a str> {
    let by = object?.get("attributedTo")?;
    let list = by.as_array().map_or(std::slice::from_ref(by), Vec::as_slice);
    let mut named = list.iter().filter_map(|one| one.as_str().or_else(|| one.get("id")?.as_str()));
    let first = named.next()?;
    (first != actor && !named.any(|other| other == actor)).then_some(first)
}

fn start(turn: &Turn<'_>, received: &Received, behaviour: &Behaviour, answer: bool) -> Decision<Inbox> {
    let activity = &received.activity;
    let Some(definition) = turn.world.catalog.current(&behaviour.run) else {
        let decision = taken(turn, received, None);
        let why = format!("there is no flow {} any more", behaviour.run);
        return decision.when(answer, |decision| refuse(decision, turn, received, &why));
    };
    let object = &activity.object;
    let start = Start {
        name: behaviour.run.clone(),
        definition: definition.hash.0.clone(),
        input: Input {
            input: Value::Null,
            activity: activity.raw.clone(),
            object: object.embedded.clone().unwrap_or_else(|| serde_json::json!({ "id": object.id.as_str() })),
            actor: activity.actor.as_str().into(),
        },
        origin: Origin::Remote {
            activity: activity.id.clone(),
            actor: activity.actor.clone(),
            inbox: Some(received.inbox.clone()),
            answer,
        },
    };
    let name = format!("remote {} {}", activity.verb.as_str(), behaviour.run);
    let id = flow::id(&activity.actor.authority(), &activity.id, &name);
    taken(turn, received, Some(id.clone())).tell::<Flow>(id, &flow::Command::Start(Box::new(start)))
}

/// Also whom this node has asked: what somebody sends right behind an Accept may be looked at before that has been.
fn follows(rows: &Rows) -> bool {
    use following::Status::{Accepted, Asked};
    rows.one::<following::Listed>("following").is_some_and(|listed| matches!(listed.status, Accepted | Asked))
}

/// Whether a behaviour lets this actor fire it.
fn allows(behaviour: &Behaviour, rows: &Rows, actor: &Iri) -> bool {
    let follower: Option<follower::Listed> = rows.one("follower");
    behaviour.from.admits(&Sender {
        actor: actor.as_str(),
        authority: actor.authority().as_str(),
        followed: follows(rows),
        follower: follower.is_some_and(|listed| listed.status == follower::Status::Accepted),
    })
}
