//! Keys as PEM: public ones that verify DSSE envelopes, private ones that make them.
//!
//! Ed25519, ECDSA over P-256 and P-384, and RSA from 2048 bits. What a file holds besides is an error, so that no key
//! is left out in silence.

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use pkcs8::{Document, SecretDocument};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs1v15;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer, Verifier};
use rsa::traits::PublicKeyParts;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::fingerprint::Fingerprint;

/// Smallest RSA key that counts, in bytes: 2048 bits.
const RSA_BYTES: usize = 256;

/// Why a PEM file gives no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No block at all, or one without an end.
    #[error("no complete PEM block")]
    NoBlock,
    /// The base64 or the DER inside is damaged.
    #[error("damaged PEM block {label:?}")]
    Damaged {
        /// What stands behind BEGIN.
        label: String,
    },
    /// A block of another kind.
    #[error("PEM block {label:?} is not {wanted}")]
    Label {
        /// What stands behind BEGIN.
        label: String,
        /// What is expected.
        wanted: &'static str,
    },
    /// The private key is locked.
    #[error(
        "the private key is encrypted; decrypt it first with `openssl pkcs8 -in KEY -out PLAIN`"
    )]
    Encrypted,
    /// A key of another algorithm, or too weak a one.
    #[error(
        "unsupported key; Ed25519, ECDSA P-256 and P-384, and RSA of 2048 to 4096 bits are accepted"
    )]
    Algorithm,
}

/// A public key for DSSE.
#[derive(Debug)]
pub(crate) struct PublicKey {
    pub(crate) fingerprint: Fingerprint,
    key: PublicForm,
}

#[derive(Debug)]
enum PublicForm {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(rsa::RsaPublicKey),
}

/// A private key for DSSE.
pub(crate) enum PrivateKey {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    Rsa(Box<rsa::RsaPrivateKey>),
}

/// The hash of an ECDSA or RSA signature; Ed25519 has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// That of SIF's code in a signature's descriptor.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        match code {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha384),
            3 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

impl PublicKey {
    /// Every key of a file.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, PemError> {
        let mut keys = Vec::new();
        for (label, block) in blocks(text)? {
            if label != "PUBLIC KEY" {
                let wanted = "PUBLIC KEY";
                let label = label.to_owned();
                return Err(PemError::Label { label, wanted });
            }
            let (_, document) = Document::from_pem(block).map_err(|_| damaged(label))?;
            keys.push(Self::from_der(document.as_bytes())?);
        }
        Ok(keys)
    }

    fn from_der(der: &[u8]) -> Result<Self, PemError> {
        // Each looks at the algorithm's identifier first, so at most one takes it.
        let key = if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            PublicForm::Ed25519(key)
        } else if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
            PublicForm::P256(key)
        } else if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(der) {
            PublicForm::P384(key)
        } else if let Ok(key) = rsa::RsaPublicKey::from_public_key_der(der) {
            PublicForm::Rsa(key)
        } else {
            return Err(PemError::Algorithm);
        };
        if matches!(&key, PublicForm::Rsa(key) if key.size() < RSA_BYTES) {
            return Err(PemError::Algorithm);
        }
        // Over the canonical encoding, so that one key has one name.
        let spki = match &key {
            PublicForm::Ed25519(key) => key.to_public_key_der(),
            PublicForm::P256(key) => key.to_public_key_der(),
            PublicForm::P384(key) => key.to_public_key_der(),
            PublicForm::Rsa(key) => key.to_public_key_der(),
        };
        let spki = spki.map_err(|_| PemError::Algorithm)?;
        let fingerprint = Fingerprint::spki(Sha256::digest(spki.as_bytes()).into());
        Ok(Self { fingerprint, key })
    }

    /// Whether this key signed these bytes.
    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8], hash: Hash) -> bool {
        match &self.key {
            PublicForm::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
            PublicForm::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&hash.of(bytes), &s).is_ok()),
            PublicForm::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&hash.of(bytes), &s).is_ok()),
            PublicForm::Rsa(key) => {
                let Ok(signature) = pkcs1v15::Signature::try_from(signature) else {
                    return false;
                };
                let key = key.clone();
                match hash {
                    Hash::Sha256 => {
                        pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(bytes, &signature)
                    }
                    Hash::Sha384 => {
                        pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(bytes, &signature)
                    }
                    Hash::Sha512 => {
                        pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(bytes, &signature)
                    }
                }
                .is_ok()
            }
        }
    }
}

impl PrivateKey {
    /// The one private key of a file.
    pub(crate) fn parse(text: &str) -> Result<Self, PemError> {
        let wanted = "a private key";
        let mut found = None;
        for (label, block) in blocks(text)? {
            // openssl ecparam writes the curve in front.
            if label != "EC PARAMETERS" && found.replace((label, block)).is_some() {
                let label = label.to_owned();
                return Err(PemError::Label { label, wanted });
            }
        }
        let (label, block) = found.ok_or(PemError::NoBlock)?;
        if label == "ENCRYPTED PRIVATE KEY" || block.contains("ENCRYPTED") {
            return Err(PemError::Encrypted);
        }
        let key = match label {
            "PRIVATE KEY" => Self::from_pkcs8(block),
            "EC PRIVATE KEY" => p256::SecretKey::from_sec1_pem(block)
                .map(|key| Self::P256(Box::new(key.into())))
                .or_else(|_| {
                    p384::SecretKey::from_sec1_pem(block)
                        .map(|key| Self::P384(Box::new(key.into())))
                })
                .map_err(|_| PemError::Algorithm),
            "RSA PRIVATE KEY" => rsa::RsaPrivateKey::from_pkcs1_pem(block)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|_| PemError::Algorithm),
            other => {
                let label = other.to_owned();
                return Err(PemError::Label { label, wanted });
            }
        }?;
        if matches!(&key, Self::Rsa(key) if key.size() < RSA_BYTES) {
            return Err(PemError::Algorithm);
        }
        Ok(key)
    }

    fn from_pkcs8(block: &str) -> Result<Self, PemError> {
        let (label, document) =
            SecretDocument::from_pem(block).map_err(|_| damaged("PRIVATE KEY"))?;
        let der = document.as_bytes();
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            Ok(Self::Ed25519(Box::new(key)))
        } else if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(der) {
            Ok(Self::P256(Box::new(key)))
        } else if let Ok(key) = p384::ecdsa::SigningKey::from_pkcs8_der(der) {
            Ok(Self::P384(Box::new(key)))
        } else if let Ok(key) = rsa::RsaPrivateKey::from_pkcs8_der(der) {
            Ok(Self::Rsa(Box::new(key)))
        } else {
            debug_assert_eq!(label, "PRIVATE KEY");
            Err(PemError::Algorithm)
        }
    }

    /// The public half.
    pub(crate) fn public(&self) -> Result<PublicKey, PemError> {
        let der = match self {
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::P384(key) => key.verifying_key().to_public_key_der(),
            Self::Rsa(key) => key.to_public_key().to_public_key_der(),
        };
        PublicKey::from_der(der.map_err(|_| PemError::Algorithm)?.as_bytes())
    }

    /// A signature over the bytes: with SHA-256, as Apptainer signs and verifies with every such key.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, rsa::signature::Error> {
        use p256::ecdsa::signature::hazmat::PrehashSigner;

        let hash = Sha256::digest(bytes);
        Ok(match self {
            Self::Ed25519(key) => key.try_sign(bytes)?.to_bytes().to_vec(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&hash)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&hash)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::Rsa(key) => {
                // With random blinding, for the key's sake.
                let key = pkcs1v15::SigningKey::<Sha256>::new((**key).clone());
                key.try_sign_with_rng(&mut rand::rngs::OsRng, bytes)?
                    .to_vec()
            }
        })
    }
}

fn damaged(label: &str) -> PemError {
    PemError::Damaged {
        label: label.to_owned(),
    }
}

/// The blocks of a file with their labels; text between them is comment.
fn blocks(text: &str) -> Result<Vec<(&str, &str)>, PemError> {
    const BEGIN: &str = "-----BEGIN ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = rest.get(at..).unwrap_or_default();
        let (label, _) = block
            .strip_prefix(BEGIN)
            .and_then(|after| after.split_once("-----"))
            .ok_or(PemError::NoBlock)?;
        let end = format!("-----END {label}-----");
        let len = block.find(&end).ok_or(PemError::NoBlock)? + end.len();
        let (block, after) = block.split_at_checked(len).ok_or(PemError::NoBlock)?;
        blocks.push((label, block));
        rest = after;
    }
    if blocks.is_empty() {
        return Err(PemError::NoBlock);
    }
    Ok(blocks)
}
