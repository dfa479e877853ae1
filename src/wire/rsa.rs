//! RSA keys: the pair of this node, which most of the fediverse asks for, and the public keys of others.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{self, KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use ed25519_dalek::pkcs8::spki::der::asn1::UintRef;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::{Reader as _, SliceReader};
use ed25519_dalek::pkcs8::{Document, SecretDocument};

use super::key::{KeyFormatError, PublicKey};
use super::pem;

/// Smaller keys have been factored, or may be soon.
pub const RSA_BITS_MIN: usize = 2_048;
/// A check takes the square of the size: a larger key would let a stranger spend our time.
pub const RSA_BITS_MAX: usize = 8_192;

/// This node's RSA pair.
#[derive(Clone)]
pub struct RsaKey(Arc<KeyPair>);

/// Somebody's RSA key, of a size that is neither too weak nor too costly.
#[derive(Clone)]
pub struct RsaPublicKey(Arc<ParsedPublicKey>);

impl RsaKey {
    /// Makes a pair of 2,048 bits, which every peer takes. The library draws its primes itself, so that no seed of
    /// ours can make the same pair again. Takes a tenth of a second.
    pub fn generate() -> Result<Self, KeyFormatError> {
        KeyPair::generate(KeySize::Rsa2048).map(|pair| Self(Arc::new(pair))).map_err(|_| KeyFormatError::RsaGeneration)
    }

    /// Reads the text of a key file.
    pub fn from_pem(text: &str) -> Result<Self, KeyFormatError> {
        let (_, der) =
            pem::read(text).filter(|(label, _)| *label == "PRIVATE KEY").ok_or(KeyFormatError::RsaPrivateKey)?;
        let pair = KeyPair::from_pkcs8(&der).map_err(|_| KeyFormatError::RsaPrivateKey)?;
        Ok(Self(Arc::new(pair)))
    }

    /// The text of a key file, PKCS#8. Keep it 0600.
    pub fn to_pem(&self) -> String {
        let der = self.0.as_der().expect("an RSA pair always has a PKCS#8 form");
        let document = SecretDocument::try_from(der.as_ref()).expect("PKCS#8 is DER");
        document.to_pem("PRIVATE KEY", LineEnding::LF).expect("DER has a PEM form").to_string()
    }

    pub fn public(&self) -> PublicKey {
        let key = RsaPublicKey::from_der(self.0.public_key().as_ref());
        PublicKey::Rsa(key.expect("a pair is only made of a size that is taken"))
    }

    /// The public half as SPKI PEM, for `publicKey`.
    pub fn public_pem(&self) -> String {
        let der = self.0.public_key().as_der().expect("an RSA key always has an SPKI form");
        let document = Document::try_from(der.as_ref()).expect("SPKI is DER");
        document.to_pem("PUBLIC KEY", LineEnding::LF).expect("DER has a PEM form")
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, which draws no random number: the same message gets the same signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign_digest(&RSA_PKCS1_SHA256, &digest(&SHA256, message), &mut signature);
        signed.expect("a pair of this size signs any digest");
        signature
    }
}

impl RsaPublicKey {
    /// Reads SPKI or PKCS#1.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyFormatError> {
        let key = rsa::PublicKey::from_der(der).map_err(|_| KeyFormatError::PublicKey)?;
        let bits = modulus_bits(key.as_ref()).ok_or(KeyFormatError::PublicKey)?;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyFormatError::RsaSize { bits });
        }
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
        parsed.map(|key| Self(Arc::new(key))).map_err(|_| KeyFormatError::PublicKey)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// The size of an `RSAPublicKey` of RFC 8017.
fn modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let modulus: UintRef<'_> = reader
        .sequence(|fields| {
            let modulus = fields.decode()?;
            fields.decode::<UintRef<'_>>()?;
            Ok::<_, ed25519_dalek::pkcs8::spki::der::Error>(modulus)
        })
        .ok()?;
    let bytes = modulus.as_bytes();
    let unused = bytes.first()?.leading_zeros() as usize;
    Some(bytes.len() * 8 - unused)
}

impl PartialEq for RsaPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().as_ref() == other.0.as_ref().as_ref()
    }
}

impl Eq for RsaPublicKey {}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RsaPublicKey(…)")
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RsaKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const ONE: &str = include_str!("../../tests/vectors/rsa/one.pem");
    const ONE_PUBLIC: &str = include_str!("../../tests/vectors/rsa/one_public.pem");
    const ONE_PKCS1: &str = include_str!("../../tests/vectors/rsa/one_public_pkcs1.pem");
    const ONE_SIGNATURE: &str = include_str!("../../tests/vectors/rsa/one_signature.txt");
    const TWO: &str = include_str!("../../tests/vectors/rsa/two.pem");
    const SMALL: &str = include_str!("../../tests/vectors/rsa/small_public.pem");

    #[test]
    fn a_new_pair_survives_its_file_and_both_public_forms() {
        let key = RsaKey::generate().unwrap();
        assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let read = RsaKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(PublicKey::from_pem(&key.public_pem()).unwrap(), key.public());
        assert!(key.public().verifies(b"x", &read.sign(b"x")));
        assert_ne!(RsaKey::generate().unwrap().public(), key.public());
    }

    #[test]
    fn keys_and_signatures_are_those_that_openssl_makes() {
        let key = RsaKey::from_pem(ONE).unwrap();
        let signature = STANDARD.decode(ONE_SIGNATURE).unwrap();
        assert_eq!(key.sign(b"signed by openssl"), signature);
        assert_eq!(key.public_pem(), ONE_PUBLIC);
        for pem in [ONE_PUBLIC, ONE_PKCS1] {
            let public = PublicKey::from_pem(pem).unwrap();
            assert_eq!(public, key.public());
            assert!(public.verifies(b"signed by openssl", &signature));
            assert!(!public.verifies(b"signed by someone", &signature));
        }
    }

    #[test]
    fn the_signature_of_another_key_is_false_and_so_is_a_piece_of_one() {
        let (one, two) = (RsaKey::from_pem(ONE).unwrap(), RsaKey::from_pem(TWO).unwrap());
        assert!(!one.public().verifies(b"x", &two.sign(b"x")));
        let signature = one.sign(b"x");
        assert!(!one.public().verifies(b"x", &signature[1..]));
        assert!(!one.public().verifies(b"x", &[&[0], signature.as_slice()].concat()));
        assert!(!one.public().verifies(b"x", &[]));
    }

    #[test]
    fn a_key_that_is_too_small_is_refused_and_says_its_size() {
        assert!(matches!(PublicKey::from_pem(SMALL), Err(KeyFormatError::RsaSize { bits: 1_024 })));
    }

    #[test]
    fn a_key_that_is_too_large_is_refused() {
        // A modulus of 8,200 bits, odd and otherwise arbitrary, with the exponent 65,537.
        let mut modulus = vec![0x02, 0x82, 0x04, 0x02, 0x00];
        modulus.extend(std::iter::repeat_n(0xff, 1_025));
        modulus.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
        let mut der = vec![0x30, 0x82];
        der.extend(u16::try_from(modulus.len()).unwrap().to_be_bytes());
        der.extend(&modulus);
        let refused = RsaPublicKey::from_der(&der).unwrap_err();
        assert!(matches!(refused, KeyFormatError::RsaSize { bits: 8_200 }), "{refused}");
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        let cut = ONE.replace("MIIE", "AIIE");
        for bad in ["", ONE_PUBLIC, &cut, &ONE.replace("PRIVATE KEY", "RSA PRIVATE KEY")] {
            assert!(matches!(RsaKey::from_pem(bad), Err(KeyFormatError::RsaPrivateKey)), "{bad}");
        }
    }

    #[test]
    fn a_pair_is_never_printed() {
        assert_eq!(format!("{:?}", RsaKey::from_pem(ONE).unwrap()), "RsaKey(…)");
    }
}
