//! Tables: chains of metadata blocks that follow each other without a gap, each
//! but the last of 8192 bytes; and a cursor that reads structures out of one.
//!
//! Never keeps more of a table than the offsets of its blocks and one block a
//! cursor.

use crate::ReadAt;
use crate::decompress::METADATA;
use crate::error::{At, Bound, Malformed, Table};
use crate::image::Image;

const FULL: u64 = METADATA as u64;

/// A table's blocks.
#[derive(Debug)]
pub(crate) struct Chain {
    table: Table,
    start: u64,
    /// Where each block starts, from the table's start on. The form has 32
    /// bits for it.
    blocks: Vec<u32>,
    /// The decompressed length.
    length: u64,
}

impl Chain {
    /// Finds the blocks between two offsets.
    pub(crate) fn scan<R: ReadAt + ?Sized>(
        image: &mut Image<'_, R>,
        table: Table,
        start: u64,
        end: u64,
    ) -> Result<Self, Malformed> {
        let mut chain = Self {
            table,
            start,
            blocks: Vec::new(),
            length: 0,
        };
        let limit = image.budget.limits().metadata;
        let mut at = start;
        while at < end {
            let header = image.header(at, table)?;
            let next = at + 2 + u64::from(header.stored);
            if next > end {
                return Err(Malformed::BlockEnd {
                    table,
                    offset: at,
                    end: next,
                });
            }
            let place = u32::try_from(at - start).ok();
            let blocks = chain.blocks.len() as u64 + 1;
            let (Some(place), true) = (place, blocks <= limit / FULL + 1) else {
                return Err(Malformed::Limit {
                    bound: Bound::Metadata,
                    limit,
                });
            };
            chain.blocks.push(place);
            at = next;
        }
        if let Some(last) = chain.blocks.last() {
            let mut block = Box::new([0; METADATA]);
            let last = image.metadata(start + u64::from(*last), table, &mut block)?;
            chain.length = (chain.blocks.len() as u64 - 1) * FULL + last as u64;
        }
        Ok(chain)
    }

    /// The decompressed length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The offset of a block from the start of the image.
    pub(crate) fn block(&self, index: u64) -> Option<u64> {
        let place = self.blocks.get(usize::try_from(index).ok()?)?;
        Some(self.start + u64::from(*place))
    }

    /// How many blocks there are.
    pub(crate) fn count(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Where a reference (the offset of a block in the table, 16 bits, the byte
    /// in it) leads, counted in decompressed bytes.
    pub(crate) fn locate(&self, reference: u64) -> Option<u64> {
        let block = u32::try_from(reference >> 16).ok()?;
        let byte = reference & 0xffff;
        let index = self.blocks.binary_search(&block).ok()? as u64;
        let place = index * FULL + byte;
        (byte < FULL && place < self.length).then_some(place)
    }

    /// The reference to a place in decompressed bytes; to one beyond the table
    /// it is one that leads nowhere.
    pub(crate) fn reference(&self, place: u64) -> u64 {
        let block = usize::try_from(place / FULL)
            .ok()
            .and_then(|index| self.blocks.get(index));
        block.map_or(u64::MAX, |block| (u64::from(*block) << 16) | (place % FULL))
    }

    /// A place in decompressed bytes, as errors name it.
    pub(crate) fn at(&self, place: u64) -> At {
        let last = (self.blocks.len() as u64).saturating_sub(1);
        let index = (place / FULL).min(last);
        At {
            table: self.table,
            block: self.block(index).unwrap_or(self.start),
            byte: u16::try_from(place - index * FULL).unwrap_or(u16::MAX),
        }
    }
}

/// A place in a table that moves on with every read.
#[derive(Debug)]
pub(crate) struct Cursor<'t> {
    chain: &'t Chain,
    place: u64,
    /// Which block is in `block`.
    loaded: Option<u64>,
    block: Box<[u8; METADATA]>,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(chain: &'t Chain) -> Self {
        Self {
            chain,
            place: 0,
            loaded: None,
            block: Box::new([0; METADATA]),
        }
    }

    /// The table.
    pub(crate) fn chain(&self) -> &'t Chain {
        self.chain
    }

    /// The place in decompressed bytes.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// The place as errors name it.
    pub(crate) fn at(&self) -> At {
        self.chain.at(self.place)
    }

    /// Whether nothing is left.
    pub(crate) fn ended(&self) -> bool {
        self.place >= self.chain.length
    }

    /// Goes to a place in decompressed bytes.
    pub(crate) fn seek(&mut self, place: u64) {
        self.place = place;
    }

    /// Passes over bytes, which must be there.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<(), Malformed> {
        match self.place.checked_add(bytes) {
            Some(place) if place <= self.chain.length => {
                self.place = place;
                Ok(())
            }
            _ => Err(Malformed::TableEnd { at: self.at() }),
        }
    }

    /// The next `N` bytes.
    pub(crate) fn array<R: ReadAt + ?Sized, const N: usize>(
        &mut self,
        image: &mut Image<'_, R>,
    ) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        self.read(image, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with what comes next.
    pub(crate) fn read<R: ReadAt + ?Sized>(
        &mut self,
        image: &mut Image<'_, R>,
        out: &mut [u8],
    ) -> Result<(), Malformed> {
        let mut rest = out;
        while !rest.is_empty() {
            let index = self.place / FULL;
            if self.ended() {
                return Err(Malformed::TableEnd { at: self.at() });
            }
            if self.loaded != Some(index) {
                self.load(image, index)?;
            }
            let left = (self.chain.length - self.place).min(FULL - self.place % FULL);
            let from = usize::try_from(self.place % FULL).unwrap_or(METADATA);
            let many = usize::try_from(left).unwrap_or(METADATA).min(rest.len());
            let Some(bytes) = self.block.get(from..from + many) else {
                return Err(Malformed::TableEnd { at: self.at() });
            };
            let (head, tail) = rest.split_at_mut(many);
            head.copy_from_slice(bytes);
            rest = tail;
            self.place += many as u64;
        }
        Ok(())
    }

    fn load<R: ReadAt + ?Sized>(
        &mut self,
        image: &mut Image<'_, R>,
        index: u64,
    ) -> Result<(), Malformed> {
        let table = self.chain.table;
        let Some(offset) = self.chain.block(index) else {
            return Err(Malformed::TableEnd { at: self.at() });
        };
        self.loaded = None;
        let length = image.metadata(offset, table, &mut self.block)?;
        if index + 1 < self.chain.count() && length != METADATA {
            return Err(Malformed::BlockLength {
                table,
                offset,
                length,
            });
        }
        self.loaded = Some(index);
        Ok(())
    }
}
