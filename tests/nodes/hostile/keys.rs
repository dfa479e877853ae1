//! Keys at addresses where nobody may be sent to, and in documents that are not to be believed.

use quickbeam::wire::key::{KeyFormatError, PublicKey};
use serde_json::{Value, json};

use super::{Case, Class, Stage, case};
use crate::http::Call;
use crate::peer::{Reply, With};

/// Where a key is said to be: `{port}` is where somebody listens inside, `{peer}` an authority that is listed.
const ADDRESSES: [(&str, &str, &str); 50] = [
    ("loopback over http", "http://127.0.0.1:{port}", "[fetch] allow"),
    ("loopback over https", "https://127.0.0.1:{port}", "[fetch] allow"),
    ("loopback, another of its addresses", "https://127.9.9.9", "[fetch] allow"),
    ("loopback as one number", "https://2130706433:{port}", "keyid"),
    ("loopback in hexadecimal", "https://0x7f000001:{port}", "keyid"),
    ("loopback in octal", "https://0177.0.0.1:{port}", "keyid"),
    ("loopback in one octal number", "https://017700000001:{port}", "keyid"),
    ("loopback in two parts", "https://127.1:{port}", "keyid"),
    ("loopback in parts of several kinds", "https://0x7f.0.1:{port}", "keyid"),
    ("loopback with zeros", "https://127.000.000.001:{port}", "keyid"),
    ("loopback with an end dot", "https://127.0.0.1.:{port}", "keyid"),
    ("loopback in wide digits", "https://１２７.0.0.1:{port}", "ASCII"),
    ("loopback in circled digits", "https://①②⑦.0.0.1:{port}", "ASCII"),
    ("loopback, escaped", "https://%31%32%37.0.0.1:{port}", "keyid"),
    ("no address", "https://0.0.0.0:{port}", "[fetch] allow"),
    ("no address, as a number", "https://0:{port}", "keyid"),
    ("this network", "https://0.1.2.3", "[fetch] allow"),
    ("a private network of 8 bits", "https://10.0.0.1", "[fetch] allow"),
    ("a private network of 12 bits", "https://172.16.0.1", "[fetch] allow"),
    ("a private network of 16 bits", "https://192.168.0.1", "[fetch] allow"),
    ("the network of a carrier", "https://100.64.0.1", "[fetch] allow"),
    ("the metadata of a cloud", "https://169.254.169.254", "[fetch] allow"),
    ("the metadata of a cloud over http", "http://169.254.169.254", "[fetch] allow"),
    ("a network for benchmarks", "https://198.18.0.1", "[fetch] allow"),
    ("a group", "https://224.0.0.1", "[fetch] allow"),
    ("everybody", "https://255.255.255.255", "[fetch] allow"),
    ("loopback of IPv6", "https://[::1]:{port}", "[fetch] allow"),
    ("no address of IPv6", "https://[::]:{port}", "[fetch] allow"),
    ("loopback, mapped", "https://[::ffff:7f00:1]:{port}", "[fetch] allow"),
    ("loopback, mapped, with dots", "https://[::ffff:127.0.0.1]:{port}", "keyid"),
    ("loopback, compatible", "https://[::7f00:1]:{port}", "[fetch] allow"),
    ("loopback, translated", "https://[64:ff9b::7f00:1]:{port}", "[fetch] allow"),
    ("loopback, translated locally", "https://[64:ff9b:1::7f00:1]:{port}", "[fetch] allow"),
    ("loopback in 6to4", "https://[2002:7f00:1::]:{port}", "[fetch] allow"),
    ("loopback in Teredo", "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{port}", "[fetch] allow"),
    ("a link", "https://[fe80::1]:{port}", "[fetch] allow"),
    ("a link with its zone", "https://[fe80::1%25lo]:{port}", "keyid"),
    ("a site", "https://[fec0::1]", "[fetch] allow"),
    ("a unique local network", "https://[fd00::1]", "[fetch] allow"),
    ("a group of IPv6", "https://[ff02::1]", "[fetch] allow"),
    ("localhost", "https://localhost:{port}", "[fetch] allow"),
    ("localhost with an end dot", "https://localhost.:{port}", "keyid"),
    ("localhost in upper case", "https://LOCALHOST:{port}", "keyid"),
    ("loopback behind the name of a peer", "https://{peer}@127.0.0.1:{port}", "keyid"),
    ("loopback before a backslash", "https://127.0.0.1:{port}\\\\@{peer}", "keyid"),
    ("http at the port of https", "http://127.0.0.1:443", "keyid"),
    ("a file", "file:///etc/passwd", "keyid"),
    ("another protocol", "gopher://127.0.0.1:{port}", "keyid"),
    ("what it is itself", "data:application/json,{}", "keyid"),
    ("an address without a scheme", "//127.0.0.1:{port}", "keyid"),
];

/// What is shown at an address that was not asked for before.
type Document = fn(&str, Value) -> Reply;

/// Documents that are none, by what is wrong with them.
pub(super) const DOCUMENTS: [(&str, u16, Document); 34] = [
    ("redirects elsewhere", 401, |_, _| Reply::status(302).header("location", "http://127.0.0.1:1/actor")),
    ("has moved for ever", 401, |id, _| Reply::status(301).header("location", &format!("{id}/2"))),
    ("redirects with its body", 401, |id, doc| Reply { status: 307, ..Reply::json(&doc).header("location", id) }),
    ("is gone", 401, |_, _| Reply::status(410)),
    ("is not there", 401, |_, _| Reply::status(404)),
    ("has no content", 401, |_, _| Reply::status(204)),
    ("fails", 503, |_, _| Reply::status(500)),
    ("is busy", 503, |_, _| Reply::status(429)),
    ("never comes", 503, |_, _| Reply::silence()),
    ("is a page", 401, |_, doc| Reply {
        body: doc.to_string().into(),
        ..Reply::status(200).header("content-type", "text/html")
    }),
    ("is of no type", 401, |_, doc| Reply { body: doc.to_string().into(), ..Reply::status(200) }),
    ("is huge", 503, |_, doc| Reply::json(&with(doc, "summary", "x".repeat(70_000).into()))),
    ("is empty", 401, |_, _| json(b"")),
    ("is no JSON", 401, |_, _| json(b"{")),
    ("is no text", 401, |_, _| json(b"{\"id\":\"\xff\"}")),
    ("is a list", 401, |_, doc| Reply::json(&json!([doc]))),
    ("is deep", 401, |_, _| json(format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)).as_bytes())),
    ("says who it is twice", 401, |_, doc| {
        json(doc.to_string().replacen('{', "{\"id\":\"http://127.0.0.1/\",", 1).as_bytes())
    }),
    ("is another", 401, |id, doc| Reply::json(&with(doc, "id", format!("{id}/2").into()))),
    ("is of another host", 401, |_, doc| Reply::json(&with(doc, "id", "https://evil.example/actor".into()))),
    ("says that it is two", 401, |id, doc| Reply::json(&with(doc, "id", json!([id, "https://evil.example/"])))),
    ("is no actor", 401, |_, doc| Reply::json(&with(doc, "type", "Note".into()))),
    ("is of no type of object", 401, |_, doc| Reply::json(&with(doc, "type", 7.into()))),
    ("takes no mail", 401, |_, doc| Reply::json(&with(doc, "inbox", Value::Null))),
    ("takes mail at no address", 401, |_, doc| Reply::json(&with(doc, "inbox", "mailto:a@b.example".into()))),
    ("shows the key of another", 403, |id, doc| Reply::json(&keyed(doc, "controller", format!("{id}/2").into()))),
    ("shows the key of nobody", 403, |_, doc| Reply::json(&keyed(doc, "controller", Value::Null))),
    ("shows no key", 401, |_, doc| Reply::json(&with(doc, "assertionMethod", json!([])))),
    ("shows the address of its key", 401, |id, doc| {
        Reply::json(&with(doc, "assertionMethod", json!([format!("{id}#ed25519")])))
    }),
    ("shows a key that is none", 401, |_, doc| Reply::json(&keyed(doc, "publicKeyMultibase", "z6Mk".into()))),
    ("shows a key that fits everything", 401, |_, doc| {
        // The neutral point: whatever is signed, a signature of zeros fits it where points are not looked at.
        let point = [&[0xed, 0x01, 0x01][..], &[0; 31]].concat();
        let key = format!("z{}", bs58::encode(point).into_string());
        Reply::json(&keyed(doc, "publicKeyMultibase", key.into()))
    }),
    ("shows a key that is too small", 401, |id, doc| {
        Reply::json(&with_pem(doc, id, include_str!("../../vectors/rsa/small_public.pem")))
    }),
    ("shows a key that nobody checks", 401, |id, doc| {
        Reply::json(&with_pem(doc, id, include_str!("../../vectors/rsa/ec_public.pem")))
    }),
    ("shows its key behind a thousand others", 401, |id, doc| {
        let mut many: Vec<Value> = (0..200).map(|number| json!({ "id": format!("{id}#k{number}") })).collect();
        many.push(doc["assertionMethod"][0].clone());
        Reply::json(&with(doc, "assertionMethod", many.into()))
    }),
];

pub(super) fn addresses() -> Vec<Case> {
    let own = |name: &str, word, at: fn(&Stage) -> String| {
        case(format!("a key at {name}"), 401, word, move |stage| signed_at(stage, &format!("http://{}", at(stage))))
    };
    let cases = ADDRESSES.into_iter().map(|(name, url, word)| {
        case(format!("a key at {name}"), 401, word, move |stage| {
            let url = url.replace("{port}", &stage.inside.address.port().to_string());
            signed_at(stage, &url.replace("{peer}", &stage.peer.authority()))
        })
    });
    let listeners = [
        own("this node", "own authority", |stage| stage.node.authority()),
        own("the administration of this node", "[fetch] allow", |stage| stage.node.plan.spot.admin.to_string()),
        own("somebody inside", "[fetch] allow", |stage| stage.inside.authority()),
    ];
    cases.chain(listeners).collect()
}

fn documents() -> Vec<Case> {
    let cases = DOCUMENTS.into_iter().enumerate().map(|(number, (name, status, _))| {
        let made = case(format!("a document that {name}"), status, "", move |stage| {
            signed_at(stage, &format!("{}/odd/{number}", stage.peer.base()))
        });
        // Once as a stranger, once signed where that was refused, once for an owner that was named.
        made.asks(3)
    });
    cases.collect()
}

#[test]
fn no_key_is_fetched_from_where_nobody_may_be_sent() {
    Class::of(addresses()).run();
}

#[test]
fn keys_in_odd_documents_are_not_believed() {
    Class { prepare: shows_documents, ..Class::of(documents()) }.run();
}

#[test]
fn a_document_with_nothing_wrong_is_believed() {
    let stage = Stage::new(|plan| plan);
    shows_documents(&stage);
    stage.node.send(&signed_at(&stage, &format!("{}/good", stage.peer.base()))).expect(202);
}

/// By their numbers; the key of each is the peer's own.
fn shows_documents(stage: &Stage) {
    let (document, base) = (stage.peer.document(), stage.peer.base());
    stage.peer.documents(move |got| {
        let id = format!("{base}{}", got.target);
        let own: Value = serde_json::from_str(&document.to_string().replace(&format!("{base}/actor"), &id)).unwrap();
        match got.target.strip_prefix("/odd/").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => DOCUMENTS[number].2(&id, own),
            None => Reply::json(&own),
        }
    });
}

/// A Follow of an actor at this address, signed with the key that it is said to have there.
fn signed_at(stage: &Stage, url: &str) -> Call {
    let actor = if url.matches('/').count() > 2 { url.to_owned() } else { format!("{url}/actor") };
    let mut follow = stage.follow();
    follow["actor"] = actor.as_str().into();
    follow["id"] = format!("{url}/activities/1").into();
    let key = stage.peer.key.lock().clone();
    stage
        .peer
        .sign(&stage.node, &follow)
        .change(|it| (it.key_id, it.with) = (format!("{actor}#ed25519"), With::Key(key)))
        .call()
}

fn json(body: &[u8]) -> Reply {
    let reply = Reply::status(200).header("content-type", "application/activity+json");
    Reply { body: body.to_vec(), ..reply }
}

fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

fn keyed(mut document: Value, field: &str, value: Value) -> Value {
    document["assertionMethod"][0][field] = value;
    document
}

fn with_pem(document: Value, id: &str, pem: &str) -> Value {
    let key = json!({ "id": format!("{id}#ed25519"), "owner": id, "publicKeyPem": pem });
    with(with(document, "publicKey", key), "assertionMethod", json!([]))
}

#[test]
fn a_key_that_fits_everything_is_refused_for_that() {
    let point = [&[0xed, 0x01, 0x01][..], &[0; 31]].concat();
    let read = PublicKey::from_multikey(&format!("z{}", bs58::encode(point).into_string()));
    assert!(matches!(read, Err(KeyFormatError::Weak)), "{read:?}");
}
