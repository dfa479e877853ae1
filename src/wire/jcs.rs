//! Canonical JSON (RFC 8785): the one text of a value, so that a proof over it survives being written anew.

use serde_json::Value;

/// The largest whole number up to which a double holds every one.
const WHOLE_MAX: u64 = 1 << 53;

/// Why a value has no canonical text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    #[error("the number {number} is beyond what a double holds exactly: write it as a string")]
    Number { number: String },
    #[error("it cannot be written as canonical JSON: {why}")]
    Unwritable { why: String },
}

/// The canonical bytes of a value that was read without duplicate keys.
///
/// Whole numbers beyond 2^53 are refused (RFC 8785 section 6): all that round to one double would have one text, so that
/// one could be put in the place of another under a proof that stays true.
pub fn canonical(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    check_numbers(value)?;
    serde_json_canonicalizer::to_vec(value).map_err(|error| CanonicalError::Unwritable { why: error.to_string() })
}

fn check_numbers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match whole.filter(|whole| *whole > WHOLE_MAX) {
                Some(_) => Err(CanonicalError::Number { number: number.to_string() }),
                None => Ok(()),
            }
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domains::json::{JSON_DEPTH_MAX, parse_json};

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_sorted_by_their_utf_16_units_and_nothing_is_spaced() {
        assert_eq!(
            text(&json!({"b": [1, {"z": null, "a": true}], "a": "\u{8}€"})),
            r#"{"a":"\b€","b":[1,{"a":true,"z":null}]}"#
        );
        // U+1F600 is written with a surrogate, which sorts before U+FB33 though its code point is larger.
        assert_eq!(text(&json!({"\u{fb33}": 1, "\u{1f600}": 2})), "{\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn numbers_that_doubles_would_mix_up_are_refused() {
        let edge = 9_007_199_254_740_992_u64;
        assert_eq!(
            text(&json!([edge, -9_007_199_254_740_992_i64, 1.0, 1e3, -0.0])),
            "[9007199254740992,-9007199254740992,1,1000,0]"
        );
        for beyond in [json!({"a": [edge + 1]}), json!(-9_007_199_254_740_993_i64), json!(u64::MAX), json!(i64::MIN)] {
            assert!(matches!(canonical(&beyond), Err(CanonicalError::Number { .. })), "{beyond}");
        }
    }

    #[test]
    fn a_text_with_a_key_twice_never_becomes_a_value() {
        assert!(parse_json(br#"{"a":1,"a":1}"#, JSON_DEPTH_MAX).is_err());
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays_so_when_it_is_read_again(text in r#"\{"[a-c€\u{1f600}]{1,3}":(-?[1-9][0-9]{0,14}(\.[0-9]{1,3})?|"[ -!#-\[\]-~é]{0,8}"|\[true,null\])\}"#) {
            let once = canonical(&parse_json(text.as_bytes(), JSON_DEPTH_MAX).unwrap()).unwrap();
            let again = canonical(&parse_json(&once, JSON_DEPTH_MAX).unwrap()).unwrap();
            prop_assert_eq!(once, again);
        }
    }
}
