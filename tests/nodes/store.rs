//! The store for programs over HTTP: what they get, what they are refused, and what outlives a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quickbeam::wire::digest::content_digest;

use crate::harness::{DEADLINE, Node, Plan};
use crate::http::{Answer, Call};

const STORE: [&str; 2] = ["store:read", "store:write"];

/// A node with a token for all of its store.
pub(crate) fn node() -> (Node, String) {
    let node = Node::start(Plan::blog().limit("blob = \"64 KiB\"").limit("followers = 1"));
    let token = node.new_token("programs", &STORE);
    (node, token)
}

pub(crate) fn limited(node: &Node, name: &str, prefix: &str) -> String {
    let body = serde_json::json!({ "name": name, "scopes": STORE, "prefix": prefix });
    let made = node.send_admin(&Call::post("/admin/tokens").token(&node.admin_token).json(&body)).expect(201).json();
    made["token"].as_str().unwrap().to_owned()
}

pub(crate) fn json_body(call: Call, text: &str) -> Call {
    call.header("content-type", "application/json").body(text)
}

pub(crate) fn append(name: &str, text: &str) -> Call {
    json_body(Call::post(&format!("/store/streams/{name}")), text)
}

pub(crate) fn put(name: &str, text: &str) -> Call {
    json_body(Call::new("PUT", &format!("/store/kv/{name}")), text)
}

/// A client that follows a stream, over a socket of its own.
pub(crate) struct Follower(BufReader<TcpStream>);

impl Follower {
    pub(crate) fn of(node: &Node, token: &str, target: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(node.plan.spot.public).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let call = Call::get(target).token(token).accept("text/event-stream");
        let call = last.iter().fold(call, |call, last| call.header("last-event-id", last));
        stream.write_all(call.head(&node.authority()).as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event as `name id data`; nothing once the answer has ended.
    pub(crate) fn next(&mut self) -> Option<String> {
        let (mut name, mut id, mut line) = ("message".to_owned(), String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => name = text.to_owned(),
                Some(("id", text)) => id = text.to_owned(),
                Some(("data", text)) => return Some(format!("{name} {id} {text}")),
                _ => {}
            }
        }
    }
}

#[test]
fn what_a_token_is_limited_to_is_all_that_it_sees() {
    let (node, all) = node();
    let shop = limited(&node, "shop", "shop/");
    for area in ["streams", "kv", "blobs"] {
        let write = |name: &str| match area {
            "streams" => append(name, "1"),
            "kv" => put(name, "1"),
            _ => Call::new("PUT", &format!("/store/blobs/{name}")).body("1"),
        };
        let sent = |call: Call, token: &str| node.send(&call.token(token));
        for name in ["shop/a", "shopping", "shopping/a", "other", "shop"] {
            assert!((200..300).contains(&sent(write(name), &all).status), "{area} {name}");
        }
        for name in ["shopping", "shopping/a", "other", "shop", "SHOP/a"] {
            sent(write(name), &shop).refused_with(403, "shop/");
            for method in ["GET", "DELETE"] {
                let target = format!("/store/{area}/{name}");
                sent(Call::new(method, &target), &shop).refused_with(403, "shop/");
            }
            assert_eq!(sent(Call::new("HEAD", &format!("/store/{area}/{name}")), &shop).status, 403);
        }
        for prefix in ["", "shopping/", "other", "s"] {
            sent(Call::get(&format!("/store/{area}?prefix={prefix}")), &shop).refused_with(403, "shop/");
        }
        let names = |target: String, token: &str| {
            let page = sent(Call::get(&target), token).expect(200).json();
            let items = page["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for target in ["", "?prefix=shop/", "?prefix=shop"] {
            assert_eq!(names(format!("/store/{area}{target}"), &shop), ["shop/a"], "{target}");
        }
        assert!(names(format!("/store/{area}?prefix=shop/a/"), &shop).is_empty());
        assert_eq!(names(format!("/store/{area}"), &all), ["other", "shop", "shop/a", "shopping", "shopping/a"]);
        let first = sent(Call::get(&format!("/store/{area}?limit=2")), &all).expect(200).json();
        let next = first["next"].as_str().unwrap();
        let rest = names(format!("/store/{area}?limit=9&after={next}"), &all);
        assert_eq!(rest, ["shop/a", "shopping", "shopping/a"]);
        sent(Call::get(&format!("/store/{area}?after=!")), &all).refused_with(400, "after");
        sent(Call::get(&format!("/store/{area}?prefix=a//b")), &all).refused_with(400, "prefix");
    }
    // What neither token says is not allowed: others have no way in.
    node.send(&Call::get("/store/kv").token(&node.token)).refused_with(403, "store:read");
    node.send(&Call::get("/store/kv")).refused_with(401, "store:read");
}

#[test]
fn no_name_leads_out_of_the_area_of_programs() {
    let (node, all) = node();
    let shop = limited(&node, "shop", "shop/");
    node.publish("Gig");
    node.settle();
    let long = "a".repeat(129);
    let longest = vec!["a".repeat(100); 6].join("/");
    let names = [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../../actors",
        "a/./b",
        "%2e%2e",
        "a%2f%2fb",
        "%2Fa",
        "a%2F..%2Fb",
        "a%2F%2e%2e",
        "a%252Fb",
        "shop/%2e%2e/other",
        "a%00",
        "a%0a",
        "%61",
        "a%",
        "a;b",
        "a:b",
        "a@b",
        "a+b",
        "a,b",
        "a\\b",
        "a*b",
        "a=b",
        "a$b",
        "%c3%a4",
        long.as_str(),
        longest.as_str(),
    ];
    node.unchanged(|| {
        for area in ["streams", "kv", "blobs"] {
            for name in names {
                for method in ["GET", "PUT", "POST", "DELETE"] {
                    let target = format!("/store/{area}/{name}");
                    for token in [&all, &shop] {
                        let call = json_body(Call::new(method, &target), "1").token(token);
                        let answer = node.send(&call);
                        assert!(matches!(answer.status, 400 | 403 | 404 | 405), "{method} {target}: {answer}");
                    }
                }
                let answer = node.send(&Call::get(&format!("/store/{area}/{name}")).token(&all));
                assert!(matches!(answer.status, 400 | 404), "{area}/{name}: {answer}");
            }
        }
        // The same path by another spelling is not the same address.
        for target in ["/%73tore/kv/a", "/store%2fkv%2fa", "/store/kv/../../admin/tokens", "/store/../admin/tokens"] {
            let answer = node.send(&put("x", "1").token(&all).header("x", "y")).status;
            assert_eq!(answer, 200);
            let answer = node.send(&Call { target: target.into(), ..put("x", "1").token(&all) });
            assert!(matches!(answer.status, 400 | 404 | 405), "{target}: {answer}");
        }
    });
    let listed = node.send(&Call::get("/store/kv").token(&all)).expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

/// JSON as text, with what readers of numbers and texts stumble over.
fn json_texts() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,40})",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,30}",
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,5}",
    ];
    let string = prop::collection::vec(any::<char>(), 0..8)
        .prop_map(|text| serde_json::to_string(&text.iter().collect::<String>()).unwrap());
    let escaped = "\"(\\\\u00[0-7][0-9a-f]|\\\\ud83d\\\\ude0[0-9]|\\\\[\"/bfnrt]|\\\\\\\\|a){0,4}\"";
    let leaf = prop_oneof![
        number,
        string.clone(),
        escaped,
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned())
    ];
    let value = leaf.prop_recursive(6, 40, 5, move |inner| {
        let entries = prop::collection::btree_map(prop::collection::vec(any::<char>(), 0..4), inner.clone(), 0..5);
        let object = entries.prop_map(|entries| {
            let entry = |(key, value): (Vec<char>, String)| {
                format!("{}:{value}", serde_json::to_string(&key.iter().collect::<String>()).unwrap())
            };
            format!("{{{}}}", entries.into_iter().map(entry).collect::<Vec<_>>().join(","))
        });
        prop_oneof![prop::collection::vec(inner, 0..5).prop_map(|list| format!("[{}]", list.join(","))), object]
    });
    let deepest = (1..=64usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    prop_oneof![9 => value, 1 => deepest]
}

#[test]
fn any_json_value_comes_back_as_it_was_written() {
    let (node, token) = node();
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let mut number = 0_u64;
    let round = |texts: Vec<String>| {
        for text in &texts {
            node.send(&put("value", text).token(&token)).expect(200);
            let back = node.send(&Call::get("/store/kv/value").token(&token)).expect(200);
            assert_eq!(back.text(), *text);
        }
        let lines = Call::post("/store/streams/values").header("content-type", "application/x-ndjson");
        node.send(&lines.token(&token).body(texts.join("\n"))).expect(201);
        let page = node.send(&Call::get(&format!("/store/streams/values?after={number}")).token(&token)).expect(200);
        for text in &texts {
            number += 1;
            assert!(page.text().contains(&format!("{{\"sequence\":{number},\"value\":{text}}}")), "{text} in {page}");
        }
    };
    let round = std::cell::RefCell::new(round);
    let mut runner = TestRunner::new(config);
    runner
        .run(&prop::collection::vec(json_texts(), 1..3), |texts| {
            (round.borrow_mut())(texts);
            Ok(())
        })
        .unwrap();
    // Across a restart as well, and what is not one value is refused.
    let large = "{\"n\":[1.10e400,-0,123456789012345678901234567890.5,\"\\u0000\u{10ffff}\"]}";
    node.send(&put("large", large).token(&token)).expect(200);
    node.kill();
    node.restart();
    assert_eq!(node.send(&Call::get("/store/kv/large").token(&token)).expect(200).text(), large);
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for bad in ["", "{", "1 2", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "NaN", "01", "\"\\ud800\"", &deep] {
        for call in [put("bad", bad), append("bad", bad)] {
            node.send(&call.token(&token)).refused_with(400, "cannot be taken");
        }
    }
    node.send(&put("bad", "1").token(&token).body(vec![b'"', 0xff, b'"'])).refused_with(400, "UTF-8");
    let lines = Call::post("/store/streams/bad").token(&token).header("content-type", "application/x-ndjson");
    node.send(&lines.clone().body("1\n\n{\"a\":1,\"a\":2}\n")).refused_with(400, "line 3");
    node.send(&lines.body("\n \n")).refused_with(400, "no value");
    let bad = node.send(&Call::new("HEAD", "/store/streams/bad").token(&token)).expect(200);
    assert_eq!(bad.header("stream-last"), Some("0"), "a batch is all or nothing");
}

#[test]
fn a_follower_goes_on_where_it_was_through_a_restart_of_the_node() {
    let (node, token) = node();
    let send = |value: &str| node.send(&append("news/today", value).token(&token)).expect(201);
    send("1");
    let mut follower = Follower::of(&node, &token, "/store/streams/news/today", None);
    assert_eq!(follower.next().unwrap(), "message 1 1");
    let lines = Call::post("/store/streams/news/today").header("content-type", "application/x-ndjson");
    node.send(&lines.token(&token).body("2\n{\"a\" : \"x\\ny\"}")).expect(201);
    send("4");
    for expected in ["message 2 2", "message 3 {\"a\":\"x\\ny\"}", "message 4 4"] {
        assert_eq!(follower.next().unwrap(), expected);
    }
    // Only so many may follow at once.
    let events = Call::get("/store/streams/other").token(&token).accept("text/event-stream");
    let refused = node.send(&events);
    refused.refused_with(503, "limits.followers");
    assert!(refused.header("retry-after").is_some());
    // A stop ends the answer in good order and in good time.
    let (status, _) = node.terminate();
    assert!(status.success(), "{}", node.log());
    assert_eq!(follower.next(), None);
    node.restart();
    send("5");
    let mut again = Follower::of(&node, &token, "/store/streams/news/today?from=1", Some("3"));
    assert_eq!(again.next().unwrap(), "message 4 4");
    assert_eq!(again.next().unwrap(), "message 5 5");
    node.kill();
    node.restart();
    node.send(&Call::new("DELETE", "/store/streams/news/today?before=5").token(&token)).expect(200);
    let mut late = Follower::of(&node, &token, "/store/streams/news/today", Some("2"));
    assert_eq!(late.next().unwrap(), "truncated  {\"first\":5}");
    assert_eq!(late.next().unwrap(), "message 5 5");
    // A token that is revoked ends what it began.
    node.admin("DELETE", "/admin/tokens/programs").expect(200);
    let other = node.new_token("other", &STORE);
    node.send(&append("news/today", "6").token(&other)).expect(201);
    assert_eq!(late.next(), None);
    // As after the restore of a backup: it has seen what is not there any more.
    let mut ahead = Follower::of(&node, &other, "/store/streams/news/today", Some("99"));
    assert_eq!(ahead.next().unwrap(), "rewound  {\"last\":6}");
    node.send(&append("news/today", "7").token(&other)).expect(201);
    assert_eq!(ahead.next().unwrap(), "message 7 7");
}

#[test]
fn the_last_number_survives_truncation_and_kill() {
    let (node, token) = node();
    for value in ["1", "2", "3"] {
        node.send(&append("s", value).token(&token)).expect(201);
    }
    let cut = node.send(&Call::new("DELETE", "/store/streams/s?before=9").token(&token)).expect(200).json();
    assert_eq!(cut, serde_json::json!({ "first": 4, "last": 3 }));
    node.kill();
    node.restart();
    let head = node.send(&Call::new("HEAD", "/store/streams/s").token(&token)).expect(200);
    assert_eq!(
        (head.header("stream-first"), head.header("stream-last"), head.header("etag")),
        (Some("4"), Some("3"), Some("\"3\""))
    );
    node.send(&append("s", "1").token(&token).header("if-none-match", "*")).refused_with(412, "3");
    node.send(&append("s", "1").token(&token).header("if-match", "\"0\"")).refused(412);
    let next = node.send(&append("s", "4").token(&token).header("if-match", "\"3\"")).expect(201).json();
    assert_eq!(next, serde_json::json!({ "first": 4, "last": 4 }));
    let page = node.send(&Call::get("/store/streams/s?from=1&direction=backward").token(&token)).expect(200).json();
    assert_eq!(page, serde_json::json!({ "items": [{ "sequence": 4, "value": 4 }], "first": 4, "last": 4 }));
}

/// Sends all at once, and gives the answers.
fn together(node: &Node, calls: Vec<Call>) -> Vec<Answer> {
    thread::scope(|scope| {
        let sent: Vec<_> = calls.iter().map(|call| scope.spawn(|| node.send(call))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    })
}

#[test]
fn a_repeat_gets_the_same_answer_also_at_the_same_instant_and_after_a_kill() {
    let (node, token) = node();
    let theirs = node.new_token("theirs", &STORE);
    let calls = [append("s", "1"), put("v", "1"), Call::new("PUT", "/store/blobs/b").body("1")];
    let mut firsts = Vec::new();
    for call in calls {
        let call = call.token(&token).key("k");
        let answers = together(&node, vec![call.clone(); 12]);
        let first = answers[0].clone();
        assert!(
            answers.iter().all(|answer| answer.body == first.body && answer.header("etag") == first.header("etag")),
            "{answers:?}"
        );
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
        assert_eq!(replayed, 11, "{answers:?}");
        let other = Call { body: b"2".to_vec(), ..call.clone() };
        node.send(&other).refused_with(422, "idempotency key");
        firsts.push((call, first));
    }
    // Somebody else's key is another key.
    let answer = node.send(&append("s", "2").token(&theirs).key("k")).expect(201);
    assert_eq!((answer.json()["last"].as_u64(), answer.header("idempotent-replayed")), (Some(2), None));
    node.kill();
    node.restart();
    for (call, first) in firsts {
        let again = node.send(&call);
        assert_eq!(
            (again.status, &again.body, again.header("etag")),
            (first.status, &first.body, first.header("etag"))
        );
    }
    for call in [
        Call::new("DELETE", "/store/kv/v"),
        Call::new("DELETE", "/store/blobs/b"),
        Call::new("DELETE", "/store/streams/s?before=2"),
    ] {
        let call = call.token(&token).key("d");
        let first = node.send(&call);
        assert!(first.header("idempotent-replayed").is_none() && first.status < 300, "{first}");
        let again = node.send(&call);
        assert_eq!((again.status, again.header("idempotent-replayed")), (first.status, Some("true")));
    }
    node.send(&put("v", "1").token(&token).key(&"k".repeat(256))).refused_with(400, "Idempotency-Key");
}

#[test]
fn of_two_writers_who_rely_on_the_same_state_one_is_told_what_stands_there() {
    let (node, token) = node();
    for _ in 0..5 {
        let state = node.send(&Call::new("HEAD", "/store/streams/s").token(&token)).expect(200);
        let tag = state.header("etag").unwrap().to_owned();
        let answers = together(&node, vec![append("s", "1").token(&token).header("if-match", &tag); 4]);
        let statuses: BTreeMap<u16, usize> = answers.iter().fold(BTreeMap::new(), |mut all, answer| {
            *all.entry(answer.status).or_default() += 1;
            all
        });
        assert_eq!(statuses, BTreeMap::from([(201, 1), (412, 3)]));
        let last = tag.trim_matches('"').parse::<u64>().unwrap() + 1;
        for lost in answers.iter().filter(|answer| answer.status == 412) {
            lost.refused_with(412, &format!("{last}"));
            assert_eq!(lost.json()["current"]["last"], last);
        }
    }
    let first = node.send(&put("v", "0").token(&token).header("if-none-match", "*")).expect(200);
    let tag = first.header("etag").unwrap();
    let answers = together(&node, vec![put("v", "1").token(&token).header("if-match", tag); 4]);
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    for lost in answers.iter().filter(|answer| answer.status != 200) {
        lost.refused(412);
        assert_eq!(lost.json()["current"]["version"], won[0].json()["version"]);
    }
    // Those who rely on nothing all get through.
    let answers = together(&node, (0..24).map(|number| append("crowd", &number.to_string()).token(&token)).collect());
    let lasts: BTreeSet<u64> = answers.iter().map(|answer| answer.json()["last"].as_u64().unwrap()).collect();
    assert_eq!(lasts, (1..=24).collect());
}

#[test]
fn a_blob_is_never_a_page_and_is_what_its_hash_says() {
    let (node, token) = node();
    let blob = |body: &str| {
        Call::new("PUT", "/store/blobs/pics/a.html").token(&token).header("content-type", "text/html").body(body)
    };
    let put = node.send(&blob("<script>").header("content-digest", &content_digest(b"<script>"))).expect(200);
    let got = node.send(&Call::get("/store/blobs/pics/a.html").token(&token)).expect(200);
    assert_eq!((got.text().as_str(), got.header("etag")), ("<script>", put.header("etag")));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "attachment; filename=\"a.html\""),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("content-type", "text/html"),
        ("repr-digest", &content_digest(b"<script>")),
    ] {
        assert_eq!(got.header(name), Some(value), "{got}");
    }
    node.send(&blob("other").header("content-digest", &content_digest(b"<script>"))).refused_with(400, "hash");
    node.send(&blob("other").header("content-digest", "sha-256=x")).refused_with(400, "content-digest");
    node.send(&blob("other").header("if-none-match", "*")).refused(412);
    let other = node.send(&blob("other").header("if-match", put.header("etag").unwrap())).expect(200);
    node.send(&blob("third").header("if-match", put.header("etag").unwrap()))
        .refused_with(412, &other.header("etag").unwrap().replace('"', ""));
    node.send(&blob(&"x".repeat((64 << 10) + 1))).refused_with(413, "65536");
    // One that does not say its length is stopped on the way.
    let mut stream = TcpStream::connect(node.plan.spot.public).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = blob("").header("transfer-encoding", "chunked").head(&node.authority());
    let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "x".repeat(70_000));
    stream.write_all((head + &body).as_bytes()).unwrap();
    Answer::read(stream).unwrap().refused_with(413, "65536");
    assert_eq!(node.send(&Call::get("/store/blobs/pics/a.html").token(&token)).text(), "other");
    // Damage is named and never served.
    let hash = other.json()["hash"].as_str().unwrap().to_owned();
    let file = node.data().join("blobs").join(&hash[..2]).join(&hash);
    std::fs::write(&file, "othex").unwrap();
    node.send(&Call::get("/store/blobs/pics/a.html").token(&token)).refused_with(500, &hash);
    node.send(&blob("other")).expect(200);
    assert_eq!(node.send(&Call::get("/store/blobs/pics/a.html").token(&token)).expect(200).text(), "other");
}

#[test]
fn the_escape_of_a_slash_is_a_slash_and_leads_nowhere_else() {
    let (node, all) = node();
    let shop = limited(&node, "shop", "shop/");
    for (area, write) in [("streams", append("shop%2Fa", "1")), ("kv", put("shop%2fa", "1"))] {
        let first = node.send(&write.clone().token(&shop).key("k"));
        assert!(matches!(first.status, 200 | 201), "{first}");
        node.send(&Call::get(&format!("/store/{area}/shop/a")).token(&shop)).expect(200);
        // It is one name, so that a repeat under the other spelling is a repeat.
        let again = Call { target: format!("/store/{area}/shop/a"), ..write.token(&shop).key("k") };
        assert_eq!(node.send(&again).header("idempotent-replayed"), Some("true"));
        node.send(&Call::get(&format!("/store/{area}/other%2Fa")).token(&shop)).refused_with(403, "shop/");
        node.send(&Call::get(&format!("/store/{area}/shop%2F..%2Fother")).token(&all)).refused_with(400, "..");
    }
    node.send(&Call::new("PUT", "/store/blobs/shop%2Fa").token(&shop).body("1")).expect(200);
    assert_eq!(node.send(&Call::get("/store/blobs/shop/a").token(&shop)).expect(200).text(), "1");
}

#[test]
fn a_write_that_is_not_what_it_says_is_refused_before_anything_is_kept() {
    let (node, token) = node();
    let writes = [append("a", "1"), put("a", "1"), Call::new("PUT", "/store/blobs/a").body("1")];
    for write in writes.map(|write| write.token(&token)) {
        node.send(&write.clone().header("content-digest", &content_digest(b"2"))).refused(400);
        node.send(&write.clone().header("content-digest", "sha-256=1")).refused_with(400, "content-digest");
        node.send(&write.clone().header("content-encoding", "gzip")).refused_with(415, "gzip");
        node.send(&write.clone().header("content-encoding", "identity, br")).refused_with(415, "Content-Encoding");
        node.send(&write.clone().key("k").key("l")).refused_with(400, "Idempotency-Key");
        let target = format!("{}?dry_run=true", write.target);
        node.send(&Call { target, ..write.clone() }).refused_with(400, "dry_run");
        let kept = node.send(&Call::get(&write.target).token(&token));
        assert!(kept.status == 404 || kept.json()["last"] == 0, "{kept}");
        let digest = content_digest(b"1");
        let taken = node.send(&write.header("content-encoding", "identity").header("content-digest", &digest));
        assert!(matches!(taken.status, 200 | 201), "{taken}");
    }
    let both = format!("{}, {}", content_digest(b"1"), quickbeam::wire::digest::content_digest_sha512(b"2"));
    node.send(&put("b", "1").token(&token).header("content-digest", &both)).refused_with(400, "sha-512");
}

#[test]
fn a_word_in_the_query_that_means_nothing_is_named_with_those_that_do() {
    let (node, token) = node();
    node.send(&append("s", "1").token(&token)).expect(201);
    let refused = |method: &str, target: &str, words: [&str; 2]| {
        let detail = node.send(&Call::new(method, target).token(&token)).refused(400);
        assert!(words.iter().all(|word| detail.contains(word)), "{target}: {detail}");
    };
    refused("GET", "/store/streams/s?form=2", ["form", "`from`"]);
    refused("GET", "/store/streams/s?values=2", ["values", "direction"]);
    refused("DELETE", "/store/streams/s?before=1&now=1", ["now", "before"]);
    refused("GET", "/store/streams?values=true", ["values", "prefix"]);
    refused("GET", "/store/kv?preifx=a", ["preifx", "`prefix`"]);
    refused("GET", "/store/kv/a?version=1", ["version", "take it away"]);
    refused("GET", "/store/blobs?sort=name", ["sort", "limit"]);
    refused("DELETE", "/store/blobs/a?force=1", ["force", "take it away"]);
    // Nothing is said of it to whoever may not ask at all.
    node.send(&Call::get("/store/kv/a?version=1")).refused(401);
}

#[test]
fn a_part_of_a_blob_is_served_only_of_what_was_checked() {
    let (node, token) = node();
    let content: Vec<u8> = (0..40_000_u32).map(|number| (number % 251) as u8).collect();
    let blob = "/store/blobs/a";
    let put = node.send(&Call::new("PUT", blob).token(&token).body(content.clone())).expect(200);
    let tag = put.header("etag").unwrap().to_owned();
    let get = |range: &str| Call::get(blob).token(&token).header("range", range);
    let head = node.send(&Call::new("HEAD", blob).token(&token)).expect(200);
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    for (range, first, last) in [("bytes=0-0", 0, 0), ("bytes=100-300", 100, 300), ("bytes=39990-", 39_990, 39_999)] {
        let part = node.send(&get(range)).expect(206);
        assert_eq!(part.body, content[first..=last]);
        assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/40000").as_str()));
        assert_eq!(part.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(node.send(&get("bytes=-5")).expect(206).body, content[39_995..]);
    assert_eq!(node.send(&get("bytes=1-2").header("if-range", &tag)).expect(206).body, content[1..=2]);
    for whole in [get("bytes=1-2").header("if-range", "\"other\""), get("bytes=1-2,4-5"), get("lines=1-2")] {
        assert_eq!(node.send(&whole).expect(200).body, content);
    }
    let beyond = node.send(&get("bytes=40000-"));
    beyond.refused_with(416, "40000 bytes");
    assert_eq!(beyond.header("content-range"), Some("bytes */40000"));
    node.send(&get("bytes=1-2").header("if-none-match", &tag)).expect(304);
    // A byte that is not asked for counts as well.
    let hash = tag.trim_matches('"');
    let file = node.data().join("blobs").join(&hash[..2]).join(hash);
    let mut damaged = content;
    damaged[39_999] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    node.send(&get("bytes=0-0")).refused_with(500, "damaged");
}
