//! Small real images with every byte and word changed, and bytes at random: the
//! check ends, within its budget, and never panics.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use squashfs_check::{Limits, Malformed, Report, check};

use crate::build::{at, sound};
use crate::tools::mksquashfs;

/// Room for a small image and no more, so that a check that runs away is seen.
fn tight() -> Limits {
    Limits {
        inodes: 1000,
        entries: 10_000,
        depth: 100,
        path: 1000,
        metadata: 4 << 20,
        decompressed: 16 << 20,
        blocks: 10_000,
    }
}

fn look(bytes: &[u8]) -> Result<Report, Malformed> {
    check(bytes, 0, bytes.len() as u64, &tight())
}

/// A small image of mksquashfs with two directories, an index, a hard link, a
/// hole, fragments and whole blocks.
fn real(options: &[&str]) -> Vec<u8> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path().join("tree");
    fs::create_dir_all(root.join("d/empty")).expect("a directory");
    fs::write(root.join("a"), "a".repeat(5000)).expect("a file");
    fs::write(root.join("d/b"), "b").expect("a file");
    fs::hard_link(root.join("a"), root.join("d/hard")).expect("a hard link");
    let hole = fs::File::create(root.join("d/hole")).expect("a file");
    hole.set_len(9000).expect("a hole");
    symlink("../a", root.join("d/link")).expect("a link");
    for number in 0..40 {
        let name = format!("d/{}{number}", "n".repeat(220));
        fs::write(root.join(name), "").expect("a file");
    }
    mksquashfs(&root, &temporary.path().join("image"), options)
}

/// Changes at one place, in each width.
fn changes(bytes: &[u8], place: usize, mut each: impl FnMut(&[u8])) {
    let mut copy = bytes.to_vec();
    for width in [1, 2, 4, 8] {
        let Some(old) = bytes.get(place..place + width) else {
            return;
        };
        let mut number = [0; 8];
        number[..width].copy_from_slice(old);
        let number = u64::from_le_bytes(number);
        let top = 1 << (8 * width - 1);
        for new in [
            0,
            u64::MAX,
            top,
            top - 1,
            number.wrapping_add(1),
            number.wrapping_sub(1),
            !number,
            number ^ 0x10,
        ] {
            copy[place..place + width].copy_from_slice(&new.to_le_bytes()[..width]);
            each(&copy);
        }
        copy[place..place + width].copy_from_slice(old);
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes[at..at + 8].try_into().expect("8 bytes");
    usize::try_from(u64::from_le_bytes(bytes)).expect("a small image")
}

/// Changes superblock and tables everywhere; says how many changes there were
/// and how many of them were accepted.
fn mutate(bytes: &[u8]) -> (u32, u32) {
    look(bytes).expect("the image itself");
    let (start, used) = (number(bytes, at::INODE_TABLE), number(bytes, at::USED));
    let (mut all, mut accepted) = (0, 0);
    for place in (0..96).chain(start..used) {
        changes(bytes, place, |copy| {
            all += 1;
            accepted += u32::from(look(copy).is_ok());
        });
    }
    (all, accepted)
}

#[test]
fn every_byte_of_tables_that_are_not_compressed() {
    for compressor in ["gzip", "lz4", "xz", "zstd"] {
        let plain = [
            "-noI", "-noD", "-noF", "-noX", "-noId", "-nopad", "-b", "4096",
        ];
        // One is enough for the structures; the others have options of their own.
        let whole = compressor == "gzip";
        let bytes = real(&[&plain[..], &["-comp", compressor]].concat());
        if whole {
            let (all, accepted) = mutate(&bytes);
            // Names, times, owners and link targets may be anything.
            assert!(all > 100_000 && accepted > 0, "{accepted} of {all}");
            assert!(accepted < all * 7 / 10, "{accepted} of {all}");
        } else {
            for place in 0..120 {
                changes(&bytes, place, |copy| drop(look(copy)));
            }
        }
    }
}

#[test]
fn every_byte_of_compressed_blocks() {
    for compressor in ["gzip", "lz4", "xz", "zstd"] {
        let bytes = real(&["-comp", compressor, "-nopad", "-b", "4096"]);
        let (mut all, mut accepted) = (0_u32, 0);
        for place in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut copy = bytes.clone();
                copy[place] ^= change;
                all += 1;
                accepted += u32::from(look(&copy).is_ok());
            }
        }
        // lz4 has no checksum, so wrong content passes as content.
        assert!(accepted < all / 3, "{compressor}: {accepted} of {all}");
    }
}

#[test]
fn every_byte_of_the_image_made_by_hand() {
    let (all, accepted) = mutate(&sound().encode());
    assert!(all > 10_000 && accepted < all / 4, "{accepted} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert!(look(&bytes).is_err());
    }

    #[test]
    fn a_superblock_before_bytes_at_random(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000),
        compression in 1..7_u8,
    ) {
        let mut image = sound().encode()[..96].to_vec();
        image[at::COMPRESSION] = compression;
        image.extend(bytes);
        prop_assert!(look(&image).is_err());
    }

    #[test]
    fn several_changes_at_once(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut image = sound().encode();
        for (place, byte) in changes {
            let place = place.index(image.len());
            image[place] = byte;
        }
        // Sound or not: it ends and does not panic.
        drop(look(&image));
    }
}
