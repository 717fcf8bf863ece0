//! The superblock against one damage a field, and against any bytes.

use proptest::prelude::*;

use super::{Compression, SUPERBLOCK_LEN, SquashfsError, Superblock, is_squashfs};

/// A superblock as mksquashfs writes it for a small tree: tables from 200 on, 512 bytes in all.
fn superblock() -> [u8; SUPERBLOCK_LEN] {
    let mut buf = [0_u8; SUPERBLOCK_LEN];
    let mut put = |at: usize, bytes: &[u8]| buf[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"hsqs");
    put(4, &7_u32.to_le_bytes());
    put(8, &1_700_000_000_u32.to_le_bytes());
    put(12, &131_072_u32.to_le_bytes());
    put(16, &1_u32.to_le_bytes());
    put(20, &6_u16.to_le_bytes());
    put(22, &17_u16.to_le_bytes());
    put(24, &192_u16.to_le_bytes());
    put(26, &1_u16.to_le_bytes());
    put(28, &4_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(40, &512_u64.to_le_bytes());
    put(48, &480_u64.to_le_bytes());
    put(56, &u64::MAX.to_le_bytes());
    put(64, &200_u64.to_le_bytes());
    put(72, &300_u64.to_le_bytes());
    put(80, &400_u64.to_le_bytes());
    put(88, &440_u64.to_le_bytes());
    buf
}

fn with(at: usize, bytes: &[u8]) -> [u8; SUPERBLOCK_LEN] {
    let mut buf = superblock();
    buf[at..at + bytes.len()].copy_from_slice(bytes);
    buf
}

#[test]
fn fields_lie_where_the_format_says() {
    let parsed = Superblock::parse(&superblock()).expect("a superblock");
    assert_eq!(
        (parsed.inodes, parsed.created, parsed.block_size),
        (7, 1_700_000_000, 131_072)
    );
    assert_eq!(
        (parsed.fragments, parsed.compression),
        (1, Compression::Zstd)
    );
    assert_eq!((parsed.flags, parsed.ids, parsed.bytes_used), (192, 1, 512));
    assert!(parsed.fits(512).is_ok());
    let short = parsed.fits(511).expect_err("too short").to_string();
    assert_eq!(
        short,
        "truncated: header promises 512 bytes, file has 511 bytes; copy it again"
    );
}

#[test]
fn each_damaged_field_has_its_error() {
    let fault = |at, bytes: &[u8]| Superblock::parse(&with(at, bytes)).expect_err("refused");
    assert!(matches!(fault(0, b"sqsh"), SquashfsError::NotSquashfs));
    assert!(matches!(
        fault(28, &[3, 0]),
        SquashfsError::Version { major: 3, minor: 0 }
    ));
    assert!(matches!(
        fault(30, &[1, 0]),
        SquashfsError::Version { major: 4, minor: 1 }
    ));
    for size in [0_u32, 1, 2048, 4097, 65536, 1 << 21, u32::MAX] {
        assert!(
            matches!(
                fault(12, &size.to_le_bytes()),
                SquashfsError::BlockSize { .. }
            ),
            "{size}"
        );
    }
    for log in [0_u16, 16, 18, 32, u16::MAX] {
        assert!(
            matches!(
                fault(22, &log.to_le_bytes()),
                SquashfsError::BlockSize { .. }
            ),
            "{log}"
        );
    }
    for id in [0_u16, 7, u16::MAX] {
        assert!(
            matches!(
                fault(20, &id.to_le_bytes()),
                SquashfsError::Compression { .. }
            ),
            "{id}"
        );
    }
    assert!(matches!(fault(4, &[0; 4]), SquashfsError::Empty { .. }));
    assert!(matches!(fault(26, &[0; 2]), SquashfsError::Empty { .. }));
    for length in [0_u64, 95, u64::MAX] {
        assert!(
            matches!(
                fault(40, &length.to_le_bytes()),
                SquashfsError::Empty { .. }
            ),
            "{length}"
        );
    }
    for at in [48, 64, 72] {
        for offset in [0_u64, 95, 512, u64::MAX] {
            assert!(
                matches!(
                    fault(at, &offset.to_le_bytes()),
                    SquashfsError::Table { .. }
                ),
                "{at}"
            );
        }
    }
    for at in [56, 80, 88] {
        for offset in [0_u64, 95, 512, u64::MAX - 1] {
            assert!(
                matches!(
                    fault(at, &offset.to_le_bytes()),
                    SquashfsError::Table { .. }
                ),
                "{at}"
            );
        }
        assert!(Superblock::parse(&with(at, &u64::MAX.to_le_bytes())).is_ok());
    }
    assert!(matches!(
        fault(72, &200_u64.to_le_bytes()),
        SquashfsError::Table {
            table: "directory",
            ..
        }
    ));
    for root in [100_u64 << 16, 8192, u64::MAX] {
        assert!(
            matches!(fault(32, &root.to_le_bytes()), SquashfsError::Empty { .. }),
            "{root}"
        );
    }
}

#[test]
fn every_shorter_length_is_an_error() {
    let whole = superblock();
    assert!(is_squashfs(&whole) && !is_squashfs(b"hsq"));
    for len in 0..SUPERBLOCK_LEN {
        match Superblock::parse(&whole[..len]) {
            Err(SquashfsError::NotSquashfs) => assert!(len < 4),
            Err(SquashfsError::Truncated {
                promised: 96,
                actual,
            }) => assert_eq!(actual, len as u64),
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn it_is_read_at_its_place_in_the_file() {
    use std::io::Write;
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&[0; 4096]).expect("write");
    file.write_all(&superblock()).expect("write");
    file.set_len(4096 + 512).expect("pad");
    assert!(Superblock::read(&file, 4096, 512).is_ok());
    assert!(matches!(
        Superblock::read(&file, 4096, 400),
        Err(SquashfsError::Truncated { .. })
    ));
    assert!(matches!(
        Superblock::read(&file, 4096, 50),
        Err(SquashfsError::Truncated { .. })
    ));
    assert!(matches!(
        Superblock::read(&file, 0, 4608),
        Err(SquashfsError::NotSquashfs)
    ));
    assert!(matches!(
        Superblock::read(&file, 0, 0),
        Err(SquashfsError::NotSquashfs)
    ));
    assert!(matches!(
        Superblock::read(&file, 1 << 40, 512),
        Err(SquashfsError::Read(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_answer(
        changes in proptest::collection::vec((0_usize..SUPERBLOCK_LEN, any::<u8>()), 0..6),
        cut in 0_usize..=SUPERBLOCK_LEN,
    ) {
        let mut buf = superblock();
        for (at, value) in changes {
            buf[at] = value;
        }
        if let Ok(parsed) = Superblock::parse(&buf[..cut]) {
            prop_assert_eq!(cut, SUPERBLOCK_LEN);
            prop_assert!(parsed.block_size.is_power_of_two());
            prop_assert!(parsed.bytes_used >= 96);
        }
    }
}
