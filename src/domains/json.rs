//! Reading JSON that strangers wrote: one meaning per text, bounded depth, in one pass.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deeper than any activity seen, shallow enough for every stack.
pub const JSON_DEPTH_MAX: usize = 64;

/// `serde_json` gives keys that begin so a meaning of its own when a value is read again; nobody else may use them.
const RESERVED_KEYS: &str = "$serde_json::private::";

/// Why bytes are not taken as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("the JSON is nested deeper than {depth_max} levels: flatten it")]
    TooDeep { depth_max: usize },
    #[error("the key {key:?} stands twice in one object: readers would disagree about which counts, write it once")]
    DuplicateKey { key: String },
    #[error("the key {key:?} is reserved: use another name")]
    ReservedKey { key: String },
    #[error("not JSON: {0}")]
    Syntax(#[source] serde_json::Error),
}

/// Reads one JSON value that fills all of `bytes`. Duplicate keys at any depth, more than `depth_max` nested arrays
/// and objects, bad UTF-8 and trailing bytes are refused.
pub fn parse_json(bytes: &[u8], depth_max: usize) -> Result<Value, JsonError> {
    let reason = Cell::new(None);
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let seed = Nested { depth_left: depth_max, depth_max, reason: &reason };
    let read = seed.deserialize(&mut input).and_then(|value| input.end().map(|()| value));
    read.map_err(|source| reason.take().unwrap_or(JsonError::Syntax(source)))
}

/// A value at a known depth. `serde` errors are texts, so the true reason is left in `reason`.
#[derive(Clone, Copy)]
struct Nested<'a> {
    depth_left: usize,
    depth_max: usize,
    reason: &'a Cell<Option<JsonError>>,
}

impl Nested<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.refuse(JsonError::TooDeep { depth_max: self.depth_max })),
        }
    }

    fn refuse<E: serde::de::Error>(self, reason: JsonError) -> E {
        self.reason.set(Some(reason));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with(RESERVED_KEYS) {
                return Err(self.refuse(JsonError::ReservedKey { key }));
            }
            // Checked before the value is read: a second value is never looked at.
            if map.contains_key(&key) {
                return Err(self.refuse(JsonError::DuplicateKey { key }));
            }
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, JsonError> {
        parse_json(text.as_bytes(), JSON_DEPTH_MAX)
    }

    #[test]
    fn all_kinds_of_values_are_read() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x\u0000\ud83d\ude00"],"b":{"a":{}}}"#;
        assert_eq!(read(text).unwrap(), json!({"a": [null, true, -1, u64::MAX, 1.5, "x\0😀"], "b": {"a": {}}}));
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth_and_however_they_are_written() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"b":1,"c":2,"b":3}}]"#, r#"{"actor":1,"\u0061ctor":2}"#] {
            assert!(matches!(read(text), Err(JsonError::DuplicateKey { .. })), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_to_the_level() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(64)).is_ok());
        assert!(matches!(read(&nested(65)), Err(JsonError::TooDeep { depth_max: 64 })));
        assert!(matches!(read(&"{\"a\":".repeat(1_000_000)), Err(JsonError::TooDeep { .. })));
        assert!(matches!(parse_json(b"[]", 0), Err(JsonError::TooDeep { .. })));
        assert!(parse_json(b"1", 0).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let bad: [&[u8]; 12] = [
            b"",
            b"{",
            b"{}x",
            b"{} {}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"\"\xff\"",
            b"\"\0\"",
            b"\"\\ud800\"",
            b"1e999",
            b"NaN",
            b"\xef\xbb\xbf{}",
        ];
        for bytes in bad {
            assert!(matches!(parse_json(bytes, 64), Err(JsonError::Syntax(_))), "{bytes:?}");
        }
    }

    #[test]
    fn keys_that_the_library_keeps_for_itself_are_refused() {
        let text = r#"{"a":{"$serde_json::private::RawValue":"{\"type\":\"Follow\"}"}}"#;
        assert!(matches!(read(text), Err(JsonError::ReservedKey { .. })));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"[\[\]{}:,"ab01 .e\\-]{0,24}"#) {
            match (read(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(JsonError::DuplicateKey { .. }), _) | (Err(_), Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
            }
        }
    }
}
