//! Effects: named pure functions from parameters to one message to a local stream, or one errand.
//!
//! Every node has those of [`Effects::generic`]; a domain registers its own. A configuration that names an effect that
//! is not here, or gives it wrong parameters, is refused when the node starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::flow;
use super::flow::check::Fault;
use super::flow::definition::{Argument, Call, Definition, Notify, Step, Undo};
use super::flow::expr::Input;
use super::types::{Field, FieldMistake, Kind, check_fields};
use crate::config::nearest::nearest;

/// All effects of a binary, by name.
#[derive(Debug, Clone, Default)]
pub struct Effects(BTreeMap<&'static str, Known>);

/// An effect, and its parameters by name.
#[derive(Debug, Clone)]
struct Known {
    spec: EffectSpec,
    fields: BTreeMap<String, Field>,
}

/// What an effect is, for people and for the check at start.
#[derive(Debug, Clone)]
pub struct EffectSpec {
    pub name: &'static str,
    pub summary: &'static str,
    pub parameters: Vec<Parameter>,
    /// Its receiver knows how to take it back: `undo = true`.
    pub undo: bool,
    pub plan: fn(&EffectInput<'_>) -> Plan,
}

/// One parameter of an effect.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: &'static str,
    pub summary: &'static str,
    pub field: Field,
}

/// What an effect is planned from. The parameters have been checked.
#[derive(Debug, Clone, Copy)]
pub struct EffectInput<'a> {
    pub with: &'a Map<String, Value>,
    pub cause: &'a Input,
}

/// What is to be done: at most one message or one errand, with the key of its step. Kept as data until it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "plan", rename_all = "snake_case")]
pub enum Plan {
    /// A message to the actor of a local stream: `notices`, or an object as `article/gig-night` or by its id, or
    /// `article` for one that is to be made.
    Stream { stream: String, op: StreamOp },
    /// `POST` this JSON there.
    Webhook { url: String, body: Value },
    /// A check of the declared fields of an object ([`super::types::Type::validate`]), which needs nobody else. The
    /// result is the object with its defaults; a mistake fails the step.
    Validate { object_type: String, object: Value },
    /// A request to any service.
    Http(Request),
    /// An instance of another flow, with this input.
    Call { flow: String, input: Value },
    /// A directed activity about an object of ours, and its answer.
    Ask { verb: String, object: String, target: String, to: String },
    /// Whatever that did is taken back; `result` is what it gave, when that is known.
    Undo { of: Box<Plan>, result: Option<Value> },
}

/// A request that a step makes. Its secrets are names, looked up when it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderValue>,
    /// JSON, or a text as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Statuses that mean that it was done; every 2xx without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ok: Vec<u16>,
    /// Milliseconds for it to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// The value of a header of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    Text(String),
    Secret {
        secret: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
}

impl Request {
    /// Whether a status means that it was done.
    pub fn is_ok(&self, status: u16) -> bool {
        if self.ok.is_empty() { (200..300).contains(&status) } else { self.ok.contains(&status) }
    }
}

/// What a stream is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum StreamOp {
    /// Adds a record. The result is `{ seq }`.
    Append { record: Value },
    /// Makes an object. The result is `{ id, slug, type }`.
    CreateObject {
        object_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slug_hint: Option<String>,
        fields: Map<String, Value>,
        /// An IRI; this node's own actor without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attributed_to: Option<String>,
        /// The path or id of a collection of ours that the new object goes into, in the same turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link_into: Option<String>,
    },
    /// Changes fields; `null` takes one away. The result is `{ id, slug, type }`.
    UpdateObject { changes: Map<String, Value> },
    /// Puts an IRI into an object that is a collection. The result is `{ id, what }`.
    Link {
        what: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
}

/// Why an effect was not planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// A flow outlived an effect, or came from a newer binary.
    #[error("this binary has no effect `{0}`: install one that has it, then retry the step")]
    Unknown(String),
    #[error("the parameters of `{effect}` are wrong: {}", .mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Parameters { effect: String, mistakes: Vec<FieldMistake> },
    #[error("`{part}` of `{effect}` has to be text")]
    NotText { effect: String, part: String },
}

impl Effects {
    /// Those that every node has, so that a useful domain needs no Rust.
    pub fn generic() -> Self {
        Self::default()
            .with(EffectSpec {
                name: "object.create",
                summary: "makes an object of a declared type and publishes it",
                parameters: vec![
                    required("type", Kind::Text, "a declared type"),
                    required("fields", Kind::Table, "its fields"),
                    optional("slug", Kind::Text, "what its slug is made of; its title without it"),
                    optional("into", Kind::Text, "a collection of ours that it goes into"),
                ],
                undo: true,
                plan: create,
            })
            .with(EffectSpec {
                name: "object.update",
                summary: "changes fields of an object of ours and publishes it",
                parameters: vec![
                    required("object", Kind::Text, "its id, or TYPE/SLUG"),
                    required("fields", Kind::Table, "what changes; null takes a field away"),
                ],
                undo: true,
                plan: update,
            })
            .with(EffectSpec {
                name: "object.validate",
                summary: "fails the flow if an object does not have the shape of a declared type",
                parameters: vec![
                    required("type", Kind::Text, "a declared type"),
                    optional("object", Kind::Json, "the fields; those of the flow's object without it"),
                ],
                undo: true,
                plan: validate,
            })
            .with(EffectSpec {
                name: "link",
                summary: "puts an IRI into a collection of ours",
                parameters: vec![
                    required("into", Kind::Text, "the collection's id, or TYPE/SLUG"),
                    required("what", Kind::Iri, "what goes into it"),
                    optional("title", Kind::Text, "what it is called there"),
                ],
                undo: true,
                plan: link,
            })
            .with(EffectSpec {
                name: "notify",
                summary: "adds a notice to the local stream `notices`",
                parameters: vec![
                    required("text", Kind::Text, "what it says"),
                    optional("about", Kind::Iri, "what it is about; the flow's object without it"),
                ],
                undo: true,
                plan: notify,
            })
            .with(EffectSpec {
                name: "webhook",
                summary: "posts JSON to a URL",
                parameters: vec![
                    required("url", Kind::Iri, "where to; its host obeys [fetch] allow"),
                    optional("body", Kind::Json, "what; the flow's object without it"),
                ],
                undo: false,
                plan: webhook,
            })
    }

    /// Adds an effect. A later one of the same name takes the place of the earlier.
    pub fn with(mut self, spec: EffectSpec) -> Self {
        let fields = spec.parameters.iter().map(|it| (it.name.to_owned(), it.field.clone())).collect();
        self.0.insert(spec.name, Known { spec, fields });
        self
    }

    pub fn all(&self) -> impl Iterator<Item = &EffectSpec> {
        self.0.values().map(|known| &known.spec)
    }

    /// Plans one effect with the parameters of a [`super::flow::Fact::StepStarted`].
    pub fn plan(&self, effect: &str, with: &Value, cause: &Input) -> Result<Plan, EffectError> {
        let Known { spec, fields } = self.0.get(effect).ok_or_else(|| EffectError::Unknown(effect.to_owned()))?;
        let wrong = |mistakes| EffectError::Parameters { effect: effect.to_owned(), mistakes };
        let with = check_fields(fields, with).map_err(wrong)?;
        Ok((spec.plan)(&EffectInput { with: &with, cause }))
    }

    /// What is wrong with the effects that a flow names.
    pub fn check(&self, definition: &Definition) -> Vec<Fault> {
        definition.steps.iter().flat_map(|(name, step)| self.check_step(&format!("steps.{name}"), step)).collect()
    }

    fn check_step(&self, path: &str, step: &Step) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(call) = step.kind.call() {
            faults.extend(self.check_call(path, call, true));
        }
        if let flow::definition::Kind::Suspend { notify: Some(Notify::Effect(call)), .. } = &step.kind {
            faults.extend(self.check_call(&format!("{path}.notify"), call, true));
        }
        match &step.undo {
            // One without parameters of its own is given those of the step.
            Some(Undo::Effect(call)) => {
                faults.extend(self.check_call(&format!("{path}.undo"), call, !call.with.is_empty()));
            }
            Some(Undo::Own) => faults.extend(self.check_own_undo(path, step)),
            Some(Undo::Http(_)) | None => {}
        }
        faults
    }

    fn check_own_undo(&self, path: &str, step: &Step) -> Option<Fault> {
        let called = step.kind.call().map(|call| call.effect.as_str());
        let known = called.is_none_or(|effect| self.0.get(effect).is_none_or(|known| known.spec.undo));
        if known && called.is_some() {
            return None;
        }
        let what = format!("`{}` has no undo of its own", called.unwrap_or(step.kind.word()));
        Some(Fault::new(
            format!("{path}.undo"),
            what,
            "name one: undo = { effect = \"…\" } or undo = { http = \"POST\" }",
        ))
    }

    fn check_call(&self, at: &str, call: &Call, complete: bool) -> Vec<Fault> {
        let Some(Known { spec, .. }) = self.0.get(call.effect.as_str()) else {
            let known: Vec<_> = self.0.keys().copied().collect();
            let remedy = nearest(&call.effect, known.iter().copied())
                .map_or_else(|| format!("effects are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            return vec![Fault::new(format!("{at}.effect"), format!("unknown effect `{}`", call.effect), remedy)];
        };
        let path = |name: &str| format!("{at}.with.{name}");
        let names = || spec.parameters.iter().map(|it| it.name);
        let unknown = call.with.keys().filter(|name| !names().any(|known| known == *name)).map(|name| {
            let known = || format!("`{}` takes {}", spec.name, names().collect::<Vec<_>>().join(", "));
            let remedy = nearest(name, names()).map_or_else(known, |near| format!("did you mean `{near}`?"));
            Fault::new(path(name), format!("unknown parameter `{name}` of `{}`", spec.name), remedy)
        });
        let wrong = spec.parameters.iter().filter_map(|parameter| match call.with.get(parameter.name) {
            Some(Argument::Value(value)) => {
                let what = parameter.field.check(value).err()?;
                Some(Fault::new(path(parameter.name), format!("`{}` {what}", parameter.name), parameter.described()))
            }
            Some(_) => None,
            None if complete && parameter.field.required => {
                let what = format!("`{}` needs the parameter `{}`", spec.name, parameter.name);
                let remedy = format!("add with.{}", parameter.described());
                Some(Fault::new(format!("{at}.with"), what, remedy))
            }
            None => None,
        });
        unknown.chain(wrong).collect()
    }
}

impl Parameter {
    fn described(&self) -> String {
        format!("{}: {}", self.name, self.summary)
    }
}

impl EffectInput<'_> {
    pub fn text(&self, name: &str) -> Option<String> {
        self.with.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// A parameter that the check has made sure of.
    pub fn required_text(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    pub fn table(&self, name: &str) -> Map<String, Value> {
        self.with.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// The id of what the flow is about: an object's, or the bare id that an activity names.
    pub fn about(&self) -> Option<String> {
        let object = &self.cause.object;
        object.as_str().or_else(|| object.get("id")?.as_str()).map(str::to_owned)
    }
}

/// A parameter that has to be given.
pub fn required(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter { name, summary, field: Field { required: true, ..Field::of(kind) } }
}

/// A parameter that may be left out.
pub fn optional(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter { name, summary, field: Field::of(kind) }
}

fn create(input: &EffectInput<'_>) -> Plan {
    let object_type = input.required_text("type");
    let op = StreamOp::CreateObject {
        object_type: object_type.clone(),
        slug_hint: input.text("slug"),
        fields: input.table("fields"),
        attributed_to: None,
        link_into: input.text("into"),
    };
    Plan::Stream { stream: object_type, op }
}

fn update(input: &EffectInput<'_>) -> Plan {
    let op = StreamOp::UpdateObject { changes: input.table("fields") };
    Plan::Stream { stream: input.required_text("object"), op }
}

fn validate(input: &EffectInput<'_>) -> Plan {
    let object_type = input.required_text("type");
    let object = input.with.get("object").unwrap_or(&input.cause.object).clone();
    Plan::Validate { object_type, object }
}

fn link(input: &EffectInput<'_>) -> Plan {
    let op = StreamOp::Link { what: input.required_text("what"), title: input.text("title") };
    Plan::Stream { stream: input.required_text("into"), op }
}

fn notify(input: &EffectInput<'_>) -> Plan {
    let about = input.text("about").or_else(|| input.about());
    let record = json!({ "text": input.required_text("text"), "about": about, "actor": input.cause.actor });
    Plan::Stream { stream: "notices".into(), op: StreamOp::Append { record } }
}

fn webhook(input: &EffectInput<'_>) -> Plan {
    let body = input.with.get("body").unwrap_or(&input.cause.object).clone();
    Plan::Webhook { url: input.required_text("url"), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::{blog, events};

    fn cause() -> Input {
        Input {
            object: json!({ "id": "https://b.example/gig-night", "name": "Gig night" }),
            activity: json!({ "target": "https://e.example/calendars/main" }),
            actor: json!("https://b.example/actor"),
            ..Input::default()
        }
    }

    fn plan(effect: &str, with: Value) -> Result<Value, String> {
        let effects = events::register(blog::register(Effects::generic()));
        let planned = effects.plan(effect, &with, &cause()).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(planned).unwrap())
    }

    #[test]
    fn each_effect_is_one_message_one_errand_or_a_check() {
        let append = |stream: &str, record: Value| json!({ "plan": "stream", "stream": stream, "op": { "op": "append", "record": record } });
        let gig = "https://b.example/gig-night";
        for (effect, with, expected) in [
            (
                "notify",
                json!({ "text": "x" }),
                append("notices", json!({ "text": "x", "about": gig, "actor": "https://b.example/actor" })),
            ),
            ("digest.send", json!({}), append("digest", json!({ "article": gig, "title": "Gig night", "note": null }))),
            (
                "object.create",
                json!({ "type": "note", "fields": { "title": "x" }, "slug": "y" }),
                json!({ "plan": "stream", "stream": "note", "op": { "op": "create_object", "object_type": "note", "slug_hint": "y", "fields": { "title": "x" } } }),
            ),
            (
                "object.update",
                json!({ "object": "note/y", "fields": { "title": null } }),
                json!({ "plan": "stream", "stream": "note/y", "op": { "op": "update_object", "changes": { "title": null } } }),
            ),
            (
                "object.validate",
                json!({ "type": "note", "object": { "a": 1 } }),
                json!({ "plan": "validate", "object_type": "note", "object": { "a": 1 } }),
            ),
            (
                "link",
                json!({ "into": "calendar/main", "what": gig }),
                json!({ "plan": "stream", "stream": "calendar/main", "op": { "op": "link", "what": gig } }),
            ),
            (
                "webhook",
                json!({ "url": "https://h.example/", "body": [1] }),
                json!({ "plan": "webhook", "url": "https://h.example/", "body": [1] }),
            ),
            (
                "calendar.link",
                json!({ "calendar": "https://e.example/calendars/main" }),
                json!({ "plan": "stream", "stream": "event", "op": {
                    "op": "create_object", "object_type": "event", "slug_hint": "Gig night",
                    "link_into": "https://e.example/calendars/main",
                    "fields": { "title": "Gig night", "about": gig, "calendar": "https://e.example/calendars/main" } } }),
            ),
        ] {
            assert_eq!(plan(effect, with), Ok(expected), "{effect}");
        }
    }

    #[test]
    fn wrong_parameters_and_unknown_effects_are_told() {
        assert_eq!(
            plan("notify", json!({ "txt": "x", "about": "nowhere" })),
            Err("the parameters of `notify` are wrong: `txt` is not a field; did you mean `text`?; \
                 `about` is `nowhere`, not an absolute http or https URL; `text` is missing"
                .into())
        );
        assert_eq!(
            plan("nothing", json!({})),
            Err("this binary has no effect `nothing`: install one that has it, then retry the step".into())
        );
    }
}
