//! The public keys that a site trusts: a directory of files, each with one key or several.
//!
//! A file that should hold keys and does not is an error with its name, never left out: a key that silently does not
//! count would show only when somebody needs it. Who may write the directory is its reader's question.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pgp::composed::PublicOrSecret;

use crate::fingerprint::Fingerprint;
use crate::pem::{PemError, PublicKey};
use crate::pgp_keys::{PgpKey, PgpKeyError};

/// Longest key file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// A site's public keys.
#[derive(Debug, Default)]
pub struct Keyring {
    pub(crate) pgp: Vec<PgpKey>,
    pub(crate) dsse: Vec<PublicKey>,
}

/// Why keys cannot be used; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The directory cannot be listed.
    #[error("keyring {}: {source}; give a directory with *.asc, *.gpg, *.pgp or *.pem", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("key {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file is longer than any key.
    #[error("key {}: more than {MAX_FILE} bytes; give one file a key", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// No PGP public key in it.
    #[error("key {}: {reason}; export it again with `gpg --export --armor`", .path.display())]
    Pgp {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A secret key does not belong into a keyring.
    #[error("key {}: holds a secret key; replace it with the public one, and renew the key if others could read it", .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// A PGP key that can never verify an image.
    #[error("key {}: {source}", .path.display())]
    PgpKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PgpKeyError,
    },
    /// No PEM public key in it.
    #[error("key {}: {source}; write it with `openssl pkey -pubout`", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
}

impl Keyring {
    /// Reads `*.asc`, `*.gpg` and `*.pgp` (PGP public keys, armored or binary) and `*.pem` (public keys for DSSE) of a
    /// directory. Other names and hidden files are left alone.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] with the name of the directory or the first file that cannot be used.
    pub fn load(dir: &Path) -> Result<Self, KeyringError> {
        let failed = |source| KeyringError::Directory {
            path: dir.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.retain(|path| kind(path).is_some());
        paths.sort_unstable();
        let mut keyring = Self::default();
        for path in &paths {
            keyring.add(path, kind(path))?;
        }
        Ok(keyring)
    }

    /// Reads one file, whatever its name.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub fn load_file(path: &Path) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        keyring.add(path, None)?;
        Ok(keyring)
    }

    /// Whether there is no key, so that nothing can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pgp.is_empty() && self.dsse.is_empty()
    }

    /// All keys, PGP first.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        let pgp = self.pgp.iter().map(|key| key.fingerprint);
        pgp.chain(self.dsse.iter().map(|key| key.fingerprint))
    }

    fn add(&mut self, path: &Path, kind: Option<Kind>) -> Result<(), KeyringError> {
        let owned = || path.to_owned();
        let failed = |source| KeyringError::Read {
            path: owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(KeyringError::TooLarge { path: owned() });
        }
        match kind.unwrap_or_else(|| kind_of(&bytes)) {
            Kind::Pgp => self.add_pgp(path, &bytes),
            Kind::Pem => {
                let text = String::from_utf8_lossy(&bytes);
                if text.contains("PRIVATE KEY-----") {
                    return Err(KeyringError::Secret { path: owned() });
                }
                let keys = PublicKey::parse_all(&text).map_err(|source| KeyringError::Pem {
                    path: owned(),
                    source,
                })?;
                self.dsse.extend(keys);
                Ok(())
            }
        }
    }

    fn add_pgp(&mut self, path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
        let wrong = |reason: &str| KeyringError::Pgp {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut found = 0;
        for block in pgp_blocks(bytes) {
            let (keys, _) = PublicOrSecret::from_reader_many_buf(block)
                .map_err(|error| wrong(&error.to_string()))?;
            for key in keys {
                let key = match key.map_err(|error| wrong(&error.to_string()))? {
                    PublicOrSecret::Public(key) => key,
                    PublicOrSecret::Secret(_) => {
                        let path = path.to_owned();
                        return Err(KeyringError::Secret { path });
                    }
                };
                let key = PgpKey::new(key).map_err(|source| KeyringError::PgpKey {
                    path: path.to_owned(),
                    source,
                })?;
                self.pgp.push(key);
                found += 1;
            }
        }
        if found == 0 {
            return Err(wrong("no PGP public key in it"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Pgp,
    Pem,
}

/// What a file's name says of it; `None` for hidden files and all others.
fn kind(path: &Path) -> Option<Kind> {
    if path.file_name()?.as_encoded_bytes().starts_with(b".") {
        return None;
    }
    match path.extension()?.to_str()? {
        "asc" | "gpg" | "pgp" => Some(Kind::Pgp),
        "pem" => Some(Kind::Pem),
        _ => None,
    }
}

/// What a file's bytes say of it.
fn kind_of(bytes: &[u8]) -> Kind {
    let is_pgp = !pgp_blocks(bytes).is_empty();
    let is_pem = bytes.windows(11).any(|part| part == b"-----BEGIN ");
    if is_pem && !is_pgp {
        Kind::Pem
    } else {
        Kind::Pgp
    }
}

/// The armored blocks of a file, or all of it where it is binary: readers of armor stop behind the first block, and
/// keys are often put into one file by `cat`.
pub(crate) fn pgp_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP ";
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return vec![bytes];
    }
    let starts: Vec<usize> = bytes
        .windows(BEGIN.len())
        .enumerate()
        .filter_map(|(at, window)| (window == BEGIN).then_some(at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| bytes.get(*start..end))
        .collect()
}
