//! Deliberate bugs: each file under `mutants/` says what to break, and which test must notice.
//!
//! `cargo test --test mutants -- --ignored --nocapture` breaks them one by one in a copy of this tree;
//! `QUICKBEAM_TESTS_MUTANT=log` only those whose names contain `log`. What takes no time is tested always: that each still
//! stands for something in the code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Not needed for a build, or far too much.
const NOT_COPIED: [&str; 2] = [".git", "target"];
/// More than CI does in the same tests, so that what is rare is met too.
const TRIALS: [(&str, &str); 2] = [("QUICKBEAM_TESTS_CRASHES", "30000"), ("QUICKBEAM_TESTS_FLIPS", "2000")];

struct Mutant {
    name: String,
    why: String,
    file: String,
    /// Words for `cargo test`.
    test: String,
    old: String,
    new: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutants() -> Vec<Mutant> {
    let files = fs::read_dir(root().join("tests/mutants")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Mutant {
    let text = fs::read_to_string(path).unwrap();
    let between = |from: &str, to: &str| {
        let rest = text.split_once(from).unwrap_or_else(|| panic!("{}: no {from:?}", path.display())).1;
        rest.split_once(to).unwrap_or_else(|| panic!("{}: no {to:?}", path.display())).0.to_owned()
    };
    Mutant {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        why: text.lines().next().unwrap_or_default().to_owned(),
        file: between("\nfile: ", "\n"),
        test: between("\ntest: ", "\n"),
        old: between("\n--- old\n", "--- new\n"),
        new: between("--- new\n", "--- end\n"),
    }
}

#[test]
fn every_deliberate_bug_still_has_its_place_in_the_code_and_in_the_list() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let mutants = mutants();
    assert!(mutants.len() >= 14, "{} bugs", mutants.len());
    for Mutant { name, file, old, new, .. } in &mutants {
        let code = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let places = code.matches(old).count();
        assert_eq!(places, 1, "{name}: what it breaks has to stand once in {file}: adapt tests/mutants/{name}.txt");
        assert_ne!(old, new, "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name} is not in the list of docs/testing.md");
    }
}

#[test]
#[ignore = "builds and tests the crate once for each bug: minutes"]
fn every_deliberate_bug_is_caught() {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(root(), copy.path());
    let wanted = std::env::var("QUICKBEAM_TESTS_MUTANT").unwrap_or_default();
    let mut survivors = Vec::new();
    let mutants = mutants();
    for mutant in mutants.iter().filter(|mutant| mutant.name.contains(&wanted)) {
        let caught = is_caught(mutant, copy.path());
        println!("{}: {} ({})", if caught { "caught" } else { "SURVIVED" }, mutant.name, mutant.why);
        if !caught {
            survivors.push(&mutant.name);
        }
    }
    assert!(survivors.is_empty(), "no test noticed {survivors:?}");
}

/// Breaks the copy, runs the one test that has to fail by that, and mends the copy.
fn is_caught(mutant: &Mutant, copy: &Path) -> bool {
    let path = copy.join(&mutant.file);
    let sound = fs::read_to_string(&path).unwrap();
    fs::write(&path, sound.replacen(&mutant.old, &mutant.new, 1)).unwrap();
    let mut command = Command::new(env!("CARGO"));
    // A folder of its own: cargo takes a crate for the same wherever it stands, and what is broken on purpose must never
    // be linked into a test of the sound one.
    let profile = profile_folder();
    let target = profile.with_file_name("mutants");
    command.args(["test", "--locked", "--target-dir"]).arg(target).current_dir(copy);
    if let Some(name) = profile.file_name().filter(|name| *name != "debug") {
        command.arg("--profile").arg(name);
    }
    let output = command.args(mutant.test.split_whitespace()).envs(TRIALS).output().unwrap();
    fs::write(&path, sound).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let warned = String::from_utf8_lossy(&output.stderr);
    let ran = said.contains("\nrunning ") && !said.contains("\nrunning 0 tests");
    if !ran {
        println!("{} does not build, or {} names no test: {warned}", mutant.name, mutant.test);
    }
    ran && !output.status.success()
}

/// `target/debug` or the like: this test stands in `deps` below it.
fn profile_folder() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
        if NOT_COPIED.iter().any(|not| name == **not) {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&entry.path(), &to.join(name));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}
