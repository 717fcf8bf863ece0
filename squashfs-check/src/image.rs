//! The bytes of an image, and its blocks decompressed.
//!
//! Never reads outside of the image: every offset is checked against its
//! length, also after the superblock said where the file system ends.

use crate::ReadAt;
use crate::decompress::{Decoder, METADATA};
use crate::error::{Malformed, Table};
use crate::limits::Budget;

/// The image's place in its file.
pub(crate) struct Source<'a, R: ?Sized> {
    reader: &'a R,
    offset: u64,
    len: u64,
}

impl<'a, R: ReadAt + ?Sized> Source<'a, R> {
    pub(crate) fn new(reader: &'a R, offset: u64, len: u64) -> Self {
        Self {
            reader,
            offset,
            len,
        }
    }

    /// The image's length in bytes, padding included.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `at` on, in bytes from the start of the image.
    pub(crate) fn read(&self, buf: &mut [u8], at: u64) -> Result<(), Malformed> {
        let needed = at.saturating_add(buf.len() as u64);
        let place = self.offset.checked_add(at);
        match place {
            Some(place) if needed <= self.len => self
                .reader
                .read_exact_at(buf, place)
                .map_err(|source| Malformed::Read { offset: at, source }),
            _ => Err(Malformed::Truncated {
                needed,
                len: self.len,
            }),
        }
    }
}

/// An image whose superblock is known.
pub(crate) struct Image<'a, R: ?Sized> {
    pub(crate) source: Source<'a, R>,
    pub(crate) budget: Budget,
    decoder: Decoder,
    packed: Vec<u8>,
}

/// The header of a metadata block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    packed: bool,
    /// The bytes behind the header.
    pub(crate) stored: u16,
}

impl<'a, R: ReadAt + ?Sized> Image<'a, R> {
    /// An image; `largest` is the most bytes that a stored block has.
    pub(crate) fn new(
        source: Source<'a, R>,
        budget: Budget,
        decoder: Decoder,
        largest: usize,
    ) -> Self {
        Self {
            source,
            budget,
            decoder,
            packed: vec![0; largest.max(METADATA)],
        }
    }

    /// Reads the header of the metadata block at `at`.
    pub(crate) fn header(&self, at: u64, table: Table) -> Result<Header, Malformed> {
        let mut bytes = [0; 2];
        self.source.read(&mut bytes, at)?;
        let header = u16::from_le_bytes(bytes);
        let stored = header & 0x7fff;
        if stored == 0 || usize::from(stored) > METADATA {
            return Err(Malformed::BlockHeader {
                table,
                offset: at,
                header,
            });
        }
        Ok(Header {
            packed: header & 0x8000 == 0,
            stored,
        })
    }

    /// Fills `out` with the metadata block at `at` and says how many bytes it
    /// has.
    pub(crate) fn metadata(
        &mut self,
        at: u64,
        table: Table,
        out: &mut [u8; METADATA],
    ) -> Result<usize, Malformed> {
        let header = self.header(at, table)?;
        let length = self.block(at + 2, u32::from(header.stored), header.packed, out)?;
        self.budget.metadata(length)?;
        Ok(length)
    }

    /// Fills `out` with the block of `stored` bytes at `at` and says how many
    /// bytes it has. More than `out` has room for is an error.
    pub(crate) fn block(
        &mut self,
        at: u64,
        stored: u32,
        packed: bool,
        out: &mut [u8],
    ) -> Result<usize, Malformed> {
        let too_long = || Malformed::Block {
            offset: at,
            damage: crate::error::Damage::TooLong,
        };
        let stored = usize::try_from(stored).map_err(|_| too_long())?;
        if !packed {
            let out = out.get_mut(..stored).ok_or_else(too_long)?;
            self.source.read(out, at)?;
            return Ok(stored);
        }
        let bytes = self.packed.get_mut(..stored).ok_or_else(too_long)?;
        self.source.read(bytes, at)?;
        let result = self.decoder.decode(bytes, out);
        // A block that fails has cost its work as well; the check ends with it.
        let length = result.map_err(|damage| Malformed::Block { offset: at, damage })?;
        self.budget.decompressed(length)?;
        Ok(length)
    }
}
