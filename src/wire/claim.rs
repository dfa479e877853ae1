//! The signatures of a request that are worth checking: they cover what is demanded and are in time, whichever of the
//! two standards they were made by.

use sfv::{BareItem, ListEntry};

use super::draft::{self, DraftInput};
use super::message::RequestView;
use super::signature::{Algorithm, Demand, SignatureError, SignatureInput, field};
use crate::clock::Time;
use crate::domains::identity::Iri;

/// A signature that covers what is demanded and is in time. Whether it is true is another question.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub label: String,
    pub key_id: Iri,
    pub(super) input: Input,
    pub(super) signature: Vec<u8>,
}

/// What was signed, by the rules of RFC 9421 or of draft-cavage-http-signatures-12.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    Message(SignatureInput),
    Draft(DraftInput),
}

impl Claim {
    /// The base that the signature must fit.
    pub fn base(&self, request: &RequestView<'_>) -> Result<String, SignatureError> {
        match &self.input {
            Input::Message(input) => Ok(input.base(request)?),
            Input::Draft(input) => input.base(request),
        }
    }

    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it was made by the draft, whose digest stands in another header.
    pub fn is_draft(&self) -> bool {
        matches!(self.input, Input::Draft(_))
    }

    /// The algorithm comes from the key; a message may repeat it but not choose it.
    pub fn check_algorithm(&self, wanted: Algorithm) -> Result<(), SignatureError> {
        let (given, fits) = match &self.input {
            Input::Message(input) => (input.algorithm(), input.algorithm().is_none_or(|it| it == wanted.as_str())),
            Input::Draft(input) => (input.algorithm(), input.algorithm().is_none_or(|it| wanted.is_in_draft(it))),
        };
        match given {
            Some(given) if !fits => Err(SignatureError::AlgorithmContradicts { given: given.to_owned(), wanted }),
            _ => Ok(()),
        }
    }
}

/// The signatures of a request that cover what is demanded and are in time, in the order in which they stand. When
/// there is none the answer is what is wrong with the first.
pub fn claims(request: &RequestView<'_>, demand: Demand<'_>, now: Time) -> Result<Vec<Claim>, SignatureError> {
    if request.has_header("signature") && !request.has_header("signature-input") {
        return draft::claim(request, demand, now).map(|claim| vec![claim]);
    }
    let inputs = field(request, "signature-input")?;
    let mut signatures = field(request, "signature")?;
    let mut claims = Vec::new();
    let mut first_wrong = None;
    for (label, entry) in inputs {
        let signature = signatures.swap_remove(label.as_str());
        match claim(label.as_str(), entry, signature, demand, now) {
            Ok(claim) => claims.push(claim),
            Err(wrong) => drop(first_wrong.get_or_insert(wrong)),
        }
    }
    if claims.is_empty() { Err(first_wrong.unwrap_or(SignatureError::Unsigned)) } else { Ok(claims) }
}

fn claim(
    label: &str,
    input: ListEntry,
    signature: Option<ListEntry>,
    demand: Demand<'_>,
    now: Time,
) -> Result<Claim, SignatureError> {
    let no_signature = || SignatureError::NotASignature { label: label.to_owned() };
    let (ListEntry::InnerList(covered), Some(ListEntry::Item(item))) = (input, signature) else {
        return Err(no_signature());
    };
    let BareItem::ByteSequence(signature) = item.bare_item else { return Err(no_signature()) };
    let input = SignatureInput::new(covered)?;
    input.check(demand, now)?;
    let key_id = input.key_id().ok_or(SignatureError::NoKeyId)?;
    let key_id = Iri::parse(key_id).map_err(SignatureError::BadKeyId)?;
    Ok(Claim { label: label.to_owned(), key_id, input: Input::Message(input), signature })
}

impl Algorithm {
    /// Whether a signature by the draft may call this algorithm so. `hs2019` leaves it to the key, as RFC 9421 does.
    fn is_in_draft(self, given: &str) -> bool {
        given == "hs2019"
            || given
                == match self {
                    Self::Ed25519 => "ed25519",
                    Self::HmacSha256 => "hmac-sha256",
                    Self::RsaV15Sha256 => "rsa-sha256",
                }
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
