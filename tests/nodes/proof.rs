//! What a fake peer got, and whether the node that it names really signed it.

use quickbeam::domains::identity::Iri;
use quickbeam::wire::digest::{check, sha256};
use quickbeam::wire::key::{PairSecret, PublicKey};
use quickbeam::wire::keys::Key;
use quickbeam::wire::message::{RequestView, Target};
use quickbeam::wire::signature::SignatureInput;
use serde_json::Value;

use crate::harness::Node;
use crate::http::Call;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// What its signature covers, as it stands in `Signature-Input`.
    pub(crate) fn claims(&self) -> &str {
        self.header("signature-input").unwrap_or_default()
    }

    fn signed(&self) -> (String, Vec<u8>) {
        let host = Iri::parse(&format!("http://{}/", self.header("host").unwrap_or_default())).unwrap();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let view = RequestView { method: &self.method, target: Target::at(&host, &self.target), headers };
        let claims = self.claims();
        let (_, claims) = claims.split_once('=').unwrap();
        let base = SignatureInput::parse(claims).unwrap().base(&view).unwrap();
        (base, self.signature())
    }

    fn signature(&self) -> Vec<u8> {
        use base64::Engine as _;
        let text = self.header("signature").unwrap_or_default();
        let text = text.split(':').nth(1).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    /// Whether it was signed with a secret that this peer shares with the sender.
    pub(crate) fn is_signed_with(&self, secret: &[u8]) -> bool {
        let (base, signature) = self.signed();
        PairSecret::new(secret).unwrap().sign(base.as_bytes())[..] == signature
    }
}

/// What is false about a request that should be of this node; none when all of it is true.
pub(crate) fn false_of(got: &Got, node: &Node) -> Option<String> {
    false_by(got, &node.send(&Call::get("/actor")).expect(200).json())
}

/// The same by an actor document, of now or of before.
pub(crate) fn false_by(got: &Got, document: &Value) -> Option<String> {
    if let Err(error) = check(got.header("content-digest"), &got.body, &sha256(&got.body)) {
        return Some(error.to_string());
    }
    let demanded = ["\"@method\"", "\"@target-uri\"", "\"content-digest\"", "\"content-type\"", ";created=", ";tag="];
    if let Some(missing) = demanded.iter().find(|part| !got.claims().contains(*part)) {
        return Some(format!("{missing} is not in {}", got.claims()));
    }
    let named = |key: &&Value| got.claims().contains(&format!(";keyid={}", key["id"]));
    let ed25519 = document["assertionMethod"].as_array().into_iter().flatten().find(named);
    let rsa = Some(&document["publicKey"]).filter(named);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = match (ed25519, rsa) {
        (Some(key), _) => PublicKey::from_multikey(&text(&key["publicKeyMultibase"])).unwrap(),
        (None, Some(key)) => PublicKey::from_pem(&text(&key["publicKeyPem"])).unwrap(),
        (None, None) => return Some(format!("no key of {} is in {}", document["id"], got.claims())),
    };
    let key = Key::Public(key);
    let (base, signature) = got.signed();
    (!key.verifies(base.as_bytes(), &signature)).then(|| format!("the signature is false over\n{base}"))
}
