//! Signing what we send: by RFC 9421 with one of the node's own keys or the secret shared with one peer, or by
//! draft-cavage-http-signatures-12 for those who know nothing newer.

use sfv::{BareItem, InnerList, Integer, Item, Key};

use jiff::fmt::rfc2822::DateTimePrinter;

use super::base::BaseError;
use super::digest::{content_digest, draft_digest};
use super::draft::request_target;
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
const ADDED: [&str; 6] = ["content-digest", "signature-input", "signature", "host", "date", "digest"];

/// What a signature by the draft covers beside the target and the host, when the request has it.
const DRAFT_FIELDS: [&str; 4] = ["date", "digest", "content-type", "idempotency-key"];

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
    pub fn sign(&self, request: Request, now: Time) -> Result<Request, BaseError> {
        let request = request.digested();
        let input = self.input(&request, now);
        self.sign_input("sig", &input, request)
    }

    /// The same by the draft: adds `Host`, `Date`, `Digest` when there is a body, and `Signature`.
    pub fn sign_draft(&self, request: Request, now: Time) -> Result<Request, BaseError> {
        let mut request = request.unsigned();
        let authority = request.url.authority().to_string();
        request = request.header("host", authority).header("date", date(now));
        if !request.body.is_empty() {
            let digest = draft_digest(&request.body);
            request = request.header("digest", digest);
        }
        let view = request.view();
        let mut lines = vec![("(request-target)", request_target(&view))];
        let fields = DRAFT_FIELDS.into_iter().filter(|name| view.has_header(name));
        for name in ["host"].into_iter().chain(fields) {
            let bad =
                || BaseError::BadValue { component: name.to_owned(), why: "it holds bytes that are not visible ASCII" };
            lines.push((name, view.header_text(name).ok_or_else(bad)?));
        }
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        let base: Vec<String> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let (names, signature) = (names.join(" "), base64(&self.secret.sign(base.join("\n").as_bytes())));
        let (key_id, algorithm) = (&self.key_id, self.secret.draft_algorithm());
        let value =
            format!("keyId=\"{key_id}\",algorithm=\"{algorithm}\",headers=\"{names}\",signature=\"{signature}\"");
        Ok(request.header("signature", value))
    }

    /// Signs what `input` covers, under a label. The request has its digest.
    pub(super) fn sign_input(
        &self,
        label: &str,
        input: &SignatureInput,
        request: Request,
    ) -> Result<Request, BaseError> {
        let base = input.base(&request.view())?;
        let signature = base64(&self.secret.sign(base.as_bytes()));
        let request = request.header("signature-input", format!("{label}={}", input.text()));
        Ok(request.header("signature", format!("{label}=:{signature}:")))
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

impl Request {
    /// Without any signature, and with `Content-Digest` when there is a body.
    pub(super) fn digested(self) -> Self {
        let request = self.unsigned();
        if request.body.is_empty() {
            return request;
        }
        let digest = content_digest(&request.body);
        request.header("content-digest", digest)
    }

    fn unsigned(mut self) -> Self {
        self.headers.retain(|(name, _)| !ADDED.contains(&name.as_str()));
        self
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

    /// `hs2019` says no more than that the key decides, but older servers look for the name of the one they know.
    fn draft_algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) | Self::HmacSha256(_) => "hs2019",
        }
    }
}

pub(super) fn text(plain: &str) -> BareItem {
    BareItem::String(sfv::String::try_from(plain.to_owned()).expect("names and ids in normal form are ASCII"))
}

pub(super) fn key(name: &str) -> Key {
    Key::try_from(name.to_owned()).expect("the names of parameters are keys")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// As RFC 9110 section 5.6.7 writes it.
fn date(now: Time) -> String {
    let stamp = jiff::Timestamp::from_second(now.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::for_tests::keys;
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
    fn a_post_is_signed_by_the_draft_over_what_old_servers_demand() {
        let rsa = Signer {
            key_id: Iri::parse("https://a.example/actor#main-key").unwrap(),
            secret: SignerKey::Rsa(keys(1).rsa),
        };
        let url = || Iri::parse("https://b.example:8443/inbox?a=b").unwrap();
        let request = Request::post(url(), "application/activity+json", "{}", LIMITS);
        let signed = rsa.sign_draft(request.clone(), Time(1_618_884_473_042)).unwrap();
        assert_eq!(header(&signed, "host"), "b.example:8443");
        assert_eq!(header(&signed, "date"), "Tue, 20 Apr 2021 02:07:53 GMT");
        assert_eq!(header(&signed, "digest"), draft_digest(b"{}"));
        let base = format!(
            "(request-target): post /inbox?a=b\nhost: b.example:8443\ndate: Tue, 20 Apr 2021 02:07:53 GMT\n\
             digest: {}\ncontent-type: application/activity+json",
            draft_digest(b"{}")
        );
        assert_eq!(
            header(&signed, "signature"),
            format!(
                "keyId=\"https://a.example/actor#main-key\",algorithm=\"rsa-sha256\",\
                 headers=\"(request-target) host date digest content-type\",signature=\"{}\"",
                base64(&keys(1).rsa.sign(base.as_bytes()))
            )
        );
        let get = rsa.sign_draft(Request::get(url(), "x", LIMITS), Time(0)).unwrap();
        assert!(header(&get, "signature").contains("headers=\"(request-target) host date\""));
        assert!(header(&signer().sign_draft(request, Time(0)).unwrap(), "signature").contains("algorithm=\"hs2019\""));
    }

    #[test]
    fn nothing_of_one_standard_stays_when_it_is_signed_by_the_other() {
        let url = Iri::parse("https://b.example/inbox").unwrap();
        let request = || Request::post(url.clone(), "application/activity+json", "{}", LIMITS);
        let again = signer().sign(signer().sign_draft(request(), Time(1_000)).unwrap(), Time(2_000)).unwrap();
        assert_eq!(again, signer().sign(request(), Time(2_000)).unwrap());
        let again = signer().sign_draft(signer().sign(request(), Time(1_000)).unwrap(), Time(2_000)).unwrap();
        assert_eq!(again, signer().sign_draft(request(), Time(2_000)).unwrap());
        let bad = request().header("idempotency-key", "a\nb");
        assert!(matches!(signer().sign_draft(bad, Time(0)), Err(BaseError::BadValue { .. })));
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
