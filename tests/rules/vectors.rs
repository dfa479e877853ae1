//! Values that nobody on this project wrote, byte for byte: RFC 9421 appendix B.2, the digests of RFC 9530, canonical JSON
//! of RFC 8785, and the proofs of Data Integrity EdDSA.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::clock::Time;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::json::{JSON_DEPTH_MAX, parse_json};
use quickbeam::wire::digest;
use quickbeam::wire::jcs::canonical;
use quickbeam::wire::key::{NodeKey, PairSecret, PublicKey};
use quickbeam::wire::keys::Key;
use quickbeam::wire::message::{RequestView, Target};
use quickbeam::wire::proof::{ProofError, proof_of, prove};
use quickbeam::wire::sign::SignerKey;
use quickbeam::wire::signature::{CLOCK_WINDOW, SignatureInput};
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

fn vector(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn rfc_8785_gives_each_input_its_canonical_bytes() {
    for name in ["arrays", "french", "structures", "unicode", "values", "weird"] {
        let input = vector(&format!("jcs/input/{name}.json"));
        let value = parse_json(input.as_bytes(), JSON_DEPTH_MAX).unwrap();
        let output = vector(&format!("jcs/output/{name}.json"));
        assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), output, "{name}");
    }
}

#[test]
fn eddsa_jcs_2022_has_the_hashes_and_the_signature_of_the_standard() {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let read = |name: &str| vector(&format!("eddsa-jcs-2022/{name}"));
    let mut signed = parse_json(read("signedJCS.json").as_bytes(), JSON_DEPTH_MAX).unwrap();
    let options = parse_json(read("proofConfigJCS.json").as_bytes(), JSON_DEPTH_MAX).unwrap();
    let keys: Value = serde_json::from_str(&read("keyPair.json")).unwrap();
    let public = PublicKey::from_multikey(text(&keys, "publicKeyMultibase")).unwrap();
    let mut bare = signed.clone();
    bare.as_object_mut().unwrap().remove("proof");
    for (value, canon, hash) in
        [(&bare, "canonDocJCS.txt", "docHashJCS.txt"), (&options, "proofCanonJCS.txt", "proofHashJCS.txt")]
    {
        let bytes = canonical(value).unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), read(canon));
        assert_eq!(hex(&digest::sha256(&bytes)), read(hash));
    }
    // The key of the vector is a did:key, which is nobody's here: under an id of ours all else must hold.
    let now = Time(1_677_281_800_000);
    assert!(matches!(proof_of(&signed, now, CLOCK_WINDOW), Err(ProofError::BadKeyId(_))));
    let combined = [digest::sha256(&canonical(&options).unwrap()), digest::sha256(&canonical(&bare).unwrap())].concat();
    assert_eq!(hex(&combined), read("combinedHashJCS.txt"));
    let signature = bs58::decode(text(&signed["proof"], "proofValue").strip_prefix('z').unwrap()).into_vec().unwrap();
    assert_eq!(hex(&signature), read("sigHexJCS.txt"));
    assert_eq!(text(&signed["proof"], "proofValue"), read("sigBTC58JCS.txt"));
    assert!(Key::Public(public.clone()).verifies(&combined, &signature));
    let private = bs58::decode(text(&keys, "privateKeyMultibase").strip_prefix('z').unwrap()).into_vec().unwrap();
    let node = NodeKey::from_seed(private[2..].try_into().unwrap());
    assert_eq!((node.public(), &node.sign(&combined)[..]), (public, &signature[..]));
    // And what this node makes of the same credential is what it reads as a proof.
    signed.as_object_mut().unwrap().remove("proof");
    let ours = prove(&signed, &node, &Iri::parse("https://a.example/actor#ed25519").unwrap(), now).unwrap();
    let proof = proof_of(&ours, now, CLOCK_WINDOW).unwrap().unwrap();
    assert!(Key::Public(node.public()).verifies(&proof.messages[0], &proof.signature));
}
