//! JSON, its canonical form, and the activities in it.

use quickbeam::domains::activity::Activity;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::json::{JSON_DEPTH_MAX, JsonError, parse_json};
use quickbeam::wire::jcs::{CanonicalError, canonical};
use serde_json::{Map, Value};

use super::run::{Target, named};

pub(crate) const JSON: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "false",
    "{\"a\":",
    "[[[[[[[[",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\u0061",
    "\\\"",
    "\"a\":1,",
    "1e999",
    "-0.0",
    "1e17",
    "5e-324",
    "0.1",
    "[]",
    "{}",
    "\"\"",
    "\u{feff}",
    "é",
    "😀",
    "\u{2028}",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
    "\"@context\":",
    "\\n",
];

const ACTIVITY: [&str; 40] = [
    "\"id\":",
    "\"type\":",
    "\"actor\":",
    "\"object\":",
    "\"target\":",
    "\"to\":",
    "\"cc\":",
    "\"bto\":",
    "\"bcc\":",
    "\"published\":",
    "\"result\":",
    "\"summary\":",
    "\"inReplyTo\":",
    "\"Follow\"",
    "\"Accept\"",
    "\"Reject\"",
    "\"Undo\"",
    "\"Create\"",
    "\"Update\"",
    "\"Delete\"",
    "\"Allocate\"",
    "\"Like\"",
    "\"Announce\"",
    "\"as:Public\"",
    "\"Public\"",
    "\"https://a.example/1\"",
    "\"https://A.example/1\"",
    "\"2026-11-21T08:30:00Z\"",
    "\"-009999-01-02T01:59:59Z\"",
    "\"9999-12-30T22:00:00Z\"",
    "\"2026-11-21T08:30:00\"",
    "null",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"\"",
    "[\"https://a.example/1\"]",
    "{\"id\":\"https://a.example/2\",\"type\":\"Note\"}",
];

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// The same text with the fields of each object written in the other order.
fn turned(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(turned).collect::<Vec<_>>().join(" ,")),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{}:\n{}", Value::from(name.as_str()), turned(value));
            format!("{{{}}}", fields.iter().rev().map(field).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[test]
fn json() {
    Target { name: "json", also: &["vectors/jcs/input", "vectors/eddsa-jcs-2022"], made: &[], tokens: &JSON }.run(
        |input| {
            let theirs = serde_json::from_slice::<Value>(input);
            let value = match parse_json(input, JSON_DEPTH_MAX) {
                Ok(value) => value,
                Err(refused) => {
                    // Where the library has no objection, ours has a name.
                    assert!(theirs.is_err() || !matches!(refused, JsonError::Syntax(_)), "{refused}");
                    return named(&refused);
                }
            };
            assert_eq!(value, theirs.unwrap());
            assert!(depth(&value) <= JSON_DEPTH_MAX);
            assert_eq!(parse_json(value.to_string().as_bytes(), JSON_DEPTH_MAX).unwrap(), value);
            let levels = depth(&value);
            assert!(parse_json(input, levels).is_ok());
            assert!(levels == 0 || matches!(parse_json(input, levels - 1), Err(JsonError::TooDeep { .. })));
            named(&value)
        },
    );
}

#[test]
fn canonical_json() {
    Target { name: "canonical_json", also: &["vectors/jcs/input"], made: &[], tokens: &JSON }.run(|input| {
        let Ok(value) = parse_json(input, JSON_DEPTH_MAX) else { return "none".to_owned() };
        let bytes = match canonical(&value) {
            Ok(bytes) => bytes,
            Err(refused) => return named(&refused),
        };
        let other = parse_json(turned(&value).as_bytes(), JSON_DEPTH_MAX).unwrap();
        assert_eq!(canonical(&other).unwrap(), bytes, "it depends on the order of the fields");
        let again = parse_json(&bytes, JSON_DEPTH_MAX).unwrap();
        match canonical(&again) {
            Ok(same) => assert_eq!(same, bytes),
            // A double such as 1e17 is written without its exponent, and is then a whole number beyond 2^53.
            Err(CanonicalError::Number { .. }) => return "beyond".to_owned(),
            Err(other) => panic!("{other}"),
        }
        named(&value)
    });
}

#[test]
fn activity() {
    Target { name: "activity", also: &[], made: &[], tokens: &ACTIVITY }.run(|input| {
        let Ok(value) = parse_json(input, JSON_DEPTH_MAX) else { return "none".to_owned() };
        let activity = match Activity::from_value(value.clone()) {
            Ok(activity) => activity,
            Err(refused) => return named(&refused) + &refused.to_string().chars().take(12).collect::<String>(),
        };
        assert_eq!(serde_json::to_value(&activity).unwrap(), value);
        let again = Activity::parse(&parse_json(activity.raw.to_string().as_bytes(), JSON_DEPTH_MAX).unwrap()).unwrap();
        assert_eq!(again, activity);
        // What it is taken for is what stands there, not something nearby.
        let id_of = |field: &str| match value.get(field).unwrap_or(&Value::Null) {
            Value::Array(list) => list[0].as_str().or_else(|| list[0].get("id")?.as_str()).map(str::to_owned),
            one => one.as_str().or_else(|| one.get("id")?.as_str()).map(str::to_owned),
        };
        assert_eq!(Some(activity.id.as_str()), value["id"].as_str());
        assert_eq!(Some(activity.actor.as_str()), id_of("actor").as_deref());
        if activity.verb.is_known() {
            assert_eq!(Some(activity.object.id.as_str()), id_of("object").as_deref());
        }
        for id in [&activity.id, &activity.actor, &activity.object.id] {
            assert_eq!(Iri::parse(id.as_str()).as_ref(), Ok(id));
        }
        assert!(activity.words().is_none_or(|words| words.chars().count() <= 301 && !words.contains(['\n', '\0'])));
        let mut other = Map::new();
        other.extend(value.as_object().unwrap().iter().rev().map(|(name, value)| (name.clone(), value.clone())));
        assert_eq!(Activity::from_value(Value::Object(other)).unwrap(), activity);
        format!("{:?} {}", activity.verb, activity.target.is_some())
    });
}
