//! Writes a SIF file as Apptainer reads it.
//!
//! The header is written last, so that a file whose writing was interrupted is no SIF. It writes into a file it
//! is given, and neither creates, names nor removes any.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::arch::Arch;
use super::descriptor::{DESCRIPTOR_LEN, Link};
use super::header::{HEADER_LEN, MAGIC, MAGIC_AT, Uuid, VERSION};
use super::object::{NewObject, Placement, Written, copy, signed};

/// The line by which `binfmt` or the kernel starts the image; Apptainer writes the same.
const LAUNCH: &[u8] = b"#!/usr/bin/env run-singularity\n";
/// Entries of the descriptor table, as Apptainer makes it: room for signatures to be added.
const DESCRIPTORS: usize = 48;
const TABLE_AT: u64 = 4096;
const TABLE_LEN: usize = DESCRIPTORS * DESCRIPTOR_LEN;
/// Most bytes of an object's name.
pub(super) const NAME_LEN: usize = 128;
/// Every object goes to the first group, which is the one that gets signed.
const GROUP: u32 = 1;

/// What to write.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The image's id, from [`random_uuid`] for a new image.
    pub id: Uuid,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The data objects, in order; exactly one is the primary partition. Their ids count from 1,
    /// and they are all in group 1.
    pub objects: Vec<NewObject<'a>>,
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
    /// The primary partition has an architecture code that SIF does not define.
    #[error("the primary partition needs an architecture, as in amd64 or arm64")]
    Arch,
    /// The file would be longer than 2^63 - 1 bytes.
    #[error("the image would be larger than any file")]
    TooLarge,
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
        if size == 0 && object.kind.is_primary() {
            return Err(WriteError::EmptyPrimary);
        }
        let object_end = offset.checked_add(size).ok_or(WriteError::TooLarge)?;
        let place = Placement {
            group: Some(GROUP),
            link: Link::None,
            align: None,
            created: layout.created,
        };
        let written = Written {
            id,
            offset,
            size,
            padded: object_end - end,
        };
        table.extend_from_slice(&object.descriptor(&place, &written)?);
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
    for object in &layout.objects {
        object.check()?;
    }
    let primaries: Vec<Option<Arch>> = layout
        .objects
        .iter()
        .filter_map(|object| object.kind.extra().primary_arch())
        .collect();
    match primaries.as_slice() {
        [arch] => arch.ok_or(WriteError::Arch),
        other => Err(WriteError::Primaries { found: other.len() }),
    }
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
