//! One entry of the descriptor table, 585 bytes: what a data object is and where it lies.
//!
//! Parses bytes; never reads a file. Offset and size are non-negative and do not overflow together, nothing
//! more: that they lie within the file is the reader's check.

use std::fmt;

use super::error::SifError;
use super::extra::Extra;
use super::field;
use super::partition::PartitionInfo;

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

impl DataType {
    /// The type of the number that `siftool` and `apptainer sif` give it: 1 for a definition file, and so on.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        TYPES
            .get(usize::from(number).checked_sub(1)?)
            .map(|row| row.0)
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
    /// What signatures cover and nobody else reads: the fields above are made from it.
    raw: Box<Raw>,
}

/// Bytes of a table entry as they are written, for what is shown or used above has lost some of them.
#[derive(Clone, PartialEq, Eq)]
struct Raw {
    link: u32,
    name: [u8; 128],
    extra: [u8; 384],
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
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
            _ => None,
        }
    }

    /// What the descriptor digest of a signature covers. `relative_id` is this object's id less the smallest id of
    /// its group; group, offset, padding and modification time are not covered.
    #[must_use]
    pub fn signed_bytes(&self, relative_id: u32) -> Vec<u8> {
        let mut buf = Vec::with_capacity(DESCRIPTOR_LEN);
        buf.extend_from_slice(&self.data_type.code().to_le_bytes());
        buf.push(1);
        buf.extend_from_slice(&relative_id.to_le_bytes());
        buf.extend_from_slice(&self.raw.link.to_le_bytes());
        buf.extend_from_slice(&self.size.to_le_bytes());
        buf.extend_from_slice(&self.created.to_le_bytes());
        buf.extend_from_slice(&self.uid.to_le_bytes());
        buf.extend_from_slice(&self.gid.to_le_bytes());
        buf.extend_from_slice(&self.raw.name);
        buf.extend_from_slice(&self.raw.extra);
        buf
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
        let raw = Raw {
            link: field::u32(buf, 13)?,
            name: field::bytes(buf, NAME_AT)?,
            extra,
        };
        Some(Ok(Some(Self {
            data_type,
            id,
            group: Some(field::u32(buf, 9)? & !GROUP_MASK).filter(|group| *group != 0),
            link: link(raw.link),
            offset,
            size,
            size_with_padding,
            created: field::i64(buf, 41)?,
            modified: field::i64(buf, 49)?,
            uid: field::i64(buf, 57)?,
            gid: field::i64(buf, 65)?,
            name: field::text(&raw.name),
            extra: Extra::parse(data_type, &raw.extra)?,
            raw: Box::new(raw),
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
