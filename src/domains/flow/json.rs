//! JSON and CEL values, both ways: integers stay integers, floats stay floats.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::Value as Cel;
use cel::objects::{Key, Map};
use serde_json::{Number, Value};

/// As deep as anything that a node reads may be (`limits.json_depth`). A value that grew by a level with each step could
/// in the end be stored and not be read again.
const LEVELS_MAX: usize = 120;

/// A list may have one text many times over, which is one in memory and many in JSON.
const BYTES_MAX: u64 = 16 << 20;

/// What JSON cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    #[error("a number that is not finite")]
    NotFinite,
    #[error("a {0}")]
    Kind(String),
    #[error("lists and tables in more than {LEVELS_MAX} levels")]
    TooDeep,
    #[error("more than {BYTES_MAX} bytes")]
    TooLong,
}

/// The CEL value of some JSON. A number above `i64::MAX` becomes a `uint`.
pub(crate) fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => number_to_cel(number),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(to_cel).collect())),
        Value::Object(map) => table(map.iter().map(|(key, value)| (key.clone(), to_cel(value)))),
    }
}

/// A CEL map with text keys.
pub(crate) fn table(entries: impl IntoIterator<Item = (String, Cel)>) -> Cel {
    let map: HashMap<Key, Cel> = entries.into_iter().map(|(key, value)| (Key::String(Arc::new(key)), value)).collect();
    Cel::Map(Map { map: Arc::new(map) })
}

/// The JSON of a CEL value. Keys that are not text are written as text.
pub(crate) fn from_cel(value: &Cel) -> Result<Value, NotJson> {
    within(value, LEVELS_MAX, &Cell::new(BYTES_MAX))
}

fn within(value: &Cel, levels: usize, room: &Cell<u64>) -> Result<Value, NotJson> {
    let inner = || levels.checked_sub(1).ok_or(NotJson::TooDeep);
    let own = match value {
        Cel::String(text) => text.len() as u64 + 8,
        _ => 8,
    };
    room.set(room.get().checked_sub(own).ok_or(NotJson::TooLong)?);
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(flag) => Value::Bool(*flag),
        Cel::Int(number) => Value::from(*number),
        Cel::UInt(number) => Value::from(*number),
        Cel::Float(number) => Value::Number(Number::from_f64(*number).ok_or(NotJson::NotFinite)?),
        Cel::String(text) => Value::String(text.to_string()),
        Cel::List(list) => {
            let levels = inner()?;
            Value::Array(list.iter().map(|item| within(item, levels, room)).collect::<Result<_, _>>()?)
        }
        Cel::Map(map) => {
            let levels = inner()?;
            let entries = map.map.iter().map(|(key, value)| Ok((key.to_string(), within(value, levels, room)?)));
            Value::Object(entries.collect::<Result<_, NotJson>>()?)
        }
        other => return Err(NotJson::Kind(other.type_of().to_string())),
    })
}

/// The bytes that a CEL value holds, about; what limits count.
pub(crate) fn weight(value: &Cel) -> u64 {
    match value {
        Cel::String(text) => text.len() as u64,
        Cel::Bytes(bytes) => bytes.len() as u64,
        Cel::List(list) => list.iter().map(|item| weight(item) + 8).sum(),
        Cel::Map(map) => map.map.iter().map(|(key, value)| key.to_string().len() as u64 + weight(value) + 8).sum(),
        _ => 8,
    }
}

fn number_to_cel(number: &Number) -> Cel {
    if let Some(integer) = number.as_i64() {
        Cel::Int(integer)
    } else if let Some(integer) = number.as_u64() {
        Cel::UInt(integer)
    } else {
        Cel::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no infinity", |number| number.is_finite()).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_comes_back_as_it_went(value in any_json()) {
            prop_assert_eq!(from_cel(&to_cel(&value)).unwrap(), value);
        }
    }

    #[test]
    fn whole_floats_stay_floats_and_large_integers_integers() {
        for value in [json!(1.0), json!(1), json!(u64::MAX), json!(i64::MIN), json!(-0.0)] {
            assert_eq!(from_cel(&to_cel(&value)).unwrap().to_string(), value.to_string());
        }
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert_eq!(from_cel(&Cel::Float(f64::NAN)), Err(NotJson::NotFinite));
        assert!(matches!(from_cel(&Cel::Bytes(Arc::new(vec![1]))), Err(NotJson::Kind(_))));
    }
}
