//! Keys: our own pair, the public keys of others, and the secret that two authorities share.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::pkcs8::spki::SubjectPublicKeyInfoRef;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::pem;
use super::rsa::{RSA_BITS_MAX, RSA_BITS_MIN, RsaKey, RsaPublicKey};

/// A shared secret shorter than its hash is easier to guess than a signature is to forge.
pub const SECRET_BYTES_MIN: usize = 32;

/// The multicodec prefix of an ed25519 public key in a Multikey.
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];

/// This node's ed25519 pair.
#[derive(Clone)]
pub struct NodeKey(Arc<SigningKey>);

/// All that this node signs with for everybody: ed25519 for its own kind and for proofs, RSA for those who check
/// nothing else.
#[derive(Clone, Debug)]
pub struct NodeKeys {
    pub ed25519: NodeKey,
    pub rsa: RsaKey,
}

/// Somebody's public key, of a kind that this node can check or knows by name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    Ed25519(Box<VerifyingKey>),
    Rsa(RsaPublicKey),
    /// Published and understood as a key, but nothing here can check its signatures.
    Unsupported(Kind),
}

/// Kinds of keys that peers publish and this node cannot check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    EllipticCurve,
    Unknown,
}

/// A secret that belongs to one pair of authorities. It cannot be printed.
#[derive(Clone)]
pub struct PairSecret(Arc<[u8]>);

/// Why a text is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFormatError {
    #[error("the private key is not PKCS#8 PEM of an ed25519 key: make one with quickbeam init")]
    PrivateKey(#[source] ed25519_dalek::pkcs8::Error),
    #[error(
        "the private key is not PKCS#8 PEM of an RSA key of at least {RSA_BITS_MIN} bits: move the file away, and a new one is made at the next start"
    )]
    RsaPrivateKey,
    #[error("no RSA key could be made: the system gives no random numbers")]
    RsaGeneration,
    #[error("the public key is neither SPKI PEM nor PKCS#1 PEM")]
    PublicKey,
    #[error("the RSA key has {bits} bits: this node takes {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize { bits: usize },
    #[error("the Multikey is not z and base58")]
    Multikey,
    #[error("the ed25519 key is a weak point, under which anybody could sign")]
    Weak,
    #[error(
        "the shared secret has {bytes} bytes, fewer than {SECRET_BYTES_MIN}: make one with openssl rand -base64 48"
    )]
    ShortSecret { bytes: usize },
}

impl NodeKey {
    /// The pair that grows from 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Arc::new(SigningKey::from_bytes(&seed)))
    }

    /// Reads the text of a key file.
    pub fn from_pem(pem: &str) -> Result<Self, KeyFormatError> {
        SigningKey::from_pkcs8_pem(pem).map(|key| Self(Arc::new(key))).map_err(KeyFormatError::PrivateKey)
    }

    /// The text of a key file, PKCS#8. Keep it 0600.
    pub fn to_pem(&self) -> String {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("an ed25519 key always has a PKCS#8 form").to_string()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::Ed25519(Box::new(self.0.verifying_key()))
    }

    /// The public half as SPKI PEM, for `publicKey`.
    pub fn public_pem(&self) -> String {
        let key = self.0.verifying_key();
        key.to_public_key_pem(LineEnding::LF).expect("an ed25519 key always has an SPKI form")
    }

    /// The public half as a Multikey, for `assertionMethod`.
    pub fn public_multikey(&self) -> String {
        let mut bytes = MULTICODEC_ED25519.to_vec();
        bytes.extend_from_slice(self.0.verifying_key().as_bytes());
        format!("z{}", bs58::encode(bytes).into_string())
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl PublicKey {
    /// Reads `publicKeyPem`. Keys of other kinds are named, not refused: an actor may publish several.
    pub fn from_pem(text: &str) -> Result<Self, KeyFormatError> {
        let (label, der) = pem::read(text).ok_or(KeyFormatError::PublicKey)?;
        match label {
            "RSA PUBLIC KEY" => RsaPublicKey::from_der(&der).map(Self::Rsa),
            "PUBLIC KEY" => Self::from_spki(&der),
            _ => Err(KeyFormatError::PublicKey),
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyFormatError> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyFormatError::PublicKey)?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => RsaPublicKey::from_der(der).map(Self::Rsa),
            "1.3.101.112" => {
                Self::ed25519(VerifyingKey::from_public_key_der(der).map_err(|_| KeyFormatError::PublicKey)?)
            }
            "1.2.840.10045.2.1" => Ok(Self::Unsupported(Kind::EllipticCurve)),
            _ => Ok(Self::Unsupported(Kind::Unknown)),
        }
    }

    /// Reads `publicKeyMultibase`: base58btc of a multicodec and the key.
    pub fn from_multikey(text: &str) -> Result<Self, KeyFormatError> {
        // An ed25519 key takes 48 letters; longer kinds need not be decoded to be named, and base58 takes square time.
        const LETTERS_MAX: usize = 128;
        let encoded = text.strip_prefix('z').ok_or(KeyFormatError::Multikey)?;
        if encoded.len() > LETTERS_MAX {
            return Ok(Self::Unsupported(Kind::Unknown));
        }
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| KeyFormatError::Multikey)?;
        let Some(key) = bytes.strip_prefix(&MULTICODEC_ED25519) else { return Ok(Self::Unsupported(Kind::Unknown)) };
        let key: &[u8; 32] = key.try_into().map_err(|_| KeyFormatError::Multikey)?;
        Self::ed25519(VerifyingKey::from_bytes(key).map_err(|_| KeyFormatError::Multikey)?)
    }

    fn ed25519(key: VerifyingKey) -> Result<Self, KeyFormatError> {
        if key.is_weak() { Err(KeyFormatError::Weak) } else { Ok(Self::Ed25519(Box::new(key))) }
    }

    /// With ed25519 strict: no small-order points and no second encoding of the same signature.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
            Self::Rsa(key) => key.verifies(message, signature),
            Self::Unsupported(_) => false,
        }
    }
}

impl PairSecret {
    pub fn new(bytes: &[u8]) -> Result<Self, KeyFormatError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyFormatError::ShortSecret { bytes: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).finalize().into_bytes().into()
    }

    /// In constant time.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.mac(message).verify_slice(signature).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(message)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::EllipticCurve => "elliptic-curve",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeKey({})", self.public_multikey())
    }
}

impl fmt::Debug for PairSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PairSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: &str = include_str!("../../tests/vectors/rsa/ec_public.pem");

    #[test]
    fn a_key_survives_its_file_and_both_public_forms() {
        let key = NodeKey::from_seed([7; 32]);
        assert_eq!(NodeKey::from_pem(&key.to_pem()).unwrap().public(), key.public());
        assert_eq!(PublicKey::from_pem(&key.public_pem()).unwrap(), key.public());
        assert_eq!(PublicKey::from_multikey(&key.public_multikey()).unwrap(), key.public());
        assert!(key.public_multikey().starts_with("z6Mk"));
        assert!(key.public().verifies(b"x", &key.sign(b"x")));
        assert!(!key.public().verifies(b"y", &key.sign(b"x")));
        assert!(!key.public().verifies(b"x", &key.sign(b"x")[1..]));
    }

    #[test]
    fn other_kinds_of_keys_are_named() {
        assert_eq!(PublicKey::from_pem(CURVE).unwrap(), PublicKey::Unsupported(Kind::EllipticCurve));
        assert_eq!(PublicKey::from_multikey("z4XJ").unwrap(), PublicKey::Unsupported(Kind::Unknown));
        assert_eq!(PublicKey::from_multikey(&"z".repeat(4_096)).unwrap(), PublicKey::Unsupported(Kind::Unknown));
        assert!(!PublicKey::Unsupported(Kind::Unknown).verifies(b"x", &[0; 64]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let pkcs1 = "-----BEGIN RSA PUBLIC KEY-----\nMA==\n-----END RSA PUBLIC KEY-----";
        let other = CURVE.replace("PUBLIC", "PRIVATE");
        let spki = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        for bad in ["", spki, pkcs1, &other, "MCowBQYDK2VwAyEA"] {
            assert!(matches!(PublicKey::from_pem(bad), Err(KeyFormatError::PublicKey)), "{bad}");
        }
        assert!(matches!(PublicKey::from_multikey("x6Mk"), Err(KeyFormatError::Multikey)));
        assert!(matches!(PublicKey::from_multikey("z0"), Err(KeyFormatError::Multikey)));
        assert!(matches!(NodeKey::from_pem("x"), Err(KeyFormatError::PrivateKey(_))));
        // The neutral element: every signature by everybody would fit.
        let mut weak = MULTICODEC_ED25519.to_vec();
        weak.push(1);
        weak.extend([0; 31]);
        let weak = format!("z{}", bs58::encode(weak).into_string());
        assert!(matches!(PublicKey::from_multikey(&weak), Err(KeyFormatError::Weak)));
    }

    #[test]
    fn a_signature_with_a_point_of_small_order_is_refused() {
        // Fits the equation of RFC 8032, but R is of small order: strict verification only refuses it (the case of
        // mixed A and small R from the speccheck of "Taming the many EdDSAs").
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let message = hex("aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab");
        let public = hex("f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43");
        let signature = hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
             8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e");
        let key = VerifyingKey::try_from(public.as_slice()).unwrap();
        let loose = Signature::from_slice(&signature).unwrap();
        assert!(ed25519_dalek::Verifier::verify(&key, &message, &loose).is_ok());
        assert!(!PublicKey::ed25519(key).unwrap().verifies(&message, &signature));
    }

    #[test]
    fn a_second_encoding_of_a_signature_is_refused() {
        // S plus the order of the group fits the equation as well; RFC 8032 section 5.1.7 demands the smaller one.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = NodeKey::from_seed([7; 32]);
        let mut signature = key.sign(b"x");
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert!(!key.public().verifies(b"x", &signature));
    }

    #[test]
    fn secrets_are_long_and_never_printed() {
        assert!(matches!(PairSecret::new(&[b's'; 31]), Err(KeyFormatError::ShortSecret { bytes: 31 })));
        let secret = PairSecret::new(&[b's'; 32]).unwrap();
        assert!(secret.verifies(b"x", &secret.sign(b"x")));
        assert!(!secret.verifies(b"y", &secret.sign(b"x")));
        assert_eq!(format!("{secret:?}"), "PairSecret(…)");
        assert!(!format!("{:?}", NodeKey::from_seed([7; 32])).contains("7, 7"));
    }
}
