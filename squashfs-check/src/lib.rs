//! Says whether a squashfs 4.0 image is well-formed throughout, so that the
//! kernel's driver may be given an image that a user wrote.
//!
//! [`check`] walks everything that the driver could ever follow: superblock,
//! tables, every inode, directory entry, block list, fragment and extended
//! attribute; and it decompresses every block. What `mksquashfs` and `sqfstar`
//! write with gzip, lz4, xz or zstd is accepted. The rules are stricter than
//! the driver's own: tables follow each other without a gap, an inode stands
//! before the directory that has it (so there are no loops), and a directory
//! is in one directory only.
//!
//! What a check says holds for the bytes that it read: the file must not change
//! between the check and the mount.
//!
//! Never writes, never panics on input, never calls itself, and never takes
//! more memory than 24 bytes an inode, 4 bytes a fragment and a few MiB.
#![forbid(unsafe_code)]

mod data;
mod decompress;
mod directory;
mod error;
mod fields;
mod fragment;
mod image;
mod inode;
mod limits;
mod metadata;
mod place;
mod superblock;
mod tables;
mod tree;
mod walk;
mod xattr;

use std::io;

pub use error::{At, Bound, Damage, Malformed, NameFault, Table, XattrFault};
pub use limits::Limits;
pub use walk::check;

/// The version of the rules. It is raised when they change, so that what was
/// accepted by older rules can be checked again.
pub const VERSION: u32 = 1;

/// Bytes that can be read at any place without a position to keep.
pub trait ReadAt {
    /// Fills `buf` from `offset` on, in bytes from the start.
    ///
    /// # Errors
    ///
    /// What the system says, and [`io::ErrorKind::UnexpectedEof`] where the
    /// bytes end before `buf` is full.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for std::fs::File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..)?.get(..buf.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }
}

/// What an accepted image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// All inodes.
    pub inodes: u32,
    /// The directories among them, the root included.
    pub directories: u32,
    /// The regular files among them.
    pub files: u32,
    /// The symbolic links among them.
    pub links: u32,
    /// The device nodes, pipes and sockets among them.
    pub special: u32,
    /// The entries of all directories.
    pub entries: u64,
    /// The content of all files in bytes, without holes. What files share
    /// counts once for each.
    pub bytes: u64,
    /// What the check decompressed, in bytes.
    pub decompressed: u64,
    /// The file system's length in bytes, without padding.
    pub used: u64,
}
