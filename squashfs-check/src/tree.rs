//! Which inodes there are and how directories join them into one tree.
//!
//! An inode is entered when it was read, and a directory after all its entries.
//! As entries may only name what is there already, a directory is never below
//! itself, and depth and longest path are known without going down.

use crate::error::{At, Bound, Malformed, NameFault};
use crate::limits::Limits;

/// The type of a directory's inode, and of its entry.
pub(crate) const DIRECTORY: u16 = 1;

/// What is kept of an inode.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// The reference to it.
    reference: u64,
    /// The link count; of a directory the parent's number.
    declared: u32,
    /// How many entries name it.
    links: u32,
    /// Of a directory: the directories on the longest way down, itself
    /// included.
    depth: u16,
    /// Of a directory: the bytes of the longest path below.
    path: u16,
    /// The basic type from 1 to 7; 0 as long as there is no such inode.
    kind: u8,
}

/// A directory while its entries are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below {
    depth: u16,
    path: u16,
}

impl Below {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self { depth: 1, path: 0 }
    }
}

/// An entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// The directory's inode number.
    pub(crate) parent: u32,
    /// The inode's number.
    pub(crate) number: i64,
    /// The reference to the inode.
    pub(crate) reference: u64,
    /// The basic type.
    pub(crate) kind: u16,
    pub(crate) name: &'a [u8],
}

/// All inodes by number.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    found: u32,
}

impl Tree {
    /// A tree for inodes from 1 to `inodes`.
    pub(crate) fn new(inodes: u32) -> Self {
        Self {
            nodes: vec![Node::default(); inodes as usize],
            found: 0,
        }
    }

    fn index(number: impl TryInto<u32>) -> Option<usize> {
        let number: u32 = number.try_into().ok()?;
        usize::try_from(number.checked_sub(1)?).ok()
    }

    /// Demands that a number can be a new inode's.
    pub(crate) fn vacant(&self, at: At, number: u32) -> Result<(), Malformed> {
        let node = Self::index(number).and_then(|index| self.nodes.get(index));
        match node {
            Some(node) if node.kind == 0 => Ok(()),
            Some(_) => Err(Malformed::InodeTwice { at, number }),
            None => Err(Malformed::InodeNumber {
                at,
                number,
                inodes: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
            }),
        }
    }

    /// Adds an inode. `declared` is its link count or, of a directory, its
    /// parent's number.
    pub(crate) fn add(
        &mut self,
        number: u32,
        reference: u64,
        kind: u8,
        declared: u32,
        below: Below,
    ) {
        let node = Self::index(number).and_then(|index| self.nodes.get_mut(index));
        if let Some(node) = node {
            *node = Node {
                reference,
                declared,
                links: 0,
                depth: below.depth,
                path: below.path,
                kind,
            };
            self.found = self.found.saturating_add(1);
        }
    }

    /// Joins an entry to its inode.
    pub(crate) fn join(
        &mut self,
        at: At,
        entry: &Entry<'_>,
        below: &mut Below,
        limits: &Limits,
    ) -> Result<(), Malformed> {
        let node = Self::index(entry.number).and_then(|index| self.nodes.get_mut(index));
        let (Some(node), Ok(number)) = (node, u32::try_from(entry.number)) else {
            return Err(Malformed::EntryInode {
                at,
                number: entry.number,
            });
        };
        if node.kind == 0 {
            return Err(Malformed::EntryInode {
                at,
                number: entry.number,
            });
        }
        if node.reference != entry.reference {
            return Err(Malformed::EntryReference {
                at,
                number,
                found: entry.reference,
                expected: node.reference,
            });
        }
        if u16::from(node.kind) != entry.kind {
            return Err(Malformed::EntryType {
                at,
                number,
                found: entry.kind,
                expected: u16::from(node.kind),
            });
        }
        let length = u16::try_from(entry.name.len()).map_err(|_| Malformed::Name {
            at,
            fault: NameFault::TooLong,
        })?;
        let mut depth = 1;
        // A slash and the name, and what is below.
        let mut path = length.saturating_add(1);
        if entry.kind == DIRECTORY {
            if node.links > 0 {
                return Err(Malformed::DirectoryTwice { at, number });
            }
            if node.declared != entry.parent {
                return Err(Malformed::Parent {
                    at,
                    number,
                    parent: node.declared,
                });
            }
            depth = node.depth.saturating_add(1);
            path = path.saturating_add(node.path);
        } else if node.links >= node.declared {
            return Err(Malformed::Links {
                at,
                number,
                links: node.declared,
            });
        }
        node.links += 1;
        below.depth = below.depth.max(depth);
        below.path = below.path.max(path);
        if below.depth > limits.depth {
            return Err(Malformed::Limit {
                bound: Bound::Depth,
                limit: u64::from(limits.depth),
            });
        }
        // At the type's end the true length may be larger.
        if below.path > limits.path || below.path == u16::MAX {
            return Err(Malformed::Limit {
                bound: Bound::Path,
                limit: u64::from(limits.path),
            });
        }
        Ok(())
    }

    /// Checks what can be said only when all inodes are there.
    pub(crate) fn finish(&self, root: u64) -> Result<(), Malformed> {
        let said = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if self.found != said {
            return Err(Malformed::InodeCount {
                said,
                found: self.found,
            });
        }
        // References are unique: every inode was read at a place of its own.
        let found = self.nodes.iter().find(|node| node.reference == root);
        let found = found.filter(|node| u16::from(node.kind) == DIRECTORY && node.links == 0);
        let Some(found) = found else {
            return Err(Malformed::Root { reference: root });
        };
        // mksquashfs gives the root a parent that is one beyond the last inode.
        // Kernels before 5.11 look parents up without a bound.
        let parent = found.declared;
        if parent == 0 || parent > said.saturating_add(1) {
            return Err(Malformed::RootParent { parent });
        }
        for (number, node) in (1..).zip(&self.nodes) {
            if node.links == 0 && node.reference != root {
                return Err(Malformed::Lost { number });
            }
        }
        Ok(())
    }

    /// The reference to an inode, for the export table.
    pub(crate) fn reference(&self, number: u32) -> Option<u64> {
        let node = self.nodes.get(Self::index(number)?)?;
        Some(node.reference)
    }
}
