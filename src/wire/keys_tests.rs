//! What strangers can and cannot make the key cache do.

use std::collections::BTreeSet;

use futures_util::future::{FutureExt, join_all};
use serde_json::json;

use super::*;
use crate::domains::blocks::Domain;
use crate::wire::for_tests::{Net, Peer, StepClock, iri, ok};
use crate::wire::key::{Kind, PublicKey};
use crate::wire::transport::Response;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Whether an error is the one that is meant.
type Expected = fn(&KeyError) -> bool;

struct World {
    net: Arc<Net>,
    clock: Arc<StepClock>,
    cache: KeyCache,
}

fn world_with(settings: KeySettings, pairs: BTreeMap<Iri, Pair>) -> World {
    let (net, clock) = (Net::shared(), StepClock::start());
    let own = Authority::parse("b.example").unwrap();
    let cache = KeyCache::new(net.clone(), clock.clone(), own, pairs, settings);
    World { net, clock, cache }
}

fn world() -> World {
    world_with(KeySettings::default(), BTreeMap::new())
}

fn peer() -> Peer {
    Peer::new("https://a.example/", 1)
}

fn key_id() -> Iri {
    iri("https://a.example/actor#ed25519")
}

fn rsa_id() -> Iri {
    iri("https://a.example/actor#main-key")
}

#[tokio::test]
async fn a_key_is_fetched_once_and_kept_for_a_day() {
    let world = world();
    peer().publish(&world.net);
    let found = world.cache.key(&key_id()).await.unwrap();
    assert_eq!((&found.actor, &found.key_id), (&peer().actor(), &key_id()));
    assert_eq!(found.inbox, Some(iri("https://a.example/inbox")));
    assert_eq!(found.shared_inbox, found.inbox);
    assert_eq!(found.key.algorithm(), Some(crate::wire::signature::Algorithm::Ed25519));
    world.clock.step(HOUR * 23);
    world.cache.key(&iri("https://a.example/actor#main-key")).await.unwrap();
    assert_eq!(world.cache.actor(&peer().actor()).await.unwrap().inbox, iri("https://a.example/inbox"));
    assert_eq!(world.net.asked(), 1);
    world.clock.step(HOUR);
    world.cache.key(&key_id()).await.unwrap();
    assert_eq!(world.net.asked(), 2);
}

#[tokio::test]
async fn a_hundred_askers_make_one_fetch_also_when_it_fails() {
    let (world, ids) = (world(), vec![key_id(); 100]);
    let answers = join_all(ids.iter().map(|id| world.cache.key(id))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(KeyError::Status { status: 404, .. }))));
    assert_eq!(world.net.asked(), 1);
    world.clock.step(MINUTE);
    peer().publish(&world.net);
    assert!(join_all(ids.iter().map(|id| world.cache.key(id))).await.iter().all(Result::is_ok));
    assert_eq!(world.net.asked(), 2);
    assert!(world.cache.turns.lock().values().all(|turn| turn.strong_count() == 0));
}

#[tokio::test]
async fn an_asker_who_goes_away_blocks_nobody() {
    let world = world();
    peer().publish(&world.net);
    assert!(world.cache.key(&key_id()).now_or_never().is_none(), "the net takes a moment");
    assert!(world.cache.key(&key_id()).await.is_ok());
    assert_eq!(world.net.asked(), 2);
}

#[tokio::test]
async fn a_failure_is_remembered_longer_each_time_up_to_an_hour() {
    let world = world();
    let mut expected = MINUTE;
    for round in 1..=9 {
        assert!(world.cache.key(&key_id()).await.is_err());
        assert_eq!(world.cache.retry_after(&key_id()), expected);
        world.clock.step(expected - Duration::from_millis(1));
        assert!(world.cache.key(&key_id()).await.is_err());
        assert_eq!(world.net.asked(), round);
        world.clock.step(Duration::from_millis(1));
        expected = (expected * 2).min(HOUR);
    }
    peer().publish(&world.net);
    assert!(world.cache.key(&key_id()).await.is_ok());
    assert_eq!(world.cache.retry_after(&key_id()), Duration::from_secs(1));
}

#[tokio::test]
async fn who_could_not_be_reached_is_asked_again_soon_and_then_ever_later() {
    let world = world();
    *world.net.down.lock() = true;
    for seconds in [5, 10, 20] {
        assert!(world.cache.key(&key_id()).await.unwrap_err().is_passing());
        assert_eq!(world.cache.retry_after(&key_id()), Duration::from_secs(seconds));
        world.clock.step(Duration::from_secs(seconds));
    }
    *world.net.down.lock() = false;
    peer().publish(&world.net);
    assert!(world.cache.key(&key_id()).await.is_ok());
    assert_eq!(world.net.asked(), 4);
}

#[tokio::test]
async fn a_delivery_looks_for_its_recipient_whatever_failed_before() {
    let world = world();
    assert!(world.cache.key(&key_id()).await.is_err());
    assert!(world.cache.recipient(&peer().actor()).await.is_err());
    assert_eq!(world.net.asked(), 2);
    assert_eq!(world.cache.retry_after(&key_id()), MINUTE, "a delivery makes nobody else wait longer");
    peer().publish(&world.net);
    assert!(world.cache.key(&key_id()).await.is_err(), "still remembered");
    assert_eq!(world.cache.recipient(&peer().actor()).await.unwrap().inbox, iri("https://a.example/inbox"));
    assert!(world.cache.key(&key_id()).await.is_ok(), "what a delivery found is known");
    world.cache.recipient(&peer().actor()).await.unwrap();
    assert_eq!(world.net.asked(), 3);
    assert!(matches!(world.cache.recipient(&iri("https://b.example/actor")).await, Err(KeyError::Ourselves { .. })));
}

#[tokio::test]
async fn a_stale_key_is_fetched_anew_once_in_five_minutes() {
    let world = world();
    peer().publish(&world.net);
    let old = world.cache.key(&key_id()).await.unwrap();
    assert!(world.cache.refresh(&old).await.unwrap().is_none(), "fetched just now");
    world.clock.step(MINUTE);
    Peer::new("https://a.example/", 2).publish(&world.net);
    let newer = join_all([world.cache.refresh(&old), world.cache.refresh(&old)]).await;
    for newer in newer {
        let Key::Public(key) = &newer.unwrap().unwrap().key else { panic!("not a public key") };
        assert_eq!(*key, Peer::new("https://a.example/", 2).keys.ed25519.public());
    }
    assert_eq!(world.net.asked(), 2);
    let current = world.cache.key(&key_id()).await.unwrap();
    world.clock.step(MINUTE * 4);
    assert!(world.cache.refresh(&current).await.unwrap().is_none());
    world.clock.step(MINUTE);
    assert!(world.cache.refresh(&current).await.unwrap().is_some());
    assert_eq!(world.net.asked(), 3);
}

#[tokio::test]
async fn a_document_that_its_owner_says_has_changed_is_fetched_by_who_needs_it_and_once_in_five_minutes() {
    let world = world();
    world.cache.doubt(&peer().actor());
    assert_eq!(world.net.asked(), 0, "nothing is fetched of whom nobody asked for");
    peer().publish(&world.net);
    world.cache.key(&key_id()).await.unwrap();
    let moves = |to: &str| {
        let mut document = peer().document();
        document["inbox"] = to.into();
        world.net.serve("https://a.example/actor", &document);
        world.cache.doubt(&peer().actor());
    };
    let mailbox = async || world.cache.mailbox(&peer().actor()).await.unwrap().map(|it| it.inbox.to_string());
    let recipient = async || world.cache.recipient(&peer().actor()).await.unwrap().inbox.to_string();
    world.clock.step(MINUTE);
    moves("https://a.example/2");
    assert_eq!(world.net.asked(), 1, "to doubt is to fetch nothing");
    let id = key_id();
    let found = join_all((0..10).map(|_| world.cache.key(&id))).await;
    assert!(found.into_iter().all(|found| found.unwrap().inbox == Some(iri("https://a.example/2"))));
    assert_eq!((mailbox().await, world.net.asked()), (Some("https://a.example/2".into()), 2));
    world.clock.step(MINUTE);
    for _ in 0..20 {
        moves("https://a.example/3");
        assert_eq!((mailbox().await, recipient().await), (None, "https://a.example/2".into()), "too soon");
        world.cache.key(&key_id()).await.unwrap();
    }
    assert_eq!(world.net.asked(), 2);
    world.clock.step(MINUTE * 4);
    assert_eq!(recipient().await, "https://a.example/3");
    assert_eq!((mailbox().await, world.net.asked()), (Some("https://a.example/3".into()), 3));
}

#[tokio::test]
async fn a_doubted_document_serves_while_its_server_is_away_and_not_once_it_is_gone() {
    let world = world();
    peer().publish(&world.net);
    world.cache.key(&key_id()).await.unwrap();
    world.clock.step(MINUTE);
    world.cache.doubt(&peer().actor());
    *world.net.down.lock() = true;
    assert!(world.cache.key(&key_id()).await.is_ok());
    assert_eq!(world.cache.mailbox(&peer().actor()).await.unwrap(), None);
    assert_eq!(world.net.asked(), 2);
    *world.net.down.lock() = false;
    world.net.documents.lock().clear();
    world.clock.step(MINUTE);
    assert!(matches!(world.cache.mailbox(&peer().actor()).await, Err(KeyError::Status { status: 404, .. })));
    assert!(world.cache.key(&key_id()).await.is_err());
}

#[tokio::test]
async fn a_pair_takes_mail_where_the_configuration_says() {
    let secret = PairSecret::new(&[9; 32]).unwrap();
    let pair = Pair { secret, inbox: Some(iri("https://a.example/pair")) };
    let world = world_with(KeySettings::default(), [(peer().actor(), pair)].into());
    peer().publish(&world.net);
    let mailbox = world.cache.mailbox(&peer().actor()).await.unwrap().unwrap();
    assert_eq!((mailbox.inbox, mailbox.shared_inbox), (iri("https://a.example/pair"), None));
    assert_eq!(world.net.asked(), 0);
}

#[tokio::test]
async fn a_key_that_is_new_in_a_known_document_is_found_and_made_up_ones_cost_nothing() {
    let world = world();
    peer().publish(&world.net);
    world.cache.key(&key_id()).await.unwrap();
    world.clock.step(MINUTE);
    let mut document = peer().document();
    document["assertionMethod"][0]["id"] = "https://a.example/actor#rotated".into();
    world.net.serve("https://a.example/actor", &document);
    assert!(world.cache.key(&iri("https://a.example/actor#rotated")).await.is_ok());
    world.clock.step(MINUTE);
    for number in 0..50 {
        let made_up = iri(&format!("https://a.example/actor#{number}"));
        let error = world.cache.key(&made_up).await.unwrap_err();
        assert!(matches!(error, KeyError::NotYet { .. }) && error.is_passing(), "{error}");
    }
    assert_eq!(world.net.asked(), 2);
    // Who rotates twice in a row is heard when it is time for another look, and is told when that is.
    document["assertionMethod"][0]["id"] = "https://a.example/actor#once-more".into();
    world.net.serve("https://a.example/actor", &document);
    let once_more = iri("https://a.example/actor#once-more");
    let error = world.cache.key(&once_more).await.unwrap_err();
    assert_eq!(world.cache.retry_after(error.document().unwrap()), 4 * MINUTE);
    world.clock.step(4 * MINUTE);
    assert!(world.cache.key(&once_more).await.is_ok());
    world.clock.step(HOUR);
    assert!(matches!(world.cache.key(&iri("https://a.example/actor#0")).await, Err(KeyError::NotPublished { .. })));
}

#[tokio::test]
async fn a_refresh_that_fails_in_passing_keeps_the_key_and_says_so() {
    let world = world();
    peer().publish(&world.net);
    let old = world.cache.key(&key_id()).await.unwrap();
    world.clock.step(HOUR);
    *world.net.down.lock() = true;
    for _ in 0..3 {
        let error = world.cache.refresh(&old).await.unwrap_err();
        assert!(error.is_passing(), "{error}");
        assert_eq!(world.cache.retry_after(&key_id()), MINUTE);
    }
    assert_eq!(world.net.asked(), 2);
    assert!(world.cache.key(&key_id()).await.is_ok());
    *world.net.down.lock() = false;
    world.clock.step(MINUTE);
    assert!(world.cache.refresh(&old).await.unwrap().is_some());
}

#[tokio::test]
async fn a_document_that_is_gone_takes_its_keys_along() {
    let world = world();
    peer().publish(&world.net);
    let old = world.cache.key(&key_id()).await.unwrap();
    world.clock.step(HOUR);
    world.net.documents.lock().clear();
    assert!(matches!(world.cache.refresh(&old).await, Err(KeyError::Status { status: 404, .. })));
    assert!(matches!(world.cache.key(&key_id()).await, Err(KeyError::Status { status: 404, .. })));
    assert_eq!(world.net.asked(), 2);
}

#[tokio::test]
async fn every_document_that_is_no_good_is_refused_with_its_reason() {
    use KeyError as E;
    let actor = "https://a.example/actor";
    let mut other = peer().document();
    other["id"] = "https://c.example/actor".into();
    let mut foreign = peer().document();
    foreign["assertionMethod"][0]["controller"] = "https://c.example/actor".into();
    let plain =
        Response { headers: vec![("content-type".into(), "application/json".into())], ..ok(&peer().document()) };
    let redirect = Response { status: 302, ..ok(&json!({})) };
    let busy = Response { status: 503, ..ok(&json!({})) };
    let twice = Response { body: "{\"id\":1,\"id\":2}".into(), ..ok(&json!({})) };
    let deep = Response { body: "[".repeat(65).into(), ..ok(&json!({})) };
    let huge = Response { body: vec![b' '; 64 * 1024 + 1].into(), ..ok(&json!({})) };
    let cases: [(Response, Expected); 9] = [
        (ok(&other), |error| matches!(error, E::Document(_))),
        (ok(&foreign), |error| matches!(error, E::NotUsable { .. })),
        (ok(&json!({"id": "https://a.example/actor", "type": "Note"})), |error| matches!(error, E::Document(_))),
        (plain, |error| matches!(error, E::MediaType { .. })),
        (redirect, |error| matches!(error, E::Status { status: 302, .. }) && !error.is_passing()),
        (busy, |error| matches!(error, E::Status { status: 503, .. }) && error.is_passing()),
        (twice, |error| matches!(error, E::Json { .. })),
        (deep, |error| matches!(error, E::Json { .. })),
        (huge, |error| matches!(error, E::Transport { .. })),
    ];
    for (response, expected) in cases {
        let world = world();
        world.net.serve_response(actor, response);
        let error = world.cache.key(&key_id()).await.unwrap_err();
        assert!(expected(&error), "{error}");
    }
}

#[tokio::test]
async fn keys_of_kinds_that_cannot_be_checked_are_found_and_named() {
    let world = world();
    let mut document = peer().document();
    document["publicKey"]["publicKeyPem"] = include_str!("../../tests/vectors/rsa/ec_public.pem").into();
    world.net.serve("https://a.example/actor", &document);
    let found = world.cache.key(&rsa_id()).await.unwrap();
    assert!(matches!(found.key, Key::Public(PublicKey::Unsupported(Kind::EllipticCurve))));
    assert_eq!(found.key.algorithm(), None);
}

#[tokio::test]
async fn a_pair_secret_comes_from_configuration_and_is_never_fetched() {
    let secret = PairSecret::new(&[9; 32]).unwrap();
    let pairs = [(iri("https://a.example/actor"), Pair { secret, inbox: Some(iri("https://a.example/inbox")) })];
    let world = world_with(KeySettings::default(), pairs.into());
    peer().publish(&world.net);
    let found = world.cache.key(&iri("https://a.example/actor#hmac")).await.unwrap();
    assert_eq!((&found.actor, &found.inbox), (&peer().actor(), &Some(iri("https://a.example/inbox"))));
    assert!(matches!(found.key, Key::Pair(_)));
    assert!(world.cache.refresh(&found).await.unwrap().is_none());
    let other = world.cache.key(&iri("https://c.example/actor#hmac")).await;
    assert!(matches!(other, Err(KeyError::NoPair { .. })));
    assert_eq!(world.net.asked(), 0);
}

#[tokio::test]
async fn our_own_keys_are_never_fetched() {
    let world = world();
    assert!(matches!(world.cache.key(&iri("https://b.example/actor#k")).await, Err(KeyError::Ourselves { .. })));
    assert_eq!(world.net.asked(), 0);
}

#[tokio::test]
async fn failures_of_strangers_push_out_no_key_and_fetches_are_few_at_once() {
    let settings = KeySettings { documents_max: 2, fetches_max: 1, ..KeySettings::default() };
    let world = world_with(settings, BTreeMap::new());
    peer().publish(&world.net);
    world.cache.key(&key_id()).await.unwrap();
    for number in 0..10 {
        let stranger = iri(&format!("https://s{number}.example/actor#k"));
        assert!(world.cache.key(&stranger).await.is_err());
    }
    world.cache.key(&key_id()).await.unwrap();
    assert_eq!(world.net.asked(), 11);
    let (one, two) = (iri("https://x.example/actor#k"), iri("https://y.example/actor#k"));
    let answers = join_all([world.cache.key(&one), world.cache.key(&two)]).await;
    assert!(matches!(answers[1], Err(KeyError::Busy { .. })) && answers[1].as_ref().unwrap_err().is_passing());
    assert!(world.cache.turns.lock().len() <= 2);
}

#[tokio::test]
async fn nothing_is_asked_of_who_is_blocked_and_what_is_known_of_them_does_not_count() {
    let World { net, clock, cache } = world();
    peer().publish(&net);
    cache.key(&key_id()).await.unwrap();
    let only = BTreeSet::from([Domain::parse("c.example").unwrap()]);
    let engine = crate::store::MemoryEngine::default();
    let blocks = Blocklist::load(&engine, Some(only)).await.unwrap();
    let cache = cache.blocking(Arc::new(blocks));
    clock.step(HOUR * 48);
    let pair = iri("https://a.example/actor#hmac");
    for refused in [
        cache.key(&key_id()).await.err(),
        cache.key(&pair).await.err(),
        cache.actor(&peer().actor()).await.err(),
        cache.recipient(&peer().actor()).await.err(),
        cache.mailbox(&peer().actor()).await.err(),
    ] {
        let refused = refused.unwrap();
        assert!(matches!(refused, KeyError::Blocked(_)) && !refused.is_passing(), "{refused}");
    }
    assert_eq!(net.asked(), 1);
}
