//! One inode of any of the fourteen types.
//!
//! Never follows an entry or a block: what an inode refers to is checked by
//! who knows the other side.

use crate::ReadAt;
use crate::data::File;
use crate::error::Malformed;
use crate::fields::Fields;
use crate::image::Image;
use crate::metadata::Cursor;
use crate::superblock::Superblock;

/// The mark for "no extended attributes".
const NO_XATTRS: u32 = u32::MAX;

/// The longest target of a symbolic link; the kernel's limit is a page, and
/// PATH_MAX counts the NUL.
const TARGET_MAX: u32 = 4095;

/// The fewest bytes of an inode.
pub(crate) const SMALLEST: u64 = 20;

/// What all inodes have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    /// The basic type from 1 to 7.
    pub(crate) kind: u8,
    pub(crate) number: u32,
}

/// A directory as its inode describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory {
    /// Where its entries are.
    pub(crate) reference: u64,
    /// Three more than its entries' bytes.
    pub(crate) size: u32,
    pub(crate) links: u32,
    pub(crate) parent: u32,
    /// How many entries its index has; they follow the inode.
    pub(crate) index: u16,
}

/// What an inode is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    Directory(Directory),
    /// Its block list follows. Second, the link count.
    File(File, u32),
    /// The link count.
    Link(u32),
    /// The link count.
    Special(u32),
}

/// What inodes refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// How many ids there are.
    pub(crate) ids: u16,
    /// How many sets of extended attributes there are.
    pub(crate) xattrs: u32,
}

impl Context {
    pub(crate) fn new(superblock: &Superblock, xattrs: u32) -> Self {
        Self {
            ids: superblock.ids,
            xattrs,
        }
    }
}

/// Reads the inode at the cursor, which is left behind it.
pub(crate) fn read<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    context: Context,
) -> Result<(Base, Body), Malformed> {
    let at = cursor.at();
    let bytes: [u8; 16] = cursor.array(image)?;
    let mut fields = Fields::new(&bytes);
    let (raw, mode, user, group) = (fields.u16(), fields.u16(), fields.u16(), fields.u16());
    let _time = fields.u32();
    let number = fields.u32();
    let refuse_type = || Malformed::InodeType { at, kind: raw };
    // The extended types are seven after the basic ones.
    let extended = raw > 7;
    let kind = if extended { raw.saturating_sub(7) } else { raw };
    let kind = u8::try_from(kind).map_err(|_| refuse_type())?;
    // The kernel adds the type's bits to what stands here.
    if mode & !0o7777 != 0 {
        return Err(Malformed::Mode { at, mode });
    }
    for index in [user, group] {
        if index >= context.ids {
            let ids = context.ids;
            return Err(Malformed::Owner { at, index, ids });
        }
    }
    let (body, xattrs) = match kind {
        1 => directory(image, cursor, extended)?,
        2 => file(image, cursor, extended)?,
        3 => symlink(image, cursor, extended)?,
        4 | 5 => special(image, cursor, 4, extended)?,
        6 | 7 => special(image, cursor, 0, extended)?,
        _ => return Err(refuse_type()),
    };
    if xattrs != NO_XATTRS && xattrs >= context.xattrs {
        return Err(Malformed::XattrIndex {
            at,
            index: xattrs,
            ids: context.xattrs,
        });
    }
    let (links, least) = match body {
        Body::Directory(directory) => (directory.links, 2),
        Body::File(_, links) | Body::Link(links) | Body::Special(links) => (links, 1),
    };
    if links < least {
        return Err(Malformed::Links { at, number, links });
    }
    Ok((Base { kind, number }, body))
}

fn directory<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    extended: bool,
) -> Result<(Body, u32), Malformed> {
    if extended {
        let bytes: [u8; 24] = cursor.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (links, size) = (fields.u32(), fields.u32());
        let (block, parent) = (fields.u32(), fields.u32());
        let (index, byte) = (fields.u16(), fields.u16());
        let directory = Directory {
            reference: u64::from(block) << 16 | u64::from(byte),
            size,
            links,
            parent,
            index,
        };
        return Ok((Body::Directory(directory), fields.u32()));
    }
    let bytes: [u8; 16] = cursor.array(image)?;
    let mut fields = Fields::new(&bytes);
    let (block, links) = (fields.u32(), fields.u32());
    let (size, byte) = (fields.u16(), fields.u16());
    let directory = Directory {
        reference: u64::from(block) << 16 | u64::from(byte),
        size: u32::from(size),
        links,
        parent: fields.u32(),
        index: 0,
    };
    Ok((Body::Directory(directory), NO_XATTRS))
}

fn file<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    extended: bool,
) -> Result<(Body, u32), Malformed> {
    let at = cursor.at();
    if extended {
        let bytes: [u8; 40] = cursor.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (start, size, sparse) = (fields.u64(), fields.u64(), fields.u64());
        let (links, fragment, offset) = (fields.u32(), fields.u32(), fields.u32());
        // A `loff_t`; the kernel takes the holes away from the size.
        if i64::try_from(size).is_err() {
            return Err(Malformed::FileSize { at, size });
        }
        if sparse > size {
            return Err(Malformed::Sparse { at, sparse, size });
        }
        let file = File {
            start,
            size,
            fragment,
            offset,
        };
        return Ok((Body::File(file, links), fields.u32()));
    }
    let bytes: [u8; 16] = cursor.array(image)?;
    let mut fields = Fields::new(&bytes);
    let start = u64::from(fields.u32());
    let (fragment, offset) = (fields.u32(), fields.u32());
    let file = File {
        start,
        size: u64::from(fields.u32()),
        fragment,
        offset,
    };
    Ok((Body::File(file, 1), NO_XATTRS))
}

fn symlink<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    extended: bool,
) -> Result<(Body, u32), Malformed> {
    let at = cursor.at();
    let bytes: [u8; 8] = cursor.array(image)?;
    let mut fields = Fields::new(&bytes);
    let (links, size) = (fields.u32(), fields.u32());
    let refuse = || Malformed::SymlinkSize { at, size };
    if !(1..=TARGET_MAX).contains(&size) {
        return Err(refuse());
    }
    let mut target = [0; TARGET_MAX as usize];
    let target = target.get_mut(..size as usize).ok_or_else(refuse)?;
    cursor.read(image, target)?;
    if target.contains(&0) {
        return Err(Malformed::SymlinkNul { at });
    }
    let xattrs = xattrs(image, cursor, extended)?;
    Ok((Body::Link(links), xattrs))
}

/// A device node, pipe or socket. Any device number will do: nothing opens one
/// on a nodev mount.
fn special<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    device: u64,
    extended: bool,
) -> Result<(Body, u32), Malformed> {
    let links = u32::from_le_bytes(cursor.array(image)?);
    cursor.skip(device)?;
    let xattrs = xattrs(image, cursor, extended)?;
    Ok((Body::Special(links), xattrs))
}

fn xattrs<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    cursor: &mut Cursor<'_>,
    extended: bool,
) -> Result<u32, Malformed> {
    if extended {
        Ok(u32::from_le_bytes(cursor.array(image)?))
    } else {
        Ok(NO_XATTRS)
    }
}
