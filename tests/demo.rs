//! The demo as a stranger runs it: real processes on this machine, killed and started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quickbeam::clock::SystemClock;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

fn demo(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickbeam"));
    command.arg("demo").args(words).stdin(Stdio::null());
    command
}

#[test]
fn demo_once_proves_every_step() {
    let output = demo(&["--once"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    for proof in [
        "✓ /followers of blog has",
        "✓ /following of events has",
        "✓ published http://127.0.0.1:",
        "✓ delivered to events, verified",
        "✓ the behaviour article.remote.create fired on events, once",
        "✓ linked gig-night",
        "✓ the answer came back: gig-night is accepted as",
        "✓ forged: 403",
        "✓ unsigned: 401",
        "✓ 3 deliveries wait for",
        "✓ Last call arrived by the tick alone, and fired its behaviour once",
        "✓ the blog is killed with SIGKILL and started again: still suspended",
        "✓ resumed with a token: done, and the digest has one record",
        "All 7 steps are proven",
    ] {
        assert!(out.contains(proof), "{proof}\n{out}");
    }
}

#[test]
fn demo_once_tells_programs_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let output = demo(&["--once", "--json", "--data", data.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["proven"].as_bool(), told["steps"].as_array().unwrap().len()), (Some(true), 7));
    assert!(data.join("blog/quickbeam.toml").is_file(), "a folder that was named stays");
}

/// Reads what a demo that stays up prints, up to the line that holds `mark`.
fn read_until(out: &mut impl BufRead, mark: &str) -> String {
    let mut told = String::new();
    while !told.contains(mark) {
        let read = out.read_line(&mut told).unwrap();
        assert!(read > 0, "the demo ended: {told}");
    }
    told
}

/// The port of a node of this demo, from its configuration.
fn port(data: &Path, node: &str) -> u16 {
    let config = fs::read_to_string(data.join(node).join("quickbeam.toml")).unwrap();
    let line = config.lines().find(|line| line.starts_with("base = ")).unwrap();
    line.trim_end_matches('"').rsplit(':').next().unwrap().parse().unwrap()
}

/// A connection, if anything listens.
fn connection(port: u16) -> Option<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).ok()
}

/// Waits until nothing listens any more: a connection closes with the process that holds it.
fn falls_silent(port: u16) -> bool {
    let clock = SystemClock::shared();
    let end = clock.monotonic() + PATIENCE;
    while let Some(mut connection) = connection(port) {
        if clock.monotonic() > end {
            return false;
        }
        connection.set_read_timeout(Some(LOOK)).unwrap();
        // Closed, reset, or nothing for a while: the next connection tells.
        let _ = connection.read(&mut [0; 64]);
    }
    true
}

/// Ports that are free now, found as the demo finds its own.
fn free_base() -> String {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let output = demo(&["--once", "--data", data.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success());
    port(&data, "blog").to_string()
}

#[test]
fn a_demo_stays_up_goes_on_with_its_data_and_takes_its_nodes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let base = free_base();
    let words = ["--port-base", &base, "--data", data.to_str().unwrap()];

    let mut first = demo(&words).stdout(Stdio::piped()).spawn().unwrap();
    let told = read_until(&mut BufReader::new(first.stdout.take().unwrap()), "Both stay up");
    assert!(told.contains("linked gig-night"), "{told}");
    let ports = [port(&data, "blog"), port(&data, "events")];
    assert!(ports.iter().all(|port| connection(*port).is_some()));
    // Killed, it cannot tell its nodes; they see that their standard input is closed.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(ports.into_iter().all(falls_silent), "the nodes outlive the demo");

    let mut second = demo(&[&words[..], &["--keep"]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let told = read_until(&mut BufReader::new(second.stdout.take().unwrap()), "Both stay up");
    assert!(!told.contains("linked gig-night"), "the story is not played again: {told}");
    let config = data.join("blog/quickbeam.toml");
    let listed = Command::new(env!("CARGO_BIN_EXE_quickbeam"))
        .args(["activities", "--config", config.to_str().unwrap(), "--json", "--all"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("/gig-night"), "the data is that of last time");
    let third = demo(&words).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&third.stderr).contains("another demo runs in"));
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(ports.into_iter().all(falls_silent));
}
