//! The superblock of a squashfs file system: its 96 bytes parsed and checked.
//!
//! A probe, no reader: it tells whether a file or partition is a whole squashfs 4.0 before anything is mounted,
//! so that a wrong or cut-off image gets a sentence and not the kernel's `Invalid argument`. It never follows
//! the tables. Source: the kernel's fs/squashfs/squashfs_fs.h and super.c.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::sif::field;
use super::sif::size::shortfall;

/// Length of the superblock, in bytes.
pub const SUPERBLOCK_LEN: usize = 96;
const MAGIC: [u8; 4] = *b"hsqs";
/// A table that the file system does not have.
const ABSENT: u64 = u64::MAX;
const BLOCK_SIZE: std::ops::RangeInclusive<u32> = 4096..=1 << 20;

/// Why these bytes are no squashfs that can be mounted.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// The kernel failed the read.
    #[error("cannot read the squashfs superblock: {0}")]
    Read(#[source] io::Error),
    /// No squashfs magic.
    #[error("no squashfs: the magic is missing; build or copy the image again")]
    NotSquashfs,
    /// The file or partition is shorter than the file system.
    #[error("truncated: {}; copy it again", shortfall(*.promised, *.actual))]
    Truncated {
        /// Bytes that the superblock accounts for.
        promised: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// Another version than 4.0, the only one since Linux 2.6.29.
    #[error("squashfs version {major}.{minor} is not supported, only 4.0; build the image again")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A block size that no squashfs has, or one that contradicts its logarithm.
    #[error(
        "damaged squashfs: block size {size} with logarithm {log}; copy or build the image again"
    )]
    BlockSize {
        /// Bytes a block.
        size: u32,
        /// What should be its logarithm to base 2.
        log: u16,
    },
    /// A compression that squashfs does not define.
    #[error("damaged squashfs: unknown compression {id}; copy or build the image again")]
    Compression {
        /// The superblock's compression id.
        id: u16,
    },
    /// There is no root directory, no inode, or no id.
    #[error("damaged squashfs: {what}; copy or build the image again")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// A table lies outside the file system or in the wrong order.
    #[error(
        "damaged squashfs: the {table} table at {offset} is outside the file system; copy or build the image again"
    )]
    Table {
        /// Which one.
        table: &'static str,
        /// Where it is said to start, in bytes.
        offset: u64,
    },
}

/// How the blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// zlib, id 1.
    Gzip,
    /// lzma, id 2; the kernel never had it.
    Lzma,
    /// lzo, id 3.
    Lzo,
    /// xz, id 4.
    Xz,
    /// lz4, id 5.
    Lz4,
    /// Zstandard, id 6.
    Zstd,
}

impl Compression {
    fn from_id(id: u16) -> Option<Self> {
        Some(match id {
            1 => Self::Gzip,
            2 => Self::Lzma,
            3 => Self::Lzo,
            4 => Self::Xz,
            5 => Self::Lz4,
            6 => Self::Zstd,
            _ => return None,
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gzip => "gzip",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A checked superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Number of inodes.
    pub inodes: u32,
    /// When it was made, in seconds since 1970.
    pub created: u32,
    /// Bytes a data block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Number of fragment blocks.
    pub fragments: u32,
    /// How it is compressed.
    pub compression: Compression,
    /// The flags as written.
    pub flags: u16,
    /// Number of distinct uids and gids.
    pub ids: u16,
    /// Length of the file system, in bytes.
    pub bytes_used: u64,
}

/// Whether these first bytes are a squashfs's: at least 4 of them are looked at.
#[must_use]
pub fn is_squashfs(start: &[u8]) -> bool {
    field::bytes(start, 0) == Some(MAGIC)
}

impl Superblock {
    /// Reads and checks the superblock at `offset` of an open file, within a partition of `len` bytes.
    ///
    /// # Errors
    ///
    /// Any [`SquashfsError`].
    pub fn read(file: &File, offset: u64, len: u64) -> Result<Self, SquashfsError> {
        let mut start = [0; SUPERBLOCK_LEN];
        let have = usize::try_from(len).map_or(SUPERBLOCK_LEN, |len| len.min(SUPERBLOCK_LEN));
        let start = start.get_mut(..have).unwrap_or_default();
        file.read_exact_at(start, offset)
            .map_err(SquashfsError::Read)?;
        let superblock = Self::parse(start)?;
        superblock.fits(len)?;
        Ok(superblock)
    }

    /// Parses and checks the 96 bytes; that the file system fits its partition is [`Superblock::fits`].
    ///
    /// # Errors
    ///
    /// Any [`SquashfsError`] but `Read`.
    pub fn parse(buf: &[u8]) -> Result<Self, SquashfsError> {
        if !is_squashfs(buf) {
            return Err(SquashfsError::NotSquashfs);
        }
        Self::fields(buf).unwrap_or(Err(SquashfsError::Truncated {
            promised: SUPERBLOCK_LEN as u64,
            actual: buf.len() as u64,
        }))
    }

    /// Refuses a file system that is longer than the `len` bytes it lies in.
    ///
    /// # Errors
    ///
    /// [`SquashfsError::Truncated`].
    pub fn fits(&self, len: u64) -> Result<(), SquashfsError> {
        if self.bytes_used > len {
            return Err(SquashfsError::Truncated {
                promised: self.bytes_used,
                actual: len,
            });
        }
        Ok(())
    }

    /// `None` where the buffer ends before the last field.
    fn fields(buf: &[u8]) -> Option<Result<Self, SquashfsError>> {
        let lookup = field::u64(buf, 88)?;
        let (major, minor) = (field::u16(buf, 28)?, field::u16(buf, 30)?);
        if (major, minor) != (4, 0) {
            return Some(Err(SquashfsError::Version { major, minor }));
        }
        let (size, log) = (field::u32(buf, 12)?, field::u16(buf, 22)?);
        if !BLOCK_SIZE.contains(&size) || 1_u32.checked_shl(u32::from(log)) != Some(size) {
            return Some(Err(SquashfsError::BlockSize { size, log }));
        }
        let id = field::u16(buf, 20)?;
        let Some(compression) = Compression::from_id(id) else {
            return Some(Err(SquashfsError::Compression { id }));
        };
        let superblock = Self {
            inodes: field::u32(buf, 4)?,
            created: field::u32(buf, 8)?,
            block_size: size,
            fragments: field::u32(buf, 16)?,
            compression,
            flags: field::u16(buf, 24)?,
            ids: field::u16(buf, 26)?,
            bytes_used: field::u64(buf, 40)?,
        };
        let tables = Tables {
            root_inode: field::u64(buf, 32)?,
            id: field::u64(buf, 48)?,
            xattr: field::u64(buf, 56)?,
            inode: field::u64(buf, 64)?,
            directory: field::u64(buf, 72)?,
            fragment: field::u64(buf, 80)?,
            lookup,
        };
        Some(tables.check(&superblock).map(|()| superblock))
    }
}

/// Where the tables start, in bytes from the start of the file system.
struct Tables {
    root_inode: u64,
    id: u64,
    xattr: u64,
    inode: u64,
    directory: u64,
    fragment: u64,
    lookup: u64,
}

impl Tables {
    fn check(&self, superblock: &Superblock) -> Result<(), SquashfsError> {
        let empty = |what| Err(SquashfsError::Empty { what });
        let end = superblock.bytes_used;
        if superblock.inodes == 0 {
            return empty("it has no inode");
        }
        if superblock.ids == 0 {
            return empty("it has no owner ids");
        }
        if end < SUPERBLOCK_LEN as u64 || i64::try_from(end).is_err() {
            return empty("its length is impossible");
        }
        let inside = |offset: u64| (SUPERBLOCK_LEN as u64..end).contains(&offset);
        let required = [
            ("inode", self.inode),
            ("directory", self.directory),
            ("id", self.id),
        ];
        let optional = [
            ("xattr", self.xattr),
            ("fragment", self.fragment),
            ("export", self.lookup),
        ];
        let outside = required
            .into_iter()
            .find(|(_, offset)| !inside(*offset))
            .or_else(|| {
                optional
                    .into_iter()
                    .find(|(_, offset)| *offset != ABSENT && !inside(*offset))
            });
        if let Some((table, offset)) = outside {
            return Err(SquashfsError::Table { table, offset });
        }
        // The kernel's own order: data, inodes, directories, then all else.
        if self.directory <= self.inode {
            return Err(SquashfsError::Table {
                table: "directory",
                offset: self.directory,
            });
        }
        // A reference is the metadata block's place within the inode table, and 16 bits within that block.
        if (self.root_inode >> 16) >= self.directory - self.inode
            || (self.root_inode & 0xffff) >= 8192
        {
            return empty("its root directory is outside the inode table");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
