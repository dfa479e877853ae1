//! PEM as peers write it: one block, whatever the width of its lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The label and the bytes of the only block of a text; none when that is not what it is.
///
/// Libraries that keep to RFC 7468 refuse lines of other widths, which peers have written for years.
pub(crate) fn read(text: &str) -> Option<(&str, Vec<u8>)> {
    let (label, rest) = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (encoded, end) = rest.split_once("-----END ")?;
    if end.strip_suffix("-----")? != label {
        return None;
    }
    let encoded: String = encoded.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    Some((label, STANDARD.decode(encoded).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_whatever_the_width_of_its_lines() {
        let bytes: Vec<u8> = (0..60).collect();
        let encoded = STANDARD.encode(&bytes);
        let (front, back) = encoded.split_at(7);
        for body in [encoded.clone(), format!("{front}\r\n{back}"), format!("{front}\n{back}\n")] {
            let text = format!("\n-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\r\n");
            assert_eq!(read(&text), Some(("PUBLIC KEY", bytes.clone())));
        }
    }

    #[test]
    fn what_is_not_one_whole_block_is_none() {
        let one = "-----BEGIN A-----\nAAAA\n-----END A-----";
        for bad in [
            "",
            "AAAA",
            "-----BEGIN A-----\nAAAA",
            "-----BEGIN A-----\nAAAA\n-----END B-----",
            "-----BEGIN A-----\nA*AA\n-----END A-----",
            "-----BEGIN A-----\nA: b\n\nAAAA\n-----END A-----",
            &format!("{one}\n{one}"),
            &format!("x{one}"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
