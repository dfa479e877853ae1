//! What a peer hears about its request: one answer to its Allocate when the flow that it set off has ended, and one to
//! its Undo when that flow left nothing behind, or ended so that somebody has to look.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::{Decision, Entity, Turn};
use super::errands::Recipient;
use super::flow::{Event, Flow, Origin};
use super::log::Letter;
use super::outbox::{self, Outbox};
use crate::domains::activity::{Reference, Verb};
use crate::domains::draft::Draft;
use crate::domains::flow::progress::{End, Progress};
use crate::domains::identity::Iri;

/// An Undo of a peer that waits for its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Petition {
    /// The Undo itself.
    pub activity: Iri,
    /// The Allocate that is taken back.
    pub of: Iri,
    pub actor: Iri,
    pub inbox: Iri,
}

/// Where the answer to an activity goes, and what keeps it in order: all words on one Allocate follow one another.
struct Reply<'a> {
    to: &'a Iri,
    inbox: Option<&'a Iri>,
    about: &'a Iri,
    order: &'a Iri,
}

/// Answers an Undo whose Allocate left nothing here.
pub(super) fn accept<E: Entity>(decision: Decision<E>, turn: &Turn<'_>, petition: &Petition) -> Decision<E> {
    word(decision, turn, petition, None)
}

/// Answers the Undo of an instance that has ended: what was killed with something left cannot be said to be undone.
pub(super) fn undone(
    decision: Decision<Flow>,
    turn: &Turn<'_>,
    petition: &Petition,
    progress: &Progress,
) -> Decision<Flow> {
    let left = match progress.end {
        Some(End::Killed { left, .. }) if left > 0 => {
            Some(format!("flow {} was ended by hand, and what it did stays", turn.me.key))
        }
        _ => None,
    };
    word(decision, turn, petition, left)
}

/// An Undo for an instance that is not here: it never will be, and nobody can say what one that was here before left.
pub(super) fn bar(turn: &Turn<'_>, petition: Option<&Petition>) -> Decision<Flow> {
    let decision = Decision::default().event(Event::Barred { at: turn.now });
    match petition {
        Some(petition) => {
            let why = "nothing is known of it any more, so nobody can say what it left".to_owned();
            word(decision, turn, petition, Some(why))
        }
        None => decision,
    }
}

/// Sends the one answer that an Allocate gets.
pub(super) fn answer(
    decision: Decision<Flow>,
    turn: &Turn<'_>,
    origin: &Origin,
    progress: Option<&Progress>,
) -> Decision<Flow> {
    let Origin::Remote { activity, actor, inbox, answer: true } = origin else { return decision };
    let end = progress.and_then(|progress| progress.end.as_ref());
    let (verb, result) = match end {
        Some(End::Done { result }) => (Verb::Accept, result_of(turn, result)),
        _ => (Verb::Reject, None),
    };
    let is_no = verb == Verb::Reject;
    let draft = |draft: Draft| match (is_no, result) {
        (true, _) => draft.summary(why_not(turn, end)),
        (false, Some(result)) => draft.result(result),
        (false, None) => draft,
    };
    let reply = Reply { to: actor, inbox: inbox.as_ref(), about: activity, order: activity };
    send(decision, turn, 0, verb, draft, &reply)
}

/// What a peer may know: where it came to nothing, and the name by which people here find out the rest. What a step said
/// when it failed stays here; addresses and names of people may be in it.
fn why_not(turn: &Turn<'_>, end: Option<&End>) -> String {
    let flow = &turn.me.key;
    match end {
        Some(End::Failed { step: Some(step), .. }) => format!("it failed at the step {step} of flow {flow}"),
        Some(End::Cancelled { .. }) => format!("flow {flow} was cancelled"),
        Some(End::Killed { .. }) => format!("flow {flow} was ended by hand"),
        Some(End::Done { .. } | End::Failed { step: None, .. }) => format!("flow {flow} failed"),
        None => format!("flow {flow} was taken back before it began"),
    }
}

/// What goes into `result` of an Accept: the id of something of ours.
fn result_of(turn: &Turn<'_>, result: &Value) -> Option<Reference> {
    let id = result.as_str().or_else(|| result.get("id")?.as_str())?;
    let id = Iri::parse(id).ok()?;
    turn.world.local(&id).is_some().then_some(Reference::Id(id))
}

/// Says yes to an Undo, or why not.
fn word<E: Entity>(
    decision: Decision<E>,
    turn: &Turn<'_>,
    petition: &Petition,
    why_not: Option<String>,
) -> Decision<E> {
    let Petition { activity, of, actor, inbox } = petition;
    let verb = if why_not.is_some() { Verb::Reject } else { Verb::Accept };
    let reply = Reply { to: actor, inbox: Some(inbox), about: activity, order: of };
    // The Allocate may be answered in the same turn, by the letter before this one.
    let draft = |draft: Draft| match why_not {
        Some(why) => draft.summary(why),
        None => draft,
    };
    send(decision, turn, 1, verb, draft, &reply)
}

fn send<E: Entity>(
    decision: Decision<E>,
    turn: &Turn<'_>,
    nth: u8,
    verb: Verb,
    draft: impl FnOnce(Draft) -> Draft,
    reply: &Reply<'_>,
) -> Decision<E> {
    let letter = Letter::to(turn, nth, reply.to, draft, verb, Reference::Id(reply.about.clone()));
    let to = match reply.inbox {
        Some(inbox) => Recipient::Inbox(inbox.as_str().to_owned()),
        None => Recipient::Actor(reply.to.as_str().to_owned()),
    };
    letter.log(decision).tell::<Outbox>(
        reply.inbox.unwrap_or(reply.to).authority().as_str(),
        &outbox::Command::Send {
            activity: letter.ulid.clone(),
            to,
            object: reply.order.as_str().to_owned(),
            first: false,
            tell: false,
        },
    )
}
