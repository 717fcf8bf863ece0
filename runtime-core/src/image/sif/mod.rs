//! SIF, the single-file image format of Apptainer and Singularity: read, and written.
//!
//! A SIF is a header, a table of descriptors, and data objects; one of them is the squashfs file system to run.
//! This module parses, encodes and edits. It mounts nothing, opens nothing by name, and knows of no trust:
//! signatures are listed, never believed.

mod arch;
mod descriptor;
mod edit;
mod error;
mod extra;
pub(in crate::image) mod field;
mod header;
mod object;
mod partition;
mod reader;
pub mod size;
mod writer;

pub use arch::{Arch, UnknownArchName};
pub use descriptor::{DESCRIPTOR_LEN, DataType, Descriptor, Link};
pub use edit::{EditError, Editor, Removal};
pub use error::{Region, SifError};
pub use extra::{Extra, SbomFormat, UnknownSbomFormat, hash_name};
pub use header::{HEADER_LEN, Header, Uuid, is_sif};
pub use object::{Content, Kind, NewObject, Placement};
pub use partition::{FsType, PartType, PartitionInfo};
pub use reader::{MAX_DESCRIPTORS, PrimaryPartition, ReadAt, Sif};
pub use writer::{Layout, WriteError, random_uuid, write};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
