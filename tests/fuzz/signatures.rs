//! Signed requests: what is read of them, what their signatures are made over, and that nothing can be changed under one.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use quickbeam::clock::Time;
use quickbeam::domains::identity::Iri;
use quickbeam::wire::captured::Captured;
use quickbeam::wire::challenge::{answer, wanted};
use quickbeam::wire::claim::{Claim, claims};
use quickbeam::wire::digest;
use quickbeam::wire::key::{NodeKey, NodeKeys, PairSecret};
use quickbeam::wire::keys::Key;
use quickbeam::wire::message::{RequestView, Target as Aim};
use quickbeam::wire::rsa::RsaKey;
use quickbeam::wire::sign::{Signer, SignerKey};
use quickbeam::wire::signature::{Demand, LABELS_MAX, SignatureInput};
use quickbeam::wire::signers::Signers;
use quickbeam::wire::transport::{Limits, Request, Response};

use super::run::{Target, named, text};

const NOW: Time = Time(1_795_250_000_000);
const WINDOW: Duration = Duration::from_secs(300);
const LIMITS: Limits = Limits { bytes_max: 1 << 16, deadline: Duration::from_secs(1) };
const PATH: &str = "/inbox?a=1&b=%20";
const MEDIA_TYPE: &str = "application/activity+json";
const BODY: &str = "{\"id\":\"https://a.example/1\",\"type\":\"Follow\"}";

const FIELDS: [&str; 62] = [
    "sig=(",
    "sig2=(",
    "(",
    ")",
    "\"@method\"",
    "\"@target-uri\"",
    "\"@authority\"",
    "\"@path\"",
    "\"@query\"",
    "\"@scheme\"",
    "\"@request-target\"",
    "\"@query-param\";name=\"a\"",
    "\"@status\"",
    "\"content-digest\"",
    "\"content-type\"",
    "\"date\"",
    "\"host\"",
    "\"Host\"",
    "\"x-dict\";key=\"a\"",
    "\"x-dict\";bs",
    ";sf",
    ";req",
    ";tr",
    ";created=",
    ";expires=",
    ";keyid=\"https://a.example/actor#k\"",
    ";alg=\"ed25519\"",
    ";alg=\"rsa-v1_5-sha256\"",
    ";nonce=\"n\"",
    ";tag=\"t\"",
    ";x=%\"\\\"",
    ";x=%\"%22\"",
    ";x=@1795250000",
    ";x=?1",
    ";x=1.5",
    ";x=a%",
    ":AAAA:",
    "::",
    ";",
    ",",
    "=",
    "\"",
    "\\\"",
    "\\",
    "%\"",
    " ",
    "\t",
    "1795250000",
    "sha-256=",
    "sha-512=",
    "SHA-256=",
    "md5=",
    "x",
    "*",
    "a.b",
    "\r\n",
    "\n",
    ": ",
    "\u{e9}",
    ";created",
    ";keyid",
    ";expires;alg",
];

const DRAFT: [&str; 22] = [
    "keyId=\"https://a.example/actor#k\"",
    "keyId=",
    "algorithm=\"hs2019\"",
    "algorithm=\"rsa-sha256\"",
    "algorithm=",
    "created=1795250000",
    "created=",
    "expires=1795250300",
    "headers=\"(request-target) host date digest\"",
    "headers=\"",
    "(request-target)",
    "(created)",
    "(expires)",
    "date",
    "digest",
    "signature=\"AAAA\"",
    "signature=",
    ",",
    "\"",
    "=",
    "+1",
    "Sat, 21 Nov 2026 08:33:20 GMT",
];

fn base() -> Iri {
    Iri::parse("https://b.example/").unwrap()
}

fn view<'a>(captured: &'a Captured, own: &'a Iri) -> RequestView<'a> {
    let headers = captured.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    RequestView { method: &captured.method, target: Aim::at(own, &captured.path_and_query), headers }
}

fn ed25519() -> NodeKey {
    NodeKey::from_seed([3; 32])
}

fn secret() -> PairSecret {
    PairSecret::new(&[5; 48]).unwrap()
}

static RSA: LazyLock<RsaKey> = LazyLock::new(|| RsaKey::from_pem(include_str!("../vectors/rsa/one.pem")).unwrap());

/// One request, signed in each of our ways, as it stands on the wire; and what each signature was made over.
static SIGNED: LazyLock<Vec<(Vec<u8>, Key, String)>> = LazyLock::new(|| {
    let signer = |secret| Signer { key_id: Iri::parse("https://a.example/actor#k").unwrap(), secret };
    let request = || {
        let url = Iri::parse(&format!("https://b.example{PATH}")).unwrap();
        Request::post(url, MEDIA_TYPE, BODY, LIMITS).header("x-dict", "a=1, b=(1 2);x")
    };
    let one = signer(SignerKey::Ed25519(ed25519())).sign(request(), NOW).unwrap();
    let two = signer(SignerKey::HmacSha256(secret())).sign(request(), NOW).unwrap();
    let three = signer(SignerKey::Rsa(RSA.clone())).sign_draft(request(), NOW).unwrap();
    let keys = [Key::Public(ed25519().public()), Key::Pair(secret()), Key::Public(RSA.public())];
    let made = |(request, key): (Request, Key)| {
        let wire = written(request.method, PATH, &request.headers, &request.body);
        let captured = Captured::parse(&wire).unwrap();
        let (own, demand) = (base(), Demand { body: true, fields: &[], window: WINDOW });
        let view = view(&captured, &own);
        let claim = claims(&view, demand, NOW).unwrap().remove(0);
        (wire, key, claim.base(&view).unwrap())
    };
    [one, two, three].into_iter().zip(keys).map(made).collect()
});

fn written(method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    [format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// The digest of the body, by the header that goes with the signature.
fn digested(claim: &Claim, view: &RequestView<'_>, body: &[u8]) -> bool {
    let sha256 = digest::sha256(body);
    match claim.is_draft() {
        true => digest::check_draft(view, body, &sha256).is_ok(),
        false => digest::check(view.header_text("content-digest").as_deref(), body, &sha256).is_ok(),
    }
}

/// A request of which anything is changed is what was signed, or its signature does not hold.
#[test]
fn signed_request() {
    let made: Vec<Vec<u8>> = SIGNED.iter().map(|(wire, ..)| wire.clone()).collect();
    let own = base();
    let tokens: Vec<&str> =
        ["Signature: ", "Signature-Input: ", "Content-Digest: ", "Digest: ", "Host: b.example", "POST ", "GET "]
            .into_iter()
            .chain(FIELDS)
            .chain(DRAFT)
            .collect();
    Target { name: "signed_request", also: &[], made: &made, tokens: &tokens }.run(|input| {
        let captured = match Captured::parse(input) {
            Ok(captured) => captured,
            Err(refused) => return named(&refused),
        };
        captured.signed_at();
        let again = written(&captured.method, &captured.path_and_query, &captured.headers, &captured.body);
        assert_eq!(Captured::parse(&again).as_ref(), Ok(&captured));
        let view = view(&captured, &own);
        let demand = Demand { body: !captured.body.is_empty(), fields: &["content-type"], window: WINDOW };
        let claims = match claims(&view, demand, NOW) {
            Ok(claims) => claims,
            Err(refused) => return named(&refused) + &refused.to_string().chars().take(24).collect::<String>(),
        };
        assert!(claims.len() <= LABELS_MAX);
        let mut met = String::from("claimed");
        for claim in &claims {
            let base = match claim.base(&view) {
                Ok(base) => base,
                Err(refused) => return format!("no base {}", named(&refused)),
            };
            let holds = |(_, key, _): &&(Vec<u8>, Key, String)| key.verifies(base.as_bytes(), claim.signature());
            if let Some((_, _, signed)) = SIGNED.iter().find(holds) {
                assert_eq!(&base, signed, "a signature holds for what nobody signed");
                // No white space can stand at the end of either in a request.
                let [method, path] =
                    [&captured.method, &captured.path_and_query].map(|text| text.trim_end_matches('\t'));
                assert!(method.eq_ignore_ascii_case("POST") && path == PATH, "it holds for another target");
                assert_eq!(
                    view.header_text("content-type").as_deref(),
                    Some(MEDIA_TYPE),
                    "it holds for another header"
                );
                let body = digested(claim, &view, &captured.body);
                assert!(!body || captured.body == BODY, "a digest holds for another body");
                met = format!("true {body} {}", claim.is_draft());
            }
        }
        met
    });
}

#[test]
fn signature_input() {
    let own = Iri::parse("https://b.example/inbox?a=1&b=2&b=3").unwrap();
    let headers: Vec<(&str, &[u8])> = vec![
        ("Host", b"b.example"),
        ("Date", b"Sat, 21 Nov 2026 08:33:20 GMT"),
        ("X-Dict", b"a=1, b=(1 2);x"),
        ("x-dict", b"c"),
        ("x", b"\xff"),
    ];
    let view = RequestView { method: "POST", target: Aim::of(&own), headers };
    Target { name: "signature_input", also: &[], made: &[], tokens: &FIELDS }.run(|input| {
        let given = text(input);
        let read = match SignatureInput::parse(&given) {
            Ok(read) => read,
            Err(refused) => return named(&refused),
        };
        let canonical = read.text();
        let again = SignatureInput::parse(&canonical).unwrap();
        assert_eq!((&again, again.text()), (&read, canonical.clone()));
        // As many as were written, so that none was written twice. A comma begins another signature.
        let dropped = parameters(&given) != parameters(&canonical) && !given.contains(',');
        assert!(!dropped, "a parameter was dropped from {given}");
        match read.base(&view) {
            Ok(base) => {
                assert!(base.ends_with(&format!("\"@signature-params\": {canonical}")));
                assert!(base.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')));
                assert_eq!(again.base(&view), Ok(base));
                "base".to_owned()
            }
            Err(refused) => named(&refused),
        }
    });
}

/// The parameters in a structured field, counted over its texts: `"…"` with backslashes, and `%"…"` without.
fn parameters(field: &str) -> usize {
    let (mut count, mut rest) = (0, field);
    while let Some(at) = rest.find(['"', ';']) {
        let shown = rest[..at].ends_with('%');
        let (mark, behind) = (&rest[at..=at], &rest[at + 1..]);
        rest = behind;
        if mark == ";" {
            count += 1;
            continue;
        }
        let mut escaped = false;
        let end = behind.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped && !shown;
            ends
        });
        rest = end.map_or("", |end| &behind[end + 1..]);
    }
    count
}

/// The first line is a header of digests, what follows a body.
#[test]
fn digests() {
    let made = [BODY, "", "x"].map(|body| {
        let header =
            format!("{}, {}", digest::content_digest(body.as_bytes()), digest::content_digest_sha512(body.as_bytes()));
        format!("{header}\n{body}").into_bytes()
    });
    let drafts = [format!("{}\n{BODY}", digest::draft_digest(BODY.as_bytes())).into_bytes()];
    let made: Vec<Vec<u8>> = made.into_iter().chain(drafts).collect();
    let own = base();
    Target { name: "digests", also: &[], made: &made, tokens: &FIELDS }.run(|input| {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (header, body) = (text(&input[..end]), &input[input.len().min(end + 1)..]);
        let sha256 = digest::sha256(body);
        let view = RequestView { method: "POST", target: Aim::of(&own), headers: vec![("Digest", header.as_bytes())] };
        let (new, old) = (digest::check(Some(&header), body, &sha256), digest::check_draft(&view, body, &sha256));
        let promised = digest::promised(&header);
        let other = [body, b"!"].concat();
        let sum = digest::sha256(&other);
        assert!(new.is_err() || digest::check(Some(&header), &other, &sum).is_err(), "it fits two bodies");
        assert!(old.is_err() || digest::check_draft(&view, &other, &sum).is_err(), "it fits two bodies");
        assert!(new.is_err() || promised.as_ref().is_ok_and(|promised| *promised == sha256) || promised.is_err());
        format!("{} {} {}", named(&new), named(&old), named(&promised))
    });
}

/// Whatever a receiver asks for, what we answer with covers what we ourselves demand, and holds.
#[test]
fn accept_signature() {
    let actor = Iri::parse("https://a.example/actor").unwrap();
    let signers = Signers::new(&actor, NodeKeys { ed25519: ed25519(), rsa: RSA.clone() }, []);
    let pen = signers.pen();
    let url = Iri::parse("https://b.example/inbox").unwrap();
    let request = Request::post(url, MEDIA_TYPE, Bytes::from_static(BODY.as_bytes()), LIMITS);
    let keys = [Key::Public(ed25519().public()), Key::Public(RSA.public())];
    let own = ["created", ";keyid=\"https://a.example/actor#ed25519\"", ";keyid=\"https://a.example/actor#main-key\""];
    let tokens: Vec<&str> = own.into_iter().chain(FIELDS).collect();
    let made = [wanted(true, true), wanted(true, false), wanted(false, false)].map(String::into_bytes);
    Target { name: "accept_signature", also: &[], made: &made, tokens: &tokens }.run(|input| {
        let headers = vec![("accept-signature".to_owned(), text(input).into_owned())];
        let refusal = Response { status: 401, headers, body: Bytes::new() };
        let Some((scheme, signed)) = answer(&refusal, &pen, &request, NOW) else { return "nothing".to_owned() };
        let view = signed.view();
        let demand = Demand { body: true, fields: &[], window: WINDOW };
        let claims = claims(&view, demand, NOW).unwrap();
        let base = claims[0].base(&view).unwrap();
        assert!(keys.iter().any(|key| key.verifies(base.as_bytes(), claims[0].signature())));
        assert!(digested(&claims[0], &view, &signed.body));
        assert!(signed.headers.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
        format!("{scheme:?} {}", base.lines().count())
    });
}
