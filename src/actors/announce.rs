//! News of this node's own actor: an Update with its whole document, once for each ulid, on its way to all followers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{Decision, Turn};
use super::log::Entry;
use super::publish::FanOut;
use super::rows::{Index, Reads, Rows, parts};
use super::stream::{Command, Stream, Written, object_stream};
use crate::domains::activity::{Address, Reference, Verb};
use crate::domains::draft::Draft;

/// The actor as it is from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// The local ulid that its activity gets: the same news told once more is known by it.
    pub activity: String,
    pub document: Value,
}

/// The stream that tells them. No object can have that address.
pub fn teller() -> String {
    object_stream("actor")
}

pub(super) fn reads(news: &News) -> Reads {
    Reads::none().entry("told", Index::Activities, parts([&news.activity]))
}

pub(super) fn tell(turn: &Turn<'_>, rows: &Rows, news: News) -> Decision<Stream> {
    let (actor, id) = (turn.world.actor.clone(), turn.world.activity(&news.activity));
    let decision = Decision::reply(Written { id: Some(actor.clone()), activity: Some(id.clone()) });
    if !rows.page("told").is_empty() {
        return decision;
    }
    let draft = Draft::new(id, Verb::Update, actor.clone(), Reference::Embedded(news.document), turn.now);
    let draft = draft.to(Address::Public).cc(Address::Iri(turn.world.iri("followers")));
    let activity = draft.build().expect("a draft of ours has all that an activity needs");
    let walk = FanOut { activity: news.activity.clone(), object: actor, to: Vec::new(), followers: true, after: None };
    decision
        .put(Entry::row(&news.activity), &Entry::made(&activity, turn.now, None))
        .tell::<Stream>(turn.me.key.clone(), &Command::FanOut(walk))
}
