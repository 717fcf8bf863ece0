//! The entries of one directory, and its index.
//!
//! Never takes a directory's word for what its entries are: each is joined to
//! the inode that was read before.

use crate::ReadAt;
use crate::error::{Malformed, NameFault};
use crate::fields::Fields;
use crate::image::Image;
use crate::inode::Directory;
use crate::metadata::Cursor;
use crate::tree::{Below, Entry, Tree};

/// The longest name, NAME_MAX.
const NAME_MAX: u32 = 255;

/// A name with room for the longest.
struct Name {
    bytes: [u8; NAME_MAX as usize],
    length: usize,
}

impl Name {
    fn empty() -> Self {
        Self {
            bytes: [0; NAME_MAX as usize],
            length: 0,
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Reads a name; none if it is longer than there is room.
    fn read<R: ReadAt + ?Sized>(
        image: &mut Image<'_, R>,
        cursor: &mut Cursor<'_>,
        length: u64,
    ) -> Result<Option<Self>, Malformed> {
        let mut name = Self::empty();
        let room = usize::try_from(length)
            .ok()
            .and_then(|length| name.bytes.get_mut(..length));
        let Some(room) = room else { return Ok(None) };
        name.length = room.len();
        cursor.read(image, room)?;
        Ok(Some(name))
    }

    /// What the kernel or a walker would stumble over.
    fn fault(&self, before: &Self) -> Option<NameFault> {
        let name = self.get();
        if name == b"." || name == b".." {
            Some(NameFault::Dots)
        } else if name.contains(&b'/') || name.contains(&0) {
            Some(NameFault::Byte)
        } else if name <= before.get() {
            Some(NameFault::Order)
        } else {
            None
        }
    }
}

/// An entry of a directory's index.
struct Mark {
    /// The header's place among the directory's entries, in bytes.
    place: u32,
    /// The offset of its metadata block in the directory table.
    block: u32,
    /// The first name behind the header.
    name: Name,
}

/// The index, read as the entries are passed.
struct Index<'c, 't> {
    cursor: &'c mut Cursor<'t>,
    left: u16,
    read: u16,
    next: Option<Mark>,
}

impl Index<'_, '_> {
    fn refuse(&self, entries: &Cursor<'_>, fault: &'static str) -> Malformed {
        Malformed::DirectoryIndex {
            at: entries.at(),
            entry: self.read.saturating_sub(1),
            fault,
        }
    }

    /// Reads the next entry of the index, if there is one.
    fn advance<R: ReadAt + ?Sized>(
        &mut self,
        image: &mut Image<'_, R>,
        entries: &Cursor<'_>,
    ) -> Result<(), Malformed> {
        self.next = None;
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(());
        };
        self.left = left;
        self.read = self.read.saturating_add(1);
        let bytes: [u8; 12] = self.cursor.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (place, block, size) = (fields.u32(), fields.u32(), fields.u32());
        let name = Name::read(image, self.cursor, u64::from(size) + 1)?;
        let Some(name) = name else {
            return Err(self.refuse(entries, "has too long a name"));
        };
        self.next = Some(Mark { place, block, name });
        Ok(())
    }
}

/// Reads a directory's entries and its index. `index` stands behind the
/// directory's inode and is left behind the index; `entries` stands behind the
/// entries of the directory before.
pub(crate) fn read<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    tree: &mut Tree,
    entries: &mut Cursor<'_>,
    index: &mut Cursor<'_>,
    number: u32,
    directory: Directory,
) -> Result<Below, Malformed> {
    let mut below = Below::new();
    let mut index = Index {
        cursor: index,
        left: directory.index,
        read: 0,
        next: None,
    };
    index.advance(image, entries)?;
    let size = directory.size;
    // The three bytes stand for `.` and `..`, which are not stored.
    let Some(length) = size.checked_sub(3) else {
        let at = index.cursor.at();
        return Err(Malformed::DirectorySize { at, size });
    };
    let start = entries.place();
    if length > 0 && entries.chain().locate(directory.reference) != Some(start) {
        let at = entries.at();
        return Err(Malformed::DirectoryPlace { at, number });
    }
    let end = start.saturating_add(u64::from(length));
    let mut before = Name::empty();
    while entries.place() < end {
        header(
            image,
            tree,
            entries,
            &mut index,
            &mut below,
            number,
            (start, end),
            &mut before,
        )?;
    }
    if index.next.is_some() {
        return Err(index.refuse(entries, "leads behind the last header"));
    }
    Ok(below)
}

/// Reads a header and the entries behind it.
#[expect(
    clippy::too_many_arguments,
    reason = "the loop's state, which nothing else has"
)]
fn header<R: ReadAt + ?Sized>(
    image: &mut Image<'_, R>,
    tree: &mut Tree,
    entries: &mut Cursor<'_>,
    index: &mut Index<'_, '_>,
    below: &mut Below,
    number: u32,
    (start, end): (u64, u64),
    before: &mut Name,
) -> Result<(), Malformed> {
    let at = entries.at();
    let place = entries.place();
    let bytes: [u8; 12] = entries.array(image)?;
    let mut fields = Fields::new(&bytes);
    let (count, block, base) = (fields.u32(), fields.u32(), fields.u32());
    let count = u64::from(count) + 1;
    if count > 256 {
        return Err(Malformed::DirectoryHeader { at, count });
    }
    let mut mark = None;
    if let Some(next) = &index.next {
        let marked = start.saturating_add(u64::from(next.place));
        if marked < place {
            return Err(index.refuse(entries, "leads to no header"));
        }
        if marked == place {
            if entries.chain().reference(place) >> 16 != u64::from(next.block) {
                return Err(index.refuse(entries, "leads to another block"));
            }
            mark = index.next.take();
        }
    }
    for _ in 0..count {
        image.budget.entry()?;
        let at = entries.at();
        let bytes: [u8; 8] = entries.array(image)?;
        let mut fields = Fields::new(&bytes);
        let (byte, delta) = (fields.u16(), fields.i16());
        let (kind, size) = (fields.u16(), fields.u16());
        let Some(name) = Name::read(image, entries, u64::from(size) + 1)? else {
            let fault = NameFault::TooLong;
            return Err(Malformed::Name { at, fault });
        };
        if entries.place() > end {
            return Err(Malformed::DirectoryEnd { at });
        }
        if let Some(fault) = name.fault(before) {
            return Err(Malformed::Name { at, fault });
        }
        if let Some(mark) = mark.take() {
            if mark.name.get() != name.get() {
                return Err(index.refuse(entries, "has another name than its header's first"));
            }
            index.advance(image, entries)?;
        }
        let entry = Entry {
            parent: number,
            number: i64::from(base) + i64::from(delta),
            reference: u64::from(block) << 16 | u64::from(byte),
            kind,
            name: name.get(),
        };
        tree.join(at, &entry, below, image.budget.limits())?;
        *before = name;
    }
    Ok(())
}
