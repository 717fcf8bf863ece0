//! Writes a SIF file as Apptainer reads it.
//!
//! The header is written last, so that a file whose writing was interrupted is no SIF. It writes into a file it
//! is given, and neither creates, names nor removes any.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use super::arch::Arch;
use super::descriptor::{
    DESCRIPTOR_LEN, DataType, EXTRA_AT, FsType, GROUP_MASK, NAME_AT, PartType,
};
use super::header::{HEADER_LEN, MAGIC, MAGIC_AT, Uuid, VERSION};

/// The line by which `binfmt` or the kernel starts the image; Apptainer writes the same.
const LAUNCH: &[u8] = b"#!/usr/bin/env run-singularity\n";
/// Entries of the descriptor table, as Apptainer makes it: room for signatures to be added.
const DESCRIPTORS: usize = 48;
const TABLE_AT: u64 = 4096;
const TABLE_LEN: usize = DESCRIPTORS * DESCRIPTOR_LEN;
/// Partitions start at a page, so that they can be mounted through a loop device.
const PARTITION_ALIGN: u64 = 4096;
const NAME_LEN: usize = 128;
/// Every object goes to the first group, which is the one that gets signed.
const GROUP: u32 = 1;

/// What to write.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The image's id, from [`random_uuid`] for a new image.
    pub id: Uuid,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The data objects, in order; exactly one is a [`Kind::PrimarySquashfs`]. Their ids count from 1.
    pub objects: Vec<NewObject<'a>>,
}

/// A data object to write.
#[derive(Debug)]
pub struct NewObject<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its name, at most 128 bytes; may be empty.
    pub name: String,
    /// Its bytes.
    pub content: Content<'a>,
}

/// The kinds of objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The definition that the image was built from.
    Deffile,
    /// JSON metadata.
    GenericJson,
    /// Anything.
    Generic,
    /// The root file system to run, a squashfs for this architecture.
    PrimarySquashfs(Arch),
}

/// Where an object's bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// A whole file from its start, copied by the kernel where it can.
    File(&'a File),
}

/// Why a SIF could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The kernel failed a read, a write or a seek.
    #[error("cannot write {part}: {source}")]
    Write {
        /// What was being written, as in `the header`.
        part: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There must be exactly one root file system.
    #[error("a SIF has exactly one primary partition, {found} were given")]
    Primaries {
        /// How many there were.
        found: usize,
    },
    /// The root file system has no bytes.
    #[error("the root file system is empty")]
    EmptyPrimary,
    /// More objects than the table has entries.
    #[error("a SIF has room for {DESCRIPTORS} objects, {found} were given")]
    TooManyObjects {
        /// How many there were.
        found: usize,
    },
    /// A name that the descriptor cannot hold.
    #[error("object name {name:?} is longer than {NAME_LEN} bytes or contains a NUL")]
    Name {
        /// The name.
        name: String,
    },
    /// The file would be longer than 2^63 - 1 bytes.
    #[error("the image would be larger than any file")]
    TooLarge,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Deffile => DataType::Deffile,
            Self::GenericJson => DataType::GenericJson,
            Self::Generic => DataType::Generic,
            Self::PrimarySquashfs(_) => DataType::Partition,
        }
    }

    fn align(self) -> u64 {
        if matches!(self, Self::PrimarySquashfs(_)) {
            PARTITION_ALIGN
        } else {
            1
        }
    }
}

/// Writes the image into `out`, which loses what it had.
///
/// # Errors
///
/// [`WriteError`]; the file then holds no SIF magic, and the caller removes it.
pub fn write(out: &mut File, layout: &Layout<'_>) -> Result<(), WriteError> {
    let arch = check(layout)?;
    let failed = |part| move |source| WriteError::Write { part, source };
    out.set_len(0).map_err(failed("the image"))?;

    let data_at = TABLE_AT + TABLE_LEN as u64;
    let mut table = Vec::with_capacity(TABLE_LEN);
    let mut end = data_at;
    for (object, id) in layout.objects.iter().zip(1_u32..) {
        let offset = end
            .checked_next_multiple_of(object.kind.align())
            .ok_or(WriteError::TooLarge)?;
        out.seek(SeekFrom::Start(offset))
            .map_err(failed("a data object"))?;
        let size = copy(object.content, out).map_err(failed("a data object"))?;
        if size == 0 && matches!(object.kind, Kind::PrimarySquashfs(_)) {
            return Err(WriteError::EmptyPrimary);
        }
        let object_end = offset.checked_add(size).ok_or(WriteError::TooLarge)?;
        let place = Place {
            id,
            offset,
            size,
            padded: object_end - end,
            created: layout.created,
        };
        table.extend_from_slice(&descriptor(object, &place)?);
        end = object_end;
    }
    // An empty last object would otherwise leave the file shorter than its own account.
    out.set_len(end).map_err(failed("the image"))?;
    let used = table.len() / DESCRIPTOR_LEN;
    table.resize(TABLE_LEN, 0);
    out.write_all_at(&table, TABLE_AT)
        .map_err(failed("the descriptor table"))?;
    let header = header(layout, arch, DESCRIPTORS - used, data_at, end - data_at)?;
    out.write_all_at(&header, 0).map_err(failed("the header"))
}

/// A random UUID, version 4 (RFC 9562), from the kernel's random(4).
///
/// # Errors
///
/// The kernel's, where `/dev/urandom` cannot be read.
pub fn random_uuid() -> io::Result<Uuid> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let bits = u128::from_be_bytes(bytes);
    // Version 4 in bits 76 to 79, variant 2 in bits 62 and 63, counted from the end.
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    Ok(Uuid(bits.to_be_bytes()))
}

/// What can be refused before a byte is written; gives the root file system's architecture.
fn check(layout: &Layout<'_>) -> Result<Arch, WriteError> {
    if layout.objects.len() > DESCRIPTORS {
        return Err(WriteError::TooManyObjects {
            found: layout.objects.len(),
        });
    }
    if let Some(object) = layout
        .objects
        .iter()
        .find(|object| object.name.len() > NAME_LEN || object.name.contains('\0'))
    {
        return Err(WriteError::Name {
            name: object.name.clone(),
        });
    }
    let primaries: Vec<Arch> = layout
        .objects
        .iter()
        .filter_map(|object| {
            if let Kind::PrimarySquashfs(arch) = object.kind {
                Some(arch)
            } else {
                None
            }
        })
        .collect();
    match primaries.as_slice() {
        [arch] => Ok(*arch),
        other => Err(WriteError::Primaries { found: other.len() }),
    }
}

fn copy(content: Content<'_>, out: &mut File) -> io::Result<u64> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes).map(|()| bytes.len() as u64),
        Content::File(mut file) => {
            file.rewind()?;
            // copy_file_range(2) below: shared blocks on XFS and Btrfs, no trip through this process elsewhere.
            io::copy(&mut file, out)
        }
    }
}

struct Place {
    id: u32,
    offset: u64,
    size: u64,
    padded: u64,
    created: i64,
}

fn signed(value: u64) -> Result<[u8; 8], WriteError> {
    i64::try_from(value)
        .map(i64::to_le_bytes)
        .map_err(|_| WriteError::TooLarge)
}

fn descriptor(object: &NewObject<'_>, place: &Place) -> Result<Vec<u8>, WriteError> {
    let mut buf = Vec::with_capacity(DESCRIPTOR_LEN);
    buf.extend_from_slice(&object.kind.data_type().code().to_le_bytes());
    buf.push(1);
    buf.extend_from_slice(&place.id.to_le_bytes());
    buf.extend_from_slice(&(GROUP | GROUP_MASK).to_le_bytes());
    buf.extend_from_slice(&0_u32.to_le_bytes());
    buf.extend_from_slice(&signed(place.offset)?);
    buf.extend_from_slice(&signed(place.size)?);
    buf.extend_from_slice(&signed(place.padded)?);
    buf.extend_from_slice(&place.created.to_le_bytes());
    buf.extend_from_slice(&place.created.to_le_bytes());
    // uid and gid stay 0: nothing reads them any more, and they would tell who built the image.
    buf.resize(NAME_AT, 0);
    buf.extend_from_slice(object.name.as_bytes());
    buf.resize(EXTRA_AT, 0);
    if let Kind::PrimarySquashfs(arch) = object.kind {
        buf.extend_from_slice(&FsType::Squashfs.code().to_le_bytes());
        buf.extend_from_slice(&PartType::PrimarySystem.code().to_le_bytes());
        buf.extend_from_slice(&arch.code());
    }
    buf.resize(DESCRIPTOR_LEN, 0);
    Ok(buf)
}

fn header(
    layout: &Layout<'_>,
    arch: Arch,
    free: usize,
    data_at: u64,
    data_len: u64,
) -> Result<Vec<u8>, WriteError> {
    let mut buf = Vec::with_capacity(HEADER_LEN);
    buf.extend_from_slice(LAUNCH);
    buf.resize(MAGIC_AT, 0);
    buf.extend_from_slice(&MAGIC);
    buf.extend_from_slice(&VERSION);
    buf.extend_from_slice(&arch.code());
    buf.extend_from_slice(&layout.id.0);
    buf.extend_from_slice(&layout.created.to_le_bytes());
    buf.extend_from_slice(&layout.created.to_le_bytes());
    for number in [
        free as u64,
        DESCRIPTORS as u64,
        TABLE_AT,
        TABLE_LEN as u64,
        data_at,
        data_len,
    ] {
        buf.extend_from_slice(&signed(number)?);
    }
    Ok(buf)
}
