//! The key that makes signatures: a PGP secret key, or a PEM private key.
//!
//! Holds it in memory and never writes or shows it.

use std::fmt;
use std::io;

use pgp::composed::{PublicOrSecret, SignedSecretKey};
use pgp::types::{KeyDetails, Password};
use zeroize::Zeroizing;

use crate::fingerprint::Fingerprint;
use crate::keyring::pgp_blocks;
use crate::pem::{PemError, PrivateKey};
use crate::pgp_keys::{PgpKey, PgpKeyError, now};
use crate::{dsse, pgp_message};

/// A key that signs.
pub struct SigningKey {
    fingerprint: Fingerprint,
    form: Form,
}

enum Form {
    Pgp {
        key: Box<SignedSecretKey>,
        /// The subkey that signs; `None` for the primary key.
        subkey: Option<usize>,
        password: Password,
    },
    Pem(PrivateKey),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint)
    }
}

/// Why a key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Neither a PGP secret key nor PEM.
    #[error("no PGP secret key in it ({0}); export it with `gpg --export-secret-keys --armor`")]
    Pgp(String),
    /// Several keys, and no way to tell which.
    #[error(
        "more than one PGP secret key in it; export one with `gpg --export-secret-keys --armor KEY`"
    )]
    Several,
    /// A public key.
    #[error("a public key; signing needs the secret one")]
    Public,
    /// A key that can never sign an image.
    #[error(transparent)]
    PgpKey(#[from] PgpKeyError),
    /// No part of it may sign now.
    #[error("PGP key {fingerprint} cannot sign: {reason}")]
    Barred {
        /// The key.
        fingerprint: Fingerprint,
        /// As in `which has expired`.
        reason: &'static str,
    },
    /// No passphrase was given.
    #[error("PGP key {fingerprint} is locked and no passphrase was given: {source}")]
    NoPassphrase {
        /// The key.
        fingerprint: Fingerprint,
        /// Why there is none.
        source: io::Error,
    },
    /// The passphrase is wrong, or the secret half is not in the file (kept on a card).
    #[error(
        "PGP key {fingerprint} cannot be unlocked ({reason}); check the passphrase, and that the file holds the secret key itself"
    )]
    Locked {
        /// The key.
        fingerprint: Fingerprint,
        /// What failed.
        reason: String,
    },
    /// No usable PEM key.
    #[error(transparent)]
    Pem(#[from] PemError),
}

/// A signature, ready to be an object.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    /// SIF's code of the hash.
    pub(crate) hash: i32,
}

/// Why a text was not signed.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// By PGP.
    #[error("PGP: {0}")]
    Pgp(#[from] pgp::errors::Error),
    /// As DSSE.
    #[error(transparent)]
    Dsse(#[from] dsse::SignEnvelopeError),
    /// The key is gone from its own list of parts.
    #[error("the key has no secret part that signs")]
    NoPart,
}

impl SigningKey {
    /// Reads the bytes of a key file: PGP (armored or binary) or PEM. `passphrase` is asked only where the key is
    /// locked.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError`].
    pub fn parse(
        bytes: &[u8],
        passphrase: impl FnOnce() -> io::Result<Zeroizing<String>>,
    ) -> Result<Self, SigningKeyError> {
        let is_binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let is_armored = bytes.windows(15).any(|part| part == b"-----BEGIN PGP ");
        if is_binary || is_armored {
            return Self::parse_pgp(bytes, passphrase);
        }
        let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
        let key = PrivateKey::parse(&text)?;
        Ok(Self {
            fingerprint: key.public()?.fingerprint,
            form: Form::Pem(key),
        })
    }

    fn parse_pgp(
        bytes: &[u8],
        passphrase: impl FnOnce() -> io::Result<Zeroizing<String>>,
    ) -> Result<Self, SigningKeyError> {
        let failed = |error: pgp::errors::Error| SigningKeyError::Pgp(error.to_string());
        let mut found = None;
        for block in pgp_blocks(bytes) {
            let (keys, _) = PublicOrSecret::from_reader_many_buf(block).map_err(failed)?;
            for key in keys {
                let PublicOrSecret::Secret(key) = key.map_err(failed)? else {
                    return Err(SigningKeyError::Public);
                };
                if found.replace(key).is_some() {
                    return Err(SigningKeyError::Several);
                }
            }
        }
        let key = found.ok_or_else(|| SigningKeyError::Pgp("it is empty".to_owned()))?;
        let judged = PgpKey::new(key.to_public_key())?;
        let fingerprint = judged.fingerprint;
        let now = now();
        let mut reason = "which has no part for it";
        let mut chosen = None;
        // The primary key first, as Apptainer signs.
        for part in &judged.parts {
            let print = part.details().fingerprint();
            let place = if print == key.primary_key.fingerprint() {
                None
            } else {
                let mut subkeys = key.secret_subkeys.iter();
                let Some(at) = subkeys.position(|subkey| subkey.key.fingerprint() == print) else {
                    continue;
                };
                Some(at)
            };
            match part.bar(now) {
                None => {
                    chosen = Some(place);
                    break;
                }
                Some(bar) => reason = bar,
            }
        }
        let subkey = chosen.ok_or(SigningKeyError::Barred {
            fingerprint,
            reason,
        })?;
        let is_locked = match subkey.and_then(|at| key.secret_subkeys.get(at)) {
            Some(subkey) => subkey.key.secret_params().is_encrypted(),
            None => key.primary_key.secret_params().is_encrypted(),
        };
        let password = if is_locked {
            let given = passphrase().map_err(|source| SigningKeyError::NoPassphrase {
                fingerprint,
                source,
            })?;
            Password::from(given.as_bytes())
        } else {
            Password::empty()
        };
        let unlocked = match subkey.and_then(|at| key.secret_subkeys.get(at)) {
            Some(subkey) => subkey.key.unlock(&password, |_, _| Ok(())),
            None => key.primary_key.unlock(&password, |_, _| Ok(())),
        };
        if let Err(error) | Ok(Err(error)) = unlocked {
            return Err(SigningKeyError::Locked {
                fingerprint,
                reason: error.to_string(),
            });
        }
        Ok(Self {
            fingerprint,
            form: Form::Pgp {
                key: Box::new(key),
                subkey,
                password,
            },
        })
    }

    /// The key's name, by which verifiers know it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn sign(&self, text: &str) -> Result<Made, MakeError> {
        match &self.form {
            Form::Pgp {
                key,
                subkey,
                password,
            } => {
                let (bytes, hash) = match subkey {
                    None => pgp_message::sign(text, &key.primary_key, password)?,
                    Some(at) => {
                        let part = key.secret_subkeys.get(*at).ok_or(MakeError::NoPart)?;
                        pgp_message::sign(text, &part.key, password)?
                    }
                };
                Ok(Made { bytes, hash })
            }
            Form::Pem(key) => Ok(Made {
                bytes: dsse::sign(text, key)?,
                hash: 1,
            }),
        }
    }
}
