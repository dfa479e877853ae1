//! Values that nobody on this project wrote: RFC 9421 appendix B.2 and the digests of RFC 9530, byte for byte.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::domains::identity::Iri;
use quickbeam::wire::digest;
use quickbeam::wire::key::{NodeKey, PairSecret, PublicKey};
use quickbeam::wire::keys::Key;
use quickbeam::wire::message::{RequestView, Target};
use quickbeam::wire::sign::SignerKey;
use quickbeam::wire::signature::SignatureInput;
use serde_json::Value;

fn vectors() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared/vectors/rfc9421.json");
    let text = std::fs::read_to_string(shared)
        .or_else(|_| std::fs::read_to_string(root.join("tests/vectors/rfc9421.json")))
        .expect("the vectors are in one of the two places");
    serde_json::from_str(&text).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("the vectors have {name}"))
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(text(value, name)).unwrap()
}

fn pem(label: &str, der: &str) -> String {
    format!("-----BEGIN {label}-----\n{der}\n-----END {label}-----\n")
}

/// The request of appendix B.2.
fn request(url: &Iri) -> RequestView<'_> {
    let headers: Vec<(&str, &[u8])> = vec![
        ("Host", b"example.com"),
        ("Date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", b"application/json"),
        ("Content-Length", b"18"),
    ];
    RequestView { method: "POST", target: Target::of(url), headers }
}

/// The base that we make of the parameters in the last line of the vector's base.
fn our_base(vector: &Value) -> String {
    let base = text(vector, "base");
    let (_, params) = base.rsplit_once("\"@signature-params\": ").expect("a base ends in its parameters");
    let url = Iri::parse("https://example.com/foo?param=Value&Pet=dog").unwrap();
    let input = SignatureInput::parse(params).unwrap();
    assert_eq!(input.text(), params);
    input.base(&request(&url)).unwrap()
}

#[test]
fn b_2_6_ed25519_has_the_base_and_the_signature_of_the_rfc() {
    let all = vectors();
    let vector = &all["B.2.6"];
    let base = our_base(vector);
    assert_eq!(base, text(vector, "base"));
    let node = NodeKey::from_pem(&pem("PRIVATE KEY", text(vector, "private_pkcs8"))).unwrap();
    let public = PublicKey::from_pem(&pem("PUBLIC KEY", text(vector, "public_spki"))).unwrap();
    assert_eq!(node.public(), public);
    assert_eq!(SignerKey::Ed25519(node).sign(base.as_bytes()), bytes(vector, "signature"));
    assert!(Key::Public(public.clone()).verifies(base.as_bytes(), &bytes(vector, "signature")));
    assert!(!Key::Public(public).verifies(&base.as_bytes()[1..], &bytes(vector, "signature")));
}

#[test]
fn b_2_5_hmac_sha256_has_the_base_and_the_signature_of_the_rfc() {
    let all = vectors();
    let vector = &all["B.2.5"];
    let base = our_base(vector);
    assert_eq!(base, text(vector, "base"));
    let secret = PairSecret::new(&bytes(vector, "secret")).unwrap();
    assert_eq!(SignerKey::HmacSha256(secret.clone()).sign(base.as_bytes()), bytes(vector, "signature"));
    assert!(Key::Pair(secret.clone()).verifies(base.as_bytes(), &bytes(vector, "signature")));
    assert!(!Key::Pair(secret).verifies(&base.as_bytes()[1..], &bytes(vector, "signature")));
}

#[test]
fn rfc_9530_digests_are_made_and_checked() {
    let all = vectors();
    let body = text(&all, "body").as_bytes();
    let (short, long) = (text(&all, "content_digest_sha256"), text(&all, "content_digest_sha512"));
    assert_eq!(digest::content_digest(body), short);
    assert_eq!(digest::content_digest_sha512(body), long);
    let sum = digest::sha256(body);
    for header in [short.to_owned(), long.to_owned(), format!("{short}, {long}")] {
        assert_eq!(digest::check(Some(&header), body, &sum), Ok(()));
    }
}
