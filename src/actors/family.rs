//! Flows that call flows: a child begins with its parent's step, tells it how it ended, and is taken back with it.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::carry::refused;
use super::entity::{Decision, Turn};
use super::flow::{Command, Event, Flow, Origin, Place, Standing, Start, UndoFor};
use super::moves::Moves;
use super::petition;
use super::schedule::{self, Schedule};
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::progress::{End, Progress, StepState, flow_of};
use crate::domains::flow::step::{self, Cure};
use crate::hex::hex;

/// How many flows may stand above one another: two that call each other in turn would never end.
const DEPTH_MAX: u32 = 16;

/// Letters of a ULID that say the time.
const TIME_LETTERS: usize = 10;

/// The id of the instance that a step calls: the same for every try of it. It begins as that of its parent does, so that
/// their rows lie together.
pub fn child_id(key: &str) -> String {
    let digest = Sha256::digest(format!("call\n{key}").as_bytes());
    let begun: String = flow_of(key).unwrap_or_default().chars().take(TIME_LETTERS).collect();
    begun + &hex(&digest[..11])
}

/// Starts a child, which answers by itself. A flow that is not declared holds the step until it is.
pub(super) fn call(moves: &mut Moves<'_>, place: Place, name: &str, input: Value) -> Option<step::Event> {
    let depth = match &moves.start.origin {
        Origin::Parent { depth, .. } => depth + 1,
        _ => 1,
    };
    if depth > DEPTH_MAX {
        let reason = format!("calling `{name}` would have flows call each other more than {DEPTH_MAX} deep");
        return Some(refused(place, reason));
    }
    let Some(definition) = moves.turn.world.catalog.current(name) else {
        let reason = format!("there is no flow `{name}` any more: declare it, then retry the step");
        let (spot, attempt) = (place.spot(), place.attempt);
        return Some(step::Event::Failed { spot, attempt, reason, cure: Cure::Missing, trouble: None });
    };
    let child = child_id(&place.key);
    let start = Start {
        name: name.to_owned(),
        definition: definition.hash.0.clone(),
        input: Input { object: input.get("object").cloned().unwrap_or_default(), input, ..Input::default() },
        origin: Origin::Parent { flow: moves.turn.me.key.to_string(), place, depth },
    };
    moves.change(|decision| decision.tell::<Flow>(child, &Command::Start(Box::new(start))));
    None
}

/// Tells whoever began it how it ended: the step that called it, or the schedule whose tick it was.
pub(super) fn tell_parent(
    decision: Decision<Flow>,
    turn: &Turn<'_>,
    origin: &Origin,
    progress: &Progress,
) -> Decision<Flow> {
    let (flow, place) = match origin {
        Origin::Parent { flow, place, .. } => (flow, place.clone()),
        Origin::Schedule { schedule, due } if progress.end.is_some() => {
            return decision.tell::<Schedule>(schedule.clone(), &ended(turn, *due, Some(progress)));
        }
        _ => return decision,
    };
    let word = match &progress.end {
        None => return decision,
        Some(End::Done { result }) => place.done(result.clone()),
        Some(End::Failed { reason, .. }) => place.refused(format!("flow {} failed: {reason}", turn.me.key)),
        Some(End::Cancelled { reason, .. }) => place.refused(format!("flow {} was cancelled: {reason}", turn.me.key)),
        // Somebody ended it and took nothing back: the step stops until somebody says what is to become of it.
        Some(End::Killed { reason, .. }) => {
            let what = format!("flow {} was killed: {reason}", turn.me.key);
            place.stopped(format!("{what}; retry has it go on where it was, skip goes on without it"))
        }
    };
    decision.tell::<Flow>(flow.clone(), &word)
}

/// A flow that was killed goes on when its parent calls it again: somebody told the parent to.
pub(super) fn goes_on(progress: &Progress, start: &Start) -> bool {
    matches!((&progress.end, &start.origin), (Some(End::Killed { .. }), Origin::Parent { .. }))
}

/// It goes on where it was: at the first step that has no end.
pub(super) fn going_on(moves: &Moves<'_>, again: &Start) -> step::Event {
    let order = &moves.compiled.order;
    let open = |name: &&String| !moves.progress.steps.get(*name).is_some_and(StepState::settled);
    let step = order.iter().find(open).or(order.first()).cloned().unwrap_or_default();
    let by = match &again.origin {
        Origin::Parent { flow, .. } => Some(format!("flow {flow}")),
        _ => None,
    };
    step::Event::Restart { step, input: None, by }
}

/// Answers the schedule that began it, if it has ended; of one that never began nothing stays.
pub(super) fn still_runs(turn: &Turn<'_>, progress: Option<&Progress>, barred: bool, due: Time) -> Decision<Flow> {
    let runs = progress.is_some_and(|progress| progress.end.is_none());
    let Some(schedule) = turn.from.filter(|_| !runs) else { return Decision::default() };
    let decision = Decision::default().tell::<Schedule>(schedule.key.clone(), &ended(turn, due, progress));
    decision.when(progress.is_none() && !barred, Decision::end)
}

fn ended(turn: &Turn<'_>, due: Time, progress: Option<&Progress>) -> schedule::Command {
    schedule::Command::Ended { flow: turn.me.key.to_string(), due, phase: progress.map(Progress::phase) }
}

/// Tells whoever wanted it taken back that it is, or that it was killed before it was.
pub(super) fn tell_undone(decision: Decision<Flow>, undo: &UndoFor, progress: &Progress) -> Decision<Flow> {
    let place = undo.place.clone();
    let word = match &progress.end {
        Some(End::Killed { reason, left, .. }) if *left > 0 => {
            place.refused(format!("it was killed with {left} things not taken back: {reason}"))
        }
        _ => place.done(Value::Null),
    };
    decision.tell::<Flow>(undo.flow.clone(), &word)
}

/// Taken back before it began: it never will, and there is nothing to take back.
pub(super) fn bar(turn: &Turn<'_>, undo: &UndoFor) -> Decision<Flow> {
    let word = undo.place.clone().done(Value::Null);
    Decision::default().event(Event::Barred { at: turn.now }).tell::<Flow>(undo.flow.clone(), &word)
}

/// A start that comes after its own undo.
pub(super) fn refuse_start(turn: &Turn<'_>, start: &Start) -> Decision<Flow> {
    let decision = Decision::reply(Standing::default());
    match &start.origin {
        origin @ Origin::Remote { .. } => petition::answer(decision, turn, origin, None),
        Origin::Parent { flow, place, .. } => {
            let word = place.clone().refused(format!("flow {} was taken back before it began", turn.me.key));
            decision.tell::<Flow>(flow.clone(), &word)
        }
        _ => decision,
    }
}
