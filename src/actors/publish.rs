//! Telling others: the activity about an object of ours, and the walk that brings it to everyone once per inbox.

use std::collections::BTreeSet;

use super::entity::{Decision, Turn};
use super::errands::Recipient;
use super::flow::{self, Flow, Origin, Start};
use super::follower;
use super::log::{Entry, Letter};
use super::outbox::{self, Outbox};
use super::rows::{Index, Reads, Rows, parts};
use super::stream::{self, Command, Stream, Written};
use crate::domains::activity::{Activity, Reference, Verb};
use crate::domains::behaviours;
use crate::domains::draft::Draft;
use crate::domains::flow::Input;
use crate::domains::identity::{Authority, Iri};
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Followers told in one turn.
const PAGE: usize = 100;

/// A walk over those who are to have an activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FanOut {
    /// The local ulid.
    pub activity: String,
    pub object: Iri,
    /// Actors that get it besides the followers.
    #[serde(default)]
    pub to: Vec<Iri>,
    /// Whether followers get it at all.
    pub followers: bool,
    /// How far the list of followers has been walked.
    #[serde(default)]
    pub after: Option<Vec<u8>>,
}

/// A published write in the making.
pub(super) struct Published {
    pub(super) decision: Decision<Stream>,
    pub(super) id: Iri,
    pub(super) ulid: String,
}

/// Who writes. Behaviours fire for what is written through our own API; what a flow writes fires none, or one that
/// changes its own object would never end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Api,
    Flow,
}

/// Stores the object, logs the activity about it, begins the walk, and starts what the type's behaviour says.
pub(super) fn object(turn: &Turn<'_>, writer: Writer, verb: Verb, object: &Object) -> Published {
    let ulid = turn.ulid(0);
    let (id, activity_id) = (turn.world.iri(&object.path), turn.world.activity(&ulid));
    let followers = turn.world.iri("followers");
    let about = Reference::Embedded(object.json(&id, &followers));
    let mut draft = Draft::new(activity_id.clone(), verb.clone(), turn.world.actor.clone(), about, turn.now);
    (draft.to, draft.cc) = object.addressed(&followers);
    let activity = draft.build().expect("a draft of ours has all that an activity needs");
    let decision = Decision::reply(Written { id: Some(id.clone()), activity: Some(activity_id.clone()) })
        .put(stream::object_row(&object.path), object)
        .put(Entry::row(&ulid), &Entry::made(&activity, turn.now, None));
    let followers = object.visibility != Visibility::Direct;
    let walk = FanOut { activity: ulid.clone(), object: id.clone(), to: object.to.clone(), followers, after: None };
    let decision = decision.when(followers || !walk.to.is_empty(), |decision| {
        decision.tell::<Stream>(turn.me.key.clone(), &Command::FanOut(walk))
    });
    let decision = decision.when(writer == Writer::Api, |it| start_local(it, turn, &verb, &activity, object));
    Published { decision, id, ulid }
}

/// An activity about this stream's object to one actor, logged and on its way. With `tell` it hears when it is given up.
pub(super) fn directed(
    turn: &Turn<'_>,
    verb: Verb,
    object: &Object,
    to: &Iri,
    tell: bool,
    draft: impl FnOnce(Draft) -> Draft,
) -> (Decision<Stream>, Letter) {
    let id = turn.world.iri(&object.path);
    let letter =
        Letter::to(turn, 0, to, draft, verb, Reference::Embedded(object.json(&id, &turn.world.iri("followers"))));
    let decision = letter.log(Decision::default());
    let recipient = Recipient::Actor(to.as_str().to_owned());
    (send(decision, &letter.ulid, recipient, &to.authority(), &id, tell), letter)
}

/// A page of followers, and at the start who of `to` is one.
pub(super) fn reads(walk: &FanOut) -> Reads {
    let mut reads = Reads::none();
    if walk.after.is_none() {
        for to in &walk.to {
            reads = reads.entry("known", Index::FollowersByActor, parts([to.as_str()]));
        }
    }
    if walk.followers {
        let after = walk.after.clone().map(Key::from_bytes);
        reads = reads.list("followers", Index::Followers, Key::default(), after, PAGE);
    }
    reads
}

/// Puts the activity into the outboxes of one page of inboxes, and goes on in the next turn.
pub(super) fn fan_out(turn: &Turn<'_>, rows: &Rows, walk: FanOut) -> Decision<Stream> {
    let mut decision = Decision::default();
    if walk.after.is_none() {
        let known = rows.page("known").iter().filter_map(|row| row.read::<follower::Listed>());
        let followers: BTreeSet<Iri> = known
            .filter(|known| walk.followers && known.status == follower::Status::Accepted)
            .map(|known| known.actor)
            .collect();
        let to: BTreeSet<&Iri> = walk.to.iter().filter(|to| !followers.contains(*to)).collect();
        for to in to {
            let recipient = Recipient::Actor(to.as_str().to_owned());
            decision = send(decision, &walk.activity, recipient, &to.authority(), &walk.object, false);
        }
    }
    let mut told = walk.after.as_deref().and_then(inbox_of);
    for follower in rows.page("followers") {
        let inbox = inbox_of(follower.key.as_bytes());
        // Followers of one server stand together, in the order of their inboxes.
        if let Some((authority, inbox)) = inbox.as_ref().filter(|_| inbox != told)
            && let Ok(authority) = Authority::parse(authority)
        {
            let to = Recipient::Inbox(inbox.clone());
            decision = send(decision, &walk.activity, to, &authority, &walk.object, false);
        }
        told = inbox;
    }
    let Some(last) = rows.page("followers").last() else { return decision };
    let next = FanOut { after: Some(last.key.as_bytes().to_vec()), to: Vec::new(), ..walk };
    decision.tell::<Stream>(turn.me.key.clone(), &Command::FanOut(next))
}

/// Authority and inbox of an entry of the list of followers.
fn inbox_of(entry: &[u8]) -> Option<(String, String)> {
    let key = Key::from_bytes(entry.to_vec());
    let mut parts = key.parts();
    Some((parts.text()?, parts.text()?))
}

fn send(
    decision: Decision<Stream>,
    ulid: &str,
    to: Recipient,
    peer: &Authority,
    object: &Iri,
    tell: bool,
) -> Decision<Stream> {
    let object = object.as_str().to_owned();
    decision.tell::<Outbox>(
        peer.as_str(),
        &outbox::Command::Send { activity: ulid.to_owned(), to, object, first: false, tell },
    )
}

/// Starts the flow that a behaviour of ours runs on a write through our own API.
fn start_local(
    decision: Decision<Stream>,
    turn: &Turn<'_>,
    verb: &Verb,
    activity: &Activity,
    object: &Object,
) -> Decision<Stream> {
    let catalog = &turn.world.catalog;
    let Some(behaviour) = behaviours::Verb::of(verb).and_then(|verb| catalog.on(&object.kind, verb)) else {
        return decision;
    };
    let Some(definition) = catalog.current(&behaviour.run) else { return decision };
    let id = turn.world.iri(&object.path);
    let start = Start {
        name: behaviour.run.clone(),
        definition: definition.hash.0.clone(),
        input: Input {
            input: Value::Null,
            activity: activity.raw.clone(),
            object: object.json_here(&id, &turn.world.iri("followers")),
            actor: turn.world.actor.as_str().into(),
        },
        origin: Origin::Local { activity: activity.id.clone(), object: id },
    };
    let key = flow::id(&turn.world.authority, &activity.id, &format!("on {} {}", verb.as_str(), behaviour.run));
    decision.tell::<Flow>(key, &flow::Command::Start(Box::new(start)))
}
