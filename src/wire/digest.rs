//! `Content-Digest` of RFC 9530, and the `Digest` of RFC 3230 beside signatures by the draft: made and checked over the
//! raw bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::message::{RequestView, plain};

/// Algorithms in one `Digest`; there are not ten.
const ALGORITHMS_MAX: usize = 10;

/// Why a `Content-Digest` or a `Digest` does not vouch for a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("content-digest is missing: send the sha-256 of the body")]
    Missing,
    #[error("digest is missing, which signatures by the draft go with: send the SHA-256 of the body")]
    MissingDraft,
    #[error("content-digest is not a dictionary of byte sequences: write it like sha-256=:BASE64:")]
    Malformed,
    #[error("digest is no list of algorithms with base64, or names one twice: write it like SHA-256=BASE64")]
    MalformedDraft,
    #[error("the digest has no algorithm that this node knows: use sha-256 or sha-512")]
    Unsupported,
    #[error("the {algorithm} of the body is another than the digest says: send the very bytes that were hashed")]
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

/// The `Digest` value for a body.
pub fn draft_digest(body: &[u8]) -> String {
    format!("SHA-256={}", STANDARD.encode(sha256(body)))
}

/// Checks what `Digest` says, the header that signatures by the draft cover. It must stand there once.
pub fn check_draft(request: &RequestView<'_>, body: &[u8], sha256: &[u8; 32]) -> Result<(), DigestError> {
    let mut values = request.header_values("digest");
    let header = match (values.next().map(plain), values.next()) {
        (Some(Some(header)), None) => header,
        (None, _) => return Err(DigestError::MissingDraft),
        _ => return Err(DigestError::MalformedDraft),
    };
    let mut seen: Vec<String> = Vec::new();
    let mut known = 0;
    for member in header.split(',') {
        let (name, value) = member.trim().split_once('=').ok_or(DigestError::MalformedDraft)?;
        let name = name.to_ascii_lowercase();
        if seen.contains(&name) || seen.len() == ALGORITHMS_MAX {
            return Err(DigestError::MalformedDraft);
        }
        let given = || STANDARD.decode(value).map_err(|_| DigestError::MalformedDraft);
        let (algorithm, same) = match name.as_str() {
            "sha-256" => ("sha-256", given()?.ct_eq(sha256.as_slice())),
            "sha-512" => ("sha-512", given()?.ct_eq(Sha512::digest(body).as_slice())),
            _ => ("", 1.into()),
        };
        if !bool::from(same) {
            return Err(DigestError::Mismatch { algorithm });
        }
        known += usize::from(!algorithm.is_empty());
        seen.push(name);
    }
    if known == 0 { Err(DigestError::Unsupported) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::identity::Iri;
    use crate::wire::message::Target;

    fn check_draft_values(values: &[&str], body: &[u8]) -> Result<(), DigestError> {
        let url = Iri::parse("https://b.example/inbox").unwrap();
        let headers = values.iter().map(|value| ("Digest", value.as_bytes())).collect();
        check_draft(&RequestView { method: "POST", target: Target::of(&url), headers }, body, &sha256(body))
    }

    #[test]
    fn the_digest_of_the_draft_is_made_and_checked() {
        assert_eq!(draft_digest(b"{}"), "SHA-256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=");
        let long = format!("sha-512={}", STANDARD.encode(Sha512::digest(b"{}")));
        for good in [draft_digest(b"{}"), long.clone(), format!("md5=x, {long},{}", draft_digest(b"{}"))] {
            assert_eq!(check_draft_values(&[&good], b"{}"), Ok(()), "{good}");
        }
        let other = draft_digest(b"x");
        assert_eq!(check_draft_values(&[&other], b"{}"), Err(DigestError::Mismatch { algorithm: "sha-256" }));
        let both = format!("{}, {long}", draft_digest(b"x"));
        assert_eq!(check_draft_values(&[&both], b"x"), Err(DigestError::Mismatch { algorithm: "sha-512" }));
        assert_eq!(check_draft_values(&[], b""), Err(DigestError::MissingDraft));
        assert_eq!(check_draft_values(&["md5=AAAA"], b""), Err(DigestError::Unsupported));
    }

    #[test]
    fn a_digest_of_the_draft_that_could_be_read_in_two_ways_is_refused() {
        let good = draft_digest(b"{}");
        let twice = format!("{good},{good}");
        let flood = (0..20).map(|n| format!("x{n}=a")).collect::<Vec<_>>().join(",");
        for bad in [&["SHA-256"][..], &["SHA-256=*"], &[""], &[&twice], &[&good, &good], &[&flood], &["SHA-256=\u{e9}"]]
        {
            assert_eq!(check_draft_values(bad, b"{}"), Err(DigestError::MalformedDraft), "{bad:?}");
        }
    }

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
