//! Telling others: the activity about an object of ours, and the walk that brings it to everyone once per inbox.

use std::collections::BTreeSet;

use super::entity::{Decision, Turn};
use super::errands::Recipient;
use super::follower;
use super::log::{Entry, Letter};
use super::outbox::{self, Outbox};
use super::rows::{Index, Reads, Rows, parts};
use super::stream::{self, Command, Stream, Written};
use crate::domains::activity::{Address, Reference, Verb};
use crate::domains::draft::Draft;
use crate::domains::identity::{Authority, Iri};
use crate::domains::object::Object;
use crate::domains::types::Visibility;
use crate::store::Key;
use serde::{Deserialize, Serialize};

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

/// Stores the object, logs the activity about it, begins the walk, and starts what the type's behaviour says.
pub(super) fn object(turn: &Turn<'_>, verb: Verb, object: &Object, to: Vec<Iri>) -> Published {
    let ulid = turn.ulid(0);
    let (id, activity_id) = (turn.world.iri(&object.path), turn.world.activity(&ulid));
    let about = Reference::Embedded(object.json(&id));
    let (public, cc) = object.addressed(&turn.world.iri("followers"));
    let mut draft = Draft::new(activity_id.clone(), verb.clone(), turn.world.actor.clone(), about, turn.now);
    draft.to = public.into_iter().chain(to.iter().cloned().map(Address::Iri)).collect();
    draft.cc = cc;
    let activity = draft.build().expect("a draft of ours has all that an activity needs");
    let decision = Decision::reply(Written { id: Some(id.clone()), activity: Some(activity_id.clone()) })
        .put(stream::object_row(&object.path), object)
        .put(Entry::row(&ulid), &Entry::made(&activity, turn.now, None));
    let followers = object.visibility != Visibility::Direct;
    let walk = FanOut { activity: ulid.clone(), object: id.clone(), to, followers, after: None };
    let decision = decision.when(followers || !walk.to.is_empty(), |decision| {
        decision.tell::<Stream>(turn.me.key.clone(), &Command::FanOut(walk))
    });
    let decision = stream::start_local(decision, turn, &verb, &activity, object);
    Published { decision, id, ulid }
}

/// An activity about this stream's object to one actor, logged and on its way.
pub(super) fn directed(
    turn: &Turn<'_>,
    verb: Verb,
    object: &Object,
    to: &Iri,
    draft: impl FnOnce(Draft) -> Draft,
) -> (Decision<Stream>, Letter) {
    let id = turn.world.iri(&object.path);
    let letter = Letter::to(turn, 0, to, draft, verb, Reference::Embedded(object.json(&id)));
    let decision = letter.log(Decision::default());
    let recipient = Recipient::Actor(to.as_str().to_owned());
    (send(decision, &letter.ulid, recipient, &to.authority(), &id), letter)
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
            decision = send(decision, &walk.activity, recipient, &to.authority(), &walk.object);
        }
    }
    let mut told = walk.after.as_deref().and_then(inbox_of);
    for follower in rows.page("followers") {
        let inbox = inbox_of(follower.key.as_bytes());
        // Followers of one server stand together, in the order of their inboxes.
        if let Some((authority, inbox)) = inbox.as_ref().filter(|_| inbox != told)
            && let Ok(authority) = Authority::parse(authority)
        {
            decision = send(decision, &walk.activity, Recipient::Inbox(inbox.clone()), &authority, &walk.object);
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

fn send(decision: Decision<Stream>, ulid: &str, to: Recipient, peer: &Authority, object: &Iri) -> Decision<Stream> {
    let object = object.as_str().to_owned();
    decision.tell::<Outbox>(
        peer.as_str(),
        &outbox::Command::Send { activity: ulid.to_owned(), to, object, first: false, tell: false },
    )
}
