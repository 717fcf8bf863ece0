//! Inodes and directories that are wrong, each refused with its own message.

use squashfs_check::{Malformed, NameFault};

use crate::build::{Parts, STORED, base, entry, put, set, sound};
use crate::hostile_tables::{changed, refused};
use crate::tools::look;

/// Where the root's entry for `f`, `l`, `p` or `s` is, from 0 to 3.
fn root_entry(parts: &Parts, which: usize) -> usize {
    parts.listing + 12 + 9 * which
}

#[test]
fn inodes() {
    use Malformed as M;
    for kind in [0_u16, 15, 16, 255, u16::MAX] {
        refused!(changed(|p| set!(p.inodes, p.f, kind)), M::InodeType { .. });
    }
    for mode in [0o10_000_u16, 0o40_644, 0o120_777, u16::MAX] {
        refused!(changed(|p| set!(p.inodes, p.f + 2, mode)), M::Mode { .. });
    }
    for index in [2_u16, u16::MAX] {
        refused!(changed(|p| set!(p.inodes, p.l + 4, index)), M::Owner { .. });
        refused!(changed(|p| set!(p.inodes, p.l + 6, index)), M::Owner { .. });
    }
    for number in [0_u32, 7, u32::MAX, 1 << 31] {
        refused!(
            changed(|p| set!(p.inodes, p.f + 12, number)),
            M::InodeNumber { .. }
        );
    }
    refused!(
        changed(|p| set!(p.inodes, p.l + 12, 1_u32)),
        M::InodeTwice { number: 1, .. }
    );
    refused!(
        changed(|p| p.count = 5),
        M::InodeNumber { .. } | M::TableLength { .. }
    );
    refused!(
        changed(|p| {
            p.count = 7;
            put!(p.export, 0_u64);
        }),
        M::InodeCount { said: 7, found: 6 }
    );
    refused!(
        changed(|p| p.count = 1 << 20),
        M::Count { .. } | M::TableLength { .. } | M::TablePlace { .. }
    );
    refused!(changed(|p| p.inodes.push(0)), M::TableEnd { .. });
    refused!(changed(|p| p.inodes.extend([0; 16])), M::InodeType { .. });
    let half = |p: &mut Parts| p.inodes.truncate(p.root + 20);
    refused!(changed(half), M::TableEnd { .. });
    // Set user id, sticky: of no concern on a nosuid mount.
    let mut parts = sound();
    let at = parts.f + 2;
    set!(parts.inodes, at, 0o7777_u16);
    look(&parts.encode()).expect("mode bits");
}

#[test]
fn links_and_symlinks() {
    use Malformed as M;
    refused!(
        changed(|p| set!(p.inodes, p.l + 16, 0_u32)),
        M::Links { links: 0, .. }
    );
    refused!(
        changed(|p| set!(p.inodes, p.p + 16, 0_u32)),
        M::Links { links: 0, .. }
    );
    refused!(
        changed(|p| set!(p.inodes, p.g + 40, 0_u32)),
        M::Links { links: 0, .. }
    );
    refused!(
        changed(|p| set!(p.inodes, p.s + 16, 1_u32)),
        M::Links { links: 1, .. }
    );
    for size in [0_u32, 4096, 65536, u32::MAX, 1 << 31] {
        refused!(
            changed(|p| set!(p.inodes, p.l + 20, size)),
            M::SymlinkSize { .. }
        );
    }
    refused!(changed(|p| p.inodes[p.l + 25] = 0), M::SymlinkNul { .. });
    // One entry more than the links that the inode has.
    let twice = |p: &mut Parts| {
        let at = root_entry(p, 1);
        set!(p.directories, at, p.f as u16);
        set!(p.directories, at + 2, -2_i16);
        set!(p.directories, at + 4, 2_u16);
    };
    refused!(
        changed(twice),
        M::Links {
            number: 1,
            links: 1,
            ..
        }
    );
}

#[test]
fn names() {
    use Malformed as M;
    let name = |which: usize, byte: u8| {
        changed(|p| {
            let at = root_entry(p, which) + 8;
            p.directories[at] = byte;
        })
    };
    refused!(
        name(0, b'/'),
        M::Name {
            fault: NameFault::Byte,
            ..
        }
    );
    refused!(
        name(0, 0),
        M::Name {
            fault: NameFault::Byte,
            ..
        }
    );
    refused!(
        name(0, b'.'),
        M::Name {
            fault: NameFault::Dots,
            ..
        }
    );
    refused!(
        name(1, b'f'),
        M::Name {
            fault: NameFault::Order,
            ..
        }
    );
    refused!(
        name(1, b'a'),
        M::Name {
            fault: NameFault::Order,
            ..
        }
    );
    for size in [255_u16, 256, u16::MAX] {
        let error = changed(|p| {
            let at = root_entry(p, 3) + 6;
            set!(p.directories, at, size);
        });
        refused!(
            error,
            M::Name {
                fault: NameFault::TooLong,
                ..
            }
        );
    }
    // `..`, and a name that reaches over its directory's end.
    let dots = |p: &mut Parts| {
        let at = root_entry(p, 3);
        set!(p.directories, at + 6, 1_u16);
        p.directories.truncate(at + 8);
        p.directories.extend(b"..");
        set!(p.inodes, p.root + 24, 52_u16);
    };
    refused!(
        changed(dots),
        M::Name {
            fault: NameFault::Dots,
            ..
        }
    );
    let over = |p: &mut Parts| {
        let at = root_entry(p, 3);
        set!(p.directories, at + 6, 1_u16);
        p.directories.extend(b"xx");
    };
    refused!(changed(over), M::DirectoryEnd { .. });
}

#[test]
fn entries() {
    use Malformed as M;
    let delta = |which: usize, delta: i16| {
        changed(|p| {
            let at = root_entry(p, which) + 2;
            set!(p.directories, at, delta);
        })
    };
    for number in [-3_i16, 3, 4, i16::MIN, i16::MAX] {
        // 0, the root itself, and what does not exist.
        refused!(delta(0, number), M::EntryInode { .. });
    }
    refused!(delta(0, -1), M::EntryReference { number: 2, .. });
    let base = |number: u32| changed(|p| set!(p.directories, p.listing + 8, number));
    refused!(base(u32::MAX), M::EntryInode { .. });
    let place = |place: u16| {
        changed(|p| {
            let at = root_entry(p, 0);
            set!(p.directories, at, place);
        })
    };
    for wrong in [1_u16, 8192, u16::MAX] {
        refused!(place(wrong), M::EntryReference { number: 1, .. });
    }
    let block = |block: u32| changed(|p| set!(p.directories, p.listing + 4, block));
    for wrong in [1_u32, 8194, u32::MAX] {
        refused!(block(wrong), M::EntryReference { .. });
    }
    for kind in [0_u16, 1, 3, 8, 9, 14, u16::MAX] {
        let error = changed(|p| {
            let at = root_entry(p, 0) + 4;
            set!(p.directories, at, kind);
        });
        refused!(error, M::EntryType { expected: 2, .. });
    }
    for count in [256_u32, 1 << 20, u32::MAX] {
        let error = changed(|p| set!(p.directories, p.listing, count));
        refused!(error, M::DirectoryHeader { .. });
    }
    refused!(
        changed(|p| set!(p.directories, p.listing, 4_u32)),
        M::TableEnd { .. }
    );
    refused!(
        changed(|p| set!(p.directories, p.listing, 2_u32)),
        M::TableEnd { .. } | M::DirectoryHeader { .. }
    );
    // No entry for an inode.
    let lost = |p: &mut Parts| {
        let at = root_entry(p, 3);
        p.directories.truncate(at);
        set!(p.directories, p.listing, 2_u32);
        set!(p.inodes, p.root + 24, 42_u16);
    };
    refused!(changed(lost), M::Lost { number: 5 });
}

#[test]
fn directories() {
    use Malformed as M;
    for size in [0_u32, 1, 2] {
        refused!(
            changed(|p| set!(p.inodes, p.s + 20, size)),
            M::DirectorySize { .. }
        );
    }
    for size in [23_u32, 22, 16] {
        refused!(
            changed(|p| set!(p.inodes, p.s + 20, size)),
            M::DirectoryEnd { .. }
        );
    }
    for size in [25_u32, 1 << 31, u32::MAX] {
        let error = changed(|p| set!(p.inodes, p.s + 20, size));
        refused!(
            error,
            M::TableEnd { .. }
                | M::Name { .. }
                | M::EntryInode { .. }
                | M::DirectoryEnd { .. }
                | M::EntryReference { .. }
        );
    }
    // Another directory's entries, the middle of an entry, nowhere.
    for place in [0_u16, 20, 22, 8192, u16::MAX] {
        let error = changed(|p| set!(p.inodes, p.root + 26, place));
        refused!(error, M::DirectoryPlace { number: 6, .. });
    }
    for block in [1_u32, 8194, u32::MAX] {
        let error = changed(|p| set!(p.inodes, p.root + 16, block));
        refused!(error, M::DirectoryPlace { number: 6, .. });
    }
    refused!(changed(|p| p.directories.push(0)), M::Rest { .. });
    for parent in [0_u32, 5, 7, u32::MAX] {
        let error = changed(|p| set!(p.inodes, p.s + 28, parent));
        refused!(error, M::Parent { number: 5, .. });
    }
}

#[test]
fn the_index_of_a_directory() {
    let index = |change: &dyn Fn(&mut Parts)| match changed(change) {
        Malformed::DirectoryIndex { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let at = 40;
    assert!(index(&|p| set!(p.inodes, p.s + at, 1_u32)).contains("last header"));
    assert!(index(&|p| set!(p.inodes, p.s + at, u32::MAX)).contains("last header"));
    assert!(index(&|p| set!(p.inodes, p.s + at + 4, 1_u32)).contains("another block"));
    assert!(index(&|p| set!(p.inodes, p.s + at + 8, u32::MAX)).contains("too long"));
    assert!(index(&|p| set!(p.inodes, p.s + at + 8, 255_u32)).contains("too long"));
    assert!(index(&|p| p.inodes[p.s + at + 12] = b'h').contains("another name"));
    // An index for a directory without entries.
    let empty = |p: &mut Parts| set!(p.inodes, p.s + 20, 3_u32);
    assert!(index(&empty).contains("last header"));
    // More entries than there are: the root's inode is read as one.
    let error = changed(|p| set!(p.inodes, p.s + 32, 2_u16));
    refused!(
        error,
        Malformed::DirectoryIndex { .. } | Malformed::TableEnd { .. }
    );
    let error = changed(|p| set!(p.inodes, p.s + 32, u16::MAX));
    refused!(
        error,
        Malformed::DirectoryIndex { .. } | Malformed::TableEnd { .. }
    );
}

#[test]
fn the_parent_of_the_root() {
    for parent in [0_u32, 8, u32::MAX] {
        let error = changed(|p| set!(p.inodes, p.root + 28, parent));
        refused!(error, Malformed::RootParent { parent: found } if found == parent);
    }
}

/// Adds a directory's inode without index.
fn directory(parts: &mut Parts, number: u32, parent: u32, place: usize, size: usize) -> usize {
    let at = base(&mut parts.inodes, 1, number);
    put!(
        parts.inodes,
        0_u32,
        2_u32,
        size as u16 + 3,
        place as u16,
        parent
    );
    at
}

/// An image with nothing in it but what the caller adds.
fn bare() -> Parts {
    let mut parts = sound();
    parts.inodes.clear();
    parts.directories.clear();
    parts.export.clear();
    parts
}

#[test]
fn directories_in_a_loop() {
    // 1 has 2, 2 has 1, and the root is 3, beside them.
    let mut parts = bare();
    let (first, second) = (0, 32);
    put!(parts.directories, 0_u32, 0_u32, 2_u32);
    entry(&mut parts.directories, second, 0, 1, b"b");
    put!(parts.directories, 0_u32, 0_u32, 1_u32);
    entry(&mut parts.directories, first, 0, 1, b"a");
    directory(&mut parts, 1, 2, 0, 21);
    directory(&mut parts, 2, 1, 21, 21);
    parts.root = directory(&mut parts, 3, 4, 0, 0);
    parts.count = 3;
    for place in [first, second, parts.root] {
        put!(parts.export, place as u64);
    }
    refused!(
        look(&parts.encode()).expect_err("a loop"),
        Malformed::EntryInode { number: 2, .. }
    );
    // The root in itself.
    let mut parts = bare();
    put!(parts.directories, 0_u32, 0_u32, 1_u32);
    entry(&mut parts.directories, 0, 0, 1, b"self");
    directory(&mut parts, 1, 1, 0, 24);
    (parts.root, parts.count) = (0, 1);
    put!(parts.export, 0_u64);
    refused!(
        look(&parts.encode()).expect_err("a loop"),
        Malformed::EntryInode { number: 1, .. }
    );
}

#[test]
fn a_directory_that_is_there_twice() {
    let mut parts = bare();
    directory(&mut parts, 1, 2, 0, 0);
    put!(parts.directories, 1_u32, 0_u32, 1_u32);
    entry(&mut parts.directories, 0, 0, 1, b"a");
    entry(&mut parts.directories, 0, 0, 1, b"b");
    parts.root = directory(&mut parts, 2, 3, 0, 30);
    parts.count = 2;
    put!(parts.export, 0_u64, parts.root as u64);
    refused!(
        look(&parts.encode()).expect_err("twice"),
        Malformed::DirectoryTwice { number: 1, .. }
    );
    // A file may be, if it has the links; a root may not be in a directory.
    let mut parts = bare();
    directory(&mut parts, 1, 2, 0, 0);
    put!(parts.directories, 0_u32, 0_u32, 1_u32);
    entry(&mut parts.directories, 0, 0, 1, b"a");
    directory(&mut parts, 2, 3, 0, 21);
    (parts.root, parts.count) = (0, 2);
    put!(parts.export, 0_u64, 32_u64);
    refused!(
        look(&parts.encode()).expect_err("root"),
        Malformed::Root { reference: 0 }
    );
}

#[test]
fn a_directory_for_every_inode_down_to_the_limit() {
    // As deep as may be and one deeper, without a stack that grows.
    for (depth, accepted) in [(2048_u32, true), (2049, false), (30_000, false)] {
        let mut parts = bare();
        for number in 1..=depth {
            let place = parts.directories.len();
            let mut size = 0;
            if number > 1 {
                let below = (number as usize - 2) * 32;
                let block = (below / 8192 * 8194) as u32;
                put!(parts.directories, 0_u32, block, number - 1);
                entry(&mut parts.directories, below % 8192, 0, 1, b"d");
                size = 21_u16;
            }
            let at = base(&mut parts.inodes, 1, number);
            let block = (place / 8192 * 8194) as u32;
            put!(
                parts.inodes,
                block,
                3_u32,
                size + 3,
                (place % 8192) as u16,
                number + 1
            );
            put!(parts.export, crate::build::reference(at));
            parts.root = at;
        }
        parts.count = depth;
        match look(&parts.encode()) {
            Ok(report) => assert_eq!((accepted, report.directories), (true, depth)),
            Err(error) => {
                assert!(!accepted, "{error}");
                refused!(error, Malformed::Limit { .. });
            }
        }
    }
}

#[test]
fn a_word_that_only_says_not_compressed_is_no_hole() {
    let error = changed(|p| set!(p.inodes, p.f + 32, STORED));
    refused!(error, Malformed::BlockWord { word: STORED, .. });
}
