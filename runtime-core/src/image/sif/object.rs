//! A data object that is to be written: its kind, its bytes, its place among the others, and its descriptor.
//!
//! Encodes bytes and copies content into a file that it is given; opens and names none.

use std::fs::File;
use std::io::{self, Seek, Write};

use super::arch::Arch;
use super::descriptor::{DESCRIPTOR_LEN, DataType, EXTRA_AT, GROUP_MASK, Link, NAME_AT};
use super::extra::{Extra, SbomFormat};
use super::partition::{FsType, PartType, PartitionInfo};
use super::writer::{NAME_LEN, WriteError};

/// Partitions start at a page, so that they can be mounted through a loop device.
const PARTITION_ALIGN: u64 = 4096;

/// A data object to write.
#[derive(Debug)]
pub struct NewObject<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its name, at most 128 bytes; may be empty.
    pub name: String,
    /// Its bytes.
    pub content: Content<'a>,
}

/// The kinds of objects that are written: every one that SIF defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The definition that the image was built from.
    Deffile,
    /// Environment variables.
    Environment,
    /// Labels as JSON.
    Labels,
    /// JSON metadata.
    GenericJson,
    /// Anything.
    Generic,
    /// The root file system to run, a squashfs for this architecture.
    PrimarySquashfs(Arch),
    /// Any partition.
    Partition(PartitionInfo),
    /// A signature over a group.
    Signature {
        /// SIF's code of the hash, 1 for SHA-256.
        hash: i32,
        /// The signing key's fingerprint; zeros where the signature says it itself.
        fingerprint: [u8; 20],
    },
    /// An encryption key or message.
    CryptoMessage {
        /// 1 OpenPGP, 2 PEM, 0 unsaid.
        format: i32,
        /// 0x100 clear-signed, 0x200 RSA-OAEP, 0 unsaid.
        message: i32,
    },
    /// A software bill of materials.
    Sbom(SbomFormat),
    /// The root index of an OCI image, and the SHA-256 of its bytes.
    OciRootIndex([u8; 32]),
    /// A blob of an OCI image, and the SHA-256 of its bytes.
    OciBlob([u8; 32]),
}

/// Where an object's bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// A whole file from its start, copied by the kernel where it can.
    File(&'a File),
}

/// Where an object stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its group, from 1; `None` for none.
    pub group: Option<u32>,
    /// What it belongs to.
    pub link: Link,
    /// Its offset is a multiple of this many bytes; `None` for what its kind needs.
    pub align: Option<u64>,
    /// When it is added, in seconds since 1970.
    pub created: i64,
}

/// What is known of an object once its bytes are in the file.
pub(super) struct Written {
    pub(super) id: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Length with the padding before it.
    pub(super) padded: u64,
}

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Deffile => DataType::Deffile,
            Self::Environment => DataType::Environment,
            Self::Labels => DataType::Labels,
            Self::GenericJson => DataType::GenericJson,
            Self::Generic => DataType::Generic,
            Self::PrimarySquashfs(_) | Self::Partition(_) => DataType::Partition,
            Self::Signature { .. } => DataType::Signature,
            Self::CryptoMessage { .. } => DataType::CryptoMessage,
            Self::Sbom(_) => DataType::Sbom,
            Self::OciRootIndex(_) => DataType::OciRootIndex,
            Self::OciBlob(_) => DataType::OciBlob,
        }
    }

    pub(super) fn extra(self) -> Extra {
        match self {
            Self::Deffile
            | Self::Environment
            | Self::Labels
            | Self::GenericJson
            | Self::Generic => Extra::None,
            Self::PrimarySquashfs(arch) => Extra::Partition(PartitionInfo {
                fs_type: FsType::Squashfs,
                part_type: PartType::PrimarySystem,
                arch_code: arch.code(),
            }),
            Self::Partition(info) => Extra::Partition(info),
            Self::Signature { hash, fingerprint } => Extra::Signature { hash, fingerprint },
            Self::CryptoMessage { format, message } => Extra::CryptoMessage { format, message },
            Self::Sbom(format) => Extra::Sbom(Some(format)),
            Self::OciRootIndex(digest) | Self::OciBlob(digest) => Extra::OciDigest(Some(digest)),
        }
    }

    pub(super) fn align(self) -> u64 {
        if self.data_type() == DataType::Partition {
            PARTITION_ALIGN
        } else {
            1
        }
    }

    /// Whether this is the root file system to run.
    pub(super) fn is_primary(self) -> bool {
        self.extra().primary_arch().is_some()
    }
}

impl NewObject<'_> {
    /// What can be refused before a byte is written.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        if self.name.len() > NAME_LEN || self.name.contains('\0') {
            return Err(WriteError::Name {
                name: self.name.clone(),
            });
        }
        Ok(())
    }

    /// The descriptor, in use.
    pub(super) fn descriptor(
        &self,
        place: &Placement,
        written: &Written,
    ) -> Result<Vec<u8>, WriteError> {
        let group = place.group.map_or(0, |group| group & !GROUP_MASK);
        let link = match place.link {
            Link::None => 0,
            Link::Object(id) => id,
            Link::Group(group) => group | GROUP_MASK,
        };
        let mut buf = Vec::with_capacity(DESCRIPTOR_LEN);
        buf.extend_from_slice(&self.kind.data_type().code().to_le_bytes());
        buf.push(1);
        buf.extend_from_slice(&written.id.to_le_bytes());
        // The mask without a group is how Apptainer writes "no group", and it looks for just that.
        buf.extend_from_slice(&(group | GROUP_MASK).to_le_bytes());
        buf.extend_from_slice(&link.to_le_bytes());
        buf.extend_from_slice(&signed(written.offset)?);
        buf.extend_from_slice(&signed(written.size)?);
        buf.extend_from_slice(&signed(written.padded)?);
        buf.extend_from_slice(&place.created.to_le_bytes());
        buf.extend_from_slice(&place.created.to_le_bytes());
        // uid and gid stay 0: nothing reads them any more, and they would tell who built the image.
        buf.resize(NAME_AT, 0);
        buf.extend_from_slice(self.name.as_bytes());
        buf.resize(EXTRA_AT, 0);
        buf.extend_from_slice(&self.kind.extra().encode());
        buf.resize(DESCRIPTOR_LEN, 0);
        Ok(buf)
    }
}

/// Copies the content to the file's position; gives its length in bytes.
pub(super) fn copy(content: Content<'_>, mut out: &File) -> io::Result<u64> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes).map(|()| bytes.len() as u64),
        Content::File(mut file) => {
            file.rewind()?;
            // copy_file_range(2) below: shared blocks on XFS and Btrfs, no trip through this process elsewhere.
            io::copy(&mut file, &mut out)
        }
    }
}

/// A place or a size as the format has it: below 2^63.
pub(super) fn signed(value: u64) -> Result<[u8; 8], WriteError> {
    i64::try_from(value)
        .map(i64::to_le_bytes)
        .map_err(|_| WriteError::TooLarge)
}
