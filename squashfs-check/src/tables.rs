//! Where each table is, and the tables that need nothing but themselves.
//!
//! The tables are laid out as mksquashfs writes them: data, inodes,
//! directories, fragments, export, ids, extended attributes, each ending where
//! the next starts. Never a gap, so nothing hides and nothing overlaps.

use crate::ReadAt;
use crate::decompress::METADATA;
use crate::error::{Bound, Malformed, Table, XattrFault};
use crate::fields::Fields;
use crate::image::Image;
use crate::metadata::{Chain, Cursor};
use crate::superblock::{ABSENT, Superblock};
use crate::tree::Tree;

/// The tables of an image.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) inodes: Chain,
    pub(crate) directories: Chain,
    pub(crate) fragments: Option<Chain>,
    pub(crate) export: Option<Chain>,
    pub(crate) ids: Chain,
    pub(crate) xattrs: Option<Xattrs>,
}

/// The two tables of extended attributes.
#[derive(Debug)]
pub(crate) struct Xattrs {
    /// Names and values.
    pub(crate) values: Chain,
    /// Where each set is.
    pub(crate) sets: Chain,
    /// How many sets there are.
    pub(crate) count: u32,
}

/// Finds every table, from the last to the first, as the kernel does.
pub(crate) fn find<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    superblock: &Superblock,
) -> Result<Tables, Malformed> {
    let mut end = superblock.used;
    let mut xattrs = None;
    if superblock.xattr_start != ABSENT {
        let (found, start) = find_xattrs(image, superblock, end)?;
        xattrs = Some(found);
        end = start;
    }
    let ids = Listed {
        table: Table::Ids,
        entries: u64::from(superblock.ids),
        size: 4,
        blocks_end: superblock.id_start,
        list: superblock.id_start,
        end,
    };
    let (ids, start) = ids.find(image)?;
    end = start;
    let mut export = None;
    if superblock.export_start != ABSENT {
        let listed = Listed {
            table: Table::Export,
            entries: u64::from(superblock.inodes),
            size: 8,
            blocks_end: superblock.export_start,
            list: superblock.export_start,
            end,
        };
        let (found, start) = listed.find(image)?;
        export = Some(found);
        end = start;
    }
    let mut fragments = None;
    if superblock.fragments > 0 {
        let listed = Listed {
            table: Table::Fragments,
            entries: u64::from(superblock.fragments),
            size: 16,
            blocks_end: superblock.fragment_start,
            list: superblock.fragment_start,
            end,
        };
        let (found, start) = listed.find(image)?;
        fragments = Some(found);
        end = start;
    } else if ![end, ABSENT].contains(&superblock.fragment_start) {
        // mksquashfs names the place where the table would be.
        return Err(Malformed::TablePlace {
            table: Table::Fragments,
            start: superblock.fragment_start,
            end,
        });
    }
    let start = superblock.directory_start;
    let directories = between(image, superblock, Table::Directories, start, end)?;
    let end = start;
    let inodes = between(
        image,
        superblock,
        Table::Inodes,
        superblock.inode_start,
        end,
    )?;
    Ok(Tables {
        inodes,
        directories,
        fragments,
        export,
        ids,
        xattrs,
    })
}

/// Finds a table that has no list of its blocks.
fn between<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    superblock: &Superblock,
    table: Table,
    start: u64,
    end: u64,
) -> Result<Chain, Malformed> {
    if start < superblock.data_start || start > end {
        return Err(Malformed::TablePlace { table, start, end });
    }
    Chain::scan(image, table, start, end)
}

/// Finds the two tables of extended attributes and where the first starts.
fn find_xattrs<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    superblock: &Superblock,
    end: u64,
) -> Result<(Xattrs, u64), Malformed> {
    let at = superblock.xattr_start;
    let misplaced = |start| Malformed::TablePlace {
        table: Table::XattrIds,
        start,
        end,
    };
    let list = at.checked_add(16).ok_or_else(|| misplaced(at))?;
    if list > end {
        return Err(misplaced(at));
    }
    let mut header = [0; 16];
    image.source.read(&mut header, at)?;
    let mut fields = Fields::new(&header);
    let start = fields.u64();
    let count = fields.u32();
    // Every set belongs to an inode.
    if count == 0 || count > superblock.inodes {
        return Err(Malformed::Count {
            table: Table::XattrIds,
            count: u64::from(count),
        });
    }
    let listed = Listed {
        table: Table::XattrIds,
        entries: u64::from(count),
        size: 16,
        blocks_end: at,
        list,
        end,
    };
    let (sets, before) = listed.find(image)?;
    if start < superblock.data_start || start >= before {
        return Err(Malformed::TablePlace {
            table: Table::Xattrs,
            start,
            end: before,
        });
    }
    let values = Chain::scan(image, Table::Xattrs, start, before)?;
    let found = Xattrs {
        values,
        sets,
        count,
    };
    Ok((found, start))
}

/// A table with a list of its blocks behind it.
struct Listed {
    table: Table,
    entries: u64,
    /// The bytes of an entry.
    size: u64,
    /// Where the blocks end.
    blocks_end: u64,
    /// Where the list starts.
    list: u64,
    /// Where the list must end.
    end: u64,
}

impl Listed {
    /// Checks the list against the blocks; says where the first block starts.
    fn find<R: ReadAt + ?Sized>(
        &self,
        image: &mut Image<'_, R>,
    ) -> Result<(Chain, u64), Malformed> {
        let table = self.table;
        let full = METADATA as u64;
        let expected = self.entries * self.size;
        let bytes = expected.div_ceil(full) * 8;
        if self.list.checked_add(bytes) != Some(self.end) {
            return Err(Malformed::TablePlace {
                table,
                start: self.list,
                end: self.end,
            });
        }
        let start = self.entry(image, 0)?;
        if start >= self.blocks_end {
            return Err(Malformed::TablePlace {
                table,
                start,
                end: self.blocks_end,
            });
        }
        let limit = image.budget.limits().metadata;
        if expected > limit {
            return Err(Malformed::Limit {
                bound: Bound::Metadata,
                limit,
            });
        }
        let chain = Chain::scan(image, table, start, self.blocks_end)?;
        if chain.length() != expected {
            return Err(Malformed::TableLength {
                table,
                found: chain.length(),
                expected,
            });
        }
        for index in 0..chain.count() {
            let found = self.entry(image, index)?;
            let expected = chain.block(index).unwrap_or(ABSENT);
            if found != expected {
                return Err(Malformed::TableList {
                    table,
                    offset: self.list + index * 8,
                    found,
                    expected,
                });
            }
        }
        Ok((chain, start))
    }

    fn entry<R: ReadAt + ?Sized>(
        &self,
        image: &mut Image<'_, R>,
        index: u64,
    ) -> Result<u64, Malformed> {
        let mut bytes = [0; 8];
        image.source.read(&mut bytes, self.list + index * 8)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Checks the user and group ids.
pub(crate) fn check_ids<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    chain: &Chain,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(chain);
    while !cursor.ended() {
        let at = cursor.at();
        let id = u32::from_le_bytes(cursor.array(image)?);
        if id == u32::MAX {
            return Err(Malformed::IdValue { at, id });
        }
    }
    Ok(())
}

/// Checks the export table against the inodes.
pub(crate) fn check_export<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    chain: &Chain,
    tree: &Tree,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(chain);
    let mut number = 0_u32;
    while !cursor.ended() {
        let at = cursor.at();
        number = number.saturating_add(1);
        let found = u64::from_le_bytes(cursor.array(image)?);
        let expected = tree.reference(number).unwrap_or(ABSENT);
        if found != expected {
            return Err(Malformed::Export {
                at,
                number,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Checks every set of extended attributes. The sets follow each other as their
/// numbers do; before a set stand values that are too long to be in one.
pub(crate) fn check_xattrs<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    xattrs: &Xattrs,
) -> Result<(), Malformed> {
    let mut sets = Cursor::new(&xattrs.sets);
    let mut values = Cursor::new(&xattrs.values);
    let mut far = Cursor::new(&xattrs.values);
    for index in 0..xattrs.count {
        let at = sets.at();
        let bytes: [u8; 16] = sets.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (reference, count, size) = (fields.u64(), fields.u32(), fields.u32());
        let Some(start) = xattrs.values.locate(reference) else {
            return Err(Malformed::Reference {
                at,
                table: Table::Xattrs,
                reference,
            });
        };
        if count == 0 || size == 0 {
            let fault = XattrFault::Count { count, size };
            return Err(Malformed::Xattr { at, index, fault });
        }
        crate::xattr::values_before(image, &mut values, start, index)?;
        crate::xattr::set(image, &mut values, &mut far, index, count)?;
    }
    if values.ended() {
        Ok(())
    } else {
        Err(Malformed::Rest { at: values.at() })
    }
}
