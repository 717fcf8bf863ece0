//! SIF, the single-file image format of Apptainer and Singularity: read, and written.
//!
//! A SIF is a header, a table of descriptors, and data objects; one of them is the squashfs file system to run.
//! This module parses and encodes. It mounts nothing, opens nothing by name, and knows of no trust: signatures
//! are listed, never believed.

mod arch;
mod descriptor;
mod error;
pub(in crate::image) mod field;
mod header;
mod reader;
pub mod size;
mod writer;

pub use arch::{Arch, UnknownArchName};
pub use descriptor::{
    DESCRIPTOR_LEN, DataType, Descriptor, Extra, FsType, Link, PartType, PartitionInfo,
};
pub use error::{Region, SifError};
pub use header::{HEADER_LEN, Header, Uuid, is_sif};
pub use reader::{MAX_DESCRIPTORS, PrimaryPartition, ReadAt, Sif};
pub use writer::{Content, Kind, Layout, NewObject, WriteError, random_uuid, write};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
