//! Looking at actors from outside: only at what is on disk, without waking any of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::entity::{ActorId, Entity, Kind, Label};
use super::errands::Errand;
use super::layout;
use super::life::Life;
use super::record::{self, Cause, Head, Meta, TurnRecord, Waiting};
use super::runtime::Runtime;
use crate::clock::Time;
use crate::store::{Engine, Key, ReadError, Span, around};

/// Journal records shown of one actor.
const JOURNAL_SHOWN: usize = 20;
/// Messages counted of one actor; more are shown as this many.
const MESSAGES_COUNTED: usize = 1_000;
/// Heads read in one go while those that failed are looked for.
const HEADS_READ: usize = 1_000;

/// An actor's state as the journal has it.
pub struct Replayed {
    pub value: Value,
    pub label: Label,
    pub turn: u64,
    pub(super) meta: Meta,
    pub(super) journal: Vec<JournalEntry>,
}

/// One turn, for people.
#[derive(Debug, Clone, Serialize)]
pub struct JournalEntry {
    pub turn: u64,
    pub at: String,
    pub cause: Cause,
    pub events: Value,
}

/// Where an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Active,
    Passive,
    Suspended,
    Failed,
}

impl State {
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::Suspended, Self::Failed].into_iter().find(|state| state.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
        }
    }
}

/// One row of the list of actors.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub id: String,
    pub kind: Kind,
    pub key: String,
    pub state: State,
    pub label: Label,
    /// The turn of the last snapshot at least.
    pub sequence: u64,
    pub depth: usize,
    pub restarts: u32,
    /// Why it cannot be rebuilt, of one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Everything there is to see of one actor.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    #[serde(flatten)]
    pub summary: Summary,
    pub value: Value,
    pub journal: Vec<JournalEntry>,
    pub timers: Vec<TimerShown>,
    pub errands: Vec<ErrandShown>,
    /// Message rows that wait.
    pub messages: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct TimerShown {
    pub name: String,
    pub due: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct ErrandShown {
    pub turn: u64,
    pub nth: u64,
    pub due: String,
    pub errand: Errand,
}

/// Rebuilds an actor from the journal, if there is one of this name.
pub(super) async fn replay<E: Entity>(engine: Arc<dyn Engine>, id: ActorId) -> Result<Option<Replayed>, String> {
    let life = Life::<E>::rebuild(&engine, &id).await.map_err(|error| error.to_string())?;
    if life.turn == 0 {
        return Ok(None);
    }
    let recent = Span::prefix(&layout::events(&id), JOURNAL_SHOWN).backward();
    let recent = engine.range(recent).await.map_err(|error| error.to_string())?;
    let journal = recent.iter().rev().filter_map(|row| entry::<E>(&id, &row.key, &row.value)).collect();
    Ok(Some(Replayed {
        value: life.state.view(),
        label: life.state.label(),
        turn: life.turn,
        meta: life.meta,
        journal,
    }))
}

fn entry<E: Entity>(id: &ActorId, key: &Key, value: &[u8]) -> Option<JournalEntry> {
    let turn = key.parts_after(&layout::events(id)).number()?;
    let record: TurnRecord<E::Event> = record::decode(value).ok()?;
    let events = serde_json::to_value(&record.events).unwrap_or_default();
    Some(JournalEntry { turn, at: record.at.to_string(), cause: record.cause, events })
}

/// A page of actors, of one kind or all, after an id; `next` is where to go on. One whose head is damaged is among those
/// that failed, and hides no other.
///
/// # Errors
/// What is wrong with the store, damage of single rows apart.
pub async fn list(
    runtime: &Runtime,
    kind: Option<Kind>,
    state: Option<State>,
    after: Option<&ActorId>,
    limit: usize,
) -> Result<(Vec<Summary>, Option<ActorId>), ReadError> {
    if state == Some(State::Failed) {
        return Ok(failed(runtime, kind, after, limit.max(1)).await);
    }
    let mut span = behind(kind, after, limit.max(1));
    let mut found = Vec::new();
    loop {
        let page = around::range(runtime.engine.as_ref(), span.clone()).await?;
        let Some(behind) = page.behind(&span) else { return Ok((found, None)) };
        for (id, summary) in summaries(runtime, &page) {
            if state.is_none_or(|state| summary.state == state) {
                found.push(summary);
            }
            if found.len() == limit {
                return Ok((found, Some(id)));
            }
        }
        span = behind;
    }
}

fn behind(kind: Option<Kind>, after: Option<&ActorId>, limit: usize) -> Span {
    let span = Span::prefix(&layout::heads(kind), limit);
    match after {
        Some(after) => span.after(&layout::head(after)),
        None => span,
    }
}

/// Those of a page of heads, in their order.
fn summaries(runtime: &Runtime, page: &around::Around) -> Vec<(ActorId, Summary)> {
    let read = page.rows.iter().filter_map(|row| {
        let id = layout::head_actor(&row.key)?;
        let summary = match record::decode::<Head>(&row.value) {
            Ok(head) => summarise(runtime, &id, head.label, head.turn.max(head.written)),
            Err(error) => damaged(runtime, &id, format!("what is stored of it cannot be read: {error}")),
        };
        Some((id, summary))
    });
    let unread = page.unread.iter().filter_map(|unread| {
        let id = layout::head_actor(&unread.key)?;
        let summary = damaged(runtime, &id, unread.failure.to_string());
        Some((id, summary))
    });
    let mut all: Vec<_> = read.chain(unread).collect();
    all.sort_by_key(|(id, _)| layout::head(id));
    all
}

/// Those that could not be rebuilt, and those of which the head says that they cannot be. Where the store cannot be read
/// on, what is known without it has to do: damage there must not hide them.
async fn failed(
    runtime: &Runtime,
    kind: Option<Kind>,
    after: Option<&ActorId>,
    limit: usize,
) -> (Vec<Summary>, Option<ActorId>) {
    let mut ids = runtime.registry().all_failed();
    ids.retain(|id| {
        kind.is_none_or(|kind| id.kind == kind) && after.is_none_or(|after| layout::head(id) > layout::head(after))
    });
    let known = ids.into_iter().map(|id| (layout::head(&id), summarise(runtime, &id, Label::default(), 0)));
    let mut found: BTreeMap<Key, Summary> = known.collect();
    let mut span = behind(kind, after, HEADS_READ);
    while let Ok(page) = around::range(runtime.engine.as_ref(), span.clone()).await {
        let Some(behind) = page.behind(&span) else { break };
        let failed = summaries(runtime, &page).into_iter().filter(|(_, summary)| summary.state == State::Failed);
        found.extend(failed.map(|(id, summary)| (layout::head(&id), summary)));
        span = behind;
    }
    let next = (found.len() > limit).then(|| found.keys().nth(limit - 1).and_then(layout::head_actor)).flatten();
    (found.into_values().take(limit).collect(), next)
}

fn summarise(runtime: &Runtime, id: &ActorId, label: Label, sequence: u64) -> Summary {
    let (failed, presence) = (runtime.registry().failed(id), runtime.registry().presence(id));
    let state = match (&failed, presence, label) {
        (Some(_), ..) => State::Failed,
        (None, _, Label::Suspended) => State::Suspended,
        (None, Some(_), _) => State::Active,
        (None, None, _) => State::Passive,
    };
    let (depth, restarts) = presence.map_or((0, 0), |presence| (presence.depth, presence.restarts));
    let (key, failed) = (id.key.to_string(), failed.map(|failed| failed.reason));
    Summary { id: id.to_string(), kind: id.kind, key, state, label, sequence, depth, restarts, failed }
}

/// One that nobody has tried to rebuild yet, and that could not be.
fn damaged(runtime: &Runtime, id: &ActorId, reason: String) -> Summary {
    let summary = summarise(runtime, id, Label::default(), 0);
    Summary { state: State::Failed, failed: summary.failed.clone().or(Some(reason)), ..summary }
}

/// Everything about one actor; `None` if there is no such actor.
///
/// # Errors
/// What is wrong with the store or with what it holds of the actor.
pub async fn details(runtime: &Runtime, id: &ActorId) -> Result<Option<Details>, ReadError> {
    let engine = &runtime.engine;
    let mut unread = None;
    let replayed = match runtime.registry().kinds().replay(engine.clone(), id.clone()).await {
        Ok(Some(replayed)) => replayed,
        Ok(None) if runtime.registry().failed(id).is_none() => return Ok(None),
        Ok(None) => Replayed::unreadable(String::new()),
        Err(reason) => {
            unread = Some(reason.clone());
            Replayed::unreadable(reason)
        }
    };
    let waiting = engine.range(Span::prefix(&layout::messages_to(id), MESSAGES_COUNTED)).await?.len();
    let mut errands = Vec::new();
    for ((turn, nth), due) in &replayed.meta.errands {
        let Some(row) = engine.get(&layout::errand(id, *due, *turn, *nth)).await? else { continue };
        let errand = record::decode::<Waiting>(&row.value).and_then(|waiting| record::decode(&waiting.body));
        errands.extend(errand.ok().map(|errand| ErrandShown { turn: *turn, nth: *nth, due: due.to_string(), errand }));
    }
    let mut timers = Vec::new();
    for (name, due) in &replayed.meta.timers {
        // One that was set aside as a dead letter has no row any more.
        if engine.get(&layout::timer(id, *due, name)).await?.is_some() {
            timers.push(TimerShown { name: name.clone(), due: due.to_string() });
        }
    }
    Ok(Some(Details {
        summary: match unread {
            Some(reason) => damaged(runtime, id, reason),
            None => summarise(runtime, id, replayed.label, replayed.turn),
        },
        timers,
        value: replayed.value,
        journal: replayed.journal,
        errands,
        messages: waiting,
    }))
}

/// One turn of the past, typed.
#[derive(Debug, Clone)]
pub struct Past<Event> {
    pub turn: u64,
    pub at: Time,
    pub events: Vec<Event>,
}

/// The last turns of an actor that the journal still has, in order.
///
/// # Errors
/// What the store says.
pub async fn past<E: Entity>(runtime: &Runtime, key: &str, limit: usize) -> Result<Vec<Past<E::Event>>, ReadError> {
    let events = layout::events(&ActorId::of::<E>(key));
    let rows = runtime.engine.range(Span::prefix(&events, limit).backward()).await?;
    let read = |row: &crate::store::Row| {
        let turn = row.key.parts_after(&events).number()?;
        let TurnRecord { at, events, .. } = record::decode(&row.value).ok()?;
        Some(Past { turn, at, events })
    };
    Ok(rows.iter().rev().filter_map(read).collect())
}

/// Whether anything is stored of an actor.
///
/// # Errors
/// What the store says.
pub async fn exists(runtime: &Runtime, id: &ActorId) -> Result<bool, ReadError> {
    Ok(runtime.engine.get(&layout::head(id)).await?.is_some())
}

/// The state of one actor, typed, as the journal has it.
///
/// # Errors
/// What is wrong with the store or with what it holds of the actor.
pub async fn state<E: Entity>(runtime: &Runtime, key: &str) -> Result<Option<E>, String> {
    let life = Life::<E>::rebuild(&runtime.engine, &ActorId::of::<E>(key)).await.map_err(|error| error.to_string())?;
    Ok((life.turn > 0).then_some(life.state))
}

impl Replayed {
    fn unreadable(reason: String) -> Self {
        let value = serde_json::json!({ "unreadable": reason });
        Self { value, label: Label::Idle, turn: 0, meta: Meta::default(), journal: Vec::new() }
    }
}
