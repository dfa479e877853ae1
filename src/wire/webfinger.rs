//! WebFinger (RFC 7033): which actor an account such as `@gigs@events.example` is, and whether it is the one asked for.

use std::fmt;

use serde_json::Value;

use super::transport::{Limits, Request, Response, Transport, TransportError};
use crate::domains::identity::{Authority, IdentityError, Iri};
use crate::domains::json::{JSON_DEPTH_MAX, JsonError, parse_json};

/// Servers whose accounts have another host than their actors send elsewhere once, perhaps over another name.
const REDIRECTS_MAX: usize = 3;
const NAME_MAX: usize = 200;
const ACCEPT: &str = "application/jrd+json, application/json";
const ACTIVITY_JSON: [&str; 2] =
    ["application/activity+json", "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\""];

/// A name at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub host: Authority,
}

/// Why a text is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no account: write @name@host")]
pub struct NoAccount {
    given: String,
}

/// Why nobody is found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("{host} could not be asked for {account}: {source}")]
    Transport {
        account: Account,
        host: Authority,
        #[source]
        source: TransportError,
    },
    #[error("{host} answers {status} when asked for {account}: there is no such account, or no WebFinger")]
    Status { account: Account, host: Authority, status: u16 },
    #[error("{host} sends whoever asks for {account} elsewhere again and again")]
    Redirects { account: Account, host: Authority },
    #[error("what {host} says of {account} cannot be read: {source}")]
    Json {
        account: Account,
        host: Authority,
        #[source]
        source: JsonError,
    },
    #[error("{host} knows {account} and names no actor for it: look for a link `self` of application/activity+json")]
    NoActor { account: Account, host: Authority },
    #[error("{host} names {given:?} as the actor of {account}: {source}")]
    BadActor {
        account: Account,
        host: Authority,
        given: String,
        #[source]
        source: IdentityError,
    },
}

impl Account {
    /// Reads `@name@host`, `name@host` or `acct:name@host`.
    pub fn parse(text: &str) -> Result<Self, NoAccount> {
        let refused = || NoAccount { given: text.chars().take(120).collect() };
        let bare = text.trim().strip_prefix("acct:").unwrap_or(text.trim());
        let (name, host) = bare.strip_prefix('@').unwrap_or(bare).split_once('@').ok_or_else(refused)?;
        let plain = |letter: char| letter.is_alphanumeric() || "._-~!$&'()*+,;=".contains(letter);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
            return Err(refused());
        }
        let host = Authority::parse(host).map_err(|_| refused())?;
        Ok(Self { name: name.to_owned(), host })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.name, self.host)
    }
}

/// Whether `resource` is this account, or an address of its owner. Hosts have no case, names of people are typed in any,
/// and an address without a path is the same with a slash.
pub fn means(resource: &str, account: &Account, addresses: [&str; 2]) -> bool {
    if !resource.starts_with("acct:") {
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        return addresses.into_iter().any(|address| bare(address) == bare(resource));
    }
    Account::parse(resource)
        .is_ok_and(|asked| asked.host == account.host && asked.name.eq_ignore_ascii_case(&account.name))
}

/// Asks the host of an account for its actor. `scheme` is `https`, unless the operator lets a host be reached without.
///
/// # Errors
/// Why it is not known; [`FindError::is_passing`] says whether it may be later.
pub async fn find(
    transport: &dyn Transport,
    account: &Account,
    scheme: impl Fn(&Authority) -> &'static str,
    limits: Limits,
) -> Result<Iri, FindError> {
    let resource: String = url::form_urlencoded::byte_serialize(format!("acct:{account}").as_bytes()).collect();
    let (account, host) = (account.clone(), account.host.clone());
    let first = format!("{}://{host}/.well-known/webfinger?resource={resource}", scheme(&host));
    let mut url = match Iri::parse(&first) {
        Ok(url) => url,
        Err(source) => return Err(FindError::BadActor { account, host, given: first, source }),
    };
    for _ in 0..=REDIRECTS_MAX {
        let host = url.authority();
        let response = transport.send(Request::get(url.clone(), ACCEPT, limits)).await;
        let response =
            response.map_err(|source| FindError::Transport { account: account.clone(), host: host.clone(), source })?;
        match (response.status, elsewhere(&response, &url)) {
            (301 | 302 | 303 | 307 | 308, Some(next)) => url = next,
            (200, _) => return actor(&response, account, host),
            (status, _) => return Err(FindError::Status { account, host, status }),
        }
    }
    Err(FindError::Redirects { account, host: url.authority() })
}

fn elsewhere(response: &Response, url: &Iri) -> Option<Iri> {
    let next = url.to_url().join(response.header("location")?).ok()?;
    Iri::parse(next.as_str()).ok()
}

fn actor(response: &Response, account: Account, host: Authority) -> Result<Iri, FindError> {
    let found = match parse_json(&response.body, JSON_DEPTH_MAX) {
        Ok(found) => found,
        Err(source) => return Err(FindError::Json { account, host, source }),
    };
    let text = |link: &Value, field: &str| link.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_actor = |link: &&Value| text(link, "rel") == "self" && ACTIVITY_JSON.contains(&text(link, "type").as_str());
    let links = found.get("links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(given) = links.iter().find(is_actor).map(|link| text(link, "href")) else {
        return Err(FindError::NoActor { account, host });
    };
    Iri::parse(&given).map_err(|source| FindError::BadActor {
        account,
        host,
        given: given.chars().take(200).collect(),
        source,
    })
}

impl FindError {
    /// Whether the same question may fare better later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.is_passing(),
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::for_tests::{LIMITS, Net, iri, ok};

    const ASKED: &str = "https://a.example/.well-known/webfinger?resource=acct%3Agigs%40a.example";

    fn gigs() -> Account {
        Account::parse("@gigs@a.example").unwrap()
    }

    fn links(href: &str) -> Value {
        json!({ "subject": "acct:gigs@a.example", "links": [
            { "rel": "http://webfinger.net/rel/profile-page", "type": "text/html", "href": "https://a.example/@gigs" },
            { "rel": "self", "type": "application/activity+json", "href": href },
        ] })
    }

    async fn found(net: &Net) -> Result<Iri, FindError> {
        find(net, &gigs(), |_| "https", LIMITS).await
    }

    fn to(status: u16, location: &str) -> Response {
        Response { status, headers: vec![("location".to_owned(), location.to_owned())], body: bytes::Bytes::new() }
    }

    #[test]
    fn accounts_are_read_as_people_write_them_and_nothing_else_is() {
        for text in ["@gigs@a.example", "gigs@A.example", "acct:gigs@a.example", " @gigs@a.example "] {
            assert_eq!(Account::parse(text).unwrap(), gigs(), "{text}");
        }
        assert_eq!(Account::parse("@gigs@127.0.0.1:8001").unwrap().host.port(), Some(8001));
        for text in ["", "@", "gigs", "@gigs", "gigs@", "@@a.example", "gi gs@a.example", "gigs@a.example/x", "g/@a.b"]
        {
            assert!(Account::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_asked_for_is_known_by_account_and_addresses() {
        let addresses = ["https://a.example/actor", "https://a.example"];
        for resource in ["acct:gigs@a.example", "acct:Gigs@A.example", "https://a.example/actor", "https://a.example"] {
            assert!(means(resource, &gigs(), addresses), "{resource}");
        }
        // What a parser of addresses makes of the base, and Fedify asks for.
        assert!(means("https://a.example/", &gigs(), addresses));
        for resource in
            ["", "gigs", "acct:gigs", "acct:gigs@b.example", "acct:gig@a.example", "https://a.example/other"]
        {
            assert!(!means(resource, &gigs(), addresses), "{resource}");
        }
    }

    #[tokio::test]
    async fn an_account_is_the_actor_that_its_host_names_also_elsewhere() {
        let net = Net::shared();
        net.serve(ASKED, &links("https://social.example/users/gigs"));
        assert_eq!(found(&net).await.unwrap(), iri("https://social.example/users/gigs"));
        net.serve_response(
            ASKED,
            to(301, "https://social.example/.well-known/webfinger?resource=acct%3Agigs%40a.example"),
        );
        let there = "https://social.example/.well-known/webfinger?resource=acct%3Agigs%40a.example";
        net.serve(there, &links("https://social.example/users/gigs"));
        assert_eq!(found(&net).await.unwrap(), iri("https://social.example/users/gigs"));
    }

    #[tokio::test]
    async fn what_names_nobody_says_why() {
        let net = Net::shared();
        let refused = async |response: Response| {
            net.serve_response(ASKED, response);
            found(&net).await.unwrap_err()
        };
        let gone = refused(Response { status: 404, headers: vec![], body: bytes::Bytes::new() }).await;
        assert!(matches!(gone, FindError::Status { status: 404, .. }) && !gone.is_passing());
        assert!(refused(Response { status: 503, headers: vec![], body: bytes::Bytes::new() }).await.is_passing());
        assert!(matches!(refused(to(302, ASKED)).await, FindError::Redirects { .. }));
        assert!(matches!(refused(to(302, "ftp://a.example/")).await, FindError::Status { status: 302, .. }));
        assert!(matches!(refused(ok(&json!({ "links": "many" }))).await, FindError::NoActor { .. }));
        assert!(matches!(refused(ok(&links("not an address"))).await, FindError::BadActor { .. }));
        let text = Response { body: "{".into(), ..ok(&json!({})) };
        assert!(matches!(refused(text).await, FindError::Json { .. }));
        *net.down.lock() = true;
        assert!(found(&net).await.unwrap_err().is_passing());
    }
}
