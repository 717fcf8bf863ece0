//! The superblock of a squashfs: what is accepted is what the kernel would look
//! into, and is told to fit exactly where it does.

use runtime_core::image::squashfs::{SUPERBLOCK_LEN, SquashfsError, Superblock, is_squashfs};

/// Parses the bytes and holds the result to what the parser promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let superblock = match Superblock::parse(data) {
        Ok(superblock) => superblock,
        Err(error) => {
            if matches!(error, SquashfsError::NotSquashfs) {
                assert!(!is_squashfs(data));
            }
            return crate::assert_one_line(&error);
        }
    };
    assert!(is_squashfs(data));
    assert!(data.len() >= SUPERBLOCK_LEN);
    assert!(superblock.block_size.is_power_of_two());
    assert!((4096..=1 << 20).contains(&superblock.block_size));
    assert!(superblock.inodes > 0 && superblock.ids > 0);
    let used = superblock.bytes_used;
    assert!(used >= SUPERBLOCK_LEN as u64 && i64::try_from(used).is_ok());

    // Each of the tables that every file system has, from where the format puts
    // its offset.
    let number = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("8 bytes"));
    for at in [48, 64, 72] {
        assert!((SUPERBLOCK_LEN as u64..used).contains(&number(at)));
    }
    for at in [56, 80, 88] {
        let offset = number(at);
        assert!(offset == u64::MAX || (SUPERBLOCK_LEN as u64..used).contains(&offset));
    }
    assert!(number(64) < number(72), "inodes lie before directories");
    assert!(
        number(64) + (number(32) >> 16) < number(72),
        "the root inode"
    );

    for len in [0, used - 1, used, used + 1, u64::MAX] {
        match superblock.fits(len) {
            Ok(()) => assert!(used <= len),
            Err(error) => {
                assert!(used > len);
                crate::assert_one_line(&error);
            }
        }
    }
}

/// Superblocks with each compression and with all and no optional tables.
///
/// # Panics
/// Where one of them is not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![b"hsqs".to_vec()];
    for compression in 1..=6 {
        for table in [u64::MAX, 900] {
            let seed = superblock(compression, table);
            Superblock::parse(&seed).expect("a seed is a superblock");
            seeds.push(seed);
        }
    }
    seeds
}

fn superblock(compression: u16, optional: u64) -> Vec<u8> {
    let mut out = b"hsqs".to_vec();
    for number in [3_u32, 1_700_000_000, 1 << 17, 1] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [compression, 17, 0xc0, 1, 4, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    // The root inode, the length, and the tables: id, xattr, inode, directory,
    // fragment, export.
    for number in [0_u64, 1000, 800, optional, 200, 500, optional, optional] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out
}
