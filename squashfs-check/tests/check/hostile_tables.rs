//! Superblocks and tables that are wrong, each refused with its own message.

use squashfs_check::{Bound, Damage, Limits, Malformed, Table, check};

use crate::build::{Parts, at, put, set, sound};
use crate::tools::look;

/// Checks what a change makes of the sound image's bytes.
pub(crate) fn patched(change: impl FnOnce(&mut Vec<u8>)) -> Malformed {
    let mut bytes = sound().encode();
    change(&mut bytes);
    look(&bytes).expect_err("the change is against a rule")
}

/// Checks what a change makes of the sound image's tables.
pub(crate) fn changed(change: impl FnOnce(&mut Parts)) -> Malformed {
    let mut parts = sound();
    change(&mut parts);
    look(&parts.encode()).expect_err("the change is against a rule")
}

/// A number of 64 bits in an image.
pub(crate) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

macro_rules! refused {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = $error;
        assert!(matches!(error, $pattern $(if $guard)?), "{error} ({error:?})");
        assert!(!error.to_string().contains('\n'), "{error}");
    }};
}
pub(crate) use refused;

#[test]
fn the_sound_image_is_sound() {
    let bytes = sound().encode();
    let report = look(&bytes).expect("the sound image");
    assert_eq!((report.inodes, report.directories, report.files), (6, 2, 2));
    assert_eq!((report.links, report.special, report.entries), (1, 1, 5));
    assert_eq!(report.bytes, 4156 + 10);
    assert_eq!(report.used, bytes.len() as u64);
}

#[test]
fn superblock() {
    use Malformed as M;
    refused!(patched(|b| b[0] = 0), M::Magic { .. });
    refused!(
        patched(|b| set!(b, at::MAJOR, 3_u16)),
        M::Version { major: 3, minor: 0 }
    );
    refused!(
        patched(|b| set!(b, at::MAJOR + 2, 1_u16)),
        M::Version { .. }
    );
    for id in [0_u16, 2, 3, 7, u16::MAX] {
        refused!(
            patched(|b| set!(b, at::COMPRESSION, id)),
            M::Compression { .. }
        );
    }
    for size in [0_u32, 1, 2048, 4097, 8192, 2 << 20, u32::MAX] {
        refused!(
            patched(|b| set!(b, at::BLOCK_SIZE, size)),
            M::BlockSize { .. }
        );
    }
    for log in [0_u16, 11, 13, 21, 32, 64, u16::MAX] {
        refused!(
            patched(|b| set!(b, at::BLOCK_LOG, log)),
            M::BlockSize { .. }
        );
    }
    for flags in [0_u16, 0x84, 0x1080, 0x8080, 0x280] {
        refused!(patched(|b| set!(b, at::FLAGS, flags)), M::Flags { .. });
    }
    refused!(
        patched(|b| set!(b, at::EXPORT_TABLE, u64::MAX)),
        M::Flags { .. }
    );
    let count = |field, value: u32| patched(|b| set!(b, field, value));
    refused!(
        count(at::INODES, 0),
        M::Count {
            table: Table::Inodes,
            ..
        }
    );
    refused!(
        count(at::FRAGMENTS, 7),
        M::Count {
            table: Table::Fragments,
            ..
        }
    );
    refused!(
        patched(|b| set!(b, at::IDS, 0_u16)),
        M::Count {
            table: Table::Ids,
            ..
        }
    );
    refused!(
        count(at::INODES, u32::MAX),
        M::Limit {
            bound: Bound::Inodes,
            ..
        }
    );
    for used in [0, 95, u64::MAX, 1 << 63] {
        refused!(patched(|b| set!(b, at::USED, used)), M::Truncated { .. });
    }
    for root in [0, u64::MAX, 1, 0x1_0000, 8192] {
        refused!(patched(|b| set!(b, at::ROOT, root)), M::Root { .. });
    }
    let file = sound().f as u64;
    refused!(patched(|b| set!(b, at::ROOT, file)), M::Root { .. });
}

#[test]
fn every_shorter_file_and_every_longer_one() {
    let bytes = sound().encode();
    for length in 0..bytes.len() {
        refused!(
            look(&bytes[..length]).expect_err("truncated"),
            Malformed::Truncated { .. }
        );
    }
    let mut padded = bytes.clone();
    padded.resize(bytes.len() + (1 << 20), 0);
    look(&padded).expect("padding");
    padded.push(0);
    refused!(
        look(&padded).expect_err("too much"),
        Malformed::NotPadding { .. }
    );
    padded.pop();
    *padded.last_mut().expect("bytes") = 1;
    let last = padded.len() as u64 - 1;
    refused!(
        look(&padded).expect_err("no padding"),
        Malformed::NotPadding { offset } if offset == last
    );
}

#[test]
fn options() {
    use Malformed::Options;
    let with = |bytes: &[u8]| {
        let mut parts = sound();
        let shift = bytes.len() as u64;
        parts.options = bytes.to_vec();
        set!(parts.fragments, 0, 96 + 4096 + shift);
        set!(parts.inodes, parts.f + 16, 96 + shift as u32);
        set!(parts.inodes, parts.g + 16, 96 + 4196 + shift);
        look(&parts.encode())
    };
    with(&[8, 0x80, 9, 0, 0, 0, 15, 0, 1, 0]).expect("gzip's options");
    refused!(
        with(&[8, 0, 9, 0, 0, 0, 15, 0, 1, 0]).expect_err("compressed"),
        Options { .. }
    );
    refused!(
        with(&[4, 0x80, 9, 0, 0, 0]).expect_err("short"),
        Options { .. }
    );
    refused!(
        with(&[8, 0x80, 0, 0, 0, 0, 15, 0, 1, 0]).expect_err("level"),
        Options { .. }
    );
    refused!(
        with(&[8, 0x80, 9, 0, 0, 0, 16, 0, 1, 0]).expect_err("window"),
        Options { .. }
    );
    refused!(
        with(&[8, 0x80, 9, 0, 0, 0, 15, 0, 32, 0]).expect_err("strategy"),
        Options { .. }
    );
    // lz4 without options: the kernel cannot mount it.
    refused!(patched(|b| set!(b, at::COMPRESSION, 5_u16)), Options { .. });
    // A dictionary for xz that the kernel would allocate: 3 GiB; and no form.
    for dictionary in [0_u32, 3 << 30, 1 << 31, 5 << 10, u32::MAX, 1] {
        let mut parts = sound();
        put!(parts.options, 0x8008_u16, dictionary, 0_u32);
        let mut bytes = parts.encode();
        set!(bytes, at::COMPRESSION, 4_u16);
        refused!(look(&bytes).expect_err("dictionary"), Options { .. });
    }
}

#[test]
fn tables_out_of_their_places() {
    use Malformed as M;
    let fields = [
        (at::INODE_TABLE, Table::Inodes),
        (at::DIRECTORY_TABLE, Table::Directories),
        (at::FRAGMENT_TABLE, Table::Fragments),
        (at::EXPORT_TABLE, Table::Export),
        (at::ID_TABLE, Table::Ids),
        (at::XATTR_TABLE, Table::XattrIds),
    ];
    let sound = sound().encode();
    for (field, _) in fields {
        let start = number(&sound, field);
        let used = sound.len() as u64;
        for wrong in [0, 95, start - 1, start + 1, start + 8, used, used + 1] {
            refused!(
                patched(|b| set!(b, field, wrong)),
                M::TablePlace { .. }
                    | M::Count { .. }
                    | M::Truncated { .. }
                    | M::BlockHeader { .. }
                    | M::BlockEnd { .. }
                    | M::InodeType { .. }
                    | M::TableEnd { .. }
            );
        }
        refused!(
            patched(|b| set!(b, field, 1_u64 << 63)),
            M::TablePlace { .. }
        );
        refused!(
            patched(|b| set!(b, field, u64::MAX - 7)),
            M::TablePlace { .. }
        );
    }
    // A byte between the last table and the end.
    refused!(
        patched(|b| {
            b.push(0);
            let used = b.len() as u64;
            set!(b, at::USED, used);
        }),
        M::TablePlace {
            table: Table::XattrIds,
            ..
        }
    );
}

#[test]
fn lists_of_blocks() {
    use Malformed as M;
    for field in [at::FRAGMENT_TABLE, at::EXPORT_TABLE, at::ID_TABLE] {
        for wrong in [0_u64, 95, 1 << 63, u64::MAX] {
            let error = patched(|b| {
                let list = number(b, field) as usize;
                set!(b, list, wrong);
            });
            refused!(
                error,
                M::TablePlace { .. } | M::BlockHeader { .. } | M::BlockEnd { .. }
            );
        }
    }
    // The second of two blocks.
    let mut parts = sound();
    for id in 0..4000_u32 {
        put!(parts.ids, id);
    }
    let mut bytes = parts.encode();
    look(&bytes).expect("two blocks of ids");
    let list = number(&bytes, at::ID_TABLE) as usize;
    let right = number(&bytes, list + 8);
    for wrong in [0, right - 1, right + 1, u64::MAX] {
        set!(bytes, list + 8, wrong);
        refused!(
            look(&bytes).expect_err("the list is wrong"),
            M::TableList {
                table: Table::Ids,
                ..
            }
        );
    }
}

#[test]
fn metadata_blocks() {
    use Malformed as M;
    let header = |field, header: u16| {
        patched(|b| {
            let start = number(b, field) as usize;
            set!(b, start, header);
        })
    };
    for field in [at::INODE_TABLE, at::DIRECTORY_TABLE] {
        for wrong in [0_u16, 0x8000, 0x2001, 0xa001, 0xffff, 0x7fff] {
            refused!(header(field, wrong), M::BlockHeader { .. });
        }
        refused!(header(field, 0xa000), M::BlockEnd { .. });
    }
    // Said to be compressed, and is not.
    let compressed = patched(|b| {
        let start = number(b, at::INODE_TABLE) as usize;
        b[start + 1] &= 0x7f;
    });
    refused!(
        compressed,
        M::Block {
            damage: Damage::Corrupt,
            ..
        }
    );
    // A block that is not full and not the last: cut the table in two.
    let mut parts = sound();
    let rest = parts.inodes.split_off(100);
    let mut halves = vec![100, 0x80];
    halves.extend(&parts.inodes);
    put!(halves, 0x8000 | rest.len() as u16);
    halves.extend(rest);
    let mut bytes = sound().encode();
    let start = number(&bytes, at::INODE_TABLE) as usize;
    let end = number(&bytes, at::DIRECTORY_TABLE) as usize;
    bytes.splice(start..end, halves);
    for field in [
        at::DIRECTORY_TABLE,
        at::FRAGMENT_TABLE,
        at::EXPORT_TABLE,
        at::ID_TABLE,
        at::XATTR_TABLE,
        at::USED,
    ] {
        let moved = number(&bytes, field) + 2;
        set!(bytes, field, moved);
        if matches!(
            field,
            at::FRAGMENT_TABLE | at::EXPORT_TABLE | at::ID_TABLE | at::XATTR_TABLE
        ) {
            let list = moved as usize;
            let block = number(&bytes, list) + 2;
            set!(bytes, list, block);
        }
    }
    let list = number(&bytes, at::XATTR_TABLE) as usize + 16;
    let block = number(&bytes, list) + 2;
    set!(bytes, list, block);
    refused!(
        look(&bytes).expect_err("two halves"),
        M::BlockLength {
            table: Table::Inodes,
            length: 100,
            ..
        } | M::Count { .. }
    );
}

#[test]
fn ids_export_and_lengths() {
    use Malformed as M;
    refused!(
        changed(|p| set!(p.ids, 4, u32::MAX)),
        M::IdValue { id: u32::MAX, .. }
    );
    refused!(
        changed(|p| put!(p.ids, 7_u16)),
        M::TableLength {
            table: Table::Ids,
            ..
        }
    );
    refused!(
        changed(|p| put!(p.export, 0_u64)),
        M::TableLength {
            table: Table::Export,
            ..
        }
    );
    for wrong in [0_u64, 1, u64::MAX, 1 << 48] {
        refused!(
            changed(|p| set!(p.export, 8, wrong)),
            M::Export { number: 2, .. }
        );
    }
    refused!(
        changed(|p| p.sets.clear()),
        M::TablePlace { .. } | M::Count { .. }
    );
}

#[test]
fn limits() {
    let bytes = sound().encode();
    let bound = |change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        match check(&bytes[..], 0, bytes.len() as u64, &limits) {
            Err(Malformed::Limit { bound, .. }) => Some(bound),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    assert_eq!(bound(&|l| l.inodes = 5), Some(Bound::Inodes));
    assert_eq!(bound(&|l| l.inodes = 6), None);
    assert_eq!(bound(&|l| l.entries = 4), Some(Bound::Entries));
    assert_eq!(bound(&|l| l.entries = 5), None);
    assert_eq!(bound(&|l| l.depth = 1), Some(Bound::Depth));
    assert_eq!(bound(&|l| l.depth = 2), None);
    assert_eq!(bound(&|l| l.path = 3), Some(Bound::Path));
    assert_eq!(bound(&|l| l.path = 4), None);
    assert_eq!(bound(&|l| l.metadata = 100), Some(Bound::Metadata));
    assert_eq!(bound(&|l| l.blocks = 1), Some(Bound::Blocks));
    assert_eq!(bound(&|l| l.blocks = 2), None);
}
