//! What a signature must say before anybody looks for its key.

use std::time::Duration;

use super::*;
use crate::domains::identity::IdentityError;
use crate::wire::base::BaseError;
use crate::wire::message::Target;
use crate::wire::signature::CLOCK_WINDOW;

const NOW: Time = Time(1_700_000_000_000);
const COVERED: &str = r#"("@method" "@target-uri" "content-digest")"#;
const REST: &str = r#";created=1700000000;keyid="https://a.example/actor#k""#;

fn run(headers: &[(&str, &str)], demand: Demand<'_>, now: Time) -> Result<Vec<Claim>, SignatureError> {
    let base = Iri::parse("https://b.example/").unwrap();
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    claims(&RequestView { method: "POST", target: Target::at(&base, "/inbox"), headers }, demand, now)
}

const BODY: Demand<'_> = Demand { body: true, fields: &[], window: CLOCK_WINDOW };

fn one(input: &str) -> Result<Vec<Claim>, SignatureError> {
    run(&[("Signature-Input", &format!("sig={input}")), ("Signature", "sig=:AAAA:")], BODY, NOW)
}

#[test]
fn a_full_signature_is_a_claim() {
    let claims = one(&format!("{COVERED}{REST};tag=\"x\";nonce=\"y\"")).unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].label.as_str(), claims[0].signature()), ("sig", &[0, 0, 0][..]));
    assert_eq!(claims[0].key_id.as_str(), "https://a.example/actor#k");
    let apart = r#"("@authority" "@path" "@query" "content-digest" "@method")"#;
    assert!(one(&format!("{apart}{REST}")).is_ok());
}

#[test]
fn each_demanded_component_is_missed() {
    for (covered, missing) in [
        (r#"("@target-uri" "content-digest")"#, "@method"),
        (r#"("@method" "content-digest")"#, "@target-uri"),
        (r#"("@method" "@target-uri")"#, "content-digest"),
        (r#"("@method" "@authority" "@path" "content-digest")"#, "@query"),
        (r#"("@method" "@authority" "@query" "content-digest")"#, "@path"),
        (r#"("@method" "@path" "@query" "content-digest")"#, "@authority"),
        (r#"("@method";req "@target-uri" "content-digest")"#, "@method"),
        (r#"("@method" "@target-uri" "content-digest";key="sha-256")"#, "content-digest"),
        ("()", "@method"),
    ] {
        let expected = SignatureError::Uncovered { component: missing.to_owned() };
        assert_eq!(one(&format!("{covered}{REST}")), Err(expected), "{covered}");
    }
    let fields = Demand { body: false, fields: &["idempotency-key"], window: CLOCK_WINDOW };
    let input = format!("sig={COVERED}{REST}");
    let headers = [("signature-input", input.as_str()), ("signature", "sig=:AAAA:")];
    let expected = SignatureError::Uncovered { component: "idempotency-key".to_owned() };
    assert_eq!(run(&headers, fields, NOW), Err(expected));
}

#[test]
fn time_is_a_window_of_five_minutes_on_either_side() {
    let at = |created: i64| one(&format!("{COVERED};created={created};keyid=\"https://a.example/actor#k\""));
    assert!(at(1_700_000_000 - 300).is_ok() && at(1_700_000_000 + 300).is_ok());
    assert_eq!(at(1_700_000_000 - 301), Err(SignatureError::TooOld { seconds: 301, most: 300 }));
    assert_eq!(at(1_700_000_000 + 301), Err(SignatureError::InFuture { seconds: 301 }));
    assert!(matches!(at(-999_999_999_999_999), Err(SignatureError::TooOld { .. })));
    assert!(matches!(at(999_999_999_999_999), Err(SignatureError::InFuture { .. })));
    let expires = |at: i64| one(&format!("{COVERED}{REST};expires={at}"));
    assert!(expires(1_700_000_000).is_ok());
    assert_eq!(expires(1_699_999_999), Err(SignatureError::Expired { seconds: 1 }));
    assert_eq!(one(&format!("{COVERED};keyid=\"https://a.example/k\"")), Err(SignatureError::NoCreated));
    let later = NOW.plus(Duration::from_secs(301));
    let input = format!("sig={COVERED}{REST}");
    let headers = [("signature-input", input.as_str()), ("signature", "sig=:AAAA:")];
    assert_eq!(run(&headers, BODY, later), Err(SignatureError::TooOld { seconds: 301, most: 300 }));
}

#[test]
fn parameters_of_the_wrong_type_are_refused() {
    for (params, name) in [
        (";created=1.5", "created"),
        (";created=\"1700000000\"", "created"),
        (";created=@1700000000", "created"),
        (";created", "created"),
        (";created=1700000000;expires=x", "expires"),
        (";created=1700000000;keyid=:AAAA:", "keyid"),
        (";created=1700000000;alg=ed25519", "alg"),
    ] {
        assert_eq!(one(&format!("{COVERED}{params}")), Err(SignatureError::BadParameter { name }), "{params}");
    }
    assert_eq!(one(&format!("{COVERED};created=1700000000")), Err(SignatureError::NoKeyId));
    let foreign = one(&format!("{COVERED};created=1700000000;keyid=\"test-key\""));
    assert!(matches!(foreign, Err(SignatureError::BadKeyId(IdentityError::NotAbsolute { .. }))));
}

#[test]
fn unsigned_and_half_signed_requests_are_told_apart() {
    let input = format!("sig={COVERED}{REST}");
    let of = |headers: &[(&str, &str)]| run(headers, BODY, NOW).unwrap_err();
    assert_eq!(of(&[]), SignatureError::Unsigned);
    assert!(matches!(of(&[("signature", "keyId=\"x\"")]), SignatureError::Draft(_)));
    assert_eq!(of(&[("signature-input", &input)]), SignatureError::FieldMissing { field: "signature" });
    let no_bytes = [("signature-input", input.as_str()), ("signature", "other=:AAAA:")];
    assert_eq!(of(&no_bytes), SignatureError::NotASignature { label: "sig".to_owned() });
    for (input, signature) in
        [("sig=7", "sig=:AAAA:"), (input.as_str(), "sig=\"AAAA\""), (input.as_str(), "sig=(:AAAA:)")]
    {
        let headers = [("signature-input", input), ("signature", signature)];
        assert_eq!(of(&headers), SignatureError::NotASignature { label: "sig".to_owned() });
    }
    for (input, signature) in [("sig=(", "sig=:AAAA:"), ("", "sig=:AAAA:"), (input.as_str(), "sig=:AA*A:")] {
        let error = of(&[("signature-input", input), ("signature", signature)]);
        let empty = input.is_empty() && error == SignatureError::Unsigned;
        assert!(empty || matches!(error, SignatureError::Malformed { .. }), "{input} {signature}: {error}");
    }
    let error = of(&[("signature-input", "sig=(\u{e9})"), ("signature", "sig=:AAAA:")]);
    assert!(matches!(error, SignatureError::Malformed { field: "signature-input", .. }));
}

#[test]
fn labels_stand_once_and_are_few() {
    let input = format!("{COVERED}{REST}");
    let twice = format!("sig={input}, sig={input}");
    let of = |input: &str, signature: &str| {
        run(&[("signature-input", input), ("signature", signature)], BODY, NOW).map(|claims| claims.len())
    };
    let label = || "sig".to_owned();
    let twice_in = |field| Err(SignatureError::LabelTwice { field, label: label() });
    assert_eq!(of(&twice, "sig=:AAAA:"), twice_in("signature-input"));
    assert_eq!(of(&format!("sig={input}"), "sig=:AAAA:, sig=:BBBB:"), twice_in("signature"));
    let inputs = |count: usize| (0..count).map(|n| format!("s{n}={input}")).collect::<Vec<_>>().join(", ");
    let bytes = |count: usize| (0..count).map(|n| format!("s{n}=:AAAA:")).collect::<Vec<_>>().join(", ");
    assert_eq!(of(&inputs(4), &bytes(4)), Ok(4));
    assert_eq!(of(&inputs(5), &bytes(4)), Err(SignatureError::LabelsTooMany { field: "signature-input" }));
    let split = run(
        &[
            ("signature-input", &format!("sig={input}")),
            ("Signature-Input", &format!("sig={input}")),
            ("signature", "a"),
        ],
        BODY,
        NOW,
    );
    assert_eq!(split.map(|_| ()), Err(SignatureError::LabelTwice { field: "signature-input", label: label() }));
}

/// In a display string a backslash escapes nothing, so that what follows its end is not part of it.
#[test]
fn parameters_stand_once_also_behind_a_display_string() {
    let of = |more: &str| SignatureInput::parse(&format!("(\"@method\"){more};created=1")).map(|_| ());
    for good in [";x=%\"\\\"", ";x=\"\\\";created=2;\"", ";x=%\";created=2;\\\"", ";x=\"%\"", ";a;b", ";x=a%;b"] {
        assert_eq!(of(good), Ok(()), "{good}");
    }
    for twice in
        [";x=%\"\\\";created=2", ";created=2;x=%\"\\\"", ";x=\"\\\\\";created=2", ";x=\"%\";x=%\"%22\"", ";a;a"]
    {
        assert_eq!(of(twice), Err(SignatureError::ParameterTwice { field: "signature-input" }), "{twice}");
    }
}

#[test]
fn a_good_signature_is_found_beside_a_proxys() {
    let input = format!("proxy=(\"@method\");created=1;keyid=\"p\", sig={COVERED}{REST}");
    let headers = [("signature-input", input.as_str()), ("signature", "proxy=:AAAA:, sig=:BBBB:")];
    let claims = run(&headers, BODY, NOW).unwrap();
    assert_eq!((claims.len(), claims[0].label.as_str()), (1, "sig"));
}

#[test]
fn a_thousand_components_are_too_many() {
    let many = (0..1_000).map(|n| format!("\"x-{n}\"")).collect::<Vec<_>>().join(" ");
    assert_eq!(one(&format!("({many}){REST}")), Err(BaseError::TooMany { count: 1_000 }.into()));
}

#[test]
fn the_key_decides_the_algorithm() {
    let claim = |alg: &str| one(&format!("{COVERED}{REST}{alg}")).unwrap().remove(0);
    assert_eq!(claim("").check_algorithm(Algorithm::Ed25519), Ok(()));
    assert_eq!(claim(";alg=\"ed25519\"").check_algorithm(Algorithm::Ed25519), Ok(()));
    for given in ["hmac-sha256", "none", "", "ED25519", "rsa-v1_5-sha256"] {
        let error = claim(&format!(";alg=\"{given}\"")).check_algorithm(Algorithm::Ed25519);
        assert_eq!(
            error,
            Err(SignatureError::AlgorithmContradicts { given: given.to_owned(), wanted: Algorithm::Ed25519 })
        );
    }
}
