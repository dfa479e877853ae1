//! Nodes that must not start: each says why and what to do, ends with 1, and leaves what is there alone.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::harness::{Node, Plan, Spot, does_not_start};

fn prepared(plan: &Plan) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = plan.write(folder.path());
    (folder, config)
}

#[track_caller]
fn refused(config: &std::path::Path, words: &[&str]) {
    let (code, text) = does_not_start(config);
    assert_eq!(code, Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not said:\n{text}");
    }
}

#[test]
fn a_data_folder_has_one_node() {
    let node = Node::start(Plan::blog());
    node.publish("Gig");
    node.settle();
    let before = node.everything();
    let other = Plan { spot: Spot::free(), ..node.plan.clone() };
    let text = fs::read_to_string(node.config_file()).unwrap();
    let text = text.replace(&node.plan.spot.public.to_string(), &other.spot.public.to_string());
    let text = text.replace(&node.plan.spot.admin.to_string(), &other.spot.admin.to_string());
    let text = text.replace(&other.spot.base(), &node.base());
    let second = node.config_file().with_file_name("second.toml");
    fs::write(&second, text).unwrap();
    let (code, text) = does_not_start(&second);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&node.process_id().to_string()), "the holder is not named:\n{text}");
    assert_eq!(node.everything(), before);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    for setting in ["public.listen", "admin.listen"] {
        let plan = Plan::blog();
        let taken = if setting == "public.listen" { plan.spot.public } else { plan.spot.admin };
        let _holder = TcpListener::bind(taken).unwrap();
        let (folder, config) = prepared(&plan);
        refused(&config, &[&taken.to_string(), setting, "in use"]);
        assert!(!folder.path().join("data/store").exists(), "data were touched before it was known");
    }
}

#[test]
fn data_of_another_base_are_refused() {
    let node = Node::start(Plan::blog());
    node.publish("Gig");
    node.kill();
    let text = fs::read_to_string(node.config_file()).unwrap();
    fs::write(node.config_file(), text.replace(&node.base(), "https://other.example")).unwrap();
    refused(&node.config_file(), &[&node.base(), "https://other.example", "node.base"]);
    // Put back, all is as it was.
    fs::write(node.config_file(), text).unwrap();
    node.restart();
    node.get("/gig").expect(200);
}

#[test]
fn a_key_that_is_missing_readable_by_others_or_no_key_is_refused() {
    let (folder, config) = prepared(&Plan::blog());
    let key = folder.path().join("data/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&config, &["node.key", "644", "chmod 600"]);
    crate::harness::private(&key, b"this is no key");
    refused(&config, &["node.key", "quickbeam init"]);
    fs::remove_file(&key).unwrap();
    refused(&config, &["node.key", "quickbeam init"]);
    assert!(!folder.path().join("data/store").exists());
}

#[test]
fn a_token_file_that_others_can_read_is_refused() {
    let (folder, config) = prepared(&Plan::blog());
    let token = folder.path().join("data/admin.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&config, &["admin.token", "640"]);
    drop(folder);
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_its_lines() {
    let unknown = "[flow.odd]\nsteps.one = { effect = \"notfy\" }\n";
    let cycle = "[flow.round]\nsteps.a = { effect = \"notify\", after = \"b\", with = { text = \"'x'\" } }\n\
                 steps.b = { effect = \"notify\", after = \"a\", with = { text = \"'x'\" } }\n";
    let (folder, config) = prepared(&Plan::blog().more(unknown).more(cycle).more("[fech]\nallow = []\n"));
    let text = fs::read_to_string(&config).unwrap();
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let at = |part: &str| format!("quickbeam.toml:{}:", line(part));
    refused(&config, &[&at("notfy"), "did you mean `notify`", &at("after = \"b\""), "fetch", &at("[fech]")]);
    assert!(!folder.path().join("data/store").exists());
    let none = folder.path().join("none.toml");
    refused(&none, &["none.toml", "quickbeam init"]);
}

#[test]
fn a_secret_that_is_too_short_is_refused() {
    let (_folder, config) = prepared(&Plan::blog().pair("events", "https://events.example/actor", b"short"));
    refused(&config, &["quickbeam.toml:", "5 bytes", "32"]);
}
