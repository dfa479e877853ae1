//! What steps of flows have streams do: each thing once for its key, and the flow is told what came of it.

use serde_json::Value;

use super::entity::{Decision, Turn};
use super::flow::{Flow, Place};
use super::publish::Writer;
use super::rows::{Index, RowKey, Rows, part};
use super::stream::{
    Command, Create, Event, Linked, Record, Rejection, Stream, done_key, linked_rows, object_stream, record_rows,
};
use super::takeback::{self, Before};
use crate::domains::effects::StreamOp;
use crate::domains::identity::Iri;
use crate::domains::object::Object;

/// How often a slug that is taken gets another number.
const SLUG_TRIES_MAX: u32 = 1_000;

/// What a step wants done, and for whom.
pub(super) struct Wanted {
    pub(super) flow: String,
    pub(super) place: Place,
    pub(super) op: StreamOp,
    pub(super) tries: u32,
    /// It may be taken back.
    pub(super) undo: bool,
}

impl Stream {
    /// Does what a step of a flow asks for, and tells the flow; a repeat gets the first result again.
    pub(super) fn effect(&self, turn: &Turn<'_>, rows: &Rows, wanted: Wanted) -> Decision<Self> {
        let Wanted { flow, place, op, tries, undo } = wanted;
        if rows.first("undone").is_some() {
            let reason = "it was taken back before it was done".to_owned();
            return Decision::default().tell::<Flow>(flow, &place.refused(reason));
        }
        if let Some(result) = rows.one::<Value>("done") {
            return tell_done(Decision::default(), flow, place, result);
        }
        let before = self.before(turn, rows, &op).filter(|_| undo);
        let done = match op {
            StreamOp::CreateObject { object_type, slug_hint, fields, attributed_to, link_into } => {
                let create = Create {
                    kind: object_type.clone(),
                    fields: Value::Object(fields.clone()),
                    to: Vec::new(),
                    visibility: None,
                    attributed_to: attributed_to.as_deref().and_then(|by| Iri::parse(by).ok()),
                    into: link_into.as_deref().map(|into| turn.world.object_path(into)),
                };
                match self.create(turn, Writer::Flow, create) {
                    Err(Rejection::Taken(path) | Rejection::Gone(path)) if tries < SLUG_TRIES_MAX => {
                        let op = StreamOp::CreateObject { object_type, slug_hint, fields, attributed_to, link_into };
                        return next_slug(&path, flow, place, op, tries, undo);
                    }
                    other => other,
                }
            }
            StreamOp::UpdateObject { changes } => self.update(turn, Writer::Flow, rows, &Value::Object(changes)),
            StreamOp::Append { record } => Ok(self.append(turn, record)),
            StreamOp::Link { what, title } => self.object(turn, rows).map(|object| link(turn, &object, what, title)),
        };
        match done {
            Ok((decision, result)) => {
                let decision = decision.put(RowKey::Own(done_key(&place.key)), &result);
                let decision = match before {
                    Some(before) => decision.put(RowKey::Own(takeback::before_key(&place.key)), &before),
                    None => decision,
                };
                tell_done(decision, flow, place, result)
            }
            Err(rejection) => tell_refused(flow, place, &rejection),
        }
    }

    /// What has to be known to take it back.
    fn before(&self, turn: &Turn<'_>, rows: &Rows, op: &StreamOp) -> Option<Before> {
        match op {
            StreamOp::UpdateObject { changes } => {
                self.object(turn, rows).ok().map(|object| takeback::fields_before(&object, changes))
            }
            StreamOp::Link { .. } => Some(Before::Linked { at: turn.now }),
            StreamOp::Append { .. } | StreamOp::CreateObject { .. } => None,
        }
    }

    fn append(&self, turn: &Turn<'_>, value: Value) -> (Decision<Self>, Value) {
        let seq = self.last + 1;
        let record = Record { seq, at: turn.now, value };
        let row = RowKey::Own(part().raw(record_rows().as_bytes()).number(seq).done());
        let decision = Decision::default().put(row, &record).event(Event::Appended { seq });
        (decision, serde_json::json!({ "seq": seq }))
    }
}

fn link(turn: &Turn<'_>, object: &Object, what: String, title: Option<String>) -> (Decision<Stream>, Value) {
    let id = turn.world.iri(&object.path);
    let result = serde_json::json!({ "id": id.as_str(), "what": what });
    let linked = Linked { what: what.clone(), title, at: turn.now };
    let row = RowKey::Index(
        Index::Linked,
        part().raw(linked_rows(&object.path).as_bytes()).number(turn.now.0).text(&what).done(),
    );
    (Decision::default().put(row, &linked).event(Event::Linked { what }), result)
}

/// Hands a new object on to the next address that may be free: `gig`, `gig-2`, `gig-3`.
fn next_slug(path: &str, flow: String, place: Place, op: StreamOp, tries: u32, undo: bool) -> Decision<Stream> {
    let stem = match tries {
        0 => path,
        _ => path.rsplit_once('-').map_or(path, |(stem, _)| stem),
    };
    let tries = tries + 1;
    let next = object_stream(&format!("{stem}-{}", tries + 1));
    Decision::default().tell::<Stream>(next, &Command::Effect { flow, place, op, tries, undo })
}

fn tell_done(decision: Decision<Stream>, flow: String, place: Place, result: Value) -> Decision<Stream> {
    decision.tell::<Flow>(flow, &place.done(result))
}

fn tell_refused(flow: String, place: Place, rejection: &Rejection) -> Decision<Stream> {
    Decision::default().tell::<Flow>(flow, &place.refused(rejection.to_string()))
}
