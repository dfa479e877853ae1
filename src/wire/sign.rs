//! Signing what we send: RFC 9421 with one of the node's own keys, or with the secret shared with one peer.

use sfv::{BareItem, InnerList, Integer, Item, Key};

use super::base::BaseError;
use super::digest::content_digest;
use super::key::{NodeKey, PairSecret};
use super::rsa::RsaKey;
use super::signature::SignatureInput;
use super::transport::Request;
use crate::clock::Time;
use crate::domains::identity::Iri;

/// Tells our signatures from others that a proxy may add.
const TAG: &str = "quickbeam";

/// What is signed beside `@method` and `@target-uri`, when the request has it.
const FIELDS: [&str; 3] = ["content-digest", "content-type", "idempotency-key"];

/// What signing adds; of an earlier attempt nothing may stay.
const ADDED: [&str; 3] = ["content-digest", "signature-input", "signature"];

/// A key with the id under which the receiver finds its other half.
#[derive(Debug, Clone)]
pub struct Signer {
    pub key_id: Iri,
    pub secret: SignerKey,
}

/// The half that only we, or only we and one peer, have.
#[derive(Debug, Clone)]
pub enum SignerKey {
    Ed25519(NodeKey),
    HmacSha256(PairSecret),
    Rsa(RsaKey),
}

impl Signer {
    /// Adds `Content-Digest` when there is a body, then `Signature-Input` and `Signature` under the label `sig`. Call it
    /// last: what is added or changed afterwards is not covered.
    pub fn sign(&self, mut request: Request, now: Time) -> Result<Request, BaseError> {
        request.headers.retain(|(name, _)| !ADDED.contains(&name.as_str()));
        if !request.body.is_empty() {
            let digest = content_digest(&request.body);
            request = request.header("content-digest", digest);
        }
        let input = self.input(&request, now);
        let base = input.base(&request.view())?;
        let signature = sfv_bytes(&self.secret.sign(base.as_bytes()));
        Ok(request.header("signature-input", format!("sig={}", input.text())).header("signature", signature))
    }

    fn input(&self, request: &Request, now: Time) -> SignatureInput {
        let view = request.view();
        let fields = FIELDS.into_iter().filter(|name| view.has_header(name));
        let items = ["@method", "@target-uri"].into_iter().chain(fields).map(|name| Item::new(text(name))).collect();
        let created = Integer::try_from(now.seconds()).unwrap_or(Integer::MAX);
        let params =
            [("created", BareItem::Integer(created)), ("keyid", text(self.key_id.as_str())), ("tag", text(TAG))];
        let params = params.into_iter().map(|(name, value)| (key(name), value)).collect();
        SignatureInput::new(InnerList::with_params(items, params)).expect("our own parameters have the right types")
    }
}

impl SignerKey {
    pub fn sign(&self, base: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(base).to_vec(),
            Self::HmacSha256(secret) => secret.sign(base).to_vec(),
            Self::Rsa(key) => key.sign(base),
        }
    }
}

fn text(plain: &str) -> BareItem {
    BareItem::String(sfv::String::try_from(plain.to_owned()).expect("names and ids in normal form are ASCII"))
}

fn key(name: &str) -> Key {
    Key::try_from(name.to_owned()).expect("the names of parameters are keys")
}

fn sfv_bytes(signature: &[u8]) -> String {
    use base64::Engine as _;
    format!("sig=:{}:", base64::engine::general_purpose::STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::transport::Limits;

    fn signer() -> Signer {
        let key_id = Iri::parse("https://a.example/actor#ed25519").unwrap();
        Signer { key_id, secret: SignerKey::Ed25519(NodeKey::from_seed([7; 32])) }
    }

    const LIMITS: Limits = Limits { bytes_max: 1, deadline: Duration::from_secs(1) };

    fn header(request: &Request, name: &str) -> String {
        request.view().header_text(name).unwrap_or_default()
    }

    #[test]
    fn a_post_is_signed_over_what_the_contract_names() {
        let url = Iri::parse("https://b.example/inbox").unwrap();
        let request = Request::post(url, "application/activity+json", "{}", LIMITS).header("Idempotency-Key", "k");
        let signed = signer().sign(request, Time(1_618_884_473_042)).unwrap();
        assert_eq!(
            header(&signed, "signature-input"),
            "sig=(\"@method\" \"@target-uri\" \"content-digest\" \"content-type\" \"idempotency-key\")\
             ;created=1618884473;keyid=\"https://a.example/actor#ed25519\";tag=\"quickbeam\""
        );
        assert_eq!(header(&signed, "content-digest"), content_digest(b"{}"));
        assert!(header(&signed, "signature").starts_with("sig=:"));
    }

    #[test]
    fn a_get_is_signed_over_method_and_target_only() {
        let url = Iri::parse("https://b.example/x?y").unwrap();
        let signed = signer().sign(Request::get(url, "application/activity+json", LIMITS), Time(1_000)).unwrap();
        assert!(header(&signed, "signature-input").starts_with("sig=(\"@method\" \"@target-uri\");created=1;"));
        assert_eq!(header(&signed, "content-digest"), "");
    }

    #[test]
    fn signing_again_replaces_what_was_signed_before() {
        let url = Iri::parse("https://b.example/inbox").unwrap();
        let request = || Request::post(url.clone(), "application/activity+json", "{}", LIMITS);
        let again = signer().sign(signer().sign(request(), Time(1_000)).unwrap(), Time(2_000)).unwrap();
        assert_eq!(again, signer().sign(request(), Time(2_000)).unwrap());
    }

    #[test]
    fn a_key_id_is_quoted_whatever_it_holds() {
        let key_id = Iri::parse("https://a.example/?a=\\;b=1").unwrap();
        let request = Request::get(Iri::parse("https://b.example/").unwrap(), "x", LIMITS);
        let signed = Signer { key_id, ..signer() }.sign(request, Time(1_000)).unwrap();
        assert!(header(&signed, "signature-input").contains(r#";keyid="https://a.example/?a=\\;b=1";tag="#));
    }

    #[test]
    fn a_header_that_cannot_be_signed_is_an_error() {
        let url = Iri::parse("https://b.example/inbox").unwrap();
        let request = Request::get(url, "x", LIMITS).header("idempotency-key", "a\nb");
        assert!(matches!(signer().sign(request, Time(0)), Err(BaseError::BadValue { .. })));
    }
}
