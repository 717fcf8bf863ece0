//! The 384 bytes of a descriptor whose meaning depends on the object's type.
//!
//! Parses and encodes codes; what a code is good for is the caller's question. The text of a digest or a key's
//! fingerprint in here is the maker's word: nothing is verified.

use std::fmt;
use std::str::FromStr;

use super::descriptor::DataType;
use super::partition::{FsType, PartType, PartitionInfo};
use super::{arch::Arch, field};

/// The fields that depend on the object's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// None that SIF defines.
    None,
    /// A partition's.
    Partition(PartitionInfo),
    /// A signature's: SIF's code of the hash, and the key's fingerprint (zeros for DSSE).
    Signature {
        /// 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE2s, 5 BLAKE2b.
        hash: i32,
        /// The signing key's fingerprint.
        fingerprint: [u8; 20],
    },
    /// A crypto message's.
    CryptoMessage {
        /// 1 OpenPGP, 2 PEM; 0 where it was not said.
        format: i32,
        /// 0x100 clear-signed, 0x200 RSA-OAEP; 0 where it was not said.
        message: i32,
    },
    /// The form of a software bill of materials; `None` where the code is none that SIF defines.
    Sbom(Option<SbomFormat>),
    /// The SHA-256 of an OCI index or blob; `None` where the field holds something else.
    OciDigest(Option<[u8; 32]>),
}

impl Extra {
    /// `None` where the buffer ends before a field.
    pub(super) fn parse(data_type: DataType, extra: &[u8]) -> Option<Self> {
        Some(match data_type {
            DataType::Partition => Self::Partition(PartitionInfo {
                fs_type: FsType::from_code(field::i32(extra, 0)?),
                part_type: PartType::from_code(field::i32(extra, 4)?),
                arch_code: field::bytes(extra, 8)?,
            }),
            DataType::Signature => Self::Signature {
                hash: field::i32(extra, 0)?,
                fingerprint: field::bytes(extra, 4)?,
            },
            DataType::CryptoMessage => Self::CryptoMessage {
                format: field::i32(extra, 0)?,
                message: field::i32(extra, 4)?,
            },
            DataType::Sbom => Self::Sbom(SbomFormat::from_code(field::i32(extra, 0)?)),
            DataType::OciRootIndex | DataType::OciBlob => Self::OciDigest(digest(extra)),
            _ => Self::None,
        })
    }

    /// The fields as they are written, without the zeros that follow.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Partition(info) => [
                &info.fs_type.code().to_le_bytes()[..],
                &info.part_type.code().to_le_bytes(),
                &info.arch_code,
            ]
            .concat(),
            Self::Signature { hash, fingerprint } => {
                [&hash.to_le_bytes()[..], fingerprint].concat()
            }
            Self::CryptoMessage { format, message } => {
                [format.to_le_bytes(), message.to_le_bytes()].concat()
            }
            Self::Sbom(format) => format.map_or(0, SbomFormat::code).to_le_bytes().to_vec(),
            Self::OciDigest(None) => Vec::new(),
            Self::OciDigest(Some(digest)) => {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("sha256:{hex}").into_bytes()
            }
        }
    }

    /// The architecture of a root file system to run, else `None`.
    pub(super) fn primary_arch(&self) -> Option<Option<Arch>> {
        match self {
            Self::Partition(info) if info.part_type == PartType::PrimarySystem => Some(info.arch()),
            _ => None,
        }
    }
}

/// The bytes of `sha256:<64 hex digits>`.
fn digest(extra: &[u8]) -> Option<[u8; 32]> {
    let text = field::text(extra);
    let hex = text.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; 32];
    for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}

/// The name of SIF's code for a signature's hash, as in `SHA-256`.
#[must_use]
pub fn hash_name(code: i32) -> &'static str {
    match code {
        1 => "SHA-256",
        2 => "SHA-384",
        3 => "SHA-512",
        4 => "BLAKE2s-256",
        5 => "BLAKE2b-256",
        _ => "unknown hash",
    }
}

/// The form of a software bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SbomFormat {
    /// CycloneDX as JSON, code 1.
    CycloneDxJson,
    /// CycloneDX as XML, code 2.
    CycloneDxXml,
    /// GitHub's dependency snapshot, code 3.
    GitHubJson,
    /// SPDX as JSON, code 4.
    SpdxJson,
    /// SPDX as RDF, code 5.
    SpdxRdf,
    /// SPDX as tag and value, code 6.
    SpdxTagValue,
    /// SPDX as YAML, code 7.
    SpdxYaml,
    /// Syft's own JSON, code 8.
    SyftJson,
}

const SBOM_FORMATS: [(SbomFormat, i32, &str); 8] = [
    (SbomFormat::CycloneDxJson, 1, "cyclonedx-json"),
    (SbomFormat::CycloneDxXml, 2, "cyclonedx-xml"),
    (SbomFormat::GitHubJson, 3, "github-json"),
    (SbomFormat::SpdxJson, 4, "spdx-json"),
    (SbomFormat::SpdxRdf, 5, "spdx-rdf"),
    (SbomFormat::SpdxTagValue, 6, "spdx-tag-value"),
    (SbomFormat::SpdxYaml, 7, "spdx-yaml"),
    (SbomFormat::SyftJson, 8, "syft-json"),
];

impl SbomFormat {
    /// The form of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        SBOM_FORMATS
            .iter()
            .find(|row| row.1 == code)
            .map(|row| row.0)
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        SBOM_FORMATS
            .iter()
            .find(|row| row.0 == self)
            .map_or(0, |row| row.1)
    }
}

impl fmt::Display for SbomFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = SBOM_FORMATS.iter().find(|row| row.0 == *self);
        f.pad(row.map_or("", |row| row.2))
    }
}

/// The text names no form of a bill of materials that SIF has a code for.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown SBOM format {0}; one of cyclonedx-json, cyclonedx-xml, github-json, spdx-json, spdx-rdf, spdx-tag-value, spdx-yaml, syft-json"
)]
pub struct UnknownSbomFormat(String);

impl FromStr for SbomFormat {
    type Err = UnknownSbomFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        SBOM_FORMATS
            .iter()
            .find(|row| row.2 == text)
            .map(|row| row.0)
            .ok_or_else(|| UnknownSbomFormat(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{DataType, Extra, SBOM_FORMATS, SbomFormat};

    #[test]
    fn fields_that_are_written_are_read() {
        for (data_type, extra) in [
            (
                DataType::Signature,
                Extra::Signature {
                    hash: 3,
                    fingerprint: [7; 20],
                },
            ),
            (
                DataType::CryptoMessage,
                Extra::CryptoMessage {
                    format: 2,
                    message: 0x200,
                },
            ),
            (DataType::Sbom, Extra::Sbom(Some(SbomFormat::SpdxJson))),
            (DataType::Sbom, Extra::Sbom(None)),
            (DataType::OciBlob, Extra::OciDigest(Some([0xab; 32]))),
            (DataType::OciRootIndex, Extra::OciDigest(None)),
            (DataType::Labels, Extra::None),
        ] {
            let mut bytes = extra.encode();
            bytes.resize(384, 0);
            assert_eq!(Extra::parse(data_type, &bytes), Some(extra));
        }
        for (format, code, name) in SBOM_FORMATS {
            assert_eq!(SbomFormat::from_code(code), Some(format));
            assert_eq!((format.code(), format.to_string()), (code, name.to_owned()));
            assert_eq!(name.parse::<SbomFormat>().ok(), Some(format));
        }
        assert!("spdx".parse::<SbomFormat>().is_err());
    }

    #[test]
    fn a_digest_that_is_none_is_told() {
        for text in [
            "",
            "sha256:ab",
            "sha512:",
            &format!("sha256:{}", "+1".repeat(32)),
        ] {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(384, 0);
            assert_eq!(
                Extra::parse(DataType::OciBlob, &bytes),
                Some(Extra::OciDigest(None)),
                "{text}"
            );
        }
    }
}
