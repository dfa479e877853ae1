//! Offers of an object to peers: an Allocate, its answer, and the Undo that takes it back.
//!
//! The offer of a step of a flow is made once for its key. Taking it back always sends an Undo, also when nobody has
//! answered, and is done when they accept that; an Accept of the offer that comes after it is answered by another Undo,
//! since the first may have crossed it on its way.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entity::{Decision, Turn};
use super::errands::Recipient;
use super::flow::{Flow, Place};
use super::log::Letter;
use super::outbox::{self, Outbox};
use super::publish;
use super::rows::{Reads, RowKey, Rows, parts};
use super::stream::{Event, Rejection, Stream, Written, done_key};
use crate::clock::Time;
use crate::domains::activity::{Reference, Verb};
use crate::domains::flow::spot::done_of;
use crate::domains::identity::Iri;
use crate::store::Key;

/// An allocation of the object, and what became of it: a row of its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    pub activity: Iri,
    pub target: Iri,
    pub to: Iri,
    pub at: Time,
    /// `None` while nobody has answered.
    #[serde(default)]
    pub accepted: Option<bool>,
    /// What was made of it there.
    #[serde(default)]
    pub result: Option<Iri>,
    /// What they said about their answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

impl Allocation {
    fn new(letter: &Letter, target: &Iri, to: &Iri, at: Time) -> Self {
        let (activity, target, to) = (letter.activity.id.clone(), target.clone(), to.clone());
        Self { activity, target, to, at, accepted: None, result: None, words: None }
    }
}

/// What a peer answered to an activity of ours.
pub(super) struct Answer {
    /// The ulid of the activity.
    pub(super) activity: String,
    pub(super) accepted: bool,
    pub(super) result: Option<Iri>,
    pub(super) words: Option<String>,
}

/// The offer of a step: which activity it became. A row under the step's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The local ulid of the activity; none for one that was taken back before it was made.
    #[serde(default)]
    activity: Option<String>,
    #[serde(default)]
    to: Option<Iri>,
    #[serde(default)]
    undone: bool,
}

/// Which step an offer belongs to: a row under the activity's ulid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Asker {
    flow: String,
    place: Place,
    /// Whatever they still say, it is taken back.
    #[serde(default)]
    undone: bool,
}

/// An Undo that is on its way: whom its answer is for. A row under the Undo's ulid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Taking {
    flow: String,
    place: Place,
    to: Iri,
}

pub fn allocation_rows() -> Key {
    parts(["allocation"])
}

pub(super) fn allocation_key(ulid: &str) -> Key {
    parts(["allocation", ulid])
}

fn asker_key(ulid: &str) -> Key {
    parts(["asker", ulid])
}

pub(super) fn reads_of(reads: Reads, place: &Place) -> Reads {
    reads.own("offer", done_key(&format!("{}/offer", done_of(&place.key))))
}

fn taking_key(ulid: &str) -> Key {
    parts(["taking", ulid])
}

/// What an activity of ours was: an offer, or taking one back.
pub(super) fn reads_sent(ulid: &str) -> Reads {
    let reads = Reads::none().own("allocation", allocation_key(ulid));
    reads.own("asker", asker_key(ulid)).own("taking", taking_key(ulid))
}

fn offer_row(place: &Place) -> RowKey {
    RowKey::Own(done_key(&format!("{}/offer", done_of(&place.key))))
}

impl Stream {
    pub(super) fn allocate(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        target: Iri,
        to: Iri,
    ) -> Result<Decision<Self>, Rejection> {
        let object = self.object(turn, rows)?;
        let id = turn.world.iri(&object.path);
        let (decision, letter) =
            publish::directed(turn, Verb::Allocate, &object, &to, false, |draft| draft.target(target.clone()));
        let activity = letter.activity.id.clone();
        let allocation = Allocation::new(&letter, &target, &to, turn.now);
        let mut decision = decision
            .put(RowKey::Own(allocation_key(&letter.ulid)), &allocation)
            .event(Event::Allocated { activity: letter.ulid, target, to });
        decision.reply = Written { id: Some(id), activity: Some(activity) };
        Ok(decision)
    }

    pub(super) fn ask(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        flow: String,
        place: Place,
        target: Iri,
        to: Iri,
    ) -> Decision<Self> {
        match rows.one::<Offer>("offer") {
            Some(offer) if offer.undone => {
                let reason = "it was taken back before it was asked".to_owned();
                return Decision::default().tell::<Flow>(flow, &place.refused(reason));
            }
            // It is on its way, or has been answered.
            Some(_) => return Decision::default(),
            None => {}
        }
        let object = match self.object(turn, rows) {
            Ok(object) => object,
            Err(rejection) => return Decision::default().tell::<Flow>(flow, &place.refused(rejection.to_string())),
        };
        let (decision, letter) =
            publish::directed(turn, Verb::Allocate, &object, &to, true, |draft| draft.target(target.clone()));
        let allocation = Allocation::new(&letter, &target, &to, turn.now);
        let offer = Offer { activity: Some(letter.ulid.clone()), to: Some(to.clone()), undone: false };
        decision
            .put(RowKey::Own(allocation_key(&letter.ulid)), &allocation)
            .put(offer_row(&place), &offer)
            .put(RowKey::Own(asker_key(&letter.ulid)), &Asker { flow, place, undone: false })
            .event(Event::Allocated { activity: letter.ulid, target, to })
    }

    /// Sends an Undo, whatever the answer was or will be, and another one whenever the step asks again: the word that it
    /// is done is theirs. Of an offer that was never made a mark stays.
    pub(super) fn unask(&self, turn: &Turn<'_>, rows: &Rows, flow: String, place: Place) -> Decision<Self> {
        match rows.one::<Offer>("offer") {
            Some(Offer { activity: Some(ulid), to: Some(to), .. }) => {
                let asker = Asker { flow, place, undone: true };
                let decision = send_undo(Decision::default(), turn, &ulid, &to, &asker);
                let offer = Offer { activity: Some(ulid.clone()), to: Some(to), undone: true };
                decision.put(offer_row(&asker.place), &offer).put(RowKey::Own(asker_key(&ulid)), &asker)
            }
            _ => {
                let offer = Offer { activity: None, to: None, undone: true };
                let decision = Decision::default().put(offer_row(&place), &offer);
                decision.tell::<Flow>(flow, &place.done(json!(null)))
            }
        }
    }
}

/// The first answer counts; a later one changes nothing.
pub(super) fn answered(turn: &Turn<'_>, rows: &Rows, answer: Answer) -> Decision<Stream> {
    let Answer { activity, accepted, result, words } = answer;
    if let Some(Taking { flow, place, to }) = rows.one::<Taking>("taking") {
        let word = match accepted {
            true => place.done(json!(null)),
            false => {
                let why = because(words.as_deref());
                place.stopped(format!("{to} says that it cannot be taken back{why}; settle it with them, then skip"))
            }
        };
        return Decision::default().delete(RowKey::Own(taking_key(&activity))).tell::<Flow>(flow, &word);
    }
    match rows.one::<Allocation>("allocation") {
        Some(allocation) if allocation.accepted.is_none() => {
            let allocation = Allocation { accepted: Some(accepted), result: result.clone(), words, ..allocation };
            let decision = Decision::default().put(RowKey::Own(allocation_key(&activity)), &allocation);
            let decision = step_answered(decision, turn, rows, &allocation, &activity);
            decision.event(Event::Answered { activity, accepted, result })
        }
        _ => Decision::default(),
    }
}

/// What an answer to an allocation means for the step that asked.
fn step_answered(
    decision: Decision<Stream>,
    turn: &Turn<'_>,
    rows: &Rows,
    allocation: &Allocation,
    ulid: &str,
) -> Decision<Stream> {
    let Some(asker) = rows.one::<Asker>("asker") else { return decision };
    let accepted = allocation.accepted == Some(true);
    if asker.undone {
        return decision.when(accepted, |decision| send_undo(decision, turn, ulid, &allocation.to, &asker));
    }
    let Asker { flow, place, .. } = asker;
    let word = if accepted {
        place.done(
            json!({ "activity": allocation.activity.as_str(), "result": allocation.result.as_ref().map(Iri::as_str) }),
        )
    } else {
        place.refused(format!("{} said no{}", allocation.to, because(allocation.words.as_deref())))
    };
    decision.tell::<Flow>(flow, &word)
}

/// What they say, behind what that comes to.
fn because(words: Option<&str>) -> String {
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

/// An activity of ours was given up before it arrived.
pub(super) fn undelivered(rows: &Rows, activity: &str, reason: &str, refused: bool) -> Decision<Stream> {
    // It stays known, so that an answer counts that comes when somebody has the letter sent again.
    if let Some(Taking { flow, place, to }) = rows.one::<Taking>("taking") {
        let reason = format!("the Undo did not reach {to}: {reason}; quickbeam dead-letters lists it");
        return Decision::default().tell::<Flow>(flow, &place.stopped(reason));
    }
    let Some(asker) = rows.one::<Asker>("asker").filter(|asker| !asker.undone) else { return Decision::default() };
    let answered = rows.one::<Allocation>("allocation").is_none_or(|allocation| allocation.accepted.is_some());
    if answered {
        return Decision::default();
    }
    // Whoever accepts it after all, when somebody has the letter sent again, is told that it is over.
    let over = Asker { undone: true, ..asker.clone() };
    let reason = format!("the Allocate could not be delivered: {reason}");
    let word = if refused { asker.place.refused(reason) } else { asker.place.lost(reason, None) };
    Decision::default().put(RowKey::Own(asker_key(activity)), &over).tell::<Flow>(asker.flow, &word)
}

fn send_undo(decision: Decision<Stream>, turn: &Turn<'_>, ulid: &str, to: &Iri, asker: &Asker) -> Decision<Stream> {
    let allocate = turn.world.activity(ulid);
    let about = Reference::Embedded(json!({
        "id": allocate.as_str(), "type": "Allocate", "actor": turn.world.actor.as_str(),
    }));
    let letter = Letter::to(turn, 1, to, |draft| draft, Verb::Undo, about);
    // The Allocate and its Undo are about the same object, and keep their order.
    let object = turn.world.iri(super::stream::path_of(turn.me)).as_str().to_owned();
    let Asker { flow, place, .. } = asker.clone();
    let taking = Taking { flow, place, to: to.clone() };
    letter.log(decision).put(RowKey::Own(taking_key(&letter.ulid)), &taking).tell::<Outbox>(
        to.authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to: Recipient::Actor(to.as_str().to_owned()),
            object,
            first: false,
            tell: true,
        },
    )
}

/// An id out of what an expression gave.
pub(super) fn iri_of(text: &str) -> Result<Iri, String> {
    Iri::parse(text).map_err(|error| error.to_string())
}
