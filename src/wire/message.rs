//! A request as a signature sees it, whoever received or will send it.

use crate::domains::identity::Iri;

/// Where a request goes to, in the pieces that signatures name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub scheme: &'a str,
    /// Lower case, without the default port.
    pub authority: &'a str,
    /// Raw, as it stands in the request line: `/inbox?x=1`.
    pub path_and_query: &'a str,
}

/// Borrowed from whatever HTTP library holds the request. Header names in any case, values as received.
#[derive(Debug, Clone)]
pub struct RequestView<'a> {
    pub method: &'a str,
    pub target: Target<'a>,
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Target<'a> {
    /// The target of a request that we send; a fragment stays at home.
    pub fn of(iri: &'a Iri) -> Self {
        let text = iri.as_str();
        let text = &text[..text.find('#').unwrap_or(text.len())];
        let (scheme, rest) = text.split_once("://").expect("an id is absolute");
        let (authority, path_and_query) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self { scheme, authority, path_and_query }
    }

    /// The target of a request that came to us: our own base, whatever the request says of its host, and the raw path.
    pub fn at(base: &'a Iri, path_and_query: &'a str) -> Self {
        Self { path_and_query, ..Self::of(base) }
    }

    pub(crate) fn uri(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path_and_query)
    }

    pub(crate) fn path(&self) -> &'a str {
        match self.path_and_query.split_once('?').map_or(self.path_and_query, |(path, _)| path) {
            "" => "/",
            path => path,
        }
    }

    /// Without the question mark; none when there is none.
    pub(crate) fn query(&self) -> Option<&'a str> {
        self.path_and_query.split_once('?').map(|(_, query)| query)
    }
}

impl<'a> RequestView<'a> {
    /// All values of a header, in the order in which they came.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.header_values(name).next().is_some()
    }

    /// All values of a header as one text, joined as RFC 9110 section 5.3 says; none when it is absent or holds bytes
    /// that are no visible ASCII.
    pub fn header_text(&self, name: &str) -> Option<String> {
        let mut joined = String::new();
        for (index, value) in self.header_values(name).enumerate() {
            joined.push_str(if index == 0 { "" } else { ", " });
            joined.push_str(plain(value)?);
        }
        self.has_header(name).then_some(joined)
    }
}

/// A header value without the white space around it. Tabs and visible ASCII only: nothing that could end a line.
pub(crate) fn plain(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)).then_some(text)
}

/// Whether `given`, a Host header or the like, names this authority under any of its spellings.
pub fn names_authority(given: &str, own: &Iri) -> bool {
    let (authority, default) = (Target::of(own).authority, if own.is_https() { ":443" } else { ":80" });
    // No other form of an address, such as one number, or one with an end dot, is what anybody was told.
    let is_ours = |host: &str| host.eq_ignore_ascii_case(authority);
    is_ours(given) || (own.authority().port().is_none() && given.strip_suffix(default).is_some_and(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_apart_as_signatures_name_it() {
        let iri = Iri::parse("https://a.example:8443/in/box?x=1&y#z").unwrap();
        let target = Target::of(&iri);
        assert_eq!((target.scheme, target.authority), ("https", "a.example:8443"));
        assert_eq!((target.path(), target.query()), ("/in/box", Some("x=1&y")));
        assert_eq!(target.uri(), "https://a.example:8443/in/box?x=1&y");
        let base = Iri::parse("https://b.example/").unwrap();
        assert_eq!(Target::at(&base, "/inbox").uri(), "https://b.example/inbox");
        assert_eq!(Target::at(&base, "/inbox").query(), None);
    }

    #[test]
    fn repeated_headers_are_joined_and_foreign_bytes_are_not_read() {
        let base = Iri::parse("https://b.example/").unwrap();
        let headers: Vec<(&str, &[u8])> = vec![("X-A", b" one "), ("x-a", b"two"), ("x-b", b"a\nb"), ("x-c", b"\xff")];
        let view = RequestView { method: "GET", target: Target::at(&base, "/"), headers };
        assert_eq!(view.header_text("x-a").unwrap(), "one, two");
        assert_eq!((view.header_text("x-b"), view.header_text("x-c"), view.header_text("x-d")), (None, None, None));
    }

    #[test]
    fn a_host_is_ours_under_any_spelling_and_no_other() {
        let secure = Iri::parse("https://b.example/").unwrap();
        let plain = Iri::parse("http://127.0.0.1:8001/").unwrap();
        assert!(names_authority("B.example:443", &secure) && names_authority("b.example", &secure));
        assert!(names_authority("127.0.0.1:8001", &plain));
        for other in ["b.example:80", "b.example.", "evil.example", "b.example@evil.example", "", "127.0.0.1"]
            .into_iter()
            .chain(["127.0.0.1.:8001", "2130706433:8001", "0x7f.1:8001", "127.1:8001", "127.0.0.1:8001:80"])
        {
            assert!(!names_authority(other, &secure) && !names_authority(other, &plain), "{other}");
        }
    }
}
