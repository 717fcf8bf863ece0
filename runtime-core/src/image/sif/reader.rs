//! Reads a SIF file: header, descriptors, and single objects, through positioned reads on one open file.
//!
//! Every number in the file is an attacker's. Nothing is allocated, read or returned before it was bounded by
//! the file's own length; the file is never opened again by name, and never written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::arch::Arch;
use super::descriptor::{DESCRIPTOR_LEN, DataType, Descriptor};
use super::error::{Region, SifError};
use super::field;
use super::header::{HEADER_LEN, Header};
use super::partition::{FsType, PartType, PartitionInfo};

/// Most descriptors that are read. Apptainer makes 48; the bound keeps the table below 2.4 MB.
pub const MAX_DESCRIPTORS: u64 = 4096;

/// What a SIF is read from: a file, or bytes in a test.
pub trait ReadAt {
    /// Fills `buf` from `offset`, as pread(2) in a loop.
    ///
    /// # Errors
    ///
    /// The kernel's; `UnexpectedEof` where the source ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buf.len()));
        buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A SIF file's header and the descriptors in use. What is in here has been checked: ids are unique, every
/// object lies within the file, and none overlaps another, the header or the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sif {
    /// The header.
    pub header: Header,
    /// The used descriptors, in the table's order.
    pub descriptors: Vec<Descriptor>,
    /// Length of the file when it was read, in bytes.
    pub file_len: u64,
}

/// The root file system to run.
#[derive(Clone, Copy, Debug)]
pub struct PrimaryPartition<'a> {
    /// Where it lies.
    pub descriptor: &'a Descriptor,
    /// Its partition fields; the file system is squashfs.
    pub info: &'a PartitionInfo,
    /// What it is built for.
    pub arch: Arch,
}

impl PrimaryPartition<'_> {
    /// Refuses an image of another architecture than `host`.
    ///
    /// # Errors
    ///
    /// [`SifError::OtherArch`].
    pub fn check_arch(&self, host: Arch) -> Result<(), SifError> {
        if self.arch == host {
            Ok(())
        } else {
            Err(SifError::OtherArch {
                image: self.arch,
                host,
            })
        }
    }
}

impl Sif {
    /// Reads header and descriptors of an open file; its length is what fstat(2) says of this descriptor.
    ///
    /// # Errors
    ///
    /// Any [`SifError`] about the header, the table, or where objects lie.
    pub fn read(file: &File) -> Result<Self, SifError> {
        let len = file
            .metadata()
            .map_err(|source| SifError::Read {
                part: "the file's length",
                source,
            })?
            .len();
        Self::read_from(file, len)
    }

    /// As [`Sif::read`], from bytes in memory.
    ///
    /// # Errors
    ///
    /// As [`Sif::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SifError> {
        Self::read_from(bytes, bytes.len() as u64)
    }

    fn read_from<R: ReadAt + ?Sized>(source: &R, file_len: u64) -> Result<Self, SifError> {
        let mut start = [0; HEADER_LEN];
        let have = usize::try_from(file_len).map_or(HEADER_LEN, |len| len.min(HEADER_LEN));
        let start = start.get_mut(..have).unwrap_or_default();
        read_at(source, start, 0, "the header", file_len)?;
        let header = Header::parse(start)?;

        let (table_len, table_end) = table_extent(&header, file_len)?;
        let mut table = vec![0; table_len];
        read_at(
            source,
            &mut table,
            header.descriptors_offset,
            "the descriptor table",
            file_len,
        )?;

        let mut descriptors = Vec::new();
        for entry in table.chunks_exact(DESCRIPTOR_LEN) {
            descriptors.extend(Descriptor::parse(entry)?);
        }
        check_ids(&descriptors)?;
        check_extents(&header, table_end, &descriptors, file_len)?;
        Ok(Self {
            header,
            descriptors,
            file_len,
        })
    }

    /// The root file system to run: the one partition of type "primary system", squashfs, of a known architecture.
    ///
    /// # Errors
    ///
    /// [`SifError::NoPrimary`], [`SifError::OciLayers`], [`SifError::TwoPrimaries`], [`SifError::EmptyPrimary`],
    /// [`SifError::Encrypted`], [`SifError::Ext3`], [`SifError::OtherFileSystem`], [`SifError::UnknownArch`].
    pub fn primary_partition(&self) -> Result<PrimaryPartition<'_>, SifError> {
        let mut primaries = self.descriptors.iter().filter_map(|descriptor| {
            let info = descriptor.partition()?;
            (info.part_type == PartType::PrimarySystem).then_some((descriptor, info))
        });
        let Some((descriptor, info)) = primaries.next() else {
            let oci = self.object(DataType::OciRootIndex).is_some();
            return Err(if oci {
                SifError::OciLayers
            } else {
                SifError::NoPrimary
            });
        };
        if let Some((second, _)) = primaries.next() {
            return Err(SifError::TwoPrimaries {
                first: descriptor.id,
                second: second.id,
            });
        }
        match info.fs_type {
            FsType::Squashfs => {}
            FsType::LuksSquashfs => return Err(SifError::Encrypted { how: "LUKS" }),
            FsType::GocryptfsSquashfs => return Err(SifError::Encrypted { how: "gocryptfs" }),
            FsType::Ext3 => return Err(SifError::Ext3),
            other @ (FsType::Archive | FsType::Raw | FsType::Unknown(_)) => {
                return Err(SifError::OtherFileSystem { code: other.code() });
            }
        }
        if descriptor.size == 0 {
            return Err(SifError::EmptyPrimary { id: descriptor.id });
        }
        let arch = info.arch().ok_or_else(|| SifError::UnknownArch {
            code: field::text(&info.arch_code),
        })?;
        Ok(PrimaryPartition {
            descriptor,
            info,
            arch,
        })
    }

    /// The overlay partitions that belong to the root file system: those of its group, in the table's order, which
    /// is the order from bottom to top. None where there is no single root file system or it is in no group.
    pub fn overlays(&self) -> impl Iterator<Item = &Descriptor> {
        let group = self
            .primary_partition()
            .ok()
            .and_then(|primary| primary.descriptor.group);
        self.descriptors.iter().filter(move |descriptor| {
            group.is_some()
                && descriptor.group == group
                && descriptor
                    .partition()
                    .is_some_and(|info| info.part_type == PartType::Overlay)
        })
    }

    /// All objects of a type, in the table's order.
    pub fn objects(&self, data_type: DataType) -> impl Iterator<Item = &Descriptor> {
        self.descriptors
            .iter()
            .filter(move |descriptor| descriptor.data_type == data_type)
    }

    /// The first object of a type.
    #[must_use]
    pub fn object(&self, data_type: DataType) -> Option<&Descriptor> {
        self.objects(data_type).next()
    }

    /// The first object of a type that has this name, as in (`GenericJson`, `oci-config.json`).
    #[must_use]
    pub fn object_named(&self, data_type: DataType, name: &str) -> Option<&Descriptor> {
        self.objects(data_type)
            .find(|descriptor| descriptor.name == name)
    }

    /// Reads an object whole, `max_bytes` at the most, from the file that this was read from.
    ///
    /// # Errors
    ///
    /// [`SifError::ObjectTooLarge`], [`SifError::Read`], and [`SifError::Truncated`] where the file shrank.
    pub fn read_object(
        &self,
        file: &File,
        object: &Descriptor,
        max_bytes: u64,
    ) -> Result<Vec<u8>, SifError> {
        let too_large = SifError::ObjectTooLarge {
            id: object.id,
            size: object.size,
            max: max_bytes,
        };
        if object.size > max_bytes {
            return Err(too_large);
        }
        // The descriptor may be another file's: bound it again before memory is taken.
        let end = object.offset.checked_add(object.size);
        if end.is_none_or(|end| end > self.file_len) {
            return Err(SifError::ObjectRange {
                id: object.id,
                offset: object.offset,
                size: object.size,
            });
        }
        let Ok(len) = usize::try_from(object.size) else {
            return Err(too_large);
        };
        let mut data = vec![0; len];
        read_at(
            file,
            &mut data,
            object.offset,
            "a data object",
            self.file_len,
        )?;
        Ok(data)
    }
}

/// A read that the file's length allows; an end that comes before all the same means that the file shrank.
fn read_at<R: ReadAt + ?Sized>(
    source: &R,
    buf: &mut [u8],
    offset: u64,
    part: &'static str,
    file_len: u64,
) -> Result<(), SifError> {
    source
        .read_exact_at(buf, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => SifError::Truncated {
                promised: file_len,
                actual: offset,
            },
            _ => SifError::Read { part, source },
        })
}

/// Length of the descriptor table, and where it ends; both within the file.
fn table_extent(header: &Header, file_len: u64) -> Result<(usize, u64), SifError> {
    let (count, offset, size) = (
        header.descriptors_total,
        header.descriptors_offset,
        header.descriptors_size,
    );
    if count > MAX_DESCRIPTORS {
        return Err(SifError::TooManyDescriptors {
            count,
            max: MAX_DESCRIPTORS,
        });
    }
    let damaged = SifError::DescriptorTable {
        count,
        offset,
        size,
    };
    let needed = count * DESCRIPTOR_LEN as u64;
    let end = offset
        .checked_add(needed)
        .filter(|end| i64::try_from(*end).is_ok());
    let (Some(end), Ok(len)) = (end, usize::try_from(needed)) else {
        return Err(damaged);
    };
    // Apptainer reads no more than `size` bytes of it, and two readers must not see two tables.
    if size < needed || (count > 0 && offset < HEADER_LEN as u64) {
        return Err(damaged);
    }
    if end > file_len {
        // The table itself is cut off: the header's account of the data is all there is to promise.
        let data_end = header.data_offset.saturating_add(header.data_size);
        return Err(SifError::Truncated {
            promised: end.max(data_end),
            actual: file_len,
        });
    }
    Ok((len, end))
}

/// Ids are what links and signatures name, so two objects must not share one.
fn check_ids(descriptors: &[Descriptor]) -> Result<(), SifError> {
    let mut ids: Vec<u32> = descriptors.iter().map(|descriptor| descriptor.id).collect();
    ids.sort_unstable();
    match ids
        .iter()
        .zip(ids.iter().skip(1))
        .find(|(one, next)| one == next)
    {
        Some((id, _)) => Err(SifError::ObjectId { id: *id }),
        None => Ok(()),
    }
}

/// Everything lies within the file, and nothing on anything else.
fn check_extents(
    header: &Header,
    table_end: u64,
    descriptors: &[Descriptor],
    file_len: u64,
) -> Result<(), SifError> {
    let mut extents = vec![
        (0, HEADER_LEN as u64, Region::Header),
        (header.descriptors_offset, table_end, Region::Descriptors),
    ];
    for object in descriptors {
        let range = SifError::ObjectRange {
            id: object.id,
            offset: object.offset,
            size: object.size,
        };
        let end = object.offset.checked_add(object.size).ok_or(range)?;
        extents.push((object.offset, end, Region::Object(object.id)));
    }
    let promised = extents
        .iter()
        .map(|extent| extent.1)
        .max()
        .unwrap_or_default();
    if promised > file_len {
        return Err(SifError::Truncated {
            promised,
            actual: file_len,
        });
    }
    extents.retain(|(start, end, _)| start < end);
    extents.sort_unstable_by_key(|(start, end, _)| (*start, *end));
    match extents
        .iter()
        .zip(extents.iter().skip(1))
        .find(|(one, next)| next.0 < one.1)
    {
        Some((one, next)) => Err(SifError::Overlap {
            first: one.2,
            second: next.2,
        }),
        None => Ok(()),
    }
}
