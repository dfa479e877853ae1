//! Signatures by draft-cavage-http-signatures that are false, cover too little, are out of time, or are no signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::clock::{Clock as _, SystemClock};
use quickbeam::wire::rsa::RsaKey;
use sha2::{Digest as _, Sha256};

use super::signature::{edit, header, other_rsa_key, rsa_key, without};
use super::{Case, Class, Stage, case};
use crate::http::Call;
use crate::peer::now;

/// A request in the making; each part can be falsified before it is signed.
struct Draft {
    key_id: String,
    key: RsaKey,
    algorithm: String,
    names: Vec<String>,
    method: &'static str,
    path: &'static str,
    host: String,
    date: String,
    digest: Option<String>,
    body: Vec<u8>,
    /// Further parameters, as they stand.
    more: String,
    /// Without the parameter that names what is covered.
    unnamed: bool,
    created: String,
}

type Forge = fn(Draft, &Stage) -> Call;

const FORGED: [(&str, u16, &str, Forge); 45] = [
    ("altered", 403, "false", |it, _| bytes(it.call(), |bytes| bytes[7] ^= 1)),
    ("of another key", 403, "false", |it, _| it.with(|it| it.key = other_rsa_key())),
    ("over another body", 400, "another", |it, _| it.with(|it| it.body.push(b' '))),
    ("over another body with its digest", 403, "false", |it, _| {
        let mut call = it.call();
        call.body.push(b' ');
        let digest = digest(&call.body);
        edit(call, "digest", |_| digest.clone())
    }),
    ("over another date", 403, "false", |it, _| edit(it.call(), "date", |_| date(now() - 7))),
    ("for another path", 403, "false", |it, _| it.with(|it| it.path = "/outbox")),
    ("for another query", 403, "false", |it, _| it.with(|it| it.path = "/inbox?x=1")),
    ("for another method", 403, "false", |it, _| it.with(|it| it.method = "get")),
    ("for another host", 421, "evil.example", |it, _| it.with(|it| it.host = "evil.example".to_owned())),
    ("for another host than it goes to", 403, "false", |it, stage| {
        let own = stage.node.authority();
        edit(it.with(|it| it.host = "evil.example".to_owned()), "host", |_| own.clone())
    }),
    ("too old", 401, "ago", |it, _| it.with(|it| it.date = date(now() - 400))),
    ("of the future", 401, "future", |it, _| it.with(|it| it.date = date(now() + 400))),
    ("expired", 401, "expired", |it, _| it.with(|it| it.more = format!(",expires={}", now() - 2))),
    ("of a date in another form", 401, "date", |it, _| it.with(|it| it.date = "2026-11-21T08:30:00Z".to_owned())),
    ("of a date that is none", 401, "date", |it, _| it.with(|it| it.date = "Sun, 99 Nov 2026 99:99:99 GMT".to_owned())),
    ("of two dates", 401, "date twice", |it, _| it.call().header("date", &date(now()))),
    ("without its date", 401, "date", |it, _| without(it.call(), "date")),
    ("of a time that is no number of 64 bits", 401, "created", |it, _| timed(it, "18446744073709551616")),
    ("of a time in words", 401, "created", |it, _| timed(it, "now")),
    ("of a time with a sign", 401, "created", |it, _| timed(it, "-1")),
    ("of a time with a zero before it", 401, "created", |it, _| {
        let text = format!("0{}", now());
        timed(it, &text)
    }),
    ("of after all time", 401, "future", |it, _| timed(it, "9223372036854775807")),
    ("with a time that its algorithm cannot sign", 401, "section 2.3", |it, _| {
        it.with(|it| (it.names[2], it.created) = ("(created)".to_owned(), now().to_string()))
    }),
    ("that does not cover the target", 401, "(request-target)", |it, _| it.without("(request-target)")),
    ("that does not cover the host", 401, "host", |it, _| it.without("host")),
    ("that does not cover a time", 401, "date", |it, _| it.without("date")),
    ("that does not cover the digest", 401, "digest", |it, _| it.without("digest")),
    ("that covers nothing", 401, "", |it, _| it.with(|it| it.names.clear())),
    ("that does not say what it covers", 401, "(created)", |it, _| it.with(|it| it.unnamed = true)),
    ("that covers a header twice", 401, "twice", |it, _| it.with(|it| it.names.push("host".to_owned()))),
    ("that covers a header that is not there", 401, "x-absent", |it, _| {
        edit(it.call(), "signature", |text| text.replace("host date", "host x-absent date"))
    }),
    ("that covers a thousand headers", 401, "components", |it, _| {
        let many: String = (0..1_000).map(|number| format!(" a{number}")).collect();
        edit(it.call(), "signature", |text| text.replace("host date", &format!("host date{many}")))
    }),
    ("that says algorithm none", 401, "none", |it, _| it.with(|it| it.algorithm = "none".to_owned())),
    ("that says algorithm hmac-sha256", 401, "hmac-sha256", |it, _| {
        it.with(|it| it.algorithm = "hmac-sha256".to_owned())
    }),
    ("with a key of a neighbour", 403, "authority", |it, stage| {
        let key_id = format!("{}#main-key", stage.neighbour.actor());
        it.with(|it| it.key_id = key_id)
    }),
    ("with a key that is not published", 503, "asked for again soon", |it, _| it.with(|it| it.key_id += "-2")),
    ("with a key id that is no address", 401, "keyid", |it, _| it.with(|it| it.key_id = "main-key".to_owned())),
    ("with two key ids", 401, "twice", |it, _| it.with(|it| it.more = format!(",keyId=\"{}\"", it.key_id))),
    ("with a backslash", 401, "backslash", |it, _| it.with(|it| it.more = ",x=\"a\\\"b\"".to_owned())),
    ("with a hundred parameters", 401, "too many", |it, _| {
        it.with(|it| it.more = (0..100).map(|number| format!(",p{number}=\"\"")).collect())
    }),
    ("in two headers", 401, "several", |it, _| {
        let call = it.call();
        let again = header(&call, "signature");
        call.header("signature", &again)
    }),
    ("that is not base64", 401, "base64", |it, _| {
        edit(it.call(), "signature", |text| format!("{}signature=\"?*!\"", &text[..text.find("signature=").unwrap()]))
    }),
    ("that is nothing", 401, "", |it, _| edit(it.call(), "signature", |_| String::new())),
    ("with a digest that is missing", 401, "digest", |it, _| without(it.call(), "digest")),
    ("with a digest of a kind that is broken", 401, "", |it, _| it.with(|it| it.digest = Some("MD5=eA==".to_owned()))),
];

pub(super) fn cases() -> Vec<Case> {
    let cases = FORGED.into_iter().map(|(name, status, word, forge)| {
        case(format!("a signature {name}"), status, word, move |stage| forge(Draft::of(stage), stage))
    });
    cases.collect()
}

#[test]
fn false_signatures_by_the_draft_are_refused() {
    Class::of(cases()).run();
}

#[test]
fn what_the_forgeries_are_made_of_is_true() {
    let stage = Stage::new(|plan| plan);
    stage.node.send(&Draft::of(&stage).call()).expect(202);
}

fn date(seconds: i64) -> String {
    let time = SystemClock::default().now();
    let shift = std::time::Duration::from_secs(now().abs_diff(seconds));
    let time = if seconds < now() { time.minus(shift) } else { time.plus(shift) };
    jiff::Timestamp::from_second(time.seconds()).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn digest(body: &[u8]) -> String {
    format!("SHA-256={}", STANDARD.encode(Sha256::digest(body)))
}

fn timed(it: Draft, created: &str) -> Call {
    let created = created.to_owned();
    it.with(|it| {
        it.names[2] = "(created)".to_owned();
        (it.created, it.algorithm) = (created, "hs2019".to_owned());
    })
}

fn bytes(call: Call, change: impl Fn(&mut Vec<u8>)) -> Call {
    edit(call, "signature", |text| {
        let (before, signature) = text.split_once("signature=\"").unwrap();
        let mut bytes = STANDARD.decode(signature.trim_end_matches('"')).unwrap();
        change(&mut bytes);
        format!("{before}signature=\"{}\"", STANDARD.encode(bytes))
    })
}

impl Draft {
    fn of(stage: &Stage) -> Self {
        let body = stage.follow().to_string().into_bytes();
        Self {
            key_id: format!("{}#main-key", stage.peer.actor()),
            key: rsa_key(),
            algorithm: "rsa-sha256".to_owned(),
            names: ["(request-target)", "host", "date", "digest"].map(str::to_owned).to_vec(),
            method: "post",
            path: "/inbox",
            host: stage.node.authority(),
            date: date(now()),
            digest: Some(digest(&body)),
            body,
            more: String::new(),
            unnamed: false,
            created: String::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Call {
        change(&mut self);
        self.call()
    }

    fn without(self, name: &str) -> Call {
        self.with(|it| it.names.retain(|given| given != name))
    }

    fn call(self) -> Call {
        let digest = self.digest.clone().unwrap_or_default();
        let value = |name: &str| match name {
            "(request-target)" => format!("{} {}", self.method, self.path),
            "(created)" => self.created.clone(),
            "host" => self.host.clone(),
            "date" => self.date.clone(),
            "digest" => digest.clone(),
            other => panic!("{other} is not signed here"),
        };
        let lines: Vec<String> = self.names.iter().map(|name| format!("{name}: {}", value(name))).collect();
        let signature = STANDARD.encode(self.key.sign(lines.join("\n").as_bytes()));
        let names = if self.unnamed { String::new() } else { format!(",headers=\"{}\"", self.names.join(" ")) };
        let created = if self.created.is_empty() { String::new() } else { format!(",created={}", self.created) };
        let said = format!(
            "keyId=\"{}\",algorithm=\"{}\"{names}{created}{},signature=\"{signature}\"",
            self.key_id, self.algorithm, self.more
        );
        Call::post("/inbox")
            .header("host", &self.host)
            .header("date", &self.date)
            .header("digest", &digest)
            .header("content-type", "application/activity+json")
            .header("signature", &said)
            .body(self.body)
    }
}
