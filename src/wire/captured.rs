//! A request that somebody has captured, its signature judged as the inbox would judge it: for finding out why it fails.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::claim::claims;
use super::keys::KeyCache;
use super::message::{RequestView, Target};
use super::signature::Demand;
use super::transport::{Request, Response, Transport, TransportError};
use super::verify::{VerifyLimits, verify_sender};
use crate::clock::Time;
use crate::domains::identity::Iri;

/// A request as it stood on the wire: a request line, headers, an empty line, the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub method: String,
    pub path_and_query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Why bytes are no such request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCaptured {
    #[error("it does not begin with a request line such as `POST /inbox HTTP/1.1`")]
    RequestLine,
    #[error("line {0} is no header: write NAME: VALUE, and an empty line before the body")]
    Header(usize),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    pub valid: bool,
    pub actor: Option<Iri>,
    pub key_id: Option<Iri>,
    /// Which rule it does not meet.
    pub reason: Option<String>,
    /// What each of its signatures has to have been made over.
    pub bases: Vec<Base>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    pub label: String,
    pub key_id: Iri,
    pub base: String,
}

impl Captured {
    /// Reads one request. Lines may end in LF alone, as editors write them; the body is taken as it stands.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCaptured> {
        let (head, body) = split(bytes);
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path, version) = (words.next(), words.next(), words.next());
        let (Some(method), Some(path)) = (method.filter(|word| !word.is_empty()), path) else {
            return Err(NotCaptured::RequestLine);
        };
        if !version.is_some_and(|version| version.starts_with("HTTP/")) || !path.starts_with('/') {
            return Err(NotCaptured::RequestLine);
        }
        let header = |(number, line): (usize, &str)| match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
            _ => Err(NotCaptured::Header(number + 2)),
        };
        let headers = lines.enumerate().map(header).collect::<Result<_, _>>()?;
        let (method, path_and_query) = (method.to_owned(), path.to_owned());
        Ok(Self { method, path_and_query, headers, body: Bytes::copy_from_slice(body) })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// When it says that it was signed, in seconds: `created` of its signature, or its `Date`.
    pub fn signed_at(&self) -> Option<Time> {
        let created = ["signature-input", "signature"].into_iter().filter_map(|name| {
            let (_, rest) = self.header(name)?.split_once("created=")?;
            rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u64>().ok()
        });
        let date = || {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(self.header("date")?).ok()?;
            u64::try_from(date.as_second()).ok()
        };
        created.into_iter().next().or_else(date).map(|seconds| Time(seconds.saturating_mul(1_000)))
    }

    /// Judges it as if it had come to `base` (with its slash) at `now`.
    pub async fn judge(&self, base: &Iri, keys: &KeyCache, now: Time, limits: VerifyLimits) -> Judged {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let view = RequestView { method: &self.method, target: Target::at(base, &self.path_and_query), headers };
        let demand = Demand { body: !self.body.is_empty(), fields: &[], window: limits.clock_window };
        let claims = claims(&view, demand, now).unwrap_or_default().into_iter();
        let bases = claims.filter_map(|claim| {
            let base = claim.base(&view).ok()?;
            Some(Base { label: claim.label, key_id: claim.key_id, base })
        });
        let bases = bases.collect();
        let verified = verify_sender(&view, self.body.clone(), &[], keys, now, limits).await;
        match verified {
            Ok(verified) => {
                let reason = self.speaks_for_another(verified.actor());
                let (actor, key_id) = (Some(verified.actor().clone()), Some(verified.key_id().clone()));
                Judged { valid: reason.is_none(), actor, key_id, reason, bases }
            }
            Err(refusal) => {
                Judged { valid: false, actor: None, key_id: None, reason: Some(refusal.to_string()), bases }
            }
        }
    }

    /// The signature may be true, and the activity that of somebody else.
    fn speaks_for_another(&self, signer: &Iri) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let actor = body.get("actor")?;
        let actor = actor.as_str().or_else(|| actor.get("id")?.as_str())?;
        (actor != signer.as_str())
            .then(|| format!("the key belongs to {signer}, the activity says that it is of {actor}"))
    }
}

/// The head and the body, at the first empty line.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let find =
        |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark).map(|at| (at, at + mark.len()));
    let ends = [find(b"\r\n\r\n"), find(b"\n\n")].into_iter().flatten().min();
    ends.map_or((bytes, &[]), |(head, body)| (&bytes[..head], &bytes[body..]))
}

/// Answers with an actor document that is at hand, and asks the net for others, if it may.
pub struct Shelf {
    pub document: Option<(Iri, Bytes)>,
    pub net: Option<Arc<dyn Transport>>,
}

impl Transport for Shelf {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        let at_hand = self.document.as_ref().filter(|(id, _)| *id == request.url).map(|(_, body)| body.clone());
        match (at_hand, &self.net) {
            (Some(body), _) => {
                let headers = vec![("content-type".to_owned(), "application/activity+json".to_owned())];
                Box::pin(std::future::ready(Ok(Response { status: 200, headers, body })))
            }
            (None, Some(net)) => net.send(request),
            (None, None) => Box::pin(std::future::ready(Err(TransportError::Broken {
                url: request.url,
                why: "it is not the actor document that was given, and nothing else is asked".to_owned(),
            }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::clock::Clock;
    use crate::domains::identity::Authority;
    use crate::wire::for_tests::{LIMITS, Net, Peer, StepClock, iri};
    use crate::wire::keys::KeySettings;

    fn peer() -> Peer {
        Peer::new("https://a.example/", 1)
    }

    /// A signed Follow of `actor` as it stands on the wire.
    fn wire(actor: &str, end: &str) -> String {
        let body = json!({ "id": "https://a.example/1", "type": "Follow", "actor": actor, "object": "https://b.example/actor" });
        let request =
            Request::post(iri("https://b.example/inbox"), "application/activity+json", body.to_string(), LIMITS);
        let signed = peer().signer().sign(request, StepClock::start().now()).unwrap();
        let headers = signed.headers.iter().map(|(name, value)| format!("{name}: {value}{end}")).collect::<String>();
        format!("POST /inbox HTTP/1.1{end}Host: b.example{end}{headers}{end}{body}")
    }

    async fn judged(text: &str) -> Judged {
        let (net, clock) = (Net::shared(), StepClock::start());
        peer().publish(&net);
        let nobody = Authority::parse("nobody.invalid").unwrap();
        let keys = KeyCache::new(net, clock, nobody, Default::default(), KeySettings::default());
        let captured = Captured::parse(text.as_bytes()).unwrap();
        let at = captured.signed_at().unwrap();
        captured.judge(&iri("https://b.example/"), &keys, at, VerifyLimits::default()).await
    }

    #[tokio::test]
    async fn a_captured_request_is_judged_and_its_base_is_shown() {
        for end in ["\r\n", "\n"] {
            let judged = judged(&wire("https://a.example/actor", end)).await;
            assert!(judged.valid, "{judged:?}");
            assert_eq!(judged.actor, Some(iri("https://a.example/actor")));
            assert!(judged.bases[0].base.contains("\"@method\": POST\n"), "{judged:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_believed_says_by_which_rule() {
        let whole = wire("https://a.example/actor", "\n");
        let reason = async |text: String| judged(&text).await.reason.unwrap();
        assert!(reason(whole.replace("Follow", "Fellow")).await.contains("digest"));
        assert!(reason(whole.replace("POST /inbox", "POST /other")).await.contains("false"));
        assert!(reason(wire("https://a.example/other", "\n")).await.contains("is of https://a.example/other"));
        let late = Captured::parse(whole.as_bytes()).unwrap();
        let (net, clock) = (Net::shared(), StepClock::start());
        clock.step(Duration::from_secs(3_600));
        let nobody = Authority::parse("nobody.invalid").unwrap();
        let keys = KeyCache::new(net.clone(), clock.clone(), nobody, Default::default(), KeySettings::default());
        let judged = late.judge(&iri("https://b.example/"), &keys, clock.now(), VerifyLimits::default()).await;
        assert!(!judged.valid && net.asked() == 0, "{judged:?}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in ["", "hello", "POST", "POST /inbox", "POST inbox HTTP/1.1", " /inbox HTTP/1.1"] {
            assert_eq!(Captured::parse(text.as_bytes()), Err(NotCaptured::RequestLine), "{text:?}");
        }
        let broken = b"POST /inbox HTTP/1.1\nHost: b.example\nno header here\n\n{}";
        assert_eq!(Captured::parse(broken), Err(NotCaptured::Header(3)));
        let read = Captured::parse(b"GET / HTTP/1.1\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n").unwrap();
        assert_eq!((read.body.len(), read.signed_at()), (0, Some(Time(1_795_305_600_000))));
        let beyond = b"GET / HTTP/1.1\nSignature-Input: sig=();created=18446744073709551615\n\n";
        assert_eq!(Captured::parse(beyond).unwrap().signed_at(), Some(Time(u64::MAX)));
    }
}
