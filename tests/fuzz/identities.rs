//! Who is who: ids, authorities, accounts and what WebFinger says of them, domains and lists of them, slugs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use quickbeam::clock::Time;
use quickbeam::domains::blocks::{Block, Blocks, DOMAINS_MAX, Domain, Listing, REASON_MAX, export};
use quickbeam::domains::identity::{Authority, IRI_BYTES_MAX, Iri};
use quickbeam::domains::slug::{self, SLUG_MAX};
use quickbeam::wire::transport::{Limits, Request, Response, Transport, TransportError};
use quickbeam::wire::webfinger::{self, Account};

use super::run::{Target, block_on, named, text};

const IRIS: [&str; 41] = [
    "https://",
    "http://",
    "//",
    "/",
    "\\",
    "@",
    ":",
    ":443",
    ":80",
    ":0",
    ":65535",
    ":65536",
    "?",
    "#",
    "%2e",
    "%2E%2e",
    "%2a",
    "%00",
    "%zz",
    "..",
    "/../",
    ".",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[",
    "]",
    "127.0.0.1",
    "0x7f.1",
    "2130706433",
    "xn--",
    "xn--bcher-kva",
    "bücher",
    "ß",
    "\u{200d}",
    "．",
    "。",
    "＠",
    "EXAMPLE",
    "a.example",
    " ",
    "\t",
];

#[test]
fn iri() {
    Target { name: "iri", also: &[], made: &[], tokens: &IRIS }.run(|input| {
        let given = text(input);
        let iri = match Iri::parse(&given) {
            Ok(iri) => iri,
            Err(refused) => return named(&refused),
        };
        assert_eq!(iri.as_str(), given);
        assert!(given.len() <= IRI_BYTES_MAX && given.is_ascii());
        let (url, authority) = (iri.to_url(), iri.authority());
        assert_eq!((url.as_str(), url.path(), url.fragment()), (iri.as_str(), iri.path(), iri.fragment()));
        assert_eq!(Authority::of(&url).as_ref(), Some(&authority));
        assert_eq!(Authority::parse(authority.as_str()).as_ref(), Ok(&authority));
        assert_eq!(
            authority.as_str(),
            format!("{}{}", authority.host(), authority.port().map_or(String::new(), |port| format!(":{port}")))
        );
        assert_eq!(Iri::parse(iri.without_fragment().as_str()), Ok(iri.without_fragment()));
        assert!(iri.same_authority(&iri.without_fragment()));
        format!("{} {:?} {}", iri.is_https(), authority.port().is_some(), authority.address().is_some())
    });
}

#[test]
fn authority() {
    Target { name: "authority", also: &[], made: &[], tokens: &IRIS }.run(|input| {
        let authority = match Authority::parse(&text(input)) {
            Ok(authority) => authority,
            Err(refused) => return named(&refused),
        };
        assert_eq!(Authority::parse(authority.as_str()).as_ref(), Ok(&authority));
        assert_eq!(serde_json::from_value::<Authority>(serde_json::to_value(&authority).unwrap()).unwrap(), authority);
        let iri = Iri::parse(&format!("https://{authority}/x")).unwrap();
        assert_eq!(iri.authority(), authority);
        format!("{} {}", authority.port().is_some(), authority.address().is_some())
    });
}

#[test]
fn domain() {
    Target { name: "domain", also: &[], made: &[], tokens: &IRIS }.run(|input| {
        let domain = match Domain::parse(&text(input)) {
            Ok(domain) => domain,
            Err(refused) => return named(&refused),
        };
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
        let authority = Authority::parse(domain.as_str()).unwrap();
        assert!(domain.covers(&authority));
        let below = Authority::parse(&format!("below.{authority}")).ok().filter(|_| authority.address().is_none());
        assert!(below.is_none_or(|below| below.address().is_some() || domain.covers(&below)));
        let block = Block { at: Time(1), reason: None };
        let blocks = Blocks { listed: [(domain, block)].into(), allow_only: None };
        assert!(blocks.judge(&authority).is_err());
        format!("{}", authority.address().is_some())
    });
}

const LISTS: [&str; 22] = [
    "#domain",
    "domain",
    "#severity",
    "#public_comment",
    "comment",
    ",",
    "\n",
    "\r\n",
    "\"",
    "\"\"",
    "suspend",
    "silence",
    "noop",
    "SUSPEND",
    "bad.example",
    "*.bad.example",
    "%2abad.example",
    "#",
    " ",
    "\t",
    "bad.example,suspend\n",
    "\u{feff}",
];

#[test]
fn blocklist() {
    Target { name: "blocklist", also: &[], made: &[], tokens: &LISTS }.run(|input| {
        let listing = match Listing::parse(&text(input)) {
            Ok(listing) => listing,
            Err(refused) => return named(&refused),
        };
        assert!(listing.blocks.len() + listing.skipped.len() <= DOMAINS_MAX);
        let reason =
            |reason: &Option<String>| reason.as_deref().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
        let blocks: Vec<(Domain, Block)> = listing
            .blocks
            .iter()
            .map(|(domain, why)| (domain.clone(), Block { at: Time(1), reason: reason(why) }))
            .collect();
        assert!(
            blocks.iter().all(|(_, block)| block.reason.as_ref().is_none_or(|it| it.chars().count() <= REASON_MAX))
        );
        let again = Listing::parse(&export(blocks.iter().map(|(domain, block)| (domain, block)))).unwrap();
        let read: Vec<_> = blocks.into_iter().map(|(domain, block)| (domain, block.reason)).collect();
        assert_eq!((again.blocks, again.skipped), (read, Vec::new()));
        format!("{} {}", listing.blocks.len().min(3), listing.skipped.len().min(3))
    });
}

#[test]
fn account() {
    let tokens: Vec<&str> = ["acct:", "@", "name", "*", "+", "~", "ä", "%40"].into_iter().chain(IRIS).collect();
    Target { name: "account", also: &[], made: &[], tokens: &tokens }.run(|input| {
        let account = match Account::parse(&text(input)) {
            Ok(account) => account,
            Err(refused) => return named(&refused),
        };
        assert_eq!(Account::parse(&account.to_string()).as_ref(), Ok(&account));
        assert!(webfinger::means(&format!("acct:{account}"), &account, ["", ""]));
        let elsewhere = Account { host: Authority::parse("other.invalid").unwrap(), ..account.clone() };
        assert!(!webfinger::means(&format!("acct:{elsewhere}"), &account, ["", ""]) || elsewhere == account);
        named(&account)
    });
}

/// Answers every request with the same bytes, or sends whoever asks elsewhere.
struct Says(Response);

impl Transport for Says {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, TransportError>> {
        assert_eq!(Iri::parse(request.url.as_str()).as_ref(), Ok(&request.url));
        Box::pin(ready(Ok(self.0.clone())))
    }
}

const ANSWERS: [&str; 16] = [
    "\"links\":",
    "\"rel\":",
    "\"self\"",
    "\"type\":",
    "\"href\":",
    "\"application/activity+json\"",
    "\"subject\":",
    "[",
    "]",
    "{",
    "}",
    ",",
    "null",
    "\"https://a.example/actor\"",
    "\"acct:a@a.example\"",
    "/elsewhere",
];

/// An input that begins with `>` is the address to which the host sends whoever asks.
#[test]
fn webfinger_answer() {
    let account = Account::parse("@a@a.example").unwrap();
    let limits = Limits { bytes_max: 1 << 16, deadline: Duration::from_secs(1) };
    let tokens: Vec<&str> = [">"].into_iter().chain(ANSWERS).chain(IRIS).collect();
    Target { name: "webfinger_answer", also: &[], made: &[], tokens: &tokens }.run(|input| {
        let answer = match input.strip_prefix(b">") {
            Some(to) => Response {
                status: 302,
                headers: vec![("location".to_owned(), text(to).into_owned())],
                body: Bytes::new(),
            },
            None => Response { status: 200, headers: Vec::new(), body: Bytes::copy_from_slice(input) },
        };
        let transport: Arc<dyn Transport> = Arc::new(Says(answer));
        match block_on(webfinger::find(&*transport, &account, |_| "https", limits)) {
            Ok(actor) => {
                assert_eq!(Iri::parse(actor.as_str()).as_ref(), Ok(&actor));
                "found".to_owned()
            }
            Err(refused) => named(&refused),
        }
    });
}

#[test]
fn slugs() {
    Target {
        name: "slugs",
        also: &[],
        made: &[],
        tokens: &["-", "--", "'", " ", "ß", "Æ", "北京", "😀", "\u{0}", "\u{301}", "A", "9", "/", "."],
    }
    .run(|input| {
        let title = text(input);
        if let Ok(given) = slug::explicit(&title) {
            assert_eq!(given, title);
            for attempt in [2, 10, u32::MAX] {
                let other = slug::numbered(given, attempt);
                assert_eq!(slug::explicit(&other).as_deref(), Ok(other.as_str()));
            }
        }
        let Some(made) = slug::from_title(&title, &["actor"]) else { return "none".to_owned() };
        assert!(made.len() <= SLUG_MAX && made != "actor");
        assert_eq!(slug::explicit(&made), Ok(made.as_str()));
        assert_eq!(slug::from_title(&made, &[]).as_ref(), Some(&made));
        assert!(slug::explicit(&slug::numbered(&made, u32::MAX)).is_ok());
        format!("{}", made.len() == SLUG_MAX)
    });
}
