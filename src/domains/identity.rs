//! Who is who: authorities and ids, compared byte by byte because only the normal form of each is let in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use url::{Host, Url};

/// Ids are stored, hashed and sent in headers: longer ones are nobody's honest address.
pub const IRI_BYTES_MAX: usize = 2_048;
/// No longer name can be looked up (RFC 1035). In other scripts a name grows as it becomes punycode, so that the bound
/// holds for what is kept, which has to be read again.
const HOST_BYTES_MAX: usize = 253;

/// A host in lower case (punycode for other scripts), with `:port` when it is not the default of the scheme.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Authority(Arc<str>);

/// An absolute `http` or `https` id in the one form that the URL standard normalises to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Iri(Arc<str>);

/// Why a text is no id or no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the id has {bytes} bytes, more than {IRI_BYTES_MAX}: use a shorter one")]
    TooLong { bytes: usize },
    #[error("{given:?} is not an absolute URL: write it in full, like https://example.com/actor")]
    NotAbsolute {
        given: String,
        #[source]
        source: url::ParseError,
    },
    #[error("{given:?} has the scheme {scheme}: only https and http are ids here")]
    Scheme { given: String, scheme: String },
    #[error("{given:?} holds a user name or password: leave it out")]
    UserInfo { given: String },
    #[error(
        "{given:?} has no usable host: write a name of up to {HOST_BYTES_MAX} bytes without an end dot, or an address"
    )]
    Host { given: String },
    #[error("{given:?} speaks http on port 443, which would look like https: use another port")]
    HttpOn443 { given: String },
    #[error("{given:?} is not in normal form: write {normal}")]
    NotNormal { given: String, normal: String },
    #[error("{given:?} is not an authority: write a host, with :port when it is not 443")]
    Authority { given: String },
}

impl Authority {
    /// Reads `host` or `host:port` as a person writes it; upper case and the port of https are normalised away.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let refused = || IdentityError::Authority { given: shown(text) };
        if text.is_empty() || text.len() > IRI_BYTES_MAX || text.contains(['/', '?', '#', '@', '\\']) {
            return Err(refused());
        }
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| refused())?;
        Self::of(&url).filter(|_| url.path() == "/" && !text.contains(char::is_whitespace)).ok_or_else(refused)
    }

    /// The authority of a URL; none without a host, with one that only looks like another's, or with one too long for a name.
    pub fn of(url: &Url) -> Option<Self> {
        let fits = |host: &&str| (1..=HOST_BYTES_MAX).contains(&host.len()) && !host.ends_with('.');
        let host = url.host_str().filter(fits)?;
        Some(Self(match url.port() {
            Some(port) => format!("{host}:{port}").into(),
            None => host.into(),
        }))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port.
    pub fn host(&self) -> &str {
        match self.0.rfind(':') {
            Some(colon) if !self.0.ends_with(']') => &self.0[..colon],
            _ => &self.0,
        }
    }

    /// The port, when it is not the default of the scheme.
    pub fn port(&self) -> Option<u16> {
        self.0[self.host().len()..].strip_prefix(':')?.parse().ok()
    }

    /// The address, when the host is written as one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

impl Iri {
    /// Takes the text as it stands. What would be another text in normal form (upper-case hosts, default ports, dot
    /// segments, other scripts) is refused, so that two ids are equal exactly when their bytes are.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.len() > IRI_BYTES_MAX {
            return Err(IdentityError::TooLong { bytes: text.len() });
        }
        let url = Url::parse(text).map_err(|source| IdentityError::NotAbsolute { given: shown(text), source })?;
        check(&url, text)?;
        if url.as_str() != text {
            return Err(IdentityError::NotNormal { given: shown(text), normal: url.into() });
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn authority(&self) -> Authority {
        Authority(self.authority_text().into())
    }

    /// Whether both live on the same authority; does not allocate.
    pub fn same_authority(&self, other: &Iri) -> bool {
        self.authority_text() == other.authority_text()
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The document that a key id or another fragment lives in.
    pub fn without_fragment(&self) -> Iri {
        match self.0.find('#') {
            Some(hash) => Self(self.0[..hash].into()),
            None => self.clone(),
        }
    }

    /// What stands behind `#`.
    pub fn fragment(&self) -> Option<&str> {
        self.0.split_once('#').map(|(_, fragment)| fragment)
    }

    /// The path with its leading slash, without query and fragment.
    pub fn path(&self) -> &str {
        let from = self.path_start();
        let rest = &self.0[from..];
        &rest[..rest.find(['?', '#']).unwrap_or(rest.len())]
    }

    pub fn to_url(&self) -> Url {
        Url::parse(&self.0).expect("an id is only made from a text that parses")
    }

    // Normal form has `scheme://authority/`, with the default port already gone.
    fn authority_text(&self) -> &str {
        &self.0[self.authority_start()..self.path_start()]
    }

    fn authority_start(&self) -> usize {
        if self.is_https() { "https://".len() } else { "http://".len() }
    }

    fn path_start(&self) -> usize {
        let from = self.authority_start();
        self.0[from..].find('/').map_or(self.0.len(), |slash| from + slash)
    }
}

fn check(url: &Url, text: &str) -> Result<(), IdentityError> {
    let given = || shown(text);
    if !matches!(url.scheme(), "http" | "https") {
        return Err(IdentityError::Scheme { given: given(), scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(IdentityError::UserInfo { given: given() });
    }
    // An end dot names the same host under another text.
    if matches!(url.host(), Some(Host::Domain(name)) if name.ends_with('.')) || Authority::of(url).is_none() {
        return Err(IdentityError::Host { given: given() });
    }
    // `http://host:443` and `https://host` would be told apart by nobody who reads an authority.
    if url.scheme() == "http" && url.port() == Some(443) {
        return Err(IdentityError::HttpOn443 { given: given() });
    }
    Ok(())
}

/// A foreign text cut for an error message.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let mut cut: String = text.chars().take(CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

impl fmt::Display for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Iri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Iri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::str::FromStr for Authority {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::parse(text)
    }
}

impl std::str::FromStr for Iri {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Iri {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_normalised_from_what_a_person_writes() {
        for (given, normal) in [
            ("Blog.Example", "blog.example"),
            ("blog.example:443", "blog.example"),
            ("blog.example:80", "blog.example:80"),
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("[::1]:8001", "[::1]:8001"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(Authority::parse(given).unwrap().as_str(), normal);
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        for given in
            ["", "a/b", "user@host", "host:port", "host:99999", "host.", "a b", "host?x", "host#x", "a\\b", " a"]
        {
            assert!(matches!(Authority::parse(given), Err(IdentityError::Authority { .. })), "{given:?}");
        }
    }

    #[test]
    fn a_host_that_is_too_long_in_normal_form_is_refused() {
        let of = |label: &str, times: usize| vec![label; times].join(".");
        assert!(Authority::parse(&of("abcdefghi", 25)).is_ok());
        assert!(Authority::parse(&of("bücher", 18)).is_ok());
        for given in [of("abcdefghi", 26), of("bücher", 19), of("bücher", 200)] {
            assert!(matches!(Authority::parse(&given), Err(IdentityError::Authority { .. })), "{given}");
        }
        assert!(matches!(Iri::parse(&format!("https://{}/", of("abcdefghi", 26))), Err(IdentityError::Host { .. })));
    }

    #[test]
    fn host_port_and_address_come_apart() {
        let named = Authority::parse("blog.example:8443").unwrap();
        assert_eq!((named.host(), named.port(), named.address()), ("blog.example", Some(8443), None));
        let six = Authority::parse("[::1]").unwrap();
        assert_eq!((six.host(), six.port(), six.address()), ("[::1]", None, Some("::1".parse().unwrap())));
        let four = Authority::parse("127.0.0.1:1").unwrap();
        assert_eq!(four.address(), Some("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_id_keeps_its_text_and_knows_its_authority() {
        for (given, authority, path) in [
            ("https://blog.example/actor", "blog.example", "/actor"),
            ("https://blog.example/", "blog.example", "/"),
            ("https://blog.example/?a=/b", "blog.example", "/"),
            ("http://127.0.0.1:8001/actor#ed25519", "127.0.0.1:8001", "/actor"),
            ("https://[2001:db8::1]/a/b?c", "[2001:db8::1]", "/a/b"),
        ] {
            let iri = Iri::parse(given).unwrap();
            assert_eq!((iri.as_str(), iri.authority().as_str(), iri.path()), (given, authority, path));
            assert_eq!(Authority::parse(authority).unwrap(), iri.authority());
            assert_eq!(Authority::of(&iri.to_url()).unwrap(), iri.authority());
        }
    }

    #[test]
    fn look_alikes_are_refused() {
        for given in [
            "https://Blog.example/",
            "https://blog.example",
            "https://blog.example:443/",
            "http://blog.example:80/",
            "https://blog.example/a/../b",
            "https://blog.example/a/%2e%2e/b",
            "https://blog.example/./b",
            "https://bücher.example/",
            "https://blog.example/a b",
            "https://blog.example\\a",
            "HTTPS://blog.example/",
            "https:/blog.example/",
            " https://blog.example/",
            "https://blog.example/\n",
            "https://127.1/",
            "https://0x7f000001/",
            "https://[::0001]/",
        ] {
            assert!(matches!(Iri::parse(given), Err(IdentityError::NotNormal { .. })), "{given:?}");
        }
    }

    #[test]
    fn every_other_refusal_has_its_reason() {
        use IdentityError as E;
        assert!(matches!(Iri::parse(&format!("https://a.example/{}", "x".repeat(2_048))), Err(E::TooLong { .. })));
        assert!(matches!(Iri::parse("/actor"), Err(E::NotAbsolute { .. })));
        assert!(matches!(Iri::parse("acct:a@b.example"), Err(E::Scheme { .. })));
        assert!(matches!(Iri::parse("https://u@a.example/"), Err(E::UserInfo { .. })));
        assert!(matches!(Iri::parse("https://:p@a.example/"), Err(E::UserInfo { .. })));
        assert!(matches!(Iri::parse("https://a.example./"), Err(E::Host { .. })));
        assert!(matches!(Iri::parse("http://a.example:443/"), Err(E::HttpOn443 { .. })));
    }

    #[test]
    fn fragments_come_off() {
        let key = Iri::parse("https://a.example/actor#ed25519").unwrap();
        assert_eq!(key.fragment(), Some("ed25519"));
        assert_eq!(key.without_fragment(), Iri::parse("https://a.example/actor").unwrap());
        assert_eq!(key.without_fragment().fragment(), None);
        assert!(key.same_authority(&key.without_fragment()));
        assert!(!key.same_authority(&Iri::parse("https://a.example:8443/").unwrap()));
    }

    #[test]
    fn stored_ids_are_checked_when_read_back() {
        let iri = Iri::parse("https://a.example/x").unwrap();
        assert_eq!(serde_json::from_str::<Iri>(&serde_json::to_string(&iri).unwrap()).unwrap(), iri);
        assert!(serde_json::from_str::<Iri>("\"https://A.example/x\"").is_err());
        assert!(serde_json::from_str::<Authority>("\"a/b\"").is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_reads_as_the_url_standard_reads_it(
            text in "(https?|ftp)://([a-c.@:\\[\\]-]{0,8}|[a-c]{1,4}\\.ex)(:[0-9]{1,4})?[/?#a.%\\\\@:é]{0,12}",
        ) {
            if let Ok(iri) = Iri::parse(&text) {
                let url = Url::parse(&text).unwrap();
                proptest::prop_assert_eq!(url.as_str(), iri.as_str());
                proptest::prop_assert_eq!(Authority::of(&url).unwrap(), iri.authority());
                proptest::prop_assert_eq!(Authority::parse(iri.authority().as_str()).unwrap(), iri.authority());
                proptest::prop_assert_eq!((url.path(), url.fragment()), (iri.path(), iri.fragment()));
                proptest::prop_assert!(text.is_ascii() && Iri::parse(iri.without_fragment().as_str()).is_ok());
            }
        }
    }
}
