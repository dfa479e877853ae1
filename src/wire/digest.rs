//! `Content-Digest` of RFC 9530, made and checked over the raw bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Why a `Content-Digest` does not vouch for a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("content-digest is missing: send the sha-256 of the body")]
    Missing,
    #[error("content-digest is not a dictionary of byte sequences: write it like sha-256=:BASE64:")]
    Malformed,
    #[error("content-digest has no algorithm that this node knows: use sha-256 or sha-512")]
    Unsupported,
    #[error("the {algorithm} of the body is another than content-digest says: send the very bytes that were hashed")]
    Mismatch { algorithm: &'static str },
}

/// The header value for a body, with sha-256.
pub fn content_digest(body: &[u8]) -> String {
    content_digest_of(&sha256(body))
}

/// The header value for a body whose sha-256 is known.
pub fn content_digest_of(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256))
}

/// The header value for a body, with sha-512.
pub fn content_digest_sha512(body: &[u8]) -> String {
    format!("sha-512=:{}:", STANDARD.encode(Sha512::digest(body)))
}

pub fn sha256(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// The sha-256 that a header promises, before there is a body to check it with.
pub fn promised(header: &str) -> Result<[u8; 32], DigestError> {
    let digests: Dictionary = Parser::new(header).parse().map_err(|_| DigestError::Malformed)?;
    match digests.get("sha-256") {
        Some(ListEntry::Item(item)) => match &item.bare_item {
            BareItem::ByteSequence(given) => given.as_slice().try_into().map_err(|_| DigestError::Malformed),
            _ => Err(DigestError::Malformed),
        },
        Some(_) => Err(DigestError::Malformed),
        None => Err(DigestError::Unsupported),
    }
}

/// Checks every digest in `header` that this node knows; there must be one. `sha256` is that of the body, which the
/// caller needs anyway.
pub fn check(header: Option<&str>, body: &[u8], sha256: &[u8; 32]) -> Result<(), DigestError> {
    let header = header.ok_or(DigestError::Missing)?;
    let digests: Dictionary = Parser::new(header).parse().map_err(|_| DigestError::Malformed)?;
    let mut known = 0;
    for (name, entry) in &digests {
        let ListEntry::Item(item) = entry else { return Err(DigestError::Malformed) };
        let BareItem::ByteSequence(given) = &item.bare_item else { return Err(DigestError::Malformed) };
        let (algorithm, same) = match name.as_str() {
            "sha-256" => ("sha-256", given.ct_eq(sha256.as_slice())),
            "sha-512" => ("sha-512", given.ct_eq(Sha512::digest(body).as_slice())),
            _ => continue,
        };
        if !bool::from(same) {
            return Err(DigestError::Mismatch { algorithm });
        }
        known += 1;
    }
    if known == 0 { Err(DigestError::Unsupported) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_body(header: &str, body: &[u8]) -> Result<(), DigestError> {
        check(Some(header), body, &sha256(body))
    }

    #[test]
    fn what_we_make_we_accept() {
        for body in [&b""[..], b"{}", &[0; 4096]] {
            assert_eq!(check_body(&content_digest(body), body), Ok(()));
            assert_eq!(check_body(&content_digest_sha512(body), body), Ok(()));
            let both = format!("{}, {}", content_digest(body), content_digest_sha512(body));
            assert_eq!(check_body(&both, body), Ok(()));
        }
    }

    #[test]
    fn a_wrong_digest_is_refused_also_beside_a_right_one() {
        let both = format!("{}, {}", content_digest(b"a"), content_digest_sha512(b"b"));
        assert_eq!(check_body(&content_digest(b"a"), b"b"), Err(DigestError::Mismatch { algorithm: "sha-256" }));
        assert_eq!(check_body(&both, b"a"), Err(DigestError::Mismatch { algorithm: "sha-512" }));
        assert_eq!(check_body("sha-256=:AAAA:", b"a"), Err(DigestError::Mismatch { algorithm: "sha-256" }));
    }

    #[test]
    fn a_digest_that_says_nothing_is_refused() {
        assert_eq!(check(None, b"", &sha256(b"")), Err(DigestError::Missing));
        assert_eq!(check_body("", b""), Err(DigestError::Unsupported));
        assert_eq!(check_body("md5=:AAAA:", b""), Err(DigestError::Unsupported));
        for bad in ["sha-256=abc", "sha-256", "sha-256=(:AAAA:)", "sha-256=:AAAA", "=", "SHA-256=:AAAA:"] {
            assert_eq!(check_body(bad, b""), Err(DigestError::Malformed), "{bad}");
        }
    }
}
