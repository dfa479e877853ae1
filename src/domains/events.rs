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
            required("calendar", Kind::Text, "the calendar's id, or calendar/SLUG"),
            required("about", Kind::Iri, "what was allocated"),
            required("title", Kind::Text, "what the event is called; its slug too"),
            optional("start", Kind::Time, "when it begins"),
        ],
        plan: link,
    })
}

/// One message makes the event and links it, so that there is never one without the other.
fn link(input: &EffectInput<'_>) -> Plan {
    let calendar = input.required_text("calendar");
    let title = input.required_text("title");
    let given = [
        ("title", Some(title.clone())),
        ("about", input.text("about")),
        ("calendar", Some(calendar.clone())),
        ("start", input.text("start")),
    ];
    let fields: Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect();
    let op = StreamOp::CreateObject {
        object_type: "event".into(),
        slug_hint: Some(title),
        fields,
        attributed_to: None,
        link_into: Some(calendar),
    };
    Plan::Stream { stream: "event".into(), op }
}
