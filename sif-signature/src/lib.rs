//! Signatures of SIF images: verified against the site's keys, and made. PGP clear-signed and DSSE, as Apptainer
//! has them.
//!
//! A signature is an object of its own, linked to a group. It signs a list of digests: of the header, and of each
//! object of the group with its descriptor. Only SHA-2 counts, the list must name exactly the objects that the
//! group has, and whatever is not understood is an error: there is no way from an odd file to "verified".
//!
//! This crate brings some 130 others with it. It must never be in the tree of the plugin, which slurmstepd loads,
//! or of `oarlock-prepare`, which runs as root. It opens nothing but the keys, and writes nothing but a new
//! signature.
#![forbid(unsafe_code)]

mod digest;
mod dsse;
mod fingerprint;
mod keyring;
mod metadata;
mod pem;
mod pgp_keys;
mod pgp_message;
mod sign;
mod signing_key;
mod verify;

pub use digest::{DigestError, sha256};
pub use dsse::SignEnvelopeError;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use keyring::{Keyring, KeyringError};
pub use pem::PemError;
pub use pgp_keys::PgpKeyError;
pub use sign::{SignError, Signed, sign};
pub use signing_key::{MakeError, SigningKey, SigningKeyError};
pub use verify::{VerifyError, verify, verify_group};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
