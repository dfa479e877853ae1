//! The OpenAPI document of the store: every route and every status in it is tried, and nothing else is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Node, eventually};
use crate::http::{Answer, Call};
use crate::store::{Follower, append, json_body, limited, node, put};

/// Method and path.
type Operation = (String, String);

/// What no request alone brings about.
const ILL: [u16; 3] = [500, 503, 507];

/// The statuses that the document names, by operation.
fn documented(document: &Value) -> BTreeMap<Operation, BTreeSet<u16>> {
    let mut found = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            let statuses = operation["responses"].as_object().unwrap().keys().filter_map(|status| status.parse().ok());
            found.insert((method.to_uppercase(), path.clone()), statuses.collect());
        }
    }
    found
}

/// Tries one operation in all the ways that the document knows of.
struct Walk<'a> {
    node: &'a Node,
    token: &'a str,
    /// A token that reaches nothing of this.
    elsewhere: &'a str,
    method: &'a str,
    path: &'a str,
    seen: BTreeSet<u16>,
}

impl Walk<'_> {
    fn see(&mut self, call: Call) -> Answer {
        let answer = self.node.send(&call);
        // The answer to HEAD has no body that could be a problem.
        if answer.status >= 400 && self.method != "HEAD" {
            answer.refused(answer.status);
        }
        self.seen.insert(answer.status);
        answer
    }

    fn is(&self, area: &str) -> bool {
        self.path.contains(area)
    }

    fn good(&self, name: &str) -> Call {
        self.ask(name, "1")
    }

    fn ask(&self, name: &str, word: &str) -> Call {
        let before =
            if self.method == "DELETE" && self.is("streams") { format!("?before={word}") } else { String::new() };
        let call = Call::new(self.method, &(self.path.replace("{name}", name) + &before));
        if matches!(self.method, "PUT" | "POST") { json_body(call, word) } else { call }
    }

    fn all(mut self) -> BTreeSet<u16> {
        let name = "there";
        for seed in [append(name, "1"), put(name, "1"), Call::new("PUT", "/store/blobs/there").body("1")] {
            self.node.send(&seed.token(self.token));
        }
        let first = self.see(self.good(name).token(self.token));
        if self.is("openapi") {
            return self.seen;
        }
        self.who(name);
        match self.method {
            "GET" | "HEAD" if self.is("{name}") => self.reading(name, &first),
            "GET" => {}
            _ => self.writing(name),
        }
        self.seen
    }

    fn who(&mut self, name: &str) {
        self.see(self.good(name));
        let (narrow, wrong) = match self.is("{name}") {
            true => (self.good(name), self.good("a//b")),
            false => (Call::get(&format!("{}?prefix=", self.path)), Call::get(&format!("{}?after=!", self.path))),
        };
        self.see(narrow.token(self.elsewhere));
        self.see(wrong.token(self.token));
    }

    fn reading(&mut self, name: &str, first: &Answer) {
        if let Some(tag) = first.header("etag") {
            self.see(self.good(name).token(self.token).header("if-none-match", tag));
        }
        self.see(self.good("missing").token(self.token));
        if self.is("blobs") && self.method == "GET" {
            for range in ["bytes=0-0", "bytes=9-"] {
                self.see(self.good(name).token(self.token).header("range", range));
            }
        }
        if self.is("streams") && self.method == "GET" {
            let mut follower = Follower::of(self.node, self.token, "/store/streams/there", None);
            eventually("a stream is followed", || follower.next());
            self.see(self.good(name).token(self.token).accept("text/event-stream"));
        }
    }

    fn writing(&mut self, name: &str) {
        let other = if self.is("blobs") { "0".repeat(64) } else { "999999".to_owned() };
        let relying = |call: Call| call.token(self.token).header("if-match", &format!("\"{other}\""));
        let (relied, repeated) = (relying(self.good(name)), relying(self.ask("once", "2")).key("k"));
        self.see(relied);
        self.see(self.good("once").token(self.token).key("k"));
        self.see(repeated);
        if self.method != "DELETE" {
            let large = if self.is("blobs") { 65 << 10 } else { (1 << 20) + 1 };
            self.see(Call { body: vec![b' '; large], ..self.good(name).token(self.token) });
            let other = Call { headers: Vec::new(), ..self.good(name) };
            self.see(other.token(self.token).header("content-type", "text/plain"));
            self.see(self.good(name).token(self.token).header("content-encoding", "gzip"));
        }
    }
}

#[test]
fn the_document_says_what_every_route_answers() {
    let (node, token) = node();
    let document = node.send(&Call::get("/store/openapi.json")).expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let elsewhere = &limited(&node, "elsewhere", "mine/");
    let documented = documented(&document);
    let walk = |(method, path): &Operation| {
        let walk = Walk { node: &node, token: &token, elsewhere, method, path, seen: BTreeSet::new() };
        ((method.clone(), path.clone()), walk.all())
    };
    let mut seen: BTreeMap<Operation, BTreeSet<u16>> = documented.keys().map(walk).collect();
    for ((method, path), statuses) in seen.iter_mut().filter(|((_, path), _)| !path.contains("openapi")) {
        let writes = matches!(method.as_str(), "POST" | "PUT" | "DELETE");
        let ill = ILL.into_iter().filter(|status| *status != 507 || writes);
        let known = &documented[&(method.clone(), path.clone())];
        assert!(ill.clone().all(|status| known.contains(&status)), "{method} {path}: {known:?}");
        statuses.extend(ill);
    }
    assert_eq!(seen, documented);
    let base = format!("http://{}", node.authority());
    assert_eq!(document["servers"][0]["url"], base.as_str());
    let paths: BTreeSet<&String> = documented.keys().map(|(_, path)| path).collect();
    for path in paths {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            if !documented.contains_key(&(method.to_owned(), path.clone())) {
                let call = Call::new(method, &path.replace("{name}", "there")).token(&token);
                assert_eq!(node.send(&call).status, 405, "{method} {path}");
            }
        }
    }
}

/// Every reference of the document leads to something in it, and every name of an operation is there once.
#[test]
fn the_document_holds_together() {
    let (node, _) = node();
    let document = node.send(&Call::get("/store/openapi.json")).expect(200).json();
    let (mut references, mut names) = (Vec::new(), Vec::new());
    gather(&document, &mut references, &mut names);
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

fn gather(value: &Value, references: &mut Vec<String>, names: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        match (key.as_str(), inner.as_str()) {
            ("$ref", Some(text)) => references.push(text.to_owned()),
            ("operationId", Some(text)) => names.push(text.to_owned()),
            _ => gather(inner, references, names),
        }
    }
    value.as_array().into_iter().flatten().for_each(|inner| gather(inner, references, names));
}
