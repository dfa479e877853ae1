//! Bodies that cannot be read, mean two things, are too much, or have something else where a field should be. All are
//! truly signed.

use serde_json::{Value, json};

use super::signature::without;
use super::{Case, Class, Stage, case, raw};
use crate::http::Call;

const MIB: usize = 1 << 20;

type Body = fn(&Stage) -> Vec<u8>;

const BODIES: [(&str, u16, &str, Body); 40] = [
    ("empty", 400, "", |_| Vec::new()),
    ("no JSON", 400, "", |_| b"this is not JSON".to_vec()),
    ("null", 400, "object", |_| b"null".to_vec()),
    ("a number", 400, "object", |_| b"7".to_vec()),
    ("a text", 400, "object", |_| b"\"Follow\"".to_vec()),
    ("a list", 400, "object", |stage| format!("[{}]", stage.follow()).into()),
    ("an empty object", 400, "", |_| b"{}".to_vec()),
    ("cut off", 400, "", |stage| half(&stage.follow().to_string()).into()),
    ("followed by more", 400, "", |stage| format!("{} x", stage.follow()).into()),
    ("two objects", 400, "", |stage| format!("{0}{0}", stage.follow()).into()),
    ("ended with a NUL", 400, "", |stage| format!("{}\0", stage.follow()).into()),
    ("begun with a NUL", 400, "", |stage| format!("\0{}", stage.follow()).into()),
    ("with a NUL in a text", 400, "", |stage| text(stage, "\"Follow\"", "\"Fol\0low\"")),
    ("with a NUL in its id", 400, "id", |stage| text(stage, "/activities/", "/activities/\\u0000")),
    ("with a newline in a text", 400, "", |stage| text(stage, "\"Follow\"", "\"Fol\nlow\"")),
    ("no UTF-8", 400, "", |stage| bytes(stage, b"\"Fol\xfflow\"")),
    ("with a letter that is too long", 400, "", |stage| bytes(stage, b"\"\xc1\xa6ollow\"")),
    ("with half a letter", 400, "", |stage| bytes(stage, b"\"Follow\xe2\x82\"")),
    ("with half of a pair", 400, "", |stage| text(stage, "\"Follow\"", "\"Fol\\ud800low\"")),
    ("with a mark before it", 400, "", |stage| format!("\u{feff}{}", stage.follow()).into()),
    ("in UTF-16", 400, "", |stage| stage.follow().to_string().encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ("65 lists deep", 400, "", |stage| deep(stage, 65, "[", "]")),
    ("65 objects deep", 400, "", |stage| deep(stage, 65, "{\"a\":", "}")),
    ("5,000 lists deep", 400, "", |stage| deep(stage, 5_000, "[", "]")),
    ("100,000 lists deep, without an end", 400, "", |_| b"[".repeat(100_000)),
    ("with two actors", 400, "actor", |stage| text(stage, "{", "{\"actor\":\"http://evil.example/actor\",")),
    ("with two actors, one of them escaped", 400, "actor", |stage| {
        text(stage, "{", "{\"\\u0061ctor\":\"http://evil.example/actor\",")
    }),
    ("with two ids in its object", 400, "id", |stage| text(stage, "{", "{\"summary\":{\"id\":\"a\",\"id\":\"b\"},")),
    ("with a number that has no end", 400, "", |stage| text(stage, "{", "{\"summary\":1e999999,")),
    ("with what is no number", 400, "", |stage| text(stage, "{", "{\"summary\":NaN,")),
    ("with a number in another form", 400, "", |stage| text(stage, "{", "{\"summary\":0x7f,")),
    ("with a comment", 400, "", |stage| text(stage, "{", "{/* a comment */")),
    ("in single quotes", 400, "", |stage| stage.follow().to_string().replace('"', "'").into()),
    ("with a comma too many", 400, "", |stage| text(stage, "{", "{,")),
    ("packed, which nobody says", 400, "", |_| b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV*".to_vec()),
    ("with 10,001 addresses", 400, "10000", |stage| {
        let many = vec![json!("https://b.example/actor"); 10_001];
        field(stage, "to", many.into())
    }),
    ("without an id", 400, "id", |stage| field(stage, "id", Value::Null)),
    ("without an actor", 400, "actor", |stage| field(stage, "actor", Value::Null)),
    ("without an object", 400, "object", |stage| field(stage, "object", Value::Null)),
    ("of two verbs", 400, "several", |stage| field(stage, "type", json!(["Follow", "Undo"]))),
];

/// What stands where something else should be.
const WRONG: [(&str, &str, &str); 30] = [
    ("id", "7", "id"),
    ("id", "[]", "id"),
    ("id", "{}", "id"),
    ("id", "\"\"", "id"),
    ("id", "\"activity\"", "id"),
    ("id", "\"urn:uuid:1\"", "id"),
    ("type", "7", ""),
    ("type", "{}", ""),
    ("type", "[]", ""),
    ("actor", "7", "actor"),
    ("actor", "true", "actor"),
    ("actor", "[]", "actor"),
    ("actor", "{}", "actor"),
    ("actor", "\"peer\"", "actor"),
    ("actor", "{\"id\": 7}", "actor"),
    ("object", "7", "object"),
    ("object", "[]", "object"),
    ("object", "{}", "object"),
    ("object", "{\"id\": []}", "object"),
    ("object", "[\"https://b.example/1\", \"https://b.example/2\"]", "object"),
    ("object", "\"not an address\"", "object"),
    ("target", "7", "target"),
    ("target", "{}", "target"),
    ("to", "7", "to"),
    ("to", "[7]", "to"),
    ("cc", "{}", "cc"),
    ("bcc", "[[]]", "bcc"),
    ("published", "7", "published"),
    ("published", "\"yesterday\"", "published"),
    ("result", "7", "result"),
];

/// Other spellings of the host of a peer: `{host}` is it.
const LOOKALIKES: [(&str, &str); 12] = [
    ("with its scheme in upper case", "HTTP://{host}/actor"),
    ("with a user", "http://user@{host}/actor"),
    ("as the user of another", "http://{host}@evil.example/actor"),
    ("before a backslash", "http://{host}\\\\evil.example/actor"),
    ("with a dot segment", "http://{host}/x/../actor"),
    ("with an escaped dot segment", "http://{host}/x/%2e%2e/actor"),
    ("with a tab", "http://{host}/ac\\ttor"),
    ("with a space before it", " http://{host}/actor"),
    ("with one slash", "http:/{host}/actor"),
    ("with three slashes", "http:///{host}/actor"),
    ("with another letter that looks the same", "http://\u{0430}.example/actor"),
    ("with a letter that is not there", "http://b.exam\u{ad}ple/actor"),
];

pub(super) fn cases() -> Vec<Case> {
    let bodies = BODIES.into_iter().map(|(name, status, word, body)| {
        case(format!("a body {name}"), status, word, move |stage| signed(stage, body(stage)))
    });
    let wrong = WRONG.into_iter().map(|(field_name, value, word)| {
        case(format!("a body whose {field_name} is {value}"), 400, word, move |stage| {
            signed(stage, field(stage, field_name, serde_json::from_str(value).unwrap()))
        })
    });
    let lookalikes = LOOKALIKES.into_iter().flat_map(|(name, url)| {
        ["actor", "object"].map(|field_name| {
            case(format!("a body whose {field_name} is a peer {name}"), 400, field_name, move |stage| {
                let url = format!("\"{}\"", url.replace("{host}", &stage.peer.authority()));
                signed(stage, field(stage, field_name, serde_json::from_str(&url).unwrap()))
            })
        })
    });
    bodies.chain(wrong).chain(lookalikes).chain(sizes()).chain(media()).collect()
}

fn sizes() -> Vec<Case> {
    vec![
        case("a body of more than 1 MiB", 413, "1048576", |stage| {
            signed(stage, field(stage, "summary", "x".repeat(MIB).into()))
        }),
        raw("a body of 10 GB that is only announced", 413, "1048576", |stage| {
            head(stage, "content-length: 10000000000\r\n").into()
        }),
        raw("a body of chunks without an end", 413, "1048576", |stage| {
            let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
            format!("{}{}", head(stage, "transfer-encoding: chunked\r\n"), chunk.repeat(MIB / 0x2000 + 1)).into()
        }),
        raw("a body of single letters without an end", 413, "1048576", |stage| {
            format!("{}{}", head(stage, "transfer-encoding: chunked\r\n"), "1\r\nx\r\n".repeat(MIB + 1)).into()
        }),
        case("a body that is packed, and grows without an end", 415, "gzip", |stage| {
            signed(stage, bomb()).header("content-encoding", "gzip")
        }),
        case("a body that is packed as nobody knows", 415, "x-bomb", |stage| {
            stage.signed().call().header("content-encoding", "x-bomb")
        }),
    ]
}

fn media() -> Vec<Case> {
    let of = |given: &'static str| {
        case(format!("a body of the type {given:?}"), 415, "application/activity+json", move |stage| {
            stage.signed().change(|it| it.content_type = given.to_owned()).call()
        })
    };
    let mut cases: Vec<Case> = [
        "text/html",
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/activity",
        "*/*",
    ]
    .map(of)
    .into();
    cases.push(case("a body of no type", 415, "application/activity+json", |stage| {
        without(stage.signed().call(), "content-type")
    }));
    cases.push(case("a body of two types", 415, "application/activity+json", |stage| {
        stage.signed().call().header("content-type", "text/html")
    }));
    cases
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    Class::of(cases()).run();
}

fn signed(stage: &Stage, body: Vec<u8>) -> Call {
    stage.peer.sign_bytes(&stage.node, body).call()
}

fn half(text: &str) -> &str {
    &text[..text.len() / 2]
}

fn field(stage: &Stage, name: &str, value: Value) -> Vec<u8> {
    let mut follow = stage.follow();
    match value {
        Value::Null => drop(follow.as_object_mut().unwrap().remove(name)),
        value => follow[name] = value,
    }
    follow.to_string().into()
}

fn text(stage: &Stage, from: &str, to: &str) -> Vec<u8> {
    let follow = stage.follow().to_string();
    assert!(follow.contains(from), "{from} is not in {follow}");
    follow.replacen(from, to, 1).into()
}

/// Its verb replaced by bytes.
fn bytes(stage: &Stage, verb: &[u8]) -> Vec<u8> {
    let follow = stage.follow().to_string();
    let (before, after) = follow.split_once("\"Follow\"").unwrap();
    [before.as_bytes(), verb, after.as_bytes()].concat()
}

fn deep(stage: &Stage, depth: usize, open: &str, close: &str) -> Vec<u8> {
    let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    text(stage, "{", &format!("{{\"summary\":{nested},"))
}

/// The head of an unsigned post, with these lines in it.
fn head(stage: &Stage, lines: &str) -> String {
    let host = stage.node.authority();
    let kind = "content-type: application/activity+json\r\n";
    format!("POST /inbox HTTP/1.1\r\nhost: {host}\r\n{kind}{lines}connection: close\r\n\r\n")
}

/// A stream of gzip in which one block says the same byte over and over: nobody here should ever find out.
fn bomb() -> Vec<u8> {
    let mut packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    packed.extend([0xec, 0xc1, 0x01]);
    packed.extend(vec![0; 512 * 1024]);
    packed
}
