//! Types: the declared shape of objects, and what of an object they refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::shown::Shows;
use crate::config::nearest::nearest;

/// A declared type of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub name: String,
    pub fields: BTreeMap<String, Field>,
    /// The ActivityStreams type that others see.
    pub activity_streams: String,
    /// What stands between base and slug in the ids of its objects.
    pub path: Option<String>,
    /// The field that gives the slug and the ActivityStreams `name`.
    pub title: Option<String>,
    pub visibility: Visibility,
    /// What of it others read in words of theirs.
    pub shows: Shows,
}

/// Who may see an object that says nothing itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    #[default]
    Public,
    Followers,
    Direct,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The largest number, or the most letters or elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The smallest number, or the fewest letters or elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The kinds of field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    Choice(Vec<String>),
    Number,
    Integer,
    Bool,
    /// RFC 3339 with an offset.
    Time,
    /// An absolute http or https URL, or a URN.
    Iri,
    /// Elements of one kind, any without it.
    List(Option<Box<Kind>>),
    /// Any JSON object.
    Table,
    Json,
}

/// The words that declare kinds.
pub const KINDS: &[&str] = &["text", "choice", "number", "integer", "bool", "time", "iri", "list", "table", "json"];

/// What is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{field}` {what}")]
pub struct FieldMistake {
    pub field: String,
    pub what: String,
}

impl Type {
    /// The object with its defaults, or everything that is wrong with it.
    pub fn check(&self, object: &Value) -> Result<Map<String, Value>, Vec<FieldMistake>> {
        check_fields(&self.fields, object)
    }

    /// The declared fields of something that may have more, such as an id, with their defaults.
    pub fn validate(&self, object: &Value) -> Result<Map<String, Value>, Vec<FieldMistake>> {
        let Value::Object(object) = object else { return Err(vec![not_a_table(object)]) };
        let declared = object.iter().filter(|(name, _)| self.fields.contains_key(*name));
        self.check(&Value::Object(declared.map(|(name, value)| (name.clone(), value.clone())).collect()))
    }

    /// The object with some fields changed; `null` takes an optional one away.
    pub fn change(
        &self,
        object: &Map<String, Value>,
        changes: &Value,
    ) -> Result<Map<String, Value>, Vec<FieldMistake>> {
        let mut changed = object.clone();
        let Value::Object(changes) = changes else { return Err(vec![not_a_table(changes)]) };
        for (field, value) in changes {
            match value {
                Value::Null => drop(changed.remove(field)),
                value => drop(changed.insert(field.clone(), value.clone())),
            }
        }
        self.check(&Value::Object(changed))
    }

    /// The address below the base of the object with this slug.
    pub fn address(&self, slug: &str) -> String {
        match &self.path {
            Some(path) => format!("{path}/{slug}"),
            None => slug.to_owned(),
        }
    }

    /// What the object is called.
    pub fn title_of<'a>(&self, object: &'a Map<String, Value>) -> Option<&'a str> {
        object.get(self.title.as_deref()?)?.as_str()
    }
}

/// Values by name, checked against declared fields: defaults filled in, or everything that is wrong.
pub fn check_fields(fields: &BTreeMap<String, Field>, given: &Value) -> Result<Map<String, Value>, Vec<FieldMistake>> {
    let Value::Object(given) = given else { return Err(vec![not_a_table(given)]) };
    let mut mistakes = unknown(fields, given);
    let mut checked = Map::new();
    for (name, field) in fields {
        match given.get(name).filter(|value| !value.is_null()) {
            Some(value) => match field.check(value) {
                Ok(()) => drop(checked.insert(name.clone(), value.clone())),
                Err(what) => mistakes.push(FieldMistake { field: name.clone(), what }),
            },
            None => match &field.default {
                Some(default) => drop(checked.insert(name.clone(), default.clone())),
                None if field.required => {
                    mistakes.push(FieldMistake { field: name.clone(), what: "is missing".into() });
                }
                None => {}
            },
        }
    }
    if mistakes.is_empty() { Ok(checked) } else { Err(mistakes) }
}

impl Field {
    /// A field that may be left out and has no bounds.
    pub fn of(kind: Kind) -> Self {
        Self { kind, required: false, max: None, min: None, default: None }
    }

    /// Says what is wrong with a value, to stand behind its name.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.kind.check(value)?;
        let (size, unit) = match value {
            Value::String(text) => (text.chars().count() as f64, " letters"),
            Value::Array(list) => (list.len() as f64, " elements"),
            Value::Number(number) => (number.as_f64().unwrap_or(f64::NAN), ""),
            _ => return Ok(()),
        };
        let is = if unit.is_empty() { "is" } else { "has" };
        match (self.min, self.max) {
            (_, Some(max)) if size > max => Err(format!("{is} {size}{unit}, at most {max} are allowed")),
            (Some(min), _) if size < min => Err(format!("{is} {size}{unit}, at least {min} are needed")),
            _ => Ok(()),
        }
    }
}

impl Kind {
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Choice(_) => "choice",
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Bool => "bool",
            Kind::Time => "time",
            Kind::Iri => "iri",
            Kind::List(_) => "list",
            Kind::Table => "table",
            Kind::Json => "json",
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Kind::Text, Value::String(_)) | (Kind::Number, Value::Number(_)) | (Kind::Bool, Value::Bool(_)) => Ok(()),
            (Kind::Table, Value::Object(_)) | (Kind::Json, _) => Ok(()),
            (Kind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
            (Kind::Choice(of), Value::String(text)) => choose(of, text),
            (Kind::Time, Value::String(text)) => match text.parse::<jiff::Timestamp>() {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("is `{text}`, not a time like 2026-11-21T20:00:00Z")),
            },
            (Kind::Iri, Value::String(text)) => match url::Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https" | "urn") => Ok(()),
                _ => Err(format!("is `{text}`, not an absolute http or https URL")),
            },
            (Kind::List(of), Value::Array(list)) => {
                let Some(of) = of else { return Ok(()) };
                list.iter()
                    .enumerate()
                    .try_for_each(|(index, value)| of.check(value).map_err(|what| format!("element {index} {what}")))
            }
            (expected, given) => Err(format!("is {}, not {}", described(given), expected.described())),
        }
    }

    fn described(&self) -> &'static str {
        match self {
            Kind::Text | Kind::Choice(_) => "text",
            Kind::Number => "a number",
            Kind::Integer => "a whole number",
            Kind::Bool => "true or false",
            Kind::Time => "a time as text",
            Kind::Iri => "a URL as text",
            Kind::List(_) => "a list",
            Kind::Table => "a table",
            Kind::Json => "JSON",
        }
    }
}

fn choose(of: &[String], text: &str) -> Result<(), String> {
    if of.iter().any(|choice| choice == text) {
        return Ok(());
    }
    let known = of.iter().map(String::as_str);
    Err(match nearest(text, known.clone()) {
        Some(near) => format!("is `{text}`; did you mean `{near}`?"),
        None => format!("is `{text}`, not one of {}", known.collect::<Vec<_>>().join(", ")),
    })
}

fn unknown(fields: &BTreeMap<String, Field>, given: &Map<String, Value>) -> Vec<FieldMistake> {
    let strange = given.keys().filter(|name| !fields.contains_key(*name));
    let mistakes = strange.map(|name| FieldMistake {
        field: name.clone(),
        what: match nearest(name, fields.keys().map(String::as_str)) {
            Some(near) => format!("is not a field; did you mean `{near}`?"),
            None if fields.is_empty() => "is not a field: there are none".into(),
            None => {
                let known: Vec<_> = fields.keys().map(String::as_str).collect();
                format!("is not a field; there are {}", known.join(", "))
            }
        },
    });
    mistakes.collect()
}

fn not_a_table(given: &Value) -> FieldMistake {
    FieldMistake { field: "object".into(), what: format!("is {}, not a JSON object", described(given)) }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn article() -> Type {
        let field = |kind| Field::of(kind);
        let of = vec!["note".to_owned(), "urgent".to_owned()];
        let fields = [
            ("title", Field { required: true, min: Some(1.0), max: Some(5.0), ..field(Kind::Text) }),
            ("category", Field { default: Some(json!("note")), ..field(Kind::Choice(of)) }),
            ("count", Field { min: Some(0.0), max: Some(9.0), ..field(Kind::Integer) }),
            ("price", field(Kind::Number)),
            ("start", field(Kind::Time)),
            ("link", field(Kind::Iri)),
            ("tags", Field { max: Some(2.0), ..field(Kind::List(Some(Box::new(Kind::Text)))) }),
            ("any", field(Kind::Json)),
            ("table", field(Kind::Table)),
            ("flag", field(Kind::Bool)),
        ];
        Type {
            name: "article".into(),
            fields: fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect(),
            activity_streams: "Article".into(),
            path: None,
            title: Some("title".into()),
            visibility: Visibility::Public,
            shows: Shows::default(),
        }
    }

    fn mistakes(object: Value) -> Vec<String> {
        article().check(&object).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_right_object_gets_its_defaults() {
        let object = json!({
            "title": "Gig", "count": 3, "price": 1.5, "start": "2026-11-21T20:00:00+01:00", "link": "urn:x:y",
            "tags": ["a", "b"], "any": [1, null], "table": {}, "flag": true,
        });
        let checked = article().check(&object).unwrap();
        assert_eq!(checked["category"], "note");
        assert_eq!(checked.len(), 10);
        assert_eq!(article().title_of(&checked), Some("Gig"));
    }

    #[test]
    fn every_mistake_of_an_object_is_named_at_once() {
        for (object, expected) in [
            (json!({}), vec!["`title` is missing"]),
            (json!({ "title": null }), vec!["`title` is missing"]),
            (json!([]), vec!["`object` is a list, not a JSON object"]),
            (json!({ "titel": "x", "title": "x" }), vec!["`titel` is not a field; did you mean `title`?"]),
            (
                json!({ "title": "", "category": "urgnt" }),
                vec!["`category` is `urgnt`; did you mean `urgent`?", "`title` has 0 letters, at least 1 are needed"],
            ),
            (json!({ "title": "öäüßéx" }), vec!["`title` has 6 letters, at most 5 are allowed"]),
            (json!({ "title": 3 }), vec!["`title` is a number, not text"]),
            (json!({ "title": "x", "count": 1.5 }), vec!["`count` is a number with a fraction, not a whole number"]),
            (json!({ "title": "x", "count": 10 }), vec!["`count` is 10, at most 9 are allowed"]),
            (json!({ "title": "x", "count": -1 }), vec!["`count` is -1, at least 0 are needed"]),
            (
                json!({ "title": "x", "start": "tomorrow" }),
                vec!["`start` is `tomorrow`, not a time like 2026-11-21T20:00:00Z"],
            ),
            (
                json!({ "title": "x", "start": "2026-11-21T20:00:00" }),
                vec!["`start` is `2026-11-21T20:00:00`, not a time like 2026-11-21T20:00:00Z"],
            ),
            (json!({ "title": "x", "link": "/a" }), vec!["`link` is `/a`, not an absolute http or https URL"]),
            (
                json!({ "title": "x", "link": "javascript:x" }),
                vec!["`link` is `javascript:x`, not an absolute http or https URL"],
            ),
            (json!({ "title": "x", "tags": ["a", 1] }), vec!["`tags` element 1 is a number, not text"]),
            (json!({ "title": "x", "tags": ["a", "b", "c"] }), vec!["`tags` has 3 elements, at most 2 are allowed"]),
            (json!({ "title": "x", "flag": "yes" }), vec!["`flag` is text, not true or false"]),
            (json!({ "title": "x", "table": [] }), vec!["`table` is a list, not a table"]),
        ] {
            assert_eq!(mistakes(object.clone()), expected, "{object}");
        }
    }

    #[test]
    fn a_change_keeps_the_rest_and_null_takes_away() {
        let object = article().check(&json!({ "title": "Gig", "count": 3 })).unwrap();
        let changed = article().change(&object, &json!({ "title": "Gog", "count": null })).unwrap();
        assert_eq!(Value::Object(changed), json!({ "title": "Gog", "category": "note" }));
        assert!(article().change(&object, &json!({ "title": null })).is_err());
        assert!(article().change(&object, &json!("x")).is_err());
    }

    #[test]
    fn validating_looks_at_declared_fields_only() {
        let stored = json!({ "id": "https://b.example/gig", "type": "Article", "title": "Gig" });
        assert_eq!(article().validate(&stored).unwrap()["title"], "Gig");
        assert!(article().validate(&json!({ "id": "https://b.example/gig" })).is_err());
        assert!(article().check(&stored).is_err());
    }
}
