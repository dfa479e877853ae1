//! Signatures by the draft: what is read, what is demanded, and each thing that is refused.

use std::time::Duration;

use super::*;
use crate::wire::claim::claims;
use crate::wire::message::Target;
use crate::wire::signature::{Algorithm, CLOCK_WINDOW};

/// Sun, 05 Jan 2014 21:31:40 GMT, the time of the draft's own examples (appendix C).
const NOW: Time = Time(1_388_957_500_000);
const DATE: &str = "Sun, 05 Jan 2014 21:31:40 GMT";
const BODY: Demand<'_> = Demand { body: true, fields: &[], window: CLOCK_WINDOW };
const NONE: Demand<'_> = Demand { body: false, ..BODY };
const ALL: &str = "(request-target) host date digest";

fn run(headers: &[(&str, &str)], demand: Demand<'_>) -> Result<Claim, SignatureError> {
    let base = Iri::parse("https://example.com/").unwrap();
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let request = RequestView { method: "POST", target: Target::at(&base, "/foo?param=value&pet=dog"), headers };
    claims(&request, demand, NOW).map(|mut claims| claims.remove(0))
}

/// A request with these parameters in its signature, and the headers that honest ones have.
fn with(parameters: &str) -> Result<Claim, SignatureError> {
    run(&[("Host", "example.com"), ("Date", DATE), ("Digest", "SHA-256=x"), ("Signature", parameters)], BODY)
}

fn covering(headers: &str) -> String {
    format!("keyId=\"https://a.example/actor#main-key\",algorithm=\"hs2019\",headers=\"{headers}\",signature=\"AAAA\"")
}

fn refused(parameters: &str) -> DraftError {
    match with(parameters) {
        Err(SignatureError::Draft(refused)) => refused,
        other => panic!("{parameters}: {other:?}"),
    }
}

#[test]
fn the_base_of_the_example_of_the_draft_is_made() {
    // Appendix C.3.
    let base = Iri::parse("https://example.com/").unwrap();
    let headers: Vec<(&str, &[u8])> = vec![
        ("Host", b"example.com"),
        ("Date", DATE.as_bytes()),
        ("Content-Type", b"application/json"),
        ("Digest", b"SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
        ("Content-Length", b"18"),
        ("Signature", b"keyId=\"https://a.example/k\",algorithm=\"rsa-sha256\", headers=\"(request-target) host date content-type digest content-length\",signature=\"AAAA\""),
    ];
    let request = RequestView { method: "POST", target: Target::at(&base, "/foo?param=value&pet=dog"), headers };
    let claim = claims(&request, BODY, NOW).unwrap().remove(0);
    assert_eq!(
        claim.base(&request).unwrap(),
        "(request-target): post /foo?param=value&pet=dog\nhost: example.com\ndate: Sun, 05 Jan 2014 21:31:40 GMT\n\
         content-type: application/json\ndigest: SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=\n\
         content-length: 18"
    );
    assert!(claim.is_draft());
}

#[test]
fn parameters_are_read_however_they_are_spaced() {
    let text = "keyId=\"https://a.example/actor#main-key\" , created=1388957500,expires = 1388957600,\
         headers=\"(Request-Target)  HOST (created) (expires) digest\",signature=\"AAAA\",x-own=\"a,b=c\"";
    let claim = with(text).unwrap();
    assert_eq!((claim.key_id.as_str(), claim.signature()), ("https://a.example/actor#main-key", &[0, 0, 0][..]));
    let base = Iri::parse("https://example.com/").unwrap();
    let headers: Vec<(&str, &[u8])> = vec![("host", b"example.com"), ("digest", b"d")];
    let request = RequestView { method: "GET", target: Target::at(&base, "/"), headers };
    let lines = "(request-target): get /\nhost: example.com\n(created): 1388957500\n(expires): 1388957600\ndigest: d";
    assert_eq!(claim.base(&request).unwrap(), lines);
}

#[test]
fn what_must_be_covered_is_missed() {
    for (headers, missing) in [
        ("host date digest", "(request-target)"),
        ("(request-target) date digest", "host"),
        ("(request-target) host date", "digest"),
        ("(request-target) host digest", "date or (created)"),
        ("", "(request-target)"),
    ] {
        let expected = SignatureError::Uncovered { component: missing.to_owned() };
        assert_eq!(with(&covering(headers)), Err(expected), "{headers}");
    }
    let bare = covering(ALL).replace(&format!("headers=\"{ALL}\","), "");
    assert_eq!(with(&bare), Err(SignatureError::Uncovered { component: "(request-target)".to_owned() }));
    let fields = Demand { fields: &["idempotency-key"], ..NONE };
    let signed = covering("(request-target) host date");
    let headers = [("host", "example.com"), ("date", DATE), ("signature", signed.as_str())];
    let expected = SignatureError::Uncovered { component: "idempotency-key".to_owned() };
    assert_eq!(run(&headers, fields), Err(expected));
    assert!(run(&headers, NONE).is_ok(), "without a body no digest is demanded");
}

#[test]
fn what_is_covered_must_be_there_once() {
    let signed = covering(ALL);
    let all = [("host", "example.com"), ("date", DATE), ("digest", "SHA-256=x"), ("signature", signed.as_str())];
    assert!(run(&all, BODY).is_ok());
    for name in ["host", "date"] {
        let without: Vec<_> = all.iter().filter(|(given, _)| *given != name).copied().collect();
        let absent = BaseError::Absent { component: name.to_owned() };
        assert_eq!(run(&without, BODY), Err(absent.into()));
        let twice = [&all[..], &[(name, "x")]].concat();
        assert_eq!(run(&twice, BODY), Err(DraftError::HeaderTwice { name: name.to_owned() }.into()));
    }
    let twice = [&all[..], &[("Signature", "x")]].concat();
    assert_eq!(run(&twice, BODY), Err(DraftError::SignatureTwice.into()));
    let foreign = [("host", "example.com"), ("date", "\u{e9}"), ("signature", signed.as_str())];
    assert!(matches!(run(&foreign, BODY), Err(SignatureError::Base(BaseError::BadValue { .. }))));
}

#[test]
fn time_is_a_window_of_five_minutes_for_either_clock_word() {
    let by_date = |date: &str| {
        let signed = covering(ALL);
        run(&[("host", "example.com"), ("date", date), ("digest", "x"), ("signature", signed.as_str())], BODY)
    };
    assert!(by_date("Sun, 05 Jan 2014 21:26:40 GMT").is_ok() && by_date("Sun, 05 Jan 2014 21:36:40 GMT").is_ok());
    assert_eq!(by_date("Sun, 05 Jan 2014 21:26:39 GMT"), Err(SignatureError::TooOld { seconds: 301, most: 300 }));
    assert_eq!(by_date("Sun, 05 Jan 2014 21:36:41 GMT"), Err(SignatureError::InFuture { seconds: 301 }));
    for bad in
        ["", "yesterday", "2014-01-05T21:31:40Z", "Sun, 05 Jan 2014 22:31:40 +0100", "Mon, 05 Jan 2014 21:31:40 GMT"]
    {
        assert!(matches!(by_date(bad), Err(SignatureError::Draft(DraftError::BadDate { .. }))), "{bad}");
    }
    let by_created = |times: &str| with(&format!("{},{times}", covering("(request-target) host (created) digest")));
    assert!(by_created("created=1388957200").is_ok() && by_created("created=\"1388957800\"").is_ok());
    assert_eq!(by_created("created=1388957199"), Err(SignatureError::TooOld { seconds: 301, most: 300 }));
    assert_eq!(by_created("created=1388957801"), Err(SignatureError::InFuture { seconds: 301 }));
    assert_eq!(by_created("created=1388957500,expires=1388957499"), Err(SignatureError::Expired { seconds: 1 }));
    assert_eq!(by_created("x=y"), Err(SignatureError::NoCreated));
    for bad in [
        "created=soon",
        "created=1388957500.5",
        "created=-5",
        "created=01388957500",
        "created=",
        "created=99999999999999999999",
    ] {
        assert!(matches!(by_created(bad), Err(SignatureError::Draft(DraftError::BadTime { .. }))), "{bad}");
    }
    // A date that is covered counts beside a time that is fresh.
    let both = format!("{},created=1388957500", covering("(request-target) host (created) date digest"));
    let stale = [("host", "example.com"), ("date", "Sun, 05 Jan 2014 20:00:00 GMT"), ("signature", both.as_str())];
    assert!(matches!(run(&stale, BODY), Err(SignatureError::TooOld { .. })));
}

#[test]
fn a_later_look_finds_it_too_old() {
    let signed = covering("(request-target) host date");
    let base = Iri::parse("https://example.com/").unwrap();
    let headers: Vec<(&str, &[u8])> =
        vec![("host", b"example.com"), ("date", DATE.as_bytes()), ("signature", signed.as_bytes())];
    let request = RequestView { method: "GET", target: Target::at(&base, "/"), headers };
    let late = claims(&request, NONE, NOW.plus(Duration::from_secs(301)));
    assert_eq!(late, Err(SignatureError::TooOld { seconds: 301, most: 300 }));
}

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let signed = covering("(request-target) host date");
    let at = |host: &str| run(&[("host", host), ("date", DATE), ("signature", signed.as_str())], NONE);
    assert!(at("example.com").is_ok() && at("Example.com:443").is_ok());
    for other in ["evil.example", "example.com:80", "example.com.", ""] {
        assert!(matches!(at(other), Err(SignatureError::Draft(DraftError::OtherHost { .. }))), "{other}");
    }
}

#[test]
fn what_is_no_list_of_parameters_is_refused() {
    for bad in [
        "",
        "x",
        "keyId=\"a",
        "keyId=\"a\" algorithm=\"b\"",
        "=\"a\"",
        "key id=\"a\"",
        "keyId=\"a\\\"b\"",
        "keyId=\"a\",",
        "sig=:AAAA:,x",
        &covering(ALL).replace("AAAA", "*"),
        &(0..17).map(|n| format!("x{n}=1")).collect::<Vec<_>>().join(","),
    ] {
        assert!(matches!(refused(bad), DraftError::Malformed { .. }), "{bad}");
    }
    let good = covering(ALL);
    for name in ["keyId", "algorithm", "headers", "signature"] {
        let twice = format!("{good},{name}=\"x\"");
        assert_eq!(refused(&twice), DraftError::ParameterTwice { name: name.to_owned() });
    }
    assert_eq!(refused(&good.replace("keyId", "keyid")), DraftError::Missing { name: "keyId" });
    assert_eq!(refused(&good.replace(",signature", ",sig")), DraftError::Missing { name: "signature" });
    assert!(matches!(with(&good.replace("https://a.example", "did:key:z")), Err(SignatureError::BadKeyId(_))));
    let twice = BaseError::Twice { component: "host".to_owned() };
    assert_eq!(with(&covering(&format!("{ALL} Host"))), Err(twice.into()));
    let many = (0..33).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(" ");
    assert_eq!(with(&covering(&many)), Err(BaseError::TooMany { count: 33 }.into()));
}

#[test]
fn old_algorithms_cannot_sign_the_words_for_times() {
    for algorithm in ["rsa-sha256", "RSA-SHA256", "hmac-sha256", "ecdsa-sha256"] {
        for word in ["(created)", "(expires)"] {
            let signed = format!("{},created=1388957500,expires=1388957600", covering(&format!("{ALL} {word}")));
            let refused = refused(&signed.replace("hs2019", algorithm));
            assert!(matches!(refused, DraftError::PseudoHeader { .. }), "{algorithm} {word}: {refused}");
        }
    }
}

#[test]
fn the_key_decides_the_algorithm_and_none_may_contradict_it() {
    use Algorithm::{Ed25519, HmacSha256, RsaV15Sha256};
    let fits =
        |given: &str, wanted| with(&covering(ALL).replace("hs2019", given)).unwrap().check_algorithm(wanted).is_ok();
    for wanted in [Ed25519, HmacSha256, RsaV15Sha256] {
        assert!(fits("hs2019", wanted));
        assert!(!fits("rsa-sha512", wanted) && !fits("none", wanted) && !fits("", wanted));
        assert!(with(&covering(ALL).replace("algorithm=\"hs2019\",", "")).unwrap().check_algorithm(wanted).is_ok());
    }
    assert!(fits("rsa-sha256", RsaV15Sha256) && !fits("rsa-sha256", Ed25519) && !fits("rsa-sha256", HmacSha256));
    assert!(fits("hmac-sha256", HmacSha256) && !fits("hmac-sha256", RsaV15Sha256) && !fits("hmac-sha256", Ed25519));
    assert!(fits("ed25519", Ed25519) && !fits("ed25519", RsaV15Sha256));
}
