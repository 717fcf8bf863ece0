//! The data of files: block lists, the blocks they lead to, and the ends of
//! files in fragments.
//!
//! Never a block outside of the area between superblock and inode table, and
//! never one that gives another length than the file needs.

use crate::ReadAt;
use crate::error::Malformed;
use crate::image::Image;
use crate::metadata::Cursor;

/// The mark for "no fragment".
pub(crate) const NO_FRAGMENT: u32 = u32::MAX;

/// How many checked blocks are remembered at most, so that files which share
/// blocks do not cost their decompression again: 2^18 of 16 bytes.
const MEMORY: u64 = 1 << 18;

/// Where data may be.
#[derive(Debug, Clone)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The most bytes of a decompressed block.
    pub(crate) block_size: u32,
}

impl Area {
    /// Whether `stored` bytes from `start` on are all data.
    pub(crate) fn holds(&self, start: u64, stored: u32) -> bool {
        let end = start.checked_add(u64::from(stored));
        start >= self.start && end.is_some_and(|end| end <= self.end)
    }
}

/// A block's size as block lists and fragments give it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) packed: bool,
    /// The bytes in the image.
    pub(crate) stored: u32,
}

impl Word {
    /// Bit 24 says "not compressed"; no block is stored in more bytes than it
    /// has.
    pub(crate) fn parse(word: u32, block_size: u32) -> Option<Self> {
        let stored = word & 0x00ff_ffff;
        (word >> 25 == 0 && stored <= block_size).then_some(Self {
            packed: word >> 24 == 0,
            stored,
        })
    }
}

/// A file as its inode describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) fragment: u32,
    /// Where the file's end starts in the fragment.
    pub(crate) offset: u32,
}

/// A block that gave what it should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Checked {
    start: u64,
    word: u32,
    length: u32,
}

/// What is needed to check files.
pub(crate) struct Data {
    area: Area,
    fragments: Vec<u32>,
    checked: Vec<Checked>,
    out: Vec<u8>,
    /// The content of all files so far, in bytes and without holes.
    pub(crate) bytes: u64,
}

impl Data {
    /// `fragments` are the fragments' lengths in bytes.
    pub(crate) fn new(area: Area, fragments: Vec<u32>) -> Self {
        let out = vec![0; area.block_size as usize];
        // A small image cannot have many blocks worth a memory.
        let memory = (area.end.saturating_sub(area.start) / 128).clamp(2, MEMORY);
        let memory = usize::try_from(memory.next_power_of_two()).unwrap_or(2);
        Self {
            area,
            fragments,
            checked: vec![Checked::default(); memory],
            out,
            bytes: 0,
        }
    }

    /// Checks a file; `list` stands at its block list and is left behind it.
    pub(crate) fn file<R: ReadAt + ?Sized>(
        &mut self,
        image: &mut Image<'_, R>,
        list: &mut Cursor<'_>,
        file: File,
    ) -> Result<(), Malformed> {
        let at = list.at();
        let block_size = u64::from(self.area.block_size);
        let full = file.size / block_size;
        // The remainder of a division by 32 bits fits into 32 bits.
        let tail = u32::try_from(file.size % block_size).unwrap_or(u32::MAX);
        let in_fragment = file.fragment != NO_FRAGMENT;
        let blocks = full + u64::from(tail > 0 && !in_fragment);
        // The kernel counts blocks in an `int` and sizes in a `loff_t`.
        if i32::try_from(blocks).is_err() {
            return Err(Malformed::FileSize {
                at,
                size: file.size,
            });
        }
        let mut start = file.start;
        for block in 0..blocks {
            let expected = if block < full {
                self.area.block_size
            } else {
                tail
            };
            let at = list.at();
            let word = u32::from_le_bytes(list.array(image)?);
            if word == 0 {
                continue;
            }
            image.budget.block()?;
            let Some(parsed) = Word::parse(word, self.area.block_size) else {
                return Err(Malformed::BlockWord { at, word });
            };
            // A size of 0 means a hole only where all other bits are 0 as well.
            if parsed.stored == 0 {
                return Err(Malformed::BlockWord { at, word });
            }
            if !self.area.holds(start, parsed.stored) {
                return Err(Malformed::BlockPlace {
                    at,
                    start,
                    stored: parsed.stored,
                });
            }
            let found = self.block(image, start, word, parsed, expected)?;
            if found != expected {
                return Err(Malformed::BlockBytes {
                    at,
                    start,
                    found,
                    expected,
                });
            }
            start += u64::from(parsed.stored);
            self.bytes = self.bytes.saturating_add(u64::from(expected));
        }
        if in_fragment {
            let Some(length) = usize::try_from(file.fragment)
                .ok()
                .and_then(|index| self.fragments.get(index).copied())
            else {
                return Err(Malformed::FragmentIndex {
                    at,
                    index: file.fragment,
                    fragments: u32::try_from(self.fragments.len()).unwrap_or(u32::MAX),
                });
            };
            let end = file.offset.checked_add(tail);
            if tail == 0 || end.is_none_or(|end| end > length) {
                return Err(Malformed::FragmentRange {
                    at,
                    offset: file.offset,
                    tail,
                    length,
                });
            }
            self.bytes = self.bytes.saturating_add(u64::from(tail));
        }
        Ok(())
    }

    /// How many bytes a block has; from memory if the very same one was
    /// already checked.
    fn block<R: ReadAt + ?Sized>(
        &mut self,
        image: &mut Image<'_, R>,
        start: u64,
        word: u32,
        parsed: Word,
        expected: u32,
    ) -> Result<u32, Malformed> {
        if !parsed.packed {
            return Ok(parsed.stored);
        }
        // Blocks that are beside each other get different places. A hostile
        // image that makes two of them fight for one place only makes itself
        // cost more of its budget.
        let bits = self.checked.len().trailing_zeros().max(1);
        let mixed = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits);
        let place = usize::try_from(mixed).unwrap_or(0);
        let checked = Checked {
            start,
            word,
            length: expected,
        };
        if self.checked.get(place) == Some(&checked) {
            return Ok(expected);
        }
        let length = image.block(start, parsed.stored, true, &mut self.out)?;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(slot) = self.checked.get_mut(place)
            && length == expected
        {
            *slot = checked;
        }
        Ok(length)
    }
}
