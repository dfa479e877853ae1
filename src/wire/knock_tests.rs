//! Peers that take one kind of signature only, and what a delivery makes of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::*;
use crate::store::memory::MemoryEngine;
use crate::wire::call::Caller;
use crate::wire::for_tests::{LIMITS, Peer, StepClock, iri, keys, ok};
use crate::wire::key::PairSecret;
use crate::wire::keys::{KeyCache, KeySettings};
use crate::wire::runners::RunnerBook;
use crate::wire::signers::Signers;
use crate::wire::transport::{Transport, TransportError};

type Script = dyn Fn(&Request, Option<Scheme>) -> Response + Send + Sync;

/// Answers posts as a script says, by how they were signed, and serves its actor document.
struct Server {
    script: Box<Script>,
    got: Mutex<Vec<Request>>,
}

impl Transport for Server {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        let answer = match request.method {
            "GET" => ok(&peer().document()),
            _ => (self.script)(&request, scheme_of(&request)),
        };
        self.got.lock().push(request);
        Box::pin(async move { Ok(answer) })
    }
}

impl Server {
    fn schemes(&self) -> Vec<Option<Scheme>> {
        self.got.lock().iter().filter(|request| request.method == "POST").map(scheme_of).collect()
    }
}

fn header(request: &Request, name: &str) -> String {
    request.view().header_text(name).unwrap_or_default()
}

/// None for the secret of a pair.
fn scheme_of(request: &Request) -> Option<Scheme> {
    let input = header(request, "signature-input");
    match () {
        () if input.is_empty() => Some(Scheme::Draft),
        () if input.contains("#ed25519\"") => Some(Scheme::Ed25519),
        () if input.contains("#main-key\"") => Some(Scheme::Rsa),
        () => None,
    }
}

fn peer() -> Peer {
    Peer::new("https://b.example/", 2)
}

fn answer(status: u16, detail: &str) -> Response {
    let body = serde_json::json!({ "detail": detail }).to_string().into();
    Response { status, headers: vec![("content-type".into(), "application/problem+json".into())], body }
}

/// A peer that takes some schemes only, and says no to others with a status.
fn takes(taken: &'static [Scheme], no: u16) -> Arc<Server> {
    server(move |_, scheme| match scheme {
        Some(scheme) if taken.contains(&scheme) => answer(202, ""),
        scheme => answer(no, &format!("not {scheme:?}")),
    })
}

fn server(script: impl Fn(&Request, Option<Scheme>) -> Response + Send + Sync + 'static) -> Arc<Server> {
    Arc::new(Server { script: Box::new(script), got: Mutex::default() })
}

fn deliverer(server: &Arc<Server>, pairs: impl IntoIterator<Item = PairSecret>) -> Deliverer {
    let clock = StepClock::start();
    let transport: Arc<dyn Transport> = server.clone();
    let own = iri("https://a.example/").authority();
    let cache = KeyCache::new(transport.clone(), clock.clone(), own, BTreeMap::new(), KeySettings::default());
    let pairs = pairs.into_iter().map(|secret| (iri("https://b.example/").authority(), secret));
    let caller = || Caller { transport: transport.clone(), secrets: Arc::default() };
    Deliverer {
        engine: Arc::new(MemoryEngine::default()),
        keys: Arc::new(cache),
        clock: clock.clone(),
        signers: Signers::new(&iri("https://a.example/actor"), keys(1), pairs),
        caller: caller(),
        lent: caller(),
        runners: Arc::new(RunnerBook::new(transport.clone(), clock, LIMITS.deadline)),
        deadline: LIMITS.deadline,
        proofs: false,
        sign_with: None,
        transport: transport.clone(),
    }
}

fn post() -> Request {
    Request::post(iri("https://b.example/inbox"), "application/activity+json", "{}", LIMITS)
}

/// Status, reason, and the scheme that was learned.
fn outcome(report: Report) -> (u16, String, Option<Scheme>) {
    match report {
        Report::Answered { status, detail, scheme, .. } => (status, detail, scheme),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stranger_is_tried_with_rsa_and_then_the_old_way_which_is_remembered() {
    let old = takes(&[Scheme::Draft], 401);
    assert_eq!(outcome(deliverer(&old, []).knock(post(), None, 0).await), (202, String::new(), Some(Scheme::Draft)));
    assert_eq!(old.schemes(), [Some(Scheme::Rsa), Some(Scheme::Draft)]);
    let new = takes(&[Scheme::Rsa, Scheme::Draft], 401);
    // That the usual way works is nothing to remember: who turns out to be a node like this one gets a better one.
    assert_eq!(outcome(deliverer(&new, []).knock(post(), None, 0).await).2, None);
    assert_eq!(new.schemes(), [Some(Scheme::Rsa)]);
}

#[tokio::test]
async fn a_node_like_this_one_is_tried_with_ed25519() {
    let server = takes(&[Scheme::Ed25519, Scheme::Rsa], 401);
    let deliverer = deliverer(&server, []);
    deliverer.keys.actor(&peer().actor()).await.unwrap();
    assert_eq!(outcome(deliverer.knock(post(), None, 0).await).2, Some(Scheme::Ed25519));
    assert_eq!(server.schemes(), [Some(Scheme::Ed25519)]);
    let refusing = takes(&[Scheme::Rsa], 401);
    let wrong_about_it = Deliverer { transport: refusing.clone(), ..deliverer };
    assert_eq!(outcome(wrong_about_it.knock(post(), None, 0).await).2, Some(Scheme::Rsa));
    let old = Deliverer { transport: takes(&[Scheme::Draft], 401), ..wrong_about_it };
    assert_eq!(outcome(old.knock(post(), None, 0).await).0, 401);
    assert_eq!(outcome(old.knock(post(), None, 1).await).2, Some(Scheme::Draft));
}

#[tokio::test]
async fn what_a_peer_took_last_comes_first_and_is_no_news() {
    for scheme in [Scheme::Ed25519, Scheme::Rsa, Scheme::Draft] {
        let server = takes(&[Scheme::Ed25519, Scheme::Rsa, Scheme::Draft], 401);
        assert_eq!(outcome(deliverer(&server, []).knock(post(), Some(scheme), 0).await), (202, String::new(), None));
        assert_eq!(server.schemes(), [Some(scheme)]);
    }
    let changed = takes(&[Scheme::Rsa], 403);
    assert_eq!(outcome(deliverer(&changed, []).knock(post(), Some(Scheme::Draft), 0).await).2, Some(Scheme::Rsa));
}

#[tokio::test]
async fn a_peer_that_refuses_both_gives_the_reason_of_the_first() {
    let server = takes(&[Scheme::Ed25519], 401);
    let deliverer = deliverer(&server, []);
    assert_eq!(outcome(deliverer.knock(post(), None, 0).await), (401, "not Some(Rsa)".into(), None));
    assert_eq!(server.schemes().len(), 2);
    assert_eq!(outcome(deliverer.knock(post(), None, 1).await), (202, String::new(), Some(Scheme::Ed25519)));
    assert_eq!(server.schemes()[2..], [Some(Scheme::Ed25519)]);
}

#[tokio::test]
async fn only_an_answer_that_may_mean_the_signature_is_worth_another_knock() {
    for (status, known, knocks) in [
        (400, None, 2),
        (400, Some(Scheme::Rsa), 1),
        (403, Some(Scheme::Rsa), 2),
        (404, None, 1),
        (409, None, 1),
        (429, None, 1),
        (503, None, 1),
    ] {
        let server = takes(&[], status);
        assert_eq!(outcome(deliverer(&server, []).knock(post(), known, 0).await).0, status);
        assert_eq!(server.schemes().len(), knocks, "{status} {known:?}");
    }
    // What the second knock finds out counts, also when that is no yes.
    let busy = server(|_, scheme| if scheme == Some(Scheme::Draft) { answer(503, "busy") } else { answer(401, "no") });
    assert_eq!(outcome(deliverer(&busy, []).knock(post(), None, 0).await), (503, "busy".into(), None));
}

#[tokio::test]
async fn a_pair_is_signed_for_with_its_secret_and_nothing_else() {
    let server = takes(&[], 401);
    let secret = PairSecret::new(&[5; 48]).unwrap();
    assert_eq!(outcome(deliverer(&server, [secret]).knock(post(), None, 0).await).0, 401);
    assert_eq!(server.schemes(), [None]);
}

/// What a peer gets that refuses first and asks for `asked`, behind the first request.
async fn asked_for(asked: &'static str) -> (Request, Report) {
    let server = server(move |request, _| match header(request, "signature-input").contains("nonce=\"n1\"") {
        true => answer(202, ""),
        false => {
            let mut no = answer(401, "no");
            no.headers.push(("accept-signature".into(), asked.into()));
            no
        }
    });
    let report = deliverer(&server, []).knock(post(), None, 0).await;
    let mut got = server.got.lock();
    assert_eq!(got.len(), 2);
    (got.remove(1), report)
}

#[tokio::test]
async fn a_signature_that_is_asked_for_is_made_as_it_is_asked_for() {
    let (request, report) = asked_for(
        "c1=(\"@target-uri\" \"@method\" \"content-digest\" \"@authority\");created;expires;alg=\"ed25519\";nonce=\"n1\";tag=\"t\"",
    )
    .await;
    assert_eq!(
        header(&request, "signature-input"),
        "c1=(\"@target-uri\" \"@method\" \"content-digest\" \"@authority\");created=1700000000;expires=1700000300;\
         nonce=\"n1\";tag=\"t\";keyid=\"https://a.example/actor#ed25519\""
    );
    assert!(header(&request, "signature").starts_with("c1=:"));
    assert_eq!(outcome(report).2, Some(Scheme::Ed25519));
    let covered = "(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\"";
    for (asked, scheme) in [
        ("a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\"", Scheme::Rsa),
        (
            "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";keyid=\"https://a.example/actor#ed25519\"",
            Scheme::Ed25519,
        ),
        ("x=(\"@status\");nonce=\"n1\", a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\"", Scheme::Rsa),
    ] {
        let (request, _) = asked_for(asked).await;
        assert!(header(&request, "signature-input").contains(&covered[..40]), "{asked}");
        assert_eq!(scheme_of(&request), Some(scheme), "{asked}");
    }
}

#[tokio::test]
async fn what_cannot_or_should_not_be_signed_so_is_signed_the_other_way() {
    for asked in [
        "",
        "(",
        "a",
        "a=()",
        "a=(\"@method\");nonce=\"n1\"",
        "a=(\"@method\" \"@target-uri\");nonce=\"n1\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\" \"x-absent\");nonce=\"n1\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\" \"@method\");nonce=\"n1\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";alg=\"rsa-pss-sha512\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";alg=\"hmac-sha256\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";keyid=\"https://c.example/k\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";keyid=\"https://a.example/actor#ed25519\";alg=\"rsa-v1_5-sha256\"",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";created=5",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\";unknown",
        "a=(\"@method\" \"@target-uri\" \"content-digest\");nonce=\"n1\", a=()",
    ] {
        let (request, report) = asked_for(asked).await;
        assert_eq!((scheme_of(&request), outcome(report).0), (Some(Scheme::Draft), 401), "{asked}");
    }
}

#[test]
fn what_this_node_asks_for_is_what_it_demands() {
    use crate::wire::challenge::wanted;
    assert_eq!(wanted(true, false), "sig=(\"@method\" \"@target-uri\" \"content-digest\" \"content-type\");created");
    assert_eq!(wanted(false, true), "sig=(\"@method\" \"@target-uri\" \"idempotency-key\");created");
    let refusal = Response { headers: vec![("accept-signature".into(), wanted(true, false))], ..answer(401, "") };
    let signers = Signers::new(&iri("https://a.example/actor"), keys(1), []);
    let now = crate::wire::for_tests::START.plus(Duration::from_secs(1));
    assert!(challenge::answer(&refusal, &signers.pen(), &post(), now).is_some());
}
