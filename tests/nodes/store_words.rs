//! `quickbeam store` against a running node: what goes in comes out, and what is refused says so.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Node, Plan};

fn command(node: &Node, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickbeam"));
    command.env_clear().args(words).arg("--config").arg(node.config_file());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(node: &Node, words: &[&str]) -> Output {
    command(node, words).output().unwrap()
}

#[track_caller]
fn out(node: &Node, words: &[&str]) -> String {
    let output = said(node, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that must not succeed says, with its exit code.
#[track_caller]
fn fails(node: &Node, words: &[&str], code: i32) -> String {
    let output = said(node, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn fed(node: &Node, words: &[&str], input: &[u8]) -> String {
    let mut child = command(node, words).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn values_come_back_to_the_digit_and_a_wrong_expectation_is_refused() {
    let node = Node::start(Plan::blog());
    let large = "{\"n\":1.10e400,\"i\":123456789012345678901234567890}";
    let put: Value = serde_json::from_str(&out(&node, &["store", "kv", "put", "a/b", large, "--json"])).unwrap();
    let version = put["version"].to_string();
    assert_eq!(out(&node, &["store", "kv", "get", "a/b"]), format!("{large}\n"));
    let whole = out(&node, &["store", "kv", "get", "a/b", "--json"]);
    assert_eq!(whole, format!("{{\"name\":\"a/b\",\"version\":{version},\"value\":{large}}}\n"));
    let told = fails(&node, &["store", "kv", "put", "a/b", "1", "--expect", "none"], 1);
    assert!(told.contains(&version) && told.contains("412"), "{told}");
    fed(&node, &["store", "kv", "put", "a/b", "--expect", &version], b" [1,\n 2] ");
    assert_eq!(out(&node, &["store", "kv", "get", "a/b"]), "[1,2]\n");
    assert!(out(&node, &["store", "kv", "list", "a"]).contains("a/b"));
    out(&node, &["store", "kv", "delete", "a/b"]);
    assert!(fails(&node, &["store", "kv", "get", "a/b"], 1).contains("no value"));
    assert!(fails(&node, &["store", "kv", "put", "a/b", "text"], 1).contains("quotes"));
    out(&node, &["store", "kv", "put", "a/b", "-5"]);
    assert_eq!(out(&node, &["store", "kv", "get", "a/b"]), "-5\n");
    out(&node, &["store", "streams", "append", "a/c", "-5", "-1.5e3"]);
    fails(&node, &["store", "kv", "get", "a//b"], 2);
    fails(&node, &["store", "kv", "get", "../b"], 2);
    fails(&node, &["store", "kv", "put", "a", "1", "--expect", "a b"], 2);
}

#[test]
fn records_are_appended_read_followed_and_forgotten() {
    let node = Node::start(Plan::blog());
    assert_eq!(out(&node, &["store", "streams", "append", "s", "1", "{\"a\": 2}"]), "s: 1 to 2\n");
    assert_eq!(fed(&node, &["store", "streams", "append", "s", "--expect", "2"], b"{\n\"b\":\n3}"), "s: 3\n");
    assert_eq!(fed(&node, &["store", "streams", "append", "s"], b"4\n5e999\n"), "s: 4 to 5\n");
    assert!(fails(&node, &["store", "streams", "append", "s", "6", "--expect", "2"], 1).contains("last record"));
    let all = "1\t1\n2\t{\"a\":2}\n3\t{\"b\":3}\n4\t4\n5\t5e999\n";
    assert_eq!(out(&node, &["store", "streams", "read", "s"]), all);
    assert_eq!(out(&node, &["store", "streams", "read", "s", "--backward", "--limit", "2"]), "5\t5e999\n4\t4\n");
    assert_eq!(
        out(&node, &["store", "streams", "read", "s", "--from", "5", "--json"]),
        "{\"sequence\":5,\"value\":5e999}\n"
    );
    let mut child = command(&node, &["store", "streams", "follow", "s", "--from", "4"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "4\t4");
    assert_eq!(lines.next().unwrap(), "5\t5e999");
    node.kill();
    node.restart();
    out(&node, &["store", "streams", "append", "s", "6"]);
    assert_eq!(lines.next().unwrap(), "6\t6", "it goes on behind a node that was started again");
    child.kill().unwrap();
    child.wait().unwrap();
    out(&node, &["store", "streams", "truncate", "s", "--before", "6"]);
    assert_eq!(out(&node, &["store", "streams", "last", "s"]), "6\n");
    let last: Value = serde_json::from_str(&out(&node, &["store", "streams", "last", "s", "--json"])).unwrap();
    assert_eq!(last, json!({ "first": 6, "last": 6 }));
    assert!(out(&node, &["store", "streams", "list"]).contains('s'));
    // The same key does it once.
    let words = ["store", "streams", "append", "once", "1", "--key", "k"];
    assert_eq!((out(&node, &words), out(&node, &words)), ("once: 1\n".into(), "once: 1\n".into()));
}

#[test]
fn a_file_goes_in_and_comes_out_the_same() {
    let node = Node::start(Plan::blog().limit("blob = \"8 MiB\""));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let content: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(at("in"), &content).unwrap();
    let put: Value =
        serde_json::from_str(&out(&node, &["store", "blobs", "put", "a/file", &at("in"), "--json"])).unwrap();
    assert_eq!(put["bytes"], 5_000_000);
    out(&node, &["store", "blobs", "get", "a/file", "--to", &at("out")]);
    assert_eq!(std::fs::read(at("out")).unwrap(), content);
    assert!(!folder.path().join("out.part").exists());
    assert_eq!(said(&node, &["store", "blobs", "get", "a/file"]).stdout, content);
    fed(&node, &["store", "blobs", "put", "text", "--type", "text/plain"], b"from a pipe");
    assert_eq!(out(&node, &["store", "blobs", "get", "text"]), "from a pipe");
    let has: Value = serde_json::from_str(&out(&node, &["store", "blobs", "has", "a/file", "--json"])).unwrap();
    assert_eq!((&has["bytes"], &has["hash"]), (&json!(5_000_000), &put["hash"]));
    assert!(fails(&node, &["store", "blobs", "has", "none"], 1).contains("there is no blob none"));
    assert!(fails(&node, &["store", "blobs", "put", "b", &at("missing")], 1).contains("cannot be read"));
    std::fs::write(at("large"), vec![0; 9 << 20]).unwrap();
    let told = fails(&node, &["store", "blobs", "put", "b", &at("large")], 1);
    assert!(told.contains("limits.blob"), "{told}");
    assert!(out(&node, &["store", "blobs", "list", "a/"]).contains("a/file"));
    out(&node, &["store", "blobs", "delete", "a/file", "--expect", put["hash"].as_str().unwrap()]);
    let token = out(&node, &["token", "add", "shop", "--scope", "store:read", "--prefix", "shop"]);
    assert!(token.starts_with("qb_") && out(&node, &["token", "list"]).contains("shop/"));
    assert!(fails(&node, &["token", "add", "x", "--scope", "publish", "--prefix", "shop"], 1).contains("store:read"));
    let unset = ["token", "add", "x", "--scope", "store:read", "--prefix", ""];
    assert!(fails(&node, &unset, 1).contains("limits nothing"));
    node.kill();
    assert!(fails(&node, &["store", "kv", "list"], 1).contains("quickbeam serve"));
}

#[test]
fn words_that_cannot_be_meant_are_told_in_words_of_the_command_line() {
    let node = Node::start(Plan::blog());
    let hash = "0".repeat(64);
    for (words, expected) in [
        (["kv", "put", "a", "1", "--expect", "abc"], "number"),
        (["streams", "append", "a", "1", "--expect", "\"1\""], "number"),
        (["blobs", "put", "a", "/dev/null", "--expect", "abc"], "hash"),
    ] {
        let told = fails(&node, &[&["store"], &words[..]].concat(), 2);
        assert!(told.contains("--expect") && told.contains(expected) && !told.contains("If-Match"), "{told}");
    }
    let told = fails(&node, &["store", "blobs", "put", "a", "/dev/null", "--expect", &hash], 1);
    assert!(told.contains("412") && told.contains("no blob"), "{told}");
    let wrong =
        [&["--json", "store", "kv", "get"][..], &["--json", "store", "kv", "fetch", "a"], &["--json", "nonsense"]];
    for words in wrong {
        let told: Value = serde_json::from_str(&fails(&node, words, 2)).unwrap();
        let detail = told["detail"].as_str().unwrap();
        assert!(told["title"] == "wrong words" && !detail.starts_with("error"), "{told}");
    }
    let plain = fails(&node, &["store", "kv", "get", "--", "--json", "b"], 2);
    assert!(plain.starts_with("error"), "{plain}");
    assert!(out(&node, &["store", "--json", "--help"]).contains("Usage"));
    let long = format!("{}/end", ["n".repeat(120), "m".repeat(120)].join("/"));
    out(&node, &["store", "kv", "put", &long, "1"]);
    out(&node, &["store", "streams", "append", &long, "1"]);
    fed(&node, &["store", "blobs", "put", &long], b"1");
    for area in ["kv", "streams", "blobs"] {
        assert!(out(&node, &["store", area, "list"]).contains(&long), "{area}");
    }
}
