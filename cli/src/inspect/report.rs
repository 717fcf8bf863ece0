//! What is told of an image, in the shape that `--json` prints.
//!
//! Field names are an interface: scripts read them. Nothing here decides; it copies what the parsers found.

use std::fs::File;

use runtime_core::image::sif::{Descriptor, Extra, Link, Sif, SifError};
use runtime_core::image::squashfs::{SquashfsError, Superblock};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(tag = "format", rename_all = "lowercase")]
pub(super) enum Report {
    Sif(SifReport),
    Squashfs {
        path: String,
        size: u64,
        file_system: FileSystem,
    },
    Directory {
        path: String,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct SifReport {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) id: String,
    /// The primary partition's, else the header's; absent where neither has a known one.
    pub(super) arch: Option<&'static str>,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) launch: String,
    pub(super) objects: Vec<Object>,
    /// Id of the object that is the root file system.
    pub(super) primary: Option<u32>,
    pub(super) file_system: Option<FileSystem>,
    /// Why the image cannot be run, where it cannot.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Object {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) group: Option<u32>,
    #[serde(flatten)]
    pub(super) link: Linked,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) created: i64,
    pub(super) name: String,
    pub(super) partition: Option<Partition>,
    /// The signing key's fingerprint, in hexadecimal; not verified.
    pub(super) signed_by: Option<String>,
    /// The form of a software bill of materials.
    pub(super) sbom_format: Option<String>,
    /// What an OCI object says of its own SHA-256; not verified.
    pub(super) digest: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Linked {
    pub(super) linked_object: Option<u32>,
    pub(super) linked_group: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Partition {
    pub(super) file_system: String,
    pub(super) purpose: String,
    pub(super) arch: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct FileSystem {
    pub(super) compression: String,
    pub(super) block_size: u32,
    pub(super) inodes: u32,
    pub(super) fragments: u32,
    pub(super) bytes_used: u64,
    pub(super) created: u32,
}

impl From<Superblock> for FileSystem {
    fn from(superblock: Superblock) -> Self {
        Self {
            compression: superblock.compression.to_string(),
            block_size: superblock.block_size,
            inodes: superblock.inodes,
            fragments: superblock.fragments,
            bytes_used: superblock.bytes_used,
            created: superblock.created,
        }
    }
}

/// Why a SIF that could be read cannot be run.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Sif(#[from] SifError),
    #[error("root file system (object {id}): {source}")]
    Squashfs { id: u32, source: SquashfsError },
}

impl SifReport {
    pub(super) fn new(path: String, file: &File, sif: &Sif) -> Self {
        let primary = sif.primary_partition();
        let arch = primary
            .as_ref()
            .map_or(sif.header.arch, |primary| Some(primary.arch));
        let id = primary.as_ref().ok().map(|primary| primary.descriptor.id);
        let probed = primary.map_err(Problem::from).and_then(|primary| {
            let Descriptor {
                id, offset, size, ..
            } = *primary.descriptor;
            Superblock::read(file, offset, size).map_err(|source| Problem::Squashfs { id, source })
        });
        let (file_system, problem) = match probed {
            Ok(superblock) => (Some(superblock.into()), None),
            Err(problem) => (None, Some(problem.to_string())),
        };
        Self {
            path,
            size: sif.file_len,
            id: sif.header.id.to_string(),
            arch: arch.map(runtime_core::image::sif::Arch::name),
            created: sif.header.created,
            modified: sif.header.modified,
            launch: sif.header.launch.clone(),
            objects: sif.descriptors.iter().map(Object::new).collect(),
            primary: id,
            file_system,
            problem,
        }
    }
}

impl Object {
    pub(crate) fn new(descriptor: &Descriptor) -> Self {
        let (linked_object, linked_group) = match descriptor.link {
            Link::None => (None, None),
            Link::Object(id) => (Some(id), None),
            Link::Group(group) => (None, Some(group)),
        };
        Self {
            id: descriptor.id,
            kind: descriptor.data_type.to_string(),
            group: descriptor.group,
            link: Linked {
                linked_object,
                linked_group,
            },
            offset: descriptor.offset,
            size: descriptor.size,
            created: descriptor.created,
            name: descriptor.name.clone(),
            partition: descriptor.partition().map(|info| Partition {
                file_system: info.fs_type.to_string(),
                purpose: info.part_type.to_string(),
                arch: info.arch().map(runtime_core::image::sif::Arch::name),
            }),
            signed_by: match descriptor.extra {
                // DSSE signatures name their key elsewhere and leave this zero.
                Extra::Signature { fingerprint, .. } if fingerprint != [0; 20] => Some(
                    fingerprint
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect(),
                ),
                _ => None,
            },
            sbom_format: match descriptor.extra {
                Extra::Sbom(Some(format)) => Some(format.to_string()),
                _ => None,
            },
            digest: match descriptor.extra {
                Extra::OciDigest(Some(digest)) => {
                    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                    Some(format!("sha256:{hex}"))
                }
                _ => None,
            },
        }
    }
}
