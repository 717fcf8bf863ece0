//! DSSE envelopes: a JSON object with the signed bytes, their type, and signatures over both.
//!
//! The key that an envelope names is a hint that nobody needs: every key of the keyring is tried.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::pem::{Hash, PrivateKey, PublicKey};
use crate::verify::{Finding, VerifyError};

/// The type of what is signed.
const TYPE: &str = "application/vnd.sylabs.sif-metadata+json";
/// Most signatures in one envelope.
const MAX_SIGNATURES: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// What the signature object `id` is worth; its descriptor says which hash it uses.
pub(crate) fn verify(
    id: u32,
    bytes: &[u8],
    hash: i32,
    keys: &[PublicKey],
) -> Result<Finding, VerifyError> {
    let malformed = |reason: String| VerifyError::Malformed { id, reason };
    let envelope: Envelope = serde_json::from_slice(bytes)
        .map_err(|error| malformed(format!("neither PGP nor DSSE, {error}")))?;
    if envelope.payload_type != TYPE {
        let other = format!("DSSE of type {:?}", envelope.payload_type);
        return Err(malformed(other));
    }
    let count = envelope.signatures.len();
    if count == 0 || count > MAX_SIGNATURES {
        return Err(malformed(format!("{count} DSSE signatures")));
    }
    let hash = Hash::from_code(hash)
        .ok_or_else(|| malformed(format!("hash {hash} in its descriptor is not of SHA-2")))?;
    let payload = decode(&envelope.payload).ok_or_else(|| malformed("base64".to_owned()))?;
    let message = encoding(&payload);
    let mut signers = Vec::new();
    for signature in &envelope.signatures {
        let raw = decode(&signature.sig).ok_or_else(|| malformed("base64".to_owned()))?;
        let good = keys.iter().filter(|key| key.verifies(&message, &raw, hash));
        signers.extend(good.map(|key| key.fingerprint));
    }
    Ok(if signers.is_empty() {
        Finding::NotCounted("is by no PEM key of the keyring".to_owned())
    } else {
        Finding::Good(signers, payload)
    })
}

/// Signs the bytes; the envelope, whose hash is SHA-256 (SIF's code 1).
pub(crate) fn sign(payload: &str, key: &PrivateKey) -> Result<Vec<u8>, SignEnvelopeError> {
    let envelope = Envelope {
        payload_type: TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signature {
            keyid: String::new(),
            sig: STANDARD.encode(key.sign(&encoding(payload.as_bytes()))?),
        }],
    };
    Ok(serde_json::to_vec(&envelope)?)
}

/// Why no envelope was made.
#[derive(Debug, thiserror::Error)]
pub enum SignEnvelopeError {
    /// The key failed.
    #[error("the key cannot sign: {0}")]
    Key(#[from] rsa::signature::Error),
    /// The envelope could not be written as JSON.
    #[error("cannot encode the envelope: {0}")]
    Json(#[from] serde_json::Error),
}

/// What is signed: type and bytes with their lengths, so that neither can be taken for the other.
fn encoding(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// The format allows both alphabets.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_signed_bytes_have_their_lengths_in_front() {
        assert_eq!(
            super::encoding(b"{}"),
            b"DSSEv1 40 application/vnd.sylabs.sif-metadata+json 2 {}"
        );
    }
}
