//! Keys as peers publish them, our own key files, and the documents in which keys stand.

use quickbeam::domains::identity::Iri;
use quickbeam::domains::json::{JSON_DEPTH_MAX, parse_json};
use quickbeam::keyring::Ring;
use quickbeam::wire::document::{ActorDocument, KEYS_MAX, OurActor, Profile};
use quickbeam::wire::key::{NodeKey, NodeKeys, PublicKey};
use quickbeam::wire::keys::Key;
use quickbeam::wire::rsa::RsaKey;

use super::json::JSON;
use super::run::{Target, named, text};

const PEM: [&str; 16] = [
    "-----BEGIN ",
    "-----END ",
    "-----",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "PRIVATE KEY",
    "\n",
    "\r\n",
    "=",
    "==",
    "A",
    "AAAA",
    "/////w==",
    "MIIB",
    "MCowBQYDK2VwAyEA",
    "Proc-Type: 4,ENCRYPTED\n",
];

#[test]
fn public_pem() {
    let made = [NodeKey::from_seed([1; 32]).public_pem().into_bytes()];
    Target { name: "public_pem", also: &["vectors/rsa"], made: &made, tokens: &PEM }.run(|input| {
        let given = text(input);
        let key = match PublicKey::from_pem(&given) {
            Ok(key) => key,
            Err(refused) => return named(&refused),
        };
        // Whatever the width of its lines.
        let (body, end) = given.trim().rsplit_once("-----END").unwrap();
        let wide = format!("{}\n\n-----END{end}", body.replace('A', "A\n"));
        assert_eq!(
            PublicKey::from_pem(&wide.replacen("-----BEGIN RSA\n", "-----BEGIN RSA", 1)).ok(),
            Some(key.clone())
        );
        assert!(
            !Key::Public(key.clone()).verifies(b"message", &[])
                && !Key::Public(key.clone()).verifies(b"message", &[0; 64])
        );
        assert!(!Key::Public(key.clone()).verifies(b"message", &[0; 256]));
        named(&key)
    });
}

#[test]
fn multikey() {
    let made = [
        NodeKey::from_seed([1; 32]).public_multikey().into_bytes(),
        b"zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme".to_vec(),
    ];
    Target { name: "multikey", also: &[], made: &made, tokens: &["z", "z6Mk", "u", "1", "11111111", "0", "O", "l"] }
        .run(|input| {
            let given = text(input);
            let key = match PublicKey::from_multikey(&given) {
                Ok(key) => key,
                Err(refused) => return named(&refused),
            };
            if let PublicKey::Ed25519(point) = &key {
                assert!(!point.is_weak());
                let bytes = [&[0xed, 0x01], point.as_bytes().as_slice()].concat();
                assert_eq!(format!("z{}", bs58::encode(bytes).into_string()), given, "two texts are one key");
            }
            assert!(!Key::Public(key.clone()).verifies(b"message", &[0; 64]));
            named(&key)
        });
}

#[test]
fn key_file() {
    let made = [NodeKey::from_seed([1; 32]).to_pem().into_bytes()];
    Target { name: "key_file", also: &["vectors/rsa"], made: &made, tokens: &PEM }.run(|input| {
        let given = text(input);
        let rsa = RsaKey::from_pem(&given);
        if let Ok(key) = &rsa {
            let again = RsaKey::from_pem(&key.to_pem()).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(PublicKey::from_pem(&key.public_pem()).ok(), Some(key.public()));
        }
        match NodeKey::from_pem(&given) {
            Ok(key) => {
                assert_eq!(NodeKey::from_pem(&key.to_pem()).unwrap().public(), key.public());
                assert_eq!(PublicKey::from_pem(&key.public_pem()).ok(), Some(key.public()));
                assert_eq!(PublicKey::from_multikey(&key.public_multikey()).ok(), Some(key.public()));
                "ed25519".to_owned()
            }
            Err(refused) => format!("{} {}", rsa.is_ok(), refused.to_string().len()),
        }
    });
}

const DOCUMENT: [&str; 26] = [
    "\"id\":",
    "\"type\":",
    "\"Service\"",
    "\"Person\"",
    "\"inbox\":",
    "\"endpoints\":{\"sharedInbox\":",
    "\"publicKey\":",
    "\"assertionMethod\":",
    "\"owner\":",
    "\"controller\":",
    "\"publicKeyPem\":",
    "\"publicKeyMultibase\":",
    "\"alsoKnownAs\":",
    "\"name\":",
    "\"preferredUsername\":",
    "\"https://a.example/actor\"",
    "\"https://a.example/actor#main-key\"",
    "\"https://b.example/actor\"",
    "https://a.example:443/actor",
    "[",
    "]",
    "{",
    "}",
    ",",
    "null",
    "#ed25519",
];

#[test]
fn actor_document() {
    let (base, asked) = (Iri::parse("https://a.example/").unwrap(), Iri::parse("https://a.example/actor").unwrap());
    let rsa = RsaKey::from_pem(include_str!("../vectors/rsa/one.pem")).unwrap();
    let ring = Ring::first(NodeKeys { ed25519: NodeKey::from_seed([1; 32]), rsa });
    let ours = OurActor { base: &base, name: "A", username: "a", profile: Profile::default(), keys: &ring };
    let made = [ours.to_json().to_string().into_bytes()];
    let tokens: Vec<&str> = DOCUMENT.into_iter().chain(PEM).chain(JSON).collect();
    Target { name: "actor_document", also: &[], made: &made, tokens: &tokens }.run(|input| {
        let Ok(value) = parse_json(input, JSON_DEPTH_MAX) else { return "none".to_owned() };
        let document = match ActorDocument::parse(&value, &asked) {
            Ok(document) => document,
            Err(refused) => return named(&refused) + &refused.to_string().chars().rev().take(8).collect::<String>(),
        };
        assert_eq!(document.id, asked);
        assert!(document.keys.len() + document.refused.len() <= KEYS_MAX);
        for key in &document.keys {
            assert_eq!((&key.owner, key.id.authority()), (&asked, asked.authority()), "a key of somebody else");
            assert_eq!(document.key(&key.id), Some(key));
        }
        for id in document.also_known_as.iter().chain(document.shared_inbox.as_ref()).chain([&document.inbox]) {
            assert_eq!(Iri::parse(id.as_str()).as_ref(), Ok(id));
        }
        let asserting = document.keys.iter().filter(|key| key.asserts).count();
        format!("{} {asserting} {:?}", document.keys.len(), document.refused.values().map(named).collect::<Vec<_>>())
    });
}
