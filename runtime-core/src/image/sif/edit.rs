//! Adds objects to a SIF file and removes them, in the file itself.
//!
//! In place, because an image has many GiB and a signature has few bytes; and because the file keeps its inode, the
//! jobs that run from it are not disturbed. A crash at any moment leaves the image of before or the image of after:
//! bytes go where no object is, then the descriptor with its "used" byte 0, then that one byte, then the header,
//! each on disk before the next. Nothing that a reader relies on changes but by that one byte.
//!
//! Never writes on the bytes of an object in use, and follows no number that the reader did not bound.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::arch::Arch;
use super::descriptor::{DESCRIPTOR_LEN, GROUP_MASK, Link};
use super::error::SifError;
use super::header::{ARCH_AT, DATA_SIZE_AT, FREE_AT, HEADER_LEN, MODIFIED_AT};
use super::object::{Content, NewObject, Placement, Written, copy, signed};
use super::reader::Sif;
use super::writer::WriteError;

/// Where "used" lies in a descriptor.
const USED_AT: u64 = 4;
/// Largest alignment of an object that is made, in bytes: a huge page of 1 GiB.
const MAX_ALIGN: u64 = 1 << 30;
/// Bytes that are overwritten at once.
const ZEROS: usize = 1 << 16;

/// Why an image could not be edited. It is then as it was, except after [`EditError::Write`] and
/// [`EditError::Sync`], where an object may be there or gone already.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The image cannot be read, before or after the change.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// What is to be added cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Somebody else edits it: flock(2).
    #[error("another program is changing the image; try again when it has finished")]
    Busy,
    /// The kernel refused the lock for another reason.
    #[error("cannot lock the image: {0}")]
    Lock(io::Error),
    /// The kernel could not bring the change to disk.
    #[error("cannot bring {part} to disk: {source}")]
    Sync {
        /// What was to be on disk.
        part: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The header says that data begins beyond the end of the file.
    #[error(
        "damaged SIF header: data starts at {offset}, the file has {len} bytes; copy or build the image again"
    )]
    DataOffset {
        /// What the header says, in bytes.
        offset: u64,
        /// The file's length, in bytes.
        len: u64,
    },
    /// Every entry of the table is in use.
    #[error("all {total} descriptors are in use; remove an object first, or build the image again")]
    Full {
        /// Entries of the table.
        total: u64,
    },
    /// There is a root file system to run already.
    #[error(
        "object {id} is the primary partition already; remove it first, or add a system partition"
    )]
    SecondPrimary {
        /// Its id.
        id: u32,
    },
    /// A group or a link is out of the format's range.
    #[error("{what} {number} is out of range; groups and ids are 1 to 268435455")]
    Number {
        /// `group` or `link`.
        what: &'static str,
        /// What was given.
        number: u32,
    },
    /// An alignment that cannot be.
    #[error("alignment {align} is out of range; it is 1 to 1073741824 bytes")]
    Align {
        /// What was given, in bytes.
        align: u64,
    },
    /// The image would be added to itself, without end.
    #[error("an image cannot be added to itself; give another file")]
    Itself,
    /// No object has this id.
    #[error("no object {id}; `oarlock sif list` shows the ids")]
    NoObject {
        /// The id.
        id: u32,
    },
}

/// What else is done when an object is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Overwrite its bytes with zeros.
    pub zero: bool,
    /// Cut off what no object needs at the file's end.
    pub compact: bool,
}

/// A SIF file that is being edited; others that ask for the lock are refused until this is dropped.
#[derive(Debug)]
pub struct Editor<'f> {
    file: &'f File,
    sif: Sif,
}

impl<'f> Editor<'f> {
    /// Locks and reads a file that is open for reading and writing.
    ///
    /// # Errors
    ///
    /// [`EditError::Busy`], [`EditError::Lock`], [`EditError::Sif`], [`EditError::DataOffset`].
    pub fn new(file: &'f File) -> Result<Self, EditError> {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            // Some network file systems have no locks; there the user is who must not do two things at once.
            Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(Errno::WOULDBLOCK) => return Err(EditError::Busy),
            Err(other) => return Err(EditError::Lock(other.into())),
        }
        let sif = Sif::read(file)?;
        let (offset, len) = (sif.header.data_offset, sif.file_len);
        if offset > len {
            return Err(EditError::DataOffset { offset, len });
        }
        Ok(Self { file, sif })
    }

    /// The image as it is now.
    #[must_use]
    pub fn sif(&self) -> &Sif {
        &self.sif
    }

    /// Adds an object and gives its id.
    ///
    /// # Errors
    ///
    /// [`EditError`]; where it is not [`EditError::Sync`], the image is as it was.
    pub fn add(&mut self, object: &NewObject<'_>, place: &Placement) -> Result<u32, EditError> {
        let arch = self.check(object, place)?;
        let (slot, id) = self.free_slot()?;
        let before = self.data_end();
        let align = place.align.unwrap_or_else(|| object.kind.align());
        let offset = before
            .checked_next_multiple_of(align)
            .ok_or(WriteError::TooLarge)?;

        let size = self.append(object, offset).inspect_err(|_| {
            // What was written so far is no object; a failure to cut it off leaves bytes that nobody reads.
            let _ = self.file.set_len(self.sif.file_len);
        })?;
        let end = offset.checked_add(size).ok_or(WriteError::TooLarge)?;
        let written = Written {
            id,
            offset,
            size,
            padded: end - before,
        };
        let mut entry = object.descriptor(place, &written)?;
        if let Some(used) = entry.get_mut(4) {
            *used = 0;
        }
        self.put(&entry, slot, "the descriptor")?;
        self.put(&[1], slot + USED_AT, "the descriptor")?;
        self.header(place.created, arch.map(Some))?;
        Ok(id)
    }

    /// Removes an object. `now` is what the header's modification time becomes, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`EditError::NoObject`], [`EditError::Write`], [`EditError::Sync`], [`EditError::Sif`].
    pub fn remove(&mut self, id: u32, how: Removal, now: i64) -> Result<(), EditError> {
        let found = self.sif.descriptors.iter().find(|object| object.id == id);
        let object = found.ok_or(EditError::NoObject { id })?.clone();
        let slot = self.slot_of(id)?;
        self.put(&[0], slot + USED_AT, "the descriptor")?;
        self.put(&[0; DESCRIPTOR_LEN], slot, "the descriptor")?;
        if how.zero {
            self.zero(object.offset, object.size)?;
        }
        let was_primary = object.extra.primary_arch().is_some();
        self.header(now, was_primary.then_some(None))?;
        if how.compact {
            let end = self.data_end();
            if end < self.sif.file_len {
                self.file.set_len(end).map_err(|source| EditError::Sync {
                    part: "the file's length",
                    source,
                })?;
                self.sync("the file's length")?;
                self.sif = Sif::read(self.file)?;
            }
        }
        Ok(())
    }

    /// What can be refused before a byte is written; the architecture, where this becomes the root file system.
    fn check(&self, object: &NewObject<'_>, place: &Placement) -> Result<Option<Arch>, EditError> {
        object.check()?;
        let numbers = [
            ("group", place.group),
            (
                "link",
                match place.link {
                    Link::None => None,
                    Link::Object(id) | Link::Group(id) => Some(id),
                },
            ),
        ];
        for (what, number) in numbers {
            if let Some(number) = number.filter(|n| *n == 0 || n & GROUP_MASK != 0) {
                return Err(EditError::Number { what, number });
            }
        }
        if let Some(align) = place.align.filter(|a| *a == 0 || *a > MAX_ALIGN) {
            return Err(EditError::Align { align });
        }
        if let Content::File(source) = object.content {
            let same = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
            let failed = |source| WriteError::Write {
                part: "the object",
                source,
            };
            if same(source).map_err(failed)? == same(self.file).map_err(failed)? {
                return Err(EditError::Itself);
            }
        }
        let Some(arch) = object.kind.extra().primary_arch() else {
            return Ok(None);
        };
        let primary = self
            .sif
            .descriptors
            .iter()
            .find(|object| object.extra.primary_arch().is_some());
        if let Some(primary) = primary {
            return Err(EditError::SecondPrimary { id: primary.id });
        }
        Ok(Some(arch.ok_or(WriteError::Arch)?))
    }

    /// Copies the bytes and has them on disk; gives their length.
    fn append(&self, object: &NewObject<'_>, offset: u64) -> Result<u64, EditError> {
        let failed = |source| WriteError::Write {
            part: "a data object",
            source,
        };
        let mut file = self.file;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let size = copy(object.content, self.file).map_err(failed)?;
        if size == 0 && object.kind.is_primary() {
            return Err(WriteError::EmptyPrimary.into());
        }
        let end = offset.checked_add(size).ok_or(WriteError::TooLarge)?;
        if end > self.sif.file_len {
            // Padding before an empty object is part of the file too.
            self.file.set_len(end).map_err(failed)?;
        }
        self.sync("a data object")?;
        Ok(size)
    }

    /// Where the first unused entry lies, and an id that nobody has.
    fn free_slot(&self) -> Result<(u64, u32), EditError> {
        let (at, index) = self.entry(|used, _| !used)?.ok_or(EditError::Full {
            total: self.sif.header.descriptors_total,
        })?;
        // Apptainer counts ids by entries; where a file does not, any free id will do.
        let taken = |id: u32| self.sif.descriptors.iter().any(|object| object.id == id);
        let usual = index.saturating_add(1);
        let id = (usual..GROUP_MASK).chain(1..usual).find(|id| !taken(*id));
        let total = self.sif.header.descriptors_total;
        Ok((at, id.ok_or(EditError::Full { total })?))
    }

    fn slot_of(&self, id: u32) -> Result<u64, EditError> {
        let found = self.entry(|used, entry| used && entry == id)?;
        Ok(found.ok_or(EditError::NoObject { id })?.0)
    }

    /// Offset and index of the first entry that `wanted` takes, by whether it is used and its id.
    fn entry(&self, wanted: impl Fn(bool, u32) -> bool) -> Result<Option<(u64, u32)>, EditError> {
        let header = &self.sif.header;
        let total = u32::try_from(header.descriptors_total).unwrap_or(u32::MAX);
        for index in 0..total {
            let at = header.descriptors_offset + u64::from(index) * DESCRIPTOR_LEN as u64;
            let mut start = [0; 9];
            self.file
                .read_exact_at(&mut start, at)
                .map_err(|source| SifError::Read {
                    part: "the descriptor table",
                    source,
                })?;
            let [_, _, _, _, used, id @ ..] = start;
            if wanted(used != 0, u32::from_le_bytes(id)) {
                return Ok(Some((at, index)));
            }
        }
        Ok(None)
    }

    /// The end of header, table and every object, in bytes.
    fn data_end(&self) -> u64 {
        let header = &self.sif.header;
        let table = header.descriptors_offset + header.descriptors_total * DESCRIPTOR_LEN as u64;
        let objects = self.sif.descriptors.iter();
        objects
            .map(|object| object.offset + object.size)
            .chain([table, header.data_offset, HEADER_LEN as u64])
            .max()
            .unwrap_or_default()
    }

    fn zero(&self, offset: u64, size: u64) -> Result<(), EditError> {
        let zeros = [0; ZEROS];
        let (mut at, end) = (offset, offset + size);
        while at < end {
            let len = usize::try_from(end - at).map_or(ZEROS, |rest| rest.min(ZEROS));
            let failed = |source| WriteError::Write {
                part: "zeros over the object",
                source,
            };
            let part = zeros.get(..len).unwrap_or_default();
            self.file.write_all_at(part, at).map_err(failed)?;
            at += len as u64;
        }
        self.sync("zeros over the object")
    }

    /// Reads the image again and writes the header's account of it. `arch` is the new architecture, if it changes:
    /// `Some(None)` for none.
    fn header(&mut self, now: i64, arch: Option<Option<Arch>>) -> Result<(), EditError> {
        self.sif = Sif::read(self.file)?;
        let sif = &self.sif;
        let free = sif.header.descriptors_total - sif.descriptors.len() as u64;
        let size = self.data_end() - sif.header.data_offset;
        // Magic, version and id are written as they are; all of it fits one sector.
        let mut start = [0; HEADER_LEN];
        self.file
            .read_exact_at(&mut start, 0)
            .map_err(|source| SifError::Read {
                part: "the header",
                source,
            })?;
        let code = arch.map(|arch| arch.map_or(*b"00\0", Arch::code));
        for (at, bytes) in [
            (ARCH_AT, code.as_ref().map_or(&[][..], |code| code)),
            (MODIFIED_AT, &now.to_le_bytes()),
            (FREE_AT, &signed(free)?),
            (DATA_SIZE_AT, &signed(size)?),
        ] {
            for (byte, new) in start.iter_mut().skip(at).zip(bytes) {
                *byte = *new;
            }
        }
        self.put(&start, 0, "the header")?;
        self.sif = Sif::read(self.file)?;
        Ok(())
    }

    /// Writes and has it on disk.
    fn put(&self, bytes: &[u8], at: u64, part: &'static str) -> Result<(), EditError> {
        self.file
            .write_all_at(bytes, at)
            .map_err(|source| WriteError::Write { part, source })?;
        self.sync(part)
    }

    fn sync(&self, part: &'static str) -> Result<(), EditError> {
        self.file
            .sync_data()
            .map_err(|source| EditError::Sync { part, source })
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        // The caller's descriptor may live on; a failure means that there was no lock.
        let _ = flock(self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests;
