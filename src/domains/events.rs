//! Events: calendars, and what other nodes allocate to them.

use serde_json::{Map, Value};

use super::effects::{EffectInput, EffectSpec, Effects, Plan, StreamOp, optional, required};
use super::types::Kind;

/// Registers the effects of a node with calendars.
pub fn register(effects: Effects) -> Effects {
    effects.with(EffectSpec {
        name: "calendar.link",
        summary: "makes an `event` for something that was allocated to a calendar and puts it there; gives the event's id",
        parameters: vec![
            required("calendar", Kind::Iri, "the calendar's id"),
            optional("about", Kind::Iri, "what was allocated; the flow's object without it"),
            optional("title", Kind::Text, "what the event is called, its slug too; the name of the object without it"),
            optional("start", Kind::Time, "when it begins; the object's startTime without it"),
        ],
        undo: true,
        plan: link,
    })
}

/// One message makes the event and links it, so that there is never one without the other.
fn link(input: &EffectInput<'_>) -> Plan {
    let of_object = |field: &str| input.cause.object.get(field).and_then(Value::as_str).map(str::to_owned);
    let about = input.text("about").or_else(|| input.about());
    let last_part = |iri: &String| iri.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
    let title = input.text("title").or_else(|| of_object("name")).or_else(|| about.as_ref().and_then(last_part));
    let calendar = input.required_text("calendar");
    let given = [
        ("title", title.clone()),
        ("about", about),
        ("calendar", Some(calendar.clone())),
        ("start", input.text("start").or_else(|| of_object("startTime"))),
    ];
    let fields: Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect();
    let op = StreamOp::CreateObject {
        object_type: "event".into(),
        slug_hint: title,
        fields,
        attributed_to: None,
        link_into: Some(calendar),
    };
    Plan::Stream { stream: "event".into(), op }
}
