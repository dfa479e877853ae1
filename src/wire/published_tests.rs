//! Keys with a page of their own, as GoToSocial has them, and documents that are shown only to whoever signs.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::domains::identity::Authority;
use crate::wire::for_tests::{Net, Peer, StepClock, iri};
use crate::wire::keys::{KeyCache, KeySettings};
use crate::wire::refusal::Refusal;
use crate::wire::verify::{VerifyLimits, verify_sender};

const KEY: &str = "https://a.example/actor/main-key";
const ACTOR: &str = "https://a.example/actor";

struct World {
    net: Arc<Net>,
    clock: Arc<StepClock>,
    cache: KeyCache,
}

fn cache(net: &Arc<Net>, clock: &Arc<StepClock>, own: &str) -> KeyCache {
    let own = Authority::parse(own).unwrap();
    KeyCache::new(net.clone(), clock.clone(), own, BTreeMap::new(), KeySettings::default())
}

/// A node that signs, and a peer whose key has a page of its own.
fn world() -> World {
    let (net, clock) = (Net::shared(), StepClock::start());
    let cache = cache(&net, &clock, "b.example").signing(Signers::new(&us().actor(), us().keys, []));
    net.serve(ACTOR, &actor(1));
    net.serve(KEY, &page(ACTOR));
    World { net, clock, cache }
}

fn us() -> Peer {
    Peer::new("https://b.example/", 2)
}

fn actor(seed: u8) -> Value {
    let mut document = Peer::new("https://a.example/", seed).document();
    document["publicKey"]["id"] = KEY.into();
    document
}

/// What GoToSocial shows of an actor at the address of its key.
fn page(owner: &str) -> Value {
    let key = json!({"id": KEY, "owner": owner, "publicKeyPem": actor(1)["publicKey"]["publicKeyPem"]});
    json!({"id": owner, "type": "Person", "preferredUsername": "a", "publicKey": key})
}

#[tokio::test]
async fn a_key_with_a_page_of_its_own_is_that_of_the_actor_which_publishes_it() {
    let key_id = iri(KEY);
    let bare = json!({"id": KEY, "type": "Key", "owner": ACTOR, "publicKeyPem": "?"});
    let mut without_owner = page(ACTOR);
    without_owner["publicKey"].as_object_mut().unwrap().remove("owner");
    for page in [page(ACTOR), bare, without_owner] {
        let World { net, clock, cache } = world();
        net.serve(KEY, &page);
        let answers = join_all([&key_id; 20].map(|id| cache.key(id))).await;
        let found = answers[0].as_ref().unwrap();
        assert_eq!((&found.key_id, found.actor.as_str()), (&key_id, ACTOR));
        assert_eq!(found.inbox, Some(iri("https://a.example/inbox")));
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(net.asked(), 2, "the page and the actor, once each");
        clock.step(Duration::from_secs(23 * 60 * 60));
        cache.key(&key_id).await.unwrap();
        assert_eq!(net.asked(), 2);
        clock.step(Duration::from_secs(60 * 60));
        cache.key(&key_id).await.unwrap();
        assert_eq!(net.asked(), 4);
    }
}

#[tokio::test]
async fn a_key_with_a_page_of_its_own_that_seems_to_have_changed_is_looked_up_at_its_owner() {
    let World { net, clock, cache } = world();
    let stale = cache.key(&iri(KEY)).await.unwrap();
    net.serve(ACTOR, &actor(2));
    clock.step(Duration::from_secs(1));
    let newer = cache.refresh(&stale).await.unwrap().unwrap();
    assert!(newer.fetched_at > stale.fetched_at);
    assert_eq!(net.asked(), 3);
    assert!(cache.refresh(&newer).await.unwrap().is_none());
    assert_eq!(net.asked(), 3);
}

#[tokio::test]
async fn a_page_that_leads_to_another_authority_is_refused_without_a_second_fetch() {
    let World { net, clock, cache } = world();
    net.serve(KEY, &page("https://c.example/actor"));
    for _ in 0..3 {
        let error = cache.key(&iri(KEY)).await.unwrap_err();
        assert!(matches!(&error, KeyError::Document(DocumentError::ForeignOwner { .. })), "{error}");
    }
    assert_eq!(net.asked(), 1);
    clock.step(Duration::from_secs(60));
    cache.key(&iri(KEY)).await.unwrap_err();
    assert_eq!(net.asked(), 2, "asked again as seldom as anything that is refused");
}

#[tokio::test]
async fn a_page_that_names_an_actor_which_does_not_publish_the_key_is_refused() {
    let World { net, cache, .. } = world();
    net.serve(ACTOR, &Peer::new("https://a.example/", 1).document());
    for _ in 0..3 {
        let error = cache.key(&iri(KEY)).await.unwrap_err();
        assert!(matches!(&error, KeyError::NotPublished { document, .. } if document.as_str() == ACTOR), "{error}");
    }
    assert_eq!(net.asked(), 2);
    // One that lists it for somebody else does not publish it either.
    let World { net, cache, .. } = world();
    let mut neighbour = actor(1);
    neighbour["publicKey"]["owner"] = "https://a.example/neighbour".into();
    net.serve(ACTOR, &neighbour);
    assert!(matches!(cache.key(&iri(KEY)).await, Err(KeyError::NotUsable { .. })));
}

#[tokio::test]
async fn no_page_leads_further_than_one_step() {
    let World { net, cache, .. } = world();
    net.serve(KEY, &page(KEY));
    assert!(matches!(
        cache.key(&iri(KEY)).await,
        Err(KeyError::Document(DocumentError::NotAnActor { .. } | DocumentError::Missing { .. }))
    ));
    assert_eq!(net.asked(), 1, "it names itself");
    let World { net, cache, .. } = world();
    // The one that it names shows a key too, and names a third.
    let other = json!({"id": ACTOR, "type": "Key", "owner": "https://a.example/third"});
    net.serve(ACTOR, &other);
    for _ in 0..3 {
        let error = cache.key(&iri(KEY)).await.unwrap_err();
        assert!(matches!(&error, KeyError::Document(DocumentError::OnlyKey { asked, .. }) if asked.as_str() == ACTOR));
    }
    assert_eq!(net.asked(), 2);
}

#[tokio::test]
async fn a_page_is_no_actor_and_a_page_of_another_key_leads_nowhere() {
    let World { net, cache, .. } = world();
    assert!(matches!(cache.actor(&iri(KEY)).await, Err(KeyError::Document(DocumentError::OnlyKey { .. }))));
    assert!(matches!(cache.recipient(&iri(KEY)).await, Err(KeyError::Document(DocumentError::OnlyKey { .. }))));
    // What was learned so is good for who asks for the key.
    cache.key(&iri(KEY)).await.unwrap();
    let mut other = page(ACTOR);
    other["publicKey"]["id"] = "https://a.example/actor/other-key".into();
    net.serve("https://a.example/x", &other);
    let error = cache.key(&iri("https://a.example/x")).await.unwrap_err();
    assert!(matches!(error, KeyError::Document(DocumentError::OtherId { .. })), "{error}");
}

#[tokio::test]
async fn whoever_wants_to_know_who_asks_is_asked_again_with_a_signature_that_it_can_check() {
    let World { net, clock, cache } = world();
    net.signed_only.lock().insert(ACTOR.to_owned());
    us().publish(&net);
    cache.key(&iri(KEY)).await.unwrap();
    assert_eq!(net.asked(), 3, "the page, the actor, and the actor signed");
    let sent = net.last_signed.lock().take().unwrap();
    let view = sent.view();
    let signature = view.header_text("signature").unwrap();
    assert!(signature.contains("headers=\"(request-target) host date\""), "{signature}");
    // As the peer sees it, which asks for our actor in turn.
    let theirs = self::cache(&net, &clock, "a.example");
    let (now, limits) = (crate::wire::for_tests::START, VerifyLimits::default());
    let verified = verify_sender(&view, Bytes::new(), &[], &theirs, now, limits).await.unwrap();
    assert_eq!(verified.actor(), &us().actor());
    let mut elsewhere = sent.clone();
    elsewhere.url = iri("https://a.example/other");
    let refused = verify_sender(&elsewhere.view(), Bytes::new(), &[], &theirs, now, limits).await;
    assert!(matches!(refused, Err(Refusal::False { .. })));
}

#[tokio::test]
async fn nothing_is_signed_for_other_answers_and_two_that_demand_signatures_ask_no_further() {
    for status in [403, 404, 410, 500] {
        let World { net, cache, .. } = world();
        net.serve_response(KEY, Response { status, ..crate::wire::for_tests::ok(&json!({})) });
        cache.key(&iri(KEY)).await.unwrap_err();
        assert_eq!(net.asked(), 1);
    }
    // A signature that is not taken either ends it.
    let World { net, cache, .. } = world();
    net.serve_response(KEY, Response { status: 401, ..crate::wire::for_tests::ok(&json!({})) });
    for _ in 0..3 {
        assert!(matches!(cache.key(&iri(KEY)).await, Err(KeyError::Status { status: 401, .. })));
    }
    assert_eq!(net.asked(), 2);
}
