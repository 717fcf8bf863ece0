//! What can be wrong with a SIF file, one variant a fault.
//!
//! The messages carry no path: whoever opened the file puts its name in front.

use std::io;

use super::arch::Arch;
use super::size::shortfall;

/// Why a SIF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SifError {
    /// The kernel failed a read that lies within the file.
    #[error("cannot read {part}: {source}")]
    Read {
        /// What was being read, as in `the header`.
        part: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no SIF magic at offset 32.
    #[error("not a SIF image: no SIF magic; give a .sif file, a squashfs file or a directory")]
    NotSif,
    /// The file is shorter than what it says of itself.
    #[error("truncated: {}; copy it again", shortfall(*.promised, *.actual))]
    Truncated {
        /// Bytes that the header and the descriptors account for.
        promised: u64,
        /// Bytes that the file has.
        actual: u64,
    },
    /// A version other than 01.
    #[error(
        "SIF version {found:?} is not supported, only \"01\"; build the image again with a current Apptainer"
    )]
    Version {
        /// What the version field holds.
        found: String,
    },
    /// A number that counts or places something is below zero.
    #[error("damaged SIF header: {field} is negative ({value}); copy or build the image again")]
    NegativeHeader {
        /// The header field.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// More descriptors than any real image has.
    #[error(
        "damaged SIF header: {count} descriptors, at most {max} are read; copy or build the image again"
    )]
    TooManyDescriptors {
        /// What the header says.
        count: u64,
        /// The bound.
        max: u64,
    },
    /// The descriptor table is not where or as large as its own count needs.
    #[error(
        "damaged SIF header: {count} descriptors do not fit the table of {size} bytes at {offset}; copy or build the image again"
    )]
    DescriptorTable {
        /// Number of descriptors.
        count: u64,
        /// Where the table starts, in bytes.
        offset: u64,
        /// The table's length, in bytes.
        size: u64,
    },
    /// A descriptor's number is below zero.
    #[error(
        "damaged SIF: {field} of object {id} is negative ({value}); copy or build the image again"
    )]
    NegativeObject {
        /// The object's id.
        id: u32,
        /// The descriptor field.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// An object ends beyond what a file can hold.
    #[error(
        "damaged SIF: object {id} at {offset} with {size} bytes is beyond any file; copy or build the image again"
    )]
    ObjectRange {
        /// The object's id.
        id: u32,
        /// Where it starts, in bytes.
        offset: u64,
        /// Its length, in bytes.
        size: u64,
    },
    /// Two used descriptors have one id, or an id is 0.
    #[error("damaged SIF: object id {id} is 0 or used twice; copy or build the image again")]
    ObjectId {
        /// The id.
        id: u32,
    },
    /// Two things lie on the same bytes.
    #[error("damaged SIF: {first} and {second} overlap; copy or build the image again")]
    Overlap {
        /// What starts first.
        first: Region,
        /// What starts inside it.
        second: Region,
    },
    /// There is no partition of type "primary system".
    #[error(
        "the SIF holds no root file system (no primary system partition); build one with `oarlock build` or `apptainer build`"
    )]
    NoPrimary,
    /// An OCI-SIF: layers as blobs, without a root file system.
    #[error(
        "the SIF holds OCI layers and no root file system; convert it with `singularity build` without --oci, or pull it again with `apptainer pull`"
    )]
    OciLayers,
    /// More than one partition of type "primary system".
    #[error(
        "damaged SIF: objects {first} and {second} are both the primary partition; build the image again"
    )]
    TwoPrimaries {
        /// The first one's id.
        first: u32,
        /// The second one's id.
        second: u32,
    },
    /// The primary partition has no bytes.
    #[error("damaged SIF: the primary partition (object {id}) is empty; build the image again")]
    EmptyPrimary {
        /// The object's id.
        id: u32,
    },
    /// The root file system is encrypted.
    #[error(
        "the root file system is encrypted ({how}), which is not supported; build the image without --encrypt"
    )]
    Encrypted {
        /// `LUKS` or `gocryptfs`.
        how: &'static str,
    },
    /// The root file system is ext3, as Singularity 2 made them.
    #[error(
        "the root file system is ext3, not squashfs; convert it with `apptainer build new.sif old.sif`"
    )]
    Ext3,
    /// The root file system is something else than squashfs.
    #[error("the root file system is of SIF type {code}, not squashfs; build the image again")]
    OtherFileSystem {
        /// SIF's fstype code.
        code: i32,
    },
    /// The architecture code is none that SIF defines.
    #[error("unknown architecture code {code:?} on the primary partition; build the image again")]
    UnknownArch {
        /// What the field holds.
        code: String,
    },
    /// The image is for another architecture than this machine.
    #[error("the image is built for {image}, this machine is {host}; build or pull it for {host}")]
    OtherArch {
        /// The image's architecture.
        image: Arch,
        /// This machine's.
        host: Arch,
    },
    /// An object that is to be read whole is larger than the caller allows.
    #[error("object {id} has {size} bytes, at most {max} are read; build the image again")]
    ObjectTooLarge {
        /// The object's id.
        id: u32,
        /// Its length, in bytes.
        size: u64,
        /// The caller's bound, in bytes.
        max: u64,
    },
}

/// A part of the file, named in [`SifError::Overlap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The first 128 bytes.
    Header,
    /// The descriptor table.
    Descriptors,
    /// The data object with this id.
    Object(u32),
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Descriptors => f.write_str("the descriptor table"),
            Self::Object(id) => write!(f, "object {id}"),
        }
    }
}
