//! The way through an image: superblock, tables, fragments, extended
//! attributes, then every inode once in the order in which they stand.
//!
//! Never goes back and never down: directories come after what they hold, so
//! one pass over the inode table and one over the directory table see all.

use crate::data::{Area, Data};
use crate::decompress::Decoder;
use crate::error::{Bound, Malformed, Table};
use crate::image::{Image, Source};
use crate::inode::{Base, Body, Context, SMALLEST};
use crate::limits::{Budget, Limits};
use crate::metadata::Cursor;
use crate::superblock::{self, Superblock};
use crate::tables::{self, Tables};
use crate::tree::{Below, Tree};
use crate::{ReadAt, Report, directory, fragment, inode};

/// The most bytes of padding after a file system. mksquashfs fills up to 4 KiB,
/// what puts images into partitions up to 1 MiB.
const PADDING: u64 = 1 << 20;

/// Checks the image of `len` bytes that starts at `offset` of `source`.
///
/// # Errors
///
/// [`Malformed`] says what is wrong and where. Two of its variants say nothing
/// against the image: [`Malformed::Compression`] and [`Malformed::Limit`] mean
/// that it was not checked to the end; and [`Malformed::Read`] means that the
/// file could not be read.
pub fn check<R: ReadAt + ?Sized>(
    source: &R,
    offset: u64,
    len: u64,
    limits: &Limits,
) -> Result<Report, Malformed> {
    let source = Source::new(source, offset, len);
    let superblock = superblock::read(&source)?;
    if superblock.inodes > limits.inodes {
        return Err(Malformed::Limit {
            bound: Bound::Inodes,
            limit: u64::from(limits.inodes),
        });
    }
    padding(&source, superblock.used)?;
    let decoder = Decoder::new(superblock.codec, superblock.block_size);
    let largest = superblock.block_size as usize;
    let mut image = Image::new(source, Budget::new(limits), decoder, largest);
    let tables = tables::find(&mut image, &superblock)?;
    tables::check_ids(&mut image, &tables.ids)?;
    if let Some(xattrs) = &tables.xattrs {
        tables::check_xattrs(&mut image, xattrs)?;
    }
    walk(&mut image, &superblock, &tables)
}

/// Demands that only zeros follow the file system, and not too many.
fn padding<R: ReadAt + ?Sized>(source: &Source<'_, R>, used: u64) -> Result<(), Malformed> {
    if source.len() - used > PADDING {
        return Err(Malformed::NotPadding { offset: used });
    }
    let mut at = used;
    let mut buffer = [0; 4096];
    while at < source.len() {
        let many = usize::try_from(source.len() - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let bytes = buffer.get_mut(..many).unwrap_or_default();
        source.read(bytes, at)?;
        if let Some(wrong) = bytes.iter().position(|byte| *byte != 0) {
            return Err(Malformed::NotPadding {
                offset: at + wrong as u64,
            });
        }
        at += many as u64;
    }
    Ok(())
}

fn walk<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    superblock: &Superblock,
    tables: &Tables,
) -> Result<Report, Malformed> {
    // So the memory for inodes is bounded by the image as well as by the limit.
    if tables.inodes.length() < u64::from(superblock.inodes) * SMALLEST {
        return Err(Malformed::Count {
            table: Table::Inodes,
            count: u64::from(superblock.inodes),
        });
    }
    let area = Area {
        start: superblock.data_start,
        end: superblock.inode_start,
        block_size: superblock.block_size,
    };
    let fragments = match &tables.fragments {
        Some(chain) => fragment::check(image, chain, &area)?,
        None => Vec::new(),
    };
    let sets = tables.xattrs.as_ref().map_or(0, |xattrs| xattrs.count);
    let context = Context::new(superblock, sets);
    let mut data = Data::new(area, fragments);
    let mut tree = Tree::new(superblock.inodes);
    let mut inodes = Cursor::new(&tables.inodes);
    let mut entries = Cursor::new(&tables.directories);
    let mut report = Report {
        inodes: superblock.inodes,
        directories: 0,
        files: 0,
        links: 0,
        special: 0,
        entries: 0,
        bytes: 0,
        decompressed: 0,
        used: superblock.used,
    };
    while !inodes.ended() {
        let at = inodes.at();
        let reference = inodes.chain().reference(inodes.place());
        let (Base { kind, number }, body) = inode::read(image, &mut inodes, context)?;
        tree.vacant(at, number)?;
        let mut below = Below::new();
        let declared = match body {
            Body::Directory(found) => {
                report.directories += 1;
                below =
                    directory::read(image, &mut tree, &mut entries, &mut inodes, number, found)?;
                found.parent
            }
            Body::File(file, links) => {
                report.files += 1;
                data.file(image, &mut inodes, file)?;
                links
            }
            Body::Link(links) => {
                report.links += 1;
                links
            }
            Body::Special(links) => {
                report.special += 1;
                links
            }
        };
        tree.add(number, reference, kind, declared, below);
    }
    if !entries.ended() {
        return Err(Malformed::Rest { at: entries.at() });
    }
    tree.finish(superblock.root)?;
    if let Some(export) = &tables.export {
        tables::check_export(image, export, &tree)?;
    }
    report.entries = image.budget.entries();
    report.bytes = data.bytes;
    report.decompressed = image.budget.spent();
    Ok(report)
}
