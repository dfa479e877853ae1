//! Requests that are what they say, and every way in which they are not.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::domains::identity::Iri;
use crate::wire::digest::{DigestError, content_digest, draft_digest};
use crate::wire::for_tests::{LIMITS, Net, Peer, START, StepClock, iri};
use crate::wire::key::PairSecret;
use crate::wire::keys::{KeyError, KeySettings, Pair};
use crate::wire::message::Target;
use crate::wire::proof::prove;
use crate::wire::refusal::Class;
use crate::wire::sign::{Signer, SignerKey};
use crate::wire::signature::SignatureError;
use crate::wire::transport::Request;

/// Whether a refusal is the one that is meant.
type Expected = fn(&Refusal) -> bool;

const CURVE: &str = include_str!("../../tests/vectors/rsa/ec_public.pem");

struct World {
    net: Arc<Net>,
    clock: Arc<StepClock>,
    keys: KeyCache,
    base: Iri,
}

impl World {
    fn new() -> Self {
        let (net, clock) = (Net::shared(), StepClock::start());
        let own = Authority::parse("b.example").unwrap();
        let pair = Pair { secret: secret(), inbox: None };
        let pairs: BTreeMap<Iri, Pair> = [(iri("https://p.example/actor"), pair)].into();
        let keys = KeyCache::new(net.clone(), clock.clone(), own, pairs, KeySettings::default());
        peer().publish(&net);
        Self { net, clock, keys, base: iri("https://b.example/") }
    }

    /// What becomes of a request as it arrives.
    async fn receive(&self, request: &Request) -> Result<Verified<Activity>, Refusal> {
        let view = self.view(request);
        verify(&view, request.body.clone(), &self.keys, self.clock.now(), VerifyLimits::default()).await
    }

    /// The refusal, and that nothing was fetched on its way.
    async fn refuses(&self, request: &Request) -> (Class, Refusal) {
        let refusal = self.receive(request).await.expect_err("it was believed");
        (refusal.class(), refusal)
    }

    fn view<'a>(&'a self, request: &'a Request) -> RequestView<'a> {
        let target = Target::at(&self.base, Target::of(&request.url).path_and_query);
        RequestView { target, ..request.view() }
    }
}

fn secret() -> PairSecret {
    PairSecret::new(&[5; 48]).unwrap()
}

fn peer() -> Peer {
    Peer::new("https://a.example/", 1)
}

fn post(body: impl Into<Bytes>) -> Request {
    Request::post(iri("https://b.example/inbox"), "application/activity+json", body, LIMITS)
}

fn signed(body: &Value) -> Request {
    peer().signer().sign(post(body.to_string()), START).unwrap()
}

fn rsa_signed(body: &Value) -> Request {
    peer().rsa_signer().sign(post(body.to_string()), START).unwrap()
}

fn follow() -> Value {
    peer().follow("https://b.example/actor")
}

fn set(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.retain(|(given, _)| given != name);
    request.header(name, value)
}

#[tokio::test]
async fn a_signed_activity_is_believed_and_says_who_sent_it() {
    let world = World::new();
    let request = signed(&follow());
    let verified = world.receive(&request).await.unwrap();
    assert_eq!(verified.value().raw, follow());
    assert_eq!((verified.actor(), verified.authority().as_str()), (&peer().actor(), "a.example"));
    assert_eq!(verified.key_id(), &iri("https://a.example/actor#ed25519"));
    assert_eq!((verified.inbox(), verified.shared_inbox()), (Some(&peer().at("inbox")), Some(&peer().at("inbox"))));
    assert_eq!((verified.body(), verified.sha256()), (&request.body, &sha256(&request.body)));
    world.receive(&request).await.unwrap();
    assert_eq!(world.net.asked(), 1);
}

#[tokio::test]
async fn a_pair_signs_with_its_secret() {
    let world = World::new();
    let pair = Peer::new("https://p.example/", 3);
    let sign = |secret| Signer { key_id: iri("https://p.example/actor#hmac"), secret: SignerKey::HmacSha256(secret) };
    let body = pair.follow("https://b.example/actor").to_string();
    let verified = world.receive(&sign(secret()).sign(post(body.clone()), START).unwrap()).await.unwrap();
    assert_eq!((verified.actor(), verified.inbox()), (&pair.actor(), None));
    let other = PairSecret::new(&[6; 48]).unwrap();
    let (class, refusal) = world.refuses(&sign(other).sign(post(body), START).unwrap()).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::False { .. }), "{refusal}");
    assert_eq!(world.net.asked(), 0);
}

#[tokio::test]
async fn what_could_not_pass_anyway_fetches_nothing() {
    let world = World::new();
    let valid = || signed(&follow());
    let input = valid().view().header_text("signature-input").unwrap();
    let big = peer().signer().sign(post(vec![b' '; 1024 * 1024 + 1]), START).unwrap();
    let deep = peer().signer().sign(post(format!("{}{}", "[".repeat(65), "]".repeat(65))), START).unwrap();
    let twice = peer().signer().sign(post("{\"id\":1,\"id\":2}"), START).unwrap();
    let mut nameless = follow();
    nameless.as_object_mut().unwrap().remove("id");
    let mut foreign_id = follow();
    foreign_id["id"] = "https://c.example/1".into();
    let mut foreign_actor = follow();
    foreign_actor["actor"] = "https://c.example/actor".into();
    foreign_actor["id"] = "https://c.example/1".into();
    let late = peer().signer().sign(post(follow().to_string()), START.minus(Duration::from_secs(301))).unwrap();
    let early = peer().signer().sign(post(follow().to_string()), START.plus(Duration::from_secs(301))).unwrap();
    let absent = input.replace("\"content-type\"", "\"content-type\" \"x-absent\"");
    let cases: Vec<(Request, Class, Expected)> = vec![
        (post(follow().to_string()), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::Unsigned))
        }),
        (set(valid(), "signature-input", "sig=("), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::Malformed { .. }))
        }),
        (set(valid(), "signature-input", &input.replace("\"@method\" ", "")), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::Uncovered { .. }))
        }),
        (set(valid(), "signature-input", &absent), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::Base(_)))
        }),
        (late, Class::Unauthorized, |r| matches!(r, Refusal::Signature(SignatureError::TooOld { .. }))),
        (early, Class::Unauthorized, |r| matches!(r, Refusal::Signature(SignatureError::InFuture { .. }))),
        (set(valid(), "content-digest", &content_digest(b"x")), Class::BadRequest, |r| {
            matches!(r, Refusal::Digest(DigestError::Mismatch { .. }))
        }),
        (set(valid(), "content-digest", "md5=:AAAA:"), Class::Unauthorized, |r| {
            matches!(r, Refusal::Digest(DigestError::Unsupported))
        }),
        (set(valid(), "content-type", "text/html"), Class::MediaType, |r| matches!(r, Refusal::MediaType { .. })),
        (big, Class::TooLarge, |r| matches!(r, Refusal::TooLarge { .. })),
        (deep, Class::BadRequest, |r| matches!(r, Refusal::Json(_))),
        (twice, Class::BadRequest, |r| matches!(r, Refusal::Json(_))),
        (signed(&nameless), Class::BadRequest, |r| matches!(r, Refusal::Activity(_))),
        (signed(&json!("Follow")), Class::BadRequest, |r| matches!(r, Refusal::Activity(_))),
        (signed(&foreign_id), Class::Forbidden, |r| matches!(r, Refusal::ForeignId { .. })),
        (signed(&foreign_actor), Class::Forbidden, |r| matches!(r, Refusal::ForeignKey { .. })),
    ];
    for (request, class, expected) in cases {
        let (given, refusal) = world.refuses(&request).await;
        assert!(given == class && expected(&refusal), "{given:?}: {refusal}");
    }
    assert_eq!(world.net.asked(), 0);
}

#[tokio::test]
async fn a_neighbour_on_the_same_authority_is_somebody_else() {
    let world = World::new();
    let mut claimed = follow();
    claimed["actor"] = "https://a.example/neighbour".into();
    let (class, refusal) = world.refuses(&signed(&claimed)).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::NotTheOwner { .. }), "{refusal}");
}

#[tokio::test]
async fn a_forged_signature_is_refused_and_fetches_no_more_than_once_in_five_minutes() {
    let world = World::new();
    let forger = Peer::new("https://a.example/", 66);
    let forge = |at| forger.signer().sign(post(follow().to_string()), at).unwrap();
    for _ in 0..3 {
        let (class, refusal) = world.refuses(&forge(world.clock.now())).await;
        assert!(class == Class::Forbidden && matches!(refusal, Refusal::False { .. }), "{refusal}");
    }
    assert_eq!(world.net.asked(), 1, "the first fetch was as fresh as can be, then time stood still");
    for _ in 0..299 {
        world.clock.step(Duration::from_secs(1));
        assert_eq!(world.refuses(&forge(world.clock.now())).await.0, Class::Forbidden);
    }
    assert_eq!(world.net.asked(), 2);
}

#[tokio::test]
async fn a_key_that_was_fetched_for_this_request_is_not_fetched_twice() {
    let world = World::new();
    world.clock.move_with_each_look(Duration::from_millis(50));
    let forged = Peer::new("https://a.example/", 66).signer().sign(post(follow().to_string()), START).unwrap();
    assert_eq!(world.refuses(&forged).await.0, Class::Forbidden);
    assert_eq!(world.net.asked(), 1);
}

#[tokio::test]
async fn a_key_that_became_another_kind_is_named_as_one_that_cannot_be_checked() {
    let world = World::new();
    world.receive(&rsa_signed(&follow())).await.unwrap();
    world.clock.step(Duration::from_secs(1));
    let mut document = peer().document();
    document["publicKey"]["publicKeyPem"] = CURVE.into();
    world.net.serve("https://a.example/actor", &document);
    let forged = Peer::new("https://a.example/", 66).rsa_signer().sign(post(follow().to_string()), START).unwrap();
    let (class, refusal) = world.refuses(&forged).await;
    assert!(class == Class::Unauthorized && matches!(refusal, Refusal::UnsupportedKey { .. }), "{refusal}");
}

#[tokio::test]
async fn a_rotated_key_is_believed_after_one_new_fetch() {
    let world = World::new();
    world.receive(&signed(&follow())).await.unwrap();
    world.clock.step(Duration::from_secs(1));
    let rotated = Peer::new("https://a.example/", 2);
    rotated.publish(&world.net);
    let request = rotated.signer().sign(post(follow().to_string()), world.clock.now()).unwrap();
    world.receive(&request).await.unwrap();
    assert_eq!(world.net.asked(), 2);
    assert_eq!(world.refuses(&signed(&follow())).await.0, Class::Forbidden);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_told_apart_from_keys_that_are_none() {
    let world = World::new();
    let at = |path: &str| {
        let key_id = iri(&format!("https://a.example/{path}"));
        Signer { key_id, ..peer().signer() }.sign(post(follow().to_string()), START).unwrap()
    };
    let (class, refusal) = world.refuses(&at("actor#other")).await;
    assert!(
        class == Class::Unauthorized && matches!(refusal, Refusal::Key(KeyError::NotPublished { .. })),
        "{refusal}"
    );
    let (class, refusal) = world.refuses(&at("nobody#key")).await;
    assert!(class == Class::Unauthorized && matches!(refusal, Refusal::Key(KeyError::Status { .. })), "{refusal}");
    let (class, refusal) = world.refuses(&at("actor#hmac")).await;
    assert!(class == Class::Unauthorized && matches!(refusal, Refusal::Key(KeyError::NoPair { .. })), "{refusal}");
    *world.net.down.lock() = true;
    let (class, refusal) = world.refuses(&at("down#key")).await;
    assert!(class == Class::Unavailable && matches!(refusal, Refusal::KeyUnavailable(_)), "{refusal}");
    let mut wrong_owner = peer().document();
    wrong_owner["assertionMethod"][0]["controller"] = "https://c.example/actor".into();
    let other = World::new();
    other.net.serve("https://a.example/actor", &wrong_owner);
    let (class, refusal) = other.refuses(&at("actor#ed25519")).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::Key(KeyError::NotUsable { .. })), "{refusal}");
}

/// A post whose signature says which algorithm it is.
fn signed_saying(alg: &str, signer: &Signer) -> Request {
    use base64::Engine as _;
    let body = follow().to_string();
    let request = post(body.clone()).header("content-digest", content_digest(body.as_bytes()));
    let text = format!(
        "(\"@method\" \"@target-uri\" \"content-digest\");created={};keyid=\"{}\";alg=\"{alg}\"",
        START.seconds(),
        signer.key_id
    );
    let input = crate::wire::signature::SignatureInput::parse(&text).unwrap();
    let bytes = signer.secret.sign(input.base(&request.view()).unwrap().as_bytes());
    let bytes = base64::engine::general_purpose::STANDARD.encode(bytes);
    request.header("signature-input", format!("s={text}")).header("signature", format!("s=:{bytes}:"))
}

#[tokio::test]
async fn an_algorithm_that_contradicts_the_key_is_refused() {
    let world = World::new();
    let all = ["ed25519", "rsa-v1_5-sha256", "hmac-sha256", "rsa-pss-sha512", "rsa-v1_5-sha512", "none", ""];
    for (signer, own) in [(peer().signer(), "ed25519"), (peer().rsa_signer(), "rsa-v1_5-sha256")] {
        for alg in all {
            match world.receive(&signed_saying(alg, &signer)).await {
                Ok(_) => assert_eq!(alg, own),
                Err(Refusal::Signature(wrong @ SignatureError::AlgorithmContradicts { .. })) => {
                    assert!(alg != own && wrong.to_string().contains(own), "{alg}: {wrong}");
                }
                Err(other) => panic!("{alg}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_public_rsa_key_is_no_shared_secret() {
    let world = World::new();
    // Who knows the public key knows these bytes too: taken for the secret of an HMAC they would let anybody sign.
    let pem = peer().keys.rsa.public_pem();
    let secret = SignerKey::HmacSha256(PairSecret::new(pem.as_bytes()).unwrap());
    let forged = Signer { secret, ..peer().rsa_signer() };
    for alg in ["hmac-sha256", "rsa-v1_5-sha256"] {
        assert!(world.receive(&signed_saying(alg, &forged)).await.is_err(), "{alg}");
    }
    let (class, refusal) = world.refuses(&forged.sign(post(follow().to_string()), START).unwrap()).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::False { .. }), "{refusal}");
}

#[tokio::test]
async fn an_activity_signed_with_rsa_is_believed_and_a_forged_one_is_not() {
    let world = World::new();
    let verified = world.receive(&rsa_signed(&follow())).await.unwrap();
    assert_eq!((verified.actor(), verified.key_id()), (&peer().actor(), &iri("https://a.example/actor#main-key")));
    let forger = Signer { key_id: peer().rsa_signer().key_id, ..Peer::new("https://a.example/", 66).rsa_signer() };
    let (class, refusal) = world.refuses(&forger.sign(post(follow().to_string()), START).unwrap()).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::False { .. }), "{refusal}");
}

#[tokio::test]
async fn a_key_that_is_too_small_is_refused_with_its_size() {
    let world = World::new();
    let mut document = peer().document();
    document["publicKey"]["publicKeyPem"] = include_str!("../../tests/vectors/rsa/small_public.pem").into();
    world.net.serve("https://a.example/actor", &document);
    let (class, refusal) = world.refuses(&rsa_signed(&follow())).await;
    assert!(class == Class::Unauthorized && refusal.to_string().contains("1024 bits"), "{refusal}");
}

#[tokio::test]
async fn a_key_of_another_kind_is_named_as_one_that_cannot_be_checked() {
    let world = World::new();
    let mut document = peer().document();
    document["publicKey"]["publicKeyPem"] = CURVE.into();
    world.net.serve("https://a.example/actor", &document);
    let (class, refusal) = world.refuses(&rsa_signed(&follow())).await;
    assert!(class == Class::Unauthorized && refusal.to_string().contains("elliptic-curve"), "{refusal}");
}

#[tokio::test]
async fn a_request_for_another_node_or_path_or_method_is_not_for_us() {
    let world = World::new();
    let mut elsewhere = signed(&follow());
    elsewhere.url = iri("https://b.example/other");
    assert_eq!(world.refuses(&elsewhere).await.0, Class::Forbidden);
    let url = iri("https://c.example/inbox");
    let for_c = Request::post(url, "application/activity+json", follow().to_string(), LIMITS);
    let for_c = peer().signer().sign(for_c, START).unwrap();
    assert_eq!(world.refuses(&for_c).await.0, Class::Forbidden);
    let mut put = signed(&follow());
    put.method = "PUT";
    assert_eq!(world.refuses(&put).await.0, Class::Forbidden);
}

#[tokio::test]
async fn a_signed_get_says_who_reads_and_a_call_what_it_covers() {
    let world = World::new();
    let limits = VerifyLimits::default();
    let get = Request::get(iri("https://b.example/gig-night"), "application/activity+json", LIMITS);
    let signed = peer().signer().sign(get.clone(), START).unwrap();
    let sender = |request, fields| {
        let world = &world;
        async move {
            let request: &Request = request;
            verify_sender(&world.view(request), request.body.clone(), fields, &world.keys, START, limits).await
        }
    };
    assert_eq!(sender(&signed, &[]).await.unwrap().actor(), &peer().actor());
    assert_eq!(sender(&get, &[]).await.unwrap_err().class(), Class::Unauthorized);
    let fields = &["idempotency-key"];
    let missing = sender(&signed, fields).await.unwrap_err();
    assert!(matches!(missing, Refusal::Signature(SignatureError::Uncovered { .. })));
    let keyed = peer().signer().sign(get.clone().header("idempotency-key", "k"), START).unwrap();
    assert!(sender(&keyed, fields).await.is_ok());
    let with_body = set(signed.clone(), "content-digest", &content_digest(b"x"));
    assert_eq!(sender(&with_body, &[]).await.unwrap_err().class(), Class::BadRequest);
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn what_is_signed_is_believed_and_no_byte_of_it_can_be_changed(
        text in "\\PC{0,40}",
        query in "[a-z=&%0-9]{0,12}",
        key in "[!-~]{1,20}",
        place in any::<proptest::sample::Index>(),
        part in 0..6_usize,
        flip in 1..128_u8,
    ) {
        let world = World::new();
        let mut activity = follow();
        activity["summary"] = text.into();
        let url = format!("https://b.example/inbox{}{query}", if query.is_empty() { "" } else { "?" });
        prop_assume!(Iri::parse(&url).is_ok());
        let request = Request::post(iri(&url), "application/activity+json", activity.to_string(), LIMITS);
        let mut request = peer().signer().sign(request.header("idempotency-key", key), START).unwrap();
        prop_assert!(run(world.receive(&request)).is_ok());
        let names = ["content-digest", "content-type", "idempotency-key", "signature", "signature-input"];
        if part == names.len() {
            let mut body = request.body.to_vec();
            let index = place.index(body.len());
            body[index] ^= flip;
            request.body = body.into();
        } else {
            let slot = request.headers.iter_mut().find(|(name, _)| name == names[part]).unwrap();
            let mut bytes = slot.1.clone().into_bytes();
            let index = place.index(bytes.len());
            bytes[index] ^= flip;
            prop_assume!((b'!'..=b'~').contains(&bytes[index]));
            let changed = String::from_utf8(bytes).unwrap();
            // Base64 has spare bits in its last letter: another text, the same signature.
            let same = |text: &str| sfv::Parser::new(text).parse::<sfv::Dictionary>().ok();
            prop_assume!(names[part] != "signature" || same(&changed) != same(&slot.1));
            slot.1 = changed;
        }
        prop_assert!(run(world.receive(&request)).is_err(), "{:?}", request);
    }
}

/// Signed as Mastodon does it.
fn draft_signed(body: &str, sender: &Signer, algorithm: &str) -> Request {
    sign_draft(post(body.to_owned()).header("digest", draft_digest(body.as_bytes())), sender, algorithm)
}

fn sign_draft(request: Request, sender: &Signer, algorithm: &str) -> Request {
    use base64::Engine as _;
    let covered = "(request-target) host date digest";
    let request = request.header("host", "b.example").header("date", "Tue, 14 Nov 2023 22:13:20 GMT");
    let header = |signature: &str| {
        let key_id = &sender.key_id;
        format!("keyId=\"{key_id}\",algorithm=\"{algorithm}\",headers=\"{covered}\",signature=\"{signature}\"")
    };
    let header_of = |name: &str| request.view().header_text(name).unwrap_or_default();
    let base = format!(
        "(request-target): post /inbox\nhost: b.example\ndate: {}\ndigest: {}",
        header_of("date"),
        header_of("digest")
    );
    let signature = base64::engine::general_purpose::STANDARD.encode(sender.secret.sign(base.as_bytes()));
    request.header("signature", header(&signature))
}

#[tokio::test]
async fn an_activity_signed_by_the_draft_is_believed() {
    let world = World::new();
    let body = follow().to_string();
    for (signer, algorithm) in
        [(peer().rsa_signer(), "rsa-sha256"), (peer().rsa_signer(), "hs2019"), (peer().signer(), "hs2019")]
    {
        let verified = world.receive(&draft_signed(&body, &signer, algorithm)).await.unwrap();
        assert_eq!((verified.actor(), verified.key_id()), (&peer().actor(), &signer.key_id));
    }
    assert_eq!(world.net.asked(), 1);
}

#[tokio::test]
async fn a_draft_signature_that_is_not_true_is_refused_with_its_rule() {
    let world = World::new();
    let (rsa, body) = (peer().rsa_signer(), follow().to_string());
    let good = || draft_signed(&body, &rsa, "rsa-sha256");
    let other = Signer { key_id: rsa.key_id.clone(), ..Peer::new("https://a.example/", 66).rsa_signer() };
    let mut other_body = good();
    other_body.body = "{}".into();
    let mut elsewhere = good();
    elsewhere.url = iri("https://b.example/other");
    let undigested = sign_draft(post(body.clone()), &rsa, "rsa-sha256");
    let cases: Vec<(Request, Class, Expected)> = vec![
        (draft_signed(&body, &other, "rsa-sha256"), Class::Forbidden, |r| matches!(r, Refusal::False { .. })),
        (elsewhere, Class::Forbidden, |r| matches!(r, Refusal::False { .. })),
        (other_body, Class::BadRequest, |r| matches!(r, Refusal::Digest(DigestError::Mismatch { .. }))),
        (set(good(), "digest", "md5=AAAA"), Class::Unauthorized, |r| {
            matches!(r, Refusal::Digest(DigestError::Unsupported))
        }),
        (set(good(), "digest", "SHA-256"), Class::BadRequest, |r| {
            matches!(r, Refusal::Digest(DigestError::MalformedDraft))
        }),
        (undigested, Class::Unauthorized, |r| matches!(r, Refusal::Digest(DigestError::MissingDraft))),
        (good().header("content-digest", content_digest(b"x")), Class::BadRequest, |r| {
            matches!(r, Refusal::Digest(DigestError::Mismatch { .. }))
        }),
        (set(good(), "host", "c.example"), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::Draft(_)))
        }),
        (draft_signed(&body, &peer().signer(), "rsa-sha256"), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::AlgorithmContradicts { .. }))
        }),
        (draft_signed(&body, &rsa, "hmac-sha256"), Class::Unauthorized, |r| {
            matches!(r, Refusal::Signature(SignatureError::AlgorithmContradicts { .. }))
        }),
    ];
    for (request, class, expected) in cases {
        let (given, refusal) = world.refuses(&request).await;
        assert!(given == class && expected(&refusal), "{given:?}: {refusal}");
    }
}

fn proved(by: &Peer, activity: &Value) -> Value {
    prove(activity, &by.keys.ed25519, &by.at("actor#ed25519"), START).unwrap()
}

#[tokio::test]
async fn an_unsigned_activity_with_a_proof_is_believed_as_its_actors() {
    let world = World::new();
    let request = post(proved(&peer(), &follow()).to_string());
    let verified = world.receive(&request).await.unwrap();
    assert_eq!((verified.actor(), verified.key_id()), (&peer().actor(), &peer().at("actor#ed25519")));
    assert_eq!(verified.sha256(), &sha256(&request.body));
    // What stands around the values may change on the way; what they say may not.
    let spaced = serde_json::to_string_pretty(&proved(&peer(), &follow())).unwrap();
    world.receive(&post(spaced)).await.unwrap();
    let relayed = set(request, "content-digest", &content_digest(b"x"));
    assert_eq!(world.refuses(&relayed).await.0, Class::BadRequest);
}

#[tokio::test]
async fn a_proof_that_is_not_the_actors_own_is_refused() {
    let world = World::new();
    let (stranger, neighbour) = (Peer::new("https://c.example/", 3), "https://a.example/neighbour");
    stranger.publish(&world.net);
    let mut altered = proved(&peer(), &follow());
    altered["object"] = "https://b.example/other".into();
    let mut claimed = follow();
    claimed["actor"] = neighbour.into();
    let rsa = prove(&follow(), &peer().keys.ed25519, &peer().at("actor#main-key"), START).unwrap();
    let old = START.minus(Duration::from_secs(8 * 86_400));
    let old = prove(&follow(), &peer().keys.ed25519, &peer().at("actor#ed25519"), old).unwrap();
    let cases: Vec<(Value, Class, Expected)> = vec![
        (altered, Class::Forbidden, |r| matches!(r, Refusal::FalseProof { .. })),
        (proved(&stranger, &follow()), Class::Forbidden, |r| matches!(r, Refusal::ForeignKey { .. })),
        (proved(&peer(), &claimed), Class::Forbidden, |r| matches!(r, Refusal::NotTheOwner { .. })),
        (rsa, Class::Unauthorized, |r| matches!(r, Refusal::Proof(ProofError::NotForProofs { .. }))),
        (old, Class::Unauthorized, |r| matches!(r, Refusal::Proof(ProofError::OutOfTime(_)))),
    ];
    for (activity, class, expected) in cases {
        let (given, refusal) = world.refuses(&post(activity.to_string())).await;
        assert!(given == class && expected(&refusal), "{given:?}: {refusal}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_for_assertions_proves_nothing() {
    let world = World::new();
    let mut document = peer().document();
    let pem = peer().keys.ed25519.public_pem();
    document["publicKey"] = json!({"id": peer().at("actor#ed25519"), "owner": peer().actor(), "publicKeyPem": pem});
    document["assertionMethod"] = json!([]);
    world.net.serve("https://a.example/actor", &document);
    world.receive(&signed(&follow())).await.unwrap();
    let (class, refusal) = world.refuses(&post(proved(&peer(), &follow()).to_string())).await;
    assert_eq!(class, Class::Unauthorized);
    assert!(matches!(refusal, Refusal::Proof(ProofError::NotForProofs { .. })), "{refusal}");
}

#[tokio::test]
async fn a_proof_saves_no_request_whose_signature_is_false() {
    let world = World::new();
    let forger = Peer::new("https://a.example/", 66);
    let body = proved(&peer(), &follow()).to_string();
    let (class, refusal) = world.refuses(&forger.signer().sign(post(body), START).unwrap()).await;
    assert!(class == Class::Forbidden && matches!(refusal, Refusal::False { .. }), "{refusal}");
}

#[tokio::test]
async fn unsigned_bytes_that_are_no_activity_with_a_proof_fetch_nothing() {
    let world = World::new();
    let twice = proved(&peer(), &follow()).to_string().replacen('{', "{\"id\":\"https://a.example/2\",", 1);
    let foreign = proved(
        &peer(),
        &json!({
            "id": "https://c.example/1", "type": "Follow", "actor": peer().actor(), "object": "https://b.example/actor",
        }),
    );
    let mut unsupported = proved(&peer(), &follow());
    unsupported["proof"]["cryptosuite"] = "eddsa-rdfc-2022".into();
    let cases: Vec<(String, Class, Expected)> = vec![
        (twice, Class::Unauthorized, |r| matches!(r, Refusal::Signature(SignatureError::Unsigned))),
        ("{".to_owned(), Class::Unauthorized, |r| matches!(r, Refusal::Signature(SignatureError::Unsigned))),
        (" ".repeat(1024 * 1024 + 1), Class::TooLarge, |r| matches!(r, Refusal::TooLarge { .. })),
        (foreign.to_string(), Class::Forbidden, |r| matches!(r, Refusal::ForeignId { .. })),
        (unsupported.to_string(), Class::Unauthorized, |r| matches!(r, Refusal::Proof(ProofError::Unsupported))),
    ];
    for (body, class, expected) in cases {
        let (given, refusal) = world.refuses(&post(body)).await;
        assert!(given == class && expected(&refusal), "{given:?}: {refusal}");
    }
    assert_eq!(world.net.asked(), 0);
}
