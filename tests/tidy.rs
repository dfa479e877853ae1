//! The house rules that no compiler knows: shape of files, direction of imports, links, licences, and a map that is true.
//!
//! A rule is a function from text to findings. Each stands beside tests that show it failing on a bad sample; here they
//! meet the repository.

#[path = "tidy/finding.rs"]
mod finding;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/map.rs"]
mod map;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use finding::Finding;
use source::Source;

/// Fails with one line for each finding: file, line, rule, what is wrong and what to do.
fn hold(findings: Vec<Finding>) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} broken house rules\n{}", lines.len(), lines.join("\n"));
}

/// Cargo names it when the test runs; the binary alone falls back to where it was built.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The files below `folder` that end in `.extension`, by their path from the root, in order. A folder that is not there has none.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder of the repository can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push(from_root(&path));
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("walks start at the root");
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder, "rs"));
    paths.map(|path| Source::new(&path, &text_of(&path))).collect()
}

fn pages() -> Vec<String> {
    let top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(String::from);
    top.into_iter().chain(files("docs", "md")).collect()
}

/// Whether a document may name the path. Files that arrive together may be named before they are there: node.rs joins
/// them all and comes last.
fn may_be_named(path: &str) -> bool {
    !root().join("src/node.rs").exists() || root().join(path).exists()
}

/// Applies a rule for single files to all of `folders`.
fn each(folders: &[&str], rule: fn(&Source) -> Vec<Finding>) {
    let sources = sources(folders);
    assert!(!sources.is_empty(), "no source was found in {folders:?}: the walk is broken");
    hold(sources.iter().flat_map(rule).collect());
}

#[test]
fn every_file_opens_with_a_sentence() {
    each(&["src", "tests", "benches"], shape::opening);
}

#[test]
fn no_file_is_longer_than_a_newcomer_reads() {
    each(&["src"], shape::length);
}

#[test]
fn file_names_say_what_is_inside() {
    each(&["src", "tests", "benches"], shape::name);
}

#[test]
fn nothing_is_left_for_later() {
    each(&["src", "tests", "benches"], shape::leftovers);
}

#[test]
fn tests_are_compiled_for_tests_only() {
    each(&["src"], shape::test_modules);
}

#[test]
fn unwrap_stays_in_tests() {
    each(&["src"], shape::unwraps);
}

#[test]
fn imports_run_one_way() {
    each(&["src"], layers::direction);
}

#[test]
fn domains_do_no_io() {
    each(&["src"], layers::purity);
}

#[test]
fn libraries_stay_behind_their_door() {
    each(&["src"], layers::doors);
}

#[test]
fn only_the_clock_reads_time_and_randomness() {
    each(&["src"], layers::clock);
}

#[test]
fn states_and_decisions_have_an_order() {
    each(&["src"], layers::order);
}

#[test]
fn verified_has_one_source() {
    hold(layers::one_verification(&sources(&["src"])));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let pages = pages();
    let read =
        |path: &str| root().join(path).exists().then(|| fs::read_to_string(root().join(path)).unwrap_or_default());
    hold(pages.iter().flat_map(|page| links::dangling(page, &text_of(page), &read)).collect());
}

#[test]
fn the_code_map_is_true() {
    let sources = files("src", "rs");
    hold(map::untrue("ARCHITECTURE.md", &text_of("ARCHITECTURE.md"), &sources, &may_be_named));
}

#[test]
fn documents_name_files_that_are_there() {
    hold(pages().iter().flat_map(|page| map::gone(page, &text_of(page), &may_be_named)).collect());
}

#[test]
fn licences_of_what_we_link_are_acceptable() {
    let packages = licences::linked(&root().join("Cargo.toml"));
    assert!(packages.len() > 50, "cargo metadata lists only {} packages: it was read wrongly", packages.len());
    hold(licences::unacceptable(&packages, licences::EXCEPTIONS));
}
