//! The superblock and the compressor's options behind it.
//!
//! Never looks at a table: whether the places that are named here hold what
//! they should is for `tables`.

use crate::decompress::Codec;
use crate::error::{Malformed, Table};
use crate::fields::Fields;
use crate::image::Source;

use crate::ReadAt;

/// The length of the superblock in bytes.
pub(crate) const SUPERBLOCK: u64 = 96;

/// Where a table that is not there is said to be.
pub(crate) const ABSENT: u64 = u64::MAX;

const MAGIC: u32 = 0x7371_7368;
const FLAG_NO_XATTRS: u16 = 1 << 9;
const FLAG_OPTIONS: u16 = 1 << 10;
const FLAG_EXPORT: u16 = 1 << 7;
/// Every flag that mksquashfs writes; bit 2 has been without a meaning since
/// version 3.
const FLAGS: u16 = 0x0ffb;

/// What the superblock says, in the form's own order. Offsets count from the
/// start of the image.
#[derive(Debug)]
pub(crate) struct Superblock {
    pub(crate) inodes: u32,
    pub(crate) block_size: u32,
    pub(crate) fragments: u32,
    pub(crate) codec: Codec,
    pub(crate) ids: u16,
    pub(crate) root: u64,
    pub(crate) used: u64,
    pub(crate) id_start: u64,
    pub(crate) xattr_start: u64,
    pub(crate) inode_start: u64,
    pub(crate) directory_start: u64,
    pub(crate) fragment_start: u64,
    pub(crate) export_start: u64,
    /// Where the files' data start, after the compressor's options.
    pub(crate) data_start: u64,
}

/// Reads the superblock and the compressor's options.
pub(crate) fn read<R: ReadAt + ?Sized>(source: &Source<'_, R>) -> Result<Superblock, Malformed> {
    let mut bytes = [0; 96];
    source.read(&mut bytes, 0)?;
    let mut fields = Fields::new(&bytes);
    let found = fields.u32();
    if found != MAGIC {
        return Err(Malformed::Magic { found });
    }
    let inodes = fields.u32();
    let _time = fields.u32();
    let block_size = fields.u32();
    let fragments = fields.u32();
    let compression = fields.u16();
    let log = fields.u16();
    let flags = fields.u16();
    let ids = fields.u16();
    let major = fields.u16();
    let minor = fields.u16();
    if (major, minor) != (4, 0) {
        return Err(Malformed::Version { major, minor });
    }
    let codec = Codec::from_id(compression)?;
    if !(12..=20).contains(&log) || block_size != 1 << log {
        return Err(Malformed::BlockSize {
            size: block_size,
            log,
        });
    }
    let mut superblock = Superblock {
        inodes,
        block_size,
        fragments,
        codec,
        ids,
        root: fields.u64(),
        used: fields.u64(),
        id_start: fields.u64(),
        xattr_start: fields.u64(),
        inode_start: fields.u64(),
        directory_start: fields.u64(),
        fragment_start: fields.u64(),
        export_start: fields.u64(),
        data_start: SUPERBLOCK,
    };
    let exported = superblock.export_start != ABSENT;
    let attributes = superblock.xattr_start != ABSENT;
    if flags & !FLAGS != 0
        || (flags & FLAG_EXPORT != 0) != exported
        || (flags & FLAG_NO_XATTRS != 0 && attributes)
    {
        return Err(Malformed::Flags { flags });
    }
    for (table, count) in [(Table::Inodes, inodes), (Table::Ids, u32::from(ids))] {
        if count == 0 {
            return Err(Malformed::Count { table, count: 0 });
        }
    }
    // Every fragment holds the end of some file.
    if fragments > inodes {
        return Err(Malformed::Count {
            table: Table::Fragments,
            count: u64::from(fragments),
        });
    }
    if superblock.used < SUPERBLOCK || superblock.used > source.len() {
        return Err(Malformed::Truncated {
            needed: superblock.used.max(SUPERBLOCK),
            len: source.len(),
        });
    }
    if flags & FLAG_OPTIONS != 0 {
        superblock.data_start += options(source, codec, block_size)?;
    } else if codec == Codec::Lz4 {
        return Err(Malformed::Options {
            fault: "lz4 needs them, there are none",
        });
    }
    Ok(superblock)
}

/// Checks the compressor's options and says how many bytes they take. The
/// kernel allocates by those of xz.
fn options<R: ReadAt + ?Sized>(
    source: &Source<'_, R>,
    codec: Codec,
    block_size: u32,
) -> Result<u64, Malformed> {
    let length: u16 = if codec == Codec::Zstd { 4 } else { 8 };
    let mut bytes = [0; 10];
    let taken = usize::from(length) + 2;
    source.read(bytes.get_mut(..taken).unwrap_or_default(), SUPERBLOCK)?;
    let mut fields = Fields::new(&bytes);
    if fields.u16() != 0x8000 | length {
        return Err(Malformed::Options {
            fault: "their length is not that of this compressor",
        });
    }
    let first = fields.u32();
    let fault = match codec {
        Codec::Gzip => {
            let (window, strategies) = (fields.u16(), fields.u16());
            let sane = (1..=9).contains(&first) && (8..=15).contains(&window) && strategies < 32;
            (!sane).then_some("a level, window or strategy that gzip has not")
        }
        Codec::Xz => {
            let low = 1_u32.checked_shl(first.trailing_zeros()).unwrap_or(0);
            let shape = first == low || first.checked_sub(low) == low.checked_mul(2);
            let sane = shape && first >= 4096 && first <= block_size.max(8192);
            let filters = fields.u32() < 256;
            (!(sane && filters)).then_some("a dictionary or filter that xz has not")
        }
        Codec::Lz4 => {
            let sane = first == 1 && fields.u32() < 2;
            (!sane).then_some("a version or flag that lz4 has not")
        }
        Codec::Zstd => (!(1..=22).contains(&first)).then_some("a level that zstd has not"),
    };
    match fault {
        Some(fault) => Err(Malformed::Options { fault }),
        None => Ok(2 + u64::from(length)),
    }
}
