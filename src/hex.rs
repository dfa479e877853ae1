//! Bytes as hexadecimal digits, two for each, in lower case.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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
