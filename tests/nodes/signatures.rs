//! Requests of peers that are not what they say: each refused with its status and reason, none changing anything.

use crate::harness::{Node, Plan};
use crate::http::Call;
use crate::peer::{Peer, Reply, With};

fn node_and_peer() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::events().allow(peer.authority()));
    (node, peer)
}

#[test]
fn a_signature_that_is_missing_wrong_or_out_of_time_is_refused() {
    let (node, peer) = node_and_peer();
    let follow = peer.activity("Follow", node.actor().into());
    let signed = || peer.sign(&node, &follow);
    let now = signed().created.unwrap();
    node.unchanged(|| {
        let unsigned = Call::post("/inbox").json(&follow);
        node.send(&unsigned).refused_with(401, "not signed");
        let old_draft = unsigned.header("signature", "keyId=\"x\",signature=\"eA==\"");
        node.send(&old_draft).refused_with(401, "(request-target)");
        signed().change(|it| it.forged = true).send(&node).refused_with(403, "false");
        signed().change(|it| it.with = With::Key(other_key())).send(&node).refused_with(403, "false");
        signed().change(|it| it.created = Some(now - 400)).send(&node).refused_with(401, "ago");
        signed().change(|it| it.created = Some(now + 400)).send(&node).refused_with(401, "future");
        signed().change(|it| it.created = None).send(&node).refused_with(401, "created");
        signed().change(|it| it.expires = Some(now - 2)).send(&node).refused_with(401, "expired");
    });
    // The very same activity, signed as it should be, is taken: nothing of the refusals was kept.
    signed().send(&node).expect(202);
    peer.awaits("Accept", follow["id"].as_str());
}

fn other_key() -> quickbeam::wire::key::NodeKey {
    quickbeam::wire::key::NodeKey::from_seed([9; 32])
}

#[test]
fn a_signature_has_to_cover_what_is_demanded() {
    let (node, peer) = node_and_peer();
    let signed = || peer.sign(&node, &peer.activity("Follow", node.actor().into()));
    node.unchanged(|| {
        for component in ["@method", "@target-uri", "content-digest"] {
            signed().without(component).send(&node).refused_with(401, component);
        }
        let apart = |names: &[&str]| {
            let all = ["@method", "content-digest"].iter().chain(names);
            let covered = all.map(|name| (*name).to_owned()).collect();
            signed().change(|it| it.covered = covered)
        };
        apart(&["@authority", "@path"]).send(&node).refused_with(401, "@query");
        apart(&["@authority", "@query"]).send(&node).refused_with(401, "@path");
        apart(&["@path", "@query"]).send(&node).refused_with(401, "@authority");
    });
    let covered = ["@method", "@authority", "@path", "@query", "content-digest"].map(str::to_owned).to_vec();
    signed().change(|it| it.covered = covered).send(&node).expect(202);
}

#[test]
fn a_key_that_is_unknown_foreign_or_not_to_be_had_is_refused() {
    let (node, peer) = node_and_peer();
    let neighbour = Peer::start();
    let signed = || peer.sign(&node, &peer.activity("Follow", node.actor().into()));
    node.unchanged(|| {
        let unknown = format!("{}#unknown", peer.actor());
        signed().change(|it| it.key_id = unknown).send(&node).refused_with(401, "does not publish");
        signed().change(|it| it.key_id = "nonsense".into()).send(&node).refused_with(401, "keyid");
        let foreign = format!("{}#ed25519", neighbour.actor());
        signed().change(|it| it.key_id = foreign).send(&node).refused_with(403, "authority");
        let of_other = peer.activity("Follow", node.actor().into());
        let mut of_other = of_other.clone();
        of_other["actor"] = format!("{}/somebody", peer.base()).into();
        peer.sign(&node, &of_other).send(&node).refused_with(403, "belongs to");
        let mut foreign_id = peer.activity("Follow", node.actor().into());
        foreign_id["id"] = format!("{}/activities/1", neighbour.base()).into();
        peer.sign(&node, &foreign_id).send(&node).refused_with(403, "authority");
        let ours = format!("{}#ed25519", node.actor());
        let mut as_us = peer.activity("Follow", node.actor().into());
        as_us["actor"] = node.actor().into();
        as_us["id"] = format!("{}/activities/1", node.base()).into();
        peer.sign(&node, &as_us).change(|it| it.key_id = ours).send(&node).refused_with(401, "own authority");
    });
    assert_eq!(neighbour.connections(), 0, "a key was fetched for a request that could not pass");
}

#[test]
fn a_key_server_that_is_down_means_come_again() {
    let (node, peer) = node_and_peer();
    peer.documents(|_| Reply::status(502));
    let follow = peer.activity("Follow", node.actor().into());
    node.unchanged(|| {
        let answer = peer.send(&node, &follow);
        answer.refused_with(503, "could not be fetched");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&after), "{answer}");
        // It is not asked again at once, whoever comes.
        let asked = peer.connections();
        peer.send(&node, &follow).refused(503);
        assert_eq!(peer.connections(), asked);
    });
}

#[test]
fn a_key_that_changed_is_fetched_again_once_and_then_believed() {
    let (node, peer) = node_and_peer();
    peer.follows(&node);
    *peer.key.lock() = other_key();
    let document = peer.document();
    peer.documents(move |_| Reply::json(&document));
    let before = peer.got().iter().filter(|got| got.method == "GET").count();
    peer.sends(&node, &peer.activity("Follow", node.actor().into()), "taken");
    node.settle();
    // One that is false costs no other fetch now.
    node.unchanged(|| {
        let forged = peer.sign(&node, &peer.activity("Follow", node.actor().into()));
        forged.change(|it| it.forged = true).send(&node).refused(403);
    });
    assert_eq!(peer.got().iter().filter(|got| got.method == "GET").count(), before + 1);
}

#[test]
fn a_replay_is_answered_as_before_and_has_no_effect_and_an_id_is_used_once() {
    let (node, peer) = node_and_peer();
    peer.is_followed_by(&node);
    let create = peer.create("one");
    let call = peer.sign(&node, &create).call();
    assert_eq!(node.send(&call).expect(202).json()["status"], "taken");
    node.settle();
    node.unchanged(|| {
        for _ in 0..3 {
            assert_eq!(node.send(&call).expect(202).json()["status"], "repeated");
        }
        // Signed anew, it is still the same activity.
        peer.sends(&node, &create, "repeated");
        let mut other = create.clone();
        other["object"]["name"] = "two".into();
        peer.send(&node, &other).refused_with(409, "used");
    });
    assert_eq!(node.notices().len(), 1);
}
