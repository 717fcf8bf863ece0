//! Says whose signatures over a group of an image are good.
//!
//! Fails closed: every signature that is linked to the group is looked at, one that is broken fails all, and without
//! a good one by a known key there is no answer but an error. Believes no word of the file about who signed it.

use std::fs::File;
use std::io;

use runtime_core::image::sif::{DataType, Descriptor, Extra, Link, Sif, SifError};

use crate::digest::DigestError;
use crate::fingerprint::Fingerprint;
use crate::keyring::Keyring;
use crate::metadata::{Digests, Metadata, members};
use crate::{dsse, pgp_message};

/// Longest signature object that is read, in bytes: room for the digests of a thousand objects.
const MAX_SIGNATURE: u64 = 256 << 10;
/// Most signatures over one group.
const MAX_SIGNATURES: usize = 64;

/// Why an image's signatures are not accepted. `id` is the signature's object.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no single root file system, or the signature cannot be read.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// The root file system is in no group, so nothing can sign it.
    #[error(
        "the root file system (object {object}) is in no group and cannot be signed; build the image again"
    )]
    NoGroup {
        /// Its id.
        object: u32,
    },
    /// No object is in the group.
    #[error("no object is in group {group}; `oarlock sif list` shows the groups")]
    EmptyGroup {
        /// The group.
        group: u32,
    },
    /// No signature is linked to the group.
    #[error(
        "not signed: no signature over group {group}; sign it with `oarlock sign` or `apptainer sign`"
    )]
    NotSigned {
        /// The group.
        group: u32,
    },
    /// There are signatures, but none by a key of the keyring that counts.
    #[error("not signed by a known key: {}; add the signer's public key to the keyring, or sign the image with a key of it", .why.join(", "))]
    NoKnownKey {
        /// What was found, a text a signature.
        why: Vec<String>,
    },
    /// More signatures than any image has.
    #[error(
        "{count} signatures over group {group}, at most {MAX_SIGNATURES} are read; remove some with `oarlock sif del`"
    )]
    TooMany {
        /// The group.
        group: u32,
        /// How many there are.
        count: usize,
    },
    /// The signature object is neither PGP clear-signed nor DSSE.
    #[error("signature {id} is damaged: {reason}; sign the image again")]
    Malformed {
        /// The signature's object.
        id: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of the keyring is named as the signer, and did not sign this.
    #[error(
        "signature {id} is not by key {key}, which it names: {reason}; the image or the signature was changed"
    )]
    Forged {
        /// The signature's object.
        id: u32,
        /// Whose it claims to be.
        key: Fingerprint,
        /// What does not hold.
        reason: String,
    },
    /// A known key signed with a hash that is not of SHA-2.
    #[error(
        "signature {id} by key {key} uses {hash}, which is not of SHA-2; sign the image again with SHA-256"
    )]
    WeakHash {
        /// The signature's object.
        id: u32,
        /// The signer.
        key: Fingerprint,
        /// The hash.
        hash: String,
    },
    /// The descriptor names another key than the one that signed.
    #[error("signature {id} is by key {key}, its descriptor names another; sign the image again")]
    OtherKey {
        /// The signature's object.
        id: u32,
        /// The signer.
        key: Fingerprint,
    },
    /// What is signed is no list of digests.
    #[error("signature {id} signs something else than an image: {reason}; sign the image again")]
    Payload {
        /// The signature's object.
        id: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A digest in the list does not count.
    #[error("signature {id}: {source}; sign the image again with SHA-256")]
    Digest {
        /// The signature's object.
        id: u32,
        /// What is wrong with it.
        source: DigestError,
    },
    /// Header fields differ from what was signed.
    #[error(
        "signature {id} is over another image: the header (first line or id) is not the signed one"
    )]
    Header {
        /// The signature's object.
        id: u32,
    },
    /// The group has an object that is not in the list.
    #[error(
        "object {object} was added to the group after signature {id}; do not use the image, or sign it again"
    )]
    Unsigned {
        /// The signature's object.
        id: u32,
        /// The object.
        object: u32,
    },
    /// The list names an object that the group does not have.
    #[error(
        "an object (number {relative} of the group, from 0) was removed after signature {id}; do not use the image, or sign it again"
    )]
    Missing {
        /// The signature's object.
        id: u32,
        /// The object's id less the group's smallest one.
        relative: u32,
    },
    /// A descriptor differs from what was signed.
    #[error(
        "the descriptor of object {object} is not the one of signature {id}; do not use the image, or sign it again"
    )]
    Descriptor {
        /// The signature's object.
        id: u32,
        /// The object.
        object: u32,
    },
    /// An object's bytes differ from what was signed.
    #[error(
        "the bytes of object {object} are not those of signature {id}; do not use the image, or sign it again"
    )]
    Object {
        /// The signature's object.
        id: u32,
        /// The object.
        object: u32,
    },
    /// The kernel failed a read.
    #[error("cannot read object {object}: {source}")]
    Read {
        /// The object.
        object: u32,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What one signature object turned out to be.
pub(crate) enum Finding {
    /// These keys of the keyring signed these bytes.
    Good(Vec<Fingerprint>, Vec<u8>),
    /// It does not count, and why.
    NotCounted(String),
}

/// The keys of the keyring that made a good signature over the group of the root file system, every object of it.
/// Signatures by unknown keys do not count; a bad one by a known key fails, also beside a good one.
///
/// Reads every object of the group once, with bounded memory.
///
/// # Errors
///
/// [`VerifyError`]; there is no success without a key.
pub fn verify(file: &File, sif: &Sif, keyring: &Keyring) -> Result<Vec<Fingerprint>, VerifyError> {
    let primary = sif.primary_partition()?.descriptor;
    let group = primary
        .group
        .ok_or(VerifyError::NoGroup { object: primary.id })?;
    verify_group(file, sif, keyring, group)
}

/// As [`verify`], for any group.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_group(
    file: &File,
    sif: &Sif,
    keyring: &Keyring,
    group: u32,
) -> Result<Vec<Fingerprint>, VerifyError> {
    if members(sif, group).is_empty() {
        return Err(VerifyError::EmptyGroup { group });
    }
    let signatures: Vec<&Descriptor> = sif
        .objects(DataType::Signature)
        .filter(|object| object.link == Link::Group(group))
        .collect();
    if signatures.is_empty() {
        return Err(VerifyError::NotSigned { group });
    }
    if signatures.len() > MAX_SIGNATURES {
        let count = signatures.len();
        return Err(VerifyError::TooMany { group, count });
    }
    let mut signers = Vec::new();
    let mut why = Vec::new();
    let mut digests = Digests::default();
    for object in signatures {
        match finding(file, sif, keyring, object)? {
            Finding::Good(keys, payload) => {
                let signed = Metadata::parse(object.id, &payload)?;
                signed.check(object.id, file, sif, group, &mut digests)?;
                signers.extend(keys);
            }
            Finding::NotCounted(reason) => why.push(format!("signature {} {reason}", object.id)),
        }
    }
    signers.sort_unstable();
    signers.dedup();
    if signers.is_empty() {
        return Err(VerifyError::NoKnownKey { why });
    }
    Ok(signers)
}

fn finding(
    file: &File,
    sif: &Sif,
    keyring: &Keyring,
    object: &Descriptor,
) -> Result<Finding, VerifyError> {
    let bytes = sif.read_object(file, object, MAX_SIGNATURE)?;
    let id = object.id;
    let Extra::Signature { hash, fingerprint } = object.extra else {
        let reason = "its descriptor is no signature's".to_owned();
        return Err(VerifyError::Malformed { id, reason });
    };
    if bytes.starts_with(pgp_message::START) {
        pgp_message::verify(id, &bytes, fingerprint, &keyring.pgp)
    } else {
        dsse::verify(id, &bytes, hash, &keyring.dsse)
    }
}
