//! Rows as JSON, for people and programs: self-describing bytes opened wherever they stand, secrets masked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};

use crate::actors::{layout, record};
use crate::store::Row;

/// How deep bytes within bytes are opened.
const DEPTH_MAX: usize = 8;
/// Fields that are never shown, whatever holds them.
const SECRET: [&str; 5] = ["secret", "token", "password", "authorization", "private_key"];
const MASK: &str = "***";

/// What an area of keys holds.
pub const AREAS: [(char, &str); 10] = [
    ('h', "heads"),
    ('e', "events"),
    ('r', "rows"),
    ('i', "indexes"),
    ('m', "messages"),
    ('t', "timers"),
    ('x', "errands"),
    ('d', "dead-letters"),
    ('f', "definitions"),
    ('n', "node"),
];

/// What programs keep.
pub const DATA: &str = "data";

/// The name of the area of a row.
pub fn area(row: &Row) -> &'static str {
    let first = row.key.as_bytes().first().copied().map(char::from);
    AREAS.iter().find(|(letter, _)| Some(*letter) == first).map_or(DATA, |(_, name)| name)
}

/// A row as one line of a dump.
pub fn shown(row: &Row) -> Value {
    json!({
        "area": area(row), "key": format!("{:?}", row.key), "version": row.version.0,
        "actor": layout::owner(&row.key).map(|actor| actor.to_string()), "value": opened(&row.value, 0),
    })
}

fn opened(bytes: &[u8], depth: usize) -> Value {
    if depth < DEPTH_MAX {
        // First, since their first byte by itself is a number in MessagePack.
        let json = serde_json::from_slice::<Value>(bytes).ok();
        if let Some(value) = json.filter(|value| value.is_object() || value.is_array()) {
            return masked(value, depth);
        }
        let read = record::decode::<Any>(bytes).ok().map(|any| masked(any.0, depth));
        // Any byte by itself is some MessagePack; only what has a shape is taken for it.
        if let Some(value) = read.filter(|value| depth == 0 || value.is_object() || value.is_array()) {
            return value;
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// Opens bytes within, and hides what is secret.
fn masked(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(fields) => {
            if let (1, Some(Value::String(bytes))) = (fields.len(), fields.get(BYTES)) {
                let bytes = STANDARD.decode(bytes).unwrap_or_default();
                return opened(&bytes, depth + 1);
            }
            let field = |(name, value): (String, Value)| {
                let value = if SECRET.contains(&name.as_str()) { MASK.into() } else { masked(value, depth) };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| masked(item, depth)).collect(),
        other => other,
    }
}

/// Stands for bytes until they are opened; no field of ours is called so.
const BYTES: &str = "\u{0}bytes";

/// Any value of MessagePack, as JSON.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Any)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(json!({ BYTES: STANDARD.encode(value) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Any(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((Any(name), Any(value))) = access.next_entry()? {
            let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::record::{Waiting, encode};
    use crate::store::{Key, Position};

    #[test]
    fn bytes_within_are_opened_and_secrets_masked() {
        let body = encode(&json!({ "text": "hi", "token": "qb_1", "n": [1, -1, null] }));
        let row =
            Row { key: Key::from_bytes(&b"m\x06x\0"[..]), version: Position(3), value: encode(&Waiting::new(body)) };
        let shown = shown(&row);
        assert_eq!((shown["area"].as_str(), shown["actor"].as_str()), (Some("messages"), Some("stream/x")));
        assert_eq!(shown["value"]["body"], json!({ "text": "hi", "token": MASK, "n": [1, -1, null] }));
    }

    #[test]
    fn what_is_nothing_known_is_shown_all_the_same() {
        assert_eq!([0, 1].map(|depth| opened(b"{\"a\":1}", depth)), [json!({ "a": 1 }), json!({ "a": 1 })]);
        assert_eq!(opened(&[0x7b], 0), json!(123));
        assert_eq!(opened(&[0xc1, 0xff], 0), json!({ "base64": "wf8=" }));
    }
}
