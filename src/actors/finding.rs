//! How instances of flows are found: a small row for each name, type, key and declared field, in the order of their start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::ActorId;
use super::flow::{Flow, Listed, list_row};
use super::rows::{Index, RowKey, part};
use super::{layout, record};
use crate::clock::Time;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::expr::{Expression, Input, Scope};
use crate::domains::flow::limits::Limit;
use crate::domains::flow::progress::Progress;
use crate::store::{Engine, Key, ReadError, Row};

/// Letters of a value that instances are told apart by; a longer one is found by its beginning.
const VALUE_MAX: usize = 200;

/// What an instance is found by, besides its name, its state and its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// The type of its object, in lower case.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What bounds it together with others; its object where the flow has no bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What its flow declares under `search`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// One thing that instances are looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    Name,
    Type,
    Key,
    Field(&'a str),
}

impl Traits {
    /// What the instance is found by now. An expression that gives nothing leaves its field out; that fails no flow.
    pub(super) fn of(compiled: &Compiled, input: &Input, progress: &Progress) -> Self {
        let value = |expression: &Expression| text_of(&expression.evaluate(&Scope::of(input, progress)).ok()?);
        let fields = compiled.search.iter().filter_map(|(name, expression)| Some((name.clone(), value(expression)?)));
        let own = |name: &str| input.object.get(name).and_then(text_of);
        let keys = Limit::ALL.into_iter().filter_map(|limit| limit.key(compiled, input, progress)?.ok());
        let bound = keys.into_iter().find_map(|key| text_of(&key));
        let kind = own("type").map(|kind| kind.to_lowercase());
        Self { kind, key: bound.or_else(|| own("id")), fields: fields.collect() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rows by which it is found.
    pub(super) fn rows(&self, name: &str, started: Time) -> Vec<RowKey> {
        let fields = self.fields.iter().map(|(field, value)| (By::Field(field), value.as_str()));
        let others = [(By::Type, self.kind.as_deref()), (By::Key, self.key.as_deref())];
        let others = others.into_iter().filter_map(|(by, value)| Some((by, value?)));
        let row = |(by, value): (By<'_>, &str)| {
            RowKey::Index(Index::FlowsBy, part().raw(found_prefix(by, value).as_bytes()).number(started.0).done())
        };
        [(By::Name, name)].into_iter().chain(others).chain(fields).map(row).collect()
    }
}

/// The entries of what has this value, by the time of their start.
pub fn found_prefix(by: By<'_>, value: &str) -> Key {
    let (tag, field) = match by {
        By::Name => (1, ""),
        By::Type => (2, ""),
        By::Key => (3, ""),
        By::Field(field) => (4, field),
    };
    let begun = part().tag(tag);
    let begun = if field.is_empty() { begun } else { begun.text(field) };
    begun.text(&cut(value)).done()
}

/// As it is stored and looked for.
pub fn cut(value: &str) -> String {
    value.chars().take(VALUE_MAX).collect()
}

/// What the list of all says of the instance that an entry under `prefix` stands for; `None` when it was removed meanwhile.
///
/// # Errors
/// What the store says.
pub async fn listed(engine: &dyn Engine, prefix: &Key, row: &Row) -> Result<Option<(ActorId, Listed)>, ReadError> {
    let started = row.key.parts_after(prefix).number();
    let Some((id, started)) = layout::index_owner(&row.key).zip(started) else { return Ok(None) };
    let found = engine.get(&layout::row(&id, &list_row(None, Time(started)))).await?;
    Ok(found.and_then(|found| Some((id, record::decode(&found.value).ok()?))))
}

impl Flow {
    /// The rows by which it is found, for when it goes.
    pub(super) fn found_rows(&self) -> Vec<RowKey> {
        let name = self.start.as_ref().map_or("", |start| start.name.as_str());
        self.traits.rows(name, self.at)
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(cut(text)),
        other => Some(cut(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domains::flow::check::{Bounds, compile};
    use crate::domains::flow::definition::{Concurrency, Definition, Kind, Step, Until};

    fn traits(input: Value, object: Value) -> Traits {
        let steps = BTreeMap::from([("w".to_owned(), Step::of(Kind::Wait(Until::Span(1))))]);
        let search = [("city", "input.city"), ("size", "input.size"), ("gone", "input.nothing.at.all")];
        let definition = Definition {
            search: search.map(|(name, cel)| (name.to_owned(), cel.to_owned())).into(),
            concurrency: Some(Concurrency { key: Some("input.room".into()), max: 1 }),
            ..Definition::of("f", steps)
        };
        let compiled = compile(definition, Bounds::default()).unwrap();
        Traits::of(&compiled, &Input { input, object, ..Input::default() }, &Progress::new("f"))
    }

    #[test]
    fn values_become_text_and_what_gives_none_is_left_out() {
        let found = traits(json!({ "city": "Bern", "size": 3, "room": "r" }), json!({ "type": "Event", "id": "e" }));
        assert_eq!(found.fields, BTreeMap::from([("city".into(), "Bern".into()), ("size".into(), "3".into())]));
        assert_eq!((found.kind.as_deref(), found.key.as_deref()), (Some("event"), Some("r")));
        assert_eq!(traits(json!({}), json!({ "id": "e" })).key.as_deref(), Some("e"), "its object where no key is");
        assert!(traits(json!({}), json!(null)).is_empty());
    }

    #[test]
    fn a_value_is_found_by_itself_and_by_no_other() {
        let bern = found_prefix(By::Field("city"), "Bern");
        for other in [
            found_prefix(By::Field("city"), "Berne"),
            found_prefix(By::Field("cit"), "yBern"),
            found_prefix(By::Name, "Bern"),
            found_prefix(By::Key, "Bern"),
        ] {
            assert!(!other.starts_with(&bern) && !bern.starts_with(&other));
        }
        let long = "x".repeat(10_000);
        assert!(found_prefix(By::Name, &long).as_bytes().len() < 1_000, "keys stay small");
    }
}
