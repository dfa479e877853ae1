//! One life of an actor: its state as rebuilt from the journal, and how a decision becomes a batch.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join;

use super::entity::{ActorId, Decision, Entity, Label};
use super::flight::Flying;
use super::layout;
use super::record::{self, Birth, Cause, Changes, Head, Meta, TurnRecord, Waiting};
use crate::clock::Time;
use crate::domains::trace::Context;
use crate::store::{Batch, Condition, Engine, Failure, Fence, Key, Position, ReadError, Span};

/// A snapshot is taken at least every so many turns, so that a rebuild replays fewer.
const SNAPSHOT_EVERY: u64 = 64;
/// Events read together with the head: mostly all that there are behind the snapshot.
const FIRST_EVENTS: usize = SNAPSHOT_EVERY as usize;
/// Events replayed per read.
const REPLAY_PAGE: usize = 256;

pub(super) struct Life<E> {
    pub(super) id: ActorId,
    pub(super) state: E,
    /// Turns taken so far, in flight included.
    pub(super) turn: u64,
    pub(super) meta: Meta,
    pub(super) flying: Flying,
    label: Label,
}

/// Why an actor cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    /// Another try may find the disk well again.
    #[error("the store could not be read: {0}")]
    Store(ReadError),
    #[error("{what}")]
    Damaged { what: String },
    #[error("what is stored of turn {turn} cannot be read: {source}")]
    Unreadable { turn: u64, source: rmp_serde::decode::Error },
    #[error("turn {expected} is missing, the next stored one is {found}")]
    Gap { expected: u64, found: u64 },
    #[error("applying turn {turn} panicked")]
    Panicked { turn: u64 },
}

/// A row that a turn consumes: what was read, and at which version.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) key: Key,
    pub(super) version: Position,
    pub(super) waiting: Waiting,
}

/// Everything about a turn that is not in the decision.
pub(super) struct Occasion {
    pub(super) at: Time,
    /// Drawn for this turn.
    pub(super) mark: u32,
    pub(super) cause: Cause,
    pub(super) source: Option<Source>,
    /// The row that keeps the answer for repeats of the request.
    pub(super) answer: Option<(Key, Bytes)>,
    /// What it is a part of.
    pub(super) trace: Option<Context>,
}

/// No try will read what is damaged, so that it must not be taken for a disk that is unwell.
fn unread(error: ReadError) -> RebuildError {
    match &*error {
        Failure::Damaged { what, .. } => RebuildError::Damaged { what: what.clone() },
        _ => RebuildError::Store(error),
    }
}

impl<E: Entity> Life<E> {
    /// An actor of which nothing is stored.
    pub(super) fn blank(id: &ActorId) -> Self {
        Self {
            id: id.clone(),
            state: E::default(),
            turn: 0,
            meta: Meta::default(),
            flying: Flying::default(),
            label: Label::default(),
        }
    }

    /// Reads the last snapshot and replays what came after it.
    pub(super) async fn rebuild(engine: &Arc<dyn Engine>, id: &ActorId) -> Result<Self, RebuildError> {
        let (mut life, mut written) = (Self::blank(id), 0);
        // Few have had so many turns that there is a snapshot; of all others the first events are all there is.
        let first = Span::prefix(&layout::events(id), FIRST_EVENTS);
        let (head, first) = join(engine.get(&layout::head(id)), engine.range(first)).await;
        if let Some(head) = head.map_err(unread)? {
            let unreadable = |source| RebuildError::Unreadable { turn: 0, source };
            let head: Head = record::decode(&head.value).map_err(unreadable)?;
            life.state = record::state(&head.state).map_err(unreadable)?;
            (life.turn, life.meta, life.label) = (head.turn, head.meta, head.label);
            written = head.written;
        }
        if let (0, Ok(page)) = (life.turn, first) {
            page.iter().try_for_each(|row| life.replay(&row.key, &row.value))?;
            if page.len() < FIRST_EVENTS && life.turn >= written {
                return Ok(life);
            }
        }
        loop {
            let page = Span::prefix(&layout::events(id), REPLAY_PAGE).after(&layout::event(id, life.turn));
            let page = engine.range(page).await.map_err(unread)?;
            for row in &page {
                life.replay(&row.key, &row.value)?;
            }
            if page.len() < REPLAY_PAGE {
                break;
            }
        }
        if life.turn < written {
            let what = format!("its turns after {} are missing, and {written} was written", life.turn);
            return Err(RebuildError::Damaged { what });
        }
        Ok(life)
    }

    fn replay(&mut self, key: &Key, value: &Bytes) -> Result<(), RebuildError> {
        let expected = self.turn + 1;
        let found = key.parts_after(&layout::events(&self.id)).number().unwrap_or_default();
        if found != expected {
            return Err(RebuildError::Gap { expected, found });
        }
        let unreadable = |source| RebuildError::Unreadable { turn: expected, source };
        let turn: TurnRecord<E::Event> = record::decode(value).map_err(unreadable)?;
        let applied = catch_unwind(AssertUnwindSafe(|| turn.events.iter().for_each(|event| self.state.apply(event))));
        applied.map_err(|_| RebuildError::Panicked { turn: expected })?;
        self.meta.apply(&turn.changes);
        self.label = self.state.label();
        self.turn = expected;
        Ok(())
    }

    /// Takes a decision over at once, and gives the batch that makes it true.
    pub(super) fn take(&mut self, decision: Decision<E>, occasion: Occasion, fence: Fence, kept: u64) -> Batch {
        let turn = self.turn + 1;
        if turn == 1 {
            self.meta.birth = Birth { at: occasion.at, mark: occasion.mark };
        }
        // Besides these its event, perhaps a snapshot, and an answer.
        let puts = decision.messages.len() + decision.rows.len() + decision.errands.len() + decision.timers.len() + 3;
        let mut batch = Batch { fence, puts: Vec::with_capacity(puts), ..Batch::default() };
        let mut changes = self.write_timers(&decision, &mut batch);
        consume(&mut batch, &mut changes, &occasion, &self.meta);
        let part_of = |trace: &Option<Context>| trace.clone().or_else(|| occasion.trace.clone());
        for (nth, (errand, trace)) in (0..).zip(&decision.errands) {
            let waiting = Waiting { trace: part_of(trace), ..Waiting::new(record::encode(errand)) };
            let body = record::encode(&waiting);
            batch.puts.push((layout::errand(&self.id, occasion.at, turn, nth), body));
            changes.errands.push(((turn, nth), occasion.at));
        }
        for (nth, message) in (0..).zip(&decision.messages) {
            let waiting = Waiting { trace: part_of(&message.trace), ..Waiting::new(message.body.clone()) };
            let (number, place) = self.meta.birth.among_all_lives(turn, nth);
            batch.puts.push((layout::message(&message.to, &self.id, number, place), record::encode(&waiting)));
        }
        let mut rows: Vec<(Key, Option<Bytes>)> =
            decision.rows.into_iter().map(|(key, value)| (layout::row(&self.id, &key), value)).collect();
        // Of several writes to one row the last counts.
        rows.reverse();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        rows.dedup_by(|(earlier, _), (last, _)| earlier == last);
        for (key, value) in rows {
            match value {
                Some(value) => batch.puts.push((key, value)),
                None => batch.deletes.push(key),
            }
        }
        batch.puts.extend(occasion.answer.clone());
        if decision.ends {
            self.erase(&mut batch);
            return batch;
        }
        decision.events.iter().for_each(|event| self.state.apply(event));
        self.trim(turn, kept, &mut changes, &mut batch);
        self.meta.apply(&changes);
        self.turn = turn;
        let messages = decision.messages.len() as u64;
        let Occasion { at, cause, .. } = occasion;
        let record = TurnRecord { at, cause, events: decision.events, changes, messages };
        batch.puts.push((layout::event(&self.id, turn), record::encode(&record)));
        self.snapshot(at, &mut batch);
        self.flying.add(turn, &batch.puts, &batch.deletes);
        batch
    }

    /// Deletes what the shell keeps of the actor; whoever calls starts on a blank one when this is on disk.
    fn erase(&mut self, batch: &mut Batch) {
        let timers = self.meta.timers.iter().map(|(name, due)| layout::timer(&self.id, *due, name));
        let errands = self.meta.errands.iter().map(|((turn, nth), due)| layout::errand(&self.id, *due, *turn, *nth));
        let events = (self.meta.trimmed + 1..=self.turn).map(|turn| layout::event(&self.id, turn));
        let gone: BTreeSet<Key> = timers.chain(errands).chain(events).chain([layout::head(&self.id)]).collect();
        let deleted: BTreeSet<Key> = batch.deletes.drain(..).collect();
        batch.puts.retain(|(key, _)| !gone.contains(key));
        batch.deletes.extend(gone.union(&deleted).cloned());
        self.turn += 1;
        self.flying.add(self.turn, &batch.puts, &batch.deletes);
    }

    fn write_timers(&self, decision: &Decision<E>, batch: &mut Batch) -> Changes {
        let mut changes = Changes::default();
        for (name, set) in &decision.timers {
            let before = self.meta.timers.get(name);
            if set.is_none() && before.is_none() {
                continue;
            }
            let now = set.as_ref().map(|(due, _)| *due);
            if let Some(before) = before.filter(|before| now != Some(**before)) {
                batch.deletes.push(layout::timer(&self.id, *before, name));
            }
            if let Some((due, body)) = set {
                let body = record::encode(&Waiting::new(body.clone()));
                batch.puts.push((layout::timer(&self.id, *due, name), body));
            }
            changes.timers.push((name.clone(), now));
        }
        changes
    }

    /// Marks event rows for deletion that are older than the snapshot and than the last ones that are kept.
    fn trim(&self, turn: u64, kept: u64, changes: &mut Changes, batch: &mut Batch) {
        if !turn.is_multiple_of(SNAPSHOT_EVERY) {
            return;
        }
        // The turn's own event row is being written, and cannot be deleted with it.
        let upto = turn.saturating_sub(kept.max(1));
        batch.deletes.extend((self.meta.trimmed + 1..=upto).map(|old| layout::event(&self.id, old)));
        changes.trimmed = upto.max(self.meta.trimmed);
    }

    fn snapshot(&mut self, at: Time, batch: &mut Batch) {
        let label = self.state.label();
        if self.turn == 1 || self.turn.is_multiple_of(SNAPSHOT_EVERY) || label != self.label {
            let head = self.head(at, label);
            batch.puts.push((layout::head(&self.id), record::encode(&head)));
        }
        self.label = label;
    }

    /// A young actor's events are all there and few: a snapshot would say the same again, in more room than they take.
    fn head(&self, at: Time, label: Label) -> Head {
        if self.turn < SNAPSHOT_EVERY {
            let state = Bytes::new();
            let meta = Meta { birth: self.meta.birth, ..Meta::default() };
            return Head { turn: 0, written: self.turn, at, label, state, meta };
        }
        Head { turn: self.turn, written: 0, at, label, state: record::encode(&self.state), meta: self.meta.clone() }
    }

    pub(super) fn at_rest(&self) -> bool {
        matches!(self.label, Label::Suspended | Label::Done | Label::Stuck)
    }
}

/// Makes the turn's landing depend on the row it answers to, and removes that row.
fn consume(batch: &mut Batch, changes: &mut Changes, occasion: &Occasion, meta: &Meta) {
    let Some(source) = &occasion.source else { return };
    batch.conditions.push(Condition::Version(source.key.clone(), source.version));
    match &occasion.cause {
        // A timer that was set again for the same moment in this very turn stays.
        Cause::Timer(_) if batch.puts.iter().any(|(key, _)| *key == source.key) => return,
        // A row of another time is one that a person brought back; the timer that is set now stays.
        Cause::Timer(name)
            if !changes.timers.iter().any(|(set, _)| set == name)
                && layout::timer_parts(&source.key).map(|(due, _)| due) == meta.timers.get(name).copied() =>
        {
            changes.timers.push((name.clone(), None));
        }
        Cause::Errand(turn, nth) => changes.errands_done.push((*turn, *nth)),
        Cause::Timer(_) | Cause::Message(_) | Cause::Asked => {}
    }
    if !batch.deletes.contains(&source.key) {
        batch.deletes.push(source.key.clone());
    }
}
