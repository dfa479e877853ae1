//! Damage on disk is named and its actor set aside; the others go on. And what care there is for the files.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Node, Plan, eventually};

/// A node whose table holds an article with one byte of its title changed on disk, and a backup of it before that.
fn damaged() -> (Node, PathBuf) {
    let node = Node::start(Plan::blog());
    node.publish("Unmistakable Gig");
    node.publish("Another");
    node.settle();
    let file = node.folder().join("a.qbk");
    node.run(&["backup", file.to_str().unwrap()]).done();
    node.kill();
    // Restoring puts all rows into the table.
    let restored = Node::restored(&node, &file);
    let table = restored.data().join("store/table.redb");
    let mut bytes = fs::read(&table).unwrap();
    let needle = b"Unmistakable Gig";
    let places: Vec<usize> = (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0x20;
    }
    fs::write(&table, bytes).unwrap();
    (restored, file)
}

#[test]
fn damage_is_named_by_verify_and_refused_by_backup_unless_allowed() {
    let (node, _file) = damaged();
    let verified = node.run(&["journal", "verify"]).refused(&["damaged"]);
    assert!(verified.out.contains("does not match its checksum"), "{verified:?}");
    let to = node.folder().join("b.qbk");
    node.run(&["backup", to.to_str().unwrap()]).refused(&["checksum", "--allow-damage"]);
    assert!(!to.exists() && !node.folder().join("b.qbk.partial").exists());
    let told = node.run(&["backup", to.to_str().unwrap(), "--allow-damage", "--json"]).done().json();
    assert!(!told["damage"].as_array().unwrap().is_empty(), "{told}");
}

#[test]
fn a_scrub_names_damage_and_sets_its_actor_aside_while_others_go_on() {
    let (node, _file) = damaged();
    node.start_held();
    node.run(&["continue"]).done();
    node.wait_ready();
    node.run(&["journal", "verify"]).refused(&["damaged"]);
    let store = node.admin("GET", "/admin/store").expect(200).json();
    assert!(store["scrub"]["last"]["damages"].as_u64() > Some(0), "{store}");
    assert!(store["table"]["live_bytes"].as_u64() > Some(0), "{store}");
    let failed = node.all("/admin/actors?state=failed");
    assert!(failed.iter().any(|actor| actor["id"].as_str().unwrap().contains("unmistakable-gig")), "{failed:#?}");
    assert!(node.log().contains("the store is damaged"));
    node.publish("and on");
    let to = node.folder().join("b.qbk");
    node.run(&["backup", to.to_str().unwrap()]).refused(&["checksum", "--allow-damage"]);
    assert!(node.run(&["status"]).done().out.contains("DAMAGED"));
}

#[test]
fn a_scrub_of_a_sound_store_finds_nothing_and_comes_by_itself() {
    let node = Node::start(Plan::blog().more("[store]\nscrub_every = \"2s\""));
    node.publish("Gig");
    eventually("a scrub has come", || {
        let store = node.admin("GET", "/admin/store").expect(200).json();
        store["scrub"]["last"]["rows"]
            .as_u64()
            .filter(|rows| *rows > 0)
            .map(|_| assert_eq!(store["scrub"]["last"]["damages"], 0))
    });
    assert_eq!(node.all("/admin/actors?state=failed"), Vec::<Value>::new());
}

#[test]
fn the_journal_is_dumped_counted_and_compacted_while_the_node_is_down() {
    let node = Node::start(Plan::blog());
    for n in 0..40 {
        node.publish(&format!("Gig {n}"));
    }
    node.settle();
    assert!(node.run(&["journal", "stats"]).done().out.contains("live of"));
    node.run(&["journal", "dump"]).refused(&["is running"]);
    node.run(&["journal", "compact"]).refused(&["is running"]);
    let before = node.everything();
    node.terminate();
    let dump = node.run(&["journal", "dump", "--area", "heads"]).done();
    let heads: Vec<Value> = dump.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        heads.iter().any(|row| row["actor"] == "stream/object/gig-7" && row["value"]["turn"].is_u64()),
        "{:?}",
        heads[0]
    );
    let few = node.run(&["journal", "dump", "--actor", "stream/object/gig-7", "--limit", "2"]).done();
    assert_eq!(few.out.lines().count(), 2, "{few:?}");
    let stats = node.run(&["journal", "stats", "--json"]).done().json();
    assert!(stats["areas"].as_array().unwrap().iter().any(|area| area["area"] == "events"), "{stats}");
    let compacted = node.run(&["journal", "compact", "--json"]).done().json();
    assert!(compacted["after"].as_u64() <= compacted["before"].as_u64(), "{compacted}");
    node.run(&["journal", "verify"]).done();
    node.restart();
    assert_eq!(node.everything(), before);
}
