//! HTTP message signatures (RFC 9421) on a request: what they claim, and whether they cover what is demanded.

use std::fmt;
use std::time::Duration;

use sfv::visitor::{DictionaryVisitor, EntryVisitor};
use sfv::{Dictionary, InnerList, KeyRef, ListEntry, Parser};

use super::base::{BaseError, COMPONENTS_MAX, params_text, signature_base};
use super::draft::DraftError;
use super::message::RequestView;
use crate::clock::Time;
use crate::domains::identity::IdentityError;

/// Signatures on one request; a proxy or two may add theirs.
pub const LABELS_MAX: usize = 4;

/// How far `created` may lie from our clock on either side (CONTRACT, Wire 3).
pub const CLOCK_WINDOW: Duration = Duration::from_secs(300);

/// The algorithms of RFC 9421 section 3.3 that this node checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Ed25519,
    HmacSha256,
    RsaV15Sha256,
}

/// One member of `Signature-Input`.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureInput {
    covered: InnerList,
    created: Option<i64>,
    expires: Option<i64>,
    key_id: Option<String>,
    algorithm: Option<String>,
}

/// Why no signature on a request is even worth checking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the request is not signed: sign it as RFC 9421 says")]
    Unsigned,
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error("{field} is missing")]
    FieldMissing { field: &'static str },
    #[error("{field} is not a structured dictionary: {why}")]
    Malformed { field: &'static str, why: String },
    #[error("{field} has the label {label} twice: give each signature its own")]
    LabelTwice { field: &'static str, label: String },
    #[error("{field} has a parameter twice: write each once, since readers differ about which of them counts")]
    ParameterTwice { field: &'static str },
    #[error("{field} has more than {LABELS_MAX} labels: send fewer signatures")]
    LabelsTooMany { field: &'static str },
    #[error("signature {label:?} is not a list of components with its bytes under the same label")]
    NotASignature { label: String },
    #[error("the parameter {name} of the signature has the wrong type")]
    BadParameter { name: &'static str },
    #[error("the signature does not cover {component}, which must be covered")]
    Uncovered { component: String },
    #[error("the signature has no created time: add it")]
    NoCreated,
    #[error("the signature was created {seconds} s ago, more than {most}: sign anew, and check the clock")]
    TooOld { seconds: i64, most: i64 },
    #[error("the signature was created {seconds} s in the future: check the clock")]
    InFuture { seconds: i64 },
    #[error("the signature expired {seconds} s ago: sign anew")]
    Expired { seconds: i64 },
    #[error("the signature has no keyid: name the key by its URL")]
    NoKeyId,
    #[error("the keyid of the signature is no usable id: {0}")]
    BadKeyId(#[source] IdentityError),
    #[error("the signature says alg={given:?}, but this node checks its key as {wanted}: sign so, and leave alg out")]
    AlgorithmContradicts { given: String, wanted: Algorithm },
    #[error(transparent)]
    Base(#[from] BaseError),
}

/// What a signature must cover, beyond the method and the target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand<'a> {
    /// There is a body, so `content-digest` must be covered.
    pub body: bool,
    /// Further header fields, in lower case, that must be covered.
    pub fields: &'a [&'a str],
    /// How far the signer's clock may differ from ours.
    pub window: Duration,
}

impl SignatureInput {
    /// The parameters of a covered list; of the wrong type they are refused.
    pub fn new(covered: InnerList) -> Result<Self, SignatureError> {
        if covered.items.len() > COMPONENTS_MAX {
            return Err(BaseError::TooMany { count: covered.items.len() }.into());
        }
        Ok(Self {
            created: integer(&covered, "created")?,
            expires: integer(&covered, "expires")?,
            key_id: string(&covered, "keyid")?,
            algorithm: string(&covered, "alg")?,
            covered,
        })
    }

    /// Reads one member as it stands behind `label=`.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let mut members = dictionary("signature-input", &format!("sig={text}"))?;
        match members.swap_remove("sig") {
            Some(ListEntry::InnerList(covered)) => Self::new(covered),
            _ => Err(SignatureError::NotASignature { label: "sig".to_owned() }),
        }
    }

    /// The text that is signed.
    pub fn base(&self, request: &RequestView<'_>) -> Result<String, BaseError> {
        signature_base(request, &self.covered)
    }

    /// The canonical text, as it stands behind `label=`.
    pub fn text(&self) -> String {
        params_text(&self.covered)
    }

    /// Covered as it stands: a component with parameters is another component.
    fn covers(&self, name: &str) -> bool {
        let plain = |item: &&sfv::Item| item.params.is_empty();
        self.covered
            .items
            .iter()
            .filter(plain)
            .any(|item| item.bare_item.as_string().is_some_and(|given| given.as_str() == name))
    }

    fn check_coverage(&self, demand: Demand<'_>) -> Result<(), SignatureError> {
        let uncovered = |component: &str| Err(SignatureError::Uncovered { component: component.to_owned() });
        if !self.covers("@method") {
            return uncovered("@method");
        }
        let apart = ["@authority", "@path", "@query"];
        if !self.covers("@target-uri") {
            let covered = apart.iter().filter(|name| self.covers(name)).count();
            match apart.iter().find(|name| !self.covers(name)) {
                Some(missing) if covered > 0 => return uncovered(missing),
                Some(_) => return uncovered("@target-uri"),
                None => {}
            }
        }
        let body = demand.body.then_some("content-digest");
        match body.iter().chain(demand.fields).find(|name| !self.covers(name)) {
            Some(missing) => uncovered(missing),
            None => Ok(()),
        }
    }

    /// Whether it covers what is demanded, and is in time.
    pub(super) fn check(&self, demand: Demand<'_>, now: Time) -> Result<(), SignatureError> {
        self.check_coverage(demand)?;
        check_time(self.created, self.expires, demand.window, now)
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) fn algorithm(&self) -> Option<&str> {
        self.algorithm.as_deref()
    }
}

/// Whether a signature was made within `window` of our clock, and has not expired.
pub(super) fn check_time(
    created: Option<i64>,
    expires: Option<i64>,
    window: Duration,
    now: Time,
) -> Result<(), SignatureError> {
    let now = now.seconds();
    let window = window.as_secs().cast_signed();
    let age = now.saturating_sub(created.ok_or(SignatureError::NoCreated)?);
    if age > window {
        return Err(SignatureError::TooOld { seconds: age, most: window });
    }
    if age < -window {
        return Err(SignatureError::InFuture { seconds: -age });
    }
    match expires.map(|expires| now.saturating_sub(expires)) {
        Some(past) if past > 0 => Err(SignatureError::Expired { seconds: past }),
        _ => Ok(()),
    }
}

/// The dictionary of one of the two headers of RFC 9421.
pub(super) fn field(request: &RequestView<'_>, field: &'static str) -> Result<Dictionary, SignatureError> {
    if !request.has_header(field) {
        return Err(match (request.has_header("signature-input"), request.has_header("signature")) {
            (false, false) => SignatureError::Unsigned,
            (false, true) => SignatureError::FieldMissing { field: "signature-input" },
            (true, _) => SignatureError::FieldMissing { field },
        });
    }
    let text = request.header_text(field);
    let text = text.ok_or_else(|| SignatureError::Malformed { field, why: "it is not visible ASCII".to_owned() })?;
    dictionary(field, &text)
}

pub(super) fn dictionary(field: &'static str, text: &str) -> Result<Dictionary, SignatureError> {
    let mut labels = Labels { seen: Vec::new(), refused: None };
    let malformed = |error: sfv::Error| SignatureError::Malformed { field, why: error.to_string() };
    // Twice over a short text: the library's dictionary lets the last of equal labels win without a word.
    let unique = Parser::new(text).parse_dictionary_with_visitor(&mut labels);
    match labels.refused {
        Some(LabelRefused::Twice(label)) => return Err(SignatureError::LabelTwice { field, label }),
        Some(LabelRefused::TooMany) => return Err(SignatureError::LabelsTooMany { field }),
        None => unique.map_err(malformed)?,
    }
    let members: Dictionary = Parser::new(text).parse().map_err(malformed)?;
    if written(text) > members.values().map(parameters).sum::<usize>() {
        return Err(SignatureError::ParameterTwice { field });
    }
    Ok(members)
}

/// How many parameters stand in a dictionary. Of those with one name the library keeps the last, as the standard says.
fn written(text: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, None, false);
    let mut before = 0;
    for byte in text.bytes() {
        match (byte, quoted) {
            _ if escaped => escaped = false,
            // A display string (`%"…"`) writes an escape with a percent sign, and a backslash in it is one.
            (b'\\', Some(b'"')) => escaped = true,
            (b'"', None) => quoted = Some(if before == b'%' { before } else { byte }),
            (b'"', Some(_)) => quoted = None,
            (b';', None) => count += 1,
            _ => {}
        }
        before = byte;
    }
    count
}

/// How many parameters a member has, with those of its items.
fn parameters(member: &ListEntry) -> usize {
    match member {
        ListEntry::Item(item) => item.params.len(),
        ListEntry::InnerList(list) => {
            list.params.len() + list.items.iter().map(|item| item.params.len()).sum::<usize>()
        }
    }
}

/// Refuses a label that was seen before, and the first one too many.
struct Labels {
    seen: Vec<String>,
    refused: Option<LabelRefused>,
}

#[derive(Debug, Clone, thiserror::Error)]
enum LabelRefused {
    #[error("label {0} twice")]
    Twice(String),
    #[error("too many labels")]
    TooMany,
}

impl<'de> DictionaryVisitor<'de> for &mut Labels {
    type Out = ();
    type Error = LabelRefused;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, LabelRefused> {
        let label = key.as_str().to_owned();
        let refused = if self.seen.contains(&label) {
            LabelRefused::Twice(label)
        } else if self.seen.len() == LABELS_MAX {
            LabelRefused::TooMany
        } else {
            self.seen.push(label);
            return Ok(sfv::visitor::Ignored);
        };
        self.refused = Some(refused.clone());
        Err(refused)
    }

    fn finish(self) -> Result<(), LabelRefused> {
        Ok(())
    }
}

fn integer(covered: &InnerList, name: &'static str) -> Result<Option<i64>, SignatureError> {
    let Some(value) = covered.params.get(name) else { return Ok(None) };
    value.as_integer().map(|given| Some(given.into())).ok_or(SignatureError::BadParameter { name })
}

fn string(covered: &InnerList, name: &'static str) -> Result<Option<String>, SignatureError> {
    let Some(value) = covered.params.get(name) else { return Ok(None) };
    value.as_string().map(|given| Some(given.as_str().to_owned())).ok_or(SignatureError::BadParameter { name })
}

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::HmacSha256 => "hmac-sha256",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
