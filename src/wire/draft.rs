//! Signatures by draft-cavage-http-signatures-12, which most of the fediverse made before RFC 9421 and still makes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822;

use super::base::{BaseError, COMPONENTS_MAX};
use super::claim::{Claim, Input};
use super::message::{RequestView, plain};
use super::signature::{Demand, SignatureError, check_time};
use crate::clock::Time;
use crate::domains::identity::Iri;

/// Parameters of one signature; the draft defines seven.
const PARAMETERS_MAX: usize = 16;

/// The pseudo-headers of section 2.3.
const REQUEST_TARGET: &str = "(request-target)";
const CREATED: &str = "(created)";
const EXPIRES: &str = "(expires)";

/// What a signature by the draft covers, and when it was made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DraftInput {
    names: Vec<String>,
    created: Option<i64>,
    expires: Option<i64>,
    algorithm: Option<String>,
}

/// What is wrong with a signature by the draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    #[error("there are several signature headers without signature-input: send one")]
    SignatureTwice,
    #[error("signature is no list of parameters with values, and there is no signature-input: {why}")]
    Malformed { why: &'static str },
    #[error("the parameter {name} of the signature stands twice: write it once")]
    ParameterTwice { name: String },
    #[error("the signature has no {name}: add it")]
    Missing { name: &'static str },
    #[error("the parameter {name} of the signature is {given:?}: write whole seconds since 1970")]
    BadTime { name: &'static str, given: String },
    #[error("the request has the header {name} twice: send what is signed once")]
    HeaderTwice { name: String },
    #[error("the date is {given:?}: write it like Sun, 06 Nov 1994 08:49:37 GMT")]
    BadDate { given: String },
    #[error("the host is {given:?}, but this is {own}: sign for where the request goes")]
    OtherHost { given: String, own: String },
    #[error("{name} cannot be signed with algorithm={algorithm:?} (section 2.3): say hs2019, or sign date")]
    PseudoHeader { name: String, algorithm: String },
}

/// The signature of a request without `Signature-Input`.
pub(super) fn claim(request: &RequestView<'_>, demand: Demand<'_>, now: Time) -> Result<Claim, SignatureError> {
    if request.header_values("signature").count() > 1 {
        return Err(DraftError::SignatureTwice.into());
    }
    let text = request.header_text("signature");
    let text = text.ok_or(DraftError::Malformed { why: "it is not visible ASCII" })?;
    let mut given = parameters(&text)?;
    let key_id = given.remove("keyId").ok_or(DraftError::Missing { name: "keyId" })?;
    let signature = given.remove("signature").ok_or(DraftError::Missing { name: "signature" })?;
    let signature =
        STANDARD.decode(signature).map_err(|_| DraftError::Malformed { why: "its bytes are not base64" })?;
    let input = DraftInput::new(given)?;
    input.check_coverage(demand)?;
    input.check_host(request)?;
    input.check_times(request, demand, now)?;
    let key_id = Iri::parse(&key_id).map_err(SignatureError::BadKeyId)?;
    Ok(Claim { label: "signature".to_owned(), key_id, input: Input::Draft(input), signature })
}

impl DraftInput {
    fn new(mut given: BTreeMap<String, String>) -> Result<Self, SignatureError> {
        let algorithm = given.remove("algorithm").map(|name| name.to_ascii_lowercase());
        // Without a list only a time is covered, which is never enough; the error then says what is not.
        let covered = given.remove("headers").unwrap_or_else(|| CREATED.to_owned());
        let names: Vec<String> = covered.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
        if names.len() > COMPONENTS_MAX {
            return Err(BaseError::TooMany { count: names.len() }.into());
        }
        let input = Self { created: time(&given, "created")?, expires: time(&given, "expires")?, names, algorithm };
        input.check_names()?;
        Ok(input)
    }

    pub(super) fn algorithm(&self) -> Option<&str> {
        self.algorithm.as_deref()
    }

    /// The text that is signed (section 2.3).
    pub(super) fn base(&self, request: &RequestView<'_>) -> Result<String, SignatureError> {
        let lines: Result<Vec<String>, SignatureError> =
            self.names.iter().map(|name| Ok(format!("{name}: {}", self.value(name, request)?))).collect();
        Ok(lines?.join("\n"))
    }

    fn value(&self, name: &str, request: &RequestView<'_>) -> Result<String, SignatureError> {
        let number = |time: Option<i64>| time.map(|time| time.to_string()).ok_or_else(|| absent(name));
        match name {
            REQUEST_TARGET => Ok(request_target(request)),
            CREATED => number(self.created),
            EXPIRES => number(self.expires),
            header => Ok(only(request, header)?.to_owned()),
        }
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|given| given == name)
    }

    fn check_names(&self) -> Result<(), SignatureError> {
        let twice = self.names.iter().enumerate().find(|(at, name)| self.names[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Err(BaseError::Twice { component: name.clone() }.into());
        }
        let old = self.algorithm.as_deref().filter(|it| ["rsa", "hmac", "ecdsa"].iter().any(|old| it.starts_with(old)));
        match (old, self.names.iter().find(|name| [CREATED, EXPIRES].contains(&name.as_str()))) {
            (Some(algorithm), Some(name)) => {
                Err(DraftError::PseudoHeader { name: name.clone(), algorithm: algorithm.to_owned() }.into())
            }
            _ => Ok(()),
        }
    }

    fn check_coverage(&self, demand: Demand<'_>) -> Result<(), SignatureError> {
        let body = demand.body.then_some("digest");
        let wanted = [REQUEST_TARGET, "host"].into_iter().chain(body).chain(demand.fields.iter().copied());
        for name in wanted {
            if !self.covers(name) {
                return Err(SignatureError::Uncovered { component: name.to_owned() });
            }
        }
        if self.covers("date") || self.covers(CREATED) {
            return Ok(());
        }
        Err(SignatureError::Uncovered { component: format!("date or {CREATED}") })
    }

    /// Who signed for another host did not mean this node, whatever a proxy made of that.
    fn check_host(&self, request: &RequestView<'_>) -> Result<(), SignatureError> {
        let given = only(request, "host")?;
        let (own, default) = (request.target.authority, if request.target.scheme == "https" { ":443" } else { ":80" });
        let host = given.strip_suffix(default).unwrap_or(given);
        if host.eq_ignore_ascii_case(own) {
            return Ok(());
        }
        let given = given.chars().take(200).collect();
        Err(DraftError::OtherHost { given, own: own.to_owned() }.into())
    }

    /// Each time that is covered must be near ours.
    fn check_times(&self, request: &RequestView<'_>, demand: Demand<'_>, now: Time) -> Result<(), SignatureError> {
        if self.covers(CREATED) {
            check_time(self.created, self.expires, demand.window, now)?;
        }
        if self.covers("date") {
            check_time(Some(date(only(request, "date")?)?), self.expires, demand.window, now)?;
        }
        Ok(())
    }
}

/// The method in lower case, and the path with its query.
pub(super) fn request_target(request: &RequestView<'_>) -> String {
    let target = match request.target.path_and_query {
        "" => "/",
        given => given,
    };
    format!("{} {target}", request.method.to_ascii_lowercase())
}

/// The value of a header that the request has once. Which of several was meant is anybody's guess.
fn only<'a>(request: &RequestView<'a>, name: &str) -> Result<&'a str, SignatureError> {
    let mut values = request.header_values(name);
    match (values.next(), values.next()) {
        (Some(value), None) => plain(value).ok_or_else(|| {
            BaseError::BadValue { component: name.to_owned(), why: "it holds bytes that are not visible ASCII" }.into()
        }),
        (Some(_), Some(_)) => Err(DraftError::HeaderTwice { name: name.to_owned() }.into()),
        (None, _) => Err(absent(name)),
    }
}

fn absent(name: &str) -> SignatureError {
    BaseError::Absent { component: name.to_owned() }.into()
}

/// Seconds since 1970 of the only form of date that RFC 9110 lets anybody send.
fn date(text: &str) -> Result<i64, DraftError> {
    let bad = || DraftError::BadDate { given: text.chars().take(100).collect() };
    if !text.ends_with(" GMT") {
        return Err(bad());
    }
    rfc2822::DateTimeParser::new().parse_timestamp(text).map(jiff::Timestamp::as_second).map_err(|_| bad())
}

fn time(given: &BTreeMap<String, String>, name: &'static str) -> Result<Option<i64>, DraftError> {
    let Some(text) = given.get(name) else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bad = || DraftError::BadTime { name, given: text.chars().take(100).collect() };
    // Leading zeros would make another text of the same number, and the text is signed.
    let seconds = text.parse().ok().filter(|seconds: &i64| digits && seconds.to_string() == *text);
    seconds.map(Some).ok_or_else(bad)
}

/// `name="text"` or `name=token`, with commas between (section 4.1).
fn parameters(text: &str) -> Result<BTreeMap<String, String>, DraftError> {
    let malformed = |why| DraftError::Malformed { why };
    let mut given = BTreeMap::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = rest.split_once('=').ok_or(malformed("a parameter has no value"))?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return Err(malformed("the name of a parameter is none"));
        }
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(malformed("a quotation does not end"))?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        // No value that stands here needs an escape, and readers disagree about what one means.
        if value.contains('\\') {
            return Err(malformed("a value has a backslash"));
        }
        if given.insert(name.to_owned(), value.trim().to_owned()).is_some() {
            return Err(DraftError::ParameterTwice { name: name.chars().take(100).collect() });
        }
        if given.len() > PARAMETERS_MAX {
            return Err(malformed("it has too many parameters"));
        }
        rest = match after.trim_start().strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.trim().is_empty() => return Ok(given),
            None => return Err(malformed("a comma is missing")),
        };
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
