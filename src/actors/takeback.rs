//! Taking back what steps of flows had streams do, each thing once for its key.
//!
//! An undo of something that was never done leaves a mark, so that the doing that comes late is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entity::{Decision, Turn};
use super::flow::{Flow, Place};
use super::publish::Writer;
use super::rows::{Index, Reads, RowKey, Rows, part, parts};
use super::stream::{Event, Rejection, Stream, done_key, linked_row, linked_rows, object_stream, path_of, record_rows};
use super::world::World;
use crate::clock::Time;
use crate::domains::effects::StreamOp;
use crate::domains::flow::spot::done_of;
use crate::domains::identity::Iri;
use crate::domains::object::Object;
use crate::store::Key;

/// What a step of a flow had done here, and is to be taken back. The key of its place is that of the undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    pub flow: String,
    pub place: Place,
    pub op: StreamOp,
    #[serde(default)]
    pub result: Option<Value>,
}

/// What was there before something was done, kept where it may have to be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Before {
    /// The fields that were changed, as they were; `null` for one that was not there.
    Fields(Map<String, Value>),
    /// When something was put into a collection: its place there.
    Linked { at: Time },
}

/// The row of a [`Before`]. It goes with the other marks of the flow's effects.
pub(super) fn before_key(key: &str) -> Key {
    parts(["done", &format!("{key}/before")])
}

/// The mark of an undo: what it answered.
pub(super) fn undone_key(key: &str) -> Key {
    done_key(&match key.strip_suffix("/do") {
        Some(stem) => format!("{stem}/undo"),
        None => format!("{key}/undo"),
    })
}

pub(super) fn reads(reads: Reads, undo: &Undo) -> Reads {
    let of = done_of(&undo.place.key);
    reads.own("undone", undone_key(&of)).own("done", done_key(&of)).own("before", before_key(&of))
}

/// The stream that did it, when what it gave says which.
pub(super) fn stream_of(world: &World, op: &StreamOp, result: Option<&Value>) -> Option<String> {
    match op {
        StreamOp::CreateObject { .. } => {
            let id = Iri::parse(result?.get("id")?.as_str()?).ok()?;
            world.local(&id).map(object_stream)
        }
        _ => None,
    }
}

impl Stream {
    pub(super) fn undo(&self, turn: &Turn<'_>, rows: &Rows, undo: Undo) -> Decision<Self> {
        let of = done_of(&undo.place.key);
        let mark = RowKey::Own(undone_key(&of));
        if rows.first("undone").is_some() {
            return told(Decision::default(), undo.flow, undo.place);
        }
        let Some(result) = rows.one::<Value>("done") else {
            return told(Decision::default().put(mark, &true), undo.flow, undo.place);
        };
        let taken = match &undo.op {
            StreamOp::Append { .. } => Ok(forget_record(&result)),
            StreamOp::CreateObject { link_into, .. } => self.uncreate(turn, rows, link_into.as_deref()),
            StreamOp::UpdateObject { .. } => self.as_it_was(turn, rows),
            StreamOp::Link { what, .. } => Ok(unlink(turn, rows, what)),
        };
        match taken {
            Ok(decision) => {
                let decision = decision.put(mark, &true).delete(RowKey::Own(before_key(&of)));
                told(decision, undo.flow, undo.place)
            }
            // Somebody else took it away: there is nothing left to take back.
            Err(Rejection::Gone(_) | Rejection::NotFound(_)) => {
                told(Decision::default().put(mark, &true), undo.flow, undo.place)
            }
            Err(rejection) => Decision::default().tell::<Flow>(undo.flow, &undo.place.refused(rejection.to_string())),
        }
    }

    fn uncreate(&self, turn: &Turn<'_>, rows: &Rows, into: Option<&str>) -> Result<Decision<Self>, Rejection> {
        let object = self.object(turn, rows)?;
        let decision = self.delete(turn, rows, Writer::Flow)?;
        Ok(match into {
            Some(into) => decision.delete(linked_row(&turn.world.object_path(into), object.published)),
            None => decision,
        })
    }

    fn as_it_was(&self, turn: &Turn<'_>, rows: &Rows) -> Result<Decision<Self>, Rejection> {
        match rows.one::<Before>("before") {
            Some(Before::Fields(fields)) => {
                self.update(turn, Writer::Flow, rows, &Value::Object(fields)).map(|(decision, _)| decision)
            }
            _ => Ok(Decision::default()),
        }
    }
}

/// The fields that a change changes, as they are before it.
pub(super) fn fields_before(object: &Object, changes: &Map<String, Value>) -> Before {
    let before = |name: &String| (name.clone(), object.fields.get(name).cloned().unwrap_or_default());
    Before::Fields(changes.keys().map(before).collect())
}

fn forget_record(result: &Value) -> Decision<Stream> {
    match result.get("seq").and_then(Value::as_u64) {
        Some(seq) => Decision::default()
            .delete(RowKey::Own(part().raw(record_rows().as_bytes()).number(seq).done()))
            .event(Event::Removed { seq }),
        None => Decision::default(),
    }
}

fn unlink(turn: &Turn<'_>, rows: &Rows, what: &str) -> Decision<Stream> {
    let Some(Before::Linked { at }) = rows.one::<Before>("before") else { return Decision::default() };
    let row = part().raw(linked_rows(path_of(turn.me)).as_bytes()).number(at.0).text(what).done();
    Decision::default().delete(RowKey::Index(Index::Linked, row)).event(Event::Unlinked { what: what.to_owned() })
}

fn told(decision: Decision<Stream>, flow: String, place: Place) -> Decision<Stream> {
    decision.tell::<Flow>(flow, &place.done(Value::Null))
}
