//! Backups of real nodes, running and not: what they hold, what is refused, and what stays as it was.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use quickbeam::clock::SystemClock;
use quickbeam::store::blob::{Blobs, FileBlobs};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, command, eventually};
use crate::http::Call;

fn file(node: &Node) -> PathBuf {
    node.folder().join("a.qbk")
}

#[track_caller]
fn backed_up(node: &Node) -> PathBuf {
    let file = file(node);
    node.run(&["backup", file.to_str().unwrap()]).done();
    file
}

/// Everything in a folder but what a process notes there, with its content.
fn everything_in(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.file_name().is_some_and(|name| name == "lock") => {}
                false => found.push((entry.clone(), fs::read(&entry).unwrap())),
            }
        }
    }
    found.sort();
    found
}

fn ids(list: &[Value]) -> Vec<String> {
    list.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_of_a_busy_node_holds_everything_acknowledged_before_it_began() {
    let node = Node::start(Plan::blog());
    let made = Mutex::new(Vec::<(String, String)>::new());
    let over = std::sync::atomic::AtomicBool::new(false);
    let file = file(&node);
    let before = std::thread::scope(|scope| {
        for writer in 0..4 {
            let (node, made, over) = (&node, &made, &over);
            scope.spawn(move || {
                for n in (0..).take_while(|_| !over.load(std::sync::atomic::Ordering::SeqCst)) {
                    let body = json!({ "title": format!("{writer} {n}"), "slug": format!("a-{writer}-{n}") });
                    let made_now = node.post("/api/objects/article", &body).expect(201).json();
                    let text = |field: &str| made_now[field].as_str().unwrap().to_owned();
                    made.lock().push((text("id"), text("activity")));
                }
            });
        }
        eventually("there is work", || (made.lock().len() > 100).then_some(()));
        let before = made.lock().clone();
        let ran = node.run(&["backup", file.to_str().unwrap(), "--json"]);
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        let told = ran.done();
        assert_eq!(told.json()["base"], node.base());
        assert!(told.err.contains("\"progress\""), "{told:?}");
        before
    });
    node.kill();
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "keys are in it");
    let restored = Node::restored(&node, &file);
    restored.start_held();
    let (there, activities) = (ids(&restored.all("/")), ids(&restored.all("/activities")));
    let after = made.into_inner();
    for (id, activity) in &before {
        assert!(there.contains(id) && activities.contains(activity), "{id} was acknowledged before and is not there");
    }
    // One moment: of what came later nothing stands without what it rests on.
    for (id, activity) in &after {
        assert_eq!(there.contains(id), activities.contains(activity), "{id} is torn");
    }
    assert!(there.iter().all(|id| after.iter().any(|(made, _)| made == id)));
    restored.run(&["journal", "verify"]).done();
    restored.kill();
    restored.run(&["journal", "verify"]).done();
    restored.run(&["continue"]).refused(&["not running"]);
}

#[test]
fn keys_tokens_secrets_and_blobs_come_back_private() {
    let plan = Plan::blog().pair("friend", "http://127.0.0.1:9/actor", &[b'x'; 40]);
    let node = Node::start(plan);
    node.publish("Gig");
    node.settle();
    let listed = node.all("/admin/tokens");
    node.kill();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let content = vec![7; 700_000];
    let hash = runtime.block_on(async {
        let blobs = FileBlobs::open(&node.data().join("blobs"), u64::MAX, SystemClock::shared()).unwrap();
        let mut writer = blobs.begin().await.unwrap();
        writer.write(content.clone().into()).await.unwrap();
        writer.finish().await.unwrap().hash
    });
    let file = backed_up(&node);
    let restored = Node::restored(&node, &file);
    for name in ["data/node.key", "data/node-rsa.key", "data/admin.token", "data/tokens.json", "friend.secret"] {
        let (old, new) = (node.folder().join(name), restored.folder().join(name));
        assert_eq!(fs::read(&old).unwrap(), fs::read(&new).unwrap(), "{name}");
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let read = runtime.block_on(async {
        let blobs: Arc<dyn Blobs> =
            Arc::new(FileBlobs::open(&restored.data().join("blobs"), u64::MAX, SystemClock::shared()).unwrap());
        blobs.get(hash).await.unwrap().unwrap().whole().await.unwrap()
    });
    assert_eq!(read, content);
    restored.start_held();
    assert_eq!(restored.all("/admin/tokens"), listed);
    restored.get("/gig").expect(200);
}

#[test]
fn data_that_are_there_are_kept_unless_told_and_then_beside() {
    let node = Node::start(Plan::blog());
    node.publish("Before");
    let file = backed_up(&node);
    node.publish("After");
    let words = ["restore", file.to_str().unwrap()];
    let running = node.run(&words).refused(&["runs as process"]);
    assert!(running.err.contains(&node.process_id().to_string()), "{running:?}");
    node.run(&[&words[..], &["--replace"]].concat()).refused(&["runs as process"]);
    assert_eq!(ids(&node.all("/")).len(), 2, "nothing happened to it");
    node.terminate();
    let before = everything_in(&node.data());
    node.run(&words).refused(&["--replace", "safety copy"]);
    node.run(&[&words[..], &["--dry-run"]].concat()).done();
    assert_eq!(everything_in(&node.data()), before);
    let told = node.run(&[&words[..], &["--replace", "--json"]].concat()).done().json();
    let copy = PathBuf::from(told["safety_copy"].as_str().unwrap());
    assert!(copy.join("store").is_dir(), "{told}");
    assert_eq!(told["incarnation"], 2);
    node.start_held();
    assert_eq!(ids(&node.all("/")).len(), 1, "as it was at the backup");
    node.kill();
    let again = node.run(&[&words[..], &["--replace", "--json"]].concat()).done().json();
    assert_eq!(again["incarnation"], 3, "above what it replaces, too");
}

#[test]
fn a_file_that_is_no_whole_backup_is_named_and_nothing_is_written() {
    let node = Node::start(Plan::blog());
    for n in 0..30 {
        node.publish(&format!("Gig {n}"));
    }
    let file = backed_up(&node);
    node.kill();
    let whole = fs::read(&file).unwrap();
    let target = tempfile::tempdir().unwrap();
    let to = target.path().join("node");
    let refused = |bytes: &[u8], words: &[&str], what: &str| {
        let broken = target.path().join("broken.qbk");
        fs::write(&broken, bytes).unwrap();
        for dry in [&["--dry-run"][..], &[]] {
            let ran = command(&[&["restore", broken.to_str().unwrap(), "--to", to.to_str().unwrap()], dry].concat());
            assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
            assert!(ran.err.contains("broken.qbk"), "{what}: {ran:?}");
            assert!(words.iter().all(|word| ran.err.contains(word)), "{what}: {ran:?}");
            assert!(!to.exists(), "{what} left something behind");
        }
    };
    let mut dice: u64 = 0x9e37_79b9;
    for _ in 0..24 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = usize::try_from(dice >> 20).unwrap() % (whole.len() * 8);
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, &[], &format!("bit {bit}"));
        refused(&whole[..bit / 8], &[], &format!("cut at {}", bit / 8));
    }
    refused(&whole[..whole.len() - 1], &["too early"], "the last byte is missing");
    refused(&[&whole[..], b"x"].concat(), &["damaged"], "one byte more");
    refused(b"not a backup at all", &[], "some text");
    refused(&[b'x'; 2_000], &["no backup"], "a long text");
    let (from, newer) = ("\"format\": 1", "\"format\": 9");
    let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut later = whole.clone();
    later[at..at + from.len()].copy_from_slice(newer.as_bytes());
    refused(&later, &["format 9", "later one"], "a newer format");
    command(&["restore", "nowhere.qbk", "--to", to.to_str().unwrap()]).refused(&["nowhere.qbk", "cannot be opened"]);
    let folder = file.parent().unwrap().to_str().unwrap();
    command(&["restore", folder, "--to", to.to_str().unwrap()]).refused(&[folder, "is a folder"]);
    let beyond = file.join("below");
    command(&["restore", file.to_str().unwrap(), "--to", beyond.to_str().unwrap()]).refused(&[
        "nothing was restored",
        "cannot be made",
        "--to",
    ]);
    node.run(&["backup", beyond.to_str().unwrap()]).refused(&["cannot be made", "a folder that is there"]);
    let other = Node::start(Plan::blog());
    other.kill();
    let others = other.run(&["restore", file.to_str().unwrap()]);
    others.refused(&[&node.base(), &other.base()]);
}

#[test]
fn a_client_that_goes_half_way_leaves_no_backup_and_the_node_goes_on() {
    let node = Node::start(Plan::blog());
    for n in 0..50 {
        node.publish(&format!("Gig {n}"));
    }
    let mut stream = TcpStream::connect(node.plan.spot.admin).unwrap();
    let call = Call::get("/admin/backup").token(&node.admin_token);
    stream.write_all(call.head(&node.plan.spot.admin.to_string()).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    drop(stream);
    let file = file(&node);
    let partial = node.folder().join("a.qbk.partial");
    let config = node.config_file();
    let mut child = Command::new(env!("CARGO_BIN_EXE_quickbeam"))
        .args(["backup", file.to_str().unwrap(), "--config", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it has begun", || (partial.exists() || file.exists()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    if file.exists() {
        // It was faster than the kill: then it is whole.
        command(&["restore", file.to_str().unwrap(), "--dry-run", "--to", partial.to_str().unwrap()]).done();
        fs::remove_file(&file).unwrap();
    }
    backed_up(&node);
    assert!(!partial.exists(), "what was left behind is taken away");
    node.run(&["backup", file.to_str().unwrap()]).refused(&["is there already"]);
    node.publish("and on");
}

#[test]
fn a_client_that_stalls_loses_its_backup_and_what_is_known_of_it_outlives_a_restart() {
    let node = Node::start(Plan::blog().limit("backup_stall = \"1s\""));
    let token = node.new_token("programs", &["store:write"]);
    // More than the sockets of both sides take.
    let blob = Call::new("PUT", "/store/blobs/large").token(&token).header("content-type", "text/plain");
    node.send(&blob.body(vec![b'x'; 48 << 20])).expect(200);
    let last = |node: &Node| node.admin("GET", "/admin/status").expect(200).json()["last_backup"].clone();
    assert_eq!(last(&node), Value::Null);
    backed_up(&node);
    let good = eventually("the good one is noted", || last(&node)["good"].as_str().map(str::to_owned));
    let mut stream = TcpStream::connect(node.plan.spot.admin).unwrap();
    let call = Call::get("/admin/backup").token(&node.admin_token);
    stream.write_all(call.head(&node.plan.spot.admin.to_string()).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    let failed = eventually("the stalled one is given up", || last(&node)["failed"].as_str().map(str::to_owned));
    assert!(failed.contains("took nothing for 1s") && failed.contains("limits.backup_stall"), "{failed}");
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    assert!(rest.len() < 48 << 20, "it ends before its end");
    node.run(&["journal", "verify"]).done();
    let before = [last(&node), node.admin("GET", "/admin/status").json()["scrub"]["last"].clone()];
    node.kill();
    node.restart();
    let after = node.admin("GET", "/admin/status").expect(200).json();
    assert_eq!([after["last_backup"].clone(), after["scrub"]["last"].clone()], before);
    assert_eq!(after["last_backup"]["good"], good);
    let status = node.run(&["status"]).done();
    assert!(status.out.contains("FAILED") && status.out.contains(&good), "{status:?}");
}
