//! Files whose data are not what their inodes say, and blocks that decompress
//! to more than they may.

use miniz_oxide::deflate::compress_to_vec_zlib;
use squashfs_check::{Bound, Damage, Limits, Malformed, check};

use crate::build::{Parts, STORED, at, base, entry, put, set, sound};
use crate::hostile_tables::{changed, refused};
use crate::tools::look;

#[test]
fn files() {
    use Malformed as M;
    for size in [1_u64 << 63, u64::MAX] {
        refused!(
            changed(|p| set!(p.inodes, p.g + 24, size)),
            M::FileSize { .. }
        );
    }
    let huge = changed(|p| set!(p.inodes, p.g + 24, (1_u64 << 63) - 1));
    refused!(huge, M::FileSize { .. });
    // A block list that is longer or shorter than the size asks for: what
    // follows is taken for something else, and cannot be that.
    for size in [0_u64, 4096 + 10, 1 << 40] {
        let error = changed(|p| set!(p.inodes, p.g + 24, size));
        assert!(!matches!(error, M::Limit { .. }), "{error}");
    }
    refused!(
        changed(|p| set!(p.inodes, p.g + 24, 11_u64)),
        M::BlockBytes {
            found: 10,
            expected: 11,
            ..
        }
    );
    for sparse in [11_u64, u64::MAX] {
        refused!(
            changed(|p| set!(p.inodes, p.g + 32, sparse)),
            M::Sparse { .. }
        );
    }
    for index in [1_u32, 7, u32::MAX - 1] {
        refused!(
            changed(|p| set!(p.inodes, p.g + 52, index)),
            M::XattrIndex { .. }
        );
    }
    // A file with attributes in an image without any.
    let mut bytes = sound().encode();
    let header = u64::from_le_bytes(bytes[at::XATTR_TABLE..][..8].try_into().expect("8"));
    let end = u64::from_le_bytes(bytes[header as usize..][..8].try_into().expect("8"));
    bytes.truncate(end as usize);
    set!(bytes, at::USED, end);
    set!(bytes, at::XATTR_TABLE, u64::MAX);
    refused!(
        look(&bytes).expect_err("there are none"),
        M::XattrIndex {
            index: 0,
            ids: 0,
            ..
        }
    );
    let inodes = u64::from_le_bytes(bytes[at::INODE_TABLE..][..8].try_into().expect("8"));
    set!(bytes, inodes as usize + 2 + sound().g + 52, u32::MAX);
    look(&bytes).expect("g has none, as the image");
}

#[test]
fn blocks() {
    use Malformed as M;
    let word = |word: u32| changed(|p| set!(p.inodes, p.f + 32, word));
    for wrong in [1 << 25 | 4096, u32::MAX, STORED | 4097, 4097, 0x00ff_ffff] {
        refused!(word(wrong), M::BlockWord { .. });
    }
    refused!(
        word(STORED | 4095),
        M::BlockBytes {
            found: 4095,
            expected: 4096,
            ..
        }
    );
    refused!(word(STORED | 1), M::BlockBytes { .. });
    refused!(
        word(100),
        M::Block {
            damage: Damage::Corrupt,
            ..
        }
    );
    for start in [0_u32, 95, 96 + 111, u32::MAX] {
        refused!(
            changed(|p| set!(p.inodes, p.f + 16, start)),
            M::BlockPlace { .. }
        );
    }
    for start in [0_u64, u64::MAX, u64::MAX - 5, 1 << 63, 96 + 4197] {
        refused!(
            changed(|p| set!(p.inodes, p.g + 16, start)),
            M::BlockPlace { .. }
        );
    }
    let mut parts = sound();
    let list = parts.f + 32;
    set!(parts.inodes, list, 0_u32);
    let report = look(&parts.encode()).expect("a hole");
    assert_eq!(report.bytes, 60 + 10);
}

#[test]
fn fragments() {
    use Malformed as M;
    for index in [1_u32, 2, u32::MAX - 1] {
        refused!(
            changed(|p| set!(p.inodes, p.f + 20, index)),
            M::FragmentIndex { .. }
        );
    }
    for offset in [41_u32, 100, u32::MAX, u32::MAX - 59] {
        refused!(
            changed(|p| set!(p.inodes, p.f + 24, offset)),
            M::FragmentRange { .. }
        );
    }
    // A fragment for a file that ends with a block; the kernel would read a
    // tail of no bytes.
    refused!(
        changed(|p| set!(p.inodes, p.f + 28, 4096_u32)),
        M::FragmentRange { tail: 0, .. }
    );
    for start in [0_u64, 95, 96 + 4107, u64::MAX, 1 << 63] {
        refused!(changed(|p| set!(p.fragments, 0, start)), M::Fragment { .. });
    }
    for word in [0_u32, STORED, STORED | 4097, 4097, 1 << 25 | 100, u32::MAX] {
        refused!(changed(|p| set!(p.fragments, 8, word)), M::Fragment { .. });
    }
    refused!(changed(|p| set!(p.fragments, 8, 100_u32)), M::Block { .. });
    refused!(
        changed(|p| set!(p.fragments, 8, STORED | 99)),
        M::FragmentRange { length: 99, .. }
    );
}

/// An image of many files, each a block that is all zeros.
fn bomb(files: u32, shared: bool, block_log: u16) -> Vec<u8> {
    let mut parts = sound();
    let size = 1_usize << block_log;
    let packed = compress_to_vec_zlib(&vec![0; size], 9);
    parts.block_log = block_log;
    parts.data.clear();
    parts.inodes.clear();
    parts.directories.clear();
    parts.fragments.clear();
    parts.export.clear();
    for number in 1..=files {
        let start = 96 + parts.data.len() as u32;
        if !shared || number == files {
            parts.data.extend(&packed);
        }
        let inode = base(&mut parts.inodes, 2, number);
        put!(
            parts.inodes,
            start,
            u32::MAX,
            0_u32,
            size as u32,
            packed.len() as u32
        );
        put!(parts.export, inode as u64);
        if number % 256 == 1 {
            let many = (files - number).min(255);
            put!(parts.directories, many, 0_u32, number);
        }
        let delta = ((number - 1) % 256) as i16;
        entry(
            &mut parts.directories,
            inode,
            delta,
            2,
            format!("{number:05}").as_bytes(),
        );
    }
    let length = parts.directories.len() as u16;
    parts.root = base(&mut parts.inodes, 1, files + 1);
    put!(parts.inodes, 0_u32, 2_u32, length + 3, 0_u16, files + 2);
    put!(parts.export, parts.root as u64);
    parts.count = files + 1;
    parts.encode()
}

#[test]
fn bombs_end_at_the_budget() {
    let bytes = bomb(200, false, 20);
    assert!(bytes.len() < 1 << 20, "a bomb is small");
    let limits = Limits {
        decompressed: 64 << 20,
        ..Limits::default()
    };
    let result = check(&bytes[..], 0, bytes.len() as u64, &limits);
    refused!(
        result.expect_err("200 MiB"),
        Malformed::Limit {
            bound: Bound::Decompressed,
            ..
        }
    );
    // One block that all have costs once.
    let bytes = bomb(200, true, 20);
    let report = check(&bytes[..], 0, bytes.len() as u64, &limits).expect("1 MiB");
    assert_eq!((report.bytes, report.decompressed), (200 << 20, 1 << 20));
    let limits = Limits {
        blocks: 199,
        ..Limits::default()
    };
    refused!(
        check(&bytes[..], 0, bytes.len() as u64, &limits).expect_err("200 blocks"),
        Malformed::Limit {
            bound: Bound::Blocks,
            ..
        }
    );
}

/// The sound image with a compressed block in the place of `f`'s.
fn packed(block: &[u8]) -> Parts {
    let mut parts = sound();
    parts.data.splice(..4096, block.iter().copied());
    let length = block.len();
    let word = parts.f + 32;
    set!(parts.inodes, word, length as u32);
    set!(parts.fragments, 0, 96 + length as u64);
    let start = parts.g + 16;
    set!(parts.inodes, start, 196 + length as u64);
    parts
}

#[test]
fn blocks_that_give_too_much_or_too_little() {
    use Malformed as M;
    let zlib = |length: usize| compress_to_vec_zlib(&vec![7; length], 6);
    look(&packed(&zlib(4096)).encode()).expect("a compressed block");
    for length in [4097, 1 << 20] {
        refused!(
            look(&packed(&zlib(length)).encode()).expect_err("too much"),
            M::Block {
                damage: Damage::TooLong,
                ..
            }
        );
    }
    for length in [0, 1, 4095] {
        refused!(
            look(&packed(&zlib(length)).encode()).expect_err("too little"),
            M::BlockBytes { .. }
        );
    }
    let mut longer = zlib(4096);
    longer.push(0);
    refused!(
        look(&packed(&longer).encode()).expect_err("a byte more"),
        M::Block {
            damage: Damage::Trailing,
            ..
        }
    );
    let mut shorter = zlib(4096);
    shorter.pop();
    refused!(
        look(&packed(&shorter).encode()).expect_err("a byte less"),
        M::Block {
            damage: Damage::Corrupt,
            ..
        }
    );
    let mut summed = zlib(4096);
    *summed.last_mut().expect("a checksum") ^= 1;
    refused!(
        look(&packed(&summed).encode()).expect_err("the checksum"),
        M::Block {
            damage: Damage::Corrupt,
            ..
        }
    );
}
