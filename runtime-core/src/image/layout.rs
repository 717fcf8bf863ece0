//! Where the file systems lie in an image file.
//!
//! Parses what a user wrote: it is called by processes that have become the user,
//! or nobody. Its results are numbers, which root checks against the file's
//! length and nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::oci;
use super::sif::{self, Arch, DataType, Descriptor, FsType, Sif, SifError};
use super::squashfs::{self, SquashfsError, Superblock};

/// More overlays than this are no image of anybody's.
pub const MAX_OVERLAYS: usize = 8;

/// A kind of file system in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemKind {
    /// What images are made of.
    Squashfs,
    /// The kernel's younger read-only file system; a bare file, never in a SIF.
    Erofs,
    /// An overlay partition that Apptainer made; read only.
    Ext3,
}

impl FilesystemKind {
    /// The kernel's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Ext3 => "ext3",
        }
    }
}

impl std::fmt::Display for FilesystemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One file system in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What it is.
    pub kind: FilesystemKind,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub size: u64,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To be a root file system.
    Image,
    /// To lie over one; that may also be an ext3 that Apptainer made.
    Overlay,
}

/// The file systems of an image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLayout {
    /// The root file system.
    pub root: Partition,
    /// What lies over it, the lowest first.
    pub overlays: Vec<Partition>,
}

impl FileLayout {
    /// All of them, the lowest first.
    pub fn partitions(&self) -> impl DoubleEndedIterator<Item = &Partition> {
        std::iter::once(&self.root).chain(&self.overlays)
    }

    /// The first file system that only the kernel can mount, if there is one;
    /// `served` are those that this node has a FUSE server for.
    #[must_use]
    pub fn needs_kernel(&self, served: &[FilesystemKind]) -> Option<FilesystemKind> {
        self.partitions()
            .map(|part| part.kind)
            .find(|kind| !served.contains(kind))
    }

    /// Whether every partition lies in a file of `length` bytes, and there are not
    /// too many; and it is one for this role.
    #[must_use]
    pub fn fits(&self, length: u64, role: Role) -> bool {
        self.overlays.len() <= MAX_OVERLAYS
            && (role == Role::Overlay || self.root.kind != FilesystemKind::Ext3)
            && self.partitions().all(|part| {
                part.size > 0
                    && part
                        .offset
                        .checked_add(part.size)
                        .is_some_and(|end| end <= length)
            })
    }
}

/// Why a file is no image. Complete but for the image's name.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The kernel failed a read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Zero bytes.
    #[error("the file is empty; copy it again")]
    Empty,
    /// No image of a known kind.
    #[error("neither a SIF nor a squashfs file; give one of those, an EROFS file or a directory")]
    Unknown,
    /// Something is wrong inside the SIF.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// Something is wrong with a squashfs.
    #[error(transparent)]
    Squashfs(#[from] SquashfsError),
    /// The file is shorter than its EROFS.
    #[error("truncated: {}; copy it again", sif::size::shortfall(*.promised, *.actual))]
    Erofs {
        /// Bytes that the superblock accounts for.
        promised: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// An overlay partition that cannot be one.
    #[error("overlay partition {id}: {problem}; remove it with: oarlock sif del {id} IMAGE")]
    Overlay {
        /// The object's id.
        id: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Too many overlays.
    #[error("more than {MAX_OVERLAYS} overlay partitions; build the image again")]
    TooManyOverlays,
    /// This machine has no code in SIF.
    #[error("SIF knows no name for this machine's architecture")]
    NoArch,
}

/// The layout of an open file, and what its OCI configuration sets, `NAME=value`.
///
/// # Errors
/// Any [`LayoutError`].
pub fn read(file: &File, role: Role) -> Result<(FileLayout, Vec<OsString>), LayoutError> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(LayoutError::Empty);
    }
    let mut start = [0; 64];
    let have = read_some(file, &mut start, 0)?;
    let start = start.get(..have).unwrap_or_default();
    if sif::is_sif(start) {
        return read_sif(file);
    }
    let whole = |kind| FileLayout {
        root: Partition {
            kind,
            offset: 0,
            size: length,
        },
        overlays: Vec::new(),
    };
    if squashfs::is_squashfs(start) {
        Superblock::read(file, 0, length)?;
        return Ok((whole(FilesystemKind::Squashfs), Vec::new()));
    }
    if let Some(promised) = erofs_length(file)? {
        if promised > length {
            return Err(LayoutError::Erofs {
                promised,
                actual: length,
            });
        }
        return Ok((whole(FilesystemKind::Erofs), Vec::new()));
    }
    if role == Role::Overlay && is_ext(file, 0, length)? {
        return Ok((whole(FilesystemKind::Ext3), Vec::new()));
    }
    Err(LayoutError::Unknown)
}

fn read_sif(file: &File) -> Result<(FileLayout, Vec<OsString>), LayoutError> {
    let parsed = Sif::read(file)?;
    let primary = parsed.primary_partition()?;
    primary.check_arch(Arch::host().ok_or(LayoutError::NoArch)?)?;
    let mut environment = Vec::new();
    // Of the group that a signature of the root file system covers.
    let configuration = parsed
        .objects(DataType::GenericJson)
        .find(|o| o.name == oci::OBJECT_NAME && o.group == primary.descriptor.group);
    if let Some(object) = configuration {
        environment = oci::environment(&parsed.read_object(file, object, oci::MAX_BYTES)?);
    }
    let root = Partition {
        kind: FilesystemKind::Squashfs,
        offset: primary.descriptor.offset,
        size: primary.descriptor.size,
    };
    Superblock::read(file, root.offset, root.size)?;
    let mut overlays = Vec::new();
    // By number, which signatures cover, and not by place in the table.
    let mut descriptors: Vec<_> = parsed.overlays().collect();
    descriptors.sort_by_key(|descriptor| descriptor.id);
    for descriptor in descriptors {
        overlays.push(overlay(file, descriptor)?);
    }
    if overlays.len() > MAX_OVERLAYS {
        return Err(LayoutError::TooManyOverlays);
    }
    Ok((FileLayout { root, overlays }, environment))
}

fn overlay(file: &File, descriptor: &Descriptor) -> Result<Partition, LayoutError> {
    let (offset, size) = (descriptor.offset, descriptor.size);
    let wrong = |problem| LayoutError::Overlay {
        id: descriptor.id,
        problem,
    };
    let kind = match descriptor.partition().map(|info| info.fs_type) {
        Some(FsType::Squashfs) => {
            Superblock::read(file, offset, size)?;
            FilesystemKind::Squashfs
        }
        Some(FsType::Ext3) if is_ext(file, offset, size)? => FilesystemKind::Ext3,
        Some(FsType::Ext3) => return Err(wrong("said to be ext3, and is not")),
        _ => return Err(wrong("neither squashfs nor ext3")),
    };
    Ok(Partition { kind, offset, size })
}

/// `s_magic` of linux/ext4 (fs/ext4/ext4.h): 0xEF53, 56 bytes into the superblock,
/// which starts at 1024.
fn is_ext(file: &File, offset: u64, size: u64) -> io::Result<bool> {
    let mut magic = [0; 2];
    if size < 2048 {
        return Ok(false);
    }
    let have = read_some(file, &mut magic, offset.saturating_add(1024 + 56))?;
    Ok(have == 2 && u16::from_le_bytes(magic) == 0xef53)
}

/// The length that an EROFS says it has, fs/erofs/erofs_fs.h: the superblock is at
/// 1024; magic at 0, logarithm of the block size at 12, blocks at 36.
fn erofs_length(file: &File) -> io::Result<Option<u64>> {
    const MAGIC: u32 = 0xe0f5_e1e2;
    let mut superblock = [0; 128];
    let have = read_some(file, &mut superblock, 1024)?;
    let superblock = superblock.get(..have).unwrap_or_default();
    let word = |at: usize| {
        let bytes = superblock.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    if word(0) != Some(MAGIC) {
        return Ok(None);
    }
    let (Some(&bits), Some(blocks)) = (superblock.get(12), word(36)) else {
        return Ok(None);
    };
    Ok(u64::from(blocks).checked_mul(1_u64.checked_shl(u32::from(bits)).unwrap_or(0)))
}

fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, offset.saturating_add(have as u64)) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
