//! Damage on disk is named and its actor set aside; the others go on. And what care there is for the files.

use std::fs;
use std::path::PathBuf;

use quickbeam::store::blob::BlobHash;
use serde_json::Value;

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;

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

#[test]
fn verify_misses_the_content_of_a_blob_and_counts_what_no_name_stands_for() {
    let node = Node::start(Plan::blog());
    let token = node.new_token("programs", &["store:read", "store:write"]);
    for (name, content) in [("kept", "one"), ("lost", "two")] {
        let put = Call::new("PUT", &format!("/store/blobs/{name}")).token(&token).header("content-type", "text/plain");
        node.send(&put.body(content)).expect(200);
    }
    node.terminate();
    let told = node.run(&["journal", "verify", "--json"]).done().json();
    assert_eq!((told["blobs"].as_u64(), told["unnamed_blobs"].as_u64()), (Some(2), Some(0)), "{told}");
    let file = |content: &str| {
        let hash = BlobHash::of(content.as_bytes()).to_string();
        node.data().join("blobs").join(&hash[..2]).join(hash)
    };
    let stray = file("three");
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, "three").unwrap();
    assert!(node.run(&["journal", "verify"]).done().out.contains("3 blobs, 1 of them without a name"));
    fs::remove_file(file("two")).unwrap();
    let told = node.run(&["journal", "verify"]).refused(&["one thing is damaged"]);
    assert!(told.out.contains("of the blob lost is gone"), "{told:?}");
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let node = Node::start(Plan::blog());
    for (words, says) in [
        (&["journal", "dump", "--area", "nonsense"][..], "dead-letters"),
        (&["journal", "dump", "--actor", "gig"], "KIND/KEY"),
        (&["journal", "dump", "--actor", "artist/gig"], "outbox"),
        (&["continue", "--dry-run", "--list", "nonsense"], "timers"),
        (&["actors", "--kind", "nonsense"], "follower"),
        (&["actors", "--state", "nonsense"], "suspended"),
        (&["flows", "--state", "nonsense"], "paused"),
        (&["followers", "--status", "nonsense"], "accepted"),
    ] {
        let ran = node.run(words);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{words:?}: {ran:?}");
    }
    node.run(&["token", "revoke", "nobody"]).refused(&["nobody", "quickbeam token list"]);
    node.run(&["backup", "/nowhere/a.qbk"]).refused(&["/nowhere", "a folder that is there"]);
    node.run(&["restore", "nowhere.qbk"]).refused(&["nowhere.qbk", "`quickbeam backup`"]);
    node.run(&["dead-letters", "retry", "x"]).refused(&["`quickbeam dead-letters`"]);
    node.run(&["followers", "accept", "http://x.example/actor"]).refused(&["`quickbeam followers`"]);
    node.run(&["flows", "start", "nonsense"]).refused(&["there is no flow \"nonsense\"; this node has"]);
    let refused = node.admin("GET", "/admin/followers?status=nonsense").refused(400);
    assert!(refused.contains("asked, accepted, rejected"), "{refused}");
    let refused = node.admin("GET", "/admin/actors?limit=many").refused(400);
    assert!(refused.contains("limit=many"), "{refused}");
    let refused = node.admin("GET", "/admin/nonsense").refused(404);
    assert!(refused.contains("docs/api.md"), "{refused}");
    let backup = node.folder().join("a.qbk");
    node.run(&["backup", backup.to_str().unwrap()]).done();
    node.run(&["restore", backup.to_str().unwrap()]).refused(&["the node runs", "--to"]);
    node.terminate();
    fs::remove_dir_all(node.data().join("store")).unwrap();
    for words in [&["journal", "verify"][..], &["journal", "stats"], &["backup"]] {
        node.run(words).refused(&["holds no data", "quickbeam serve"]);
    }
}
