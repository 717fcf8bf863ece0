//! PGP clear-signed messages: whose key signed which text, and a message of one's own.
//!
//! The text that is handed on is the very one that was hashed. Nothing in the message's armor is believed.

use pgp::composed::{ArmorOptions, CleartextSignedMessage};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    Signature, SignatureConfig, SignatureType, SignatureVersion, Subpacket, SubpacketData,
};
use pgp::types::{Password, SigningKey, Timestamp};

use crate::fingerprint::Fingerprint;
use crate::pgp_keys::{Part, PgpKey, asks_for_more, is_sha2, now};
use crate::verify::{Finding, VerifyError};

/// How such a message begins.
pub(crate) const START: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
/// Most signatures in one message.
const MAX_SIGNATURES: usize = 16;

/// What the signature object `id` is worth; its descriptor names the key `named`.
pub(crate) fn verify(
    id: u32,
    bytes: &[u8],
    named: [u8; 20],
    keys: &[PgpKey],
) -> Result<Finding, VerifyError> {
    let malformed = |reason: String| VerifyError::Malformed { id, reason };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    let (message, _) =
        CleartextSignedMessage::from_string(text).map_err(|error| malformed(error.to_string()))?;
    let signatures = message.signatures();
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return Err(malformed(format!("{} PGP signatures", signatures.len())));
    }
    let payload = message.signed_text().into_bytes();
    if payload.starts_with(b"SIFHASH:") {
        // Signatures of before 2020 cover no descriptor, and so not what the bytes are used for.
        return Ok(Finding::NotCounted(
            "is of the old form, which is not safe".to_owned(),
        ));
    }
    let mut signers = Vec::new();
    let mut why = Vec::new();
    for signature in signatures {
        match judge(id, signature, &payload, keys)? {
            Ok(key) => signers.push(key),
            Err(reason) => why.push(reason),
        }
    }
    if let Some(key) = signers.iter().find(|key| key.as_pgp() != Some(named)) {
        return Err(VerifyError::OtherKey { id, key: *key });
    }
    Ok(if signers.is_empty() {
        Finding::NotCounted(why.join(" and "))
    } else {
        Finding::Good(signers, payload)
    })
}

/// The key that made a signature, or why it does not count.
fn judge(
    id: u32,
    signature: &Signature,
    payload: &[u8],
    keys: &[PgpKey],
) -> Result<Result<Fingerprint, String>, VerifyError> {
    let is_anonymous =
        signature.issuer_key_id().is_empty() && signature.issuer_fingerprint().is_empty();
    let named: Vec<(&PgpKey, &Part)> = keys
        .iter()
        .flat_map(|key| key.parts.iter().map(move |part| (key, part)))
        .filter(|(_, part)| part.is_named_by(signature))
        .collect();
    let Some((first, _)) = named.first() else {
        return Ok(Err(format!("is by unknown PGP key {}", issuer(signature))));
    };
    let forged = |reason: &str| VerifyError::Forged {
        id,
        key: first.fingerprint,
        reason: reason.to_owned(),
    };
    if !is_sha2(signature.hash_alg()) {
        let hash = signature.hash_alg();
        return Err(VerifyError::WeakHash {
            id,
            key: first.fingerprint,
            hash: hash.map_or_else(|| "an unknown hash".to_owned(), |hash| hash.to_string()),
        });
    }
    let is_text = matches!(
        signature.typ(),
        Some(SignatureType::Text | SignatureType::Binary)
    );
    if signature.version() != SignatureVersion::V4 || !is_text || asks_for_more(signature) {
        return Err(forged("it is of a kind that is not for images"));
    }
    let made = named
        .iter()
        .find(|(_, part)| part.check(signature, payload).is_ok());
    let Some((key, part)) = made else {
        return if is_anonymous {
            Ok(Err("is by an unknown PGP key".to_owned()))
        } else {
            Err(forged("the signature does not match"))
        };
    };
    let now = now();
    if let Some(bar) = part.bar(now) {
        return Ok(Err(format!("is by PGP key {}, {bar}", key.fingerprint)));
    }
    let Some(created) = signature.created().map(Timestamp::as_secs) else {
        return Err(forged("it does not say when it was made"));
    };
    if created < part.details().created_at().as_secs() {
        return Err(forged("it is older than the key"));
    }
    let expires = signature
        .signature_expiration_time()
        .map(pgp::types::Duration::as_secs)
        .filter(|after| *after != 0)
        .map(|after| u64::from(created) + u64::from(after));
    if expires.is_some_and(|expires| expires <= now) {
        return Ok(Err(format!("by PGP key {} has expired", key.fingerprint)));
    }
    Ok(Ok(key.fingerprint))
}

/// Who a signature says made it.
fn issuer(signature: &Signature) -> String {
    match (
        signature.issuer_fingerprint().first(),
        signature.issuer_key_id().first(),
    ) {
        (Some(fingerprint), _) => fingerprint.to_string(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "that it does not name".to_owned(),
    }
}

/// Signs a text; gives the message and SIF's code of the hash.
pub(crate) fn sign(
    text: &str,
    key: &impl SigningKey,
    password: &Password,
) -> Result<(Vec<u8>, i32), pgp::errors::Error> {
    // The key's own choice, as long as it is of SHA-2: large curves need more than 256 bits.
    let (hash, code) = match key.hash_alg() {
        HashAlgorithm::Sha384 => (HashAlgorithm::Sha384, 2),
        HashAlgorithm::Sha512 => (HashAlgorithm::Sha512, 3),
        _ => (HashAlgorithm::Sha256, 1),
    };
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), hash);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now()))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
        key.legacy_key_id(),
    ))?];
    let message = CleartextSignedMessage::new(text, config, key, password)?;
    Ok((message.to_armored_bytes(ArmorOptions::default())?, code))
}
