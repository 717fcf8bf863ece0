//! The words that an error is made of: tables, places in them, bounds, and
//! what can be wrong with a block or a name.
//!
//! Never a decision: these only name things.

use std::fmt;

/// One of the tables of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Every inode, with the block lists of files.
    Inodes,
    /// The entries of all directories.
    Directories,
    /// Where the blocks are that hold the ends of several files.
    Fragments,
    /// The inodes by number, for NFS.
    Export,
    /// User and group ids.
    Ids,
    /// Names and values of extended attributes.
    Xattrs,
    /// Where each set of extended attributes is.
    XattrIds,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inodes => "inode table",
            Self::Directories => "directory table",
            Self::Fragments => "fragment table",
            Self::Export => "export table",
            Self::Ids => "id table",
            Self::Xattrs => "xattr table",
            Self::XattrIds => "xattr id table",
        })
    }
}

/// A place in a table: the metadata block's offset in the image, and the byte
/// in that block when it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Which table.
    pub table: Table,
    /// The offset of the metadata block from the start of the image.
    pub block: u64,
    /// The offset in the decompressed block.
    pub byte: u16,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}, byte {}", self.table, self.block, self.byte)
    }
}

/// A bound of [`crate::Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`crate::Limits::inodes`].
    Inodes,
    /// [`crate::Limits::entries`].
    Entries,
    /// [`crate::Limits::depth`].
    Depth,
    /// [`crate::Limits::path`].
    Path,
    /// [`crate::Limits::metadata`].
    Metadata,
    /// [`crate::Limits::decompressed`].
    Decompressed,
    /// [`crate::Limits::blocks`].
    Blocks,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inodes => "inodes",
            Self::Entries => "directory entries",
            Self::Depth => "nested directories",
            Self::Path => "bytes of a path",
            Self::Metadata => "bytes of metadata",
            Self::Decompressed => "decompressed bytes",
            Self::Blocks => "data blocks",
        })
    }
}

/// What is wrong with compressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The decompressor cannot read them.
    #[error("is corrupt")]
    Corrupt,
    /// They hold more than may be there.
    #[error("decompresses to more than it may")]
    TooLong,
    /// Bytes follow where the compressed data end.
    #[error("has bytes after its end")]
    Trailing,
}

/// What is wrong with the name of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// More than 255 bytes.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// `.` or `..`.
    #[error("is . or ..")]
    Dots,
    /// A slash or a NUL in it.
    #[error("has a slash or a NUL")]
    Byte,
    /// Not after the name before it, so perhaps there twice.
    #[error("is not sorted after the name before it")]
    Order,
}

/// What is wrong with a set of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XattrFault {
    /// It does not start after the set before it and the values between them.
    #[error("do not start after those before them")]
    Place,
    /// There are none in it, or it has no size.
    #[error("{count} in {size} bytes")]
    Count {
        /// How many.
        count: u32,
        /// The bytes.
        size: u32,
    },
    /// An unknown type.
    #[error("type {kind:#x} is unknown")]
    Type {
        /// The type.
        kind: u16,
    },
    /// A name that is empty, too long, or has a NUL.
    #[error("a name of {size} bytes, or with a NUL")]
    Name {
        /// Its length without the prefix.
        size: u16,
    },
    /// A value that is too long, or no reference where it must be one.
    #[error("a value of {size} bytes")]
    Value {
        /// Its length.
        size: u32,
    },
    /// A reference to a value that does not stand before it.
    #[error("the value's reference {reference:#x} leads to no earlier value")]
    Reference {
        /// The reference.
        reference: u64,
    },
}
