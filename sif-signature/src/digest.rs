//! Digests of SHA-2, over bytes and over objects of many GiB.
//!
//! Knows no other hash, so that none can be asked for (CVE-2022-39237). Memory is bounded, whatever the object's size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

use crate::fingerprint::from_hex;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A hash of SHA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
}

/// A digest: which hash, and its value of that hash's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) algorithm: Algorithm,
    value: Vec<u8>,
}

/// Why a text in a signature is no digest that counts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// A hash other than SHA-2.
    #[error("hash {0:?} is not of SHA-2")]
    Algorithm(String),
    /// No name, or not as many hexadecimal digits as the hash has.
    #[error("malformed digest {0:?}")]
    Malformed(String),
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "sha512_224" => Self::Sha512_224,
            "sha512_256" => Self::Sha512_256,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha512_224 => "sha512_224",
            Self::Sha512_256 => "sha512_256",
        }
    }

    /// The digest of bytes in memory.
    pub(crate) fn of(self, bytes: &[u8]) -> Digest {
        let value = match self {
            Self::Sha224 => Sha224::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
            Self::Sha512_224 => Sha512_224::digest(bytes).to_vec(),
            Self::Sha512_256 => Sha512_256::digest(bytes).to_vec(),
        };
        Digest {
            algorithm: self,
            value,
        }
    }

    /// The digest of `len` bytes of a file from `offset`.
    ///
    /// # Errors
    ///
    /// The kernel's; `UnexpectedEof` where the file ends before.
    pub(crate) fn of_file(self, file: &File, offset: u64, len: u64) -> io::Result<Digest> {
        let value = match self {
            Self::Sha224 => stream::<Sha224>(file, offset, len)?,
            Self::Sha256 => stream::<Sha256>(file, offset, len)?,
            Self::Sha384 => stream::<Sha384>(file, offset, len)?,
            Self::Sha512 => stream::<Sha512>(file, offset, len)?,
            Self::Sha512_224 => stream::<Sha512_224>(file, offset, len)?,
            Self::Sha512_256 => stream::<Sha512_256>(file, offset, len)?,
        };
        Ok(Digest {
            algorithm: self,
            value,
        })
    }
}

fn stream<D: sha2::Digest>(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut hash = D::new();
    let mut chunk = vec![0; usize::try_from(len).map_or(CHUNK, |len| len.min(CHUNK))];
    let mut done = 0;
    while done < len {
        let want = usize::try_from(len - done).map_or(CHUNK, |rest| rest.min(CHUNK));
        let part = chunk.get_mut(..want).unwrap_or_default();
        file.read_exact_at(part, offset.saturating_add(done))?;
        hash.update(&*part);
        done += want as u64;
    }
    Ok(hash.finalize().to_vec())
}

/// The SHA-256 of a whole file, as OCI objects carry it.
///
/// # Errors
///
/// The kernel's; `UnexpectedEof` where the file shrinks meanwhile.
pub fn sha256(file: &File) -> io::Result<[u8; 32]> {
    let value = stream::<Sha256>(file, 0, file.metadata()?.len())?;
    value
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

impl Digest {
    /// Reads `sha256:<hex>`.
    pub(crate) fn parse(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.to_owned());
        let (name, hex) = text.split_once(':').ok_or_else(malformed)?;
        let algorithm =
            Algorithm::from_name(name).ok_or_else(|| DigestError::Algorithm(name.to_owned()))?;
        let value = match algorithm {
            Algorithm::Sha224 | Algorithm::Sha512_224 => from_hex::<28>(hex).map(|v| v.to_vec()),
            Algorithm::Sha256 | Algorithm::Sha512_256 => from_hex::<32>(hex).map(|v| v.to_vec()),
            Algorithm::Sha384 => from_hex::<48>(hex).map(|v| v.to_vec()),
            Algorithm::Sha512 => from_hex::<64>(hex).map(|v| v.to_vec()),
        };
        Ok(Self {
            algorithm,
            value: value.ok_or_else(malformed)?,
        })
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.algorithm.name())?;
        self.value
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, CHUNK, Digest, DigestError};
    use std::io::Write;

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4's example "abc".
        let abc = |algorithm: Algorithm| algorithm.of(b"abc").to_string();
        assert_eq!(
            abc(Algorithm::Sha256),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            abc(Algorithm::Sha224),
            "sha224:23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"
        );
        assert_eq!(
            abc(Algorithm::Sha512_256),
            "sha512_256:53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        );
        for algorithm in [
            Algorithm::Sha224,
            Algorithm::Sha256,
            Algorithm::Sha384,
            Algorithm::Sha512,
            Algorithm::Sha512_224,
            Algorithm::Sha512_256,
        ] {
            let shown = abc(algorithm);
            assert_eq!(Digest::parse(&shown), Ok(algorithm.of(b"abc")), "{shown}");
        }
    }

    #[test]
    fn only_sha_2_is_read() {
        for name in ["sha1", "md5", "sha3_256", "blake2b", "SHA256", ""] {
            let text = format!("{name}:{}", "00".repeat(32));
            assert_eq!(
                Digest::parse(&text),
                Err(DigestError::Algorithm(name.to_owned()))
            );
        }
        for text in [
            "sha256",
            "sha256:",
            "sha256:00",
            &format!("sha512:{}", "00".repeat(32)),
        ] {
            assert_eq!(
                Digest::parse(text),
                Err(DigestError::Malformed(text.to_owned()))
            );
        }
    }

    #[test]
    fn files_are_read_in_parts_and_to_their_promised_end() {
        let bytes: Vec<u8> = (0..=250).cycle().take(CHUNK * 2 + 77).collect();
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&bytes).expect("write");
        let len = bytes.len() as u64;
        let all = Algorithm::Sha384.of_file(&file, 0, len).expect("read");
        assert_eq!(all, Algorithm::Sha384.of(&bytes));
        let part = Algorithm::Sha256.of_file(&file, 5, 7).expect("read");
        assert_eq!(part, Algorithm::Sha256.of(&bytes[5..12]));
        assert!(Algorithm::Sha256.of_file(&file, 1, len).is_err());
        assert_eq!(
            super::sha256(&file).expect("read").to_vec(),
            Algorithm::Sha256.of(&bytes).value
        );
    }
}
