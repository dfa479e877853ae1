//! Signatures by RFC 9421 that are false, cover too little, are out of time, or are no signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::wire::digest::content_digest;
use quickbeam::wire::key::NodeKey;
use quickbeam::wire::rsa::RsaKey;

use super::{Case, Class, Stage, case};
use crate::http::Call;
use crate::peer::{Signed, With, now};

/// What is made of a signature that was true.
type Forge = fn(Signed, &Stage) -> Call;

/// What is tried with an ed25519 and with an RSA key.
const WITH_ANY_KEY: [(&str, u16, &str, Forge); 31] = [
    ("altered", 403, "false", |it, _| it.change(|it| it.forged = true).call()),
    ("of another key", 403, "false", |it, _| it.change(|it| it.with = another(&it.with)).call()),
    ("over another body", 400, "another", |it, _| it.change(|it| it.body.push(b' ')).call()),
    ("over another body with its digest", 403, "false", |it, _| {
        let mut call = it.call();
        call.body.push(b' ');
        let digest = content_digest(&call.body);
        edit(call, "content-digest", |_| digest.clone())
    }),
    ("over another content type", 403, "false", |it, _| {
        edit(it.call(), "content-type", |_| "application/json".to_owned())
    }),
    ("for another host", 403, "false", |it, _| {
        it.change(|it| it.target = "http://evil.example/inbox".to_owned()).call()
    }),
    ("for another path", 403, "false", |it, _| it.change(|it| it.target += "es").call()),
    ("for another query", 403, "false", |it, _| it.change(|it| it.target += "?x=1").call()),
    ("for another scheme", 403, "false", |it, _| {
        it.change(|it| it.target = it.target.replace("http://", "https://")).call()
    }),
    ("for another method", 403, "false", |it, _| {
        let mut call = it.change(|it| it.call.method = "GET".to_owned()).call();
        call.method = "POST".to_owned();
        call
    }),
    ("too old", 401, "ago", |it, _| it.change(|it| it.created = Some(now() - 400)).call()),
    ("of the future", 401, "future", |it, _| it.change(|it| it.created = Some(now() + 400)).call()),
    ("expired", 401, "expired", |it, _| it.change(|it| it.expires = Some(now() - 2)).call()),
    ("without a time", 401, "created", |it, _| it.change(|it| it.created = None).call()),
    ("of before all time", 401, "ago", |it, _| created(it, "-999999999999999")),
    ("of after all time", 401, "future", |it, _| created(it, "999999999999999")),
    ("of a time that is no number of 64 bits", 401, "signature-input", |it, _| created(it, "18446744073709551616")),
    ("of a time in a fraction", 401, "created", |it, _| created(it, "1.5")),
    ("of a time in words", 401, "created", |it, _| created(it, "\"now\"")),
    ("that says alg none", 401, "alg", |it, _| it.change(|it| it.more = ";alg=\"none\"".to_owned()).call()),
    ("that says alg hmac-sha256", 401, "alg", |it, _| {
        it.change(|it| it.more = ";alg=\"hmac-sha256\"".to_owned()).call()
    }),
    ("by the public key as a secret", 403, "false", |it, stage| {
        it.change(|it| it.with = public(&it.with, stage)).call()
    }),
    ("by the public key as a secret, which it says", 401, "alg", |it, stage| {
        it.change(|it| (it.with, it.more) = (public(&it.with, stage), ";alg=\"hmac-sha256\"".to_owned())).call()
    }),
    ("that is cut off", 403, "false", |it, _| bytes(it.call(), |bytes| bytes.truncate(bytes.len() / 2))),
    ("that is empty", 403, "false", |it, _| bytes(it.call(), Vec::clear)),
    ("that is too long", 403, "false", |it, _| bytes(it.call(), |bytes| bytes.insert(0, 0))),
    ("of zeros", 403, "false", |it, _| bytes(it.call(), |bytes| bytes.fill(0))),
    ("with a key of a neighbour", 403, "authority", |it, stage| {
        let key_id = format!("{}#main-key", stage.neighbour.actor());
        it.change(|it| it.key_id = key_id).call()
    }),
    ("with a key that is not published", 503, "asked for again soon", |it, _| it.change(|it| it.key_id += "-2").call()),
    ("with a key of this node", 403, "authority", |it, stage| {
        let key_id = format!("{}#main-key", stage.node.actor());
        it.change(|it| it.key_id = key_id).call()
    }),
    ("with another key of its owner", 403, "false", |it, stage| {
        let (ed25519, rsa) = (format!("{}#ed25519", stage.peer.actor()), format!("{}#main-key", stage.peer.actor()));
        it.change(|it| it.key_id = if it.key_id == rsa { ed25519 } else { rsa }).call()
    }),
];

/// What is wrong whatever the key is.
const WITH_ONE_KEY: [(&str, u16, &str, Forge); 41] = [
    ("none at all", 401, "not signed", |it, _| without(without(it.call(), "signature"), "signature-input")),
    ("without its input", 401, "", |it, _| without(it.call(), "signature-input")),
    ("without its bytes", 401, "signature is missing", |it, _| without(it.call(), "signature")),
    ("that does not cover the method", 401, "@method", |it, _| it.without("@method").call()),
    ("that does not cover the target", 401, "@target-uri", |it, _| it.without("@target-uri").call()),
    ("that does not cover the digest", 401, "content-digest", |it, _| it.without("content-digest").call()),
    ("that covers nothing", 401, "@method", |it, _| it.change(|it| it.covered.clear()).call()),
    ("that covers authority and path only", 401, "@query", |it, _| covering(it, &["@authority", "@path"])),
    ("that covers path and query only", 401, "@authority", |it, _| covering(it, &["@path", "@query"])),
    ("that covers authority and query only", 401, "@path", |it, _| covering(it, &["@authority", "@query"])),
    ("that covers the method of another request", 401, "@method", |it, _| input(it, "\"@method\"", "\"@method\";req")),
    ("that covers a digest as it could be written", 401, "content-digest", |it, _| {
        input(it, "\"content-digest\"", "\"content-digest\";sf")
    }),
    ("that covers a component twice", 401, "twice", |it, _| input(it, "\"@method\"", "\"@method\" \"@method\"")),
    ("that covers what nobody derives", 401, "@everything", |it, _| {
        input(it, "\"@method\"", "\"@method\" \"@everything\"")
    }),
    ("that covers a status", 401, "@status", |it, _| input(it, "\"@method\"", "\"@method\" \"@status\"")),
    ("that covers a header that is not there", 401, "x-absent", |it, _| {
        input(it, "\"@method\"", "\"@method\" \"x-absent\"")
    }),
    ("that covers a header in upper case", 401, "", |it, _| input(it, "\"content-type\"", "\"Content-Type\"")),
    ("that covers a number", 401, "", |it, _| input(it, "\"@method\"", "\"@method\" 7")),
    ("that covers a thousand components", 401, "components", |it, _| {
        let many: String = (0..1_000).map(|number| format!(" \"a{number}\"")).collect();
        input(it, "\"@method\"", &format!("\"@method\"{many}"))
    }),
    ("under a label that stands twice", 401, "twice", |it, _| {
        edit(it.call(), "signature-input", |text| format!("{text}, {text}"))
    }),
    ("whose bytes stand twice", 401, "twice", |it, _| edit(it.call(), "signature", |text| format!("{text}, {text}"))),
    ("whose bytes stand in two headers", 401, "twice", |it, _| {
        let call = it.call();
        let again = header(&call, "signature");
        call.header("signature", &again)
    }),
    ("with a parameter twice", 401, "twice", |it, _| it.change(|it| it.more = format!(";created={}", now())).call()),
    ("with an older time before its time", 401, "twice", |it, _| {
        it.change(|it| (it.created, it.more) = (Some(1), format!(";created={}", now()))).call()
    }),
    ("with a parameter of a component twice", 401, "twice", |it, _| {
        input(it, "\"@method\"", "\"@method\" \"content-type\";key=\"a\";key=\"b\"")
    }),
    ("with two key ids", 401, "twice", |it, _| it.change(|it| it.more = format!(";keyid=\"{}\"", it.key_id)).call()),
    ("under five labels", 401, "labels", |it, _| {
        edit(it.call(), "signature-input", |text| {
            let more: String = (0..4).map(|number| format!(", s{number}={}", &text[4..])).collect();
            format!("{text}{more}")
        })
    }),
    ("under another label than its input", 401, "label", |it, _| {
        edit(it.call(), "signature", |text| text.replacen("sig=", "gis=", 1))
    }),
    ("that is a text", 401, "", |it, _| edit(it.call(), "signature", |_| "sig=\"true\"".to_owned())),
    ("that is a list of itself", 401, "", |it, _| edit(it.call(), "signature", |text| format!("sig=({})", &text[4..]))),
    ("that is not base64", 401, "signature", |it, _| edit(it.call(), "signature", |_| "sig=:?*!:".to_owned())),
    ("that is no dictionary", 401, "signature-input", |it, _| {
        edit(it.call(), "signature-input", |_| "sig=(((((((((((".to_owned())
    }),
    ("that is not ASCII", 401, "ASCII", |it, _| edit(it.call(), "signature-input", |text| format!("{text};x=\"ü\""))),
    ("without a key id", 401, "keyid", |it, _| input(it, ";keyid=", ";key=")),
    ("with a key id that is no address", 401, "keyid", |it, _| it.change(|it| it.key_id = "nonsense".into()).call()),
    ("with a key id that is a number", 401, "keyid", |it, _| {
        edit(it.call(), "signature-input", |text| text[..text.find(";keyid").unwrap()].to_owned() + ";keyid=7")
    }),
    ("by a secret that nobody shares", 401, "secret", |it, stage| {
        let key_id = format!("{}#hmac", stage.peer.actor());
        it.change(|it| (it.key_id, it.with) = (key_id, With::Secret(vec![b's'; 32]))).call()
    }),
    ("with the same scalar in another form", 403, "false", |it, _| bytes(it.call(), |bytes| add_the_order(bytes))),
    ("with a digest that is missing", 401, "content-digest is missing", |it, _| {
        it.change(|it| it.digest = None).call()
    }),
    ("with a digest of a kind that is broken", 401, "sha-256", |it, _| {
        it.change(|it| it.digest = Some("md5=:eA==:".to_owned())).call()
    }),
    ("with a digest that is none", 400, "content-digest", |it, _| {
        it.change(|it| it.digest = Some("sha-256=x".to_owned())).call()
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (key, rsa) in [("ed25519", false), ("RSA", true)] {
        for (name, status, word, forge) in WITH_ANY_KEY {
            let name = format!("a signature with {key} {name}");
            cases.push(case(name, status, word, move |stage| forge(signed(stage, rsa), stage)));
        }
    }
    for (name, status, word, forge) in WITH_ONE_KEY {
        let name = format!("a signature {name}");
        cases.push(case(name, status, word, move |stage| forge(signed(stage, false), stage)));
    }
    cases.push(case("a signature that was taken once, for an activity with its id", 409, "used", |stage| {
        let mut create = stage.follow();
        create["id"] = first_follow(stage);
        create["summary"] = "another".into();
        stage.peer.sign(&stage.node, &create).call()
    }));
    cases
}

#[test]
fn false_signatures_by_the_rfc_are_refused() {
    Class::of(cases()).run();
}

fn first_follow(stage: &Stage) -> serde_json::Value {
    let accept = stage.peer.awaits("Accept", None);
    accept["object"]["id"].as_str().or_else(|| accept["object"].as_str()).unwrap().into()
}

fn signed(stage: &Stage, rsa: bool) -> Signed {
    let key_id = format!("{}#main-key", stage.peer.actor());
    match rsa {
        true => stage.signed().change(|it| (it.key_id, it.with) = (key_id, With::Rsa(rsa_key()))),
        false => stage.signed(),
    }
}

/// The one that all peers have.
pub(super) fn rsa_key() -> RsaKey {
    RsaKey::from_pem(include_str!("../../vectors/rsa/one.pem")).unwrap()
}

pub(super) fn other_rsa_key() -> RsaKey {
    RsaKey::from_pem(include_str!("../../vectors/rsa/two.pem")).unwrap()
}

fn another(with: &With) -> With {
    match with {
        With::Rsa(_) => With::Rsa(other_rsa_key()),
        _ => With::Key(NodeKey::from_seed([9; 32])),
    }
}

/// A public key is known to all: whoever takes it for a secret believes everybody.
fn public(with: &With, stage: &Stage) -> With {
    let document = stage.peer.document();
    let text = match with {
        With::Rsa(_) => document["publicKey"]["publicKeyPem"].as_str(),
        _ => document["assertionMethod"][0]["publicKeyMultibase"].as_str(),
    };
    With::Secret(text.unwrap().as_bytes().to_vec())
}

fn created(it: Signed, text: &str) -> Call {
    let more = format!(";created={text}");
    it.change(|it| (it.created, it.more) = (None, more)).call()
}

fn covering(it: Signed, names: &[&str]) -> Call {
    let covered = ["@method", "content-digest"].iter().chain(names).map(|name| (*name).to_owned()).collect();
    it.change(|it| it.covered = covered).call()
}

/// What the signature says of itself, changed after it was made.
fn input(it: Signed, from: &str, to: &str) -> Call {
    edit(it.call(), "signature-input", |text| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1)
    })
}

pub(super) fn header(call: &Call, name: &str) -> String {
    call.headers.iter().find(|(given, _)| given == name).unwrap_or_else(|| panic!("no {name}")).1.clone()
}

pub(super) fn edit(mut call: Call, name: &str, change: impl Fn(&str) -> String) -> Call {
    let value = call.headers.iter_mut().find(|(given, _)| given == name);
    let (_, value) = value.unwrap_or_else(|| panic!("no {name}"));
    *value = change(value);
    call
}

pub(super) fn without(mut call: Call, name: &str) -> Call {
    call.headers.retain(|(given, _)| given != name);
    call
}

fn bytes(call: Call, change: impl Fn(&mut Vec<u8>)) -> Call {
    edit(call, "signature", |text| {
        let mut bytes = STANDARD.decode(text.split(':').nth(1).unwrap()).unwrap();
        change(&mut bytes);
        format!("sig=:{}:", STANDARD.encode(bytes))
    })
}

/// The second half of an ed25519 signature is a number, which fits as well with the order of the group added to it.
fn add_the_order(signature: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
    assert_eq!(carry, 0, "a true signature is below the order");
}
