//! One entry of the descriptor table, 585 bytes: what a data object is and where it lies.
//!
//! Parses bytes; never reads a file. Offset and size are non-negative and do not overflow together, nothing
//! more: that they lie within the file is the reader's check.

use std::fmt;

use super::error::SifError;
use super::{arch::Arch, field};

/// Length of a descriptor, in bytes: packed, so odd.
pub const DESCRIPTOR_LEN: usize = 585;
/// Set in every group number, and in a link that names a group.
pub(super) const GROUP_MASK: u32 = 0xf000_0000;
/// Where the object's name lies in a descriptor, 128 bytes.
pub(super) const NAME_AT: usize = 73;
/// Where the type's own fields lie in a descriptor, 384 bytes.
pub(super) const EXTRA_AT: usize = 201;

/// What a data object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// The definition file that the image was built from.
    Deffile,
    /// Environment variables.
    Environment,
    /// Labels as JSON.
    Labels,
    /// A file system or another partition.
    Partition,
    /// A signature over a group of objects.
    Signature,
    /// JSON metadata.
    GenericJson,
    /// Anything.
    Generic,
    /// An encryption key or message.
    CryptoMessage,
    /// A software bill of materials.
    Sbom,
    /// The root index of an OCI image.
    OciRootIndex,
    /// A blob of an OCI image.
    OciBlob,
    /// A type newer than this program; carried along, never used.
    Unknown(i32),
}

const TYPES: [(DataType, i32, &str); 11] = [
    (DataType::Deffile, 0x4001, "definition file"),
    (DataType::Environment, 0x4002, "environment"),
    (DataType::Labels, 0x4003, "labels"),
    (DataType::Partition, 0x4004, "partition"),
    (DataType::Signature, 0x4005, "signature"),
    (DataType::GenericJson, 0x4006, "JSON"),
    (DataType::Generic, 0x4007, "generic"),
    (DataType::CryptoMessage, 0x4008, "crypto message"),
    (DataType::Sbom, 0x4009, "SBOM"),
    (DataType::OciRootIndex, 0x400a, "OCI root index"),
    (DataType::OciBlob, 0x400b, "OCI blob"),
];

impl DataType {
    /// The type of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        TYPES
            .iter()
            .find(|row| row.1 == code)
            .map_or(Self::Unknown(code), |row| row.0)
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        if let Self::Unknown(code) = self {
            return code;
        }
        TYPES
            .iter()
            .find(|row| row.0 == self)
            .map_or(0, |row| row.1)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, TYPES.iter().find(|row| row.0 == *self)) {
            (Self::Unknown(code), _) => f.pad(&format!("type {code:#x}")),
            (_, row) => f.pad(row.map_or("", |row| row.2)),
        }
    }
}

/// What is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsType {
    /// squashfs, code 1.
    Squashfs,
    /// ext3, code 2.
    Ext3,
    /// An immutable archive of objects, code 3.
    Archive,
    /// Raw data, code 4.
    Raw,
    /// squashfs inside LUKS, code 5.
    LuksSquashfs,
    /// squashfs inside gocryptfs, code 6.
    GocryptfsSquashfs,
    /// A code newer than this program.
    Unknown(i32),
}

impl FsType {
    /// The type of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Squashfs,
            2 => Self::Ext3,
            3 => Self::Archive,
            4 => Self::Raw,
            5 => Self::LuksSquashfs,
            6 => Self::GocryptfsSquashfs,
            other => Self::Unknown(other),
        }
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Squashfs => 1,
            Self::Ext3 => 2,
            Self::Archive => 3,
            Self::Raw => 4,
            Self::LuksSquashfs => 5,
            Self::GocryptfsSquashfs => 6,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Squashfs => f.pad("squashfs"),
            Self::Ext3 => f.pad("ext3"),
            Self::Archive => f.pad("archive"),
            Self::Raw => f.pad("raw"),
            Self::LuksSquashfs => f.pad("squashfs in LUKS"),
            Self::GocryptfsSquashfs => f.pad("squashfs in gocryptfs"),
            Self::Unknown(code) => f.pad(&format!("file system type {code}")),
        }
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartType {
    /// A root file system that is not the one to run, code 1.
    System,
    /// The root file system to run, code 2.
    PrimarySystem,
    /// Data, code 3.
    Data,
    /// A writable overlay over the root file system, code 4.
    Overlay,
    /// A code newer than this program.
    Unknown(i32),
}

impl PartType {
    /// The type of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::System,
            2 => Self::PrimarySystem,
            3 => Self::Data,
            4 => Self::Overlay,
            other => Self::Unknown(other),
        }
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::System => 1,
            Self::PrimarySystem => 2,
            Self::Data => 3,
            Self::Overlay => 4,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for PartType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.pad("system"),
            Self::PrimarySystem => f.pad("primary system"),
            Self::Data => f.pad("data"),
            Self::Overlay => f.pad("overlay"),
            Self::Unknown(code) => f.pad(&format!("partition type {code}")),
        }
    }
}

/// A partition's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// What is in it.
    pub fs_type: FsType,
    /// What it is for.
    pub part_type: PartType,
    /// Its architecture code as written.
    pub arch_code: [u8; 3],
}

impl PartitionInfo {
    /// The architecture; `None` where the code is none that SIF defines.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        Arch::from_code(self.arch_code)
    }
}

/// The fields that depend on the object's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// None that this program uses.
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
}

/// What an object belongs to, beyond its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing.
    None,
    /// The object with this id.
    Object(u32),
    /// All objects of this group.
    Group(u32),
}

/// A data object's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it holds.
    pub data_type: DataType,
    /// Its id, unique in the file, never 0.
    pub id: u32,
    /// Its group, counted from 1; `None` for an object outside any group.
    pub group: Option<u32>,
    /// What it belongs to.
    pub link: Link,
    /// Where its data starts in the file, in bytes.
    pub offset: u64,
    /// Length of its data, in bytes.
    pub size: u64,
    /// Length with the padding before it, in bytes; nothing depends on it.
    pub size_with_padding: u64,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// When it was changed, in seconds since 1970.
    pub modified: i64,
    /// Who added it, where old programs recorded it.
    pub uid: i64,
    /// The group of who added it, where old programs recorded it.
    pub gid: i64,
    /// Its name; unchecked text of whoever made the image, to be escaped before it is shown.
    pub name: String,
    /// Its type's own fields.
    pub extra: Extra,
}

impl Descriptor {
    /// Parses a table entry; `Ok(None)` for one that is not in use.
    ///
    /// # Errors
    ///
    /// [`SifError::NegativeObject`], [`SifError::ObjectRange`], [`SifError::ObjectId`] for id 0, and
    /// [`SifError::Truncated`] where the buffer is no whole descriptor.
    pub fn parse(buf: &[u8]) -> Result<Option<Self>, SifError> {
        Self::fields(buf).unwrap_or(Err(SifError::Truncated {
            promised: DESCRIPTOR_LEN as u64,
            actual: buf.len() as u64,
        }))
    }

    /// The partition fields, where this is a partition.
    #[must_use]
    pub fn partition(&self) -> Option<&PartitionInfo> {
        match &self.extra {
            Extra::Partition(info) => Some(info),
            Extra::None | Extra::Signature { .. } => None,
        }
    }

    /// `None` where the buffer ends before the last field.
    fn fields(buf: &[u8]) -> Option<Result<Option<Self>, SifError>> {
        let extra = field::bytes::<384>(buf, EXTRA_AT)?;
        if field::u8(buf, 4)? == 0 {
            return Some(Ok(None));
        }
        let id = field::u32(buf, 5)?;
        if id == 0 {
            return Some(Err(SifError::ObjectId { id }));
        }
        let mut numbers = [0_u64; 3];
        for ((number, name), at) in numbers
            .iter_mut()
            .zip(["the offset", "the size", "the padded size"])
            .zip((17..).step_by(8))
        {
            let value = field::i64(buf, at)?;
            match u64::try_from(value) {
                Ok(value) => *number = value,
                Err(_) => {
                    return Some(Err(SifError::NegativeObject {
                        id,
                        field: name,
                        value,
                    }));
                }
            }
        }
        let [offset, size, size_with_padding] = numbers;
        // The kernel's offsets are signed: what ends beyond 2^63 - 1 can be read by nobody.
        if offset
            .checked_add(size)
            .is_none_or(|end| i64::try_from(end).is_err())
        {
            return Some(Err(SifError::ObjectRange { id, offset, size }));
        }
        let data_type = DataType::from_code(field::i32(buf, 0)?);
        Some(Ok(Some(Self {
            data_type,
            id,
            group: Some(field::u32(buf, 9)? & !GROUP_MASK).filter(|group| *group != 0),
            link: link(field::u32(buf, 13)?),
            offset,
            size,
            size_with_padding,
            created: field::i64(buf, 41)?,
            modified: field::i64(buf, 49)?,
            uid: field::i64(buf, 57)?,
            gid: field::i64(buf, 65)?,
            name: field::text(&field::bytes::<128>(buf, NAME_AT)?),
            extra: match data_type {
                DataType::Partition => Extra::Partition(PartitionInfo {
                    fs_type: FsType::from_code(field::i32(&extra, 0)?),
                    part_type: PartType::from_code(field::i32(&extra, 4)?),
                    arch_code: field::bytes(&extra, 8)?,
                }),
                DataType::Signature => Extra::Signature {
                    hash: field::i32(&extra, 0)?,
                    fingerprint: field::bytes(&extra, 4)?,
                },
                _ => Extra::None,
            },
        })))
    }
}

fn link(raw: u32) -> Link {
    match (raw, raw & GROUP_MASK == GROUP_MASK) {
        (0, _) => Link::None,
        (raw, true) => Link::Group(raw & !GROUP_MASK),
        (raw, false) => Link::Object(raw),
    }
}
