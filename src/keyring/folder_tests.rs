//! Keys in a folder: what is written, what a crash at any step leaves, and what is refused.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::keyring::Old;
use crate::wire::for_tests::{START as NOW, keys};

const HOUR: Duration = Duration::from_secs(3_600);

/// A folder as `quickbeam init` leaves it.
fn new_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    keep(&Ring::first(keys(1)), folder.path()).unwrap();
    folder
}

fn rotated(ring: &Ring, seed: u8, old: Old) -> Ring {
    let new = Generation { name: ring.next_name(1), since: None, until: None, keys: keys(seed) };
    let rotation = Rotation { activity: "01A".into(), logged: false, request: None };
    ring.rotated(new, old, rotation, NOW)
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The names of the generations with what they sign with.
fn told(ring: &Ring) -> Vec<(String, String)> {
    ring.generations().iter().map(|one| (one.name.clone(), one.keys.ed25519.public_multikey())).collect()
}

fn is_read(folder: &Path, now: Time, ring: &Ring) {
    let read = read(folder, now).unwrap();
    assert_eq!(told(&read), told(ring));
    assert_eq!(read.rotation, ring.rotation);
    for (read, kept) in read.generations().iter().zip(ring.generations()) {
        assert_eq!((read.since, read.until), (kept.since, kept.until));
        assert_eq!(read.keys.rsa.public(), kept.keys.rsa.public());
    }
}

#[test]
fn a_folder_that_knows_of_no_rotation_stays_as_it_was() {
    let folder = new_folder();
    assert_eq!(names(folder.path()), ["node-rsa.key", "node.key"].map(str::to_owned).into());
    fs::write(folder.path().join("node-9.key"), "somebody's").unwrap();
    let ring = read(folder.path(), NOW).unwrap();
    keep(&ring, folder.path()).unwrap();
    assert!(names(folder.path()).contains("node-9.key"), "nothing goes where nothing was rotated");
    is_read(folder.path(), NOW, &Ring::first(keys(1)));
}

#[test]
fn an_older_node_gets_its_rsa_key() {
    let folder = new_folder();
    fs::remove_file(folder.path().join("node-rsa.key")).unwrap();
    let ring = read(folder.path(), NOW).unwrap();
    assert!(!names(folder.path()).contains("node-rsa.key"), "reading writes nothing");
    keep(&ring, folder.path()).unwrap();
    is_read(folder.path(), NOW, &ring);
}

#[test]
fn every_generation_has_private_files_until_it_ends() {
    let folder = new_folder();
    let both = rotated(&Ring::first(keys(1)), 2, Old::StayFor(HOUR));
    keep(&both, folder.path()).unwrap();
    let all = ["keys.json", "node-2.key", "node-rsa-2.key", "node-rsa.key", "node.key"];
    assert_eq!(names(folder.path()), all.map(str::to_owned).into());
    for name in all {
        assert_eq!(fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    is_read(folder.path(), NOW, &both);
    // The node was down when the overlap ended.
    let later = NOW.plus(HOUR);
    let newest = read(folder.path(), later).unwrap();
    is_read(folder.path(), later, &both.without_ended(later));
    keep(&newest, folder.path()).unwrap();
    assert_eq!(names(folder.path()), ["keys.json", "node-2.key", "node-rsa-2.key"].map(str::to_owned).into());
    // A third generation is numbered on.
    keep(&rotated(&newest, 3, Old::GoNow), folder.path()).unwrap();
    assert_eq!(names(folder.path()), ["keys.json", "node-3.key", "node-rsa-3.key"].map(str::to_owned).into());
}

#[test]
fn a_crash_at_any_step_leaves_the_keys_before_or_those_after() {
    let before = Ring::first(keys(1));
    for (old, stay) in [(Old::StayFor(HOUR), 5), (Old::GoNow, 3)] {
        let after = rotated(&before, 2, old);
        let whole = new_folder();
        keep(&after, whole.path()).unwrap();
        let content = |name: &str| fs::read(whole.path().join(name)).unwrap();
        // In the order in which they are written, each once as a draft that was cut.
        let steps = ["node-2.key", "node-rsa-2.key", "keys.json"];
        for cut in 0..=steps.len() {
            let folder = new_folder();
            for name in &steps[..cut] {
                private::create(&folder.path().join(name), &content(name)).unwrap();
            }
            if let Some(name) = steps.get(cut) {
                fs::write(folder.path().join(format!("{name}.new")), "half of").unwrap();
            }
            let counts = if cut == steps.len() { &after } else { &before };
            is_read(folder.path(), NOW, counts);
            // The next start, and then the rotation that was asked for once more, with other keys.
            keep(counts, folder.path()).unwrap();
            let again = rotated(&before, 3, old);
            keep(&again, folder.path()).unwrap();
            is_read(folder.path(), NOW, &again);
            assert_eq!(names(folder.path()).len(), stay, "{:?}", names(folder.path()));
        }
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = new_folder();
    let others = ["admin.token", "node.key.bak", "node-x.key", "node-rsa-.key", "node-1-2-3.key", "mynode.key"];
    for name in others {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    keep(&rotated(&Ring::first(keys(1)), 2, Old::GoNow), folder.path()).unwrap();
    let left = names(folder.path());
    assert!(others.iter().all(|name| left.contains(*name)), "{left:?}");
    assert_eq!(left.len(), others.len() + 3, "{left:?}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = new_folder();
    let both = rotated(&Ring::first(keys(1)), 2, Old::StayFor(HOUR));
    keep(&both, folder.path()).unwrap();
    let refused = |change: &dyn Fn(&Path)| {
        let copy = new_folder();
        for name in names(folder.path()) {
            private::replace(&copy.path().join(&name), &fs::read(folder.path().join(&name)).unwrap()).unwrap();
        }
        change(copy.path());
        read(copy.path(), NOW).unwrap_err().to_string()
    };
    let book = |text: &'static str| move |path: &Path| private::replace(&path.join(BOOK), text.as_bytes()).unwrap();
    assert!(refused(&book("{")).contains("keys.json cannot be read"));
    for nonsense in [
        r#"{"generations": []}"#,
        r#"{"generations": [{"name": "../../etc/2"}]}"#,
        r#"{"generations": [{"name": "2", "until": 5}]}"#,
    ] {
        assert!(refused(&book(nonsense)).contains("does not say which keys"), "{nonsense}");
    }
    let lost = refused(&|path| fs::remove_file(path.join("node-rsa-2.key")).unwrap());
    assert!(lost.contains("node-rsa-2.key, which is not there"), "{lost}");
    let wrong = refused(&|path| private::replace(&path.join("node-2.key"), b"x").unwrap());
    assert!(wrong.contains("node-2.key holds no usable key"), "{wrong}");
    let mode = fs::Permissions::from_mode(0o640);
    let open = refused(&|path| fs::set_permissions(path.join("node-2.key"), mode.clone()).unwrap());
    assert!(open.contains("can be read by others"), "{open}");
    let none = tempfile::tempdir().unwrap();
    assert!(read(none.path(), NOW).unwrap_err().to_string().contains("quickbeam init"));
}

#[test]
fn all_files_are_known_to_whoever_copies_them() {
    let folder = new_folder();
    let files = || all_files(folder.path()).unwrap();
    assert_eq!(files(), ["node.key", "node-rsa.key"].map(|name| folder.path().join(name)));
    let before = version(folder.path());
    keep(&rotated(&Ring::first(keys(1)), 2, Old::StayFor(HOUR)), folder.path()).unwrap();
    let named = ["keys.json", "node-2.key", "node-rsa-2.key", "node.key", "node-rsa.key"];
    assert_eq!(files(), named.map(|name| folder.path().join(name)));
    assert_ne!(version(folder.path()), before);
}
