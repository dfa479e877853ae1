//! The command line as its users meet it: words, exit codes, files and what it says, without a running node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder that the binary runs in, with an environment of its own.
struct Place(tempfile::TempDir);

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a node `blog` in it, on ports where nothing listens.
    fn with_blog() -> Self {
        let place = Self::new();
        let [public, admin] = closed_ports();
        let made = place.run(&[
            "init",
            "blog",
            "--base",
            "https://blog.example",
            "--template",
            "blog",
            "--listen",
            &public,
            "--admin-listen",
            &admin,
        ]);
        assert_eq!(made.code, 0, "{}", made.err);
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quickbeam"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUICKBEAM_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        ran(self.command(words).output().unwrap())
    }

    /// On the node `blog`.
    fn on_blog(&self, words: &[&str]) -> Ran {
        self.run(&[words, &["--config", "blog/quickbeam.toml"]].concat())
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o777
    }

    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.path(path), text.replace(from, to)).unwrap();
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Two addresses at which nothing listens now.
fn closed_ports() -> [String; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().to_string())
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn wrong_words_are_told_apart_from_refusals_by_the_exit_code() {
    let place = Place::new();
    for words in [
        &["publsh"][..],
        &["publish"],
        &["allocate", "gig-night", "--to", "events"],
        &["token", "add", "x"],
        &["token", "add", "x", "--scope", "everything"],
        &["init", "blog"],
        &["init", "blog", "--base", "https://blog.example", "--template", "shop"],
        &["publish", "article", "--update", "a", "--delete", "b"],
        &["demo", "--once", "--keep"],
        &["demo", "--port-base", "80"],
        &["activities", "--limit", "201"],
        &["activities", "--all", "--after", "x"],
        &["flows", "resume", "1", "--payload", "{"],
        &[],
    ] {
        let ran = place.run(words);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.err);
        assert!(ran.err.contains("Usage") || ran.err.contains("--help"), "{words:?}: {}", ran.err);
    }
    assert!(place.run(&["--help"]).out.contains("quickbeam demo"));
    assert_eq!(place.run(&["--version"]).code, 0);
}

#[test]
fn every_command_has_its_help() {
    let place = Place::new();
    for command in [
        "demo",
        "init",
        "serve",
        "check",
        "token",
        "follow",
        "unfollow",
        "publish",
        "allocate",
        "activities",
        "flows",
        "actors",
        "inspect",
        "peers",
        "followers",
        "dead-letters",
        "status",
    ] {
        let ran = place.run(&[command, "--help"]);
        assert_eq!(ran.code, 0, "{command}");
        assert!(ran.out.contains("--json") && ran.out.contains("--config"), "{command}");
    }
}

#[test]
fn a_new_node_has_private_keys_and_says_what_comes_next() {
    let place = Place::new();
    let made = place.run(&["init", "blog", "--base", "https://blog.example", "--template", "blog"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("next: quickbeam serve --config blog/quickbeam.toml"), "{}", made.out);
    assert_eq!(entries(&place.path("blog")), ["Caddyfile", "data", "quickbeam.service", "quickbeam.toml"]);
    for file in ["node.key", "node-rsa.key", "admin.token", "tokens.json"] {
        assert_eq!(place.mode(&format!("blog/data/{file}")), 0o600, "{file}");
    }
    assert_eq!(place.mode("blog/data"), 0o700);
    let token = made.out.lines().find(|line| line.starts_with("qb_")).unwrap();
    for file in ["blog/quickbeam.toml", "blog/data/tokens.json", "blog/data/admin.token"] {
        assert!(!fs::read_to_string(place.path(file)).unwrap().contains(token), "{file}");
    }
    let caddy = fs::read_to_string(place.path("blog/Caddyfile")).unwrap();
    assert!(caddy.contains("blog.example {") && caddy.contains("127.0.0.1:8001"), "{caddy}");
    assert!(fs::read_to_string(place.path("blog/quickbeam.service")).unwrap().contains("quickbeam serve --config /"));
}

#[test]
fn two_nodes_share_no_key_and_no_token() {
    let place = Place::new();
    for name in ["a", "b"] {
        assert_eq!(place.run(&["init", name, "--base", "https://a.example"]).code, 0);
    }
    for file in ["node.key", "node-rsa.key", "admin.token"] {
        let read = |name: &str| fs::read(place.path(&format!("{name}/data/{file}"))).unwrap();
        assert_ne!(read("a"), read("b"));
    }
}

#[test]
fn what_is_there_is_never_overwritten() {
    let place = Place::with_blog();
    let before = fs::read(place.path("blog/data/node.key")).unwrap();
    let again = place.run(&["init", "blog", "--base", "https://blog.example"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("blog is there already") && again.err.contains("--dir"), "{}", again.err);
    assert_eq!(fs::read(place.path("blog/data/node.key")).unwrap(), before);
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/letter"), "dear").unwrap();
    assert_eq!(place.run(&["init", "x", "--base", "https://x.example", "--dir", "mine"]).code, 1);
    assert_eq!(entries(&place.path("mine")), ["letter"]);
    fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(place.run(&["init", "x", "--base", "https://x.example", "--dir", "empty"]).code, 0);
}

#[test]
fn a_node_that_could_not_start_leaves_nothing_behind() {
    let place = Place::new();
    for (words, said) in [
        (["init", "Blog!", "--base", "https://blog.example"], "`Blog!`"),
        (["init", "blog", "--base", "blog.example"], "base"),
        (["init", "blog", "--base", "ftp://blog.example"], "base"),
        (["init", "blog", "--base", "https://blog.example/path"], "path"),
    ] {
        let ran = place.run(&[&words[..], &["--dir", "node"]].concat());
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.err.contains(said), "{words:?}: {}", ran.err);
        assert!(!place.path("node").exists(), "{words:?}");
    }
    let ran = place.run(&["init", "blog", "--base", "https://blog.example", "--listen", "8001"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("listen") && !place.path("blog").exists(), "{}", ran.err);
}

#[test]
fn check_says_what_there_is() {
    let place = Place::with_blog();
    let ran = place.on_blog(&["check"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(
        ran.out.trim(),
        "ok: blog at https://blog.example has 1 type, 2 behaviours, 2 flows, 0 schedules, 0 peers"
    );
    let json: Value = serde_json::from_str(&place.on_blog(&["check", "--json"]).out).unwrap();
    assert_eq!(json["behaviours"], serde_json::json!(["article.on.create = publish", "article.on.update = digest"]));
}

#[test]
fn check_names_every_mistake_in_one_go_with_its_place_and_remedy() {
    let place = Place::with_blog();
    place.edit("blog/quickbeam.toml", "accept = \"all\"", "accept = \"al\"");
    place.edit("blog/quickbeam.toml", "kind = \"time\"", "kind = \"tiem\"");
    place.edit("blog/quickbeam.toml", "on.update = \"digest\"", "on.update = \"digset\"");
    place.edit("blog/quickbeam.toml", "effect = \"digest.send\"", "effect = \"digest.sned\"");
    let ran = place.on_blog(&["check"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.err);
    for (slip, near) in [("`al`", "all"), ("tiem", "time"), ("digset", "digest"), ("digest.sned", "digest.send")] {
        let line = lines.iter().find(|line| line.contains(slip)).unwrap_or_else(|| panic!("{slip}: {}", ran.err));
        assert!(line.starts_with("blog/quickbeam.toml:") && line.contains(near), "{line}");
        let place: Vec<&str> = line.split(':').collect();
        assert!(place[1].parse::<u32>().is_ok() && place[2].parse::<u32>().is_ok(), "{line}");
    }
    let json: Value = serde_json::from_str(&place.on_blog(&["check", "--json"]).err).unwrap();
    assert_eq!(json["mistakes"].as_array().unwrap().len(), 4);
    let serve = place.on_blog(&["serve"]);
    assert_eq!((serve.code, serve.err), (1, ran.err), "a node does not start with what check refuses");
}

#[test]
fn check_warns_of_keys_that_others_can_read() {
    let place = Place::with_blog();
    fs::set_permissions(place.path("blog/data/node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(place.path("blog/data/admin.token")).unwrap();
    let ran = place.on_blog(&["check"]);
    assert_eq!(ran.code, 0);
    let warnings: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{}", ran.out);
    assert!(warnings[0].contains("node.key") && warnings[0].contains("chmod 600"), "{}", ran.out);
    assert!(warnings[1].contains("admin.token is not there"), "{}", ran.out);
}

#[test]
fn a_key_that_others_can_read_keeps_the_node_from_starting() {
    let place = Place::with_blog();
    fs::set_permissions(place.path("blog/data/node.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let ran = place.on_blog(&["serve", "--exit-with-stdin"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("node.key") && ran.err.contains("chmod 600"), "{}", ran.err);
}

#[test]
fn without_a_configuration_one_is_told_how_to_make_one() {
    let place = Place::new();
    for words in [&["check"][..], &["serve"], &["status"], &["token", "list"]] {
        let ran = place.run(words);
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.err.contains("quickbeam.toml") && ran.err.contains("quickbeam init"), "{words:?}: {}", ran.err);
    }
}

#[test]
fn the_configuration_is_the_one_named_then_that_of_the_environment_then_the_one_here() {
    let place = Place::with_blog();
    assert_eq!(place.run(&["check"]).code, 1);
    let file = place.path("blog/quickbeam.toml");
    assert_eq!(place.command(&["check"]).env("QUICKBEAM_CONFIG", &file).status().unwrap().code(), Some(0));
    assert_eq!(place.command(&["check"]).current_dir(place.path("blog")).status().unwrap().code(), Some(0));
    let named = place.command(&["check", "--config", "none.toml"]).env("QUICKBEAM_CONFIG", &file).output().unwrap();
    assert_eq!(named.status.code(), Some(1));
    let mut set = place.command(&["check", "--json"]);
    let set = set.current_dir(place.path("blog")).env("QUICKBEAM_NODE__NAME", "other").output().unwrap();
    let json: Value = serde_json::from_slice(&set.stdout).unwrap();
    assert_eq!(json["name"], "other");
}

#[test]
fn tokens_are_made_listed_and_revoked_while_the_node_is_down() {
    let place = Place::with_blog();
    let made = place.on_blog(&["token", "add", "press", "--scope", "publish,flows:read", "--expires", "30d"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.starts_with("qb_"), "{}", made.out);
    let list: Value = serde_json::from_str(&place.on_blog(&["token", "list", "--json"]).out).unwrap();
    let names: Vec<&str> = list["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "press"]);
    assert_eq!(list["items"][1]["scopes"], serde_json::json!(["publish", "flows:read"]));
    assert!(list["items"][1]["expires"].is_string() && list["items"][1].get("hash").is_none());
    let people = place.on_blog(&["token", "list"]).out;
    assert!(people.contains("in 29 d") || people.contains("in 30 d"), "{people}");
    let again = place.on_blog(&["token", "add", "press", "--scope", "publish"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("press already"), "{}", again.err);
    assert_eq!(place.on_blog(&["token", "revoke", "press"]).code, 0);
    let gone = place.on_blog(&["token", "revoke", "frist"]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("did you mean first?"), "{}", gone.err);
}

#[test]
fn a_command_for_a_node_that_is_down_says_how_to_start_it() {
    let place = Place::with_blog();
    for words in [
        &["status"][..],
        &["activities"],
        &["flows"],
        &["flows", "resume", "1", "approve"],
        &["actors", "--kind", "flow"],
        &["inspect", "outbox/events.example"],
        &["inspect", "outbox", "events.example"],
        &["peers"],
        &["peers", "retry", "events.example"],
        &["followers"],
        &["dead-letters"],
        &["follow", "events.example"],
        &["unfollow", "events.example"],
        &["publish", "article", "--field", "title=Gig night"],
        &["allocate", "gig-night", "--calendar", "main", "--to", "events.example"],
    ] {
        let ran = place.on_blog(words);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{words:?}");
        assert!(
            ran.err.contains("start it with `quickbeam serve --config blog/quickbeam.toml`"),
            "{words:?}: {}",
            ran.err
        );
        let json: Value = serde_json::from_str(&place.on_blog(&[words, &["--json"]].concat()).err).unwrap();
        assert!(json["detail"].as_str().unwrap().contains("quickbeam serve"), "{words:?}");
    }
    let here = place.command(&["status"]).current_dir(place.path("blog")).output().unwrap();
    assert!(ran(here).err.contains("start it with `quickbeam serve`"));
}

#[test]
fn another_program_at_the_address_is_not_taken_for_the_node() {
    let place = Place::with_blog();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let answers = std::thread::spawn(move || {
        let (mut connection, _) = stranger.accept().unwrap();
        // What was asked has to be read, or closing the connection takes the answer back.
        let mut request = [0; 4096];
        let _ = std::io::Read::read(&mut connection, &mut request).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
    });
    let mut status = place.command(&["status", "--config", "blog/quickbeam.toml"]);
    let ran = ran(status.env("QUICKBEAM_ADMIN__LISTEN", &address).output().unwrap());
    answers.join().unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("another program may listen there"), "{}", ran.err);
}

#[test]
fn fields_that_are_none_are_refused_before_the_node_is_asked() {
    let place = Place::with_blog();
    for (field, said) in [("title", "name=text"), ("=x", "no name"), ("title:={", "not JSON")] {
        let ran = place.on_blog(&["publish", "article", "--field", field]);
        assert_eq!(ran.code, 1, "{field}");
        assert!(ran.err.contains(said), "{field}: {}", ran.err);
    }
    fs::write(place.path("list.json"), "[1]").unwrap();
    let ran = place.on_blog(&["publish", "article", "--json-body", "list.json"]);
    assert!(ran.code == 1 && ran.err.contains("has to be an object"), "{}", ran.err);
}

#[test]
fn a_port_in_use_keeps_the_node_from_starting_and_is_named() {
    let place = Place::with_blog();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let mut serve = place.command(&["serve", "--exit-with-stdin", "--config", "blog/quickbeam.toml"]);
    let ran = ran(serve.env("QUICKBEAM_PUBLIC__LISTEN", &address).output().unwrap());
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&address) && ran.err.contains("public.listen"), "{}", ran.err);
    assert_eq!(
        entries(&place.path("blog/data")),
        ["admin.token", "node-rsa.key", "node.key", "tokens.json", "tokens.lock"]
    );
}

#[test]
fn a_demo_on_taken_ports_names_the_port_and_the_flag() {
    let place = Place::new();
    // A demo has its ports above 1023, so that the system's choice will do as its first one.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let base = port.min(64_534);
    let ran = place.run(&["demo", "--port-base", &base.to_string(), "--data", "demo"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is taken") && ran.err.contains("--port-base"), "{}", ran.err);
    assert!(base != port || ran.err.contains(&format!("port {port} ")), "{}", ran.err);
}

#[test]
fn a_demo_leaves_alone_what_is_no_demo() {
    let place = Place::new();
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/letter"), "dear").unwrap();
    let ran = place.run(&["demo", "--once", "--data", "mine"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("left alone") && ran.err.contains("--data"), "{}", ran.err);
    assert_eq!(entries(&place.path("mine")), ["letter"]);
}

#[test]
fn a_flow_is_tried_without_a_node_and_the_exit_code_tells_surprises_from_wrong_files() {
    let place = Place::with_blog();
    let file = |name: &str, text: &str| {
        let text =
            format!("config = \"blog/quickbeam.toml\"\nflow = \"digest\"\nobject = {{ category = \"note\" }}\n{text}");
        fs::write(place.path(name), text).unwrap();
    };
    file("good.toml", "[expect]\nphase = \"done\"\nresult = \"note\"\n");
    file("bad.toml", "[expect]\nresult = \"urgent\"\n");
    file("wrong.toml", "[expect]\nfase = 1\n");
    let good = place.run(&["flow", "test", "good.toml"]);
    assert_eq!(good.code, 0, "{}", good.err);
    assert!(good.out.contains("branch urgency: else") && good.out.contains("as expected"), "{}", good.out);
    let bad = place.run(&["flow", "test", "good.toml", "bad.toml", "--json"]);
    let told: Value = serde_json::from_str(&bad.out).unwrap();
    assert_eq!((bad.code, &told["ok"], &told["tests"][0]["ok"]), (1, &false.into(), &true.into()));
    assert_eq!(told["tests"][1]["surprises"][0], "its result should be \"urgent\", and is \"note\"");
    let wrong = place.run(&["flow", "test", "wrong.toml"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("wrong.toml:5:1: unknown key `fase`"), "{}", wrong.err);
    assert_eq!(place.run(&["flow", "test"]).code, 2);
    assert_eq!(place.run(&["flow", "test", "missing.toml"]).code, 1);
}
