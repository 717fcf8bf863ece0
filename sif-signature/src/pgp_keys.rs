//! Which parts of a PGP public key may sign images, judged by the key's own signatures.
//!
//! A key is in the keyring because the site put it there, so nobody else's word about it counts. Its own word does:
//! revoked, expired, not meant for signing, or bound with a hash that is not of SHA-2, it makes no good signature.

use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::errors::Result as PgpResult;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, KeyVersion, PublicParams, Tag};
use rsa::traits::PublicKeyParts;

use crate::fingerprint::Fingerprint;

/// Smallest RSA key that counts, in bytes: 2048 bits, as Apptainer has it.
const RSA_BYTES: usize = 256;

/// A public key of the keyring.
#[derive(Debug)]
pub(crate) struct PgpKey {
    /// The primary key's.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) parts: Vec<Part>,
}

/// The primary key or a subkey that is bound to it.
#[derive(Debug)]
pub(crate) struct Part {
    key: PartKey,
    /// Why it may not sign, whatever the time.
    bar: Option<&'static str>,
    /// When it expires, in seconds since 1970.
    expires: Option<u64>,
}

#[derive(Debug)]
enum PartKey {
    Primary(PublicKey),
    Sub(PublicSubkey),
}

/// Why a public key is of no use in a keyring at all.
#[derive(Debug, thiserror::Error)]
pub enum PgpKeyError {
    /// A version other than 4.
    #[error("PGP key {fingerprint} is not of version 4, the only one that SIF has room for")]
    Version {
        /// The key's own.
        fingerprint: String,
    },
    /// The primary key is too weak for what its signatures say to count.
    #[error("PGP key {fingerprint} is too weak: RSA from 2048 bits, ECDSA and EdDSA are accepted")]
    Weak {
        /// The key's own.
        fingerprint: Fingerprint,
    },
    /// No user id or direct signature of the key's own with SHA-2.
    #[error(
        "PGP key {fingerprint} has no valid self-signature of SHA-2; renew it with a current GnuPG"
    )]
    SelfSignature {
        /// The key's own.
        fingerprint: Fingerprint,
    },
}

/// Whether the hash is of SHA-2.
pub(crate) fn is_sha2(hash: Option<HashAlgorithm>) -> bool {
    matches!(
        hash,
        Some(
            HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
        )
    )
}

/// Whether the signature has a hashed subpacket that this program must understand and does not.
pub(crate) fn asks_for_more(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|subpacket| {
            subpacket.is_critical
                && matches!(
                    subpacket.data,
                    SubpacketData::Experimental(..)
                        | SubpacketData::Other(..)
                        | SubpacketData::Notation(_)
                )
        })
    })
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Part {
    /// Whether the signature names this key as its maker, or nobody.
    pub(crate) fn is_named_by(&self, signature: &Signature) -> bool {
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        (ids.is_empty() && fingerprints.is_empty())
            || ids.contains(&&self.details().legacy_key_id())
            || fingerprints.contains(&&self.details().fingerprint())
    }

    /// Why it may not sign now; `None` where it may.
    pub(crate) fn bar(&self, now: u64) -> Option<&'static str> {
        let expired = self.expires.is_some_and(|expires| expires <= now);
        self.bar.or(expired.then_some("which has expired"))
    }

    /// Whether this key made the signature over these bytes.
    pub(crate) fn check(&self, signature: &Signature, bytes: &[u8]) -> PgpResult<()> {
        match &self.key {
            PartKey::Primary(key) => signature.verify(key, bytes),
            PartKey::Sub(key) => signature.verify(key, bytes),
        }
    }

    pub(crate) fn details(&self) -> &dyn KeyDetails {
        match &self.key {
            PartKey::Primary(key) => key,
            PartKey::Sub(key) => key,
        }
    }
}

impl PgpKey {
    /// Judges a key.
    pub(crate) fn new(key: SignedPublicKey) -> Result<Self, PgpKeyError> {
        let primary = key.primary_key;
        let shown = primary.fingerprint();
        let bytes = <[u8; 20]>::try_from(shown.as_bytes());
        let (KeyVersion::V4, Ok(bytes)) = (primary.version(), bytes) else {
            return Err(PgpKeyError::Version {
                fingerprint: shown.to_string(),
            });
        };
        let fingerprint = Fingerprint::pgp(bytes);
        if weakness(&primary).is_some() {
            return Err(PgpKeyError::Weak { fingerprint });
        }
        let direct = key.details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key) && signature.verify_key(&primary).is_ok()
        });
        let certified = key.details.users.iter().flat_map(|user| {
            let own = |signature: &&Signature| {
                signature
                    .verify_certification(&primary, Tag::UserId, &user.id)
                    .is_ok()
            };
            let revocation =
                |s: &&Signature| s.typ() == Some(SignatureType::CertRevocation) && own(s);
            let revoked = user
                .signatures
                .iter()
                .any(|signature| revocation(&signature));
            user.signatures
                .iter()
                .filter(|s| is_certification(s))
                .filter(own)
                .filter(move |_| !revoked)
        });
        let latest = direct
            .chain(certified)
            .filter(|signature| is_sha2(signature.hash_alg()) && !asks_for_more(signature))
            .max_by_key(|signature| signature.created());
        let Some(own) = latest else {
            return Err(PgpKeyError::SelfSignature { fingerprint });
        };

        // A revoker other than the key itself cannot be checked here, and is believed.
        let revoked = !key.details.revocation_signatures.is_empty();
        let expires = expires(&primary, own);
        let mut parts: Vec<Part> = key
            .public_subkeys
            .into_iter()
            .filter_map(|subkey| part(subkey, &primary, revoked, expires))
            .collect();
        let bar = if revoked {
            Some("which is revoked")
        } else {
            (!may_sign(own)).then_some("which is not for signing")
        };
        parts.insert(
            0,
            Part {
                key: PartKey::Primary(primary),
                bar,
                expires,
            },
        );
        Ok(Self { fingerprint, parts })
    }
}

/// A subkey that the primary key has bound with SHA-2; `None` for one that it has not.
fn part(
    subkey: SignedPublicSubKey,
    primary: &PublicKey,
    revoked: bool,
    primary_expires: Option<u64>,
) -> Option<Part> {
    let key = subkey.key;
    let typ = |wanted| move |signature: &&Signature| signature.typ() == Some(wanted);
    let gone = subkey
        .signatures
        .iter()
        .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    let binding = subkey
        .signatures
        .iter()
        .filter(typ(SignatureType::SubkeyBinding))
        .filter(|signature| is_sha2(signature.hash_alg()) && !asks_for_more(signature))
        .filter(|signature| signature.verify_subkey_binding(primary, &key).is_ok())
        .max_by_key(|signature| signature.created())?;
    // Without the subkey's own word, anybody's signing key could be shown as a part of this one.
    let returned = binding.embedded_signature().is_some_and(|back| {
        is_sha2(back.hash_alg()) && back.verify_primary_key_binding(&key, primary).is_ok()
    });
    let bar = if revoked || gone {
        Some("which is revoked")
    } else if !binding.key_flags().sign() || !returned {
        Some("which is not for signing")
    } else {
        weakness(&key)
    };
    let own = expires(&key, binding);
    let expires = [own, primary_expires].into_iter().flatten().min();
    Some(Part {
        key: PartKey::Sub(key),
        bar,
        expires,
    })
}

fn is_certification(signature: &Signature) -> bool {
    matches!(
        signature.typ(),
        Some(
            SignatureType::CertGeneric
                | SignatureType::CertPersona
                | SignatureType::CertCasual
                | SignatureType::CertPositive
        )
    )
}

/// A key without flags may do everything (RFC 9580, 5.2.3.29).
fn may_sign(own: &Signature) -> bool {
    let flags = own.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    });
    !flags || own.key_flags().sign()
}

fn expires(key: &impl KeyDetails, own: &Signature) -> Option<u64> {
    let after = own.key_expiration_time()?.as_secs();
    (after != 0).then(|| u64::from(key.created_at().as_secs()) + u64::from(after))
}

fn weakness(key: &impl KeyDetails) -> Option<&'static str> {
    let strong = match key.public_params() {
        PublicParams::RSA(rsa) => rsa.key.size() >= RSA_BYTES,
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => true,
        _ => false,
    };
    (!strong).then_some("which is too weak")
}
