//! The 128 bytes at the start of a SIF file.
//!
//! Parses and encodes bytes; never reads a file, and believes no number: offsets and sizes are only known to be
//! non-negative here, the reader bounds them by the file.

use std::fmt;

use super::error::SifError;
use super::{arch::Arch, field};

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 128;
/// The magic, at [`MAGIC_AT`].
pub(super) const MAGIC: [u8; 10] = *b"SIF_MAGIC\0";
/// Where the magic lies: behind the launch line, so that a SIF can start with `#!`.
pub(super) const MAGIC_AT: usize = 32;
/// The one version there is.
pub(super) const VERSION: [u8; 3] = *b"01\0";

/// Where the fields lie that an edit changes.
pub(super) const ARCH_AT: usize = 45;
pub(super) const MODIFIED_AT: usize = 72;
pub(super) const FREE_AT: usize = 80;
pub(super) const DATA_SIZE_AT: usize = 120;

/// An image's UUID (RFC 9562), as its 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The header of a SIF file. Times are seconds since 1970 and may be negative: Go's zero time is the year 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The first line, by which the kernel starts the image; without its NULs and line end.
    pub launch: String,
    /// The architecture of the primary partition; `None` where the header has no known code.
    pub arch: Option<Arch>,
    /// The image's own id.
    pub id: Uuid,
    /// When the file was made, in seconds since 1970.
    pub created: i64,
    /// When an object was last added or removed, in seconds since 1970.
    pub modified: i64,
    /// Unused entries of the descriptor table.
    pub descriptors_free: u64,
    /// All entries of the descriptor table.
    pub descriptors_total: u64,
    /// Where the descriptor table starts, in bytes.
    pub descriptors_offset: u64,
    /// Length of the descriptor table, in bytes.
    pub descriptors_size: u64,
    /// Where data objects start, in bytes.
    pub data_offset: u64,
    /// Length of the data objects and their padding, in bytes.
    pub data_size: u64,
    /// The first line as it is written, for signatures cover all of it.
    launch_raw: [u8; 32],
}

/// Whether these first bytes of a file are a SIF's: at least 42 of them are looked at.
#[must_use]
pub fn is_sif(start: &[u8]) -> bool {
    field::bytes(start, MAGIC_AT) == Some(MAGIC)
}

impl Header {
    /// Parses the header.
    ///
    /// # Errors
    ///
    /// [`SifError::NotSif`] without the magic, [`SifError::Truncated`] below 128 bytes, [`SifError::Version`],
    /// and [`SifError::NegativeHeader`].
    pub fn parse(buf: &[u8]) -> Result<Self, SifError> {
        if !is_sif(buf) {
            return Err(SifError::NotSif);
        }
        Self::fields(buf).unwrap_or(Err(SifError::Truncated {
            promised: HEADER_LEN as u64,
            actual: buf.len() as u64,
        }))
    }

    /// `None` where the buffer ends before the last field.
    fn fields(buf: &[u8]) -> Option<Result<Self, SifError>> {
        let version: [u8; 3] = field::bytes(buf, 42)?;
        if version != VERSION {
            return Some(Err(SifError::Version {
                found: field::text(&version),
            }));
        }
        let mut numbers = [0_u64; 6];
        let names = [
            "the number of free descriptors",
            "the number of descriptors",
            "the descriptor table's offset",
            "the descriptor table's size",
            "the data offset",
            "the data size",
        ];
        for ((number, name), at) in numbers.iter_mut().zip(names).zip((80..).step_by(8)) {
            let value = field::i64(buf, at)?;
            match u64::try_from(value) {
                Ok(value) => *number = value,
                Err(_) => return Some(Err(SifError::NegativeHeader { field: name, value })),
            }
        }
        let [
            descriptors_free,
            descriptors_total,
            descriptors_offset,
            descriptors_size,
            data_offset,
            data_size,
        ] = numbers;
        let launch_raw = field::bytes::<32>(buf, 0)?;
        Some(Ok(Self {
            launch: field::text(&launch_raw).trim_end().to_owned(),
            arch: Arch::from_code(field::bytes(buf, 45)?),
            id: Uuid(field::bytes(buf, 48)?),
            created: field::i64(buf, 64)?,
            modified: field::i64(buf, 72)?,
            descriptors_free,
            descriptors_total,
            descriptors_offset,
            descriptors_size,
            data_offset,
            data_size,
            launch_raw,
        }))
    }

    /// What the header digest of a signature covers: first line, magic, version and id; not the architecture.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [&self.launch_raw[..], &MAGIC, &VERSION, &self.id.0].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, MAGIC, Uuid, is_sif};
    use crate::image::sif::SifError;

    fn bytes() -> [u8; 128] {
        let mut buf = [0; 128];
        buf[..7].copy_from_slice(b"#!/bin\n");
        buf[32..42].copy_from_slice(&MAGIC);
        buf[42..45].copy_from_slice(b"01\0");
        buf[45..48].copy_from_slice(b"02\0");
        for (place, value) in (64..).step_by(8).zip([1_i64, 2, 3, 4, 5, 6, 7, 8]) {
            buf[place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        buf
    }

    #[test]
    fn fields_lie_where_the_format_says() {
        let header = Header::parse(&bytes()).expect("a header");
        assert_eq!(header.launch, "#!/bin");
        assert_eq!((header.created, header.modified), (1, 2));
        assert_eq!((header.descriptors_free, header.descriptors_total), (3, 4));
        assert_eq!((header.descriptors_offset, header.descriptors_size), (5, 6));
        assert_eq!((header.data_offset, header.data_size), (7, 8));
    }

    #[test]
    fn every_length_below_128_is_an_error() {
        let whole = bytes();
        for len in 0..128 {
            match Header::parse(&whole[..len]) {
                Err(SifError::NotSif) => assert!(len < 42, "{len}"),
                Err(SifError::Truncated {
                    promised: 128,
                    actual,
                }) => assert_eq!(actual, len as u64),
                other => panic!("{len}: {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_magic_version_and_negative_numbers_are_told_apart() {
        let mut buf = bytes();
        buf[33] = b'X';
        assert!(!is_sif(&buf));
        assert!(matches!(Header::parse(&buf), Err(SifError::NotSif)));

        let mut buf = bytes();
        buf[43] = b'2';
        assert!(matches!(Header::parse(&buf), Err(SifError::Version { found }) if found == "02"));

        for at in (80..128).step_by(8) {
            let mut buf = bytes();
            buf[at..at + 8].copy_from_slice(&(-1_i64).to_le_bytes());
            assert!(
                matches!(
                    Header::parse(&buf),
                    Err(SifError::NegativeHeader { value: -1, .. })
                ),
                "{at}"
            );
        }
    }

    #[test]
    fn a_uuid_reads_as_usual() {
        let id = Uuid([
            0x3d, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 0xff,
        ]);
        assert_eq!(id.to_string(), "3d010203-0405-4607-8809-0a0b0c0d0eff");
    }
}
