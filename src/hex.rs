//! Bytes as hexadecimal digits, two for each, in lower case.

use std::fmt::Write;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("text takes what is written to it");
        digits
    })
}

/// The bytes that such digits stand for; `None` for anything else.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_the_bytes_again_that_they_were_made_of() {
        assert_eq!(hex(&[0, 9, 10, 255]), "00090aff");
        assert_eq!(unhex("00090aFF"), Some(vec![0, 9, 10, 255]));
        assert_eq!(unhex(""), Some(Vec::new()));
        for wrong in ["0", "000", "0g", "+1", " 1", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
