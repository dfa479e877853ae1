//! The signature base of RFC 9421 section 2: the text that is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sfv::{BareItem, Dictionary, InnerList, Item, ItemSerializer, List, ListEntry, ListSerializer, Parser};

use super::message::{RequestView, plain};

/// Covered components in one signature; honest ones have fewer than ten.
pub const COMPONENTS_MAX: usize = 32;

/// What `application/x-www-form-urlencoded` leaves as it is (RFC 9421 section 2.2.8).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Why a component has no value in this request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    #[error("the signature covers {count} components, more than {COMPONENTS_MAX}: cover fewer")]
    TooMany { count: usize },
    #[error("the signature covers {component} twice: name each component once")]
    Twice { component: String },
    #[error("the signature covers {component}, which this request does not have")]
    Absent { component: String },
    #[error("the signature covers {component}, which this node cannot derive: {why}")]
    Unsupported { component: String, why: &'static str },
    #[error("the value of {component} cannot be signed: {why}")]
    BadValue { component: String, why: &'static str },
}

/// The base of what `covered` names, ending in its own `@signature-params` line.
pub fn signature_base(request: &RequestView<'_>, covered: &InnerList) -> Result<String, BaseError> {
    if covered.items.len() > COMPONENTS_MAX {
        return Err(BaseError::TooMany { count: covered.items.len() });
    }
    let mut base = String::with_capacity(512);
    let mut names: Vec<String> = Vec::with_capacity(covered.items.len());
    for item in &covered.items {
        let name = identifier(item);
        if names.contains(&name) {
            return Err(BaseError::Twice { component: name });
        }
        let value = Component { item, name: &name, request }.value()?;
        base.push_str(&name);
        base.push_str(": ");
        base.push_str(&value);
        base.push('\n');
        names.push(name);
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(&params_text(covered));
    Ok(base)
}

/// The canonical text of the covered list with its parameters, as it stands in `Signature-Input` and in the base.
pub fn params_text(covered: &InnerList) -> String {
    let mut list = ListSerializer::new();
    list.members(&[ListEntry::InnerList(covered.clone())]);
    list.finish().expect("a list of one member is not empty")
}

/// A component identifier with its parameters, like `"@query-param";name="x"`.
fn identifier(item: &Item) -> String {
    ItemSerializer::new().bare_item(&item.bare_item).parameters(&item.params).finish()
}

/// One covered component of one request.
struct Component<'a> {
    item: &'a Item,
    name: &'a str,
    request: &'a RequestView<'a>,
}

impl Component<'_> {
    fn value(&self) -> Result<String, BaseError> {
        let Some(name) = self.item.bare_item.as_string().map(|name| name.as_str()) else {
            return Err(self.unsupported("a component is named by a string"));
        };
        for key in self.item.params.keys() {
            match key.as_str() {
                "key" | "bs" if !name.starts_with('@') => {}
                "name" if name == "@query-param" => {}
                "req" | "tr" => {
                    return Err(self.unsupported("req and tr have no meaning in a request without trailers"));
                }
                "sf" => return Err(self.unsupported("leave ;sf out and sign the field as it stands")),
                _ => return Err(self.unsupported("its parameters are not known")),
            }
        }
        match name.starts_with('@') {
            true => self.derived(name),
            false => self.field(name),
        }
    }

    fn derived(&self, name: &str) -> Result<String, BaseError> {
        let target = &self.request.target;
        let value = match name {
            "@method" => self.request.method.to_owned(),
            "@target-uri" => target.uri(),
            "@authority" => target.authority.to_owned(),
            "@scheme" => target.scheme.to_owned(),
            "@request-target" => target.path_and_query.to_owned(),
            "@path" => target.path().to_owned(),
            "@query" => format!("?{}", target.query().unwrap_or_default()),
            "@query-param" => self.query_param()?,
            "@status" => return Err(self.unsupported("a request has no status")),
            _ => return Err(self.unsupported("RFC 9421 does not define it")),
        };
        plain(value.as_bytes()).map(str::to_owned).ok_or_else(|| self.bad("it holds bytes that are not visible ASCII"))
    }

    fn query_param(&self) -> Result<String, BaseError> {
        let wanted = self.item.params.get("name").and_then(BareItem::as_string);
        let wanted = wanted.ok_or_else(|| self.unsupported("it needs the parameter name"))?;
        let encoded = |text: &str| utf8_percent_encode(text, FORM).to_string();
        let query = self.request.target.query().unwrap_or_default();
        let mut values = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| encoded(name) == wanted.as_str())
            .map(|(_, value)| encoded(&value));
        match (values.next(), values.next()) {
            (None, _) => Err(BaseError::Absent { component: self.name.to_owned() }),
            (Some(value), None) => Ok(value),
            // Section 2.2.8: a name that stands twice cannot be covered alone.
            (Some(_), Some(_)) => Err(self.bad("the query names it more than once")),
        }
    }

    fn field(&self, name: &str) -> Result<String, BaseError> {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(self.unsupported("field names are signed in lower case"));
        }
        if !self.request.has_header(name) {
            return Err(BaseError::Absent { component: self.name.to_owned() });
        }
        if self.item.params.contains_key("bs") {
            return self.wrapped(name);
        }
        let text =
            self.request.header_text(name).ok_or_else(|| self.bad("it holds bytes that are not visible ASCII"))?;
        match self.item.params.get("key") {
            None => Ok(text),
            Some(key) => self.member(&text, key),
        }
    }

    /// `;bs`: each value as a byte sequence of its own (section 2.1.3).
    fn wrapped(&self, name: &str) -> Result<String, BaseError> {
        if self.item.params.len() > 1 {
            return Err(self.unsupported("bs stands alone"));
        }
        let values = self.request.header_values(name).map(|value| format!(":{}:", STANDARD.encode(value.trim_ascii())));
        Ok(values.collect::<Vec<_>>().join(", "))
    }

    /// `;key`: one member of a dictionary (section 2.1.2).
    fn member(&self, text: &str, key: &BareItem) -> Result<String, BaseError> {
        let key = key.as_string().ok_or_else(|| self.unsupported("key is a string"))?;
        let fields: Dictionary = Parser::new(text).parse().map_err(|_| self.bad("the field is no dictionary"))?;
        let entry = fields.get(key.as_str()).ok_or_else(|| BaseError::Absent { component: self.name.to_owned() })?;
        let list: List = vec![entry.clone()];
        let mut out = ListSerializer::new();
        out.members(&list);
        Ok(out.finish().expect("a list of one member is not empty"))
    }

    fn unsupported(&self, why: &'static str) -> BaseError {
        BaseError::Unsupported { component: self.name.to_owned(), why }
    }

    fn bad(&self, why: &'static str) -> BaseError {
        BaseError::BadValue { component: self.name.to_owned(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::identity::Iri;
    use crate::wire::message::Target;

    /// The base of `covered` (one inner list) over a fixed request, without the last line.
    fn base_of(covered: &str) -> Result<String, BaseError> {
        let iri =
            Iri::parse("https://www.example.com/path?param=value&foo=bar&baz=batman&qux=&x=1&x=2&sp=a%20b%26").unwrap();
        let list: List = Parser::new(covered).parse().unwrap();
        let ListEntry::InnerList(covered) = list.into_iter().next().unwrap() else { panic!("not an inner list") };
        let headers: Vec<(&str, &[u8])> = vec![
            ("Host", b"www.example.com"),
            ("Cache-Control", b"max-age=60"),
            ("cache-control", b"   must-revalidate\t"),
            ("Example-Dict", b"a=1,  b=2;x=1;y=2,   c=(a   b c), d"),
            ("X-Empty", b""),
            ("X-Bytes", b"\xff"),
        ];
        let base = signature_base(&RequestView { method: "POST", target: Target::of(&iri), headers }, &covered)?;
        let (above, last) = base.rsplit_once('\n').unwrap_or(("", &base));
        assert!(last.starts_with("\"@signature-params\": ("));
        Ok(above.to_owned())
    }

    #[test]
    fn every_component_of_a_request_has_its_value() {
        for (covered, line) in [
            (r#"("@method")"#, r#""@method": POST"#),
            (r#"("@authority")"#, r#""@authority": www.example.com"#),
            (r#"("@scheme")"#, r#""@scheme": https"#),
            (r#"("@path")"#, r#""@path": /path"#),
            (r#"("cache-control")"#, r#""cache-control": max-age=60, must-revalidate"#),
            (r#"("x-empty")"#, r#""x-empty": "#),
            (r#"("example-dict";key="a")"#, r#""example-dict";key="a": 1"#),
            (r#"("example-dict";key="b")"#, r#""example-dict";key="b": 2;x=1;y=2"#),
            (r#"("example-dict";key="c")"#, r#""example-dict";key="c": (a b c)"#),
            (r#"("example-dict";key="d")"#, r#""example-dict";key="d": ?1"#),
            (r#"("cache-control";bs)"#, r#""cache-control";bs: :bWF4LWFnZT02MA==:, :bXVzdC1yZXZhbGlkYXRl:"#),
            (r#"("x-bytes";bs)"#, r#""x-bytes";bs: :/w==:"#),
            (r#"("@query-param";name="baz")"#, r#""@query-param";name="baz": batman"#),
            (r#"("@query-param";name="qux")"#, r#""@query-param";name="qux": "#),
            (r#"("@query-param";name="sp")"#, r#""@query-param";name="sp": a%20b%26"#),
        ] {
            assert_eq!(base_of(covered).unwrap(), line);
        }
        let all = base_of(r#"("@target-uri" "@request-target" "@query")"#).unwrap();
        let query = "?param=value&foo=bar&baz=batman&qux=&x=1&x=2&sp=a%20b%26";
        let expected = format!(
            "\"@target-uri\": https://www.example.com/path{query}\n\"@request-target\": /path{query}\n\"@query\": {query}"
        );
        assert_eq!(all, expected);
    }

    #[test]
    fn what_cannot_be_derived_is_refused_with_the_reason() {
        use BaseError as E;
        for covered in [
            r#"("@status")"#,
            r#"("@nonsense")"#,
            r#"("@signature-params")"#,
            r#"("@method";req)"#,
            r#"("@method";bs)"#,
            r#"("cache-control";sf)"#,
            r#"("cache-control";tr)"#,
            r#"("cache-control";unknown)"#,
            r#"("cache-control";bs;key="a")"#,
            r#"("example-dict";key=a)"#,
            r#"("@query-param")"#,
            r#"("Cache-Control")"#,
            r#"(token)"#,
            r#"(7)"#,
        ] {
            assert!(matches!(base_of(covered), Err(E::Unsupported { .. })), "{covered}");
        }
        for covered in [r#"("x-none")"#, r#"("example-dict";key="z")"#, r#"("@query-param";name="none")"#] {
            assert!(matches!(base_of(covered), Err(E::Absent { .. })), "{covered}");
        }
        for covered in [r#"("x-bytes")"#, r#"("@query-param";name="x")"#, r#"("x-empty";key="a" "host";key="a")"#] {
            assert!(matches!(base_of(covered), Err(E::BadValue { .. } | E::Absent { .. })), "{covered}");
        }
        assert!(matches!(base_of(r#"("@method" "@path" "@method")"#), Err(E::Twice { .. })));
        let many = format!("({})", (0..33).map(|n| format!("\"x-{n}\"")).collect::<Vec<_>>().join(" "));
        assert_eq!(base_of(&many), Err(E::TooMany { count: 33 }));
    }
}
