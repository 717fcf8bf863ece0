//! The bounds of a check, and the account of what it has spent of them.
//!
//! Never a way round: whatever grows with the image asks here first.

use crate::error::{Bound, Malformed};

/// How much an image may ask of its check. What goes beyond is refused with
/// [`Malformed::Limit`]; it may still be well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most inodes. The check holds 24 bytes of memory for each.
    pub inodes: u32,
    /// The most entries of all directories together.
    pub entries: u64,
    /// The most directories on a way down, the root included.
    pub depth: u16,
    /// The most bytes of a path from the root, slashes included.
    pub path: u16,
    /// The most bytes of decompressed inodes, directories and other tables.
    pub metadata: u64,
    /// The most bytes that the check decompresses in all.
    pub decompressed: u64,
    /// The most references from files to stored blocks of data. Holes are
    /// free.
    pub blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inodes: 4 << 20,
            entries: 16 << 20,
            depth: 2048,
            path: 16 << 10,
            metadata: 8 << 30,
            decompressed: 1 << 40,
            blocks: 1 << 28,
        }
    }
}

/// What is left of the [`Limits`].
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    entries: u64,
    metadata: u64,
    decompressed: u64,
    blocks: u64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            entries: 0,
            metadata: 0,
            decompressed: 0,
            blocks: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One more directory entry.
    pub(crate) fn entry(&mut self) -> Result<(), Malformed> {
        add(&mut self.entries, 1, self.limits.entries, Bound::Entries)
    }

    /// One more reference to a stored block.
    pub(crate) fn block(&mut self) -> Result<(), Malformed> {
        add(&mut self.blocks, 1, self.limits.blocks, Bound::Blocks)
    }

    /// `bytes` more of decompressed tables.
    pub(crate) fn metadata(&mut self, bytes: usize) -> Result<(), Malformed> {
        add(
            &mut self.metadata,
            bytes as u64,
            self.limits.metadata,
            Bound::Metadata,
        )
    }

    /// `bytes` more out of a decompressor.
    pub(crate) fn decompressed(&mut self, bytes: usize) -> Result<(), Malformed> {
        add(
            &mut self.decompressed,
            bytes as u64,
            self.limits.decompressed,
            Bound::Decompressed,
        )
    }

    /// The directory entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// What the decompressors have given so far, in bytes.
    pub(crate) fn spent(&self) -> u64 {
        self.decompressed
    }
}

fn add(spent: &mut u64, more: u64, limit: u64, bound: Bound) -> Result<(), Malformed> {
    *spent = spent.saturating_add(more);
    if *spent > limit {
        return Err(Malformed::Limit { bound, limit });
    }
    Ok(())
}
